package telemetry

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// TestHealthOverGRPC sends the HTTP port the requests of a kubelet.
func TestHealthOverGRPC(t *testing.T) {
	tel := New()
	var broken atomic.Bool
	broken.Store(true)
	tel.AddReadiness("store", func(context.Context) error {
		if broken.Load() {
			return errors.New("disk on fire")
		}
		return nil
	})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, lis, tel.Handler(HTTPConfig{})) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	check := func(service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
		r, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		return r.GetStatus(), err
	}

	s, err := check(HealthLiveness)
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, s)
	s, err = check("")
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, s)
	_, err = check(HealthReadiness)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "store: disk on fire")
	_, err = check("liver")
	require.Equal(t, codes.NotFound, status.Code(err))

	watchCtx, stopWatch := context.WithCancel(ctx)
	watch, err := client.Watch(watchCtx, &healthpb.HealthCheckRequest{Service: HealthReadiness})
	require.NoError(t, err)
	r, err := watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, r.GetStatus())
	broken.Store(false)
	r, err = watch.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, r.GetStatus())
	stopWatch()
	_, err = watch.Recv()
	require.Equal(t, codes.Canceled, status.Code(err))
	s, err = check(HealthReadiness)
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, s)

	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-served)
}
