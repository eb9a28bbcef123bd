package schedule

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// Deferred measurements: where a trial says so, the main track's segments end,
// and a track of one segment forks from their checkpoint. It is assigned, fenced,
// requeued and tried again as every segment is, behind what trains.

// maxOpenDeferred is how many measurements of a run wait or are in work at a
// time: they are all named in the transaction that ends the run.
const maxOpenDeferred = 16

// measured reports whether all deferred measurements of a run are settled: of one
// that diverged those which it came to.
func (s Snapshot) measured(r *mirror.Run) bool {
	if r.Divergence() != nil {
		return len(s.upkeepDeferred(r)) == 0 && !slices.ContainsFunc(r.Deferred, func(g *mirror.Segment) bool { return !s.settled(g) })
	}
	n := 0
	for _, g := range r.Deferred {
		if s.settled(g) {
			n++
		}
	}
	return r.Trial() == nil || n >= r.Trial().Measured
}

// unmeasured reports whether the checkpoint at a step is still to be measured.
func (s Snapshot) unmeasured(r *mirror.Run, step int64) bool {
	if t := r.Trial(); t == nil || !t.Deferred.At(step) {
		return false
	}
	g := r.DeferredAt(step)
	return g == nil || !s.settled(g)
}

// upkeepDeferred takes back what lost workers were to measure, and forks where
// the main track has arrived.
func (s Snapshot) upkeepDeferred(r *mirror.Run) (out []Action) {
	t := r.Trial()
	if t == nil || t.Measured == 0 {
		return nil
	}
	open := 0
	for _, g := range r.Deferred {
		if !s.settled(g) {
			open++
		}
		if s.lost(g) {
			out = append(out, Requeue{Segment: g.Rec, Mod: g.Mod})
		}
	}
	fork := func(step int64, start *pb.BlobRef, earlier *pb.Earlier) {
		if r.DeferredAt(step) == nil && t.Deferred.At(step) && open < maxOpenDeferred {
			open++
			out = append(out, s.fork(r, step, start, earlier))
		}
	}
	fork(0, nil, nil)
	for _, g := range r.Segments[r.Pruned:] { // what the others lead to is measured
		res := g.Rec.Result
		if g.Done() && res.GetCheckpoint() != nil && res.EndStep < r.Rec.Steps {
			fork(res.EndStep, res.Checkpoint, mirror.EarlierOf(g.Rec))
		}
	}
	return out
}

// fork queues the measurement at a step, from the checkpoint there.
func (s Snapshot) fork(r *mirror.Run, step int64, start *pb.BlobRef, earlier *pb.Earlier) Action {
	return Fork{Mod: r.Rev.Mod, Segment: &pb.Segment{
		Ref:      &pb.SegmentRef{Run: r.ID, Track: mirror.DeferredTrack(step), FirstStep: step, EndStep: step + 1},
		State:    pb.SegmentState_SEGMENT_STATE_PENDING,
		Attempt:  r.Rec.GetCommitted().GetAttempt(), // of a run that was taken up again: what was before is fenced
		Start:    start,
		QueuedAt: timestamppb.New(s.Now),
		Earlier:  earlier,

		Generation: r.Rec.Generation,
	}}
}

// lack says which measurements of a run were given up, and why, or "".
func lack(r *mirror.Run) string {
	var first *mirror.Segment
	n := 0
	for _, g := range r.Deferred {
		if !g.Done() {
			if n++; first == nil {
				first = g
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d deferred measurements failed, the first at step %d: %s",
		n, len(r.Deferred), first.Rec.Ref.FirstStep, first.Trouble())
}
