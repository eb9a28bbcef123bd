package mirror

import (
	"slices"
	"strings"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// Experiment is an experiment with what belongs to it. Records may arrive in any
// order; Rec is nil until the experiment's own has.
type Experiment struct {
	ID      string
	Rec     *pb.ExperimentRecord
	Mod     int64 // revision of Rec
	Control pb.Desired
	Trials  map[string]*Trial
	Runs    map[string]*Run // every run that has a record or segments
	Active  map[string]*Run // those with a record that have not ended
	Again   map[string]*Run // those that have ended and are to be done again
	Ended   Tally           // of the runs that have ended, but for those
	byKey   map[string]*Run // the state's

	// Begun is a hint for those who look for runs without a record: each run
	// before this place in order has one.
	Begun int64

	byIndex []*Trial           // nil where the record is missing
	most    int64              // seeds of the trial with the most
	totals  *Tally             // Sum, until a record changes it
	fetched *pb.ExperimentSpec // where Rec lacks it
}

func (e *Experiment) set(c cluster.Change) {
	old := e.Rec
	e.Rec, e.Mod, e.totals = nil, c.Rev.Mod, nil
	if c.Deleted {
		e.fetched = nil
		return
	}
	e.Rec = c.Msg.(*pb.ExperimentRecord)
	if e.Rec.Generation == 0 || old.GetGeneration() == e.Rec.Generation && (old.GetState() == 0) == (e.Rec.State == 0) {
		return
	}
	e.Begun, e.fetched = 0, nil
	// What has ended may be to be done again, or no more.
	for _, r := range e.Runs {
		if r.Rec == nil {
			continue
		}
		e.unfile(r)
		e.file(r)
	}
}

func (e *Experiment) empty() bool {
	return e.Rec == nil && e.Control == 0 && len(e.Trials) == 0 && len(e.Runs) == 0
}

// Spec is the experiment's spec where it is at hand; nil where it overflowed and
// has not been kept.
func (e *Experiment) Spec() *pb.ExperimentSpec {
	if e.Rec.Spec != nil {
		return e.Rec.Spec
	}
	return e.fetched
}

// Unplanned reports whether the submission is still to be expanded.
func (e *Experiment) Unplanned() bool {
	return e.Rec != nil && !e.Rec.Expanded && e.Rec.State == 0
}

// State derives where an experiment stands.
func (e *Experiment) State() pb.ExperimentState {
	if e.Rec.State != 0 {
		return e.Rec.State
	}
	if e.Ended.Runs > 0 {
		return pb.ExperimentState_EXPERIMENT_STATE_RUNNING
	}
	for _, r := range e.Active {
		if r.State() == pb.RunState_RUN_STATE_RUNNING {
			return pb.ExperimentState_EXPERIMENT_STATE_RUNNING
		}
	}
	return pb.ExperimentState_EXPERIMENT_STATE_PENDING
}

// Progress derives an experiment's counters from its runs.
func (e *Experiment) Progress() *pb.Progress {
	all, t := e.Sum(), e.Ended
	p := &pb.Progress{}
	for _, r := range e.Active {
		v := r.View()
		t.StepsDone += v.StepsDone
		t.TasksDone += int64(v.TasksDone)
		t.SegmentsDone += segmentsDone(v)
		for g := range r.Going() {
			if g.Assigned() {
				p.SegmentsAssigned++
			}
		}
	}
	p.Runs, p.RunsDone, p.RunsDiverged, p.RunsFailed = int32(all.Runs), int32(t.Done), int32(t.Diverged), int32(t.Failed)
	p.RunsReused = int32(t.Reused)
	p.Segments, p.SegmentsDone = all.Segments-t.SegmentsLess, t.SegmentsDone
	p.Steps, p.StepsDone = all.Steps-t.StepsLess, t.StepsDone
	p.Tasks, p.TasksDone = all.Tasks-t.TasksLess, t.TasksDone
	return p
}

// Datasets returns what the experiment's trials read, in order.
func (e *Experiment) Datasets() (out []string) {
	for _, t := range e.Trials {
		out = append(out, t.Rec.Datasets...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// StateName is a state as users read it: "running".
func StateName(s pb.ExperimentState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "EXPERIMENT_STATE_"))
}

// RunStateName is StateName of a run's state.
func RunStateName(s pb.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
}
