package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// WatchExperiment streams an experiment's state until it has ended.
func (s *Server) WatchExperiment(req *pb.WatchExperimentRequest, stream grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
	ctx := stream.Context()
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return err
	}
	for {
		if err := stream.Send(&pb.WatchExperimentResponse{Experiment: v}); err != nil {
			return err
		}
		if v.State >= pb.ExperimentState_EXPERIMENT_STATE_DONE {
			return nil
		}
		if v, err = s.nextView(ctx, req.GetId(), v); err != nil {
			return err
		}
	}
}

// nextView waits for a view that differs from last: at least WatchInterval, but
// not at all for a final one.
func (s *Server) nextView(ctx context.Context, id string, last *pb.Experiment) (*pb.Experiment, error) {
	pause := time.NewTimer(s.cfg.WatchInterval)
	defer pause.Stop()
	rested := false
	last = proto.CloneOf(last)
	last.Spec = nil
	// Why it is pending depends on the clock too.
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	for {
		changed := s.mirror.Changed()
		var v *pb.Experiment
		var err error
		s.mirror.Read(func(st *mirror.State) {
			var e *mirror.Experiment
			if e, err = find(st, id); err == nil && (rested || e.Rec.State != 0) {
				v = s.experimentView(st, e, nil)
			}
		})
		if err != nil {
			return nil, err
		}
		if v != nil && (v.State >= pb.ExperimentState_EXPERIMENT_STATE_DONE || !proto.Equal(v, last)) {
			return v, nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-pause.C:
			rested = true
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}
