// Package wiring puts the daemon together: it is the one place that knows which parts
// a coordinator, a worker, a metrics service or a whole cluster in one process consists
// of, in which order they start, and that they stop in the opposite one.
package wiring

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
	"neoteny/internal/datashare"
	"neoteny/internal/etcd"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator"
	"neoteny/services/metrics"
)

// StackConfig says what a whole cluster in one process is made of.
type StackConfig struct {
	Dir       string // state: etcd, blobs, metrics, spilled metrics
	Throwaway bool   // the state is not needed after a crash of the machine
	Etcd      []string
	Blob      string
	Data      string
	Workers   int
	Lanes     int // of each worker's slot; 0: the default
	Addresses Addresses
	Datasets  datashare.Limits
	FreePorts bool // take other ports where these are in use
	Pprof     bool
}

// Addresses are where the stack listens.
type Addresses struct {
	Listen        string `help:"Address of the coordinator's gRPC API. Default: ${default}." default:"127.0.0.1:7070" placeholder:"HOST:PORT"`
	MetricsListen string `help:"Address of the metrics service's gRPC API. Default: ${default}." default:"127.0.0.1:7080" placeholder:"HOST:PORT"`
	HTTP          string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:"127.0.0.1:7071" placeholder:"HOST:PORT"`
}

// Stack is a whole cluster in one process, of the same parts as the separate
// services, which talk to each other by gRPC and etcd just the same.
type Stack struct {
	Coordinator, Metrics, HTTP string // addresses

	API        pb.ExperimentServiceClient
	MetricsAPI pb.MetricsServiceClient

	Counters *telemetry.Worker // of the workers of this process
	Failed   chan struct{}
	failure  sync.Once
	Err      error

	StopWorkers func()      // ends when they are drained
	closing     atomic.Bool // the parts are being stopped
	closers     []func() error
}

// LiveView is the address of the means over the runs of every arm, as they are now.
func (s *Stack) LiveView() string {
	return fmt.Sprintf("http://%s/metrics?name%%5B%%5D=neoteny_arm_metric", s.HTTP)
}

// StartStack starts everything; what was started is stopped again on an error.
// ctx bounds the start only.
func StartStack(ctx context.Context, log *slog.Logger, cfg StackConfig) (s *Stack, err error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	if cfg.Workers > 0 {
		WarnOfSlowKernels(log)
	}
	s = &Stack{Failed: make(chan struct{}), StopWorkers: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	log = slog.New(&quietHandler{log.Handler(), &s.closing})
	var listeners [3]net.Listener
	for i, l := range []struct{ address, flag string }{
		{cfg.Addresses.Listen, "--listen"}, {cfg.Addresses.MetricsListen, "--metrics-listen"}, {cfg.Addresses.HTTP, "--http"},
	} {
		lis, err := Listen(l.address, l.flag, cfg.FreePorts)
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
	s.Coordinator, s.Metrics, s.HTTP = local(listeners[0].Addr()), local(listeners[1].Addr()), local(listeners[2].Addr())

	tel := telemetry.New()
	endpoints := cfg.Etcd
	if len(endpoints) == 0 {
		if endpoints, err = s.startEtcd(ctx, log, cfg, tel); err != nil {
			return s, err
		}
	}
	if cfg.Blob == "" {
		cfg.Blob = filepath.Join(cfg.Dir, "blob")
	}
	bucket, err := blob.Open(ctx, cfg.Blob)
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
	if err := sameStore(ctx, bucket, cl.ClaimStore); err != nil && !errors.Is(err, cluster.ErrOtherStore) {
		return s, err // several runs may use one etcd, each with a store of its own
	}
	if len(cfg.Etcd) == 0 {
		if err := cl.BuryWorkers(ctx); err != nil {
			return s, err
		}
	}

	metricsSvc, err := metrics.New(metrics.Deps{Logger: log}, metrics.Config{Dir: filepath.Join(cfg.Dir, "metrics")})
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
		return telemetry.Serve(ctx, listeners[2], tel.Handler(telemetry.HTTPConfig{Logger: log, Pprof: cfg.Pprof}))
	})
	s.background(func(ctx context.Context) error { return ServeMetrics(ctx, listeners[1], log, tel, metricsSvc) })
	s.background(func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return coord.Run(ctx) })
		g.Go(func() error {
			return ServeGRPC(ctx, listeners[0], log, tel, func(srv *grpc.Server) {
				pb.RegisterExperimentServiceServer(srv, coord)
				pb.RegisterDatasetServiceServer(srv, datashare.NewServer(datashare.Store{Bucket: bucket}, cfg.Datasets))
			})
		})
		return g.Wait()
	})

	conn, err := s.dial(s.Coordinator)
	if err != nil {
		return s, err
	}
	s.API = pb.NewExperimentServiceClient(conn)
	if conn, err = s.dial(s.Metrics); err != nil {
		return s, err
	}
	s.MetricsAPI = pb.NewMetricsServiceClient(conn)
	if err := s.waitReady(ctx, coord); err != nil {
		return s, err
	}
	s.startWorkers(ctx, log, cfg, tel, cl, bucket)
	return s, nil
}

func (s *Stack) startEtcd(ctx context.Context, log *slog.Logger, cfg StackConfig, tel *telemetry.Telemetry) ([]string, error) {
	srv, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(cfg.Dir, "etcd"), Throwaway: cfg.Throwaway, Logger: log})
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

func (s *Stack) startWorkers(ctx context.Context, log *slog.Logger, cfg StackConfig, tel *telemetry.Telemetry, cl *cluster.Client, bucket *blob.Bucket) {
	wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	stop := sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	s.StopWorkers = stop
	s.onClose(func() error { stop(); return nil })
	source := datashare.NewSource(cfg.Data, datashare.Store{Bucket: bucket}, log)
	s.Counters = telemetry.NewWorker(tel)
	id := NewWorkerID()
	for i := range cfg.Workers {
		parts := WorkerParts{
			ID: fmt.Sprintf("%s-%d", id, i), Address: s.HTTP, Slots: 1, Lanes: cfg.Lanes, Spill: filepath.Join(cfg.Dir, "spill"), label: fmt.Sprint(i),
			Cluster: cl, Blob: bucket, Metrics: s.MetricsAPI, Data: source, DataDir: cfg.Data, Log: log, Tel: tel, Counters: s.Counters,
		}
		if len(cfg.Etcd) == 0 {
			parts.Lease = stackLease
		}
		wg.Go(func() {
			if err := RunWorker(wctx, parts); err != nil {
				s.Fail(fmt.Errorf("worker: %w", err))
			}
		})
	}
}

// stackLease is the lease of workers that live and die with their etcd. Nothing
// waits for it to expire (see [cluster.Client.BuryWorkers]), and on a busy
// machine a process may be without a core for long.
const stackLease = 10 * time.Minute

// background runs fn until the stack closes. An error fails the stack.
func (s *Stack) background(fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			s.Fail(err)
		}
	}()
	s.onClose(func() error {
		cancel()
		<-done
		return nil
	})
}

func (s *Stack) onClose(fn func() error) { s.closers = append(s.closers, fn) }

func (s *Stack) dial(address string) (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(address)
	if err == nil {
		s.onClose(conn.Close)
	}
	return conn, err
}

// Fail remembers the first failure of a part.
func (s *Stack) Fail(err error) {
	s.failure.Do(func() {
		s.Err = err
		close(s.Failed)
	})
}

// With returns a context that also ends when a part of the stack fails; its
// cause is then that failure.
func (s *Stack) With(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.Failed:
			cancel(s.Err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// waitReady waits until the coordinator has read what is there.
func (s *Stack) waitReady(ctx context.Context, coord *coordinator.Service) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for coord.Ready() != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.Failed:
			return s.Err
		case <-tick.C:
		}
	}
	return nil
}

// Close stops everything in the opposite order of its start: workers first,
// which then can still commit and stream what they have.
func (s *Stack) Close() error {
	s.StopWorkers()
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

// WorkersOr is the number of workers asked for, one per core by default.
func WorkersOr(n int) int {
	if n > 0 {
		return n
	}
	return runtime.GOMAXPROCS(0)
}
