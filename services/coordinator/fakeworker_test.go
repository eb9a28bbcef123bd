package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// boundary is what a deterministic engine says at the end of a task.
func boundary(run string, task int32, step int64) *pb.Boundary {
	state := sha256.Sum256(fmt.Appendf(nil, "state %s %d", run, task))
	rows := sha256.Sum256(fmt.Appendf(nil, "rows %s %d", run, task))
	return &pb.Boundary{Task: task, Step: step, StateDigest: state[:], RowsDigest: rows[:]}
}

func value(run string, task int32) float64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "value %s %d", run, task))
	return float64(binary.LittleEndian.Uint16(sum[:]))
}

// wantDigest is the digest of a whole run, however it was cut, with deferred
// measurements at the given steps.
func wantDigest(run string, tasks int32, perTask int64, deferred ...int64) string {
	var bs []*pb.Boundary
	for t := range tasks {
		bs = append(bs, boundary(run, t, int64(t+1)*perTask))
	}
	for _, step := range deferred {
		bs = append(bs, boundary(run+" "+cluster.DeferredTrack(step), int32(step/perTask), step+1))
	}
	return experiment.RunDigest(bs)
}

type given struct {
	name string
	runs []string
}

// fakeWorker holds what it is given until the test says what it does.
type fakeWorker struct {
	w    *world
	c    *cluster.Client
	id   string
	reg  *cluster.Registration
	stop func()

	mu   sync.Mutex
	held map[string]*pb.AssignedSegment // by assignment id
	past []*pb.AssignedSegment          // ever given
	// packs are the runs that were given together, in the order in which they
	// were; one of a single run has no name.
	packs []given
	auto  bool
	wg    sync.WaitGroup
}

func (w *world) join(id string, slots int, change ...func(*pb.Worker)) *fakeWorker {
	f := &fakeWorker{w: w, c: w.cluster, id: id, held: map[string]*pb.AssignedSegment{}}
	rec := &pb.Worker{Id: id, Slots: int32(slots), NumericsVersion: 1}
	for _, c := range change {
		c(rec)
	}
	var err error
	f.reg, err = f.c.Register(w.ctx, rec, 30*time.Second)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.ctx)
	events, err := f.c.Assignments(ctx, id)
	require.NoError(w.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range events {
			f.mu.Lock()
			if ev.Withdrawn {
				delete(f.held, ev.Assignment.Id)
			} else {
				g := ev.Assignment.Segments[0]
				f.held[ev.Assignment.Id] = g
				f.past = append(f.past, g)
				if n := len(f.packs); n > 0 && ev.Assignment.Pack != "" && f.packs[n-1].name == ev.Assignment.Pack {
					f.packs[n-1].runs = append(f.packs[n-1].runs, g.Ref.Run)
				} else {
					f.packs = append(f.packs, given{ev.Assignment.Pack, []string{g.Ref.Run}})
				}
				if f.auto {
					f.wg.Go(func() { _ = f.commit(g) })
				}
			}
			f.mu.Unlock()
		}
	}()
	f.stop = func() {
		cancel()
		<-done
		f.wg.Wait()
	}
	w.close = append(w.close, f.leave)
	return f
}

// work makes the worker commit everything it is given from now on.
func (f *fakeWorker) work() *fakeWorker {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.auto = true
	for _, g := range f.held {
		f.wg.Go(func() { _ = f.commit(g) })
	}
	return f
}

// leave takes the worker out as a lost lease does.
func (f *fakeWorker) leave() {
	f.stop()
	_ = f.reg.Close(f.w.ctx)
}

// sizes are those of the packs that the worker was given.
func (f *fakeWorker) sizes() (out []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.packs {
		out = append(out, len(p.runs))
	}
	return out
}

func (f *fakeWorker) holding() []*pb.AssignedSegment {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*pb.AssignedSegment
	for _, g := range f.held {
		out = append(out, g)
	}
	return out
}

// waitHolding waits for n segments and returns them.
func (f *fakeWorker) waitHolding(n int) []*pb.AssignedSegment {
	f.w.eventually(func() bool { return len(f.holding()) == n }, "worker %s is to hold %d segments", f.id, n)
	return f.holding()
}

// result is what an engine commits for [first, end) of a run. Tasks have 10
// steps in all tests.
const perTask = 10

func (f *fakeWorker) result(g *pb.AssignedSegment, end int64) *pb.SegmentResult {
	r := &pb.SegmentResult{
		EndStep: end, Columns: []*pb.ColumnName{{Metric: "m"}}, Seconds: 1,
		Metrics: &pb.MetricManifest{Steps: end - g.Ref.FirstStep, Values: 2 * (end - g.Ref.FirstStep)},
	}
	if cluster.IsDeferred(g.Ref.Track) {
		require.Equal(f.w.t, cluster.DeferredTrack(g.Ref.FirstStep), g.Ref.Track)
		require.Equal(f.w.t, g.Ref.FirstStep+1, g.Ref.EndStep)
		require.Equal(f.w.t, g.Ref.FirstStep == 0, g.Start == nil)
		task, name := int32(g.Ref.FirstStep/perTask), g.Ref.Run+" "+g.Ref.Track
		r.Columns = []*pb.ColumnName{{Metric: "at_start"}, {Metric: "at_end"}}
		r.Boundaries = []*pb.Boundary{boundary(name, task, end)}
		values := []float64{math.NaN(), math.NaN()}
		if g.Ref.FirstStep%perTask == 0 {
			values[0] = value(name, task)
		} else {
			values[1] = value(name, task)
		}
		r.Rows = []*pb.TaskRow{{Task: task, Values: values}}
		return r
	}
	_, run, missing := f.c.RunSpec(f.w.ctx, g.Ref.Run)
	if run.GetAnalysis() {
		r.Boundaries = append(r.Boundaries, boundary(g.Ref.Run, 0, 1))
		r.Rows = append(r.Rows, &pb.TaskRow{Values: []float64{value(g.Ref.Run, 0)}})
	}
	for step := (g.Ref.FirstStep/perTask + 1) * perTask; step <= end; step += perTask {
		task := int32(step/perTask) - 1
		r.Boundaries = append(r.Boundaries, boundary(g.Ref.Run, task, step))
		r.Rows = append(r.Rows, &pb.TaskRow{Task: task, Values: []float64{value(g.Ref.Run, task)}})
	}
	var err error
	r.Checkpoint, err = f.w.blob.Put(f.w.ctx, fmt.Sprintf("checkpoints/%s/%d", g.Ref.Run, end), fmt.Appendf(nil, "%s at %d", g.Ref.Run, end))
	require.NoError(f.w.t, err)
	if missing != nil || end < run.Steps {
		return r // gone, or goes on
	}
	for _, name := range run.Publishes {
		if f.w.mute.Load() {
			break
		}
		if r.Artifacts == nil {
			r.Artifacts = map[string]*pb.BlobRef{}
		}
		b := []byte(name + " of " + run.Id)
		for _, in := range run.Inputs {
			given, err := f.w.blob.Get(f.w.ctx, in.Blob, 1<<20)
			require.NoError(f.w.t, err)
			b = fmt.Appendf(b, " from %s: (%s)", in.Name, given)
		}
		key, err := cluster.ArtifactKey(run.Id, fmt.Sprintf("%x", sha256.Sum256(b)))
		require.NoError(f.w.t, err)
		r.Artifacts[name], err = f.w.blob.Put(f.w.ctx, key, b)
		require.NoError(f.w.t, err)
	}
	return r
}

func (f *fakeWorker) commit(g *pb.AssignedSegment) error {
	return f.done(g, f.c.Commit(f.w.ctx, g.Ref, g.Attempt, f.result(g, g.Ref.EndStep)))
}

func (f *fakeWorker) yield(g *pb.AssignedSegment, end int64) error {
	return f.done(g, f.c.Yield(f.w.ctx, g.Ref, g.Attempt, f.result(g, end)))
}

func (f *fakeWorker) fail(g *pb.AssignedSegment, msg string, permanent bool) error {
	return f.done(g, f.c.Fail(f.w.ctx, g.Ref, g.Attempt, f.id, msg, permanent))
}

// done forgets a segment that the worker has got rid of: it hears of it later.
func (f *fakeWorker) done(g *pb.AssignedSegment, err error) error {
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.held, cluster.AssignmentID(g.Ref, g.Attempt))
	}
	return err
}
