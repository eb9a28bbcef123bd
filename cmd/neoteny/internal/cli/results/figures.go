package results

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/chart"
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

// figures are those of all metrics, in order of their names.
func (r *Result) figures() []NamedFigure {
	var out []NamedFigure
	for _, metric := range r.Metrics() {
		if !plainName(metric) {
			continue
		}
		f := r.taskFigure(metric, r.shown(), false)
		if metric == matrixMetric {
			f = r.matrixFigure(r.shown())
		}
		if f != nil {
			out = append(out, NamedFigure{metric, f})
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

// taskFigure draws a metric over tasks, nil where there is nothing to draw.
func (r *Result) taskFigure(metric string, shown []shownCurve, log bool) *chart.Figure {
	w := r.describe(metric)
	panels, perPoint := map[string]chart.Lines{}, 1
	for i, s := range shown {
		for _, m := range s.trial.Metrics {
			if m.Metric != metric {
				continue
			}
			c := r.taskCurve(s.arm, s.trial, m)
			if c.Entry = i; !c.Measured() {
				continue
			}
			c, size := c.Averaged(maxPoints)
			perPoint = max(perPoint, size)
			lines := panels[m.Layer]
			lines.Curves = append(lines.Curves, c)
			panels[m.Layer] = lines
		}
	}
	f := &chart.Figure{
		Title: w.Title + " of " + r.Experiment.GetId(), Legend: legend(shown),
		X: chart.Axis{Label: "Task", Whole: true}, Y: w.axis(log),
	}
	var note []string
	if w.Reduced != "" {
		note = append(note, sentence("%s", w.Reduced))
	}
	note = append(note, seedsNote(shown, metric)...)
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
		values[t] = math.NaN()
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
