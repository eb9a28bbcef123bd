package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// wanted calls fn for every run that the experiment is to have, by arm, trial
// and seed (tuning seeds, then confirmation seeds), from the given trial and
// place among its seeds on, until fn returns false.
func (e *exp) wanted(trialIndex, seedIndex int, fn func(w want, trialIndex, seedIndex int) bool) {
	confirmed := map[*trial]bool{}
	for _, t := range e.confirmed() {
		confirmed[t] = true
	}
	for ; trialIndex < len(e.byIndex); trialIndex, seedIndex = trialIndex+1, 0 {
		t := e.byIndex[trialIndex]
		if t == nil {
			continue
		}
		tuning, all := t.seeds().len(), t.seeds().len()
		if confirmed[t] {
			all += e.confirmSeedsOf(t).len()
		}
		for ; seedIndex < all; seedIndex++ {
			w := want{trial: t}
			if seedIndex < tuning {
				w.seed = t.seeds().at(seedIndex)
			} else {
				w.seed, w.confirmation = e.confirmSeeds().at(seedIndex-tuning), true
			}
			if !fn(w, trialIndex, seedIndex) {
				return
			}
		}
	}
}

// runView is a run as clients see it, whether it has a record yet or not.
func (s *Service) runView(e *exp, w want) *pb.Run {
	id := w.id(e)
	if r := e.runs[id]; r != nil && r.rec != nil {
		v := r.view()
		switch g := r.last(); {
		case v.State == pb.RunState_RUN_STATE_PENDING:
			v.Message = s.pendingReason(e, v.NumericsVersion, w.trial.rec.Datasets, e.before(r))
		case !final(v.State) && e.control == 0 && g != nil && g.rec.State == pb.SegmentState_SEGMENT_STATE_PENDING:
			v.Message = s.stuck(v.NumericsVersion, w.trial.rec.Datasets)
		case !final(v.State) && r.trained():
			v.Message = fmt.Sprintf("trained; %d of %d measurements aside are done", v.AsidesDone, v.Asides)
		}
		return v
	}
	t := w.trial.rec
	v := &pb.Run{
		Id: id, Experiment: e.id, Arm: t.Arm, Trial: t.Name, Seed: w.seed,
		NumericsVersion: s.cfg.NumericsVersion,
		State:           pb.RunState_RUN_STATE_PENDING,
		Steps:           int64(t.Tasks) * t.StepsPerTask,
		Tasks:           t.Tasks,
		Segments:        segmentCount(t.Tasks, e.rec.SegmentTasks),
		Params:          t.Params,
		Confirmation:    w.confirmation,
		Analysis:        t.Analysis,
		Asides:          int32(w.trial.measured),
	}
	if e.rec.State != 0 {
		v.State, v.Message = pb.RunState_RUN_STATE_CANCELLED, "the experiment ended before it began"
		return v
	}
	v.Message = s.pendingReason(e, v.NumericsVersion, t.Datasets, e.before(&run{rec: v}))
	if _, first, _ := e.inputs(w); first != "" && e.control == 0 && e.rec.Expanded {
		v.Message = "waiting for run " + first + ", from whose artifacts it starts"
	}
	return v
}

// before counts the experiment's runs that wait and come before r.
func (e *exp) before(r *run) (n int) {
	at := e.place(r)
	for _, o := range e.active {
		if g := o.last(); g != nil && g.rec.State == pb.SegmentState_SEGMENT_STATE_PENDING && e.place(o) < at {
			n++
		}
	}
	// Those without a record follow the ones with.
	if e.runs[r.id] == nil && e.cursor < at {
		n += int(at - e.cursor)
	}
	return n
}

// ListRuns returns a page of an experiment's runs, in order of arm, trial and
// seed. Runs that have no record yet are pending ones.
func (s *Service) ListRuns(ctx context.Context, req *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
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
		return nil, rpc.InvalidArgument(component.Fieldf("page_token", "is not from an earlier answer"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(req.GetExperiment())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListRunsResponse{}
	e.wanted(trialIndex, seedIndex, func(w want, ti, si int) bool {
		if req.GetArm() != "" && w.trial.rec.Arm != req.Arm {
			return true
		}
		if len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), s.runState(e, w)) {
			return true
		}
		if len(resp.Runs) == size {
			resp.NextPageToken = token(strconv.Itoa(ti), strconv.Itoa(si))
			return false
		}
		resp.Runs = append(resp.Runs, s.runView(e, w))
		return true
	})
	return resp, nil
}

// runState is runView(e, w).State, for less.
func (s *Service) runState(e *exp, w want) pb.RunState {
	if r := e.runs[w.id(e)]; r != nil && r.rec != nil {
		return r.state()
	}
	if e.rec.State != 0 {
		return pb.RunState_RUN_STATE_CANCELLED
	}
	return pb.RunState_RUN_STATE_PENDING
}

// GetRun returns a run with the task table of what it has committed so far.
func (s *Service) GetRun(ctx context.Context, req *pb.GetRunRequest) (*pb.GetRunResponse, error) {
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
		resp, segs, asides, err := s.runAt(expID, trialName, seed)
		if err != nil {
			return nil, err
		}
		trialRec, err := s.cluster.Trial(ctx, expID, trialName)
		if err != nil {
			return nil, unavailable(ctx, err)
		}
		resp.ResolvedSpec = string(trialRec.CanonicalSpec)
		if resp.Run.Table != nil {
			resp.Table, err = s.getTable(ctx, resp.Run.Table)
		} else {
			resp.Table, err = s.assemble(ctx, segs, asides, 0)
		}
		if err == nil {
			return resp, nil
		}
		if !lost(err) || resp.Run.Table != nil {
			return nil, unavailable(ctx, err)
		}
	}
	return nil, status.Errorf(codes.DataLoss, "results of run %s cannot be read", req.Id)
}

func (s *Service) runAt(expID, trialName string, seed uint32) (resp *pb.GetRunResponse, segs, asides []cluster.SegmentAt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(expID)
	if err != nil {
		return nil, nil, nil, err
	}
	t := e.trials[trialName]
	if t == nil {
		return nil, nil, nil, status.Errorf(codes.NotFound, "no trial %q in experiment %s", trialName, expID)
	}
	w := want{trial: t, seed: seed}
	if t.seeds().index(seed) < 0 {
		w.confirmation = e.confirmSeedsOf(t).index(seed) >= 0 && slices.Contains(e.confirmed(), t)
		if !w.confirmation {
			return nil, nil, nil, status.Errorf(codes.NotFound, "trial %s of experiment %s has no run with seed %d", trialName, expID, seed)
		}
	}
	resp = &pb.GetRunResponse{Run: proto.CloneOf(s.runView(e, w))}
	if r := e.runs[w.id(e)]; r != nil {
		segs, asides = r.snapshot()
	}
	return resp, segs, asides, nil
}
