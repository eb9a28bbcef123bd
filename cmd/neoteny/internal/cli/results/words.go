package results

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/cmd/neoteny/internal/cli/chart"
	"neoteny/pkg/engine/probe"
)

// words is what a metric is called in pictures, and how its values came about.
type words struct {
	probe.Metric
	// PerStep: it is measured at every step, or every so many.
	PerStep bool
	// Reduced says what the value of a task is: "mean over each task".
	Reduced string
}

// describe finds the words for a metric: those of the probe that the experiment
// measures it with, or that is known to measure it.
func (r *Result) describe(metric string) words {
	var reduced []string
	var found words
	for _, p := range r.probes() {
		m, info, ok := ofProbe(p, metric)
		if !ok {
			continue
		}
		perStep, how := reduction(p, info)
		found = words{Metric: m, PerStep: found.PerStep || perStep}
		if !slices.Contains(reduced, how) {
			reduced = append(reduced, how)
		}
	}
	if len(reduced) == 0 {
		m, info, ok := probe.Describe(metric)
		if !ok {
			return words{Metric: probe.Metric{Metric: metric, Title: spoken(metric)}}
		}
		perStep, how := reduction(nil, info)
		return words{m, perStep, how}
	}
	found.Reduced = strings.Join(reduced, ", or ") // arms may differ
	return found
}

// probes are the probe objects of the base and of all arms.
func (r *Result) probes() []*structpb.Struct {
	all := slices.Clone(r.Experiment.GetSpec().GetProbes())
	for _, arm := range sortedKeys(r.Experiment.GetSpec().GetArms()) {
		for _, v := range r.Experiment.GetSpec().GetArms()[arm].GetFields()["probes"].GetListValue().GetValues() {
			all = append(all, v.GetStructValue())
		}
	}
	return all
}

// ofProbe returns what a probe object says of a metric, if it emits it.
func ofProbe(p *structpb.Struct, metric string) (probe.Metric, probe.Info, bool) {
	info, ok := probe.Of(p.GetFields()["kind"].GetStringValue())
	if !ok {
		return probe.Metric{}, info, false
	}
	as := p.GetFields()["as"].GetStringValue()
	for _, m := range info.Metrics {
		switch metric {
		case as:
			m.Metric, m.Title = metric, spoken(metric)
			return m, info, true
		case m.Metric:
			return m, info, as == ""
		}
	}
	return probe.Metric{}, info, false
}

// reduction says when a probe measures, and what the value of a task is.
func reduction(p *structpb.Struct, info probe.Info) (perStep bool, how string) {
	every, at, reduce := info.Every, info.At, info.Reduce
	switch v := p.GetFields()["every"].GetKind().(type) {
	case *structpb.Value_StringValue:
		every = v.StringValue
	case *structpb.Value_NumberValue:
		every = "step"
	}
	if v := p.GetFields()["at"].GetStringValue(); v != "" {
		at = v
	}
	if v := p.GetFields()["reduce"].GetStringValue(); v != "" {
		reduce = v
	}
	if every == "step" {
		return true, map[string]string{"last": "last value of each task", "max": "largest value of each task"}[reduce] +
			map[bool]string{true: "mean over each task"}[reduce == "" || reduce == "mean"]
	}
	how = "at the end of each task"
	if at == "start" {
		how = "at the start of each task"
	}
	if n, tasks := strings.CutSuffix(every, " tasks"); tasks {
		how = strings.Replace(how, "each task", "every "+n+" tasks", 1)
	}
	return false, how
}

// spoken writes a snake_case name as words.
func spoken(name string) string {
	s := strings.ReplaceAll(name, "_", " ")
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}

// axis is the axis of a metric, with its unit and its range.
func (w words) axis(log bool) chart.Axis {
	a := chart.Axis{Label: w.Title, Log: log}
	if w.Unit != "" {
		a.Label += " (" + w.Unit + ")"
	}
	if low, high := w.Range.Ends(); !math.IsInf(low, 0) || !math.IsInf(high, 0) {
		a.Low, a.High = low, high
	}
	return a
}

// sentence starts with a capital letter and ends with a full stop.
func sentence(format string, args ...any) string {
	return spoken(fmt.Sprintf(format, args...)) + "."
}
