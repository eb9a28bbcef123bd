package rpc

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

func TestStartingSaysWhyAndHandsTheListenerOn(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	stop := Starting(lis.(*net.TCPListener), func(context.Context) string { return "etcd: no answer" })
	conn, err := Dial(lis.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	api := pb.NewExperimentServiceClient(conn)

	_, err = api.DeleteExperiment(t.Context(), &pb.DeleteExperimentRequest{Id: "x"})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, "coordinator at "+lis.Addr().String()+" is not ready: etcd: no answer", Describe(err))
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, h.GetStatus())

	stop()
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	srv, hs := NewServer(Config{Logger: slog.New(slog.DiscardHandler)})
	pb.RegisterExperimentServiceServer(srv, &experiments{get: func(*pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
		return &pb.GetExperimentResponse{Experiment: &pb.Experiment{Id: "x"}}, nil
	}})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, lis, srv, hs, time.Second) }()
	got, err := api.GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: "x"}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, "x", got.GetExperiment().GetId())
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-served)
}
