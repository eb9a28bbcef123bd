package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "retry", Help: "Take an ended experiment up again: runs that failed or were cancelled.", Group: app.Cluster, Place: 8,
		New: func() any { return &retryCmd{} },
	})
}

// PlaceFlags say where an ended experiment is: in a cluster, or in the state folder of
// runs on this machine.
type PlaceFlags struct {
	StateDir string `help:"The experiment is in this state folder of run --keep: start a cluster there, go on, and write the results." placeholder:"DIR" type:"path"`
	Out      string `help:"With --state-dir: folder that the folder of results is made in. Default: ${default}." default:"results" placeholder:"DIR" type:"path"`
	Workers  int    `help:"With --state-dir: number of workers; 0 means one per core." default:"0"`
	Wait     bool   `help:"Follow the experiment until it has ended."`
	app.CoordinatorFlag
	app.StrictFlag
	app.DataFlag
	app.Output
}

type retryCmd struct {
	ID   string   `arg:"" help:"Experiment id."`
	Only []string `name:"run" help:"Only this run, by id; may be repeated. One that is done is made again from its first step." placeholder:"RUN,…"`
	PlaceFlags
}

func (retryCmd) Help() string {
	return `Runs that failed or were cancelled go on from their last checkpoint, runs that had not begun begin; runs that are done or diverged stay what they are. Why runs failed, "neoteny get ID --state failed" says.

  neoteny retry quickstart-1f3a
  neoteny retry quickstart-1f3a --wait
  neoteny retry quickstart-1f3a --run quickstart-1f3a/adam/3
  neoteny retry quickstart-1f3a --state-dir .neoteny/quickstart-0a1b2c3d4e5f

Results do not depend on it: a run that was taken up again has the digest of one that never failed.`
}

func (c *retryCmd) Run(ctx context.Context, a *app.App) error {
	return c.takeUp(ctx, a, c.ID, func(ctx context.Context, api pb.ExperimentServiceClient) (*pb.Experiment, error) {
		resp, err := api.RetryExperiment(ctx, &pb.RetryExperimentRequest{Id: c.ID, Runs: c.Only})
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(a.Progress, "%s: %d runs are taken up again\n", c.ID, resp.GetRuns())
		return resp.GetExperiment(), nil
	})
}

// takeUp has an ended experiment taken up again by ask, where it is.
func (c *PlaceFlags) takeUp(ctx context.Context, a *app.App, id string, ask func(context.Context, pb.ExperimentServiceClient) (*pb.Experiment, error)) error {
	if c.StateDir != "" {
		return c.here(ctx, a, id, ask)
	}
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	e, err := ask(ctx, api)
	if err != nil {
		return err
	}
	if c.JSON() {
		if err := a.PrintMessage(e); err != nil {
			return err
		}
	}
	if !c.Wait {
		return nil
	}
	if e, err = a.Follow(ctx, api, id, app.FollowOptions{}); err != nil {
		return c.GoesOn(err, id)
	}
	return c.Verdict(e)
}

// here does so in a cluster of this process.
func (c *PlaceFlags) here(ctx context.Context, a *app.App, id string, ask func(context.Context, pb.ExperimentServiceClient) (*pb.Experiment, error)) error {
	if _, err := os.Stat(filepath.Join(c.StateDir, "etcd")); errors.Is(err, fs.ErrNotExist) {
		return app.Usagef("--state-dir: %s is no state folder of neoteny: it has no folder etcd", c.StateDir)
	}
	run := &RunCmd{
		Out: c.Out, StateDir: c.StateDir, Workers: c.Workers, Steps: true, DataFlag: c.DataFlag, Output: c.Output, StrictFlag: c.StrictFlag,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	}
	run.begin = func(ctx context.Context, s *wiring.Stack) (*pb.Experiment, error) {
		got, err := s.API.GetExperiment(ctx, &pb.GetExperimentRequest{Id: id})
		if err != nil {
			return nil, err
		}
		plan, err := experiment.Expand(got.GetExperiment().GetSpec())
		if err != nil {
			return nil, err
		}
		if _, err := run.ensureData(ctx, a, plan); err != nil {
			return nil, err
		}
		if e := got.GetExperiment(); e.GetState() < pb.ExperimentState_EXPERIMENT_STATE_DONE {
			fmt.Fprintf(a.Progress, "going on with %s, which is %s\n", id, results.StateName(e.GetState()))
			return e, nil
		}
		return ask(ctx, s.API)
	}
	return run.finish(ctx, a, nil, &experiment.Plan{})
}
