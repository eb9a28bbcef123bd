package cluster

import (
	"context"
	"errors"
	"fmt"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/internal/rpc"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "results", Help: "Show or save the results of an experiment.", Group: app.Cluster, Place: 7,
		New: func() any { return &resultsCmd{} },
	})
}

type resultsCmd struct {
	ID      string `arg:"" help:"Experiment id."`
	Out     string `help:"Save everything into DIR/<experiment id>: summary, tables, plots and per-step data." placeholder:"DIR" type:"path"`
	Format  string `help:"What to print: table (means and claims), json (summary.json), csv (task tables) or runs (runs with digests, CSV)." enum:"table,json,csv,runs" default:"table"`
	Steps   bool   `help:"Save the per-step data too, as Parquet." default:"true" negatable:""`
	Remake  bool   `help:"Compute lost results again: the runs are made anew in the cluster, with the same bits."`
	Weights bool   `help:"Save the weights of every run that has published them, as safetensors."`
	Metrics string `help:"Address of the metrics service, for the per-step data. Default: ${default}." default:"localhost:7080" placeholder:"HOST:PORT"`
	app.CoordinatorFlag
	app.Output
}

func (resultsCmd) Help() string {
	return `Works at any time: finished runs make the summary, the task tables hold what is committed so far.

  neoteny results quickstart-1f3a
  neoteny results quickstart-1f3a -o json | jq .claims
  neoteny results quickstart-1f3a --format csv > tasks.csv
  neoteny results quickstart-1f3a --out results --metrics cluster.lab:7080
  neoteny results quickstart-1f3a --out results --remake

Ends with 1 where results are missing that workers have committed (the metrics service has lost its volume, say), and names the runs; --remake computes them again.

` + app.FolderHelp
}

func (c *resultsCmd) Run(ctx context.Context, a *app.App) error {
	if c.JSON() {
		if c.Format != "table" && c.Format != "json" {
			return app.Usagef("-o json and --format %s exclude each other", c.Format)
		}
		c.Format = "json"
	}
	if c.Weights && c.Out == "" {
		return app.Usagef("--weights saves files: say where with --out")
	}
	if c.Out != "" {
		if err := results.CheckWritable(c.Out); err != nil {
			return err
		}
	}
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := results.Fetch(ctx, api, c.ID)
	if err != nil {
		return err
	}
	if c.Out == "" && c.Remake {
		if r, err = a.Remake(ctx, api, r, app.FollowOptions{}, func(*results.Result) error { return nil }); err != nil {
			return err
		}
	}
	switch c.Format {
	case "json":
		err = r.WriteJSON(a.Out)
	case "csv":
		err = r.WriteTasksCSV(a.Out)
	case "runs":
		err = r.WriteRunsCSV(a.Out)
	default:
		err = r.WriteText(a.Out)
	}
	if err != nil {
		return err
	}
	if c.Out == "" {
		return a.Complete(r, c.remedy())
	}
	var metrics pb.MetricsServiceClient
	if c.Steps {
		conn, err := rpc.Dial(c.Metrics)
		if err != nil {
			return err
		}
		defer conn.Close()
		metrics = pb.NewMetricsServiceClient(conn)
	}
	if c.Weights && !r.HasWeights() {
		return errors.New("no run has published its weights: submit with --weights, or with publish: [weights] in the file")
	}
	dir := ""
	save := func(r *results.Result) (err error) {
		if c.Weights {
			r.WithWeights(api)
		}
		if dir, err = r.WriteFolder(ctx, c.Out, metrics); err != nil && c.Steps {
			return fmt.Errorf("%w; --no-steps leaves the per-step data out", err)
		}
		return err
	}
	if err = save(r); err == nil && c.Remake {
		r, err = a.Remake(ctx, api, r, app.FollowOptions{}, save)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Progress, "results are in %s\n", dir)
	return a.Complete(r, c.remedy())
}

func (c *resultsCmd) remedy() string {
	return fmt.Sprintf("`neoteny results %s --remake` computes them again", c.ID)
}
