package mirror

import (
	"fmt"

	pb "neoteny/proto/neoteny/v1"
)

// Tally adds up runs.
type Tally struct {
	Runs, Done, Diverged, Failed, Cancelled int
	Confirmations                           int // of Runs
	Reused                                  int // of Runs
	Segments, Steps, Tasks                  int64
	StepsDone, TasksDone                    int64
	SegmentsDone                            int64
	// What runs that diverged will never do.
	SegmentsLess, StepsLess, TasksLess int64
	FirstFailure, Failure              string // the first failed run by id, and why

	lacking            int    // runs that are done but for deferred measurements
	firstLacking, lack string // the first of them, by id, and what it lacks
}

func (t *Tally) add(r *pb.Run, sign int) {
	n := int64(sign)
	t.Runs += sign
	switch r.State {
	case pb.RunState_RUN_STATE_DONE:
		t.Done += sign
		if r.Message != "" {
			t.lacking += sign
			if sign > 0 && (t.firstLacking == "" || r.Id < t.firstLacking) {
				t.firstLacking, t.lack = r.Id, r.Message
			}
		}
	case pb.RunState_RUN_STATE_DIVERGED:
		t.Diverged += sign
		t.StepsLess += n * (r.Steps - r.StepsDone)
		t.TasksLess += n * int64(r.Tasks-r.TasksDone)
		t.SegmentsLess += n * (int64(r.Segments) + int64(r.Asides) - segmentsDone(r))
	case pb.RunState_RUN_STATE_FAILED:
		t.Failed += sign
		if sign < 0 && t.FirstFailure == r.Id {
			t.FirstFailure, t.Failure = "", ""
		}
		if sign > 0 && (t.FirstFailure == "" || r.Id < t.FirstFailure) {
			t.FirstFailure, t.Failure = r.Id, r.Message
		}
	case pb.RunState_RUN_STATE_CANCELLED:
		t.Cancelled += sign
	}
	if r.Confirmation {
		t.Confirmations += sign
	}
	if r.Reused != "" {
		t.Reused += sign
	}
	t.StepsDone += n * r.StepsDone
	t.TasksDone += n * int64(r.TasksDone)
	t.SegmentsDone += n * segmentsDone(r)
}

// Lack says what measurements the runs that are done lack, or "".
func (t *Tally) Lack() string {
	if t.lacking == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d runs lack measurements; %s: %s", t.lacking, t.Runs, t.firstLacking, t.lack)
}

// segmentsDone counts in the experiment's segment length, whatever yields and
// forks have cut, and the deferred measurements besides.
func segmentsDone(r *pb.Run) int64 {
	if r.Tasks == 0 || r.TasksDone >= r.Tasks {
		return int64(r.Segments) + int64(r.AsidesDone)
	}
	return int64(r.TasksDone)*int64(r.Segments)/int64(r.Tasks) + int64(r.AsidesDone)
}

// Sum returns the totals of all runs that the experiment is to have. Before
// trials are selected, confirmations count as the largest trial of each arm.
func (e *Experiment) Sum() Tally {
	if e.totals != nil {
		return *e.totals
	}
	var t Tally
	if e.Rec == nil || !e.Rec.Expanded {
		return t
	}
	type cost struct{ segments, steps, tasks int64 }
	costOf := func(tr *Trial) cost {
		n := segmentCount(tr.Rec.Tasks, e.Rec.SegmentTasks) + int32(tr.Measured)
		return cost{int64(n), int64(tr.Rec.Tasks) * tr.Rec.StepsPerTask, int64(tr.Rec.Tasks)}
	}
	addN := func(c cost, n int) {
		t.Runs += n
		t.Segments += c.segments * int64(n)
		t.Steps += c.steps * int64(n)
		t.Tasks += c.tasks * int64(n)
	}
	largest := map[string]cost{}
	for _, tr := range e.Trials {
		c := costOf(tr)
		addN(c, tr.Seeds().Len())
		if old := largest[tr.Rec.Arm]; c.steps > old.steps || c.steps == old.steps && c.segments > old.segments {
			largest[tr.Rec.Arm] = c
		}
	}
	switch n := e.ConfirmSeeds().Len(); {
	case n == 0:
	case e.Rec.SelectionDone:
		for _, tr := range e.Confirmed() {
			n := e.ConfirmSeedsOf(tr).Len()
			addN(costOf(tr), n)
			t.Confirmations += n
		}
	default:
		for _, c := range largest {
			addN(c, n)
			t.Confirmations += n
		}
	}
	e.totals = &t
	return t
}

func segmentCount(tasks, per int32) int32 {
	if per <= 0 {
		return 0
	}
	return (tasks + per - 1) / per
}
