package coordinator

import (
	"context"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// Measuring aside: where a trial says so, the main track's segments end, and a
// track of one segment forks from their checkpoint. It is assigned, fenced,
// requeued and tried again as every segment is, behind what trains.

// maxOpenAsides is how many measurements of a run wait or are in work at a time:
// they are all named in the transaction that ends the run.
const maxOpenAsides = 16

// asidesPerSlot is how many measurements of an experiment may wait for each slot
// before they go ahead of runs that are yet to begin.
const asidesPerSlot = 4

// aside tells whether a segment measures aside.
func (g *segment) aside() bool { return cluster.IsAside(g.rec.Ref.GetTrack()) }

// settled tells whether a measurement is done or given up.
func (s *Service) settled(g *segment) bool {
	switch g.rec.State {
	case pb.SegmentState_SEGMENT_STATE_DONE, pb.SegmentState_SEGMENT_STATE_FAILED, pb.SegmentState_SEGMENT_STATE_CANCELLED:
		return true
	case pb.SegmentState_SEGMENT_STATE_PENDING:
		return len(g.rec.Failures) >= s.cfg.MaxFailures
	}
	return false
}

// trained tells whether the main track is committed to its end.
func (r *run) trained() bool {
	g := r.last()
	return g != nil && g.rec.State == pb.SegmentState_SEGMENT_STATE_DONE && g.rec.Result.GetEndStep() >= r.rec.GetSteps()
}

// measured tells whether all that is measured aside of a run is settled.
func (s *Service) measured(r *run) bool {
	n := 0
	for _, g := range r.asides {
		if s.settled(g) {
			n++
		}
	}
	return r.trial() == nil || n >= r.trial().measured
}

// unmeasured tells whether the checkpoint at a step is still to be measured.
func (s *Service) unmeasured(r *run, step int64) bool {
	if t := r.trial(); t == nil || !t.asides.At(step) {
		return false
	}
	i, found := find(r.asides, step)
	return !found || !s.settled(r.asides[i])
}

// upkeepAsides takes back what lost workers were to measure, and forks where the
// main track has arrived.
func (s *Service) upkeepAsides(r *run) (out []action) {
	t := r.trial()
	if t == nil || t.measured == 0 {
		return nil
	}
	open := 0
	for _, g := range r.asides {
		if !s.settled(g) {
			open++
		}
		if g.rec.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			if _, ok := s.state.slot(g.rec); !ok {
				out = append(out, s.requeue(g))
			}
		}
	}
	fork := func(step int64, start *pb.BlobRef) {
		if _, found := find(r.asides, step); !found && t.asides.At(step) && open < maxOpenAsides {
			open++
			out = append(out, s.fork(r, step, start))
		}
	}
	fork(0, nil)
	for _, g := range r.segs[r.pruned:] { // what the others lead to is measured
		if res := g.rec.Result; g.rec.State == pb.SegmentState_SEGMENT_STATE_DONE && res.GetCheckpoint() != nil && res.EndStep < r.rec.Steps {
			fork(res.EndStep, res.Checkpoint)
		}
	}
	return out
}

// fork queues the measurement at a step, from the checkpoint there.
func (s *Service) fork(r *run, step int64, start *pb.BlobRef) action {
	mod := r.rev.Mod
	seg := &pb.Segment{
		Ref:      &pb.SegmentRef{Run: r.id, Track: cluster.AsideTrack(step), FirstStep: step, EndStep: step + 1},
		State:    pb.SegmentState_SEGMENT_STATE_PENDING,
		Start:    start,
		QueuedAt: timestamppb.New(s.cfg.Now()),
	}
	return action{"measure aside", r.id + " " + seg.Ref.Track, func(ctx context.Context) (int64, error) {
		return s.cluster.Fork(ctx, mod, seg)
	}}
}

// lack says which measurements of a run were given up, and why, or "".
func (s *Service) lack(r *run) string {
	var first *segment
	n := 0
	for _, g := range r.asides {
		if g.rec.State != pb.SegmentState_SEGMENT_STATE_DONE {
			if n++; first == nil {
				first = g
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d measurements aside failed, the first at step %d: %s", n, len(r.asides), first.rec.Ref.FirstStep, first.trouble())
}

// joinAsides adds to a task table what was measured aside of its tasks: columns
// behind the others, with NaN where nothing was measured.
func (s *Service) joinAsides(ctx context.Context, t *pb.TaskTable, asides []cluster.SegmentAt) error {
	own := len(t.Columns)
	joined := false
	for _, g := range asides {
		if g.Segment.State != pb.SegmentState_SEGMENT_STATE_DONE {
			continue
		}
		res, err := s.cluster.Result(ctx, g.Segment.Result)
		if err != nil {
			return err
		}
		where := fmt.Sprintf("track %s", g.Segment.Ref.Track)
		if !joined {
			joined = true
			t.Columns = slices.Concat(t.Columns, res.Columns)
			for i, row := range t.Rows { // the records of segments stay what they are
				values := slices.Clone(row.Values)
				for range res.Columns {
					values = append(values, math.NaN())
				}
				t.Rows[i] = &pb.TaskRow{Task: row.Task, Values: values}
			}
		}
		if !slices.EqualFunc(t.Columns[own:], res.Columns, func(a, b *pb.ColumnName) bool { return proto.Equal(a, b) }) {
			return fmt.Errorf("%s has other columns than the ones before: %w", where, errTable)
		}
		for _, row := range res.Rows {
			if len(row.Values) != len(res.Columns) {
				return fmt.Errorf("%s: %d values in %d columns: %w", where, len(row.Values), len(res.Columns), errTable)
			}
			if int(row.Task) >= len(t.Rows) {
				continue // of a task that the main track has not ended yet
			}
			for i, v := range row.Values {
				if v == v { // others of the task's values are of other measurements
					t.Rows[row.Task].Values[own+i] = v
				}
			}
		}
		t.Asides = append(t.Asides, res.Boundaries...)
	}
	return nil
}
