package report

import (
	"math"

	pb "neoteny/proto/neoteny/v1"
)

// SelectTrials picks the trial of each arm that claims look at. With select it
// is the one whose metric, meaned over tasks and then over tuning seeds, is
// best; of equals the first by name. A trial with fewer finished tuning runs
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
			score := seedMeans(seeds, spec.GetSelect().GetMetric())
			value := math.NaN()
			if v := finite(score); len(v) > 0 && len(v) == len(seeds) {
				value = mean(v)
			}
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
