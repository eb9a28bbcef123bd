// Package report turns the task tables of an experiment's runs into its
// result: which trial of each arm was selected, means with 95 % confidence
// intervals over seeds, and the verdict on every claim. It is pure: the same
// tables give the same report.
package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// RunTable is what one finished run measured.
type RunTable struct {
	Arm, Trial   string
	Seed         uint32
	Confirmation bool // run on a confirmation seed
	Analysis     bool // run of an analysis, whose name Arm is
	Table        *pb.TaskTable
}

// Number is a float64 that JSON writes as null where it is NaN or infinite.
type Number float64

// MarshalJSON writes the number or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads a number; null is NaN.
func (n *Number) UnmarshalJSON(b []byte) error {
	var v *float64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*n = Number(math.NaN())
	if v != nil {
		*n = Number(*v)
	}
	return nil
}

// Summary is the result of an experiment.
type Summary struct {
	Name   string  `json:"name"`
	Paper  string  `json:"paper,omitempty"`
	Arms   []Arm   `json:"arms"`   // by name
	Claims []Claim `json:"claims"` // in the order of the spec
	// Analyses by name.
	Analyses []Analysis `json:"analyses,omitempty"`
	// Gaps are what fresh networks do better than arms that live on.
	Gaps []Gap `json:"plasticity_gaps,omitempty"`
}

// Gap is the plasticity that an arm has lost: online accuracy (or, the other way
// round, loss) of its fresh-network control minus its own, task by task and seed
// by seed.
type Gap struct {
	Arm     string `json:"arm"`
	Control string `json:"control"`
	Metric
}

// Analysis is the result of one analysis.
type Analysis struct {
	Analysis string  `json:"analysis"`
	Trials   []Trial `json:"trials"` // its runs; those on confirmation seeds behind the others
}

// Main returns the runs that claims look at: those on confirmation seeds where
// there are any.
func (a *Analysis) Main() *Trial { return &a.Trials[len(a.Trials)-1] }

// Arm is the result of one arm.
type Arm struct {
	Arm string `json:"arm"`
	// Selected is the trial that claims look at; empty where an experiment
	// without select has several.
	Selected string  `json:"selected,omitempty"`
	Trials   []Trial `json:"trials"` // by name; confirmation runs behind the others
}

// Main returns the runs that stand for the arm: the selected trial's, on the
// confirmation seeds where there are any. It is nil where no trial is selected.
func (a *Arm) Main() *Trial {
	var main *Trial
	for i := range a.Trials {
		t := &a.Trials[i]
		if t.Trial == a.Selected && a.Selected != "" && (main == nil || t.Confirmation) {
			main = t
		}
	}
	return main
}

// Trial is the result of one trial over its seeds.
type Trial struct {
	Trial        string   `json:"trial"`
	Confirmation bool     `json:"confirmation,omitempty"`
	Seeds        []uint32 `json:"seeds"` // of the runs that finished, sorted
	Metrics      []Metric `json:"metrics"`
}

// Metric is one metric over tasks and seeds. The interval is that of the mean
// over tasks, one value per seed.
type Metric struct {
	Metric string `json:"metric"`
	Layer  string `json:"layer,omitempty"`
	Interval
	PerTask Curve `json:"per_task"`
}

// Curve is a metric over tasks: mean over seeds and pointwise 95 % interval by
// Student's t, null where fewer than two seeds measured it.
type Curve struct {
	Mean []Number `json:"mean"`
	Low  []Number `json:"ci_low"`
	High []Number `json:"ci_high"`
}

// Verdict says what the results say about a claim.
type Verdict string

// The verdicts.
const (
	Held       Verdict = "held"         // the whole interval satisfies the bound
	DidNotHold Verdict = "did-not-hold" // none of it does
	Undecided  Verdict = "undecided"
)

// Claim is the result of one claim.
type Claim struct {
	Name  string `json:"name"`
	Paper string `json:"paper,omitempty"`
	Value string `json:"value"` // the expression
	Bound string `json:"bound"` // for example "> 0.03"
	Interval
	Seeds   []SeedValue `json:"seeds"` // of all arms that the claim looks at
	Verdict Verdict     `json:"verdict"`
	Message string      `json:"message,omitempty"` // what to know about the verdict
}

// SeedValue is a claim's value for one seed; null where it has none.
type SeedValue struct {
	Seed  uint32 `json:"seed"`
	Value Number `json:"value"`
}

// column is the name of a table's column as claims write it.
func column(c *pb.ColumnName) string {
	if c.GetLayer() == "" {
		return c.GetMetric()
	}
	return c.GetMetric() + "/" + c.GetLayer()
}

// maxTask bounds the length of a column, which a table's task indices decide.
const maxTask = 1 << 24

// columns spreads a run's table out: one list per column, one value per task,
// NaN for tasks that have no row or no value.
func columns(run RunTable) (map[string][]float64, error) {
	tasks := 0
	for _, r := range run.Table.GetRows() {
		if r.GetTask() < 0 || r.GetTask() >= maxTask {
			return nil, fmt.Errorf("run %s/%d: a row of task %d", run.Trial, run.Seed, r.GetTask())
		}
		if len(r.GetValues()) != len(run.Table.GetColumns()) {
			return nil, fmt.Errorf("run %s/%d: %d values in %d columns at task %d", run.Trial, run.Seed, len(r.GetValues()), len(run.Table.GetColumns()), r.GetTask())
		}
		tasks = max(tasks, int(r.GetTask())+1)
	}
	out := map[string][]float64{}
	for i, c := range run.Table.GetColumns() {
		values := make([]float64, tasks)
		for t := range values {
			values[t] = math.NaN()
		}
		for _, r := range run.Table.GetRows() {
			values[r.GetTask()] = r.GetValues()[i]
		}
		out[column(c)] = values
	}
	return out, nil
}

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

// collection is all runs with their columns; an analysis stands under its
// [claim.AnalysisKey].
type collection map[string]map[stage]map[uint32]map[string][]float64 // arm, stage, seed, column

type stage struct {
	trial        string
	confirmation bool
}

func collect(runs []RunTable) (collection, error) {
	c := collection{}
	for _, r := range runs {
		cols, err := columns(r)
		if err != nil {
			return nil, err
		}
		if r.Analysis {
			r.Arm = claim.AnalysisKey(r.Arm)
		}
		st := stage{r.Trial, r.Confirmation}
		if c[r.Arm] == nil {
			c[r.Arm] = map[stage]map[uint32]map[string][]float64{}
		}
		if c[r.Arm][st] == nil {
			c[r.Arm][st] = map[uint32]map[string][]float64{}
		}
		if _, dup := c[r.Arm][st][r.Seed]; dup {
			return nil, fmt.Errorf("run %s/%d is there twice", r.Trial, r.Seed)
		}
		c[r.Arm][st][r.Seed] = cols
	}
	return c, nil
}

// stages lists an arm's trials by name, confirmation runs behind the others.
func (c collection) stages(arm string) []stage {
	return slices.SortedFunc(maps.Keys(c[arm]), func(a, b stage) int {
		switch {
		case a.confirmation != b.confirmation && b.confirmation:
			return -1
		case a.confirmation != b.confirmation:
			return 1
		}
		return strings.Compare(a.trial, b.trial)
	})
}

func isAnalysis(key string) bool { return strings.HasPrefix(key, claim.AnalysisKey("")) }

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
			seeds := c[arm][st]
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
		}
	}
	return out
}

// seedMeans are the means over tasks of a column, in order of seed.
func seedMeans(seeds map[uint32]map[string][]float64, name string) []float64 {
	var out []float64
	for _, s := range slices.Sorted(maps.Keys(seeds)) {
		out = append(out, taskMean(seeds[s][name]))
	}
	return out
}

// taskMean is the mean over the tasks that were measured, NaN without any. An
// infinite value makes the mean infinite: it was measured.
func taskMean(values []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range values {
		if !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	return sum / float64(n)
}
