package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/internal/rpc"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "plot", Help: "Draw figures of results.", Group: app.Everyday, Place: 4,
		New: func() any { return &plotCmd{} },
	})
}

type plotCmd struct {
	Source string   `arg:"" name:"dir-or-id" help:"Folder of results, or the id of an experiment in a cluster."`
	Metric []string `help:"Metrics, or METRIC/LAYER for one layer. Default: all." placeholder:"METRIC"`
	Arms   []string `help:"Arms (or trials), in the order of the legend. Default: all, in the order of the experiment file." placeholder:"ARM"`
	X      string   `help:"What the metric is drawn against: task, step (of the per-step data), or sweep (every parameter that was swept)." enum:"task,step,sweep" default:"task"`
	Log    *bool    `help:"A logarithmic axis for the metric, or none. Default: where its values span three powers of ten." negatable:""`
	From   int64    `help:"With --x step: the first step." placeholder:"STEP"`
	To     int64    `help:"With --x step: the step after the last." placeholder:"STEP"`
	Format string   `help:"svg, pdf or png. Default: what the name of --out ends with, or svg." enum:",svg,pdf,png" default:""`
	Out    string   `short:"o" help:"File for one figure (- is the standard output), or folder for several. Default: files in the current folder, named after the experiment and the metric." placeholder:"FILE|DIR"`
	// The metrics service is asked for per-step data alone.
	Metrics string `help:"Address of the metrics service, for --x step of an experiment in a cluster. Default: ${default}." default:"localhost:7080" placeholder:"HOST:PORT"`
	app.CoordinatorFlag
}

func (plotCmd) Help() string {
	return `Draws metrics over tasks or steps: a line for each arm, its mean over seeds, with the 95 % interval as a band, or each seed as a thin line where there are fewer than three; a panel for each layer. task_accuracy, the accuracy on each task after each task, is a heat map for each arm. Of a sweep every seed is a point over each parameter, and with three parameters or more the trials are drawn as parallel coordinates, too.

  neoteny plot results/quickstart-1f3a
  neoteny plot results/quickstart-1f3a --metric online_accuracy -o accuracy.pdf
  neoteny plot results/quickstart-1f3a --metric dormant_units/hidden1 --arms backprop,l2 --format png
  neoteny plot results/quickstart-1f3a --metric loss --x step --log --from 0 --to 5000
  neoteny plot results/sweep-77aa --metric online_accuracy --x sweep
  neoteny plot quickstart-1f3a --metric online_accuracy --coordinator cluster.lab:7070 --metrics cluster.lab:7080

Over steps, what has more values than a picture has room for is thinned: lines are means of neighbouring steps, shades reach from the smallest to the largest value among them. A file of the same name is replaced. The paths of the files are printed.`
}

func (c *plotCmd) Run(ctx context.Context, a *app.App) error {
	if err := c.check(); err != nil {
		return err
	}
	r, steps, closeSteps, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeSteps()
	figures, err := c.figures(ctx, r, steps)
	if err != nil {
		return err
	}
	return c.write(a, r, figures)
}

func (c *plotCmd) check() error {
	ending := strings.TrimPrefix(strings.ToLower(filepath.Ext(c.Out)), ".")
	known := slices.Contains([]string{"svg", "pdf", "png"}, ending)
	switch {
	case !strings.Contains(c.Metrics, ":"):
		return app.Usagef("--metrics %s: that is the address of the metrics service; what is drawn is --metric", c.Metrics)
	case c.X != "step" && (c.From != 0 || c.To != 0):
		return app.Usagef("--from and --to are for --x step")
	case c.From < 0 || c.To < 0 || c.To != 0 && c.To <= c.From:
		return app.Usagef("--from %d --to %d: the steps must be at least 0, and --to above --from", c.From, c.To)
	case known && c.Format != "" && c.Format != ending:
		return app.Usagef("--format %s and --out %s do not agree", c.Format, c.Out)
	case known:
		c.Format = ending
	case c.Format == "":
		c.Format = string(chart.SVG)
	}
	return nil
}

// open reads the folder, or what the cluster has of the experiment.
func (c *plotCmd) open(ctx context.Context) (*results.Result, results.Steps, func(), error) {
	nothing := func() {}
	info, err := os.Stat(c.Source)
	switch {
	case err == nil && info.IsDir():
		r, err := results.OpenFolder(c.Source)
		return r, results.FolderSteps(c.Source), nothing, err
	case err == nil:
		return nil, nil, nil, app.Usagef("%s is a file: give the folder of results that it is in", c.Source)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil, err
	case strings.ContainsAny(c.Source, `/\.`):
		return nil, nil, nil, app.Usagef("there is no folder %s", c.Source)
	}
	api, conn, err := c.Dial()
	if err != nil {
		return nil, nil, nil, err
	}
	defer conn.Close()
	r, err := results.Fetch(ctx, api, c.Source)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s is no folder here, and as an experiment: %w", c.Source, err)
	}
	if c.X != "step" {
		return r, nil, nothing, nil
	}
	data, err := rpc.Dial(c.Metrics)
	if err != nil {
		return nil, nil, nil, err
	}
	return r, results.ServiceSteps{API: pb.NewMetricsServiceClient(data)}, func() { data.Close() }, nil
}

// figures draws what is asked for. A metric that is named and has nothing to draw is an
// error; of all metrics those are left out.
func (c *plotCmd) figures(ctx context.Context, r *results.Result, steps results.Steps) (out []results.NamedFigure, err error) {
	metrics := c.Metric
	if len(metrics) == 0 {
		metrics = r.Metrics()
	}
	if len(metrics) == 0 {
		return nil, fmt.Errorf("nothing is measured of %s yet: no run is done", r.Experiment.GetId())
	}
	if c.X == "sweep" && !r.Swept() {
		return nil, fmt.Errorf("--x sweep: no parameter was swept in %s", r.Experiment.GetId())
	}
	for _, metric := range metrics {
		sel, err := r.Select(metric, c.Arms, c.Log)
		if err != nil {
			return nil, err
		}
		name := strings.ReplaceAll(strings.ReplaceAll(metric, "-", "_"), "/", "-")
		n := len(out)
		add := func(ending string, f *chart.Figure) {
			if f != nil {
				out = append(out, results.NamedFigure{Name: name + ending, Figure: f})
			}
		}
		switch c.X {
		case "step":
			f, err := r.StepFigure(ctx, steps, sel, results.StepRange{From: c.From, To: c.To})
			if err != nil {
				return nil, err
			}
			add("-steps", f)
		case "sweep":
			add("-sweep", r.SweepFigure(sel))
			add("-parallel", r.ParallelFigure(sel))
		default:
			add("", r.TaskFigure(sel))
		}
		if len(out) == n && len(c.Metric) > 0 {
			return nil, c.nothing(metric, steps)
		}
	}
	if len(out) == 0 {
		return nil, c.nothing("any metric", steps)
	}
	return out, nil
}

func (c *plotCmd) nothing(metric string, steps results.Steps) error {
	switch _, cluster := steps.(results.ServiceSteps); {
	case cluster:
		return fmt.Errorf("the metrics service at %s has no values of %s in these steps; --metrics gives another address", c.Metrics, metric)
	case c.X == "step":
		return fmt.Errorf("there are no per-step values of %s in these steps; were the results saved with --no-steps?", metric)
	}
	return fmt.Errorf("there are no values of %s for these arms", metric)
}

// write writes the figures and prints where they are.
func (c *plotCmd) write(a *app.App, r *results.Result, figures []results.NamedFigure) error {
	format := chart.Format(c.Format)
	info, err := os.Stat(c.Out)
	folder := err == nil && info.IsDir() || strings.HasSuffix(c.Out, "/") || strings.HasSuffix(c.Out, string(filepath.Separator))
	if c.Out == "-" {
		if len(figures) > 1 {
			return app.Usagef("--out - is for one figure, and these are %d: name one metric with --metric", len(figures))
		}
		return figures[0].Write(a.Out, format)
	}
	if c.Out != "" && !folder && len(figures) > 1 {
		if filepath.Ext(c.Out) != "" {
			return app.Usagef("--out %s is one file, and these are %d figures: give a folder, or name one metric with --metric", c.Out, len(figures))
		}
		folder = true
	}
	var paths []string
	for _, f := range figures {
		path := r.Experiment.GetId() + "-" + f.Name + "." + c.Format
		switch {
		case folder:
			path = filepath.Join(c.Out, path)
		case c.Out != "":
			path = c.Out
		}
		paths = append(paths, path)
	}
	if folder {
		if err := os.MkdirAll(c.Out, 0o755); err != nil {
			return err
		}
	}
	for i, f := range figures {
		var b bytes.Buffer // whole, so that a figure that cannot be drawn replaces none
		if err := f.Write(&b, format); err != nil {
			return err
		}
		if err := os.WriteFile(paths[i], b.Bytes(), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.Out, paths[i])
	}
	return nil
}
