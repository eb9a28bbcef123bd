// Package worker takes segments that the coordinator assigns to it, lives them
// through in the engine, streams their metrics, stores a checkpoint at their end
// and commits them. It keeps nothing of its own: what it has not committed,
// another worker does again with the same bits.
//
// A segment ends in one of five ways: committed whole, yielded (committed up to
// where a drain stopped it), released undone, dropped because nobody wants it
// any more, or reported as failed.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// Deps are what a worker works with. The caller owns them, and closes them
// after Run has returned.
type Deps struct {
	Cluster   *cluster.Client
	Blob      *blob.Bucket
	Metrics   *metricsclient.Client
	Data      data.Source
	Logger    *slog.Logger      // nil: nothing is logged
	Telemetry *telemetry.Worker // nil: nothing is measured; workers of one process share one
	// Missing names the datasets that Data lacks now, so that the coordinator
	// does not give their runs; it is asked every few seconds. Nil: not known.
	Missing func() []string
}

// Config sizes a worker; zero fields take the defaults.
type Config struct {
	// ID is unique among the processes of the cluster; it is in its keys, so it
	// has no slash. Required.
	ID string
	// Address of the worker's HTTP server, for people; may be empty.
	Address string
	// Version of the program and ISA of its kernels, for people; may be empty.
	Version, ISA string
	// DataFolder is where the datasets are looked for, for people; may be empty.
	DataFolder string
	// Slots is how many segments run at a time. Default GOMAXPROCS.
	Slots int
	// Lanes is how many segments of small networks a slot takes at a time, as a
	// pack in lockstep. Default [cluster.MaxPack]; 1 for none.
	Lanes int
	// LeaseTTL is how long the cluster waits for a worker that is not heard of
	// before it gives its segments to others. Default 15 s.
	LeaseTTL time.Duration
	// DrainTimeout is how long Run may go on after its context ended, to save
	// what was done. Default 10 s.
	DrainTimeout time.Duration
	// WarmBytes bounds the lives kept in memory for the next segments of their
	// runs. Default 1 GiB; negative keeps none.
	WarmBytes int64
	// MaxCheckpoint is the largest checkpoint to read, in bytes. Default 4 GiB.
	MaxCheckpoint int64
	// Patience is how long a full blob store, or a commit that is refused for
	// unclear reasons, is tried again before the segment is reported as failed.
	// Default 1 min.
	Patience time.Duration
}

func (c Config) withDefaults() Config {
	if c.Slots <= 0 {
		c.Slots = runtime.GOMAXPROCS(0)
	}
	if c.Lanes <= 0 {
		c.Lanes = cluster.MaxPack
	}
	if c.LeaseTTL <= 0 {
		c.LeaseTTL = 15 * time.Second
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 10 * time.Second
	}
	if c.WarmBytes == 0 {
		c.WarmBytes = 1 << 30
	}
	if c.MaxCheckpoint <= 0 {
		c.MaxCheckpoint = 4 << 30
	}
	if c.Patience <= 0 {
		c.Patience = time.Minute
	}
	return c
}

// What the worker uses of its dependencies; the adapters are in adapters.go.

// membership is the worker's presence in the cluster.
type membership interface {
	Register(ctx context.Context, w *pb.Worker, ttl time.Duration) (registration, error)
	Assignments(ctx context.Context, workerID string) (<-chan cluster.AssignmentEvent, error)
	RunSpec(ctx context.Context, runID string) (canonicalJSON []byte, run *pb.Run, err error)
}

type registration interface {
	Lost() <-chan struct{}
	Update(ctx context.Context, w *pb.Worker) error
	Close(ctx context.Context) error
}

// ledger is where segments end.
type ledger interface {
	Commit(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error
	Yield(ctx context.Context, ref *pb.SegmentRef, attempt int64, r *pb.SegmentResult) error
	Release(ctx context.Context, ref *pb.SegmentRef, attempt int64) error
	Fail(ctx context.Context, ref *pb.SegmentRef, attempt int64, worker, msg string, permanent bool) error
}

type store interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error)
}

type metrics interface {
	Open(run, track, arm string, attempt, firstStep int64) (metricWriter, error)
}

type metricWriter interface {
	Append(ctx context.Context, r metric.Rows) error
	Flush(ctx context.Context) (*pb.MetricManifest, error)
	Finish(ctx context.Context) (*pb.MetricManifest, error)
	Close()
}

// maker makes lives of runs from their resolved specs.
type maker interface {
	Compile(canonicalJSON []byte) (program, error)
	// Pack makes lives that advance together, one of each program and origin. Its
	// error says that they must live one by one.
	Pack(programs []program, origins []origin) (pack, error)
}

type program interface {
	New(o origin) (life, error)
}

// origin is what a run starts from beyond its spec.
type origin struct {
	seed   uint32
	inputs []given // artifacts of other runs
	aside  bool    // what is measured aside, not the run's life
}

// given is an artifact with its content.
type given struct {
	*pb.Input
	file []byte
}

// artifacts are the inputs of a run that has one of each name.
func (o origin) artifacts() component.Artifacts {
	out := component.Artifacts{}
	for _, in := range o.inputs {
		out[in.GetName()] = in.file
	}
	return out
}

// life is what a worker advances: an engine.Life, a deferred measurement of one, or
// an analysis. What goes on from where it stops is a checkpointer, too, and what has
// artifacts a publisher.
type life interface {
	Step() int64
	Columns() []engine.Column
	Advance(ctx context.Context, until int64, sink engine.Sink) error
	Load(b []byte) error
}

type checkpointer interface{ Save(w io.Writer) error }

type publisher interface {
	Artifact(name string) ([]byte, error)
}

// pack is an engine.Pack: lives that are saved and loaded one by one, and
// advance together.
type pack interface {
	Lives() []life
	Advance(ctx context.Context, until int64, sinks []engine.Sink) []error
}

// Worker runs segments. Make one with New, and call Run once.
type Worker struct {
	cfg     Config
	members membership
	ledger  ledger
	store   store
	metrics metrics
	engine  maker
	log     *slog.Logger
	tel     *telemetry.Worker
	missing func() []string
	started time.Time

	board *board
	warm  *lru[trackKey, warmLife]
	runs  *lru[string, *runInfo]

	mu      sync.Mutex
	problem error // why the worker is not ready, nil when it is
}

// New makes a worker.
func New(d Deps, cfg Config) (*Worker, error) {
	if d.Cluster == nil || d.Blob == nil || d.Metrics == nil || d.Data == nil {
		return nil, errors.New("worker: cluster, blob store, metrics client and data source are required")
	}
	w := &Worker{
		cfg: cfg, members: clusterAdapter{d.Cluster}, ledger: d.Cluster, store: d.Blob,
		metrics: metricsAdapter{d.Metrics}, engine: engineAdapter{d.Data}, log: d.Logger, tel: d.Telemetry, missing: d.Missing,
	}
	if err := w.init(); err != nil {
		return nil, err
	}
	return w, nil
}

// init fills in what New and the tests leave out.
func (w *Worker) init() error {
	if w.cfg.ID == "" {
		return errors.New("worker: no id")
	}
	w.cfg = w.cfg.withDefaults()
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.tel == nil {
		w.tel = telemetry.NewWorker(telemetry.New())
	}
	if w.missing == nil {
		w.missing = func() []string { return nil }
	}
	w.board = newBoard()
	w.warm = newLRU[trackKey, warmLife](2*w.cfg.Slots, w.cfg.WarmBytes)
	w.runs = newLRU[string, *runInfo](maxRuns, 0)
	w.problem = errors.New("not registered yet")
	return nil
}

// Ready tells why the worker takes no work now, or nil; a readiness check.
func (w *Worker) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.problem
}

func (w *Worker) setReady(problem error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problem = problem
}

// Errors that end a segment's context; the cause says what becomes of it.
var (
	errWithdrawn = errors.New("withdrawn")
	errDraining  = errors.New("worker is draining")
	errTooLate   = errors.New("drain timeout")
)

// Run registers the worker and runs what it is assigned until ctx ends. Then it
// drains within Config.DrainTimeout: each running segment stops at its next
// step, is saved and yielded, the others are given back, and the registration
// ends. A lease that is lost is replaced; the segments under way then go on to
// their end, for they may still be committed. It returns nil after a drain, and
// an error where the worker cannot be registered.
func (w *Worker) Run(ctx context.Context) error {
	w.started = time.Now()
	hard, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)

	w.tel.AddSlots(w.cfg.Slots)
	defer w.tel.AddSlots(-w.cfg.Slots)
	var slots, orphans sync.WaitGroup
	for range w.cfg.Slots {
		slots.Go(func() {
			for jobs := w.board.take(); len(jobs) > 0; jobs = w.board.take() {
				w.work(hard, jobs)
			}
		})
	}

	reg, err := w.serve(ctx, hard, &orphans)

	w.setReady(errDraining)
	w.drain(hard, abandon, reg, &slots)
	orphans.Wait()
	w.warm.clear()
	return err
}

// serve keeps the worker registered and takes its assignments until ctx ends,
// and returns the registration of then, if there is one.
func (w *Worker) serve(ctx, hard context.Context, orphans *sync.WaitGroup) (registration, error) {
	for {
		reg, err := w.members.Register(ctx, w.record(false), w.cfg.LeaseTTL)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil
			}
			return nil, fmt.Errorf("register worker: %w", err)
		}
		w.tel.Registered()
		w.setReady(nil)
		w.log.Info("worker registered", "slots", w.cfg.Slots)
		if w.listen(ctx, hard, reg) {
			return reg, nil
		}

		w.setReady(errors.New("lease lost, registering again"))
		w.log.Warn("lease lost: the segments under way go on, the cluster may give them to others")
		for _, j := range w.board.orphan() {
			orphans.Go(func() { w.attend(j) })
		}
		// What is left of the registration would keep the next one out.
		if err := reg.Close(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("old lease could not be revoked", "error", err)
		}
	}
}

// listen takes assignments under one registration. It reports whether ctx ended
// it; else the lease was lost.
func (w *Worker) listen(ctx, hard context.Context, reg registration) bool {
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := w.members.Assignments(wctx, w.cfg.ID)
	if err != nil {
		if ctx.Err() == nil {
			w.log.Error("watch assignments", "error", err)
			select { // not to register in a tight loop
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		return ctx.Err() != nil
	}
	look := time.NewTicker(dataInterval)
	defer look.Stop()
	told := w.missing()
	var together []*pb.Assignment // that became known at a time
	for {
		select {
		case <-ctx.Done():
			return true
		case <-reg.Lost():
			return false
		case <-look.C:
			if now := w.missing(); !slices.Equal(now, told) {
				w.log.Info("data folder has changed", "folder", w.cfg.DataFolder, "missing", now)
				if err := reg.Update(ctx, w.record(false)); err != nil {
					w.log.Warn("registration could not be updated", "error", err)
					continue // at the next look
				}
				told = now
			}
		case ev, ok := <-events:
			if ok && !ev.Withdrawn {
				together = append(together, ev.Assignment)
			}
			if !ok || ev.Withdrawn || !ev.More {
				w.board.add(hard, together...)
				together = nil
			}
			switch {
			case !ok:
				return ctx.Err() != nil
			case ev.Withdrawn:
				id := ev.Assignment.GetId()
				if w.board.held(id) && w.gone(ctx, reg) {
					return false
				}
				for range w.board.withdraw(id) {
					w.tel.Segment(telemetry.SegmentDropped)
				}
			}
		}
	}
}

// dataInterval is how often the data folder is looked at.
const dataInterval = 5 * time.Second

// gone tells whether the registration has ended, as it has when etcd revoked the
// lease before the worker noticed. Its assignments went with it then, which says
// nothing about the work.
func (w *Worker) gone(ctx context.Context, reg registration) bool {
	select {
	case <-reg.Lost():
		return true
	default:
	}
	// A cancelled segment must stop within a second all the same.
	ctx, cancel := context.WithTimeout(ctx, orphanPoll)
	defer cancel()
	return errors.Is(reg.Update(ctx, w.record(false)), cluster.ErrConflict)
}

// orphanPoll is how often the run of a segment that is no longer assigned is
// looked at; a cancelled one must stop within a second.
const orphanPoll = 700 * time.Millisecond

// attend drops a segment whose assignment went with its lease once its run is
// not wanted any more: no withdrawal will tell.
func (w *Worker) attend(j *job) {
	tick := time.NewTicker(orphanPoll)
	defer tick.Stop()
	for {
		select {
		case <-j.ended:
			return
		case <-tick.C:
		}
		if !w.board.isOrphan(j) {
			return
		}
		_, run, err := w.members.RunSpec(j.ctx, j.ref.GetRun())
		if errors.Is(err, cluster.ErrNotFound) || err == nil && over(run.GetState()) {
			j.cancel(errWithdrawn)
			return
		}
	}
}

func over(s pb.RunState) bool {
	return s == pb.RunState_RUN_STATE_CANCELLED || s == pb.RunState_RUN_STATE_FAILED || s == pb.RunState_RUN_STATE_DONE
}

// drain ends everything within the time for it.
func (w *Worker) drain(hard context.Context, abandon context.CancelCauseFunc, reg registration, slots *sync.WaitGroup) {
	begin := time.Now()
	// The last part of the time is for the registration: revoked, its segments
	// go to others at once.
	reserve := min(time.Second, w.cfg.DrainTimeout/5)
	late := time.AfterFunc(w.cfg.DrainTimeout-reserve, func() { abandon(errTooLate) })
	defer late.Stop()

	queued, running := w.board.close()
	w.log.Info("worker drains", "running", running, "waiting", len(queued))
	var told sync.WaitGroup
	if reg != nil {
		told.Go(func() {
			if err := reg.Update(hard, w.record(true)); err != nil {
				w.log.Warn("draining could not be announced", "error", err)
			}
		})
	}
	for _, j := range queued {
		w.release(hard, j)
		w.board.end(j)
	}
	slots.Wait()
	told.Wait()
	if reg != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), reserve)
		defer cancel()
		if err := reg.Close(ctx); err != nil {
			w.log.Warn("registration could not be ended; its lease will", "error", err)
		}
	}
	w.log.Info("worker drained", "seconds", time.Since(begin).Seconds(), "steps_made", w.tel.StepsMade())
}

// record is the worker's registration.
func (w *Worker) record(draining bool) *pb.Worker {
	return &pb.Worker{
		Id: w.cfg.ID, Address: w.cfg.Address, Slots: int32(w.cfg.Slots), NumericsVersion: engine.NumericsVersion,
		Isa: w.cfg.ISA, Version: w.cfg.Version, Draining: draining, StartedAt: timestamppb.New(w.started),
		MissingDatasets: w.missing(), DataFolder: w.cfg.DataFolder, Lanes: int32(w.cfg.Lanes),
	}
}
