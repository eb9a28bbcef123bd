package reference

import (
	"fmt"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/pkg/engine"
	"neoteny/pkg/experiment"
)

func init() {
	app.Register(app.Command{
		Name: "program", Help: "Show the compiled steps of an experiment's network.", Group: app.Reference, Place: 4,
		New: func() any { return &programCmd{} },
	})
}

type programCmd struct {
	File string `arg:"" help:"Experiment file, YAML or JSON; - reads standard input."`
	Arm  string `help:"The arm whose steps are shown; its first trial. Default: the first arm." placeholder:"ARM"`
	app.FileFlags
	app.Output
}

func (programCmd) Help() string {
	return `For people who tune: what a training step and an evaluation execute, in order. An instruction is a single operation (op), a run of element-wise operations that pass over memory together, a stretched run that makes its operands some rows at a time, or the one pass that is backward, gradient and update at once (descent). Behind each value are its shape, its multiply-adds and where it goes: a place in the arena (in bytes), a variable, or nowhere where it never reaches memory. The listing does not depend on the machine, and no dataset is read.

  neoteny program recipes/quickstart.yaml
  neoteny program recipes/quickstart.yaml --arm continual-backprop
  neoteny program recipes/quickstart.yaml --set 'learner.network.hidden=[256, 256]'
  neoteny program recipes/quickstart.yaml -o json | jq '.programs[].listing.multiply_adds'`
}

func (c *programCmd) Run(a *app.App) error {
	file, err := a.ReadSpec(c.File, c.FileFlags, 0)
	if err != nil {
		return err
	}
	plan, err := experiment.Expand(file.Spec)
	if err != nil {
		return experiment.InFile(c.File, err)
	}
	trial, err := c.trial(plan)
	if err != nil {
		return err
	}
	programs, err := engine.Programs(trial.Spec, engine.Env{Seed: trial.Seeds[0]})
	if err != nil {
		return fmt.Errorf("arm %s: %w", trial.Arm, err)
	}
	if c.JSON() {
		return a.PrintJSON(map[string]any{"arm": trial.Arm, "trial": trial.Name, "programs": programs})
	}
	for i, p := range programs {
		if i > 0 {
			fmt.Fprintln(a.Out)
		}
		fmt.Fprintf(a.Out, "%s, arm %s\n", p.Name, trial.Arm)
		if err := p.Listing.Write(a.Out); err != nil {
			return err
		}
	}
	return nil
}

// trial returns the first trial of the arm.
func (c *programCmd) trial(plan *experiment.Plan) (*experiment.Trial, error) {
	for i := range plan.Trials {
		if t := &plan.Trials[i]; c.Arm == "" || t.Arm == c.Arm {
			return t, nil
		}
	}
	return nil, app.Usagef("--arm: no arm is called %s (have: %s)", c.Arm, strings.Join(plan.Arms, ", "))
}
