package reproduction

import (
	"context"
	"fmt"
	"os"
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
	Fast     bool     `help:"Compare the files with the digests in SHA256SUMS, and run nothing."`
	Seeds    []uint32 `help:"Only the runs with these seeds: their digests and per-step data." placeholder:"SEED,…"`
	Workers  int      `help:"Number of workers; 0 means one per core." default:"0"`
	StateDir string   `help:"Folder of the state, which is kept. Default: a new one beside DIR, removed in the end." placeholder:"STATE"`
	wiring.Addresses
	app.DataFlag
	app.Output
}

func (verifyCmd) Help() string {
	return `Makes the runs of a folder of results again, on this machine, and compares everything that is in the folder with what they give: per-step data, task tables, runs, trials, summary, claims with their verdicts, and pictures. An edited cell, a file that was deleted and one that was added are named. Equal results are equal to the bit, whatever machines and how many workers they were made on; times and durations are taken from the folder.

  neoteny verify results/quickstart-1f3a
  neoteny verify results/quickstart-1f3a --seeds 0 -o json
  neoteny verify results/quickstart-1f3a --fast

--fast compares the files with the digests that the folder keeps in SHA256SUMS, as sha256sum -c does: it finds damage and careless edits in no time, but believes the folder.

Nothing in the folder is changed. Results of another numerics version differ by design and are refused. Pictures and summary.txt that another version of the program has written are not compared. Ends with 1 if anything differs.`
}

// verification is what was found.
type verification struct {
	Runs        []results.Comparison `json:"runs,omitempty"`
	Same        int                  `json:"same"`
	Differ      int                  `json:"differ"`
	Recorded    int                  `json:"recorded"`
	Files       int                  `json:"files"` // compared, or checked against their digests
	Differences []results.Difference `json:"differences"`
	Note        string               `json:"note,omitempty"`
}

func (c *verifyCmd) Run(ctx context.Context, a *app.App) error {
	switch {
	case c.Workers < 0:
		return app.Usagef("--workers must not be negative")
	case c.Fast && len(c.Seeds) > 0:
		return app.Usagef("--fast checks whole files: leave --seeds out")
	}
	recorded, err := results.ReadFolder(c.Dir)
	if err != nil {
		return err
	}
	v := &verification{Recorded: len(recorded.Runs), Differences: []results.Difference{}}
	if recorded.Provenance != nil {
		if v.Differences, v.Files, err = results.CheckSums(c.Dir); err != nil {
			return err
		}
	}
	if c.Fast {
		if recorded.Provenance == nil {
			return fmt.Errorf("%s has no SHA256SUMS: it was written by an earlier program; verify without --fast makes its runs again", c.Dir)
		}
		return c.conclude(a, v)
	}
	if err := c.again(ctx, a, recorded, v); err != nil {
		return err
	}
	return c.conclude(a, v)
}

// again makes the runs again and compares.
func (c *verifyCmd) again(ctx context.Context, a *app.App, recorded *results.Recorded, v *verification) error {
	whole := len(c.Seeds) == 0
	for _, run := range recorded.Runs {
		if n := run.GetNumericsVersion(); n != engine.NumericsVersion {
			return fmt.Errorf("%s was made with numerics version %d and this program has %d, whose results differ: verify with a program of that version", c.Dir, n, engine.NumericsVersion)
		}
		if s := run.GetState(); s != pb.RunState_RUN_STATE_DONE && s != pb.RunState_RUN_STATE_DIVERGED {
			whole, v.Note = false, "the experiment has runs that did not finish: only those that did are compared"
		}
	}
	path := filepath.Join(c.Dir, "experiment.yaml")
	file, err := a.ReadSpec(path, app.FileFlags{}, 0)
	if err != nil {
		return err
	}
	if err := c.restrict(file.Spec, recorded.Runs); err != nil {
		return err
	}
	plan, err := experiment.Expand(file.Spec)
	if err != nil {
		return experiment.InFile(path, err)
	}
	beside := filepath.Dir(filepath.Clean(c.Dir))
	if err := results.CheckWritable(beside); err != nil {
		return fmt.Errorf("%w: the runs are made again beside the folder", err)
	}
	temp, err := os.MkdirTemp(beside, ".verify-*")
	if err != nil {
		return fmt.Errorf("make a folder to compute in: %w", err)
	}
	defer os.RemoveAll(temp)
	run := &local.RunCmd{File: path, Out: beside, StateDir: c.StateDir, Workers: c.Workers, Addresses: c.Addresses, DataFlag: c.DataFlag, ReuseFlag: app.ReuseFlag{NoReuse: true}}
	_, err = run.Live(ctx, a, file.Spec, plan, func(ctx context.Context, s *wiring.Stack, r *results.Result) error {
		if _, err := os.Stat(filepath.Join(c.Dir, "weights")); err == nil && whole {
			r.WithWeights(s.API)
		}
		return c.compare(ctx, s.MetricsAPI, r, recorded, temp, whole, v)
	})
	return err
}

// compare holds what was made again against the folder.
func (c *verifyCmd) compare(ctx context.Context, metrics pb.MetricsServiceClient, r *results.Result, recorded *results.Recorded, temp string, whole bool, v *verification) error {
	for _, now := range r.Runs {
		if !recorded.Ended(now) {
			continue
		}
		one := recorded.Compare(now)
		if one.Same {
			v.Same++
		} else {
			v.Differ++
		}
		v.Runs = append(v.Runs, one)
	}
	if recorded.Provenance == nil {
		v.Note = "the folder was written by an earlier program: digests and task tables were compared, not its other files"
		return nil
	}
	if err := r.As(recorded); err != nil {
		return err
	}
	if !recorded.Provenance.Steps {
		metrics = nil
	}
	again, err := r.WriteFolder(ctx, temp, metrics)
	if err != nil {
		return err
	}
	differences, n, err := results.Compare(c.Dir, again, recorded, whole)
	if err != nil {
		return err
	}
	v.Files = max(v.Files, n)
	v.Differences = results.Merge(v.Differences, differences)
	return nil
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

func (c *verifyCmd) conclude(a *app.App, v *verification) error {
	if c.JSON() {
		if err := a.PrintJSON(v); err != nil {
			return err
		}
	} else if err := c.print(a, v); err != nil {
		return err
	}
	if v.Differ > 0 {
		return fmt.Errorf("%d of %d runs differ from %s", v.Differ, len(v.Runs), c.Dir)
	}
	if n := len(v.Differences); n == 1 {
		return fmt.Errorf("1 file of %s is not what it should be", c.Dir)
	} else if n > 1 {
		return fmt.Errorf("%d files of %s are not what they should be", n, c.Dir)
	}
	return nil
}

func (c *verifyCmd) print(a *app.App, v *verification) error {
	if v.Differ > 0 {
		t := &render.Table{Columns: []render.Column{{Title: "RUN"}, {Title: "FIRST DIFFERENCE"}}}
		for _, one := range v.Runs {
			if !one.Same {
				t.Add(one.Run, one.Differs)
			}
		}
		if err := t.Write(a.Out); err != nil {
			return err
		}
	}
	if len(v.Differences) > 0 {
		t := &render.Table{Columns: []render.Column{{Title: "FILE"}, {Title: "FIRST DIFFERENCE"}, {Title: "IN THE FOLDER"}, {Title: "COMPUTED AGAIN"}}}
		for _, d := range v.Differences {
			where := d.Where
			if where == "" {
				where = d.What
			}
			t.Add(d.File, where, d.Have, d.Want)
		}
		if err := t.Write(a.Out); err != nil {
			return err
		}
	}
	if !c.Fast {
		fmt.Fprintf(a.Out, "%d of %d runs are the same to the bit", v.Same, len(v.Runs))
		if n := v.Recorded - len(v.Runs); n > 0 {
			fmt.Fprintf(a.Out, "; %d more are recorded", n)
		}
		fmt.Fprintln(a.Out)
	}
	if v.Files > 0 {
		fmt.Fprintf(a.Out, "%d of %d files are what they should be\n", max(v.Files-len(v.Differences), 0), v.Files)
	}
	if v.Note != "" {
		fmt.Fprintln(a.Out, v.Note)
	}
	return nil
}
