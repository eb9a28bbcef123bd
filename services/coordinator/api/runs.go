package api

import (
	"context"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/results"
)

// ListRuns returns a page of an experiment's runs, in order of arm, trial and
// seed. Runs that have no record yet are pending ones.
func (s *Server) ListRuns(ctx context.Context, req *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), 100, 10_000)
	if err != nil {
		return nil, err
	}
	var trialIndex, seedIndex int
	from, err := readToken(req.GetPageToken(), 2)
	if err == nil && from != nil {
		if trialIndex, err = strconv.Atoi(from[0]); err == nil {
			seedIndex, err = strconv.Atoi(from[1])
		}
	}
	if err != nil || trialIndex < 0 || seedIndex < 0 {
		return nil, errToken
	}
	resp := &pb.ListRunsResponse{}
	s.mirror.Read(func(st *mirror.State) {
		var e *mirror.Experiment
		if e, err = find(st, req.GetExperiment()); err != nil {
			return
		}
		e.Wanted(trialIndex, seedIndex, func(w mirror.Want, ti, si int) bool {
			if req.GetArm() != "" && w.Trial.Rec.Arm != req.Arm {
				return true
			}
			if len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), runState(e, w)) {
				return true
			}
			if len(resp.Runs) == size {
				resp.NextPageToken = token(strconv.Itoa(ti), strconv.Itoa(si))
				return false
			}
			resp.Runs = append(resp.Runs, s.runView(st, e, w))
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// runView is a run as clients see it, whether it has a record yet or not.
func (s *Server) runView(st *mirror.State, e *mirror.Experiment, w mirror.Want) *pb.Run {
	if r := recorded(e, w); r != nil {
		v := r.View()
		if !mirror.Final(v.State) { // a copy: v is a record where it is
			v.Message = s.at(st).WhyRun(r, v)
		}
		return v
	}
	v := e.Planned(w, s.cfg.Schedule.NumericsVersion)
	if e.Rec.State != 0 {
		v.State, v.Message = pb.RunState_RUN_STATE_CANCELLED, "the experiment ended before it began"
		return v
	}
	v.Message = s.at(st).WhyNotBegun(e, w, v)
	return v
}

// runState is runView(e, w).State, for less.
func runState(e *mirror.Experiment, w mirror.Want) pb.RunState {
	if r := recorded(e, w); r != nil {
		return r.State()
	}
	if e.Rec.State != 0 {
		return pb.RunState_RUN_STATE_CANCELLED
	}
	return pb.RunState_RUN_STATE_PENDING
}

// recorded is a run that has a record; nil where it has none yet.
func recorded(e *mirror.Experiment, w mirror.Want) *mirror.Run {
	if r := e.Runs[w.ID(e.ID)]; r != nil && r.Rec != nil {
		return r
	}
	return nil
}

// GetRun returns a run with the task table of what it has committed so far.
func (s *Server) GetRun(ctx context.Context, req *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	expID, trialName, seed, err := experiment.SplitRunID(req.GetId())
	if err != nil {
		return nil, rpc.InvalidArgument(component.Fieldf("id", "%v", err))
	}
	// The run may end, and its segments go, while its results are fetched:
	// then everything is to be had from its final record.
	for range 3 {
		var resp *pb.GetRunResponse
		var segs, deferred []mirror.SegmentAt
		s.mirror.Read(func(st *mirror.State) { resp, segs, deferred, err = s.runAt(st, expID, trialName, seed) })
		if err != nil {
			return nil, err
		}
		trialRec, err := s.cluster.Trial(ctx, expID, trialName)
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		resp.ResolvedSpec = string(trialRec.CanonicalSpec)
		if resp.Run.Table != nil {
			resp.Table, err = s.tables.Get(ctx, resp.Run.Table)
		} else {
			resp.Table, err = s.tables.Assemble(ctx, segs, deferred, 0)
		}
		if err == nil {
			return resp, nil
		}
		if !results.Lost(err) {
			return nil, unavailable(ctx, err)
		}
		if resp.Run.Table != nil {
			return nil, status.Errorf(codes.DataLoss, "the task table is lost: %v", err)
		}
	}
	return nil, status.Errorf(codes.DataLoss, "results of run %s cannot be read", req.Id)
}

func (s *Server) runAt(st *mirror.State, expID, trialName string, seed uint32) (
	resp *pb.GetRunResponse, segs, deferred []mirror.SegmentAt, err error,
) {
	e, err := find(st, expID)
	if err != nil {
		return nil, nil, nil, err
	}
	t := e.Trials[trialName]
	if t == nil {
		return nil, nil, nil, status.Errorf(codes.NotFound, "no trial %q in experiment %s", trialName, expID)
	}
	w := mirror.Want{Trial: t, Seed: seed}
	if t.Seeds().Index(seed) < 0 {
		w.Confirmation = e.ConfirmSeedsOf(t).Index(seed) >= 0 && slices.Contains(e.Confirmed(), t)
		if !w.Confirmation {
			return nil, nil, nil, status.Errorf(codes.NotFound, "trial %s of experiment %s has no run with seed %d",
				trialName, expID, seed)
		}
	}
	resp = &pb.GetRunResponse{Run: proto.CloneOf(s.runView(st, e, w))}
	if r := e.Runs[w.ID(e.ID)]; r != nil {
		segs, deferred = r.Snapshot()
	}
	return resp, segs, deferred, nil
}
