package reproduction

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/local"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/pkg/engine"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "verify", Help: "Compute results again and compare them to the bit.", Group: app.Everyday, Place: 3,
		New: func() any { return &verifyCmd{} },
	})
}

type verifyCmd struct {
	Dir      string   `arg:"" help:"Folder of results, of neoteny run, results or reproduce." type:"existingdir"`
	Seeds    []uint32 `help:"Only the runs with these seeds." placeholder:"SEED,…"`
	Workers  int      `help:"Number of workers; 0 means one per core." default:"0"`
	StateDir string   `help:"Folder of the state, which is kept. Default: a new one beside DIR, removed in the end." placeholder:"STATE"`
	wiring.Addresses
	app.DataFlag
	app.Output
}

func (verifyCmd) Help() string {
	return `Makes the runs of a folder of results again, on this machine, and compares their digests with those recorded. A digest covers the state at every task boundary and every value that was measured, so equal digests are equal results, to the bit, whatever machines and how many workers they were made on. For a run that differs it names the first value of the task table that does.

  neoteny verify results/quickstart-1f3a
  neoteny verify results/quickstart-1f3a --seeds 0 -o json

Nothing in the folder is changed. Results of another numerics version differ by design and are refused. Ends with 1 if a run differs.`
}

func (c *verifyCmd) Run(ctx context.Context, a *app.App) error {
	if c.Workers < 0 {
		return app.Usagef("--workers must not be negative")
	}
	recorded, err := results.ReadFolder(c.Dir)
	if err != nil {
		return err
	}
	for _, run := range recorded.Runs {
		if v := run.GetNumericsVersion(); v != engine.NumericsVersion {
			return fmt.Errorf("%s was made with numerics version %d and this program has %d, whose results differ: verify with a program of that version", c.Dir, v, engine.NumericsVersion)
		}
	}
	file := filepath.Join(c.Dir, "experiment.yaml")
	spec, err := a.ReadSpec(file, app.FileFlags{}, 0)
	if err != nil {
		return err
	}
	if err := c.restrict(spec, recorded.Runs); err != nil {
		return err
	}
	spec.Claims = nil
	plan, err := experiment.Expand(spec)
	if err != nil {
		return experiment.InFile(file, err)
	}
	beside := filepath.Dir(filepath.Clean(c.Dir))
	if c.StateDir == "" {
		if err := results.CheckWritable(beside); err != nil {
			return fmt.Errorf("%w, or a folder for the state with --state-dir", err)
		}
	}
	run := &local.RunCmd{File: file, Out: beside, StateDir: c.StateDir, Workers: c.Workers, Addresses: c.Addresses, DataFlag: c.DataFlag}
	l, err := run.Live(ctx, a, spec, plan, func(context.Context, *wiring.Stack, *results.Result) error { return nil })
	if l == nil || err != nil {
		return err
	}
	var all []results.Comparison
	differ := 0
	for _, now := range l.Runs {
		one := recorded.Compare(now)
		if !one.Same {
			differ++
		}
		all = append(all, one)
	}
	return c.conclude(a, all, differ, len(recorded.Runs))
}

// restrict leaves the asked seeds only.
func (c *verifyCmd) restrict(spec *pb.ExperimentSpec, runs []*pb.Run) error {
	if len(c.Seeds) == 0 {
		return nil
	}
	if spec.GetSelect() != nil || len(spec.GetAnalyses()) > 0 {
		return app.Usagef("--seeds: the experiment selects trials or analyses runs over all seeds, which are needed together")
	}
	for _, seed := range c.Seeds {
		if !slices.ContainsFunc(runs, func(r *pb.Run) bool { return r.GetSeed() == seed }) {
			return app.Usagef("--seeds: no run in %s has the seed %d", c.Dir, seed)
		}
	}
	spec.Seeds = &pb.Seeds{List: c.Seeds}
	return nil
}

func (c *verifyCmd) conclude(a *app.App, all []results.Comparison, differ, recorded int) error {
	if c.JSON() {
		if err := a.PrintJSON(map[string]any{"runs": all, "same": len(all) - differ, "differ": differ, "recorded": recorded}); err != nil {
			return err
		}
	} else {
		if differ > 0 {
			t := &render.Table{Columns: []render.Column{{Title: "RUN"}, {Title: "FIRST DIFFERENCE"}}}
			for _, v := range all {
				if !v.Same {
					t.Add(v.Run, v.Differs)
				}
			}
			if err := t.Write(a.Out); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.Out, "%d of %d runs are the same to the bit", len(all)-differ, len(all))
		if n := recorded - len(all); n > 0 {
			fmt.Fprintf(a.Out, "; %d more are recorded", n)
		}
		fmt.Fprintln(a.Out)
	}
	if differ > 0 {
		return fmt.Errorf("%d of %d runs differ from %s", differ, len(all), c.Dir)
	}
	return nil
}
