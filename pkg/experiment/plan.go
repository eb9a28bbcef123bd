package experiment

import (
	"math"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// Limits of an experiment's size.
const (
	MaxRuns   = 1_000_000 // runs, confirmation runs included
	MaxTrials = 100_000   // trials; each is resolved, and held by its plan
)

// BaseArm is the name of the single arm of an experiment without arms.
const BaseArm = "base"

// Plan is what an experiment amounts to.
type Plan struct {
	// Arms in the order of reports: by name.
	Arms []string
	// Trials by arm, then in the order of the sweep.
	Trials []Trial
	// Analyses of the runs, by name.
	Analyses []*Analysis
	// SegmentTasks is the number of tasks of a segment; the last one of a run
	// may have fewer.
	SegmentTasks int
	// ConfirmSeeds are the seeds on which the selected trial of each arm runs
	// again; none without select.confirm_seeds.
	ConfirmSeeds []uint32
	// Skipped are the probes that control arms do without.
	Skipped []Skipped
}

// Trial is one arm with one hyperparameter assignment.
type Trial struct {
	// Name is unique in the experiment: the arm's, and with a sweep of the arm
	// a number behind it, as in "l2-0003".
	Name string
	// Arm that it is a trial of.
	Arm string
	// Params are the hyperparameters that the sweep set: path to JSON value.
	Params map[string]string
	// Spec is what its runs do.
	Spec *engine.Spec
	// Seeds of its runs; the tuning seeds where the experiment selects.
	Seeds []uint32

	// Needs are the artifacts that its runs start from, by name.
	Needs []TrialNeed
	// Publishes names the artifacts that its runs publish, since others need
	// them.
	Publishes []string

	datasets map[string]string // digests by name
}

// Segments is the number of segments of a run of the trial at the given number
// of tasks per segment, with those of deferred measurements.
func (t Trial) Segments(segmentTasks int) int {
	deferred := DeferredSteps{t.DeferredSchedules(), int64(t.Spec.Tasks()), t.Spec.StepsPerTask()}
	return (t.Spec.Tasks()+segmentTasks-1)/segmentTasks + int(deferred.Count())
}

// Runs is the number of runs, confirmation runs included.
func (p *Plan) Runs() int {
	return int(p.total(func(Trial) int64 { return 1 }))
}

// Segments is the number of segments of all runs. Which trial of an arm will
// be confirmed is not known before it is selected: here and in the other
// totals it counts as the arm's largest.
func (p *Plan) Segments() int64 {
	return p.total(func(t Trial) int64 { return int64(t.Segments(p.SegmentTasks)) })
}

// Steps is the number of steps of all runs.
func (p *Plan) Steps() int64 { return p.total(func(t Trial) int64 { return t.Spec.Steps() }) }

// Tasks is the number of tasks of all runs.
func (p *Plan) Tasks() int64 { return p.total(func(t Trial) int64 { return int64(t.Spec.Tasks()) }) }

// total adds up what one run of each trial costs, stopping at the largest
// int64.
func (p *Plan) total(cost func(Trial) int64) int64 {
	sum, largest := uint64(0), map[string]uint64{}
	for _, t := range p.Trials {
		c := uint64(cost(t))
		sum = addSat(sum, mulSat(c, uint64(len(t.Seeds))))
		largest[t.Arm] = max(largest[t.Arm], c)
	}
	for _, c := range largest {
		sum = addSat(sum, mulSat(c, uint64(len(p.ConfirmSeeds))))
	}
	// A run of an analysis is one segment of one task of one step.
	for _, a := range p.Analyses {
		confirm := len(p.ConfirmSeeds)
		if a.Once {
			confirm = min(confirm, 1)
		}
		sum = addSat(sum, uint64(len(a.Seeds)+confirm))
	}
	return int64(min(sum, math.MaxInt64))
}

// ByName returns the trial of that name.
func (p *Plan) ByName(name string) (Trial, bool) {
	for _, t := range p.Trials {
		if t.Name == name {
			return t, true
		}
	}
	return Trial{}, false
}

// Expand validates an experiment and returns its plan: arms × assignments as
// trials with their resolved specs, and seeds. Totals are known by arithmetic
// before anything is expanded, so an experiment beyond [MaxRuns] costs nothing.
// Errors are as in [Validate].
func Expand(spec *pb.ExperimentSpec) (*Plan, error) {
	e := &expansion{spec: spec, resolve: engine.Resolve, digest: datasetDigest}
	return e.run()
}

// Validate checks everything about an experiment that can be known without
// running it, and reports all mistakes: *component.FieldError values with
// paths into the spec, joined.
func Validate(spec *pb.ExperimentSpec) error {
	_, err := Expand(spec)
	return err
}

// segmentTasks is the number of tasks per segment: as asked for, or a tenth of
// the longest run, which keeps what a crash can lose and the number of
// checkpoints both small. Results do not depend on it.
func segmentTasks(asked int, trials []Trial) int {
	if asked > 0 {
		return asked
	}
	longest := 0
	for _, t := range trials {
		longest = max(longest, t.Spec.Tasks())
	}
	return min(max((longest+9)/10, 1), 10_000)
}

func datasetDigest(name string) (string, bool) {
	meta, ok := data.Lookup(name)
	return meta.Digest(), ok
}
