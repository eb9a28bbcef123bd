package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
)

const (
	maxFailures     = 8       // kept of one segment
	maxFailureBytes = 4 << 10 // of one failure's message
)

// NewRun is a run with its first segment; without one, it has ended before it
// began.
type NewRun struct {
	Run     *pb.Run
	Segment *pb.Segment
}

// AddRuns creates runs of an experiment whose record is at revision mod, in
// transactions of at most 60. A run that is there already is ErrConflict, and
// leaves its transaction undone.
func (c *Client) AddRuns(ctx context.Context, experiment string, mod int64, runs []NewRun) (rev int64, err error) {
	type record struct{ runKey, run, segKey, seg string }
	records := make([]record, len(runs))
	for i, r := range runs {
		rec := record{runKey: pfxRun + r.Run.Id}
		if rec.run, err = marshal(r.Run); err != nil {
			return 0, err
		}
		if r.Segment != nil {
			if err := checkRef(r.Segment.Ref); err != nil {
				return 0, err
			}
			rec.segKey = segmentKey(r.Segment.Ref)
			if rec.seg, err = marshal(r.Segment); err != nil {
				return 0, err
			}
		}
		records[i] = rec
	}
	for _, chunk := range chunks(records, func(r record) int { return len(r.runKey) + len(r.run) + len(r.segKey) + len(r.seg) }) {
		cmps, ops := []clientv3.Cmp{modIs(pfxExp+experiment, mod)}, []clientv3.Op(nil)
		for _, r := range chunk {
			cmps = append(cmps, absent(r.runKey))
			ops = append(ops, clientv3.OpPut(r.runKey, r.run))
			if r.segKey != "" {
				ops = append(ops, clientv3.OpPut(r.segKey, r.seg))
			}
		}
		if rev, err = c.write(ctx, "add runs to "+experiment, cmps, ops...); err != nil {
			return rev, err
		}
	}
	return rev, nil
}

// Holder is a registered worker to assign to.
type Holder struct {
	ID  string
	Rev Rev // of its registration
}

// MaxPack is the most segments that AssignPack takes: they are one transaction.
const MaxPack = 60

// Assign gives a pending segment, which is at revision mod, to a worker: the
// attempt is raised, and the assignment goes with the worker's lease.
// ErrConflict when segment or worker are not what they were.
func (c *Client) Assign(ctx context.Context, seg *pb.Segment, mod int64, to Holder, now time.Time) (int64, error) {
	return c.AssignPack(ctx, []SegmentAt{{seg, mod}}, to, now)
}

// AssignPack is Assign for 1 to MaxPack segments that are to share a slot: all
// of them are given, or none. Each has an assignment of its own, so that its end
// concerns no other; the name of the pack, that of the first assignment, is all
// they have in common.
func (c *Client) AssignPack(ctx context.Context, segs []SegmentAt, to Holder, now time.Time) (int64, error) {
	if len(segs) == 0 || len(segs) > MaxPack {
		return 0, fmt.Errorf("assign a pack of %d segments: want 1 to %d", len(segs), MaxPack)
	}
	pack, what := "", "assign "+segs[0].Segment.GetRef().GetRun()
	if len(segs) > 1 {
		pack = AssignmentID(segs[0].Segment.Ref, segs[0].Segment.Attempt+1)
		what = fmt.Sprintf("%s and %d more", what, len(segs)-1)
	}
	cmps, ops := []clientv3.Cmp{createdAt(pfxWorker+to.ID, to.Rev.Create)}, []clientv3.Op(nil)
	for _, s := range segs {
		seg := s.Segment
		if seg.State != pb.SegmentState_SEGMENT_STATE_PENDING {
			return 0, fmt.Errorf("assign %s: segment is %s: %w", seg.Ref.GetRun(), seg.State, ErrConflict)
		}
		next := proto.CloneOf(seg)
		next.Attempt++
		next.State = pb.SegmentState_SEGMENT_STATE_ASSIGNED
		next.Worker = to.ID
		next.AssignedAt = timestamppb.New(now)
		segVal, err := marshal(next)
		if err != nil {
			return 0, err
		}
		val, err := marshal(&pb.Assignment{
			Id:       AssignmentID(seg.Ref, next.Attempt),
			Worker:   to.ID,
			Segments: []*pb.AssignedSegment{{Ref: seg.Ref, Attempt: next.Attempt, Start: seg.Start, Earlier: seg.Earlier, Generation: seg.Generation}},
			Pack:     pack,
		})
		if err != nil {
			return 0, err
		}
		key, akey := segmentKey(seg.Ref), assignKey(to.ID, seg.Ref, next.Attempt)
		cmps = append(cmps, modIs(key, s.Mod), absent(akey))
		ops = append(ops, clientv3.OpPut(key, segVal), clientv3.OpPut(akey, val, clientv3.WithLease(clientv3.LeaseID(to.Rev.Lease))))
	}
	rev, err := c.write(ctx, what, cmps, ops...)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return rev, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return rev, err
}

// Requeue takes back a segment, which is at revision mod, from a worker that is
// gone. The attempt stays, so the worker may still commit until Assign.
// ErrConflict when the assignment is still there.
func (c *Client) Requeue(ctx context.Context, seg *pb.Segment, mod int64, now time.Time) (int64, error) {
	if seg.State != pb.SegmentState_SEGMENT_STATE_ASSIGNED {
		return 0, fmt.Errorf("requeue %s: segment is %s: %w", seg.Ref.GetRun(), seg.State, ErrConflict)
	}
	next := pending(seg, now)
	val, err := marshal(next)
	if err != nil {
		return 0, err
	}
	key := segmentKey(seg.Ref)
	return c.write(ctx, "requeue "+seg.Ref.Run,
		[]clientv3.Cmp{modIs(key, mod), absent(assignKey(seg.Worker, seg.Ref, seg.Attempt))},
		clientv3.OpPut(key, val))
}

func pending(seg *pb.Segment, now time.Time) *pb.Segment {
	next := proto.CloneOf(seg)
	next.State = pb.SegmentState_SEGMENT_STATE_PENDING
	next.QueuedAt = timestamppb.New(now)
	return next
}

// NextSegment queues the segment after prev, which is done and at revision mod.
// ErrConflict when prev is not there any more (its run has ended) or next is
// there already.
func (c *Client) NextSegment(ctx context.Context, prev *pb.SegmentRef, mod int64, next *pb.Segment) (int64, error) {
	if err := checkRef(next.GetRef()); err != nil {
		return 0, err
	}
	val, err := marshal(next)
	if err != nil {
		return 0, err
	}
	key := segmentKey(next.Ref)
	return c.write(ctx, "next segment of "+next.Ref.Run, []clientv3.Cmp{modIs(segmentKey(prev), mod), absent(key)}, clientv3.OpPut(key, val))
}

// Fork queues the first segment of another track of a run, whose record is at
// revision mod. ErrConflict when the run has ended or the segment is there already.
func (c *Client) Fork(ctx context.Context, mod int64, seg *pb.Segment) (int64, error) {
	if err := checkRef(seg.GetRef()); err != nil {
		return 0, err
	}
	val, err := marshal(seg)
	if err != nil {
		return 0, err
	}
	key, run := segmentKey(seg.Ref), seg.Ref.Run
	return c.write(ctx, "fork "+run, []clientv3.Cmp{modIs(pfxRun+run, mod), absent(key)}, clientv3.OpPut(key, val))
}

// SegmentAt is a segment at a revision.
type SegmentAt struct {
	Segment *pb.Segment
	Mod     int64
}

// EndRun replaces the record of a run, which is at revision mod, by its final
// one, and removes its segments and their assignments: a worker that still works on
// them is fenced. The segments given must be all that may change (those not
// done, and the last); ErrConflict when one of them has.
func (c *Client) EndRun(ctx context.Context, run *pb.Run, mod int64, segments []SegmentAt) (int64, error) {
	val, err := marshal(run)
	if err != nil {
		return 0, err
	}
	key := pfxRun + run.Id
	cmps := []clientv3.Cmp{modIs(key, mod)}
	ops := []clientv3.Op{clientv3.OpPut(key, val), clientv3.OpDelete(pfxSegment+run.Id+"/", clientv3.WithPrefix())}
	for _, s := range segments {
		cmps = append(cmps, modIs(segmentKey(s.Segment.Ref), s.Mod))
		if s.Segment.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			ops = append(ops, clientv3.OpDelete(assignKey(s.Segment.Worker, s.Segment.Ref, s.Segment.Attempt)))
		}
	}
	return c.write(ctx, "end run "+run.Id, cmps, ops...)
}

// Commit records that a worker has done a segment: all of it, or up to where its
// learner diverged, which ends the track. It may be called again when its outcome is
// unknown. ErrFenced: another worker was given the segment, or
// it is no longer wanted.
func (c *Client) Commit(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error {
	end := r.GetEndStep()
	if diverged := r.GetDivergence() != nil && end >= ref.GetFirstStep() && end < ref.GetEndStep(); end != ref.GetEndStep() && !diverged {
		return fmt.Errorf("commit %s: result ends at step %d, segment at %d", ref.GetRun(), end, ref.GetEndStep())
	}
	return c.finish(ctx, "commit", ref, attempt, r)
}

// Yield commits the steps before r.EndStep and puts the rest back as a segment
// of its own. Nothing done is Release, everything done is Commit.
func (c *Client) Yield(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error {
	end := r.GetEndStep()
	switch {
	case end == ref.GetFirstStep():
		return c.Release(ctx, ref, attempt)
	case end < ref.GetFirstStep() || end > ref.GetEndStep():
		return fmt.Errorf("yield %s: step %d is outside of [%d, %d)", ref.GetRun(), end, ref.GetFirstStep(), ref.GetEndStep())
	case end < ref.GetEndStep() && r.Checkpoint == nil:
		return fmt.Errorf("yield %s: no checkpoint for the rest to start from", ref.GetRun())
	}
	return c.finish(ctx, "yield", ref, attempt, r)
}

func (c *Client) finish(ctx context.Context, what string, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error {
	if err := checkRef(ref); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	stored, err := c.compact(ctx, ref, r)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, ref.Run, err)
	}
	return c.settle(ctx, what, ref, attempt, func(cur *pb.Segment) (*pb.Segment, *pb.Segment, error) {
		if cur.State == pb.SegmentState_SEGMENT_STATE_DONE {
			if cur.Result.GetEndStep() == r.EndStep {
				return nil, nil, nil // our own, with its answer lost
			}
			return nil, nil, fmt.Errorf("committed up to step %d already: %w", cur.Result.GetEndStep(), ErrFenced)
		}
		now := timestamppb.Now()
		next := proto.CloneOf(cur)
		next.State = pb.SegmentState_SEGMENT_STATE_DONE
		next.Result = stored
		next.DoneAt = now
		if r.EndStep == ref.EndStep || r.Divergence != nil {
			return next, nil, nil
		}
		next.Yielded = true
		rest := &pb.Segment{
			Ref:      &pb.SegmentRef{Run: ref.Run, Track: track(ref), FirstStep: r.EndStep, EndStep: ref.EndStep},
			State:    pb.SegmentState_SEGMENT_STATE_PENDING,
			Attempt:  cur.Attempt, // attempts rise over the whole track: they fence its metrics too
			Start:    r.Checkpoint,
			QueuedAt: now,
			Earlier:  EarlierOf(cur),

			Generation: cur.Generation,
		}
		return next, rest, nil
	})
}

// EarlierOf is where a segment has started, for the one that goes on from its end; nil
// at the run's beginning.
func EarlierOf(seg *pb.Segment) *pb.Earlier {
	if seg.GetStart() == nil {
		return nil
	}
	return &pb.Earlier{Checkpoint: seg.Start, Step: seg.GetRef().GetFirstStep()}
}

// compact moves the bulk of a result to the overflow store when the record
// would be too large. What the coordinator schedules by stays.
func (c *Client) compact(ctx context.Context, ref *pb.SegmentRef, r *pb.SegmentResult) (*pb.SegmentResult, error) {
	if proto.Size(r) <= inlineLimit {
		return r, nil
	}
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	experiment, _, _, err := SplitRun(ref.Run)
	if err != nil {
		return nil, err
	}
	var at *pb.BlobRef
	if at, err = c.spill(ctx, experiment, b); err != nil {
		return nil, fmt.Errorf("store result: %w", err)
	}
	return &pb.SegmentResult{
		EndStep: r.EndStep, Checkpoint: r.Checkpoint, Metrics: r.Metrics, Artifacts: r.Artifacts, Seconds: r.Seconds,
		Divergence: r.Divergence, Overflow: at,
	}, nil
}

// Result returns a committed result in full, fetched where it overflowed.
func (c *Client) Result(ctx context.Context, r *pb.SegmentResult) (*pb.SegmentResult, error) {
	if r.GetOverflow() == nil {
		return r, nil
	}
	b, err := c.unspill(ctx, r.Overflow)
	if err != nil {
		return nil, fmt.Errorf("result of a segment: %w", err)
	}
	full := &pb.SegmentResult{}
	if err := proto.Unmarshal(b, full); err != nil {
		return nil, fmt.Errorf("result of a segment: %w", err)
	}
	return full, nil
}

// Release gives a segment back undone.
func (c *Client) Release(ctx context.Context, ref *pb.SegmentRef, attempt int64) error {
	return c.settle(ctx, "release", ref, attempt, func(cur *pb.Segment) (*pb.Segment, *pb.Segment, error) {
		if cur.State != pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			return nil, nil, nil // back already, or done
		}
		return pending(cur, time.Now()), nil, nil
	})
}

// Fail reports that a worker could not do a segment: it is queued again for
// others, or, when permanent (the run itself is at fault), given up.
func (c *Client) Fail(ctx context.Context, ref *pb.SegmentRef, attempt int64, worker, msg string, permanent bool) error {
	return c.settle(ctx, "fail", ref, attempt, func(cur *pb.Segment) (*pb.Segment, *pb.Segment, error) {
		if cur.State == pb.SegmentState_SEGMENT_STATE_DONE {
			return nil, nil, fmt.Errorf("committed already: %w", ErrFenced)
		}
		for _, f := range cur.Failures {
			if f.Attempt == attempt {
				return nil, nil, nil // our own, with its answer lost
			}
		}
		next := pending(cur, time.Now())
		if permanent {
			next.State = pb.SegmentState_SEGMENT_STATE_FAILED
		}
		next.Failures = append(next.Failures, &pb.SegmentFailure{Attempt: attempt, Worker: worker, Error: clip(msg), Permanent: permanent})
		if n := len(next.Failures); n > maxFailures {
			next.Failures = next.Failures[n-maxFailures:]
		}
		return next, nil, nil
	})
}

// clip makes a message fit to be kept: valid UTF-8 of bounded length.
func clip(msg string) string {
	msg = strings.ToValidUTF8(msg, "\uFFFD")
	if len(msg) <= maxFailureBytes {
		return msg
	}
	cut := maxFailureBytes
	for !utf8.RuneStart(msg[cut]) {
		cut--
	}
	return msg[:cut] + "…"
}

// settle is every write of a worker about a segment that it was given: read,
// decide, and write if no other client wrote in between. decide gets a record whose attempt
// is the worker's, and returns what it becomes (nil: leave it) and a further
// segment to queue.
func (c *Client) settle(ctx context.Context, what string, ref *pb.SegmentRef, attempt int64, decide func(cur *pb.Segment) (next, more *pb.Segment, err error)) error {
	if err := checkRef(ref); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	key := segmentKey(ref)
	err := c.retry(ctx, what, func(ctx context.Context) error {
		for {
			cur := &pb.Segment{}
			at, err := c.get(ctx, key, cur)
			if errors.Is(err, ErrNotFound) {
				return fmt.Errorf("its run has ended: %w", ErrFenced)
			}
			if err != nil {
				return err
			}
			switch {
			case cur.Attempt != attempt:
				return fmt.Errorf("attempt %d, now %d on %s: %w", attempt, cur.Attempt, cur.Worker, ErrFenced)
			case cur.Ref.EndStep != ref.EndStep:
				return fmt.Errorf("segment ends at step %d, not %d: %w", cur.Ref.EndStep, ref.EndStep, ErrFenced)
			case cur.State == pb.SegmentState_SEGMENT_STATE_CANCELLED:
				return fmt.Errorf("segment is cancelled: %w", ErrFenced)
			case cur.State == pb.SegmentState_SEGMENT_STATE_FAILED && what != "fail":
				return fmt.Errorf("segment has failed: %w", ErrFenced)
			}
			next, more, err := decide(cur)
			if err != nil || next == nil {
				return err
			}
			cmps := []clientv3.Cmp{modIs(key, at.Mod)}
			val, err := marshal(next)
			if err != nil {
				return err
			}
			ops := []clientv3.Op{clientv3.OpPut(key, val), clientv3.OpDelete(assignKey(cur.Worker, cur.Ref, attempt))}
			if more != nil {
				if val, err = marshal(more); err != nil {
					return err
				}
				cmps = append(cmps, absent(segmentKey(more.Ref)))
				ops = append(ops, clientv3.OpPut(segmentKey(more.Ref), val))
			}
			if _, err = c.write(ctx, what, cmps, ops...); !errors.Is(err, ErrConflict) {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("%s %s [%d, %d): %w", what, ref.Run, ref.FirstStep, ref.EndStep, err)
	}
	return nil
}
