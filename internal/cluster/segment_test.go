package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

const (
	pendingState = pb.SegmentState_SEGMENT_STATE_PENDING
	assigned     = pb.SegmentState_SEGMENT_STATE_ASSIGNED
	doneState    = pb.SegmentState_SEGMENT_STATE_DONE
	failedState  = pb.SegmentState_SEGMENT_STATE_FAILED
)

// modelSegment is what a segment must be.
type modelSegment struct {
	end      int64
	state    pb.SegmentState
	attempt  int64
	worker   string
	assigned bool // the assignment key is there
	resultAt int64
	failures map[int64]bool
}

// protocol runs segment transactions against a model, one after the other.
type protocol struct {
	c       *Client
	lossy   *lossyKV
	run     string
	t       *rapid.T
	workers map[string]*Registration
	model   map[int64]*modelSegment // by first step
}

func (p *protocol) pick() (int64, *modelSegment, *pb.SegmentRef) {
	var firsts []int64
	for f := int64(0); f < 100; f++ {
		if p.model[f] != nil {
			firsts = append(firsts, f)
		}
	}
	f := rapid.SampledFrom(firsts).Draw(p.t, "first")
	m := p.model[f]
	return f, m, &pb.SegmentRef{Run: p.run, Track: MainTrack, FirstStep: f, EndStep: m.end}
}

// lose makes some of the next transactions' outcomes unknown: a worker's write
// must come out the same.
func (p *protocol) lose() {
	p.lossy.losses = rapid.SampledFrom([][]loss{nil, nil, {requestLost}, {answerLost}, {answerLost, answerLost}}).Draw(p.t, "losses")
}

// attempt draws the present attempt, or one before or after it.
func (p *protocol) attempt(m *modelSegment) int64 {
	return max(0, m.attempt-int64(rapid.SampledFrom([]int{0, 0, 0, 1, -1}).Draw(p.t, "behind")))
}

// fenced is what every write of a worker is judged by first.
func (m *modelSegment) fenced(attempt int64) bool {
	return attempt != m.attempt || m.state == failedState
}

func (p *protocol) want(err error, fenced bool) {
	p.t.Helper()
	if fenced {
		require.ErrorIs(p.t, err, ErrFenced)
	} else {
		require.NoError(p.t, err)
	}
}

func (p *protocol) check(t *rapid.T) {
	for first, m := range p.model {
		ref := &pb.SegmentRef{Run: p.run, Track: MainTrack, FirstStep: first}
		g, _ := p.c.segment(t, ref)
		require.NotNil(t, g)
		require.Equal(t, m.state, g.State)
		require.Equal(t, m.attempt, g.Attempt)
		require.Equal(t, m.end, g.Ref.EndStep)
		require.Equal(t, m.resultAt, g.Result.GetEndStep())
		require.Len(t, g.Failures, len(m.failures))
		r, err := p.c.kv.Get(context.Background(), assignKey(m.worker, g.Ref, g.Attempt))
		require.NoError(t, err)
		require.Equal(t, m.assigned, len(r.Kvs) == 1, "assignment of %d", first)
	}
	// Committed ranges do not overlap, and nothing is left out.
	at := int64(0)
	for at < 100 {
		m := p.model[at]
		require.NotNil(t, m, "nothing at step %d", at)
		if m.state == doneState {
			at = m.resultAt
		} else {
			at = m.end
		}
	}
}

func TestSegmentProtocolFollowsItsModel(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	lossy := &lossyKV{KV: c.kv}
	c.kv = lossy
	ctx := context.Background()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		run := fmt.Sprintf("e%d/t/0", n)
		p := &protocol{c: c, lossy: lossy, run: run, workers: map[string]*Registration{}, model: map[int64]*modelSegment{0: {end: 100, state: pendingState, failures: map[int64]bool{}}}}
		val, err := marshal(segmentOf(run, 0, 100))
		require.NoError(rt, err)
		_, err = c.kv.Put(ctx, segmentKey(&pb.SegmentRef{Run: run}), val)
		require.NoError(rt, err)
		defer func() {
			for _, r := range p.workers {
				_ = r.Close(ctx)
			}
		}()
		act := func(f func()) func(*rapid.T) {
			return func(t *rapid.T) { p.t = t; f() }
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { p.check(t) },
			"assign": act(func() {
				p.lossy.losses = nil
				_, m, ref := p.pick()
				id := fmt.Sprintf("x%d-%d", n, rapid.IntRange(0, 1).Draw(p.t, "worker"))
				if p.workers[id] == nil {
					reg, err := c.Register(ctx, &pb.Worker{Id: id}, time.Minute)
					require.NoError(p.t, err)
					p.workers[id] = reg
				}
				g, rev := c.segment(p.t, ref)
				stale := rapid.IntRange(0, 5).Draw(p.t, "stale") == 0
				if stale {
					rev.Mod--
				}
				_, err := c.Assign(ctx, g, rev.Mod, c.holder(p.t, id), time.Now())
				if stale || m.state != pendingState {
					require.ErrorIs(p.t, err, ErrConflict)
					return
				}
				require.NoError(p.t, err)
				m.state, m.worker, m.assigned = assigned, id, true
				m.attempt++
			}),
			"lose": act(func() {
				p.lossy.losses = nil
				for id, reg := range p.workers {
					require.NoError(p.t, reg.Close(ctx))
					delete(p.workers, id)
				}
				for _, m := range p.model {
					m.assigned = false
				}
			}),
			"requeue": act(func() {
				p.lossy.losses = nil
				_, m, ref := p.pick()
				g, rev := c.segment(p.t, ref)
				_, err := c.Requeue(ctx, g, rev.Mod, time.Now())
				if m.state != assigned || m.assigned {
					require.ErrorIs(p.t, err, ErrConflict)
					return
				}
				require.NoError(p.t, err)
				m.state = pendingState
			}),
			"finish": act(func() {
				first, m, ref := p.pick()
				attempt := p.attempt(m)
				end := rapid.Int64Range(first, m.end).Draw(p.t, "end")
				if rapid.Bool().Draw(p.t, "whole") {
					end = m.end
				}
				if attempt == 0 {
					p.t.Skip("never assigned")
				}
				p.lose()
				if end == m.end {
					err = c.Commit(ctx, ref, attempt, done(end))
				} else {
					err = c.Yield(ctx, ref, attempt, done(end))
				}
				switch {
				case end == first: // release
					p.want(err, m.fenced(attempt))
					if err == nil && m.state == assigned {
						m.state, m.assigned = pendingState, false
					}
				case m.state == doneState && attempt == m.attempt:
					p.want(err, m.resultAt != end)
				default:
					p.want(err, m.fenced(attempt))
					if err == nil {
						m.state, m.resultAt, m.assigned = doneState, end, false
						if end < m.end {
							p.model[end] = &modelSegment{end: m.end, attempt: m.attempt, state: pendingState, failures: map[int64]bool{}}
						}
					}
				}
			}),
			"fail": act(func() {
				_, m, ref := p.pick()
				attempt := p.attempt(m)
				if attempt == 0 {
					p.t.Skip("never assigned")
				}
				permanent := rapid.IntRange(0, 7).Draw(p.t, "permanent") == 0
				p.lose()
				err := c.Fail(ctx, ref, attempt, m.worker, "boom", permanent)
				known := m.failures[attempt]
				p.want(err, attempt != m.attempt || m.state == doneState)
				if err == nil && !known && len(m.failures) < maxFailures {
					m.failures[attempt] = true
					m.state, m.assigned = pendingState, false
					if permanent {
						m.state = failedState
					}
				} else if err == nil && !known {
					p.t.Skip("more failures than are kept")
				}
			}),
		})
	})
}

func TestALateWorkerMayCommitUntilSomebodyElseIsAssigned(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	_, g := seed(t, c)
	one, err := c.Register(ctx, &pb.Worker{Id: "one"}, time.Minute)
	require.NoError(t, err)
	assignTo := func(id string) *pb.Segment {
		g, rev := c.segment(t, g.Ref)
		_, err := c.Assign(ctx, g, rev.Mod, c.holder(t, id), time.Now())
		require.NoError(t, err)
		g, _ = c.segment(t, g.Ref)
		return g
	}
	a := assignTo("one")
	// Not while the assignment stands.
	_, rev := c.segment(t, g.Ref)
	_, err = c.Requeue(ctx, a, rev.Mod, time.Now())
	require.ErrorIs(t, err, ErrConflict)
	require.NoError(t, one.Close(ctx))
	// A worker that is gone gets nothing.
	_, err = c.Requeue(ctx, a, rev.Mod, time.Now())
	require.NoError(t, err)
	b, rev := c.segment(t, g.Ref)
	require.Equal(t, a.Attempt, b.Attempt)
	two, err := c.Register(ctx, &pb.Worker{Id: "two"}, time.Minute)
	require.NoError(t, err)
	h := c.holder(t, "two")
	require.NoError(t, two.Close(ctx))
	_, err = c.Assign(ctx, b, rev.Mod, h, time.Now())
	require.ErrorIs(t, err, ErrConflict)
	// Nor one whose registration was removed while its lease lives on.
	three, err := c.Register(ctx, &pb.Worker{Id: "three"}, time.Minute)
	require.NoError(t, err)
	defer three.Close(context.Background())
	h = c.holder(t, "three")
	_, err = c.kv.Delete(ctx, pfxWorker+"three")
	require.NoError(t, err)
	_, err = c.Assign(ctx, b, rev.Mod, h, time.Now())
	require.ErrorIs(t, err, ErrConflict)
	// The late worker commits, twice.
	require.NoError(t, c.Commit(ctx, g.Ref, a.Attempt, done(100)))
	require.NoError(t, c.Commit(ctx, g.Ref, a.Attempt, done(100)))
	require.ErrorIs(t, c.Yield(ctx, g.Ref, a.Attempt, done(50)), ErrFenced)
	require.ErrorIs(t, c.Fail(ctx, g.Ref, a.Attempt, "one", "no", false), ErrFenced)
	require.NoError(t, c.Release(ctx, g.Ref, a.Attempt))
}

func TestEndOfARunFencesWhoeverIsLeft(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	ctx := t.Context()
	rec, g := seed(t, c)
	reg, err := c.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
	require.NoError(t, err)
	defer reg.Close(ctx)
	cur, rev := c.segment(t, g.Ref)
	before := SegmentAt{cur, rev.Mod}
	_, err = c.Assign(ctx, cur, rev.Mod, c.holder(t, "w"), time.Now())
	require.NoError(t, err)
	run := &pb.Run{Id: g.Ref.Run, State: pb.RunState_RUN_STATE_CANCELLED}
	mod := modOf(t, c, pfxRun+run.Id)
	// Not on what is no longer so.
	_, err = c.EndRun(ctx, run, mod, []SegmentAt{before})
	require.ErrorIs(t, err, ErrConflict)
	cur, rev = c.segment(t, g.Ref)
	_, err = c.EndRun(ctx, run, mod, []SegmentAt{{cur, rev.Mod}})
	require.NoError(t, err)
	for _, err := range []error{
		c.Commit(ctx, g.Ref, 1, done(100)), c.Yield(ctx, g.Ref, 1, done(10)), c.Release(ctx, g.Ref, 1), c.Fail(ctx, g.Ref, 1, "w", "x", true),
	} {
		require.ErrorIs(t, err, ErrFenced)
	}
	r, err := c.kv.Get(ctx, assignKey("w", g.Ref, 1))
	require.NoError(t, err)
	require.Empty(t, r.Kvs)
	_, err = c.NextSegment(ctx, g.Ref, rev.Mod, segmentOf(run.Id, 100, 200))
	require.ErrorIs(t, err, ErrConflict)
	_, got, err := c.RunSpec(ctx, run.Id)
	require.NoError(t, err)
	require.Equal(t, run.State, got.State)

	// Deleting the experiment leaves another's keys alone, also those of a name
	// that begins with its own.
	twin := rec.Id + "x"
	_, err = c.kv.Put(ctx, pfxRun+twin+"/t/0", "")
	require.NoError(t, err)
	_, err = c.DeleteExperiment(ctx, rec, modOf(t, c, pfxExp+rec.Id))
	require.NoError(t, err)
	_, _, err = c.RunSpec(ctx, run.Id)
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = c.RunSpec(ctx, twin+"/t/0")
	require.ErrorContains(t, err, "trial t of "+twin)
	_, err = c.AddRuns(ctx, rec.Id, mod, []NewRun{{run, segmentOf(run.Id, 0, 1)}})
	require.ErrorIs(t, err, ErrConflict, "no runs without their experiment")
}

func TestBadReferencesAreRefused(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	for _, ref := range []*pb.SegmentRef{
		nil, {}, {Run: "a/b", EndStep: 1}, {Run: "a/b/c/d", EndStep: 1}, {Run: "a//0", EndStep: 1},
		{Run: "a/b/0"}, {Run: "a/b/0", FirstStep: 5, EndStep: 5}, {Run: "a/b/0", FirstStep: -1, EndStep: 5}, {Run: "a/b/0", Track: "x/y", EndStep: 5},
	} {
		err := c.Commit(t.Context(), ref, 1, done(ref.GetEndStep()))
		require.Error(t, err, "%v", ref)
		require.NotErrorIs(t, err, ErrFenced, "%v", ref)
	}
	require.Error(t, c.Commit(t.Context(), &pb.SegmentRef{Run: "a/b/0", EndStep: 5}, 1, done(4)))
	require.Error(t, c.Yield(t.Context(), &pb.SegmentRef{Run: "a/b/0", EndStep: 5}, 1, done(6)))
	require.Error(t, c.Yield(t.Context(), &pb.SegmentRef{Run: "a/b/0", EndStep: 5}, 1, &pb.SegmentResult{EndStep: 3}))
	_, err := c.Register(t.Context(), &pb.Worker{Id: "a/b"}, time.Minute)
	require.Error(t, err)
	_, err = c.Assignments(t.Context(), "")
	require.Error(t, err)
}

func TestFailureMessagesAreMadeToFit(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	_, g := seed(t, c)
	// The present attempt is 0: as if it had been assigned and requeued.
	require.NoError(t, c.Fail(t.Context(), g.Ref, 0, "w", "bad \xff byte "+strings.Repeat("é", maxFailureBytes), false))
	got, _ := c.segment(t, g.Ref)
	msg := got.Failures[0].Error
	require.True(t, strings.HasPrefix(msg, "bad \uFFFD byte é"))
	require.LessOrEqual(t, len(msg), maxFailureBytes+len("…"))
}

func TestAResultTooLargeForEtcdNeedsAnOverflow(t *testing.T) {
	big := done(100)
	for i := range 30_000 {
		big.Rows = append(big.Rows, &pb.TaskRow{Task: int32(i), Values: []float64{1}})
	}
	c := dial(t, t.Cleanup, Options{})
	_, g := seed(t, c)
	require.ErrorContains(t, c.Commit(t.Context(), g.Ref, 0, big), "no overflow store")

	c = dial(t, t.Cleanup, Options{Overflow: memBlob(t)})
	_, g = seed(t, c)
	require.NoError(t, c.Commit(t.Context(), g.Ref, 0, big))
	got, _ := c.segment(t, g.Ref)
	require.Less(t, proto.Size(got), 1<<10)
	require.True(t, proto.Equal(big.Checkpoint, got.Result.Checkpoint))
	full, err := c.Result(t.Context(), got.Result)
	require.NoError(t, err)
	require.True(t, proto.Equal(big, full))
}

func TestSubmissionWhoseAnswerIsLost(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	c.kv = &lossyKV{KV: c.kv, losses: []loss{requestLost, answerLost, answerLost}}
	rec, existed, err := c.CreateSubmission(t.Context(), "r", &pb.ExperimentSpec{Name: "e"}, nil, time.Now())
	require.NoError(t, err)
	require.False(t, existed, "it was this call that made it")
	got, err := c.Experiment(t.Context(), rec.Id)
	require.NoError(t, err)
	require.Equal(t, rec.Id, got.Id)
}

func TestWritesWaitForEtcdToComeBack(t *testing.T) {
	gt := newGate(t)
	prefix := freshPrefix()
	direct := dial(t, t.Cleanup, Options{Prefix: prefix})
	_, g := seed(t, direct)
	c := dial(t, t.Cleanup, Options{Prefix: prefix}, gt.endpoint())
	gt.close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := c.Commit(ctx, g.Ref, 0, done(100))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, IsUnavailable(err))
	require.Error(t, c.Ping(ctx))
	errs := make(chan error, 1)
	go func() { errs <- c.Commit(t.Context(), g.Ref, 0, done(100)) }()
	gt.open()
	require.NoError(t, <-errs)
	require.NoError(t, c.Ping(t.Context()))
}

func TestRetryStopsAtWhatTryingCannotMend(t *testing.T) {
	c := dial(t, t.Cleanup, Options{})
	n := 0
	err := c.retry(t.Context(), "x", func(context.Context) error {
		if n++; n < 4 {
			return errAgain
		}
		return errTest
	})
	require.ErrorIs(t, err, errTest)
	require.Equal(t, 4, n)
	ctx, cancel := context.WithCancelCause(t.Context())
	err = c.retry(ctx, "x", func(context.Context) error { cancel(errTest); return errAgain })
	require.ErrorIs(t, err, errTest)
	require.True(t, errors.Is(err, context.Canceled))
}

// What diverged is committed up to there, and nothing is left to do.
func TestCommitOfATrackThatDiverged(t *testing.T) {
	ctx := t.Context()
	for _, end := range []int64{0, 3, 100} {
		c := dial(t, t.Cleanup, Options{})
		_, seg := seed(t, c)
		w, err := c.Register(ctx, &pb.Worker{Id: "w"}, time.Minute)
		require.NoError(t, err)
		_, err = c.Assign(ctx, seg, modOf(t, c, segmentKey(seg.Ref)), c.holder(t, "w"), time.Now())
		require.NoError(t, err)
		r := &pb.SegmentResult{EndStep: end, Divergence: &pb.Divergence{Step: end, What: "the loss is NaN"}}
		for range 2 { // again, with its answer lost
			require.NoError(t, c.Commit(ctx, seg.Ref, 1, r))
		}
		got, _ := c.segment(t, seg.Ref)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, got.State)
		require.False(t, got.Yielded)
		require.True(t, proto.Equal(r, got.Result))
		rest := proto.CloneOf(seg.Ref)
		rest.FirstStep = end
		if end > 0 {
			_, err = c.get(ctx, segmentKey(rest), &pb.Segment{})
			require.ErrorIs(t, err, ErrNotFound, "there is no rest")
		}
		require.Error(t, c.Commit(ctx, seg.Ref, 1, &pb.SegmentResult{EndStep: seg.Ref.EndStep + 1, Divergence: r.Divergence}))
		require.NoError(t, w.Close(ctx))
	}
}
