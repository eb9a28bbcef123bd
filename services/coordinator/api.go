package coordinator

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// readTime is how long a request waits for the mirror to be read or to show
// what the request has written.
const readTime = 5 * time.Second

// writeTime is how long a request goes on trying to write to etcd.
const writeTime = 30 * time.Second

var errNoEtcd = fmt.Errorf("etcd does not answer for %s", writeTime)

// SubmitExperiment accepts an experiment.
func (s *Service) SubmitExperiment(ctx context.Context, req *pb.SubmitExperimentRequest) (*pb.SubmitExperimentResponse, error) {
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
	rec, existed, err := s.cluster.CreateSubmission(wctx, id, req.Spec, s.cfg.Now())
	switch {
	case errors.Is(err, cluster.ErrConflict):
		return nil, status.Error(codes.AlreadyExists, err.Error())
	case err != nil:
		return nil, unavailable(ctx, err)
	}
	if !existed {
		s.mu.Lock()
		if s.state.experiments[rec.Id] == nil || s.unplanned(rec.Id) {
			s.plans[rec.Id] = plan // spares expanding it twice
		}
		s.mu.Unlock()
		s.log.Info("experiment accepted", "experiment", rec.Id, "runs", plan.Runs)
	}
	s.waitFor(ctx, readTime, func() bool { e := s.state.experiments[rec.Id]; return e != nil && e.rec != nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.state.experiments[rec.Id]
	if e == nil || e.rec == nil {
		// Accepted all the same; the mirror will show it.
		e = &exp{id: rec.Id, rec: rec}
	}
	return &pb.SubmitExperimentResponse{Experiment: s.experimentView(e, req.Spec), Existed: existed}, nil
}

// ValidateExperiment checks a spec and tells what it would cost.
func (s *Service) ValidateExperiment(_ context.Context, req *pb.ValidateExperimentRequest) (*pb.ValidateExperimentResponse, error) {
	p, err := s.model.Plan(req.GetSpec())
	if err != nil {
		return nil, rpc.InvalidArgument(err)
	}
	return &pb.ValidateExperimentResponse{
		Trials: int32(len(p.Trials)), Runs: int32(p.Runs), Segments: p.Segments, Steps: p.Steps, Tasks: p.Tasks, Arms: p.Arms,
	}, nil
}

// GetExperiment returns one experiment with its spec.
func (s *Service) GetExperiment(ctx context.Context, req *pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &pb.GetExperimentResponse{Experiment: v}, nil
}

// view reads an experiment with its spec.
func (s *Service) view(ctx context.Context, id string) (*pb.Experiment, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	spec, err := s.spec(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return s.experimentView(e, spec), nil
}

// spec returns an experiment's spec, fetched once where it overflowed.
func (s *Service) spec(ctx context.Context, id string) (*pb.ExperimentSpec, error) {
	s.mu.Lock()
	e, err := s.find(id)
	var spec *pb.ExperimentSpec
	var rec *pb.ExperimentRecord
	if err == nil {
		rec = e.rec
		if spec = rec.Spec; spec == nil {
			spec = s.specs[id]
		}
	}
	s.mu.Unlock()
	if err != nil || spec != nil {
		return spec, err
	}
	rec = proto.CloneOf(rec)
	if err := s.cluster.FillSpec(ctx, rec); err != nil {
		return nil, unavailable(ctx, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.specs[id] = rec.Spec
	return rec.Spec, nil
}

// find returns an experiment; NOT_FOUND when there is none, or it is being
// deleted.
func (s *Service) find(id string) (*exp, error) {
	e := s.state.experiments[id]
	if e == nil || e.rec == nil || e.control == pb.Desired_DESIRED_DELETE {
		return nil, status.Errorf(codes.NotFound, "no experiment %q", id)
	}
	return e, nil
}

// ListExperiments returns a page of experiments, newest first.
func (s *Service) ListExperiments(ctx context.Context, req *pb.ListExperimentsRequest) (*pb.ListExperimentsResponse, error) {
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
	if err := s.fillSpecs(ctx); err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	// Of equally old ones the greater id comes first.
	key := func(e *exp) [2]string {
		return [2]string{fmt.Sprintf("%020d", e.rec.CreatedAt.AsTime().UnixNano()), e.id}
	}
	newest := func(a, b [2]string) int { return cmp.Or(strings.Compare(b[0], a[0]), strings.Compare(b[1], a[1])) }
	var all []*exp
	for id, e := range s.state.experiments {
		if _, err := s.find(id); err != nil {
			continue
		}
		if spec := s.specOf(e); !strings.HasPrefix(spec.GetName(), req.GetNamePrefix()) || req.GetPaper() != "" && spec.GetPaper() != req.GetPaper() {
			continue
		}
		if len(req.GetStates()) > 0 && !slices.Contains(req.GetStates(), e.state()) {
			continue
		}
		if after != nil && newest(key(e), [2]string{after[0], after[1]}) <= 0 {
			continue
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *exp) int { return newest(key(a), key(b)) })
	resp := &pb.ListExperimentsResponse{}
	for _, e := range all[:min(size, len(all))] {
		full := s.specOf(e)
		// Arms, sweeps and claims may be large; Get has them.
		short := &pb.ExperimentSpec{Name: full.GetName(), Paper: full.GetPaper(), Description: full.GetDescription()}
		resp.Experiments = append(resp.Experiments, s.experimentView(e, short))
	}
	if len(all) > size {
		k := key(all[size-1])
		resp.NextPageToken = token(k[0], k[1])
	}
	return resp, nil
}

// specOf is an experiment's spec where it is at hand.
func (s *Service) specOf(e *exp) *pb.ExperimentSpec {
	if e.rec.Spec != nil {
		return e.rec.Spec
	}
	return s.specs[e.id]
}

// fillSpecs fetches the specs that overflowed.
func (s *Service) fillSpecs(ctx context.Context) error {
	s.mu.Lock()
	var missing []string
	for id := range s.state.experiments {
		if e, err := s.find(id); err == nil && s.specOf(e) == nil {
			missing = append(missing, id)
		}
	}
	s.mu.Unlock()
	for _, id := range missing {
		if _, err := s.spec(ctx, id); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
	}
	return nil
}

// WatchExperiment streams an experiment's state until it has ended.
func (s *Service) WatchExperiment(req *pb.WatchExperimentRequest, stream grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
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
func (s *Service) nextView(ctx context.Context, id string, last *pb.Experiment) (*pb.Experiment, error) {
	pause := time.NewTimer(s.cfg.WatchInterval)
	defer pause.Stop()
	rested := false
	last = proto.CloneOf(last)
	last.Spec = nil
	// Why it is pending depends on the clock too.
	tick := time.NewTicker(s.cfg.Tick)
	defer tick.Stop()
	for {
		s.mu.Lock()
		e, err := s.find(id)
		changed := s.changed
		var v *pb.Experiment
		if err == nil && (rested || e.rec.State != 0) {
			v = s.experimentView(e, nil)
		}
		s.mu.Unlock()
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

// CancelExperiment stops an experiment. Cancelling again is no error.
func (s *Service) CancelExperiment(ctx context.Context, req *pb.CancelExperimentRequest) (*pb.CancelExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	switch v.State {
	case pb.ExperimentState_EXPERIMENT_STATE_CANCELLED:
		return &pb.CancelExperimentResponse{Experiment: v}, nil
	case pb.ExperimentState_EXPERIMENT_STATE_DONE, pb.ExperimentState_EXPERIMENT_STATE_FAILED:
		return nil, status.Errorf(codes.FailedPrecondition, "experiment %s has ended (%s): there is nothing to cancel", v.Id, stateName(v.State))
	}
	if err := s.desire(ctx, v.Id, pb.Desired_DESIRED_CANCEL); err != nil {
		return nil, err
	}
	if v, err = s.view(ctx, v.Id); err != nil {
		return nil, err
	}
	return &pb.CancelExperimentResponse{Experiment: v}, nil
}

func (s *Service) desire(ctx context.Context, id string, want pb.Desired) error {
	wctx, cancel := context.WithTimeoutCause(ctx, writeTime, errNoEtcd)
	defer cancel()
	rev, err := s.cluster.SetDesired(wctx, id, want, s.cfg.Now())
	switch {
	case errors.Is(err, cluster.ErrNotFound):
		return status.Errorf(codes.NotFound, "no experiment %q", id)
	case err != nil:
		return unavailable(ctx, err)
	}
	s.waitFor(ctx, readTime, func() bool { return s.state.rev >= rev })
	return nil
}

// DeleteExperiment forgets an ended experiment. When it returns, nothing of it
// is left; when it is cut short, the deletion goes on.
func (s *Service) DeleteExperiment(ctx context.Context, req *pb.DeleteExperimentRequest) (*pb.DeleteExperimentResponse, error) {
	v, err := s.view(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if v.State < pb.ExperimentState_EXPERIMENT_STATE_DONE {
		return nil, status.Errorf(codes.FailedPrecondition, "experiment %s is %s: cancel it first", v.Id, stateName(v.State))
	}
	if err := s.desire(ctx, v.Id, pb.Desired_DESIRED_DELETE); err != nil {
		return nil, err
	}
	if !s.waitFor(ctx, 2*time.Minute, func() bool { return s.state.experiments[v.Id] == nil }) {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Errorf(codes.Unavailable, "experiment %s is still being deleted", v.Id)
	}
	return &pb.DeleteExperimentResponse{}, nil
}

// ListComponents describes the registered components.
func (s *Service) ListComponents(_ context.Context, req *pb.ListComponentsRequest) (*pb.ListComponentsResponse, error) {
	resp := &pb.ListComponentsResponse{}
	var kinds, names []string
	for _, d := range component.All() {
		if !slices.Contains(kinds, d.Kind) {
			kinds = append(kinds, d.Kind)
		}
		if req.GetKind() != "" && d.Kind != req.Kind {
			continue
		}
		names = append(names, d.Name)
		if req.GetName() != "" && d.Name != req.Name {
			continue
		}
		c := &pb.Component{
			Kind: d.Kind, Name: d.Name, Summary: d.Summary, Paper: d.Paper,
			JsonSchema: string(d.Schema), Defaults: string(d.Defaults), Presets: map[string]string{},
		}
		for name, p := range d.Presets {
			c.Presets[name] = string(p)
		}
		for _, n := range d.Needs {
			c.Needs = append(c.Needs, string(n))
		}
		resp.Components = append(resp.Components, c)
	}
	switch {
	case len(resp.Components) > 0:
		return resp, nil
	case req.GetKind() != "" && !slices.Contains(kinds, req.GetKind()):
		return nil, status.Errorf(codes.NotFound, "no kind of component %q (have: %s)", req.GetKind(), strings.Join(kinds, ", "))
	case req.GetName() != "":
		return nil, status.Errorf(codes.NotFound, "no component %q (have: %s)", req.GetName(), strings.Join(names, ", "))
	}
	return resp, nil
}

// synced waits until the records are read.
func (s *Service) synced(ctx context.Context) error {
	if s.waitFor(ctx, readTime, func() bool { return s.state.rev > 0 }) {
		return nil
	}
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable, "the coordinator has not read its records yet: it is starting, or etcd does not answer")
}

// unavailable is the status of an error of etcd or the blob store.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.Error(status.FromContextError(ctx.Err()).Code(), err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

func pageSize(asked int32, def, most int) (int, error) {
	switch {
	case asked < 0:
		return 0, rpc.InvalidArgument(component.Fieldf("page_size", "must not be negative, is %d", asked))
	case asked == 0:
		return def, nil
	}
	return min(int(asked), most), nil
}

// token makes a page token of the last entry's key.
func token(parts ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(parts, "\n")))
}

func readToken(t string, parts int) ([]string, error) {
	if t == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(t)
	out := strings.Split(string(b), "\n")
	if err != nil || len(out) != parts {
		return nil, rpc.InvalidArgument(component.Fieldf("page_token", "is not from an earlier answer"))
	}
	return out, nil
}
