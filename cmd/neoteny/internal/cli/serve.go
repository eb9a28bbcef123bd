package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator"
	"neoteny/services/metrics"
)

// grace is how long calls under way may take when a service stops.
const grace = 5 * time.Second

type storeFlags struct {
	Etcd []string `help:"Addresses of etcd." required:"" placeholder:"HOST:PORT,…"`
	Blob string   `help:"Store of checkpoints and tables, the same for all: a folder that coordinator and workers share, file:///folder, or, in programs built with -tags cloud, s3://bucket or gs://bucket." required:"" placeholder:"URL"`
}

type coordinatorCm struct {
	storeFlags
	Listen string `help:"Address of the gRPC API. Default: ${default}." default:":7070" placeholder:"[HOST]:PORT"`
	HTTP   string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7071" placeholder:"[HOST]:PORT"`
	Pprof  bool   `help:"Offer /debug/pprof/ too."`
}

func (coordinatorCm) Help() string {
	return `Takes experiments, gives work to workers and answers about both. It keeps nothing of its own: it may be killed and started again at any moment. While etcd is away it waits, and /readyz says so.

  neoteny coordinator --etcd localhost:2379 --blob /srv/neoteny/blob
  NEOTENY_ETCD=etcd-0:2379,etcd-1:2379 NEOTENY_BLOB=s3://lab-neoteny neoteny coordinator`
}

func (c *coordinatorCm) Run(ctx context.Context, a *app) error {
	log := a.logger(slog.LevelInfo)
	lis, err := listen(c.Listen, "--listen", false)
	if err != nil {
		return err
	}
	defer lis.Close()
	tel := telemetry.New()
	return serveHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, _ string) error {
		started := starting(lis, tel)
		defer started()
		cl, bucket, err := openStores(ctx, c.storeFlags, log, tel, nil)
		if err != nil {
			return err
		}
		defer bucket.Close()
		defer cl.Close()
		svc, err := coordinator.New(coordinator.Deps{Cluster: cl, Blob: bucket, Logger: log, Registerer: tel.Registerer()}, coordinator.Config{})
		if err != nil {
			return err
		}
		tel.AddReadiness("coordinator", func(context.Context) error { return svc.Ready() })
		started()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return svc.Run(ctx) })
		g.Go(func() error {
			return serveGRPC(ctx, lis, log, tel, func(s *grpc.Server) { pb.RegisterExperimentServiceServer(s, svc) })
		})
		log.Info("coordinator serves", "grpc", lis.Addr().String())
		return g.Wait()
	})
}

type metricsCmd struct {
	Dir    string `help:"Folder of the metrics, of this service alone." required:"" placeholder:"DIR" type:"path"`
	Listen string `help:"Address of the gRPC API. Default: ${default}." default:":7080" placeholder:"[HOST]:PORT"`
	HTTP   string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7081" placeholder:"[HOST]:PORT"`
	Pprof  bool   `help:"Offer /debug/pprof/ too."`
}

func (metricsCmd) Help() string {
	return `Keeps every step's metrics: a log that is synced before it is acknowledged, a Parquet file per finished run. Its /metrics is the live view for Prometheus.

  neoteny metrics --dir /srv/neoteny/metrics`
}

func (c *metricsCmd) Run(ctx context.Context, a *app) error {
	log := a.logger(slog.LevelInfo)
	lis, err := listen(c.Listen, "--listen", false)
	if err != nil {
		return err
	}
	defer lis.Close()
	tel := telemetry.New()
	return serveHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, _ string) error {
		started := starting(lis, tel)
		defer started()
		var svc *metrics.Service
		err := await(ctx, log, tel, need{name: "metrics folder", open: func(context.Context) (err error) {
			svc, err = metrics.New(metrics.Deps{Logger: log}, metrics.Config{Dir: c.Dir})
			return err
		}, final: notOfTheFolder, ready: func(context.Context) error { return writable(c.Dir) }})
		if err != nil {
			return err
		}
		started()
		if err := tel.Register(svc); err != nil {
			return errors.Join(err, svc.Close())
		}
		log.Info("metrics service serves", "grpc", lis.Addr().String())
		return serveMetrics(ctx, lis, log, tel, svc)
	})
}

// serveMetrics serves until ctx is done. The service ends its streams itself,
// since the server's graceful end waits for them.
func serveMetrics(ctx context.Context, lis net.Listener, log *slog.Logger, tel *telemetry.Telemetry, svc *metrics.Service) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return serveGRPC(ctx, lis, log, tel, func(s *grpc.Server) { pb.RegisterMetricsServiceServer(s, svc) })
	})
	g.Go(func() error {
		<-ctx.Done()
		return svc.Close()
	})
	return g.Wait()
}

type workerCmd struct {
	storeFlags
	Metrics string        `help:"Address of the metrics service. Default: ${default}." default:"localhost:7080" placeholder:"HOST:PORT"`
	Slots   int           `help:"Segments run at a time; 0 means one per core." default:"0"`
	Lanes   int           `help:"Segments of one trial that a slot takes at a time, in lockstep, where the network is so small that this is faster; 1: none, 0: as many as pays. Results do not depend on it." default:"0" placeholder:"N"`
	HTTP    string        `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7091" placeholder:"[HOST]:PORT"`
	ID      string        `help:"Name of this worker, unique in the cluster. Default: host name and a random part." placeholder:"NAME"`
	Spill   string        `help:"Folder for metrics that the metrics service cannot take now. Default: neoteny/spill in the user's cache folder." placeholder:"DIR" type:"path"`
	Require []string      `help:"Datasets that the worker must have: without one it says that it is not ready. Runs that need what it lacks go to others in any case." placeholder:"DATASET,…"`
	Drain   time.Duration `help:"How long it may take to save what is under way after SIGTERM. Default: ${default}." default:"10s" placeholder:"DURATION"`
	Pprof   bool          `help:"Offer /debug/pprof/ too."`
	dataFlag
}

func (workerCmd) Help() string {
	return `Runs segments of experiments: one per core. On SIGTERM it saves where it is, hands the rest back and ends within ten seconds (see --drain); killed, it loses the segment in work and nothing else. It only takes work of its own numerics version (see neoteny version).

  neoteny worker --etcd localhost:2379 --blob /srv/neoteny/blob --metrics localhost:7080
  neoteny worker --etcd etcd:2379 --blob s3://lab-neoteny --metrics metrics:7080 --slots 4`
}

func (c *workerCmd) Run(ctx context.Context, a *app) error {
	log := a.logger(slog.LevelInfo)
	if c.Slots < 0 {
		return usagef("--slots must not be negative")
	}
	if c.Lanes < 0 {
		return usagef("--lanes must not be negative")
	}
	if c.Drain <= 0 {
		return usagef("--drain must be above 0")
	}
	dataDir, err := c.folder()
	if err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = newWorkerID()
	}
	if c.Spill == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no cache folder for --spill: %w", err)
		}
		c.Spill = filepath.Join(cache, "neoteny", "spill")
	}
	conn, err := rpc.Dial(c.Metrics)
	if err != nil {
		return err
	}
	defer conn.Close()
	tel := telemetry.New()
	return serveHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, address string) error {
		tel.AddReadiness("metrics service", func(ctx context.Context) error {
			if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
				return errors.New(sentence(err))
			}
			return nil
		})
		tel.AddReadiness("data", func(context.Context) error { return lacks(dataDir, c.Require) })
		if err := lacks(dataDir, c.Require); err != nil {
			log.Warn("data folder lacks datasets that this worker is required to have", "error", err)
		}
		note := notice{log: log, record: &pb.Worker{
			Id: c.ID, Address: address, Slots: int32(c.Slots), NumericsVersion: engine.NumericsVersion, Isa: isa(), Version: programVersion(), DataFolder: dataDir,
		}}
		cl, bucket, err := openStores(ctx, c.storeFlags, log, tel, &note)
		if err != nil {
			return err
		}
		defer bucket.Close()
		defer cl.Close()
		defer note.close(ctx)
		for _, n := range []need{
			{name: "instruction set", open: func(context.Context) error { return kernel.Err() }},
			{name: "spill folder", open: func(context.Context) error { return writable(c.Spill) }},
		} {
			n.problem = note.say
			if err := await(ctx, log, tel, n); err != nil {
				return err
			}
		}
		note.close(ctx)
		comparing, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { compareNumerics(comparing, log, tel, cl.Numerics) })
		defer wg.Wait()
		defer stop()
		return runWorker(ctx, workerParts{
			id: c.ID, address: address, slots: c.Slots, lanes: c.Lanes, spill: c.Spill, drain: c.Drain,
			cluster: cl, blob: bucket, metrics: pb.NewMetricsServiceClient(conn), data: data.NewDir(dataDir), dataDir: dataDir, log: log, tel: tel, counters: telemetry.NewWorker(tel),
		})
	})
}

// serveHTTP serves a process's HTTP side while main runs, and ends when main
// has. Stopping by signal is a service's usual end and no error.
func serveHTTP(ctx context.Context, log *slog.Logger, tel *telemetry.Telemetry, address string, pprof bool, main func(ctx context.Context, address string) error) error {
	lis, err := listen(address, "--http", false)
	if err != nil {
		return err
	}
	// HTTP outlives ctx, so that probes and scrapes see the drain.
	httpCtx, stopHTTP := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHTTP()
	mainCtx, stopMain := context.WithCancelCause(ctx)
	defer stopMain(nil)
	var wg sync.WaitGroup
	var httpErr error
	wg.Go(func() {
		if httpErr = telemetry.Serve(httpCtx, lis, tel.Handler(telemetry.HTTPConfig{Logger: log, Pprof: pprof})); httpErr != nil {
			stopMain(httpErr)
		}
	})
	log.Info("HTTP serves", "address", lis.Addr().String(), "paths", "/metrics /healthz /readyz")
	err = main(mainCtx, reachable(lis.Addr()))
	stopHTTP()
	wg.Wait()
	if ctx.Err() != nil && (err == nil || isCancelled(err) || errors.Is(err, errInterrupted)) {
		log.Info("stopped")
		return nil
	}
	if httpErr != nil {
		return httpErr
	}
	return err
}

func serveGRPC(ctx context.Context, lis net.Listener, log *slog.Logger, tel *telemetry.Telemetry, register func(*grpc.Server)) error {
	srv, hs := rpc.NewServer(rpc.Config{Logger: log, Metrics: tel.GRPC()})
	register(srv)
	tel.GRPC().Initialize(srv)
	return rpc.Serve(ctx, lis, srv, hs, grace)
}

// reachable is the address of a listener as others may dial it: a listener on
// every interface is known by the host's name.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// local is the address of a listener as this machine may dial it.
func local(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}
