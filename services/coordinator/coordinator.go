// Package coordinator takes experiments and has them done: it expands them into
// trials, runs and segments, gives segments to workers, follows what these
// commit, and answers the API about it all.
//
// It keeps nothing of its own. Everything is in etcd (internal/cluster) and is
// mirrored into memory by one watch, so a coordinator can be killed at any
// moment and another started: the loop looks at the mirror, decides what is to
// be done next, writes it in transactions that hold only if nothing has changed
// since, waits until the mirror shows them, and looks again.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"neoteny/internal/cluster"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// Blob is what the coordinator needs of the blob store.
type Blob interface {
	Put(ctx context.Context, key string, data []byte) (*pb.BlobRef, error)
	Get(ctx context.Context, ref *pb.BlobRef, limit int64) ([]byte, error)
	Remove(ctx context.Context, key string) error    // one object
	Delete(ctx context.Context, folder string) error // everything below
}

// Deps are what a coordinator works with.
type Deps struct {
	Cluster    *cluster.Client
	Blob       Blob
	Logger     *slog.Logger         // nil drops everything
	Registerer telemetry.Registerer // nil: metrics are not shown
	Model      Model                // nil means pkg/experiment
}

// Config tunes a coordinator; zero values mean the defaults.
type Config struct {
	// NumericsVersion of the runs that are made; default the engine's. Workers
	// of other versions do not get them.
	NumericsVersion int32
	// MaxFailures of one segment before its run fails; default 3.
	MaxFailures int
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
	dur(&c.WorkerPause, time.Minute)
	dur(&c.WatchInterval, 200*time.Millisecond)
	dur(&c.Tick, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Service is a coordinator: pb.ExperimentServiceServer, and the scheduling loop
// in Run.
type Service struct {
	pb.UnimplementedExperimentServiceServer

	cluster *cluster.Client
	blob    Blob
	log     *slog.Logger
	model   Model
	cfg     Config
	metrics *telemetry.Coordinator

	mu      sync.Mutex
	state   *state
	changed chan struct{} // closed and replaced when state has changed
	specs   map[string]*pb.ExperimentSpec
	plans   map[string]*Plan // of submissions not expanded yet
	size    int64            // of etcd's database; -1 unknown

	wake chan struct{}
	// pauses holds back actions that failed; the loop's own.
	pauses map[string]pause
}

// pause is when a failed action may be tried again, after how many failures.
type pause struct {
	until time.Time
	fails int
}

var _ pb.ExperimentServiceServer = (*Service)(nil)

// New makes a coordinator. It answers once Run is running.
func New(d Deps, cfg Config) (*Service, error) {
	if d.Cluster == nil || d.Blob == nil {
		return nil, errors.New("coordinator: cluster and blob store are required")
	}
	s := &Service{
		cluster: d.Cluster,
		blob:    d.Blob,
		log:     d.Logger,
		model:   d.Model,
		cfg:     cfg.withDefaults(),
		state:   newState(),
		changed: make(chan struct{}),
		specs:   map[string]*pb.ExperimentSpec{},
		plans:   map[string]*Plan{},
		size:    -1,
		wake:    make(chan struct{}, 1),
		pauses:  map[string]pause{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.model == nil {
		s.model = experiments{}
	}
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
			s.log.Warn("workers cannot be told the numerics version of new runs", "error", err)
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
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.rev == 0 {
		return errors.New("records are not read yet")
	}
	return nil
}

func (s *Service) apply(rev int64, changes []cluster.Change) {
	s.mu.Lock()
	n := s.state.apply(rev, changes, s.cfg.Now(), s.cfg.WorkerFailures, s.cfg.WorkerPause)
	for _, c := range changes {
		if c.Kind == cluster.KindWorker && !c.Deleted && c.Rev.Create == c.Rev.Mod {
			if v := c.Msg.(*pb.Worker).NumericsVersion; v != s.cfg.NumericsVersion {
				s.log.Warn("a worker of another numerics version gets no new runs", "worker", c.Worker, "version", v, "want", s.cfg.NumericsVersion)
			}
		}
		if c.Kind != cluster.KindExperiment {
			continue
		}
		if c.Deleted {
			delete(s.specs, c.Experiment)
		}
		if !s.unplanned(c.Experiment) {
			delete(s.plans, c.Experiment)
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	for range n.commits {
		s.metrics.Committed()
	}
	s.metrics.Failed(n.failures)
	s.kick()
}

// unplanned tells whether a submission is still to be expanded, as far as the
// mirror shows. The mutex is held.
func (s *Service) unplanned(id string) bool {
	e := s.state.experiments[id]
	return e != nil && e.rec != nil && !e.rec.Expanded && e.rec.State == 0
}

// kick makes the loop look again.
func (s *Service) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Service) loop(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
		if s.Ready() != nil {
			continue
		}
		start := time.Now()
		n := s.do(ctx, s.upkeep())
		n += s.do(ctx, s.assign())
		if n > 0 {
			s.metrics.Passed(time.Since(start).Seconds())
		}
	}
}

// measure keeps the size of etcd's database, which takes a request to know.
func (s *Service) measure(ctx context.Context) {
	for {
		size, err := s.cluster.Size(ctx)
		if err != nil {
			size = -1
		}
		s.mu.Lock()
		s.size = size
		s.mu.Unlock()
		timer := time.NewTimer(15 * time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// action is something that the loop has decided to do. It returns the revision
// of its last write.
type action struct {
	what string
	id   string
	do   func(context.Context) (int64, error)
}

const (
	parallel    = 8                // actions at a time: etcd takes one fsync for all
	barrierTime = 10 * time.Second // the mirror may be this far behind
)

// do carries out actions and waits until the mirror shows them, so that the
// next decision is made on what they have led to. It returns how many
// succeeded.
func (s *Service) do(ctx context.Context, actions []action) (done int) {
	actions = s.due(actions)
	if len(actions) == 0 {
		return 0
	}
	var (
		mu               sync.Mutex
		rev              int64
		conflicts, cutOf bool
		g                errgroup.Group
	)
	g.SetLimit(parallel)
	for _, a := range actions {
		g.Go(func() error {
			mu.Lock()
			skip := cutOf
			mu.Unlock()
			if skip {
				return nil
			}
			at, err := a.do(ctx)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done++
				rev = max(rev, at)
				delete(s.pauses, a.key())
			case errors.Is(err, cluster.ErrConflict):
				conflicts = true
				s.log.Debug("changed meanwhile", "action", a.what, "id", a.id, "error", err)
			case ctx.Err() != nil:
			case cluster.IsUnavailable(err):
				// The others would only wait for the same: look again later.
				cutOf = true
				s.log.Warn("etcd does not answer, will be tried again", "action", a.what, "id", a.id, "error", err)
			default:
				p := s.pauses[a.key()]
				p.until = s.cfg.Now().Add(min(100*time.Millisecond<<min(p.fails, 10), maxPause))
				p.fails++
				s.pauses[a.key()] = p
				s.log.Warn("will be tried again", "action", a.what, "id", a.id, "failures", p.fails, "error", err)
			}
			return nil
		})
	}
	_ = g.Wait() // actions do not return errors
	s.waitFor(ctx, barrierTime, func() bool { return s.state.rev >= rev })
	if conflicts {
		s.kick()
	}
	return done
}

const maxPause = 30 * time.Second

func (a action) key() string { return a.what + " " + a.id }

// due leaves out actions that failed a moment ago.
func (s *Service) due(actions []action) []action {
	now := s.cfg.Now()
	for k, p := range s.pauses {
		if now.After(p.until.Add(10 * maxPause)) {
			delete(s.pauses, k) // of something that is no more
		}
	}
	return slices.DeleteFunc(actions, func(a action) bool {
		p, ok := s.pauses[a.key()]
		return ok && now.Before(p.until)
	})
}

// waitFor waits until cond, called under the lock, holds; it tells whether
// it does.
func (s *Service) waitFor(ctx context.Context, limit time.Duration, cond func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		ok, changed := cond(), s.changed
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// stats counts for the metrics.
func (s *Service) stats() telemetry.CoordinatorStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	st := telemetry.CoordinatorStats{
		Experiments: map[string]int{"pending": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0},
		Segments:    map[string]int{"pending": 0, "assigned": 0},
		Workers:     map[string]int{"ready": 0, "draining": 0, "out_of_service": 0, "other_numerics": 0, "problem": 0},
		StoreBytes:  s.size,
	}
	for _, e := range s.state.experiments {
		if e.rec == nil {
			continue
		}
		st.Experiments[stateName(e.state())]++
		for _, r := range e.active {
			for g := range r.going() {
				switch g.rec.State {
				case pb.SegmentState_SEGMENT_STATE_PENDING:
					st.Segments["pending"]++
				case pb.SegmentState_SEGMENT_STATE_ASSIGNED:
					st.Segments["assigned"]++
				}
			}
		}
	}
	for id, w := range s.state.workers {
		st.Busy += w.busy
		switch {
		case w.rec.Draining:
			st.Workers["draining"]++
		case s.state.outOfService(id, now):
			st.Workers["out_of_service"]++
		case w.rec.Problem != "":
			st.Workers["problem"]++
		case w.rec.NumericsVersion != s.cfg.NumericsVersion:
			st.Workers["other_numerics"]++
			st.Slots += int(w.rec.Slots)
		default:
			st.Workers["ready"]++
			st.Slots += int(w.rec.Slots)
		}
	}
	return st
}
