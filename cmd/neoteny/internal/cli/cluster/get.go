package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

func percent(done, all int64) string {
	if all <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%", done*100/all)
}

// when formats a time in the reader's time zone.
func when(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().Local().Format("2006-01-02 15:04:05")
}

func init() {
	app.Register(app.Command{
		Name: "get", Help: "Show an experiment and its runs, or one run.", Group: app.Cluster, Place: 4,
		New: func() any { return &getCmd{} },
	})
}

type getCmd struct {
	ID    string   `arg:"" help:"Experiment id, or run id: EXPERIMENT/TRIAL/SEED."`
	Arm   string   `help:"Only runs of this arm." placeholder:"ARM"`
	State []string `help:"Only runs in these states: pending, running, done, diverged, failed, cancelled." enum:"pending,running,done,diverged,failed,cancelled" placeholder:"STATE,…"`
	app.CoordinatorFlag
	app.Output
}

func (getCmd) Help() string {
	return `Shows an experiment with the state of every run, why it waits or failed, and the digests of finished runs. Runs of equal digest and run key are equal to the bit. Of a single run, shows its task table and resolved spec too.

  neoteny get quickstart-1f3a
  neoteny get quickstart-1f3a --state failed,pending
  neoteny get quickstart-1f3a -o json | jq -r '.runs[] | .id + " " + .digest'
  neoteny get quickstart-1f3a/backprop/0`
}

func (c *getCmd) Run(ctx context.Context, a *app.App) error {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if strings.Contains(c.ID, "/") {
		return c.run(ctx, a, api)
	}
	got, err := api.GetExperiment(ctx, &pb.GetExperimentRequest{Id: c.ID})
	if err != nil {
		return err
	}
	req := &pb.ListRunsRequest{Experiment: c.ID, Arm: c.Arm}
	for _, s := range c.State {
		req.States = append(req.States, pb.RunState(pb.RunState_value["RUN_STATE_"+strings.ToUpper(s)]))
	}
	runs, err := results.ListRuns(ctx, api, req)
	if err != nil {
		return err
	}
	e := got.GetExperiment()
	if c.JSON() {
		return a.PrintJSON(map[string]any{"experiment": results.Plain(e), "runs": results.PlainRuns(runs)})
	}
	p := e.GetProgress()
	fmt.Fprintf(a.Out, "%s: %s", e.GetId(), results.StateName(e.GetState()))
	if e.GetMessage() != "" {
		fmt.Fprintf(a.Out, " (%s)", strings.Join(strings.Fields(e.GetMessage()), " "))
	}
	fmt.Fprintf(a.Out, "\ncreated %s, ended %s\n", when(e.GetCreatedAt()), when(e.GetEndedAt()))
	fmt.Fprintf(a.Out, "%s; %s/%s segments, %s at work; %s/%s tasks; %s/%s steps\n\n",
		results.RunsText(p), render.Count(p.GetSegmentsDone()), render.Count(p.GetSegments()), render.Count(p.GetSegmentsAssigned()),
		render.Count(p.GetTasksDone()), render.Count(p.GetTasks()), render.Count(p.GetStepsDone()), render.Count(p.GetSteps()))
	t := render.Table{Columns: []render.Column{{Title: "RUN"}, {Title: "ARM"}, {Title: "STATE"}, {Title: "TASKS", Align: render.Right}, {Title: "TIME", Align: render.Right}, {Title: "DIGEST"}, {Title: "NOTE"}}}
	for _, r := range runs {
		note := r.GetMessage()
		if len(r.GetParams()) > 0 {
			note = strings.TrimSpace(experiment.Label(r.GetParams()) + " " + note)
		}
		t.Add(r.GetTrial()+"/"+fmt.Sprint(r.GetSeed()), r.GetArm(), results.RunStateName(r.GetState()), fmt.Sprintf("%d/%d", r.GetTasksDone(), r.GetTasks()), seconds(r.GetSeconds()), app.Short(r.GetDigest()), note)
	}
	return t.Write(a.Out)
}

func (c *getCmd) run(ctx context.Context, a *app.App, api pb.ExperimentServiceClient) error {
	if _, _, _, err := experiment.SplitRunID(c.ID); err != nil {
		return err
	}
	got, err := api.GetRun(ctx, &pb.GetRunRequest{Id: c.ID})
	if err != nil {
		return err
	}
	if c.JSON() {
		return a.PrintMessage(got)
	}
	r := got.GetRun()
	fmt.Fprintf(a.Out, "%s: %s\n", r.GetId(), results.RunStateName(r.GetState()))
	if r.GetMessage() != "" {
		fmt.Fprintf(a.Out, "%s\n", r.GetMessage())
	}
	fmt.Fprintf(a.Out, "arm %s, seed %d, %s training\n", r.GetArm(), r.GetSeed(), seconds(r.GetSeconds()))
	if len(r.GetParams()) > 0 {
		fmt.Fprintf(a.Out, "params %s\n", params(r.GetParams()))
	}
	fmt.Fprintf(a.Out, "%d/%d tasks, %d/%d steps\n", r.GetTasksDone(), r.GetTasks(), r.GetStepsDone(), r.GetSteps())
	fmt.Fprintf(a.Out, "run key %s\nnumerics %d\n", r.GetRunKey(), r.GetNumericsVersion())
	if r.GetDigest() != "" {
		fmt.Fprintf(a.Out, "digest %s\n", r.GetDigest())
	}
	fmt.Fprintf(a.Out, "spec %s\n\n", got.GetResolvedSpec())
	t := render.Table{Columns: []render.Column{{Title: "TASK", Align: render.Right}}}
	for _, col := range got.GetTable().GetColumns() {
		name := col.GetMetric()
		if col.GetLayer() != "" {
			name += "/" + col.GetLayer()
		}
		t.Columns = append(t.Columns, render.Column{Title: name, Align: render.Right})
	}
	for _, row := range got.GetTable().GetRows() {
		cells := []string{fmt.Sprint(row.GetTask())}
		for _, v := range row.GetValues() {
			cells = append(cells, render.Number(v))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t.Write(a.Out)
}

func params(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return render.Duration(time.Duration(s * float64(time.Second)).Round(time.Millisecond))
}
