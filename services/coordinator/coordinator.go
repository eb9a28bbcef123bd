// Package coordinator takes experiments and has them done: it expands them into
// trials, runs and segments, gives segments to workers, follows what these
// commit, and answers the API about it all.
//
// It keeps nothing of its own. Everything is in etcd (internal/cluster) and is
// mirrored into memory by one watch (mirror), so a coordinator can be killed at
// any moment and another started: the loop looks at the mirror, decides what is
// to be done next (schedule), writes it in transactions that hold only if nothing
// has changed since, waits until the mirror shows them, and looks again. The API
// (api) reads the mirror.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"neoteny/internal/cluster"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/api"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/results"
	"neoteny/services/coordinator/schedule"
)

// Blob is what the coordinator needs of the blob store.
type Blob interface {
	results.Blob
	Remove(ctx context.Context, key string) error    // one object
	Delete(ctx context.Context, folder string) error // everything below
}

// Deps are what a coordinator works with.
type Deps struct {
	Cluster    *cluster.Client
	Blob       Blob
	Logger     *slog.Logger         // nil drops everything
	Registerer telemetry.Registerer // nil: metrics are not shown
	Model      model.Model          // nil means pkg/experiment
}

// Config tunes a coordinator; zero values mean the defaults.
type Config struct {
	// NumericsVersion of the runs that are made; default the engine's. Workers
	// of other versions do not get them.
	NumericsVersion int32
	// MaxFailures of one segment before its run fails; default 3.
	MaxFailures int
	// RetryPause is how long a segment that failed waits to be tried again, and four
	// times as long after each further failure; default 1 second, negative: not at all.
	RetryPause time.Duration
	// WorkerFailures in a row before a worker is out of service; default 3.
	WorkerFailures int
	// WorkerPause is how long a worker is out of service then; default 1 minute.
	WorkerPause time.Duration
	// QueuePerSlot is how many segments of each experiment wait in etcd for each
	// slot there is; default 2.
	QueuePerSlot int
	// WatchInterval is the least time between two messages of WatchExperiment;
	// default 200 ms.
	WatchInterval time.Duration
	// Tick is how often the loop looks even if nothing has changed, for retries
	// and pauses that end; default 1 second.
	Tick time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.NumericsVersion == 0 {
		c.NumericsVersion = engine.NumericsVersion
	}
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&c.MaxFailures, 3)
	def(&c.WorkerFailures, 3)
	def(&c.QueuePerSlot, 2)
	dur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	if c.RetryPause == 0 {
		c.RetryPause = time.Second
	}
	dur(&c.WorkerPause, time.Minute)
	dur(&c.WatchInterval, 200*time.Millisecond)
	dur(&c.Tick, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// schedule is the part of the configuration that decisions depend on.
func (c Config) schedule() schedule.Config {
	return schedule.Config{
		NumericsVersion: c.NumericsVersion,
		MaxFailures:     c.MaxFailures,
		RetryPause:      c.RetryPause,
		WorkerFailures:  c.WorkerFailures,
		WorkerPause:     c.WorkerPause,
		QueuePerSlot:    c.QueuePerSlot,
	}
}

// Service is a coordinator: pb.ExperimentServiceServer, and the scheduling loop
// in Run.
type Service struct {
	*api.Server

	cluster *cluster.Client
	blob    Blob
	tables  results.Tables
	log     *slog.Logger
	model   model.Model
	cfg     Config
	metrics *telemetry.Coordinator
	mirror  *mirror.Mirror
	plans   *plans
	size    atomic.Int64 // of etcd's database in bytes; -1 unknown

	wake chan struct{}
	// pauses holds back actions that failed; the loop's own.
	pauses map[schedule.Key]pause
}

var _ pb.ExperimentServiceServer = (*Service)(nil)

// New makes a coordinator. It answers once Run is running.
func New(d Deps, cfg Config) (*Service, error) {
	if d.Cluster == nil || d.Blob == nil {
		return nil, errors.New("coordinator: cluster and blob store are required")
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Model == nil {
		d.Model = model.Experiments{}
	}
	s := &Service{
		cluster: d.Cluster,
		blob:    d.Blob,
		tables:  results.Tables{Source: d.Cluster, Blob: d.Blob},
		log:     d.Logger,
		model:   d.Model,
		cfg:     cfg.withDefaults(),
		mirror:  mirror.New(),
		wake:    make(chan struct{}, 1),
		pauses:  map[schedule.Key]pause{},
	}
	s.plans = newPlans(s.mirror)
	s.size.Store(-1)
	s.Server = api.New(api.Deps{
		Mirror: s.mirror, Cluster: s.cluster, Tables: s.tables, Model: s.model, Logger: s.log, Accepted: s.plans.keep,
	}, api.Config{
		Schedule: s.cfg.schedule(), WatchInterval: s.cfg.WatchInterval, Tick: s.cfg.Tick, Now: s.cfg.Now,
	})
	var err error
	if s.metrics, err = telemetry.NewCoordinator(d.Registerer, s.stats); err != nil {
		return nil, fmt.Errorf("coordinator metrics: %w", err)
	}
	return s, nil
}

// Run mirrors the records and schedules until ctx ends; then it returns nil.
// Nothing needs to be finished at the end.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.cluster.SetNumerics(ctx, s.cfg.NumericsVersion); err != nil && ctx.Err() == nil {
			s.log.Warn("the numerics version of new runs could not be recorded for workers", "error", err)
		}
		return nil
	})
	g.Go(func() error {
		s.cluster.Watch(ctx, s.apply)
		return nil
	})
	g.Go(func() error {
		s.loop(ctx)
		return nil
	})
	g.Go(func() error {
		s.measure(ctx)
		return nil
	})
	return g.Wait()
}

// Ready returns why the coordinator does not answer yet, or nil.
func (s *Service) Ready() (err error) {
	s.mirror.Read(func(st *mirror.State) {
		if st.Rev == 0 {
			err = errors.New("records are not read yet")
		}
	})
	return err
}

// apply brings the mirror to a revision, and has the loop look again.
func (s *Service) apply(rev int64, changes []cluster.Change) {
	seen := s.mirror.Apply(rev, changes, s.cfg.Now())
	for _, c := range changes {
		switch c.Kind {
		case cluster.KindWorker:
			if c.Deleted || c.Rev.Create != c.Rev.Mod {
				continue
			}
			if v := c.Msg.(*pb.Worker).NumericsVersion; v != s.cfg.NumericsVersion {
				s.log.Warn("a worker of another numerics version gets no new runs",
					"worker", c.Worker, "version", v, "want", s.cfg.NumericsVersion)
			}
		case cluster.KindExperiment:
			s.plans.drop(c.Experiment)
		}
	}
	for range seen.Commits {
		s.metrics.Committed()
	}
	s.metrics.Failed(seen.Failures)
	s.kick()
}

// kick makes the loop look again.
func (s *Service) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
