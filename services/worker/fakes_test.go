package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests run in virtual time: a step of the fake life takes a millisecond.
const (
	stepTime     = time.Millisecond
	stepsPerTask = 10
	runSteps     = 1000
	runID        = "exp/trial/7"
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

// told is what the worker has said of itself, oldest first.
func (c *fakeCluster) told() []*pb.Worker {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	seg := c.segments[first]
	if seg == nil {
		seg = &pb.Segment{Ref: &pb.SegmentRef{Run: runID, Track: "main", FirstStep: first, EndStep: end}, Start: start}
		c.segments[first] = seg
	}
	seg.Attempt++
	seg.State = pb.SegmentState_SEGMENT_STATE_ASSIGNED
	id := fmt.Sprintf("%d.%d", first, seg.Attempt)
	c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: id, Segments: []*pb.AssignedSegment{{Ref: seg.Ref, Attempt: seg.Attempt, Start: seg.Start}}}}
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
// the worker is not told.
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

// fakeStore is a bucket in memory whose calls may be made to fail.
type fakeStore struct {
	mu     sync.Mutex
	data   map[string][]byte
	puts   int
	gets   int
	putErr func(n int) error // of the n-th call, from 1
	getErr func(n int) error
}

func (s *fakeStore) Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	if s.putErr != nil {
		if err := s.putErr(s.puts); err != nil {
			return nil, err
		}
	}
	if s.data == nil {
		s.data = map[string][]byte{}
	}
	s.data[key] = bytes.Clone(data)
	sum := sha256.Sum256(data)
	return &pb.BlobRef{Key: key, Sha256: hex.EncodeToString(sum[:]), Bytes: int64(len(data))}, ctx.Err()
}

func (s *fakeStore) Get(ctx context.Context, ref *pb.BlobRef, _ int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if s.getErr != nil {
		if err := s.getErr(s.gets); err != nil {
			return nil, err
		}
	}
	b, ok := s.data[ref.GetKey()]
	if !ok {
		return nil, blob.ErrNotFound
	}
	return b, ctx.Err()
}

// fakeMetrics keeps rows, and may be away or refuse.
type fakeMetrics struct {
	mu       sync.Mutex
	values   map[int64]float32 // by step
	open     map[string]bool
	finished bool
	away     bool // Flush waits
	full     bool // Append waits
	err      error
	attempts []int64
}

func (m *fakeMetrics) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

type fakeWriter struct {
	m     *fakeMetrics
	run   string
	first int64
	next  int64
}

func (m *fakeMetrics) Open(run, _, arm string, attempt, first int64) (metricWriter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil {
		m.open, m.values = map[string]bool{}, map[int64]float32{}
	}
	if m.open[run] {
		return nil, errors.New("fake: open already")
	}
	if arm != "arm" {
		return nil, errors.New("fake: wrong arm")
	}
	m.open[run] = true
	m.attempts = append(m.attempts, attempt)
	return &fakeWriter{m: m, run: run, first: first, next: first}, nil
}

func (w *fakeWriter) until(ctx context.Context, ok func() bool) error {
	for {
		w.m.mu.Lock()
		done, err := ok(), w.m.err
		w.m.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *fakeWriter) Append(ctx context.Context, r metric.Rows) error {
	if r.First != w.next {
		return fmt.Errorf("fake: rows start at %d, not %d", r.First, w.next)
	}
	w.next += r.N
	if err := w.until(ctx, func() bool { return !w.m.full }); err != nil {
		return err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.run != runID {
		return nil
	}
	for i, v := range r.Series[0].Values {
		w.m.values[r.First+int64(i)] = v
	}
	return nil
}

func (w *fakeWriter) Flush(ctx context.Context) (*pb.MetricManifest, error) {
	if err := w.until(ctx, func() bool { return !w.m.away }); err != nil {
		return nil, err
	}
	return &pb.MetricManifest{Steps: w.next - w.first, Values: w.next - w.first}, nil
}

func (w *fakeWriter) Finish(ctx context.Context) (*pb.MetricManifest, error) {
	m, err := w.Flush(ctx)
	w.m.set(func() { w.m.finished = err == nil })
	return m, err
}

func (w *fakeWriter) Close() { w.m.set(func() { delete(w.m.open, w.run) }) }

// fakeEngine makes lives that count.
type fakeEngine struct {
	mu       sync.Mutex
	made     int
	packs    int
	packErr  error
	loaded   int
	newErr   error
	building func(seed uint32)      // of every life that is made; may panic
	stepErr  func(step int64) error // may panic
	seedErr  func(seed uint32, step int64) error
	compile  error
	compiled []string              // specs
	given    []component.Artifacts // to the lives that were made
}

func (e *fakeEngine) Compile(spec []byte) (program, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.compiled = append(e.compiled, string(spec))
	return e, e.compile
}

func (e *fakeEngine) New(o origin) (life, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	if e.newErr != nil {
		return nil, e.newErr
	}
	if e.building != nil {
		e.building(o.seed)
	}
	e.given = append(e.given, o.artifacts())
	return &fakeLife{e: e, seed: o.seed, state: uint64(o.seed)}, nil
}

// Pack makes lives that advance one after the other, step by step.
func (e *fakeEngine) Pack(_ []program, origins []origin) (pack, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.packErr != nil {
		return nil, e.packErr
	}
	e.packs++
	p := &fakePack{}
	for _, o := range origins {
		if e.building != nil {
			e.building(o.seed)
		}
		e.given = append(e.given, o.artifacts())
		p.lives = append(p.lives, &fakeLife{e: e, seed: o.seed, state: uint64(o.seed)})
	}
	return p, nil
}

type fakePack struct{ lives []*fakeLife }

func (p *fakePack) Lives() (out []life) {
	for _, l := range p.lives {
		out = append(out, l)
	}
	return out
}

func (p *fakePack) Advance(ctx context.Context, until int64, sinks []engine.Sink) []error {
	errs := make([]error, len(p.lives))
	for step := p.lives[0].step; step < until; step++ {
		select {
		case <-ctx.Done():
			for i, err := range errs {
				if err == nil {
					errs[i] = p.lives[i].Advance(ctx, step, sinks[i])
				}
				if errs[i] == nil {
					errs[i] = ctx.Err()
				}
			}
			return errs
		case <-time.After(stepTime):
		}
		for i, l := range p.lives {
			if errs[i] == nil {
				errs[i] = l.one(sinks[i])
			}
		}
	}
	return errs
}

// fakeLife's state after a step is a function of the state before and the step.
type fakeLife struct {
	e     *fakeEngine
	seed  uint32
	step  int64
	state uint64

	values []float32 // not yet with the sink
}

func (l *fakeLife) next() {
	l.state = (l.state ^ uint64(l.step)) * 0x9e3779b97f4a7c15
	l.step++
}

func (l *fakeLife) value() float32 { return float32(l.state >> 48) }

func (l *fakeLife) Step() int64 { return l.step }

func (l *fakeLife) Columns() []engine.Column { return []engine.Column{{Metric: "m"}} }

func (l *fakeLife) Advance(ctx context.Context, until int64, s engine.Sink) error {
	for l.step < until {
		select {
		case <-ctx.Done():
			if err := l.flush(s); err != nil {
				return err
			}
			return ctx.Err()
		case <-time.After(stepTime):
		}
		if err := l.one(s); err != nil {
			return err
		}
	}
	return l.flush(s)
}

func (l *fakeLife) flush(s engine.Sink) error {
	n := int64(len(l.values))
	if n == 0 {
		return nil
	}
	err := s.Rows(engine.Rows{First: l.step - n, N: n, Series: []engine.Series{{Column: engine.Column{Metric: "m"}, Values: l.values}}})
	l.values = l.values[:0]
	if err != nil {
		return &engine.SinkError{Err: err}
	}
	return nil
}

func (l *fakeLife) one(s engine.Sink) error {
	if l.e.stepErr != nil {
		if err := l.e.stepErr(l.step); err != nil {
			return err
		}
	}
	if l.e.seedErr != nil {
		if err := l.e.seedErr(l.seed, l.step); err != nil {
			return err
		}
	}
	l.next()
	l.values = append(l.values, l.value())
	if l.step%stepsPerTask != 0 {
		return nil
	}
	if err := l.flush(s); err != nil {
		return err
	}
	b := engine.Boundary{Task: int(l.step/stepsPerTask) - 1, Step: l.step, Table: []float64{float64(l.value())}}
	binary.LittleEndian.PutUint64(b.State[:], l.state)
	if err := s.Boundary(b); err != nil {
		return &engine.SinkError{Err: err}
	}
	return nil
}

// Artifact says what the life is at this step.
func (l *fakeLife) Artifact(name string) ([]byte, error) {
	if name == "missing" {
		return nil, errors.New("no such artifact")
	}
	return fmt.Appendf(nil, "%s of %d at step %d: %d", name, l.seed, l.step, l.state), nil
}

func (l *fakeLife) Save(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d %d", l.step, l.state)
	return err
}

func (l *fakeLife) Load(b []byte) error {
	l.e.mu.Lock()
	l.e.loaded++
	l.e.mu.Unlock()
	_, err := fmt.Sscanf(string(b), "%d %d", &l.step, &l.state)
	return err
}

// truth is a life that nobody disturbed, at the given step.
func truth(step int64) *fakeLife { return truthOf(7, step) }

func truthOf(seed uint32, step int64) *fakeLife {
	l := &fakeLife{state: uint64(seed)}
	for l.step < step {
		l.next()
	}
	return l
}

type fixture struct {
	*Worker
	c    *fakeCluster
	s    *fakeStore
	m    *fakeMetrics
	e    *fakeEngine
	log  *bytes.Buffer // read it after finish
	stop context.CancelFunc
	ran  chan error
}

// inBubble runs f on a worker in virtual time. configure may change the worker
// before it starts; f ends it with finish, or leaves that to the end.
func inBubble(t *testing.T, configure func(*fixture), f func(t *testing.T, x *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{c: newFakeCluster(), s: &fakeStore{}, m: &fakeMetrics{}, e: &fakeEngine{}, log: &bytes.Buffer{}, ran: make(chan error, 1)}
		x.Worker = &Worker{
			cfg: Config{ID: "w", Slots: 2}, members: x.c, ledger: x.c, store: x.s, metrics: x.m, engine: x.e,
			log: slog.New(slog.NewTextHandler(x.log, nil)),
		}
		if configure != nil {
			configure(x)
		}
		require.NoError(t, x.init())
		ctx, stop := context.WithCancel(context.Background())
		x.stop = stop
		defer stop() // where an assertion ends the test
		go func() { x.ran <- x.Run(ctx) }()
		synctest.Wait()
		f(t, x)
		if x.ran != nil {
			x.finish(t)
		}
	})
}

// finish drains the worker and returns how long that took.
func (x *fixture) finish(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	x.stop()
	require.NoError(t, <-x.ran)
	x.ran = nil
	require.Empty(t, x.m.open, "a metrics writer was left open")
	return time.Since(begin)
}

// committed checks that [first, end) was committed with the results of an
// undisturbed life, and returns its record.
func (x *fixture) committed(t *testing.T, first, end int64) *pb.Segment {
	t.Helper()
	return x.committedOf(t, 7, first, end)
}

func (x *fixture) committedOf(t *testing.T, seed uint32, first, end int64) *pb.Segment {
	t.Helper()
	run := fmt.Sprintf("exp/trial/%d", seed)
	s := x.c.segment(place(&pb.SegmentRef{Run: run, FirstStep: first}))
	require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, s.State, "%v", s)
	require.Equal(t, end, s.Result.EndStep)
	want := truthOf(seed, end)
	require.Equal(t, fmt.Sprintf("%d %d", end, want.state), string(x.s.data[s.Result.Checkpoint.Key]))
	require.Contains(t, s.Result.Checkpoint.Key, fmt.Sprintf("checkpoints/%s/main/%d-", run, end))
	require.EqualValues(t, end-first, s.Result.Metrics.Steps)
	require.Len(t, s.Result.Boundaries, int(end/stepsPerTask-first/stepsPerTask))
	require.Len(t, s.Result.Rows, len(s.Result.Boundaries))
	for i, b := range s.Result.Boundaries {
		at := truthOf(seed, b.Step)
		require.EqualValues(t, first/stepsPerTask+int64(i), b.Task)
		require.Equal(t, at.state, binary.LittleEndian.Uint64(b.StateDigest))
		require.Equal(t, []float64{float64(at.value())}, s.Result.Rows[i].Values)
	}
	require.Equal(t, "m", s.Result.Columns[0].Metric)
	for step := first; step < end && run == runID; step++ {
		require.Equal(t, truthOf(seed, step+1).value(), x.m.values[step], "metric of step %d", step)
	}
	return s
}
