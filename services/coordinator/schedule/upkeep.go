package schedule

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// keepCheckpoints is how many committed checkpoints a running run keeps: the
// one its next segment starts from, and the one before in case that is damaged.
const keepCheckpoints = 2

// Upkeep decides everything but assignments: what follows from what has
// happened since. Its actions are in no particular order.
func (s Snapshot) Upkeep() []Action {
	var out []Action
	slots, lanes := s.slots()
	for _, e := range s.State.Experiments {
		if live(e) {
			out = append(out, s.upkeepExperiment(e, slots, lanes)...)
		}
	}
	return out
}

// live reports whether there may be something to do about an experiment.
func live(e *mirror.Experiment) bool {
	return e.Rec != nil && (e.Rec.State == 0 || e.Control == pb.Desired_DESIRED_DELETE || len(e.Active) > 0)
}

func (s Snapshot) upkeepExperiment(e *mirror.Experiment, slots, lanes int) []Action {
	ended := e.Rec.State != 0
	switch {
	case e.Control == pb.Desired_DESIRED_DELETE && ended:
		return []Action{DeleteExperiment{Experiment: e.Rec, Mod: e.Mod}}
	case e.Control == pb.Desired_DESIRED_CANCEL || ended:
		if len(e.Active) == 0 {
			return []Action{s.endExperiment(e)}
		}
		// An ended experiment may have such runs too, when the transaction that
		// created them went through after it was given up.
		var out []Action
		for _, r := range e.Active {
			out = append(out, s.endRun(r, pb.RunState_RUN_STATE_CANCELLED, "cancelled"))
		}
		return out
	case !e.Rec.Expanded:
		return []Action{Expand{Experiment: proto.CloneOf(e.Rec), Mod: e.Mod}}
	}

	var out []Action
	for _, r := range e.Active {
		out = append(out, s.upkeepRun(r)...)
	}
	total := e.Sum()
	tuned := e.Ended.Runs-e.Ended.Confirmations == total.Runs-total.Confirmations
	switch {
	case tuned && e.ConfirmSeeds().Len() > 0 && !e.Rec.SelectionDone:
		return append(out, selectTrials(e))
	case e.Ended.Runs == total.Runs:
		return append(out, s.endExperiment(e))
	}
	room := s.room(e, slots, lanes)
	out = append(out, s.again(e, &room, lanes)...)
	if begins := s.begin(e, room, lanes); len(begins) > 0 {
		out = append(out, CreateRuns{Experiment: e.ID, Mod: e.Mod, Runs: begins})
	}
	return out
}

// upkeepRun decides what to do about one run that has not ended.
func (s Snapshot) upkeepRun(r *mirror.Run) (out []Action) {
	end := func(to pb.RunState, msg string) []Action { return []Action{s.endRun(r, to, msg)} }
	g := r.Last()
	if g == nil {
		return end(pb.RunState_RUN_STATE_FAILED, "its segments are gone from etcd")
	}
	switch g.Rec.State {
	case pb.SegmentState_SEGMENT_STATE_DONE:
		switch {
		case !r.Trained():
			out = append(out, s.continueRun(r, g))
		case s.measured(r) && r.Divergence() != nil:
			return end(pb.RunState_RUN_STATE_DIVERGED, diverged(r))
		case s.measured(r):
			return end(pb.RunState_RUN_STATE_DONE, lack(r))
		}
	case pb.SegmentState_SEGMENT_STATE_ASSIGNED:
		if s.lost(g) {
			out = append(out, Requeue{Segment: g.Rec, Mod: g.Mod})
		}
	case pb.SegmentState_SEGMENT_STATE_PENDING:
		if n := len(g.Rec.Failures); n >= s.Config.MaxFailures {
			f := g.Rec.Failures[n-1]
			return end(pb.RunState_RUN_STATE_FAILED, fmt.Sprintf(
				"failed %d times at steps %d to %d, last on worker %s: %s",
				n, g.Rec.Ref.FirstStep, g.Rec.Ref.EndStep, f.Worker, f.Error))
		}
	case pb.SegmentState_SEGMENT_STATE_FAILED, pb.SegmentState_SEGMENT_STATE_CANCELLED:
		return end(pb.RunState_RUN_STATE_FAILED, g.Trouble())
	}
	out = append(out, s.upkeepDeferred(r)...)
	if len(out) == 0 {
		if old := s.oldCheckpoints(r); len(old) > 0 {
			out = append(out, DeleteCheckpoints{Experiment: r.Experiment.ID, Run: r.ID, Segments: old})
		}
	}
	return out
}

// diverged says where a run diverged.
func diverged(r *mirror.Run) string {
	d := r.Divergence()
	return fmt.Sprintf("diverged at step %d (task %d): %s", d.GetStep(), d.GetTask(), d.GetWhat())
}

// continueRun queues the segment after the last, up to the next place where the
// experiment's segment length cuts, or a measurement is deferred.
func (s Snapshot) continueRun(r *mirror.Run, g *mirror.Segment) Action {
	prev := g.Rec
	first := prev.Result.GetEndStep()
	if prev.Result.GetCheckpoint() == nil {
		return s.endRun(r, pb.RunState_RUN_STATE_FAILED,
			fmt.Sprintf("worker %s committed step %d without a checkpoint", prev.Worker, first))
	}
	end := r.Rec.Steps
	if t := r.Trial(); t != nil {
		end = t.Deferred.Cut(first, r.Experiment.Rec.SegmentTasks)
	}
	return Continue{Prev: prev, Mod: g.Mod, Next: &pb.Segment{
		Ref:      &pb.SegmentRef{Run: r.ID, Track: mirror.MainTrack, FirstStep: first, EndStep: end},
		State:    pb.SegmentState_SEGMENT_STATE_PENDING,
		Attempt:  prev.Attempt, // attempts rise over the whole track: they fence its metrics too
		Start:    prev.Result.GetCheckpoint(),
		QueuedAt: timestamppb.New(s.Now),
		Earlier:  mirror.EarlierOf(prev),

		Generation: prev.Generation,
	}}
}

func (s Snapshot) endRun(r *mirror.Run, to pb.RunState, msg string) Action {
	rec := proto.CloneOf(r.Rec)
	rec.State, rec.Message = to, msg
	if to == pb.RunState_RUN_STATE_DIVERGED {
		rec.Divergence = r.Divergence()
	}
	segs, deferred := r.Snapshot()
	return EndRun{Run: rec, Mod: r.Rev.Mod, Segments: segs, Deferred: deferred, Open: s.open(r), Pruned: r.Pruned}
}

// open are the segments of a run that may still change.
func (s Snapshot) open(r *mirror.Run) []mirror.SegmentAt {
	var out []*mirror.Segment
	for i, g := range r.Segments {
		if i == len(r.Segments)-1 || !g.Done() {
			out = append(out, g)
		}
	}
	for _, g := range r.Deferred {
		if !s.settled(g) {
			out = append(out, g)
		}
	}
	return mirror.At(out)
}

// oldCheckpoints are the segments whose checkpoints nothing will start from.
func (s Snapshot) oldCheckpoints(r *mirror.Run) (old []*pb.Segment) {
	for i := r.Pruned; i < len(r.Segments)-1-keepCheckpoints; i++ {
		g := r.Segments[i]
		if g.Done() && !g.Dropped && g.Rec.Result.GetCheckpoint() != nil && !s.unmeasured(r, g.Rec.Result.EndStep) {
			old = append(old, g.Rec)
		}
	}
	return old
}

// selectTrials picks the trials to confirm, once all tuning runs have ended.
func selectTrials(e *mirror.Experiment) Action {
	var runs []*pb.Run
	for _, id := range slices.Sorted(maps.Keys(e.Runs)) {
		r := e.Runs[id].Rec
		if r != nil && !r.Analysis && (r.State == pb.RunState_RUN_STATE_DONE || r.State == pb.RunState_RUN_STATE_DIVERGED) {
			runs = append(runs, r)
		}
	}
	return SelectTrials{Experiment: proto.CloneOf(e.Rec), Mod: e.Mod, Runs: runs}
}

// endExperiment records that all is done.
func (s Snapshot) endExperiment(e *mirror.Experiment) Action {
	rec := proto.CloneOf(e.Rec)
	rec.State, rec.Message = verdict(e)
	rec.EndedAt = timestamppb.New(s.Now)
	return EndExperiment{Experiment: rec, Mod: e.Mod}
}

// verdict is the final state of an experiment whose runs have all ended.
func verdict(e *mirror.Experiment) (pb.ExperimentState, string) {
	switch t := &e.Ended; {
	case e.Control == pb.Desired_DESIRED_CANCEL:
		return pb.ExperimentState_EXPERIMENT_STATE_CANCELLED,
			fmt.Sprintf("cancelled with %d of %d runs done", t.Done, max(e.Sum().Runs, t.Runs))
	case t.Failed > 0:
		return pb.ExperimentState_EXPERIMENT_STATE_FAILED,
			fmt.Sprintf("%d of %d runs failed; %s: %s", t.Failed, t.Runs, t.FirstFailure, t.Failure)
	}
	return pb.ExperimentState_EXPERIMENT_STATE_DONE, e.Ended.Lack()
}
