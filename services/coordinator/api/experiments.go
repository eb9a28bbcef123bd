package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	"neoteny/internal/rpc"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// SubmitExperiment accepts an experiment.
func (s *Server) SubmitExperiment(ctx context.Context, req *pb.SubmitExperimentRequest) (*pb.SubmitExperimentResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	plan, err := s.model.Plan(req.GetSpec())
	if err != nil {
		return nil, rpc.InvalidArgument(err)
	}
	id := req.GetRequestId()
	if id == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	wctx, cancel := context.WithTimeoutCause(ctx, writeTime, errNoEtcd)
	defer cancel()
	rec, existed, err := s.cluster.CreateSubmission(wctx, id, req.Spec, req.Source, s.cfg.Now(), func(r *pb.ExperimentRecord) { r.NoReuse = req.GetNoReuse() })
	switch {
	case errors.Is(err, cluster.ErrConflict):
		return nil, status.Error(codes.AlreadyExists, err.Error())
	case err != nil:
		return nil, unavailable(ctx, err)
	}
	if !existed {
		s.accepted(rec.Id, plan)
		s.log.Info("experiment accepted", "experiment", rec.Id, "runs", plan.Runs)
	}
	s.mirror.Wait(ctx, readTime, func(st *mirror.State) bool {
		e := st.Experiments[rec.Id]
		return e != nil && e.Rec != nil
	})
	resp := &pb.SubmitExperimentResponse{Existed: existed}
	s.mirror.Read(func(st *mirror.State) {
		e := st.Experiments[rec.Id]
		if e == nil || e.Rec == nil {
			// Accepted all the same; the mirror will show it.
			e = &mirror.Experiment{ID: rec.Id, Rec: rec}
		}
		resp.Experiment = s.experimentView(st, e, req.Spec)
	})
	return resp, nil
}

// ValidateExperiment checks a spec and reports what it would cost.
func (s *Server) ValidateExperiment(_ context.Context, req *pb.ValidateExperimentRequest) (*pb.ValidateExperimentResponse, error) {
	p, err := s.model.Plan(req.GetSpec())
	if err != nil {
		return nil, rpc.InvalidArgument(err)
	}
	return &pb.ValidateExperimentResponse{
		Trials: int32(len(p.Trials)), Runs: int32(p.Runs), Segments: p.Segments,
		Steps: p.Steps, Tasks: p.Tasks, Arms: p.Arms,
	}, nil
}

// GetExperiment returns one experiment with its spec.
func (s *Server) GetExperiment(ctx context.Context, req *pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &pb.GetExperimentResponse{Experiment: v}, nil
}

// view reads an experiment with its spec.
func (s *Server) view(ctx context.Context, id string) (v *pb.Experiment, err error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	spec, err := s.spec(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mirror.Read(func(st *mirror.State) {
		var e *mirror.Experiment
		if e, err = find(st, id); err == nil {
			v = s.experimentView(st, e, spec)
			v.Source = e.Rec.Source
		}
	})
	return v, err
}

// experimentView is the experiment as clients see it, with the given spec.
func (s *Server) experimentView(st *mirror.State, e *mirror.Experiment, spec *pb.ExperimentSpec) *pb.Experiment {
	v := &pb.Experiment{
		Id:        e.ID,
		Spec:      spec,
		State:     e.State(),
		Progress:  e.Progress(),
		CreatedAt: e.Rec.CreatedAt,
		EndedAt:   e.Rec.EndedAt,
	}
	v.Message = s.at(st).WhyExperiment(e, v.Progress.SegmentsAssigned)
	return v
}

// spec returns an experiment's spec, fetched once where it overflowed.
func (s *Server) spec(ctx context.Context, id string) (spec *pb.ExperimentSpec, err error) {
	var rec *pb.ExperimentRecord
	s.mirror.Read(func(st *mirror.State) {
		var e *mirror.Experiment
		if e, err = find(st, id); err == nil {
			rec, spec = e.Rec, e.Spec()
		}
	})
	if err != nil || spec != nil {
		return spec, err
	}
	rec = proto.CloneOf(rec)
	if err := s.cluster.FillSpec(ctx, rec); err != nil {
		return nil, unavailable(ctx, err)
	}
	s.mirror.KeepSpec(id, rec.Spec)
	return rec.Spec, nil
}

// ListExperiments returns a page of experiments, newest first.
func (s *Server) ListExperiments(ctx context.Context, req *pb.ListExperimentsRequest) (*pb.ListExperimentsResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	size, err := pageSize(req.GetPageSize(), 50, 1000)
	if err != nil {
		return nil, err
	}
	after, err := readToken(req.GetPageToken(), 2)
	if err != nil {
		return nil, err
	}
	if err := s.fetchSpecs(ctx); err != nil {
		return nil, err
	}
	resp := &pb.ListExperimentsResponse{}
	s.mirror.Read(func(st *mirror.State) {
		all := listed(st, req, after)
		for _, e := range all[:min(size, len(all))] {
			full := e.Spec()
			// Arms, sweeps and claims may be large; Get has them.
			short := &pb.ExperimentSpec{
				Name: full.GetName(), Paper: full.GetPaper(), Description: full.GetDescription(),
			}
			resp.Experiments = append(resp.Experiments, s.experimentView(st, e, short))
		}
		if len(all) > size {
			k := ageKey(all[size-1])
			resp.NextPageToken = token(k[0], k[1])
		}
	})
	return resp, nil
}

// listed are the experiments that a request asks for, newest first, after the
// place where the page before has ended.
func listed(st *mirror.State, req *pb.ListExperimentsRequest, after []string) (all []*mirror.Experiment) {
	for id, e := range st.Experiments {
		if _, err := find(st, id); err != nil {
			continue
		}
		spec := e.Spec()
		if !strings.HasPrefix(spec.GetName(), req.GetNamePrefix()) {
			continue
		}
		if req.GetPaper() != "" && spec.GetPaper() != req.GetPaper() {
			continue
		}
		if len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), e.State()) {
			continue
		}
		if after != nil && newest(ageKey(e), [2]string{after[0], after[1]}) <= 0 {
			continue
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *mirror.Experiment) int { return newest(ageKey(a), ageKey(b)) })
	return all
}

// ageKey orders experiments: of equally old ones the greater id comes first.
func ageKey(e *mirror.Experiment) [2]string {
	return [2]string{fmt.Sprintf("%020d", e.Rec.CreatedAt.AsTime().UnixNano()), e.ID}
}

func newest(a, b [2]string) int {
	return cmp.Or(strings.Compare(b[0], a[0]), strings.Compare(b[1], a[1]))
}

// fetchSpecs fetches the specs that overflowed.
func (s *Server) fetchSpecs(ctx context.Context) error {
	var missing []string
	s.mirror.Read(func(st *mirror.State) {
		for id := range st.Experiments {
			if e, err := find(st, id); err == nil && e.Spec() == nil {
				missing = append(missing, id)
			}
		}
	})
	for _, id := range missing {
		if _, err := s.spec(ctx, id); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
	}
	return nil
}

// CancelExperiment stops an experiment. Cancelling again is no error.
func (s *Server) CancelExperiment(ctx context.Context, req *pb.CancelExperimentRequest) (*pb.CancelExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	switch v.State {
	case pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
		return &pb.CancelExperimentResponse{Experiment: v}, nil
	case pb.ExperimentState_EXPERIMENT_STATE_DONE, pb.ExperimentState_EXPERIMENT_STATE_FAILED:
		return nil, status.Errorf(codes.FailedPrecondition, "experiment %s has ended (%s): there is nothing to cancel",
			v.Id, mirror.StateName(v.State))
	}
	if err := s.desire(ctx, v.Id, pb.Desired_DESIRED_CANCEL); err != nil {
		return nil, err
	}
	if v, err = s.view(ctx, v.Id); err != nil {
		return nil, err
	}
	return &pb.CancelExperimentResponse{Experiment: v}, nil
}

func (s *Server) desire(ctx context.Context, id string, want pb.Desired) error {
	wctx, cancel := context.WithTimeoutCause(ctx, writeTime, errNoEtcd)
	defer cancel()
	rev, err := s.cluster.SetDesired(wctx, id, want, s.cfg.Now())
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return status.Errorf(codes.NotFound, "no experiment %q", id)
	case err != nil:
		return unavailable(ctx, err)
	}
	s.mirror.Wait(ctx, readTime, func(st *mirror.State) bool { return st.Rev >= rev })
	return nil
}

// DeleteExperiment forgets an ended experiment. When it returns, nothing of it
// is left; when it is cut short, the deletion goes on.
func (s *Server) DeleteExperiment(ctx context.Context, req *pb.DeleteExperimentRequest) (*pb.DeleteExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if v.State < pb.ExperimentState_EXPERIMENT_STATE_DONE {
		return nil, status.Errorf(codes.FailedPrecondition, "experiment %s is %s: cancel it first",
			v.Id, mirror.StateName(v.State))
	}
	if err := s.desire(ctx, v.Id, pb.Desired_DESIRED_DELETE); err != nil {
		return nil, err
	}
	if !s.mirror.Wait(ctx, deleteTime, func(st *mirror.State) bool { return st.Experiments[v.Id] == nil }) {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Errorf(codes.Unavailable, "experiment %s is still being deleted", v.Id)
	}
	return &pb.DeleteExperimentResponse{}, nil
}
