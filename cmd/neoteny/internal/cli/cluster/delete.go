package cluster

import (
	"context"
	"fmt"

	"neoteny/cmd/neoteny/internal/cli/app"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "delete", Help: "Forget ended experiments and their results.", Group: app.Cluster, Place: 6,
		New: func() any { return &deleteCmd{} },
	})
}

type deleteCmd struct {
	ID []string `arg:"" help:"Experiment ids."`
	app.CoordinatorFlag
	app.Output
}

func (deleteCmd) Help() string {
	return `Only ended experiments can be deleted: cancel one that is not.

  neoteny delete quickstart-1f3a`
}

func (c *deleteCmd) Run(ctx context.Context, a *app.App) error {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, id := range c.ID {
		if _, err := api.DeleteExperiment(ctx, &pb.DeleteExperimentRequest{Id: id}); err != nil {
			return err
		}
		if c.JSON() {
			if err := a.PrintJSON(map[string]any{"id": id, "deleted": true}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.Out, "%s: deleted\n", id)
	}
	return nil
}
