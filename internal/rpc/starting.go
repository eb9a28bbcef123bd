package rpc

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Starting answers on lis while a service cannot serve yet: every call gets
// UNAVAILABLE with what why returns, health is NOT_SERVING. The function it
// returns ends that and leaves lis open, for the service; it may be called more
// than once.
func Starting(lis *net.TCPListener, why func(context.Context) string) (stop func()) {
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(MaxMessage), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return status.Error(codes.Unavailable, notReady+why(s.Context()))
	}))
	hs := health.NewServer()
	hs.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(srv, hs)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends by stop; a listener that is broken shows when it is served.
		_ = srv.Serve(&borrowed{TCPListener: lis})
	}()
	return sync.OnceFunc(func() {
		srv.Stop()
		<-done
		_ = lis.SetDeadline(time.Time{})
	})
}

// notReady begins what a server answers that cannot serve yet.
const notReady = "not ready: "

// borrowed is a listener whose Close ends Accept and nothing else.
type borrowed struct{ *net.TCPListener }

func (b *borrowed) Close() error { return b.SetDeadline(time.Unix(1, 0)) }
