package report

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// Summarize computes the result of an experiment from its runs. Runs that diverged
// or are missing are not errors: every number says of how many seeds it is, and what
// the others leave open is said in the messages of claims.
func Summarize(spec *pb.ExperimentSpec, runs []RunTable) (*Summary, error) {
	c, err := collect(runs)
	if err != nil {
		return nil, err
	}
	selected, boot := c.selected(spec), sampler{}
	s := &Summary{Name: spec.GetName(), Paper: spec.GetPaper(), Arms: []Arm{}, Claims: []Claim{}}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		arm := Arm{Arm: name, Selected: selected[name]}
		for _, st := range c.stages(name) {
			t := summarizeTrial(st, c[name][st], boot)
			if spec.GetSelect() != nil && !st.confirmation && !isAnalysis(name) {
				score := Number(scoreOf(c[name][st].done, spec.GetSelect()))
				t.Score = &score
			}
			arm.Trials = append(arm.Trials, t)
		}
		if isAnalysis(name) {
			s.Analyses = append(s.Analyses, Analysis{arm.Trials[0].Trial, arm.Trials})
			continue
		}
		if spec.GetSelect() != nil && arm.Selected != "" {
			arm.PassedOver = c.passedOver(name, arm.Selected)
		}
		s.Arms = append(s.Arms, arm)
	}
	s.Gaps = c.gaps(spec, selected, boot)
	for _, cl := range spec.GetClaims() {
		s.Claims = append(s.Claims, c.judge(cl, spec, selected, boot))
	}
	return s, nil
}

func summarizeTrial(st stage, g *group, boot sampler) Trial {
	t := Trial{
		Trial: st.trial, Label: experiment.Label(g.params), Params: RawParams(g.params), Confirmation: st.confirmation, Metrics: []Metric{},
		Seeds:    slices.Sorted(maps.Keys(g.done)),
		Diverged: slices.Sorted(maps.Keys(g.diverged)),
		Missing:  slices.Sorted(maps.Keys(g.missing)),
	}
	if t.Seeds == nil {
		t.Seeds = []uint32{}
	}
	names := map[string]bool{}
	for _, cols := range g.done {
		for n := range cols {
			names[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		t.Metrics = append(t.Metrics, metricOf(n, t.Seeds, g.done, t.Runs(), boot))
	}
	return t
}

// RawParams keeps values that are JSON from being quoted again where params are marshaled.
func RawParams(params map[string]string) map[string]json.RawMessage {
	if len(params) == 0 {
		return nil
	}
	out := make(map[string]json.RawMessage, len(params))
	for path, v := range params {
		if out[path] = json.RawMessage(v); !json.Valid(out[path]) {
			out[path] = json.RawMessage(strconv.Quote(v))
		}
	}
	return out
}

// metricOf is a column over the runs that finished, of so many.
func metricOf(column string, order []uint32, done bySeed, runs int, boot sampler) Metric {
	means := seedMeans(done, column)
	metric, layer, _ := strings.Cut(column, "/")
	m := Metric{Metric: metric, Layer: layer, Interval: boot.interval(means, metricResamples), PerTask: curve(order, done, column)}
	m.Of, m.NotFinite = runs, len(means)-m.N
	return m
}

func curve(order []uint32, seeds bySeed, name string) Curve {
	tasks := 0
	for _, cols := range seeds {
		tasks = max(tasks, len(cols[name]))
	}
	c := Curve{Mean: make([]Number, tasks), Low: make([]Number, tasks), High: make([]Number, tasks)}
	values := make([]float64, 0, len(order))
	for t := range tasks {
		values = values[:0]
		for _, s := range order {
			if col := seeds[s][name]; t < len(col) {
				values = append(values, col[t])
			}
		}
		i := tInterval(values)
		c.Mean[t], c.Low[t], c.High[t] = i.Mean, i.Low, i.High
	}
	return c
}
