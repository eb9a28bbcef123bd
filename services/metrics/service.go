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
//   - ReportMetrics takes the batch (service.go). Ingest checks it, drops the
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
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// Deps are what the service uses.
type Deps struct {
	Logger *slog.Logger
	// Now tells the time for the live view; nil means the system's clock.
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

// maxAhead is how many requests of a stream wait while one is made durable.
const maxAhead = 4

// ReportMetrics implements pb.MetricsServiceServer. Requests that arrive while
// an earlier one is being synced are made durable together. The stream ends with
// RESOURCE_EXHAUSTED where the disk refuses: what was not acknowledged may be
// sent again.
func (s *Service) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	done, ok := s.begin()
	if !ok {
		return errStopping
	}
	defer done()
	requests := make(chan *pb.ReportMetricsRequest, maxAhead)
	received := make(chan error, 1)
	// It ends with the stream, which ends when this method returns.
	go func() {
		defer close(requests)
		for {
			req, err := stream.Recv()
			if err != nil {
				received <- err
				return
			}
			select {
			case requests <- req:
			case <-stream.Context().Done():
				received <- stream.Context().Err()
				return
			}
		}
	}()
	for {
		var batches []*pb.MetricBatch
		select {
		case <-s.stop.Done():
			return errStopping
		case req, more := <-requests:
			if !more {
				if err := <-received; !errors.Is(err, io.EOF) {
					return err
				}
				return nil
			}
			batches = req.GetBatches()
		}
		for range len(requests) {
			if req, more := <-requests; more {
				batches = append(batches, req.GetBatches()...)
			}
		}
		acks, err := s.report(batches)
		if len(acks) > 0 {
			if err := stream.Send(&pb.ReportMetricsResponse{Acks: acks}); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// parallelSyncs is how many tracks of a request are synced at a time; the file
// system joins their journal commits.
const parallelSyncs = 16

// report makes batches durable and answers for each of their tracks. With an
// error, which is a status, the answers that come with it still hold.
func (s *Service) report(batches []*pb.MetricBatch) ([]*pb.MetricAck, error) {
	s.erasing.RLock()
	defer s.erasing.RUnlock()
	var order []metric.Track
	byTrack := map[metric.Track][]*pb.MetricBatch{}
	var acks []*pb.MetricAck
	for _, b := range batches {
		s.stats.batches.Inc()
		key, err := metric.NewTrack(b.GetRun(), b.GetTrack())
		if err != nil {
			s.stats.refused.Inc()
			acks = append(acks, refuseUnknown(b, err))
			continue
		}
		if _, ok := byTrack[key]; !ok {
			order = append(order, key)
		}
		byTrack[key] = append(byTrack[key], b)
	}
	results := make([]*ingestResult, len(order))
	errs := make([]error, len(order))
	var g errgroup.Group
	g.SetLimit(parallelSyncs)
	for i, key := range order {
		g.Go(func() error {
			results[i], errs[i] = s.reportTrack(key, byTrack[key])
			return nil
		})
	}
	_ = g.Wait() // the errors are kept by track
	for i, r := range results {
		if r != nil {
			acks = append(acks, r.acks...)
		} else if len(byTrack[order[i]]) > 0 {
			s.stats.failed.Add(float64(len(byTrack[order[i]])))
		}
	}
	for i, err := range errs {
		if err != nil {
			s.log.Error("metrics are not durable", "run", order[i].Run, "track", order[i].Name, "error", err)
			return acks, status.Errorf(codes.ResourceExhausted, "metrics of %s are not durable: %v", order[i], err)
		}
	}
	return acks, nil
}

func (s *Service) reportTrack(key metric.Track, batches []*pb.MetricBatch) (*ingestResult, error) {
	for {
		t, err := s.store.lookupOrAdd(key)
		if err != nil {
			return nil, err
		}
		if r, err := s.reportLocked(t, batches); r != nil || err != nil {
			return r, err
		}
	}
}

// reportLocked returns nothing where the track was dropped meanwhile.
func (s *Service) reportLocked(t *track, batches []*pb.MetricBatch) (*ingestResult, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return nil, nil
	}
	start := time.Now()
	r, err := s.store.ingest(t, batches)
	if err == nil && r.bytes > 0 {
		s.stats.sync.Observe(time.Since(start).Seconds())
	}
	if t.size == 0 && !t.sealed {
		// Asking about a run, or failing to start one, leaves nothing behind.
		s.store.drop(t)
	}
	if err != nil {
		return nil, err
	}
	s.stats.count(r)
	s.live.observe(t, r)
	if r.completed {
		s.seals.add(t)
	}
	return r, nil
}
