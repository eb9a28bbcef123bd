package wiring

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/internal/rpc"
	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/metrics"
)

// grace is how long calls under way may take when a service stops.
const grace = 5 * time.Second

// ServeMetrics serves until ctx is done. The service ends its streams itself,
// since the server's graceful end waits for them.
func ServeMetrics(ctx context.Context, lis net.Listener, log *slog.Logger, tel *telemetry.Telemetry, svc *metrics.Service) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return ServeGRPC(ctx, lis, log, tel, func(s *grpc.Server) { pb.RegisterMetricsServiceServer(s, svc) })
	})
	g.Go(func() error {
		<-ctx.Done()
		return svc.Close()
	})
	return g.Wait()
}

// ServeHTTP serves a process's HTTP side while main runs, and ends when main
// has. Stopping by signal is a service's usual end and no error.
func ServeHTTP(ctx context.Context, log *slog.Logger, tel *telemetry.Telemetry, address string, pprof bool, main func(ctx context.Context, address string) error) error {
	lis, err := Listen(address, "--http", false)
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
	if ctx.Err() != nil && (err == nil || app.IsCancelled(err) || errors.Is(err, app.ErrInterrupted)) {
		log.Info("stopped")
		return nil
	}
	if httpErr != nil {
		return httpErr
	}
	return err
}

func ServeGRPC(ctx context.Context, lis net.Listener, log *slog.Logger, tel *telemetry.Telemetry, register func(*grpc.Server)) error {
	srv, hs := rpc.NewServer(rpc.Config{Logger: log, Metrics: tel.GRPC()})
	register(srv)
	tel.GRPC().Initialize(srv)
	return rpc.Serve(ctx, lis, srv, hs, grace)
}
