package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// ledger follows every record and complains when history goes wrong.
type ledger struct {
	mu       sync.Mutex
	last     map[string]*pb.Segment
	commits  map[string]bool  // by segment
	attempts map[string]int64 // the last, by run and track
	floor    map[string]int64 // what a run that was taken up again begins with
	wrong    []string
	rev      int64
	segments int
	assigned int
}

func (l *ledger) follow(rev int64, changes []cluster.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if rev < l.rev {
		l.wrong = append(l.wrong, fmt.Sprintf("revision %d after %d", rev, l.rev))
	}
	l.rev = rev
	for _, c := range changes { // a run that is taken up again has its segments anew
		if c.Kind == cluster.KindRun && !c.Deleted && !mirror.Final(c.Msg.(*pb.Run).State) {
			l.floor[c.Run] = c.Msg.(*pb.Run).GetCommitted().GetAttempt()
			maps.DeleteFunc(l.commits, func(key string, _ bool) bool { return strings.HasPrefix(key, c.Run+" ") })
			maps.DeleteFunc(l.last, func(key string, _ *pb.Segment) bool { return strings.HasPrefix(key, c.Run+" ") })
		}
	}
	for _, c := range changes {
		switch c.Kind {
		case cluster.KindAssignment:
			if c.Deleted {
				l.assigned--
			} else {
				l.assigned++
			}
		case cluster.KindSegment:
			track := c.Run + " " + c.Ref.Track
			key := fmt.Sprintf("%s at %d", track, c.Ref.FirstStep)
			if c.Deleted {
				l.segments--
				continue
			}
			if c.Rev.Create == c.Rev.Mod {
				l.segments++
				if l.commits[key] {
					l.wrong = append(l.wrong, key+" is there again after its commit")
				}
			}
			g := c.Msg.(*pb.Segment)
			want := l.last[key].GetAttempt()
			if c.Rev.Create == c.Rev.Mod {
				want = max(l.attempts[track], l.floor[c.Run]) // a track's next segment goes on counting
			}
			if g.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
				want++
			}
			if g.Attempt != want {
				l.wrong = append(l.wrong, fmt.Sprintf("%s: attempt %d (%s), not %d", key, g.Attempt, g.State, want))
			}
			l.last[key] = g
			l.attempts[track] = g.Attempt
			if g.State == pb.SegmentState_SEGMENT_STATE_DONE {
				if l.commits[key] {
					l.wrong = append(l.wrong, key+" is committed twice")
				}
				l.commits[key] = true
			}
		}
	}
}

// chaos drives a whole cluster into random situations.
type chaos struct {
	*world
	rt       *rapid.T
	ledger   *ledger
	workers  []*fakeWorker
	gone     []*fakeWorker
	shapes   map[string]shape // by experiment
	cancel   map[string]bool
	poisoned map[string]bool // runs that were failed for good
	failures map[string]int  // by run
	lacking  map[string]bool // runs of which a deferred measurement was failed
}

// given are segments that workers know of, held or not, in a stable order.
func (c *chaos) given(held bool) (out []struct {
	f *fakeWorker
	g *pb.AssignedSegment
}) {
	for _, f := range slices.Concat(c.workers, c.gone) {
		gs := f.holding()
		if !held {
			f.mu.Lock()
			gs = slices.Clone(f.past)
			f.mu.Unlock()
		}
		slices.SortFunc(gs, func(a, b *pb.AssignedSegment) int {
			return strings.Compare(cluster.AssignmentID(a.Ref, a.Attempt), cluster.AssignmentID(b.Ref, b.Attempt))
		})
		for _, g := range gs {
			out = append(out, struct {
				f *fakeWorker
				g *pb.AssignedSegment
			}{f, g})
		}
	}
	return out
}

func (c *chaos) pick(held bool) (*fakeWorker, *pb.AssignedSegment) {
	all := c.given(held)
	if len(all) == 0 {
		c.rt.Skip("nothing assigned")
	}
	x := all[rapid.IntRange(0, len(all)-1).Draw(c.rt, "segment")]
	return x.f, x.g
}

// fencedOr accepts success and being fenced: which it is depends on who was
// faster, and the ledger and the end result judge whether it was right.
func (c *chaos) fencedOr(err error) {
	if err != nil && !errors.Is(err, cluster.ErrFenced) {
		c.rt.Fatal(err)
	}
}

// settle waits until the coordinator has nothing to do but wait for workers.
func (c *chaos) settle() {
	if c.stop == nil {
		return
	}
	c.rest()
}

func (c *chaos) actions() map[string]func(*rapid.T) {
	draw := func(f func()) func(*rapid.T) {
		return func(t *rapid.T) { c.rt = t; f() }
	}
	acts := map[string]func(*rapid.T){
		"submit": draw(func() {
			if len(c.shapes) >= 3 || c.stop == nil {
				c.rt.Skip("enough")
			}
			s := shape{
				Tasks: int32(rapid.IntRange(1, 6).Draw(c.rt, "tasks")), Steps: perTask,
				Segment: rapid.IntRange(1, 4).Draw(c.rt, "segment"),
				Arms:    map[string]int{"a": 1, "b": rapid.IntRange(1, 2).Draw(c.rt, "trials")},
				Seeds:   []uint32{0, 1}[:rapid.IntRange(1, 2).Draw(c.rt, "seeds")],
			}
			if rapid.Bool().Draw(c.rt, "needs") {
				s.Arms["c"] = 1
				s.Needs = map[string]map[string]string{
					"one": {"a": "c"}, "two": {"a": "b", "b": "c"}, "both": {"a": "c", "b": "c"},
				}[rapid.SampledFrom([]string{"one", "two", "both"}).Draw(c.rt, "which")]
			}
			if rapid.Bool().Draw(c.rt, "analyses") {
				s.Once, s.Each = "a", "b"
			}
			if rapid.Bool().Draw(c.rt, "deferred") {
				s.Deferred, s.Starts = rapid.Int32Range(1, 3).Draw(c.rt, "every"), rapid.Bool().Draw(c.rt, "starts")
			}
			if rapid.Bool().Draw(c.rt, "confirm") {
				s.Confirm = []uint32{9}
			}
			c.shapes[c.submit(fmt.Sprintf("e%d", len(c.shapes)), s)] = s
		}),
		"join": draw(func() {
			if len(c.workers) >= 3 {
				c.rt.Skip("enough")
			}
			// Three ids: a worker may come back before its loss is seen.
			free := slices.DeleteFunc([]string{"w1", "w2", "w3"}, func(id string) bool {
				return slices.ContainsFunc(c.workers, func(f *fakeWorker) bool { return f.id == id })
			})
			c.workers = append(c.workers, c.join(rapid.SampledFrom(free).Draw(c.rt, "id"), rapid.IntRange(1, 3).Draw(c.rt, "slots"), func(r *pb.Worker) {
				r.Lanes = rapid.Int32Range(0, 3).Draw(c.rt, "lanes")
			}))
		}),
		"lose": draw(func() {
			if len(c.workers) == 0 {
				c.rt.Skip("none")
			}
			i := rapid.IntRange(0, len(c.workers)-1).Draw(c.rt, "worker")
			c.workers[i].leave()
			c.gone = append(c.gone, c.workers[i])
			c.workers = slices.Delete(c.workers, i, i+1)
		}),
		"commit":      draw(func() { f, g := c.pick(true); c.fencedOr(f.commit(g)) }),
		"late commit": draw(func() { f, g := c.pick(false); c.fencedOr(f.commit(g)) }),
		"yield": draw(func() {
			f, g := c.pick(rapid.Bool().Draw(c.rt, "held"))
			c.fencedOr(f.yield(g, rapid.Int64Range(g.Ref.FirstStep, g.Ref.EndStep).Draw(c.rt, "at")))
		}),
		"release": draw(func() { f, g := c.pick(false); c.fencedOr(f.c.Release(c.ctx, g.Ref, g.Attempt)) }),
		"fail": draw(func() {
			f, g := c.pick(true)
			permanent := rapid.IntRange(0, 4).Draw(c.rt, "permanent") == 0
			// Counted before: a failure whose answer is lost may count.
			switch {
			case cluster.IsDeferred(g.Ref.Track):
				c.lacking[g.Ref.Run] = true
			case permanent:
				c.poisoned[g.Ref.Run] = true
				fallthrough
			default:
				c.failures[g.Ref.Run]++
			}
			c.fencedOr(f.fail(g, "chaos", permanent))
		}),
		"cancel": draw(func() {
			if len(c.shapes) == 0 || c.stop == nil || rapid.IntRange(0, 3).Draw(c.rt, "really") > 0 {
				c.rt.Skip("not now")
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(c.shapes))).Draw(c.rt, "experiment")
			if _, err := c.svc.CancelExperiment(c.ctx, &pb.CancelExperimentRequest{Id: id}); err == nil {
				c.cancel[id] = true
			}
		}),
		"retry": draw(func() {
			if len(c.shapes) == 0 || c.stop == nil {
				c.rt.Skip("not now")
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(c.shapes))).Draw(c.rt, "experiment")
			req := &pb.RetryExperimentRequest{Id: id}
			if rapid.Bool().Draw(c.rt, "done") { // some of what is done is made again
				for _, r := range c.runs(id, runDone) {
					if rapid.Bool().Draw(c.rt, "this") {
						req.Runs = append(req.Runs, r.Id)
					}
				}
			}
			_, err := c.svc.RetryExperiment(c.ctx, req)
			if code := status.Code(err); code != codes.OK && code != codes.FailedPrecondition && code != codes.Aborted {
				c.rt.Fatal(err)
			}
		}),
		"kill": draw(func() {
			if c.stop == nil {
				c.rt.Skip("dead")
			}
			c.kill()
		}),
		"start": draw(func() {
			if c.stop != nil {
				c.rt.Skip("alive")
			}
			c.start()
		}),
		"settle": draw(c.settle),
	}
	return acts
}

// check holds what must be true once everything has ended.
func (c *chaos) check() {
	t := c.rt
	for id, s := range c.shapes {
		e := c.get(id)
		require.GreaterOrEqual(t, e.State, expDone, "%s has not ended", id)
		runs := c.runs(id)
		failed, lacking := 0, 0
		_, deferred := s.deferred()
		for _, r := range runs {
			full := c.run(r.Id)
			require.LessOrEqual(t, len(full.Table.Rows), int(s.Tasks))
			for i, b := range full.Table.Boundaries {
				require.EqualValues(t, i, b.Task)
				require.Equal(t, boundary(r.Id, b.Task, b.Step).StateDigest, b.StateDigest)
			}
			switch r.State {
			case runDone:
				require.False(t, c.poisoned[r.Id] && c.failures[r.Id] == 0)
				if r.Analysis {
					if r.Message != "" {
						require.Contains(t, r.Message, "it was to be made again")
						lacking++
					}
					require.Equal(t, wantDigest(r.Id, 1, 1), r.Digest)
					require.Len(t, full.Table.Rows, 1)
					for _, in := range r.Inputs {
						require.Equal(t, runDone, c.run(in.Run).Run.State)
					}
					continue
				}
				require.Len(t, full.Table.Rows, int(s.Tasks), "every task exactly once")
				require.EqualValues(t, len(deferred), r.Asides)
				if strings.HasPrefix(r.Message, "it was to be made again") {
					lacking++
					require.Equal(t, wantDigest(r.Id, s.Tasks, perTask, deferred...), r.Digest)
				} else if r.Message != "" {
					lacking++
					require.True(t, c.lacking[r.Id], "%s lacks measurements for no reason: %s", r.Id, r.Message)
					require.Less(t, r.AsidesDone, r.Asides)
				} else {
					require.Equal(t, wantDigest(r.Id, s.Tasks, perTask, deferred...), r.Digest)
					require.Equal(t, r.Asides, r.AsidesDone)
				}
				for _, n := range s.needs(r.Arm, int(r.Trial[2]-'0')) {
					from := c.run(fmt.Sprintf("%s/%s/%d", id, n.Trial, r.Seed)).Run
					require.Equal(t, runDone, from.State)
					require.Len(t, r.Inputs, 1)
					require.Equal(t, from.Id, r.Inputs[0].Run)
					require.Equal(t, from.Artifacts["weights"].Sha256, r.Inputs[0].Blob.Sha256)
				}
				require.Len(t, r.Artifacts, len(s.publishes(r.Arm)))
			case runFailed:
				failed++
				why := c.poisoned[r.Id] || c.failures[r.Id] >= 3
				if r.Analysis {
					for _, o := range runs {
						why = why || o.State == runFailed && o.Arm == map[string]string{"once": s.Once, "each": s.Each}[r.Trial]
					}
					require.True(t, why, "%s failed for no reason: %s", r.Id, r.Message)
					continue
				}
				for _, n := range s.needs(r.Arm, int(r.Trial[2]-'0')) {
					why = why || c.run(fmt.Sprintf("%s/%s/%d", id, n.Trial, r.Seed)).Run.State == runFailed
				}
				require.True(t, why, "%s failed for no reason: %s", r.Id, r.Message)
			case runCancelled:
				require.Equal(t, expCancelled, e.State)
				require.True(t, c.cancel[id])
			default:
				t.Fatalf("%s is %s", r.Id, r.State)
			}
		}
		switch e.State {
		case expCancelled:
			require.True(t, c.cancel[id])
		case expFailed:
			require.Positive(t, failed)
		case expDone:
			require.Zero(t, failed)
			require.Equal(t, e.Progress.Steps, e.Progress.StepsDone)
			require.EqualValues(t, len(runs), e.Progress.Runs)
			require.Equal(t, lacking > 0, e.Message != "")
			if lacking == 0 {
				require.Equal(t, e.Progress.Segments, e.Progress.SegmentsDone)
			}
		}
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	require.Empty(t, c.ledger.wrong)
}

// TestNothingIsLostOrDoneTwice drives coordinator, workers and etcd through
// random histories; in the end every step of every run that was not failed or
// cancelled has been committed exactly once, whatever happened.
func TestNothingIsLostOrDoneTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := &chaos{world: newWorld(rt), rt: rt, shapes: map[string]shape{}, cancel: map[string]bool{}, poisoned: map[string]bool{}, failures: map[string]int{}, lacking: map[string]bool{}}
		c.model.pack = 3
		c.cfg.WorkerFailures = 1000
		defer c.end()
		c.ledger = &ledger{last: map[string]*pb.Segment{}, commits: map[string]bool{}, attempts: map[string]int64{}, floor: map[string]int64{}}
		ctx, cancel := context.WithCancel(c.ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.cluster.Watch(ctx, c.ledger.follow)
		}()
		defer func() { cancel(); <-done }()
		// From the beginning: what it has not seen it cannot judge.
		c.eventually(func() bool { c.ledger.mu.Lock(); defer c.ledger.mu.Unlock(); return c.ledger.rev > 0 }, "ledger is to follow")
		c.start()
		rt.Repeat(c.actions())

		// Good workers come, and everything ends.
		c.rt = rt
		if c.stop == nil {
			c.start()
		}
		for _, f := range c.workers {
			f.work()
		}
		c.join("last", 4, lanes(60)).work()
		for id := range c.shapes {
			c.eventually(func() bool { return c.get(id).State >= expDone }, "%s is to end", id)
		}
		c.eventually(func() bool {
			c.ledger.mu.Lock()
			defer c.ledger.mu.Unlock()
			return c.ledger.segments == 0 && c.ledger.assigned == 0
		}, "no segment or assignment is to be left")
		c.check()
	})
}
