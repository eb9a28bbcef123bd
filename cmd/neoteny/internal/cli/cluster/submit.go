// Package cluster has the commands that work with a running cluster, a file each.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/internal/datashare"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "submit", Help: "Submit an experiment to a cluster.", Group: app.Cluster, Place: 1,
		New: func() any { return &submitCmd{} },
	})
}

type submitCmd struct {
	File         string `arg:"" help:"Experiment file, YAML or JSON; - reads standard input."`
	Wait         bool   `help:"Follow the experiment until it has ended."`
	DryRun       bool   `help:"Check the file and print what it amounts to; nothing is sent. With -o json: print the request that grpcurl takes."`
	RequestID    string `help:"Name of this submission: sent again, it is the same experiment and not a second one. Default: random." placeholder:"ID"`
	SegmentTasks int32  `help:"Tasks per segment, in place of the file's. Results do not depend on it." placeholder:"N"`
	app.FileFlags
	app.StrictFlag
	app.WeightsFlag
	app.ReuseFlag
	app.CoordinatorFlag
	app.DataFlag
	app.Output
}

func (submitCmd) Help() string {
	return `Prints the experiment's id. The file is checked by the coordinator; mistakes are reported with file and field. Datasets of your own, given by name or path, are uploaded first, unless the cluster has them; an upload that was interrupted goes on where it was.

Runs that the cluster has finished before, in any experiment and with the same spec, seed, data and numerics, are not made again: --no-reuse makes them.

  neoteny submit recipes/quickstart.yaml
  neoteny submit recipes/continual-backprop/bit-flip-regression.yaml --quick
  neoteny submit recipes/quickstart.yaml --set learner.optimizer.lr=0.1 --set 'seeds={count: 10}'
  neoteny submit recipes/quickstart.yaml --wait --coordinator cluster.lab:7070
  neoteny submit --dry-run recipes/quickstart.yaml
  neoteny submit --dry-run -o json recipes/quickstart.yaml |
    grpcurl -plaintext -d @ localhost:7070 neoteny.v1.ExperimentService/SubmitExperiment`
}

func (c *submitCmd) Run(ctx context.Context, a *app.App) error {
	read := a.ReadSpec
	if !c.DryRun {
		read = func(file string, flags app.FileFlags, segmentTasks int32) (*app.Experiment, error) {
			return a.ReadSpecAndData(file, flags, segmentTasks, c.DataFlag)
		}
	}
	file, err := read(c.File, c.FileFlags, c.SegmentTasks)
	if err != nil {
		return err
	}
	spec := file.Spec
	c.Ask(spec)
	req := &pb.SubmitExperimentRequest{RequestId: c.RequestID, Spec: spec, NoReuse: c.NoReuse}
	if c.DryRun {
		return c.dryRun(a, req)
	}
	req.Source = file.Source
	if req.RequestId == "" {
		req.RequestId = uuid.NewString() // a call that is made again must not be a second experiment
	}
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := c.upload(ctx, a, conn, spec); err != nil {
		return app.InFile(c.File, err)
	}
	resp, err := api.SubmitExperiment(ctx, req)
	if err != nil {
		return app.InFile(c.File, err)
	}
	id := resp.GetExperiment().GetId()
	if c.JSON() {
		if err := a.PrintMessage(resp); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.Out, id)
	}
	if !c.Wait {
		return nil
	}
	last, err := a.Follow(ctx, api, id, app.FollowOptions{})
	if err != nil {
		return c.GoesOn(err, id)
	}
	return c.Verdict(last)
}

// upload sends the experiment's own datasets, which are in the data folder now, to
// the cluster's data store.
func (c *submitCmd) upload(ctx context.Context, a *app.App, conn *grpc.ClientConn, spec *pb.ExperimentSpec) error {
	plan, err := experiment.Expand(spec)
	if err != nil {
		return nil // the coordinator reports it
	}
	a.SayWhatIsSkipped(plan)
	var refs []string
	for _, t := range plan.Trials {
		for _, name := range t.Spec.Datasets() {
			if data.IsRef(name) && !slices.Contains(refs, name) {
				refs = append(refs, name)
			}
		}
	}
	for _, ref := range refs {
		if err := c.uploadOne(ctx, a, conn, ref); err != nil {
			return err
		}
	}
	return nil
}

func (c *submitCmd) uploadOne(ctx context.Context, a *app.App, conn *grpc.ClientConn, ref string) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	meta, err := data.ParseRef(ref)
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, data.OwnFolder, data.ContainerFile(meta.Digest())))
	if errors.Is(err, fs.ErrNotExist) {
		// The file says by what it names the dataset that somebody has put it there.
		fmt.Fprintf(a.Progress, "%s is not in data folder %s: it must be in the cluster already\n", meta.Title, dir)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	sent := int64(-1)
	err = datashare.Upload(ctx, pb.NewDatasetServiceClient(conn), f, info.Size(), func(done int64) {
		if sent < 0 && done == info.Size() {
			fmt.Fprintf(a.Progress, "%s is in the cluster already\n", meta.Title)
		} else {
			fmt.Fprintf(a.Progress, "uploading %s: %s of %s\n", meta.Title, render.Bytes(done), render.Bytes(info.Size()))
		}
		sent = done
	})
	switch {
	case err != nil && errors.Is(context.Cause(ctx), app.ErrInterrupted):
		return fmt.Errorf("%w: %s of %s of %s are uploaded; the same command again goes on there",
			app.ErrInterrupted, render.Bytes(max(sent, 0)), render.Bytes(info.Size()), meta.Title)
	case status.Code(err) == codes.ResourceExhausted: // said by the coordinator
		return fmt.Errorf("upload %s: %w", meta.Title, err)
	case err != nil:
		return fmt.Errorf("upload %s: %w: the same command again goes on where it was", meta.Title, err)
	}
	return nil
}

func (c *submitCmd) dryRun(a *app.App, req *pb.SubmitExperimentRequest) error {
	plan, err := experiment.Expand(req.GetSpec())
	if err != nil {
		return experiment.InFile(c.File, err)
	}
	if err := app.CheckWeights(plan); err != nil {
		return experiment.InFile(c.File, err)
	}
	a.SayWhatIsSkipped(plan)
	if c.JSON() {
		return a.PrintRequest(req)
	}
	t := render.Table{Columns: []render.Column{{Title: "ARM"}, {Title: "TRIALS", Align: render.Right}, {Title: "SEEDS", Align: render.Right}, {Title: "RUNS", Align: render.Right}, {Title: "TASKS", Align: render.Right}, {Title: "STEPS", Align: render.Right}}}
	for _, arm := range plan.Arms {
		trials, seeds, runs, tasks, steps := 0, 0, 0, int64(0), int64(0)
		for _, tr := range plan.Trials {
			if tr.Arm == arm {
				n := len(tr.Seeds)
				trials, seeds, runs = trials+1, n, runs+n
				tasks += int64(n) * int64(tr.Spec.Tasks())
				steps += int64(n) * tr.Spec.Steps()
			}
		}
		t.Add(arm, fmt.Sprint(trials), fmt.Sprint(seeds), fmt.Sprint(runs), render.Count(tasks), render.Count(steps))
	}
	if err := t.Write(a.Out); err != nil {
		return err
	}
	if n := len(plan.ConfirmSeeds); n > 0 {
		fmt.Fprintf(a.Out, "and the selected trial of each arm on %d confirmation seeds\n", n)
	}
	_, err = fmt.Fprintf(a.Out, "%s is valid: %d trials, %d runs, %s segments of %d tasks, %s tasks, %s steps\n", c.File, len(plan.Trials), plan.Runs(), render.Count(plan.Segments()), plan.SegmentTasks, render.Count(plan.Tasks()), render.Count(plan.Steps()))
	return err
}
