package cluster

import (
	"context"

	"neoteny/cmd/neoteny/internal/cli/app"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "watch", Help: "Follow an experiment until it has ended.", Group: app.Cluster, Place: 2,
		New: func() any { return &watchCmd{} },
	})
}

type watchCmd struct {
	ID string `arg:"" help:"Experiment id, as printed by submit."`
	app.CoordinatorFlag
	app.StrictFlag
	app.Output
}

func (watchCmd) Help() string {
	return `Shows progress until the experiment has ended: a bar on a terminal, a line every few seconds in a pipe, a JSON object per change with -o json. Ends with 1 if a run failed or the experiment was cancelled, with --strict also if one diverged. Stopping to watch does not stop the experiment.

  neoteny watch quickstart-1f3a
  neoteny watch quickstart-1f3a -o json | jq .progress.steps_done`
}

func (c *watchCmd) Run(ctx context.Context, a *app.App) error {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	opts := app.FollowOptions{}
	if c.JSON() {
		opts.Each = func(e *pb.Experiment) error { return a.PrintMessage(e) }
	}
	last, err := a.Follow(ctx, api, c.ID, opts)
	if err != nil {
		return c.GoesOn(err, c.ID)
	}
	return c.Verdict(last)
}
