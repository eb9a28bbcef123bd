package results

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
)

// sweptTrial is a trial of a sweep with one value per seed: the mean over tasks.
type sweptTrial struct {
	arm    string
	params map[string]json.RawMessage
	values []float64
}

// Swept reports whether a sweep has set anything.
func (r *Result) Swept() bool { return len(r.sweptPaths(nil)) > 0 }

// sweptPaths are the parameters that a sweep has set in several ways, sorted.
func (r *Result) sweptPaths(arms []string) []string {
	values := map[string]map[string]bool{}
	r.eachTrial(arms, func(_ string, t *report.Trial) {
		for path, v := range t.Params {
			if values[path] == nil {
				values[path] = map[string]bool{}
			}
			values[path][string(v)] = true
		}
	})
	return slices.DeleteFunc(sortedKeys(values), func(p string) bool { return len(values[p]) < 2 })
}

// eachTrial calls fn with the trials that were tuned, of some arms or of all.
func (r *Result) eachTrial(arms []string, fn func(arm string, t *report.Trial)) {
	for i := range r.Summary.Arms {
		a := &r.Summary.Arms[i]
		if arms != nil && !slices.Contains(arms, a.Arm) {
			continue
		}
		for k := range a.Trials {
			if !a.Trials[k].Confirmation {
				fn(a.Arm, &a.Trials[k])
			}
		}
	}
}

// arms of a selection, each once.
func (s Selection) arms() []string {
	var out []string
	for _, c := range s.shown {
		if !slices.Contains(out, c.arm) {
			out = append(out, c.arm)
		}
	}
	return out
}

// layer is the one that a figure of single values shows: the whole network unless the
// selection names another.
func (r *Result) layer(sel Selection) string {
	if sel.Layer != nil {
		return *sel.Layer
	}
	if layers := r.layers(sel.Metric); len(layers) > 0 {
		return layers[0] // that of the whole network is "", which comes first
	}
	return ""
}

// sweptTrials are the trials of a sweep with their values, and how many runs have none.
func (r *Result) sweptTrials(sel Selection) (trials []sweptTrial, without int) {
	layer := r.layer(sel)
	r.eachTrial(sel.arms(), func(arm string, t *report.Trial) {
		one := sweptTrial{arm: arm, params: t.Params}
		for _, run := range r.runsOf(arm, t) {
			if v := meanOf(run.column(sel.Metric, layer, int(run.GetTasks()))); !math.IsNaN(v) && !math.IsInf(v, 0) {
				one.values = append(one.values, v)
			}
		}
		without += t.Runs() - len(one.values)
		trials = append(trials, one)
	})
	return trials, without
}

// valuesOf are the extremes of all seeds.
func valuesOf(trials []sweptTrial) extremes {
	e := nothingMeasured
	for _, t := range trials {
		for _, v := range t.values {
			e.add(v)
		}
	}
	return e
}

// meanOf is the mean of what was measured, NaN without any.
func meanOf(values []float64) float64 {
	sum, n := 0.0, 0.0
	for _, v := range values {
		if !math.IsNaN(v) {
			sum, n = sum+v, n+1
		}
	}
	return sum / n
}

// sweptAxis is the axis of a parameter: numbers, logarithmic where they span several
// powers of ten, or names where there are words among them or few numbers that no axis
// would show well, such as 0, 1e-4 and 1e-2.
func sweptAxis(label string, texts []string) (chart.Axis, func(text string) float64) {
	a := chart.Axis{Label: label}
	var names []string
	numbers, all := []float64{}, true
	for _, t := range texts {
		if slices.Contains(names, t) {
			continue
		}
		names = append(names, t)
		v, err := strconv.ParseFloat(t, 64)
		numbers, all = append(numbers, v), all && err == nil
	}
	low, high := 0.0, 0.0
	if all && len(numbers) > 0 {
		low, high = slices.Min(numbers), slices.Max(numbers)
	}
	smallest := math.Inf(1)
	for _, v := range numbers {
		if v != 0 {
			smallest = min(smallest, math.Abs(v))
		}
	}
	wide := max(math.Abs(low), math.Abs(high)) >= 20*smallest
	const few = 8
	if all && len(numbers) <= few {
		a.Marks = numbers
	}
	switch {
	case all && low > 0 && wide:
		a.Log = true
	case all && (!wide || len(names) > few):
	default:
		if all {
			slices.SortFunc(names, func(a, b string) int { return cmp.Compare(parsed(a), parsed(b)) })
		}
		a.Marks = nil
		for _, n := range names {
			a.Names = append(a.Names, spokenValue(n))
		}
		return a, func(t string) float64 { return float64(slices.Index(names, t)) }
	}
	return a, parsed
}

// parsed reads a number, NaN where it is none.
func parsed(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// spokenValue writes a JSON value as people do.
func spokenValue(text string) string {
	label := experiment.Label(map[string]string{"v": text})
	return strings.TrimPrefix(label, "v=")
}

// sweptLabel names a parameter by its short name, and by its path where that says more.
func sweptLabel(short, path string) string {
	if short == path {
		return path
	}
	return short + " (" + path + ")"
}

func (t sweptTrial) text(path string) string {
	raw := t.params[path]
	var v any
	if json.Unmarshal(raw, &v) == nil {
		if f, ok := v.(float64); ok {
			return strconv.FormatFloat(f, 'g', -1, 64)
		}
	}
	return string(raw)
}

// SweepFigure draws a metric against each parameter that a sweep has set, every seed a
// point; nil where nothing was swept.
func (r *Result) SweepFigure(sel Selection) *chart.Figure {
	arms := sel.arms()
	paths := r.sweptPaths(arms)
	trials, without := r.sweptTrials(sel)
	if len(paths) == 0 {
		return nil
	}
	w := r.describe(sel.Metric)
	log := sel.logarithmic(w, valuesOf(trials))
	f := &chart.Figure{Title: w.Title + " against what was swept in " + r.Experiment.GetId(), Y: w.axis(log)}
	for _, arm := range arms {
		f.Legend = append(f.Legend, chart.Entry{Name: arm})
	}
	measured := false
	short := experiment.ShortNames(paths)
	for _, path := range paths {
		var texts []string
		for _, t := range trials {
			if _, ok := t.params[path]; ok {
				texts = append(texts, t.text(path))
			}
		}
		axis, place := sweptAxis(sweptLabel(short[path], path), texts)
		var points chart.Points
		for entry, arm := range arms {
			at := map[float64]int{} // group by place
			first := len(points.Groups)
			for _, t := range trials {
				if _, ok := t.params[path]; !ok || t.arm != arm {
					continue
				}
				x := place(t.text(path))
				i, ok := at[x]
				if !ok {
					i = len(points.Groups)
					at[x] = i
					points.Groups = append(points.Groups, chart.Group{Entry: entry, X: x})
				}
				points.Groups[i].Values = append(points.Groups[i].Values, t.values...)
				measured = measured || len(t.values) > 0
			}
			slices.SortFunc(points.Groups[first:], func(a, b chart.Group) int { return cmp.Compare(a.X, b.X) })
		}
		f.Panels = append(f.Panels, chart.Panel{X: &axis, Content: points})
	}
	if !measured {
		return nil
	}
	f.Notes = []string{strings.TrimSpace(r.sweptNote(sel, w) + " Each point is a seed; dashes are means over all runs with the value." + withoutNote(without))}
	return f
}

func (r *Result) sweptNote(sel Selection, w words) string {
	layer := r.layer(sel)
	note := "Mean over tasks"
	if w.Reduced != "" {
		what := "the "
		if strings.HasPrefix(w.Reduced, "at ") {
			what = "the value "
		}
		note += " of " + what + w.Reduced
	}
	if layer != "" {
		note += ", in " + layer
	}
	return note + "."
}

func withoutNote(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " One run has no value: it diverged or did not finish."
	}
	return fmt.Sprintf(" %d runs have no value: they diverged or did not finish.", n)
}

// parallelFrom is from how many parameters on parallel coordinates are drawn.
const parallelFrom = 3

// ParallelFigure draws the trials of a sweep over three or more parameters as parallel
// coordinates, a panel for each arm; nil where fewer were swept.
func (r *Result) ParallelFigure(sel Selection) *chart.Figure {
	trials, without := r.sweptTrials(sel)
	w := r.describe(sel.Metric)
	log := sel.logarithmic(w, valuesOf(trials))
	f := &chart.Figure{Title: w.Title + " and what was swept in " + r.Experiment.GetId(), Ramp: &chart.Ramp{Label: w.axis(false).Label}}
	span := nothingMeasured
	for _, arm := range sel.arms() {
		paths := r.sweptPaths([]string{arm})
		if len(paths) < parallelFrom {
			continue
		}
		var p chart.Parallel
		short := experiment.ShortNames(paths)
		var places []func(string) float64
		for _, path := range paths {
			var texts []string
			for _, t := range trials {
				if t.arm == arm {
					texts = append(texts, t.text(path))
				}
			}
			axis, place := sweptAxis(short[path], texts)
			p.Axes, places = append(p.Axes, axis), append(places, place)
		}
		p.Axes = append(p.Axes, w.axis(log))
		for _, t := range trials {
			if t.arm != arm || len(t.values) == 0 {
				continue
			}
			c := chart.Combination{Value: meanOf(t.values)}
			for i, path := range paths {
				c.At = append(c.At, places[i](t.text(path)))
			}
			c.At = append(c.At, c.Value)
			p.Lines = append(p.Lines, c)
			span.add(c.Value)
		}
		if len(p.Lines) > 0 {
			f.Panels = append(f.Panels, chart.Panel{Title: arm, Content: p})
		}
	}
	if len(f.Panels) == 0 {
		return nil
	}
	switch {
	case log && span.low > 0:
		f.Ramp.Log = true
		if span.low == span.high {
			span.low, span.high = span.low/2, span.high*2
		}
	case span.low == span.high:
		span.low, span.high = span.low-0.5, span.high+0.5
	}
	f.Ramp.Low, f.Ramp.High = span.low, span.high
	f.Notes = []string{r.sweptNote(sel, w) + " Each line is a trial, its mean over seeds." + withoutNote(without)}
	if len(f.Panels) > maxPanels {
		f.Notes = append(f.Notes, fmt.Sprintf("The first %d of %d arms.", maxPanels, len(f.Panels)))
		f.Panels = f.Panels[:maxPanels]
	}
	return f
}
