package results

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// NamedFigure is a figure and the name of its file, without the kind of file.
type NamedFigure struct {
	Name string
	*chart.Figure
}

// maxPanels bounds the layers of a figure.
const maxPanels = 16

// maxPoints is how many points of a line are drawn.
const maxPoints = 1000

// writePlots writes plots/<metric>.svg: the metric over tasks for every arm, a panel per
// layer, and what else there is to show without per-step data.
func (r *Result) writePlots(dir string) error {
	for _, f := range r.figures() {
		if err := writeFile(filepath.Join(dir, "plots", f.Name+".svg"), f.WriteSVG); err != nil {
			return err
		}
	}
	return nil
}

// maxPlotSteps bounds the steps of the runs whose per-step data are drawn unasked: that
// reads all of them again.
const maxPlotSteps = 20_000_000

// writeStepPlots writes plots/<metric>-steps.svg of what was measured at steps, from the
// per-step data of the folder.
func (r *Result) writeStepPlots(ctx context.Context, dir string) error {
	steps := int64(0)
	for _, run := range r.Runs {
		steps += run.GetStepsDone()
	}
	if steps > maxPlotSteps {
		return nil
	}
	for _, metric := range r.Metrics() {
		if !plainName(metric) || !r.describe(metric).PerStep {
			continue
		}
		f, err := r.StepFigure(ctx, FolderSteps(dir), Selection{Metric: metric, shown: r.shown()}, StepRange{})
		if err != nil {
			return err
		}
		if f == nil {
			continue
		}
		if err := writeFile(filepath.Join(dir, "plots", metric+"-steps.svg"), f.WriteSVG); err != nil {
			return err
		}
	}
	return nil
}

// figures are those of all metrics, in order of their names.
func (r *Result) figures() []NamedFigure {
	var out []NamedFigure
	add := func(name string, f *chart.Figure) {
		if f != nil {
			out = append(out, NamedFigure{name, f})
		}
	}
	for _, metric := range r.Metrics() {
		if !plainName(metric) {
			continue
		}
		sel := Selection{Metric: metric, shown: r.shown()}
		add(metric, r.TaskFigure(sel))
		if r.Swept() && metric != matrixMetric {
			add(metric+"-sweep", r.SweepFigure(sel))
			add(metric+"-parallel", r.ParallelFigure(sel))
		}
	}
	return out
}

// Metrics are the names of what was measured.
func (r *Result) Metrics() []string {
	names := map[string]bool{}
	for i := range r.Summary.Arms {
		for k := range r.Summary.Arms[i].Trials {
			for _, m := range r.Summary.Arms[i].Trials[k].Metrics {
				names[m.Metric] = true
			}
		}
	}
	return sortedKeys(names)
}

// Selection is what a figure shows.
type Selection struct {
	Metric string
	Layer  *string // one layer only; nil for all
	Log    *bool   // a logarithmic axis; nil: where the values need one
	shown  []shownCurve
}

// Select chooses a metric, "metric" or "metric/layer" with hyphens or underscores, and
// arms or trials in the order in which they are named; none means all.
func (r *Result) Select(metric string, arms []string, log *bool) (Selection, error) {
	sel := Selection{Log: log}
	name, layer, one := strings.Cut(metric, "/")
	sel.Metric = strings.ReplaceAll(name, "-", "_")
	have := r.Metrics()
	if !slices.Contains(have, sel.Metric) {
		return sel, fmt.Errorf("no metric %q in %s%s (have: %s)", name, r.Experiment.GetId(), likeMetric(sel.Metric, have), strings.Join(have, ", "))
	}
	if one {
		layers := r.layers(sel.Metric)
		if !slices.Contains(layers, layer) {
			layers = slices.DeleteFunc(layers, func(l string) bool { return l == "" })
			return sel, fmt.Errorf("no layer %q of %s%s (have: %s)", layer, sel.Metric, component.DidYouMean(layer, layers), strings.Join(layers, ", "))
		}
		sel.Layer = &layer
	}
	all := r.shown()
	if len(arms) == 0 {
		sel.shown = all
		return sel, nil
	}
	for _, arm := range arms {
		n := len(sel.shown)
		for _, s := range all {
			if s.arm == arm || s.trial.Trial == arm || s.name == arm {
				sel.shown = append(sel.shown, s)
			}
		}
		if len(sel.shown) == n {
			names := r.armNames()
			return sel, fmt.Errorf("no arm %q in %s%s (have: %s)", arm, r.Experiment.GetId(), component.DidYouMean(arm, names), strings.Join(names, ", "))
		}
	}
	return sel, nil
}

// likeMetric suggests a metric for a name that is none: one that is spelt much like it,
// or has a word that is.
func likeMetric(name string, have []string) string {
	if like := component.DidYouMean(name, have); like != "" {
		return like
	}
	for _, m := range have {
		if words := strings.Split(m, "_"); slices.Contains(words, name) || component.DidYouMean(name, words) != "" {
			return component.DidYouMean(m, have)
		}
	}
	return ""
}

// layers of a metric; "" is the whole network.
func (r *Result) layers(metric string) []string {
	names := map[string]bool{}
	for i := range r.Summary.Arms {
		for k := range r.Summary.Arms[i].Trials {
			for _, m := range r.Summary.Arms[i].Trials[k].Metrics {
				if m.Metric == metric {
					names[m.Layer] = true
				}
			}
		}
	}
	return sortedKeys(names)
}

// shownCurve is one line of the figures: the runs that stand for an arm.
type shownCurve struct {
	arm string
	shownTrial
}

// shown are the curves of all arms, in the order of the experiment.
func (r *Result) shown() []shownCurve {
	var out []shownCurve
	for _, name := range r.armNames() {
		i := slices.IndexFunc(r.Summary.Arms, func(a report.Arm) bool { return a.Arm == name })
		for _, s := range shownTrials(&r.Summary.Arms[i]) {
			out = append(out, shownCurve{name, s})
		}
	}
	return out
}

// armNames are the arms that have runs, in the order of the experiment.
func (r *Result) armNames() []string {
	var have []string
	for _, a := range r.Summary.Arms {
		have = append(have, a.Arm)
	}
	order := slices.DeleteFunc(experiment.ArmOrder(r.Experiment.GetSpec()), func(a string) bool { return !slices.Contains(have, a) })
	for _, a := range have {
		if !slices.Contains(order, a) {
			order = append(order, a)
		}
	}
	return order
}

// legend names the curves, with what became of the seeds that are in none.
func legend(shown []shownCurve) []chart.Entry {
	out := make([]chart.Entry, len(shown))
	for i, s := range shown {
		out[i] = chart.Entry{Name: s.name, Note: missing(s.trial)}
	}
	return out
}

// TaskFigure draws a metric over tasks, nil where there is nothing to draw. A matrix
// over tasks is a heat map for each arm.
func (r *Result) TaskFigure(sel Selection) *chart.Figure {
	if sel.Metric == matrixMetric && sel.Layer == nil {
		return r.matrixFigure(sel.shown)
	}
	w := r.describe(sel.Metric)
	panels, perPoint := map[string]chart.Lines{}, 1
	for i, s := range sel.shown {
		for _, m := range s.trial.Metrics {
			if m.Metric != sel.Metric || sel.Layer != nil && m.Layer != *sel.Layer {
				continue
			}
			c := r.taskCurve(s.arm, s.trial, m)
			if c.Entry = i; !c.Measured() {
				continue
			}
			lines := panels[m.Layer]
			lines.Curves = append(lines.Curves, c)
			panels[m.Layer] = lines
		}
	}
	for _, lines := range panels {
		perPoint = max(perPoint, condense(lines.Curves))
	}
	log := sel.logarithmic(w, meansOf(panels))
	f := &chart.Figure{
		Title: w.Title + " of " + r.Experiment.GetId(), Legend: legend(sel.shown),
		X: chart.Axis{Label: "Task", Whole: true}, Y: w.axis(log),
	}
	var note []string
	if w.Reduced != "" {
		note = append(note, sentence("%s", w.Reduced))
	}
	note = append(note, seedsNote(sel.shown, sel.Metric)...)
	if perPoint > 1 {
		note = append(note, sentence("each point is the mean of %d tasks", perPoint))
	}
	f.Notes = append(f.Notes, strings.Join(note, " "))
	r.addPanels(f, panels)
	if len(f.Panels) == 0 {
		return nil
	}
	f.Notes = append(f.Notes, logNote(log, panels)...)
	return f
}

// logarithmic reports whether the axis of a figure is logarithmic: as is asked for, or
// where values without an upper end span so many powers of ten, as losses do where some
// arms explode, that on another axis all but the largest are 0.
func (s Selection) logarithmic(w words, values extremes) bool {
	if s.Log != nil {
		return *s.Log
	}
	_, top := w.Range.Ends()
	return math.IsInf(top, 1) && values.low > 0 && values.high/values.low >= 1000
}

// meansOf are the extremes of the lines of a figure.
func meansOf(panels map[string]chart.Lines) extremes {
	e := nothingMeasured
	for _, l := range panels {
		for _, c := range l.Curves {
			for _, v := range c.Mean {
				e.add(v)
			}
		}
	}
	return e
}

// condense leaves out the tasks of which no curve has a value, as a metric that is
// measured at every tenth task has none between, so that lines go on; where some curves
// have one the others have a gap. It then averages neighbours where there are too many,
// and returns how many.
func condense(curves []chart.Curve) (perPoint int) {
	measured := map[float64]bool{}
	for _, c := range curves {
		for t, x := range c.X {
			measured[x] = measured[x] || !math.IsNaN(c.Mean[t])
		}
	}
	perPoint = 1
	for i := range curves {
		c := curves[i].Only(func(x float64) bool { return measured[x] })
		c, size := c.Averaged(maxPoints)
		curves[i], perPoint = c, max(perPoint, size)
	}
	return perPoint
}

// addPanels makes a panel of each layer, that of the whole network first.
func (r *Result) addPanels(f *chart.Figure, panels map[string]chart.Lines) {
	layers := sortedKeys(panels)
	if len(layers) > maxPanels {
		f.Notes = append(f.Notes, sentence("the first %d of %d layers", maxPanels, len(layers)))
		layers = layers[:maxPanels]
	}
	for _, layer := range layers {
		title := layer
		if layer == "" && len(layers) > 1 {
			title = "Whole network"
		}
		f.Panels = append(f.Panels, chart.Panel{Title: title, Content: panels[layer]})
	}
}

// notMeasured stands where there is no value.
var notMeasured = math.NaN()

// fewSeeds is below how many seeds each of them is drawn in place of a band.
const fewSeeds = 3

// taskCurve is a metric over tasks with its interval, or with each seed where there are
// few.
func (r *Result) taskCurve(arm string, trial *report.Trial, m report.Metric) chart.Curve {
	c := chart.Curve{X: make([]float64, len(m.PerTask.Mean)), Mean: floats(m.PerTask.Mean)}
	for t := range c.X {
		c.X[t] = float64(t)
	}
	switch n := m.N; {
	case n >= fewSeeds:
		c.Low, c.High = floats(m.PerTask.Low), floats(m.PerTask.High)
	case n > 1:
		for _, run := range r.runsOf(arm, trial) {
			c.Seeds = append(c.Seeds, run.column(m.Metric, m.Layer, len(c.X)))
		}
	}
	return c
}

// runsOf are the runs of a trial that its statistics are of.
func (r *Result) runsOf(arm string, trial *report.Trial) []Run {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool {
		return run.GetState() != pb.RunState_RUN_STATE_DONE || run.GetArm() != arm || run.GetTrial() != trial.Trial || run.GetConfirmation() != trial.Confirmation
	})
}

// column is a column of the task table, one value per task.
func (r Run) column(metric, layer string, tasks int) []float64 {
	values := make([]float64, tasks)
	for t := range values {
		values[t] = notMeasured
	}
	for i, c := range r.Table.GetColumns() {
		if c.GetMetric() != metric || c.GetLayer() != layer {
			continue
		}
		for _, row := range r.Table.GetRows() {
			if t := int(row.GetTask()); t >= 0 && t < tasks && i < len(row.GetValues()) {
				values[t] = row.GetValues()[i]
			}
		}
	}
	return values
}

// seedsNote says what lines, bands and thin lines are.
func seedsNote(shown []shownCurve, metric string) (notes []string) {
	low, high, one := seedCounts(shown, metric)
	switch {
	case high == 0:
		return nil
	case high == 1:
		return []string{"One seed: no interval."}
	case low == high:
		notes = append(notes, sentence("lines: mean over %d seeds", high))
	default:
		notes = append(notes, sentence("lines: mean over %d to %d seeds", low, high))
	}
	if high >= fewSeeds {
		notes = append(notes, "Bands: pointwise 95 % interval of the mean (Student's t), cut off at the edges.")
	}
	if one {
		notes = append(notes, "Thin lines: the single seeds.")
	}
	return notes
}

// seedCounts are the smallest and largest number of seeds of a curve, and whether there
// are curves of two, which are drawn seed by seed.
func seedCounts(shown []shownCurve, metric string) (low, high int, two bool) {
	for _, s := range shown {
		for _, m := range s.trial.Metrics {
			if m.Metric != metric || m.N == 0 {
				continue
			}
			if low == 0 || m.N < low {
				low = m.N
			}
			high = max(high, m.N)
			two = two || m.N == fewSeeds-1
		}
	}
	return low, high, two
}

// logNote says what a logarithmic axis leaves out.
func logNote(log bool, panels map[string]chart.Lines) []string {
	n := 0
	for _, l := range panels {
		for _, c := range l.Curves {
			for _, v := range c.Mean {
				if v <= 0 {
					n++
				}
			}
		}
	}
	if !log || n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d points at or below 0 have no place on the logarithmic axis.", n)}
}
