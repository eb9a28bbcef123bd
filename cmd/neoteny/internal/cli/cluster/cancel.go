package cluster

import (
	"context"
	"fmt"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/results"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "cancel", Help: "Stop experiments; finished runs are kept.", Group: app.Cluster, Place: 5,
		New: func() any { return &cancelCmd{} },
	})
}

type cancelCmd struct {
	ID []string `arg:"" help:"Experiment ids."`
	app.CoordinatorFlag
	app.Output
}

func (cancelCmd) Help() string {
	return `Workers stop within a second. Cancelling again is no error; an experiment that is done or has failed cannot be cancelled.

  neoteny cancel quickstart-1f3a`
}

func (c *cancelCmd) Run(ctx context.Context, a *app.App) error {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, id := range c.ID {
		resp, err := api.CancelExperiment(ctx, &pb.CancelExperimentRequest{Id: id})
		if err != nil {
			return err
		}
		if c.JSON() {
			if err := a.PrintMessage(resp); err != nil {
				return err
			}
			continue
		}
		p := resp.GetExperiment().GetProgress()
		fmt.Fprintf(a.Out, "%s: %s, %d/%d runs done\n", id, results.StateName(resp.GetExperiment().GetState()), p.GetRunsDone(), p.GetRuns())
	}
	return nil
}
