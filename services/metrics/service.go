// Package metrics is the metrics service: it takes the per-step values that
// workers stream, makes them durable before it says so, ends every run in a
// Parquet file, answers queries from either form and shows Prometheus a bounded
// live view.
//
// The way of one value:
//
//   - A step of training measures it. The engine gathers the values of about a
//     thousand steps, and the worker's client joins them to a batch of its run
//     (internal/metricsclient) and sends it.
//   - ReportMetrics takes the batch (report.go). Ingest checks it, drops the
//     steps that are durable already and refuses what leaves a gap (ingest.go).
//   - The rest is appended to the track's log and synced (wal.go, store.go). Only
//     then is the batch acknowledged, and the client forgets it.
//   - The live view follows, and Prometheus sees it (live.go, collector.go).
//   - After the track's last batch the log is turned into a Parquet file and
//     removed (seal.go, parquet.go).
//   - QuerySeries reads it from either file (query.go, source.go).
//
// The table that holds the values on all of this way is internal/metric's.
//
// On disk, below the data folder, a track of a run is a log while it grows and a
// Parquet file from its last batch on:
//
//	<experiment>/<trial>@<seed>@<track>.wal
//	<experiment>/<trial>@<seed>@<track>.parquet
//
// with every part escaped to a safe file name. Nothing else is state: a service
// that starts again on the folder goes on where the acknowledgements were.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// Deps are what the service uses.
type Deps struct {
	Logger *slog.Logger
	// Now returns the time for the live view; nil means the system's clock.
	Now func() time.Time
}

// Config sizes the service; zero fields take the defaults.
type Config struct {
	// Dir is the data folder, made where missing. One service uses it at a time.
	Dir string
	// MaxLiveSeries bounds the per-run series shown to Prometheus; what is
	// beyond is counted. Default 20000.
	MaxLiveSeries int
	// MaxOpenLogs bounds the logs kept open. Default 256.
	MaxOpenLogs int
	// FinishedGrace is how long the live view shows a run after its last batch,
	// at least two scrapes. Default 60 s.
	FinishedGrace time.Duration
	// IdleGrace is how long it shows a run that has gone silent. Default 15 min.
	IdleGrace time.Duration
	// SealRetry is the pause after a Parquet file that could not be written.
	// Default 30 s.
	SealRetry time.Duration
}

func (c Config) withDefaults() Config {
	if c.MaxLiveSeries <= 0 {
		c.MaxLiveSeries = 20000
	}
	if c.MaxOpenLogs <= 0 {
		c.MaxOpenLogs = 256
	}
	if c.FinishedGrace <= 0 {
		c.FinishedGrace = time.Minute
	}
	if c.IdleGrace <= 0 {
		c.IdleGrace = 15 * time.Minute
	}
	if c.SealRetry <= 0 {
		c.SealRetry = 30 * time.Second
	}
	return c
}

// errStopping answers what comes while the service closes; it may be retried.
var errStopping = status.Error(codes.Unavailable, "metrics service is stopping")

// Service implements pb.MetricsServiceServer and prometheus.Collector.
type Service struct {
	pb.UnimplementedMetricsServiceServer

	log   *slog.Logger
	store *store
	live  *liveView
	stats *stats
	seals *sealer

	// erasing is held for writing while an experiment is deleted.
	erasing sync.RWMutex
	// stop ends every stream; calls counts them.
	stop    context.Context
	cancel  context.CancelFunc
	closing sync.Mutex
	calls   sync.WaitGroup
}

var (
	_ pb.MetricsServiceServer = (*Service)(nil)
	_ prometheus.Collector    = (*Service)(nil)
)

// New opens the data folder, cuts what a crash left torn (and logs it), and
// resumes sealing runs that are complete. The caller registers the service with
// its gRPC server and its Prometheus registry.
func New(deps Deps, cfg Config) (*Service, error) {
	cfg = cfg.withDefaults()
	if cfg.Dir == "" {
		return nil, errors.New("metrics service needs a data folder")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	st, complete, err := openStore(cfg.Dir, cfg.MaxOpenLogs, deps.Logger)
	if err != nil {
		return nil, err
	}
	s := &Service{
		log: deps.Logger, store: st, stats: newStats(),
		live: newLiveView(deps.Now, cfg.MaxLiveSeries, cfg.FinishedGrace, cfg.IdleGrace),
	}
	s.stop, s.cancel = context.WithCancel(context.Background())
	s.seals = newSealer(st, deps.Logger, s.stats, cfg.SealRetry)
	for _, t := range complete {
		s.seals.add(t)
	}
	return s, nil
}

// Close ends the streams (clients see UNAVAILABLE and resend elsewhere or later),
// finishes or abandons the Parquet file in work, and closes all files. Call it
// before the gRPC server's graceful stop, which waits for streams. What was
// acknowledged is on disk already.
func (s *Service) Close() error {
	s.closing.Lock()
	if s.stop.Err() != nil {
		s.closing.Unlock()
		return nil
	}
	s.cancel()
	s.closing.Unlock()
	s.calls.Wait()
	s.seals.close()
	return s.store.close()
}

// begin admits a call; done must follow where it says true.
func (s *Service) begin() (done func(), ok bool) {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.stop.Err() != nil {
		return nil, false
	}
	s.calls.Add(1)
	return s.calls.Done, true
}

// Sealed waits until every track that is complete has its Parquet file.
func (s *Service) Sealed(ctx context.Context) error { return s.seals.wait(ctx) }

// ParquetFile returns the path of a sealed track's Parquet file; an empty track
// is the run's main one. It returns an error with fs.ErrNotExist inside where
// the track is not sealed.
func (s *Service) ParquetFile(run, track string) (string, error) {
	key, err := metric.NewTrack(run, track)
	if err != nil {
		return "", err
	}
	path := s.store.path(key) + parquetExt
	if _, err := readParquetMeta(path); err != nil {
		return "", fmt.Errorf("parquet file of %s: %w", key, err)
	}
	return path, nil
}

// Delete removes everything stored of an experiment; deleting an unknown one is
// no error. Its runs must have stopped reporting: a batch that starts at step 0
// would begin it anew.
func (s *Service) Delete(experiment string) error {
	if experiment == "" {
		return errors.New("delete needs an experiment")
	}
	done, ok := s.begin()
	if !ok {
		return errStopping
	}
	defer done()
	s.seals.pause.Lock()
	defer s.seals.pause.Unlock()
	s.erasing.Lock()
	defer s.erasing.Unlock()
	if err := s.store.delete(experiment); err != nil {
		return fmt.Errorf("delete metrics of %s: %w", experiment, err)
	}
	s.live.forget(experiment)
	return nil
}
