package report

import (
	"maps"
	"math"
	"slices"

	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// SelectTrials picks the trial of each arm that claims look at. With select it
// is the one whose metric, meaned over tasks and then over tuning seeds, or whose
// value is best; of equals the first by name. A trial with fewer finished tuning runs
// than another of its arm is passed over: what diverged on a seed is not good
// because its other seeds are. Without select it is the arm's only trial; an
// arm with several has no entry.
func SelectTrials(spec *pb.ExperimentSpec, runs []RunTable) (map[string]string, error) {
	c, err := collect(runs)
	if err != nil {
		return nil, err
	}
	return c.selected(spec), nil
}

func (c collection) selected(spec *pb.ExperimentSpec) map[string]string {
	out := map[string]string{}
	for arm := range c {
		if isAnalysis(arm) {
			continue
		}
		if spec.GetSelect() == nil {
			if stages := c.stages(arm); len(stages) == 1 {
				out[arm] = stages[0].trial
			}
			continue
		}
		most, best := 0, math.NaN()
		for _, st := range c.stages(arm) {
			seeds := c[arm][st].done
			if st.confirmation || len(seeds) < most {
				continue
			}
			value := scoreOf(seeds, spec.GetSelect())
			if spec.GetSelect().GetMode() == "min" {
				value = -value
			}
			if len(seeds) > most || value > best || (math.IsNaN(best) && !math.IsNaN(value)) {
				most, best = len(seeds), value
				out[arm] = st.trial
			}
		}
		if math.IsNaN(best) {
			delete(out, arm) // nothing measured, so nothing to choose by
			if only, ok := c.diverged(arm); ok {
				out[arm] = only
			}
		}
	}
	return out
}

// scoreOf is what a selection compares: the mean over seeds of the mean over tasks of
// the metric, or of the value of select's expression. It is NaN where a seed has none.
func scoreOf(seeds bySeed, sel *pb.Select) float64 {
	values := seedMeans(seeds, sel.GetMetric())
	if sel.GetValue() != "" {
		p, err := claim.CompileSelection(sel.GetValue())
		if err != nil {
			return math.NaN() // of a program that knew more
		}
		for i, s := range slices.Sorted(maps.Keys(seeds)) {
			if values[i], err = p.Eval(claim.Table{claim.Trial: seeds[s]}); err != nil {
				values[i] = math.NaN()
			}
		}
	}
	if v := finite(values); len(v) > 0 && len(v) == len(values) {
		return mean(v)
	}
	return math.NaN()
}

// passedOver are the tuning trials of an arm of which fewer seeds finished than of the
// selected one.
func (c collection) passedOver(arm, selected string) (names []string) {
	for _, st := range c.stages(arm) {
		if !st.confirmation && len(c[arm][st].done) < len(c[arm][stage{trial: selected}].done) {
			names = append(names, st.trial)
		}
	}
	return names
}

// diverged returns the only trial of an arm, of which every run diverged: there is
// nothing to choose, and that it diverges is the arm's result.
func (c collection) diverged(arm string) (trial string, ok bool) {
	for _, st := range c.stages(arm) {
		switch g := c[arm][st]; {
		case st.confirmation:
		case trial != "" || len(g.done) > 0 || len(g.diverged) == 0:
			return "", false
		default:
			trial = st.trial
		}
	}
	return trial, trial != ""
}
