// Package worker takes segments that the coordinator assigns to it, lives them
// through in the engine, streams their metrics, stores a checkpoint at their end
// and commits them. It keeps nothing of its own: what it has not committed,
// another worker does again with the same bits.
//
// A segment ends in one of five ways: committed whole, yielded (committed up to
// where a drain stopped it), released undone, dropped because it is no longer wanted
// any more, or reported as failed.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/data"
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
		metrics: metricsAdapter{d.Metrics}, engine: newEngine(d.Data), log: d.Logger, tel: d.Telemetry, missing: d.Missing,
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

// Ready returns why the worker takes no work now, or nil; a readiness check.
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
