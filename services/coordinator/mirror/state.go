package mirror

import (
	"time"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// State is the records as of one revision. It is changed by Apply, and by
// CheckpointsDeleted.
type State struct {
	Rev         int64 // 0: nothing is read yet
	Experiments map[string]*Experiment
	Workers     map[string]*Worker

	// assigned holds the assignments that exist, by worker and id: the name of
	// the slot they take, which a pack's assignments share.
	assigned map[Slot]string
	// taken counts the assignments in each slot.
	taken map[Slot]int
	// byKey are finished runs of all experiments by run key, one of each.
	byKey map[string]*Run
	// failures outlive a worker's registration: a bad machine comes back.
	failures map[string]Failures
}

// NewState makes a state without any record.
func NewState() *State {
	return &State{
		Experiments: map[string]*Experiment{},
		Workers:     map[string]*Worker{},
		assigned:    map[Slot]string{},
		taken:       map[Slot]int{},
		failures:    map[string]Failures{},
		byKey:       map[string]*Run{},
	}
}

// Rev is the place of a record in etcd's history.
type Rev = cluster.Rev

// Worker is a registered worker.
type Worker struct {
	Rec  *pb.Worker
	Rev  Rev
	Busy int // slots that are taken
}

// Lanes is the most segments that a worker takes for one slot, at least 1.
func (w *Worker) Lanes() int { return max(1, int(w.Rec.Lanes)) }

// Slot is a place where a worker works on a segment, or on the segments of a
// pack.
type Slot struct{ Worker, Name string }

// Failures are what a worker failed at since it last committed something, by its
// own fault and not the run's.
type Failures struct {
	InARow int
	Last   time.Time
}

// Finished returns a run with all of its results that has a run key; nil: there is none.
func (s *State) Finished(runKey string) *pb.Run {
	if r := s.byKey[runKey]; r != nil && r.Experiment.Control != pb.Desired_DESIRED_DELETE {
		return r.Rec
	}
	return nil
}

// Failures returns those of a worker, registered or not.
func (s *State) Failures(worker string) Failures { return s.failures[worker] }

// SlotOf returns where an assigned segment is worked on; not ok where its
// assignment is gone.
func (s *State) SlotOf(g *Segment) (at Slot, ok bool) {
	name, ok := s.assigned[Slot{g.Rec.Worker, cluster.AssignmentID(g.Rec.Ref, g.Rec.Attempt)}]
	return Slot{g.Rec.Worker, name}, ok
}

// Seen counts what Apply noticed on the way.
type Seen struct{ Commits, Failures int }

// Apply brings the state to revision rev.
func (s *State) Apply(rev int64, changes []cluster.Change, now time.Time) (seen Seen) {
	first := s.Rev == 0
	s.Rev = rev
	for _, c := range changes {
		switch c.Kind {
		case cluster.KindExperiment:
			s.experiment(c.Experiment).set(c)
		case cluster.KindControl:
			e := s.experiment(c.Experiment)
			e.Control = pb.Desired_DESIRED_UNSPECIFIED
			if !c.Deleted {
				e.Control = c.Msg.(*pb.ControlRecord).Desired
			}
		case cluster.KindTrial:
			s.experiment(c.Experiment).setTrial(c)
		case cluster.KindRun:
			s.experiment(c.Experiment).setRun(c)
		case cluster.KindSegment:
			m := s.experiment(c.Experiment).setSegment(c, now)
			if !first { // what was before this coordinator is not its to judge
				seen.Commits += m.commits
				seen.Failures += m.failures
				s.judge(m, now)
			}
		case cluster.KindWorker:
			s.setWorker(c)
		case cluster.KindAssignment:
			s.setAssignment(c)
		}
		if e := s.Experiments[c.Experiment]; e != nil && e.empty() {
			delete(s.Experiments, c.Experiment)
		}
	}
	return seen
}

func (s *State) experiment(id string) *Experiment {
	e := s.Experiments[id]
	if e == nil {
		e = &Experiment{ID: id, Trials: map[string]*Trial{}, Runs: map[string]*Run{}, Active: map[string]*Run{}, Again: map[string]*Run{}, byKey: s.byKey}
		s.Experiments[id] = e
	}
	return e
}

// judge counts a worker's failures in a row.
func (s *State) judge(m moved, now time.Time) {
	if m.good != "" {
		delete(s.failures, m.good)
	}
	if m.bad != "" {
		s.failures[m.bad] = Failures{InARow: s.failures[m.bad].InARow + 1, Last: now}
	}
}

func (s *State) setWorker(c cluster.Change) {
	if c.Deleted {
		delete(s.Workers, c.Worker)
		return
	}
	w := s.Workers[c.Worker]
	if w == nil {
		w = &Worker{}
		s.Workers[c.Worker] = w
		for at := range s.taken {
			if at.Worker == c.Worker {
				w.Busy++
			}
		}
	}
	w.Rec, w.Rev = c.Msg.(*pb.Worker), c.Rev
}

func (s *State) setAssignment(c cluster.Change) {
	id := Slot{c.Worker, c.Assignment}
	name, known := s.assigned[id]
	if known == !c.Deleted {
		return
	}
	if !c.Deleted {
		if name = c.Assignment; c.Msg.(*pb.Assignment).Pack != "" {
			name = c.Msg.(*pb.Assignment).Pack
		}
		s.assigned[id] = name
	} else {
		delete(s.assigned, id)
	}
	at, by := Slot{c.Worker, name}, 0
	switch n := s.taken[at]; {
	case c.Deleted && n == 1:
		delete(s.taken, at)
		by = -1
	case c.Deleted:
		s.taken[at]--
	default:
		s.taken[at]++
		if n == 0 {
			by = 1
		}
	}
	if w := s.Workers[c.Worker]; w != nil {
		w.Busy += by
	}
}

// CheckpointsDeleted remembers that the checkpoints of a run's segments that
// begin at these steps are no more.
func (s *State) CheckpointsDeleted(experiment, run string, firstSteps []int64) {
	e := s.Experiments[experiment]
	if e == nil || e.Runs[run] == nil {
		return
	}
	r := e.Runs[run]
	for _, step := range firstSteps {
		if i, found := find(r.Segments, step); found {
			r.Segments[i].Dropped = true
		}
	}
	for r.Pruned < len(r.Segments) && r.Segments[r.Pruned].Dropped {
		r.Pruned++
	}
}
