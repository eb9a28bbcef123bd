package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Services that the health protocol is asked about on the HTTP port; others are
// NOT_FOUND. The empty name stands for readiness too.
const (
	// HealthLiveness is SERVING as long as the process answers.
	HealthLiveness = "liveness"
	// HealthReadiness is SERVING when every readiness check passes. Else the call
	// fails UNAVAILABLE with the reasons, where the protocol has NOT_SERVING and
	// no place for words: kubelets show the error in the pod's events.
	HealthReadiness = "readiness"
)

// watchInterval is how often a watched health is looked at.
const watchInterval = time.Second

// healthServer is grpc.health.v1 over the readiness checks.
type healthServer struct {
	healthpb.UnimplementedHealthServer
	t *Telemetry
}

// healthHandler serves grpc.health.v1 to HTTP/2 requests.
func (t *Telemetry) healthHandler() http.Handler {
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxHeaders))
	healthpb.RegisterHealthServer(srv, &healthServer{t: t})
	return srv
}

// NotReady joins what failing checks say to one line, "" where none fails.
func (t *Telemetry) NotReady(ctx context.Context) string {
	var why []string
	for _, s := range t.Ready(ctx) {
		if s.Err != nil {
			why = append(why, fmt.Sprintf("%s: %v", s.Name, s.Err))
		}
	}
	return strings.Join(why, "; ")
}

// Check implements grpc.health.v1.
func (h *healthServer) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	s, why, err := h.status(ctx, req.GetService())
	if err == nil && why != "" && req.GetService() == HealthReadiness {
		err = status.Error(codes.Unavailable, "not ready: "+why)
	}
	if err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: s}, nil
}

// Watch implements grpc.health.v1: the status now, and each change of it.
func (h *healthServer) Watch(req *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	last := healthpb.HealthCheckResponse_UNKNOWN
	for {
		s, _, err := h.status(stream.Context(), req.GetService())
		if err != nil {
			s = healthpb.HealthCheckResponse_SERVICE_UNKNOWN // as the protocol wants it
		}
		if s != last {
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: s}); err != nil {
				return err
			}
			last = s
		}
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-tick.C:
		}
	}
}

func (h *healthServer) status(ctx context.Context, service string) (healthpb.HealthCheckResponse_ServingStatus, string, error) {
	switch service {
	case HealthLiveness:
		return healthpb.HealthCheckResponse_SERVING, "", nil
	case "", HealthReadiness:
		if why := h.t.NotReady(ctx); why != "" {
			return healthpb.HealthCheckResponse_NOT_SERVING, why, nil
		}
		return healthpb.HealthCheckResponse_SERVING, "", nil
	}
	return 0, "", status.Errorf(codes.NotFound, "unknown service %q: ask for %s or %s", service, HealthLiveness, HealthReadiness)
}
