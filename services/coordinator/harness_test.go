package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/seeds"
)

// One etcd serves all tests; each has a prefix of its own.
var endpoints []string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "coordinator")
	if err != nil {
		panic(err)
	}
	srv, err := etcd.Start(context.Background(), etcd.Config{Dir: dir, Throwaway: true})
	if err != nil {
		panic(err)
	}
	endpoints = srv.Endpoints()
	code := m.Run()
	srv.Close()
	_ = os.RemoveAll(dir)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var prefixes atomic.Int64

const (
	limit = 20 * time.Second // of waiting for what must happen
	poll  = 2 * time.Millisecond
)

// world is a cluster with everything but coordinators and workers.
type world struct {
	t       require.TestingT
	ctx     context.Context
	cluster *cluster.Client
	blob    *blob.Bucket
	at      []string
	prefix  string
	close   []func()
	model   *fakeModel
	cfg     Config
	tel     *telemetry.Telemetry
	mute    atomic.Bool // workers publish nothing

	svc  *Service
	stop func()
	log  io.Writer // of the coordinators that start; nil: nobody reads it
}

func newWorld(t require.TestingT) *world { return newWorldAt(t, endpoints) }

func newWorldAt(t require.TestingT, at []string) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, at: at, prefix: fmt.Sprintf("/t%d/", prefixes.Add(1)), model: &fakeModel{}}
	w.cfg = Config{NumericsVersion: 1, WatchInterval: time.Millisecond, Tick: 10 * time.Millisecond}
	var err error
	w.blob, err = blob.Open(ctx, "mem://")
	require.NoError(t, err)
	w.cluster = w.dial()
	w.close = append(w.close, func() { _ = w.blob.Close() }, cancel)
	return w
}

// setup is newWorld with a coordinator, all closed at the end of the test.
func setup(t *testing.T) *world {
	w := newWorld(t)
	t.Cleanup(w.end)
	w.start()
	return w
}

func (w *world) dial() *cluster.Client {
	c, err := cluster.Dial(w.ctx, w.at, cluster.Options{Prefix: w.prefix, Overflow: w.blob})
	require.NoError(w.t, err)
	w.close = append(w.close, func() { _ = c.Close() })
	return c
}

func (w *world) end() {
	w.kill()
	for i := len(w.close) - 1; i >= 0; i-- {
		w.close[i]()
	}
}

// start makes a coordinator with nothing but what is in etcd.
func (w *world) start() {
	w.tel = telemetry.New() // as in a new process
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("NEOTENY_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if w.log != nil {
		log = slog.New(slog.NewTextHandler(w.log, nil))
	}
	svc, err := New(Deps{Cluster: w.cluster, Blob: w.blob, Model: w.model, Logger: log, Registerer: w.tel.Registerer()}, w.cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = svc.Run(ctx)
	}()
	w.svc = svc
	w.stop = func() { cancel(); <-done }
}

// kill stops the coordinator where it stands.
func (w *world) kill() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *world) eventually(cond func() bool, what string, args ...any) {
	require.Eventually(w.t, cond, limit, poll, append([]any{what}, args...)...)
}

// shape is a fake experiment; it travels as JSON in the spec's description.
type shape struct {
	Tasks, Steps int32
	Segment      int
	Arms         map[string]int // trials of each
	Seeds        []uint32
	Confirm      []uint32
	// Needs says of an arm whose weights its trials start from: those of the
	// trial of the same number, of that arm.
	Needs map[string]string
	// Once is an analysis over all seeds of the weights of an arm's first trial,
	// Each one for every seed; an arm may need one of them in the place of an arm.
	Once, Each string
	// Aside measures the arms aside every so many tasks, at their ends and, if
	// Starts, before them; 0 for not at all.
	Aside  int32
	Starts bool
}

// asides are the steps at which runs of an arm are measured aside.
func (s shape) asides() (schedules []*pb.AsideSchedule, steps []int64) {
	if s.Aside == 0 {
		return nil, nil
	}
	schedules = []*pb.AsideSchedule{{Every: s.Aside}}
	if s.Starts {
		schedules = append(schedules, &pb.AsideSchedule{Every: s.Aside, Start: true})
	}
	for task := range s.Tasks {
		if s.Starts && task%s.Aside == 0 {
			steps = append(steps, int64(task)*perTask)
		}
		if (task+1)%s.Aside == 0 {
			steps = append(steps, int64(task+1)*perTask-1)
		}
	}
	return schedules, steps
}

// analysis is the record of one, which publishes what trials do.
func (s shape) analysis(name, arm string, index int) *pb.TrialRecord {
	own := s.Seeds
	if name == "once" {
		own = own[:1]
	}
	return &pb.TrialRecord{
		Index: int32(index), Name: name, Arm: name, CanonicalSpec: fmt.Appendf(nil, `{"analysis":%q}`, name), Tasks: 1, StepsPerTask: 1, Seeds: seeds.Pack(own),
		Analysis: true, Once: name == "once", Publishes: s.publishes(name),
		Needs: []*pb.TrialNeed{{Name: "of", Trial: arm + "-0", Artifact: "weights", AllSeeds: name == "once"}, {Name: "table", Trial: arm + "-0", Artifact: "table", AllSeeds: name == "once"}},
	}
}

// needs are those of one trial.
func (s shape) needs(arm string, i int) (out []*pb.TrialNeed) {
	if from := s.Needs[arm]; from != "" {
		if from == "once" || from == "each" {
			return []*pb.TrialNeed{{Name: "start", Trial: from, Artifact: "weights"}}
		}
		out = append(out, &pb.TrialNeed{Name: "start", Trial: fmt.Sprintf("%s-%d", from, min(i, s.Arms[from]-1)), Artifact: "weights"})
	}
	return out
}

// publishes is what the trials of an arm leave.
func (s shape) publishes(arm string) (out []string) {
	for _, from := range s.Needs {
		if from == arm {
			return []string{"weights"}
		}
	}
	if arm == s.Once || arm == s.Each {
		return []string{"weights"}
	}
	return nil
}

func (s shape) spec(name string) *pb.ExperimentSpec {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return &pb.ExperimentSpec{Name: name, Description: string(b)}
}

// fakeModel stands for pkg/experiment.
type fakeModel struct {
	plans   atomic.Int64
	failing atomic.Bool
	// datasets that every trial reads; set before the first submission.
	datasets []string
	// pack of every trial; set before the first submission.
	pack int32
	// specs of the trials of an arm, by their numbers; nil: each names its trial.
	specs func(i int) string
}

func (m *fakeModel) Plan(spec *pb.ExperimentSpec) (*model.Plan, error) {
	m.plans.Add(1)
	if m.failing.Load() {
		return nil, errors.New("unknown component")
	}
	var s shape
	if err := json.Unmarshal([]byte(spec.GetDescription()), &s); err != nil {
		return nil, component.Fieldf("description", "%v", err)
	}
	if s.Tasks == 0 {
		return nil, errors.Join(component.Fieldf("stream.tasks", "missing"), component.Fieldf("learner.optimizer.lr", "must be above 0"))
	}
	p := &model.Plan{SegmentTasks: s.Segment, ConfirmSeeds: s.Confirm}
	asides, _ := s.asides()
	for _, arm := range []string{"a", "b", "c"} {
		n, ok := s.Arms[arm]
		if !ok {
			continue
		}
		p.Arms = append(p.Arms, arm)
		for i := range n {
			canonical := fmt.Sprintf(`{"trial":"%s-%d"}`, arm, i)
			if m.specs != nil {
				canonical = m.specs(i)
			}
			p.Trials = append(p.Trials, &pb.TrialRecord{
				Index: int32(len(p.Trials)), Name: fmt.Sprintf("%s-%d", arm, i), Arm: arm,
				Params:        map[string]string{"lr": fmt.Sprint(i)},
				CanonicalSpec: []byte(canonical),
				Tasks:         s.Tasks, StepsPerTask: int64(s.Steps), Seeds: seeds.Pack(s.Seeds), Datasets: m.datasets, Pack: m.pack,
				Needs: s.needs(arm, i), Publishes: s.publishes(arm), Asides: asides,
			})
		}
	}
	if s.Once != "" {
		p.Trials = append(p.Trials, s.analysis("once", s.Once, len(p.Trials)))
	}
	if s.Each != "" {
		p.Trials = append(p.Trials, s.analysis("each", s.Each, len(p.Trials)))
	}
	p.Runs = len(p.Trials)*len(s.Seeds) + len(p.Arms)*len(s.Confirm)
	p.Tasks = int64(p.Runs) * int64(s.Tasks)
	p.Steps = p.Tasks * int64(s.Steps)
	p.Segments = int64(p.Runs) * int64((int(s.Tasks)+s.Segment-1)/s.Segment)
	return p, nil
}

func (*fakeModel) RunKey(canonical []byte, seed uint32, inputs []*pb.Input) (string, error) {
	b := fmt.Appendf(nil, "%s %d", canonical, seed)
	for _, in := range inputs {
		b = fmt.Appendf(b, " %s %s", in.Name, in.Blob.Sha256)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b)), nil
}

// Select takes each arm's trial with the largest value.
func (m *fakeModel) Select(_ *pb.ExperimentSpec, runs []report.RunTable) (map[string]string, error) {
	if m.failing.Load() {
		return nil, errors.New("nothing to choose from")
	}
	best := map[string]report.RunTable{}
	for _, r := range runs {
		if b, ok := best[r.Arm]; !ok || r.Table.Rows[0].Values[0] > b.Table.Rows[0].Values[0] || r.Table.Rows[0].Values[0] == b.Table.Rows[0].Values[0] && r.Trial < b.Trial {
			best[r.Arm] = r
		}
	}
	out := map[string]string{}
	for arm, r := range best {
		out[arm] = r.Trial
	}
	return out, nil
}

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

// wantDigest is the digest of a whole run, however it was cut, with what was
// measured aside at the given steps.
func wantDigest(run string, tasks int32, perTask int64, asides ...int64) string {
	var bs []*pb.Boundary
	for t := range tasks {
		bs = append(bs, boundary(run, t, int64(t+1)*perTask))
	}
	for _, step := range asides {
		bs = append(bs, boundary(run+" "+cluster.AsideTrack(step), int32(step/perTask), step+1))
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
	r := &pb.SegmentResult{EndStep: end, Columns: []*pb.ColumnName{{Metric: "m"}}, Seconds: 1}
	if cluster.IsAside(g.Ref.Track) {
		require.Equal(f.w.t, cluster.AsideTrack(g.Ref.FirstStep), g.Ref.Track)
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
	return f.c.Commit(f.w.ctx, g.Ref, g.Attempt, f.result(g, g.Ref.EndStep))
}

func (f *fakeWorker) yield(g *pb.AssignedSegment, end int64) error {
	return f.c.Yield(f.w.ctx, g.Ref, g.Attempt, f.result(g, end))
}

func (f *fakeWorker) fail(g *pb.AssignedSegment, msg string, permanent bool) error {
	return f.c.Fail(f.w.ctx, g.Ref, g.Attempt, f.id, msg, permanent)
}

func (w *world) submit(name string, s shape) string {
	r, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{RequestId: name, Spec: s.spec(name)})
	require.NoError(w.t, err)
	return r.Experiment.Id
}

func (w *world) get(id string) *pb.Experiment {
	r, err := w.svc.GetExperiment(w.ctx, &pb.GetExperimentRequest{Id: id})
	require.NoError(w.t, err)
	return r.Experiment
}

func (w *world) run(id string) *pb.GetRunResponse {
	r, err := w.svc.GetRun(w.ctx, &pb.GetRunRequest{Id: id})
	require.NoError(w.t, err)
	return r
}

func (w *world) runs(id string, states ...pb.RunState) []*pb.Run {
	r, err := w.svc.ListRuns(w.ctx, &pb.ListRunsRequest{Experiment: id, PageSize: 1000, States: states})
	require.NoError(w.t, err)
	return r.Runs
}

func (w *world) waitState(id string, want pb.ExperimentState) *pb.Experiment {
	w.eventually(func() bool { return w.get(id).State == want }, "%s is to be %s", id, want)
	return w.get(id)
}

// mirrored looks at what the coordinator's mirror shows.
func (w *world) mirrored(fn func(*mirror.State)) { w.svc.mirror.Read(fn) }
