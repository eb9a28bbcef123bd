package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
	"os"
	"path/filepath"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func init() {
	Register(Command{
		Name: "worker", Help: "Run a worker.", Group: Services, Place: 3,
		New: func() any { return &workerCmd{} },
	})
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
