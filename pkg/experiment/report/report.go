// Package report turns the task tables of an experiment's runs into its
// result: which trial of each arm was selected, means with 95 % confidence
// intervals over seeds, and the verdict on every claim. It is pure: the same
// tables give the same report.
package report

import (
	"encoding/json"
	"math"

	pb "neoteny/proto/neoteny/v1"
)

// RunTable is what one run measured.
type RunTable struct {
	Arm, Trial   string
	Seed         uint32
	Confirmation bool              // run on a confirmation seed
	Analysis     bool              // run of an analysis, whose name Arm is
	Params       map[string]string // what a sweep set: path to JSON value
	Outcome      Outcome
	Table        *pb.TaskTable // of a run that diverged up to there; nil of one that is missing
}

// Outcome is how a run came out, as far as statistics go.
type Outcome int

// The outcomes.
const (
	Finished Outcome = iota
	Diverged         // ended early, since its loss or weights were no longer finite
	Missing          // failed, cancelled, or not yet at its end
)

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
	// PassedOver are the trials that the selection did not consider, since fewer of
	// their seeds finished than of the selected one's.
	PassedOver []string `json:"passed_over,omitempty"`
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
	Trial string `json:"trial"`
	// Label says what a sweep set, in few words; see [experiment.Label].
	Label        string                     `json:"label,omitempty"`
	Params       map[string]json.RawMessage `json:"params,omitempty"` // by path
	Confirmation bool                       `json:"confirmation,omitempty"`
	// Score is what select compares: the mean over the seeds, null where one of them has
	// no finite value.
	Score    *Number  `json:"score,omitempty"`
	Seeds    []uint32 `json:"seeds"`              // of the runs that finished, sorted
	Diverged []uint32 `json:"diverged,omitempty"` // seeds of the runs that diverged
	Missing  []uint32 `json:"missing,omitempty"`  // seeds whose runs failed, were cancelled or have not ended
	Metrics  []Metric `json:"metrics"`
}

// Runs is how many runs the trial has, whatever came of them.
func (t *Trial) Runs() int { return len(t.Seeds) + len(t.Diverged) + len(t.Missing) }

// Metric is one metric over tasks and seeds. The interval is that of the mean
// over tasks, one value per seed that finished.
type Metric struct {
	Metric string `json:"metric"`
	Layer  string `json:"layer,omitempty"`
	Interval
	// NotFinite is how many of the seeds that finished have a mean that is infinite or
	// not a number. The interval is that of the rest.
	NotFinite int   `json:"not_finite,omitempty"`
	PerTask   Curve `json:"per_task"`
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
	Seed     uint32 `json:"seed"`
	Value    Number `json:"value"`
	Diverged bool   `json:"diverged,omitempty"` // a run that the claim looks at did
}
