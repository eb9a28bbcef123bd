// Package services has the commands that run services, a file each. What a service is
// put together of is in package wiring.
package services

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/datashare"
	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator"
)

func init() {
	app.Register(app.Command{
		Name: "coordinator", Help: "Run the coordinator.", Group: app.Services, Place: 2,
		New: func() any { return &coordinatorCmd{} },
	})
}

type coordinatorCmd struct {
	wiring.StoreFlags
	Listen string `help:"Address of the gRPC API. Default: ${default}." default:":7070" placeholder:"[HOST]:PORT"`
	HTTP   string `help:"Address of /metrics, /healthz and /readyz. Default: ${default}." default:":7071" placeholder:"[HOST]:PORT"`
	Pprof  bool   `help:"Offer /debug/pprof/ too."`
	wiring.DatasetFlags
}

func (coordinatorCmd) Help() string {
	return `Takes experiments, gives work to workers and answers about both. It keeps nothing of its own: it may be killed and started again at any moment. While etcd is away it waits, and /readyz says so.

  neoteny coordinator --etcd localhost:2379 --blob /srv/neoteny/blob
  NEOTENY_ETCD=etcd-0:2379,etcd-1:2379 NEOTENY_BLOB=s3://lab-neoteny neoteny coordinator`
}

func (c *coordinatorCmd) Run(ctx context.Context, a *app.App) error {
	log := a.Logger(slog.LevelInfo)
	lis, err := wiring.Listen(c.Listen, "--listen", false)
	if err != nil {
		return err
	}
	defer lis.Close()
	tel := telemetry.New()
	return wiring.ServeHTTP(ctx, log, tel, c.HTTP, c.Pprof, func(ctx context.Context, _ string) error {
		started := wiring.Starting(lis, tel)
		defer started()
		cl, bucket, err := wiring.OpenStores(ctx, c.StoreFlags, log, tel, nil)
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
			return wiring.ServeGRPC(ctx, lis, log, tel, func(s *grpc.Server) {
				pb.RegisterExperimentServiceServer(s, svc)
				pb.RegisterDatasetServiceServer(s, datashare.NewServer(datashare.Store{Bucket: bucket}, c.Limits()))
			})
		})
		log.Info("coordinator serves", "grpc", lis.Addr().String())
		return g.Wait()
	})
}
