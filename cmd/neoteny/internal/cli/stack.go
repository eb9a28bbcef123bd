package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator"
	"neoteny/services/metrics"
)

// stackConfig says what a whole cluster in one process is made of.
type stackConfig struct {
	dir       string // state: etcd, blobs, metrics, spilled metrics
	throwaway bool   // nobody needs the state after a crash of the machine
	etcd      []string
	blob      string
	data      string
	workers   int
	lanes     int // of each worker's slot; 0: the default
	addresses addresses
	freePorts bool // take other ports where these are in use
	pprof     bool
}

// addresses are where the stack listens.
type addresses struct {
	Listen        string `help:"Address of the coordinator's gRPC API. Default: ${default}." default:"127.0.0.1:7070" placeholder:"HOST:PORT"`
	MetricsListen string `help:"Address of the metrics service's gRPC API. Default: ${default}." default:"127.0.0.1:7080" placeholder:"HOST:PORT"`
	HTTP          string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:"127.0.0.1:7071" placeholder:"HOST:PORT"`
}

// stack is a whole cluster in one process, of the same parts as the separate
// services, which talk to each other by gRPC and etcd just the same.
type stack struct {
	coordinator, metrics, http string // addresses

	api        pb.ExperimentServiceClient
	metricsAPI pb.MetricsServiceClient

	counters *telemetry.Worker // of the workers of this process
	failed   chan struct{}
	failure  sync.Once
	err      error

	stopWorkers func()      // ends when they are drained
	closing     atomic.Bool // the parts are being stopped
	closers     []func() error
}

// startStack starts everything; what was started is stopped again on an error.
// ctx bounds the start only.
func startStack(ctx context.Context, log *slog.Logger, cfg stackConfig) (s *stack, err error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	s = &stack{failed: make(chan struct{}), stopWorkers: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	log = slog.New(&quietHandler{log.Handler(), &s.closing})
	var listeners [3]net.Listener
	for i, l := range []struct{ address, flag string }{
		{cfg.addresses.Listen, "--listen"}, {cfg.addresses.MetricsListen, "--metrics-listen"}, {cfg.addresses.HTTP, "--http"},
	} {
		lis, err := listen(l.address, l.flag, cfg.freePorts)
		if err != nil {
			return s, err
		}
		listeners[i] = lis
		s.onClose(func() error { // closed already when its server has run
			if err := lis.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	s.coordinator, s.metrics, s.http = local(listeners[0].Addr()), local(listeners[1].Addr()), local(listeners[2].Addr())

	tel := telemetry.New()
	endpoints := cfg.etcd
	if len(endpoints) == 0 {
		if endpoints, err = s.startEtcd(ctx, log, cfg, tel); err != nil {
			return s, err
		}
	}
	if cfg.blob == "" {
		cfg.blob = filepath.Join(cfg.dir, "blob")
	}
	bucket, err := blob.Open(ctx, cfg.blob)
	if err != nil {
		return s, err
	}
	s.onClose(bucket.Close)
	tel.AddReadiness("blob store", bucket.Ping)
	cl, err := dialCluster(ctx, endpoints, bucket, log, tel)
	if err != nil {
		return s, err
	}
	s.onClose(cl.Close)
	if len(cfg.etcd) == 0 {
		if err := cl.BuryWorkers(ctx); err != nil {
			return s, err
		}
	}

	metricsSvc, err := metrics.New(metrics.Deps{Logger: log}, metrics.Config{Dir: filepath.Join(cfg.dir, "metrics")})
	if err != nil {
		return s, err
	}
	if err := tel.Register(metricsSvc); err != nil {
		return s, errors.Join(err, metricsSvc.Close())
	}
	coord, err := coordinator.New(coordinator.Deps{Cluster: cl, Blob: bucket, Logger: log, Registerer: tel.Registerer()}, coordinator.Config{})
	if err != nil {
		return s, errors.Join(err, metricsSvc.Close())
	}
	tel.AddReadiness("coordinator", func(context.Context) error { return coord.Ready() })

	s.background(func(ctx context.Context) error {
		return telemetry.Serve(ctx, listeners[2], tel.Handler(telemetry.HTTPConfig{Logger: log, Pprof: cfg.pprof}))
	})
	s.background(func(ctx context.Context) error { return serveMetrics(ctx, listeners[1], log, tel, metricsSvc) })
	s.background(func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return coord.Run(ctx) })
		g.Go(func() error {
			return serveGRPC(ctx, listeners[0], log, tel, func(srv *grpc.Server) { pb.RegisterExperimentServiceServer(srv, coord) })
		})
		return g.Wait()
	})

	conn, err := s.dial(s.coordinator)
	if err != nil {
		return s, err
	}
	s.api = pb.NewExperimentServiceClient(conn)
	if conn, err = s.dial(s.metrics); err != nil {
		return s, err
	}
	s.metricsAPI = pb.NewMetricsServiceClient(conn)
	if err := s.waitReady(ctx, coord); err != nil {
		return s, err
	}
	s.startWorkers(ctx, log, cfg, tel, cl, bucket)
	return s, nil
}

func (s *stack) startEtcd(ctx context.Context, log *slog.Logger, cfg stackConfig, tel *telemetry.Telemetry) ([]string, error) {
	srv, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(cfg.dir, "etcd"), Throwaway: cfg.throwaway, Logger: log})
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { srv.Close(); return nil })
	tel.GatherEtcd()
	s.background(func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-srv.Failed():
			return fmt.Errorf("embedded etcd gave up: %w", srv.Err())
		}
	})
	return srv.Endpoints(), nil
}

func (s *stack) startWorkers(ctx context.Context, log *slog.Logger, cfg stackConfig, tel *telemetry.Telemetry, cl *cluster.Client, bucket *blob.Bucket) {
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	stop := sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	s.stopWorkers = stop
	s.onClose(func() error { stop(); return nil })
	source := data.NewDir(cfg.data)
	s.counters = telemetry.NewWorker(tel)
	id := newWorkerID()
	for i := range cfg.workers {
		parts := workerParts{
			id: fmt.Sprintf("%s-%d", id, i), address: s.http, slots: 1, lanes: cfg.lanes, spill: filepath.Join(cfg.dir, "spill"), label: fmt.Sprint(i),
			cluster: cl, blob: bucket, metrics: s.metricsAPI, data: source, dataDir: cfg.data, log: log, tel: tel, counters: s.counters,
		}
		if len(cfg.etcd) == 0 {
			parts.lease = stackLease
		}
		wg.Go(func() {
			if err := runWorker(wctx, parts); err != nil {
				s.fail(fmt.Errorf("worker: %w", err))
			}
		})
	}
}

// stackLease is the lease of workers that live and die with their etcd. Nobody
// waits for it to expire (see [cluster.Client.BuryWorkers]), and on a busy
// machine a process may be without a core for long.
const stackLease = 10 * time.Minute

// background runs fn until the stack closes. An error fails the stack.
func (s *stack) background(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			s.fail(err)
		}
	}()
	s.onClose(func() error {
		cancel()
		<-done
		return nil
	})
}

func (s *stack) onClose(fn func() error) { s.closers = append(s.closers, fn) }

func (s *stack) dial(address string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(address)
	if err == nil {
		s.onClose(conn.Close)
	}
	return conn, err
}

// fail remembers the first failure of a part.
func (s *stack) fail(err error) {
	s.failure.Do(func() {
		s.err = err
		close(s.failed)
	})
}

// with returns a context that also ends when a part of the stack fails; its
// cause is then that failure.
func (s *stack) with(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.failed:
			cancel(s.err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// waitReady waits until the coordinator has read what is there.
func (s *stack) waitReady(ctx context.Context, coord *coordinator.Service) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for coord.Ready() != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.failed:
			return s.err
		case <-tick.C:
		}
	}
	return nil
}

// close stops everything in the opposite order of its start: workers first,
// which then can still commit and stream what they have.
func (s *stack) close() error {
	s.stopWorkers()
	s.closing.Store(true)
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// quietHandler drops everything below errors while the stack closes: that its
// parts lose each other then is no news.
type quietHandler struct {
	slog.Handler
	closing *atomic.Bool
}

func (h *quietHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) && (l >= slog.LevelError || !h.closing.Load())
}

func (h *quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quietHandler{h.Handler.WithAttrs(attrs), h.closing}
}

func (h *quietHandler) WithGroup(name string) slog.Handler {
	return &quietHandler{h.Handler.WithGroup(name), h.closing}
}

// workersOr is the number of workers asked for, one per core by default.
func workersOr(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
