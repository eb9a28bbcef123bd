package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/build"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/datashare"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "worker", Help: "Run a worker.", Group: app.Services, Place: 3,
		New: func() any { return &workerCmd{} },
	})
}

type workerCmd struct {
	wiring.StoreFlags
	Metrics string        `help:"Address of the metrics service. Default: ${default}." default:"localhost:7080" placeholder:"HOST:PORT"`
	Slots   int           `help:"Segments run at a time; 0 means one per core." default:"0"`
	Lanes   int           `help:"Segments of one trial that a slot takes at a time, in lockstep, where the network is so small that this is faster; 1: none, 0: as many as pays. Results do not depend on it." default:"0" placeholder:"N"`
	HTTP    string        `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7091" placeholder:"[HOST]:PORT"`
	ID      string        `help:"Name of this worker, unique in the cluster. Default: host name and a random part." placeholder:"NAME"`
	Spill   string        `help:"Folder for metrics that the metrics service cannot take now. Default: neoteny/spill in the user's cache folder." placeholder:"DIR" type:"path"`
	Require []string      `help:"Datasets that the worker must have: without one it says that it is not ready. Runs that need what it lacks go to others in any case." placeholder:"DATASET,…"`
	Drain   time.Duration `help:"How long it may take to save what is under way after SIGTERM. Default: ${default}." default:"10s" placeholder:"DURATION"`
	Pprof   bool          `help:"Offer /debug/pprof/ too."`
	app.DataFlag
}

func (workerCmd) Help() string {
	return `Runs segments of experiments: one per core. On SIGTERM it saves where it is, hands the rest back and ends within ten seconds (see --drain); killed, it loses the segment in work and nothing else. It only takes work of its own numerics version (see neoteny version).

  neoteny worker --etcd localhost:2379 --blob /srv/neoteny/blob --metrics localhost:7080
  neoteny worker --etcd etcd:2379 --blob s3://lab-neoteny --metrics metrics:7080 --slots 4`
}

func (c *workerCmd) Run(ctx context.Context, a *app.App) error {
	log := a.Logger(slog.LevelInfo)
	if c.Slots < 0 {
		return app.Usagef("--slots must not be negative")
	}
	if c.Lanes < 0 {
		return app.Usagef("--lanes must not be negative")
	}
	if c.Drain <= 0 {
		return app.Usagef("--drain must be above 0")
	}
	dataDir, err := c.Folder()
	if err != nil {
		return err
	}
	if c.ID == "" {
		c.ID = wiring.NewWorkerID()
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
	return wiring.ServeHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, address string) error {
		tel.AddReadiness("metrics service", func(ctx context.Context) error {
			if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
				return errors.New(app.Sentence(err))
			}
			return nil
		})
		tel.AddReadiness("data", func(context.Context) error { return wiring.Lacks(dataDir, c.Require) })
		if err := wiring.Lacks(dataDir, c.Require); err != nil {
			log.Warn("data folder lacks datasets that this worker is required to have", "error", err)
		}
		note := wiring.Notice{Log: log, Record: &pb.Worker{
			Id: c.ID, Address: address, Slots: int32(c.Slots), NumericsVersion: engine.NumericsVersion, Isa: build.ISA(), Version: build.Version(), DataFolder: dataDir,
		}}
		cl, bucket, err := wiring.OpenStores(ctx, c.StoreFlags, log, tel, &note)
		if err != nil {
			return err
		}
		defer bucket.Close()
		defer cl.Close()
		defer note.Close(ctx)
		for _, n := range []wiring.Need{
			{Name: "instruction set", Open: func(context.Context) error { return kernel.Err() }},
			{Name: "spill folder", Open: func(context.Context) error { return wiring.Writable(c.Spill) }},
		} {
			n.Problem = note.Say
			if err := wiring.Await(ctx, log, tel, n); err != nil {
				return err
			}
		}
		note.Close(ctx)
		wiring.WarnOfSlowKernels(log)
		comparing, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { wiring.CompareNumerics(comparing, log, tel, cl.Numerics) })
		defer wg.Wait()
		defer stop()
		return wiring.RunWorker(ctx, wiring.WorkerParts{
			ID: c.ID, Address: address, Slots: c.Slots, Lanes: c.Lanes, Spill: c.Spill, Drain: c.Drain,
			Cluster: cl, Blob: bucket, Metrics: pb.NewMetricsServiceClient(conn), Data: datashare.NewSource(dataDir, datashare.Store{Bucket: bucket}, log), DataDir: dataDir, Log: log, Tel: tel, Counters: telemetry.NewWorker(tel),
		})
	})
}
