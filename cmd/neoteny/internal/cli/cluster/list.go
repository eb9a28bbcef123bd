package cluster

import (
	"context"
	"fmt"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "list", Help: "List experiments.", Group: app.Cluster, Place: 3,
		New: func() any { return &listCmd{} },
	})
}

type listCmd struct {
	State []string `help:"Only experiments in these states: pending, running, done, failed, cancelled." enum:"pending,running,done,failed,cancelled" placeholder:"STATE,…"`
	Name  string   `help:"Only experiments whose name starts with this." placeholder:"PREFIX"`
	Paper string   `help:"Only experiments of this paper." placeholder:"ID"`
	Limit int      `help:"Most experiments shown; 0 shows all." default:"50"`
	app.CoordinatorFlag
	app.Output
}

func (listCmd) Help() string {
	return `Newest first.

  neoteny list
  neoteny list --state running,pending --name quick
  neoteny list --limit 0 -o json`
}

func (c *listCmd) Run(ctx context.Context, a *app.App) error {
	if c.Limit < 0 {
		return app.Usagef("--limit must not be negative")
	}
	req := &pb.ListExperimentsRequest{NamePrefix: c.Name, Paper: c.Paper, PageSize: 1000}
	for _, s := range c.State {
		req.States = append(req.States, pb.ExperimentState(pb.ExperimentState_value["EXPERIMENT_STATE_"+strings.ToUpper(s)]))
	}
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	all := &pb.ListExperimentsResponse{}
	for {
		if c.Limit > 0 {
			req.PageSize = int32(min(c.Limit-len(all.Experiments), 1000))
		}
		page, err := api.ListExperiments(ctx, req)
		if err != nil {
			return err
		}
		all.Experiments = append(all.Experiments, page.GetExperiments()...)
		req.PageToken = page.GetNextPageToken()
		if req.PageToken == "" || c.Limit > 0 && len(all.Experiments) >= c.Limit {
			break
		}
	}
	if c.JSON() {
		all.NextPageToken = req.PageToken
		return a.PrintMessage(all)
	}
	t := render.Table{Columns: []render.Column{{Title: "ID"}, {Title: "STATE"}, {Title: "RUNS", Align: render.Right}, {Title: "TASKS", Align: render.Right}, {Title: "DONE", Align: render.Right}, {Title: "CREATED"}, {Title: "NOTE"}}}
	for _, e := range all.Experiments {
		p := e.GetProgress()
		t.Add(e.GetId(), results.StateName(e.GetState()), fmt.Sprintf("%d/%d", p.GetRunsDone(), p.GetRuns()),
			render.Count(p.GetTasksDone())+"/"+render.Count(p.GetTasks()), percent(p.GetStepsDone(), p.GetSteps()), when(e.GetCreatedAt()), e.GetMessage())
	}
	if err := t.Write(a.Out); err != nil {
		return err
	}
	if req.PageToken != "" {
		fmt.Fprintf(a.Progress, "neoteny: there are more; --limit 0 shows all\n")
	}
	return nil
}
