package results

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/chart"
)

// matrixMetric is the metric whose layers are tasks: the accuracy on each of them, after
// each of them.
const matrixMetric = "task_accuracy"

// maxCells bounds the rows and columns of a matrix that is drawn.
const maxCells = 120

// matrixFigure draws the accuracy matrix of each arm as a heat map.
func (r *Result) matrixFigure(shown []shownCurve) *chart.Figure {
	w := r.describe(matrixMetric)
	f := &chart.Figure{
		Title: "Accuracy on each task after each task of " + r.Experiment.GetId(),
		X:     chart.Axis{Label: "Accuracy on task", Whole: true},
		Y:     chart.Axis{Label: "After training on task", Whole: true, Down: true},
	}
	values, cut := nothingMeasured, 0
	for _, s := range shown {
		var h chart.Heat
		for _, m := range s.trial.Metrics {
			task, err := strconv.Atoi(strings.TrimPrefix(m.Layer, "task"))
			if m.Metric != matrixMetric || err != nil || task < 0 {
				continue
			}
			if task >= maxCells || len(m.PerTask.Mean) > maxCells {
				cut = max(cut, task+1, len(m.PerTask.Mean))
			}
			for after, v := range m.PerTask.Mean[:min(len(m.PerTask.Mean), maxCells)] {
				if task < maxCells {
					h.Set(after, task, float64(v))
					values.add(float64(v))
				}
			}
		}
		if len(h.Values) > 0 {
			title := s.name
			if note := missing(s.trial); note != "" {
				title += " (" + note + ")"
			}
			f.Panels = append(f.Panels, chart.Panel{Title: title, Content: h})
		}
	}
	if len(f.Panels) == 0 || values.low > values.high {
		return nil
	}
	// Ends at whole tenths, so that pictures of much the same results have the same ones.
	f.Ramp = &chart.Ramp{Label: w.axis(false).Label, Low: math.Floor(values.low*10) / 10, High: math.Ceil(values.high*10) / 10}
	if f.Ramp.Low == f.Ramp.High {
		f.Ramp.Low, f.Ramp.High = max(f.Ramp.Low-0.1, 0), min(f.Ramp.High+0.1, 1)
	}
	if low, high, _ := seedCounts(shown, matrixMetric); low == high {
		f.Notes = append(f.Notes, fmt.Sprintf("Mean over %s.", count(high, "seed")))
	} else {
		f.Notes = append(f.Notes, fmt.Sprintf("Mean over %d to %d seeds.", low, high))
	}
	if cut > 0 {
		f.Notes = append(f.Notes, fmt.Sprintf("The first %d of %d tasks.", maxCells, cut))
	}
	if len(f.Panels) > maxPanels {
		f.Notes = append(f.Notes, fmt.Sprintf("The first %d of %d arms.", maxPanels, len(f.Panels)))
		f.Panels = f.Panels[:maxPanels]
	}
	return f
}

// extremes are the smallest and the largest of some values.
type extremes struct{ low, high float64 }

var nothingMeasured = extremes{math.Inf(1), math.Inf(-1)}

func (e *extremes) add(v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		e.low, e.high = min(e.low, v), max(e.high, v)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
