// Package rpc holds what every gRPC server and client of the project has in
// common: limits, keepalive, validation, recovery, logging, health, reflection
// and graceful ends on the server's side; connections and errors in plain words
// on the client's. Connections are not encrypted.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// MaxMessage is the most bytes that a message may have, on both sides.
const MaxMessage = 16 << 20

const (
	maxHeaders = 64 << 10 // bytes of the headers of a request
	maxStreams = 1024     // calls at a time on one connection

	// Clients ping idle connections so that a peer that vanished without a
	// FIN is noticed; a server closes the connection of one that pings more
	// often than minPing.
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second
	minPing     = pingAfter / 2
)

// Metrics measures the calls of a server; telemetry.GRPC is one.
type Metrics interface {
	UnaryServerInterceptor() grpc.UnaryServerInterceptor
	StreamServerInterceptor() grpc.StreamServerInterceptor
}

// Config says what a server is made with.
type Config struct {
	Logger  *slog.Logger        // required
	Metrics Metrics             // nil: calls are not measured
	Options []grpc.ServerOption // further options of the server
}

// NewServer makes a gRPC server with health and reflection registered; the
// caller registers its services and hands both to [Serve]. Requests that break
// the rules of their messages are answered INVALID_ARGUMENT with the fields, a
// panic is logged with its stack and answered INTERNAL.
func NewServer(cfg Config) (*grpc.Server, *health.Server) {
	hs := health.NewServer()
	// The order is from the outside in: what is counted and logged is the
	// status that leaves the server.
	var unary []grpc.UnaryServerInterceptor
	var stream []grpc.StreamServerInterceptor
	if cfg.Metrics != nil {
		unary = append(unary, cfg.Metrics.UnaryServerInterceptor())
		stream = append(stream, cfg.Metrics.StreamServerInterceptor())
	}
	log := logTo(cfg.Logger)
	logOpts := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(func(code codes.Code) logging.Level {
			if code == codes.Unavailable && stopping(hs) {
				return logging.LevelDebug // said by the server's own end
			}
			return level(code)
		}),
		logging.WithDurationField(logging.DurationToDurationField),
	}
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		method, _ := grpc.Method(ctx)
		cfg.Logger.ErrorContext(ctx, "panic in a call", "method", method, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		return status.Error(codes.Internal, "internal error; the server's log has the details")
	})
	unary = append(unary, logging.UnaryServerInterceptor(log, logOpts...), recovery.UnaryServerInterceptor(recovered), validateUnary)
	stream = append(stream, logging.StreamServerInterceptor(log, logOpts...), recovery.StreamServerInterceptor(recovered), validateStream)

	srv := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(unary...),
		grpc.ChainStreamInterceptor(stream...),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: pingTimeout}),
		// A handler must not outlive the server: what it writes to closes next.
		grpc.WaitForHandlers(true),
	}, cfg.Options...)...)
	healthpb.RegisterHealthServer(srv, hs)
	reflection.Register(srv)
	return srv, hs
}

// Serve serves on lis until ctx is done or lis fails, and owns lis. At the end
// the health status becomes NOT_SERVING, calls under way get the time grace to
// finish, and the rest are cut off. It returns nil after ctx was done.
func Serve(ctx context.Context, lis net.Listener, srv *grpc.Server, hs *health.Server, grace time.Duration) error {
	for name := range srv.GetServiceInfo() {
		hs.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(lis) }()
	select {
	case err := <-failed:
		hs.Shutdown()
		srv.Stop()
		if errors.Is(err, grpc.ErrServerStopped) || err == nil {
			return nil // someone else stopped it
		}
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	case <-ctx.Done():
	}
	hs.Shutdown()
	// Streams that a client holds open would keep GracefulStop forever.
	cut := time.AfterFunc(grace, srv.Stop)
	defer cut.Stop()
	srv.GracefulStop()
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
	}
	return nil
}

func logTo(l *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, lvl logging.Level, msg string, fields ...any) {
		l.Log(ctx, slog.Level(lvl), msg, fields...) //nolint:sloglint // the middleware's messages are constants
	})
}

// stopping reports whether Serve has begun to end the server.
func stopping(hs *health.Server) bool {
	r, err := hs.Check(context.Background(), &healthpb.HealthCheckRequest{})
	return err == nil && r.GetStatus() == healthpb.HealthCheckResponse_NOT_SERVING
}

// level says how loud a finished call is: only the server's own faults are
// errors, what clients do wrong or give up is not.
func level(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled:
		return logging.LevelDebug
	case codes.Unknown, codes.Internal, codes.DataLoss:
		return logging.LevelError
	case codes.ResourceExhausted, codes.Unavailable, codes.Unimplemented:
		return logging.LevelWarn
	}
	return logging.LevelInfo
}
