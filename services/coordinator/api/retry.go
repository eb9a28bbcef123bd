package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// maxRetried bounds the runs of one request by name: they are in the experiment's record.
const maxRetried = 2000

// RetryExperiment takes an ended experiment up again. What is to be done about each of
// its runs, the schedule decides.
func (s *Server) RetryExperiment(ctx context.Context, req *pb.RetryExperimentRequest) (*pb.RetryExperimentResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	if n := len(req.GetRuns()); n > maxRetried {
		return nil, rpc.InvalidArgument(component.Fieldf("runs", "%d runs, at most %d at a time", n, maxRetried))
	}
	var rec *pb.ExperimentRecord
	var mod int64
	var err error
	resp := &pb.RetryExperimentResponse{}
	s.mirror.Read(func(st *mirror.State) {
		var e *mirror.Experiment
		if e, err = find(st, req.GetId()); err != nil {
			return
		}
		if e.Rec.State == 0 {
			err = status.Errorf(codes.FailedPrecondition, "experiment %s is %s: it can be retried when it has ended",
				e.ID, mirror.StateName(e.State()))
			return
		}
		if resp.Runs, err = retried(e, req.GetRuns()); err != nil {
			return
		}
		rec, mod = proto.CloneOf(e.Rec), e.Mod
	})
	if err != nil {
		return nil, err
	}
	if err := s.reopen(ctx, rec, mod, req.GetRuns()); err != nil {
		return nil, err
	}
	if resp.Experiment, err = s.view(ctx, req.GetId()); err != nil {
		return nil, err
	}
	s.log.Info("experiment retried", "experiment", req.GetId(), "runs", resp.Runs)
	return resp, nil
}

// reopen writes an experiment's record as one that has not ended, and waits until the
// mirror shows it.
func (s *Server) reopen(ctx context.Context, rec *pb.ExperimentRecord, mod int64, again []string) error {
	rec.State, rec.Message, rec.EndedAt = 0, "", nil
	rec.Generation++
	rec.Again = again
	wctx, cancel := context.WithTimeoutCause(ctx, writeTime, errNoEtcd)
	defer cancel()
	rev, err := s.cluster.Reopen(wctx, rec, mod)
	switch {
	case errors.Is(err, cluster.ErrConflict):
		return status.Errorf(codes.Aborted, "experiment %s has changed meanwhile: try again", rec.Id)
	case err != nil:
		return unavailable(ctx, err)
	}
	s.mirror.Wait(ctx, readTime, func(st *mirror.State) bool { return st.Rev >= rev })
	return nil
}

// retried counts the runs of an ended experiment that a request means.
func retried(e *mirror.Experiment, named []string) (n int32, err error) {
	known := map[string]bool{}
	e.Wanted(0, 0, func(w mirror.Want, _, _ int) bool {
		known[w.ID(e.ID)] = true
		switch runState(e, w) {
		case pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
			n++
		}
		return true
	})
	var wrong []error
	for i, id := range named {
		switch r := e.Runs[id]; {
		case !known[id]:
			wrong = append(wrong, component.Fieldf(fmt.Sprintf("runs[%d]", i), "experiment %s has no run %q", e.ID, id))
		case slices.Contains(named[:i], id):
			wrong = append(wrong, component.Fieldf(fmt.Sprintf("runs[%d]", i), "%q is named twice", id))
		case r == nil || r.Rec == nil:
			// It never began, and does so now with all of its kind.
		}
	}
	if len(wrong) > 0 {
		return 0, rpc.InvalidArgument(errors.Join(wrong...))
	}
	if len(named) > 0 {
		return int32(len(named)), nil
	}
	if n == 0 && e.Rec.State == pb.ExperimentState_EXPERIMENT_STATE_DONE {
		return 0, status.Errorf(codes.FailedPrecondition, "experiment %s has no run that failed or was cancelled", e.ID)
	}
	return n, nil
}
