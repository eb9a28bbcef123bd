package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// place is where fakeCluster keeps a segment: runID's by their first steps, those
// of the runs of later seeds by 10,000 more for each.
func place(ref *pb.SegmentRef) int64 {
	if seed := seedOf(ref.Run); seed > 7 {
		return int64(seed-7)*10_000 + ref.FirstStep
	}
	return ref.FirstStep
}

func seedOf(run string) uint32 {
	n, err := strconv.Atoi(run[strings.LastIndex(run, "/")+1:])
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

// fakeCluster is the part of etcd that a worker sees: the segments of a few runs
// with their attempts, and the worker's registration.
type fakeCluster struct {
	mu       sync.Mutex
	segments map[int64]*pb.Segment // by place
	specErr  error
	spec     func(run string) string // nil: the same of all
	runState pb.RunState
	inputs   []*pb.Input
	publish  []string
	numerics int32
	away     bool // nothing answers

	reg    *fakeRegistration
	regs   int
	events chan cluster.AssignmentEvent

	commits  int
	released []int64 // first steps
	records  []*pb.Worker
	onCommit func() // with the mutex held
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{segments: map[int64]*pb.Segment{}, numerics: engine.NumericsVersion}
}

type fakeRegistration struct {
	c      *fakeCluster
	lost   chan struct{}
	closed bool
	gone   bool
}

func (r *fakeRegistration) Lost() <-chan struct{} { return r.lost }

func (r *fakeRegistration) Update(ctx context.Context, w *pb.Worker) error {
	if err := r.c.wait(ctx); err != nil {
		return err
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.records = append(r.c.records, w)
	if r.gone {
		return cluster.ErrConflict
	}
	return nil
}

func (r *fakeRegistration) Close(ctx context.Context) error {
	if err := r.c.wait(ctx); err != nil {
		return err
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.closed = true
	return nil
}

// wait is what every call does while etcd is away.
func (c *fakeCluster) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		away := c.away
		c.mu.Unlock()
		if !away {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// written are the records of itself that the worker has written, oldest first.
func (c *fakeCluster) written() []*pb.Worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.records)
}

func (c *fakeCluster) setAway(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
}

func (c *fakeCluster) Register(ctx context.Context, w *pb.Worker, _ time.Duration) (registration, error) {
	if err := c.wait(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reg != nil && !c.reg.closed && !c.reg.gone {
		return nil, cluster.ErrConflict
	}
	c.reg = &fakeRegistration{c: c, lost: make(chan struct{})}
	c.regs++
	c.records = append(c.records, w)
	return c.reg, nil
}

func (c *fakeCluster) Assignments(ctx context.Context, _ string) (<-chan cluster.AssignmentEvent, error) {
	in, out := make(chan cluster.AssignmentEvent, 100), make(chan cluster.AssignmentEvent)
	c.mu.Lock()
	c.events = in
	c.mu.Unlock()
	go func() {
		defer close(out)
		for {
			select {
			case ev := <-in:
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (c *fakeCluster) RunSpec(ctx context.Context, id string) ([]byte, *pb.Run, error) {
	if err := c.wait(ctx); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.specErr != nil {
		return nil, nil, c.specErr
	}
	spec := "spec"
	if c.spec != nil {
		spec = c.spec(id)
	}
	return []byte(spec), &pb.Run{Id: id, Arm: "arm", Seed: seedOf(id), Steps: runSteps, NumericsVersion: c.numerics, State: c.runState, Inputs: c.inputs, Publishes: c.publish}, nil
}

// assign gives [first, end) to the worker under a new attempt, and returns the
// assignment's id.
func (c *fakeCluster) assign(first, end int64, start *pb.BlobRef) string {
	return c.assignFrom(first, end, start, nil)
}

func (c *fakeCluster) assignFrom(first, end int64, start *pb.BlobRef, earlier *pb.Earlier) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seg := c.segments[first]
	if seg == nil {
		seg = &pb.Segment{Ref: &pb.SegmentRef{Run: runID, Track: "main", FirstStep: first, EndStep: end}, Start: start, Earlier: earlier}
		c.segments[first] = seg
	}
	seg.Attempt++
	seg.State = pb.SegmentState_SEGMENT_STATE_ASSIGNED
	id := fmt.Sprintf("%d.%d", first, seg.Attempt)
	c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: id, Segments: []*pb.AssignedSegment{{Ref: seg.Ref, Attempt: seg.Attempt, Start: seg.Start, Earlier: seg.Earlier}}}}
	return id
}

// assignPack gives [first, end) of the runs of seeds 7, 8, … to the worker as
// one pack, and returns the assignments' ids.
func (c *fakeCluster) assignPack(first, end int64, starts ...*pb.BlobRef) (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, start := range starts {
		ref := &pb.SegmentRef{Run: fmt.Sprintf("exp/trial/%d", 7+i), Track: "main", FirstStep: first, EndStep: end}
		seg := c.segments[place(ref)]
		if seg == nil {
			seg = &pb.Segment{Ref: ref, Start: start}
			c.segments[place(ref)] = seg
		}
		seg.Attempt++
		seg.State = pb.SegmentState_SEGMENT_STATE_ASSIGNED
		id := fmt.Sprintf("%d.%d", place(ref), seg.Attempt)
		ids = append(ids, id)
		c.events <- cluster.AssignmentEvent{More: i < len(starts)-1, Assignment: &pb.Assignment{Id: id, Pack: ids[0], Segments: []*pb.AssignedSegment{{Ref: ref, Attempt: seg.Attempt, Start: start}}}}
	}
	return ids
}

func (c *fakeCluster) withdraw(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: id}, Withdrawn: true}
}

// elsewhere gives a segment to another worker.
func (c *fakeCluster) elsewhere(first int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.segments[first].Attempt++
	c.segments[first].Worker = "other"
}

// loseLease ends the registration, and its assignments with it. Where silent,
// the worker does not notice.
func (c *fakeCluster) loseLease(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reg.gone = true
	if !silent {
		close(c.reg.lost)
	}
	for first, s := range c.segments {
		if s.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			s.State = pb.SegmentState_SEGMENT_STATE_PENDING
			c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: fmt.Sprintf("%d.%d", first, s.Attempt)}, Withdrawn: true}
		}
	}
}

func (c *fakeCluster) segment(first int64) *pb.Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return proto.CloneOf(c.segments[first])
}

func (c *fakeCluster) settle(ctx context.Context, ref *pb.SegmentRef, attempt int64, f func(*pb.Segment)) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.segments[place(ref)]
	if s == nil || s.Attempt != attempt || s.State == pb.SegmentState_SEGMENT_STATE_CANCELLED {
		return fmt.Errorf("fake: %w", cluster.ErrFenced)
	}
	f(s)
	return nil
}

func (c *fakeCluster) Commit(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error {
	return c.settle(ctx, ref, attempt, func(s *pb.Segment) {
		c.commits++
		if c.onCommit != nil {
			c.onCommit()
		}
		s.State, s.Result = pb.SegmentState_SEGMENT_STATE_DONE, r
	})
}

func (c *fakeCluster) Yield(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error {
	if r.EndStep <= ref.FirstStep || r.EndStep >= ref.EndStep {
		return errors.New("fake: not a yield")
	}
	return c.settle(ctx, ref, attempt, func(s *pb.Segment) {
		s.State, s.Result, s.Yielded = pb.SegmentState_SEGMENT_STATE_DONE, r, true
	})
}

func (c *fakeCluster) Release(ctx context.Context, ref *pb.SegmentRef, attempt int64) error {
	return c.settle(ctx, ref, attempt, func(s *pb.Segment) {
		s.State = pb.SegmentState_SEGMENT_STATE_PENDING
		c.released = append(c.released, place(ref))
	})
}

func (c *fakeCluster) Fail(ctx context.Context, ref *pb.SegmentRef, attempt int64, worker, msg string, permanent bool) error {
	return c.settle(ctx, ref, attempt, func(s *pb.Segment) {
		s.State = pb.SegmentState_SEGMENT_STATE_PENDING
		s.Failures = append(s.Failures, &pb.SegmentFailure{Attempt: attempt, Worker: worker, Error: msg, Permanent: permanent})
	})
}
