package local

import (
	"context"
	"fmt"
	"os"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "extend", Help: "Give an ended experiment more seeds, tasks, arms or trials.", Group: app.Cluster, Place: 9,
		New: func() any { return &extendCmd{} },
	})
}

type extendCmd struct {
	ID     string `arg:"" help:"Experiment id."`
	Seeds  int    `help:"Seeds of each trial, in all; where trials are selected, confirmation seeds." placeholder:"N"`
	Tasks  int    `help:"Tasks of each run, in all: runs go on from their last checkpoint." placeholder:"N"`
	Trials int    `help:"Trials of each random search, in all." placeholder:"N"`
	Arms   string `help:"File with further arms: the field arms as in an experiment file, and sweep.arms for these." placeholder:"FILE" type:"existingfile"`
	PlaceFlags
}

func (extendCmd) Help() string {
	return `The experiment keeps its id and its runs; only what it lacks is computed. Runs that failed or were cancelled are taken up again. Longer runs go on from the end of the shorter ones, with the bits of runs that were as long from the beginning; those with deferred measurements are made from their first step, those that diverged stay. What would change a run that is there is refused, with the reason.

  neoteny extend quickstart-1f3a --seeds 10
  neoteny extend quickstart-1f3a --seeds 10 --arms more.yaml --wait
  neoteny extend quickstart-1f3a --tasks 200
  neoteny extend search-9c0b --trials 200
  neoteny extend quickstart-1f3a --seeds 10 --state-dir .neoteny/quickstart-0a1b2c3d4e5f

more.yaml:
  arms:
    big-steps: {learner: {optimizer: {lr: 0.1}}}`
}

func (c *extendCmd) Run(ctx context.Context, a *app.App) error {
	x := experiment.Extension{Seeds: c.Seeds, Tasks: c.Tasks, Trials: c.Trials}
	switch {
	case c.Seeds < 0:
		return app.Usagef("--seeds must not be negative")
	case c.Trials < 0:
		return app.Usagef("--trials must not be negative")
	case c.Tasks < 0:
		return app.Usagef("--tasks must not be negative")
	case c.Seeds == 0 && c.Tasks == 0 && c.Trials == 0 && c.Arms == "":
		return app.Usagef("more of what? Give --seeds, --tasks, --trials or --arms")
	}
	if c.Arms != "" {
		var err error
		if x.Arms, err = os.ReadFile(c.Arms); err != nil {
			return err
		}
	}
	return c.takeUp(ctx, a, c.ID, func(ctx context.Context, api pb.ExperimentServiceClient) (*pb.Experiment, error) {
		got, err := api.GetExperiment(ctx, &pb.GetExperimentRequest{Id: c.ID})
		if err != nil {
			return nil, err
		}
		spec, err := experiment.Extend(got.GetExperiment().GetSpec(), x)
		if err != nil {
			return nil, err
		}
		resp, err := api.ExtendExperiment(ctx, &pb.ExtendExperimentRequest{Id: c.ID, Spec: spec})
		if err != nil {
			return nil, err
		}
		if c.Tasks > 0 {
			fmt.Fprintf(a.Progress, "%s: runs of %d tasks, %d runs more\n", c.ID, c.Tasks, resp.GetRuns())
		} else {
			fmt.Fprintf(a.Progress, "%s: %d runs more\n", c.ID, resp.GetRuns())
		}
		return resp.GetExperiment(), nil
	})
}
