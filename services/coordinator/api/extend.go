package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/rpc"
	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/seeds"
)

// ExtendExperiment replaces the spec of an ended experiment by one that has all of its
// trials and seeds, and more. The schedule finds the runs that are not there.
func (s *Server) ExtendExperiment(ctx context.Context, req *pb.ExtendExperimentRequest) (*pb.ExtendExperimentResponse, error) {
	if err := s.synced(ctx); err != nil {
		return nil, err
	}
	spec, err := s.spec(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	var rec *pb.ExperimentRecord
	var mod int64
	s.mirror.Read(func(st *mirror.State) {
		var e *mirror.Experiment
		if e, err = find(st, req.GetId()); err != nil {
			return
		}
		if e.Rec.State == 0 {
			err = status.Errorf(codes.FailedPrecondition, "experiment %s is %s: it can be extended when it has ended",
				e.ID, mirror.StateName(e.State()))
			return
		}
		rec, mod = proto.CloneOf(e.Rec), e.Mod
	})
	if err != nil {
		return nil, err
	}
	before, err := s.model.Plan(spec)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "this version of the coordinator cannot expand experiment %s: %v", rec.Id, err)
	}
	after, err := s.model.Plan(req.GetSpec())
	if err != nil {
		return nil, rpc.InvalidArgument(err)
	}
	if err := extends(spec, req.Spec, before, after, rec.SelectionDone); err != nil {
		return nil, rpc.InvalidArgument(err)
	}
	more := after.Runs - before.Runs
	if more == 0 && proto.Equal(spec, req.Spec) {
		return nil, status.Errorf(codes.FailedPrecondition, "experiment %s has all of that already", rec.Id)
	}
	rec.Spec, rec.SpecOverflow, rec.Expanded = req.Spec, nil, false
	if err := s.reopen(ctx, rec, mod, nil); err != nil {
		return nil, err
	}
	s.log.Info("experiment extended", "experiment", rec.Id, "runs", after.Runs, "more", more)
	resp := &pb.ExtendExperimentResponse{Runs: int32(more)}
	if resp.Experiment, err = s.view(ctx, rec.Id); err != nil {
		return nil, err
	}
	return resp, nil
}

// extends returns why an experiment cannot become another one: something that it has
// would be another there, or its results would not be what they are.
func extends(old, spec *pb.ExperimentSpec, before, after *model.Plan, selected bool) error {
	if spec.GetName() != old.GetName() {
		return component.Fieldf("spec.name", "the experiment is called %q", old.GetName())
	}
	var errs []error
	fail := func(field, format string, args ...any) { errs = append(errs, component.Fieldf(field, format, args...)) }
	more, longer := map[string]bool{}, map[string]bool{} // trials with more seeds, with more tasks
	for _, was := range before.Trials {
		i := slices.IndexFunc(after.Trials, func(t *pb.TrialRecord) bool { return t.Name == was.Name })
		if i < 0 {
			fail("spec", "it lacks trial %s, which the experiment has", was.Name)
			continue
		}
		is := after.Trials[i]
		switch {
		case sameTrial(was, is):
		case longerTrial(was, is):
			longer[was.Name] = true
		default:
			fail("spec", "trial %s would be another one than it was: submit it as an experiment of its own", was.Name)
		}
		if !holdsSeeds(is.Seeds, was.Seeds) {
			fail("spec.seeds", "trial %s has seeds that are not among them", was.Name)
		}
		if !proto.Equal(is.Seeds, was.Seeds) {
			more[was.Name] = true
		}
	}
	for _, was := range before.Trials {
		if slices.ContainsFunc(was.Needs, func(n *pb.TrialNeed) bool { return n.AllSeeds && more[n.Trial] }) {
			fail("spec.seeds", "analysis %s is of all seeds: with more of them it would be another one", was.Name)
		}
	}
	for _, is := range after.Trials {
		for _, n := range is.Needs {
			if longer[n.Trial] {
				fail("spec.stream.tasks", "%s starts from trial %s, whose runs would be longer: it would be another one than it was", is.Name, n.Trial)
			}
		}
	}
	if selected && (len(longer) > 0 || len(more) > 0 || len(after.Trials) != len(before.Trials)) {
		fail("spec", "the experiment has selected its trials by the runs that it had: more of them could have chosen others")
	}
	for _, seed := range before.ConfirmSeeds {
		if !slices.Contains(after.ConfirmSeeds, seed) {
			fail("spec.select.confirm_seeds", "the experiment has confirmed on seed %d, which is not among them", seed)
			break
		}
	}
	return errors.Join(errs...)
}

// sameTrial reports whether runs of two trials with the same seed are the same.
func sameTrial(a, b *pb.TrialRecord) bool {
	a, b = proto.CloneOf(a), proto.CloneOf(b)
	for _, t := range []*pb.TrialRecord{a, b} {
		t.Index, t.Seeds = 0, nil
	}
	return proto.Equal(a, b)
}

// longerTrial reports whether a trial is another one with more tasks, of which its runs
// are the beginning: streams and environments are the same however many tasks there are.
func longerTrial(a, b *pb.TrialRecord) bool {
	if b.Tasks <= a.Tasks || a.StepsPerTask != b.StepsPerTask || a.Analysis {
		return false
	}
	x, xerr := withoutTasks(a.CanonicalSpec)
	y, yerr := withoutTasks(b.CanonicalSpec)
	if xerr != nil || yerr != nil || !bytes.Equal(x, y) {
		return false
	}
	b = proto.CloneOf(b)
	b.CanonicalSpec, b.Tasks = a.CanonicalSpec, a.Tasks
	return sameTrial(a, b)
}

// withoutTasks is a canonical spec without the number of tasks.
func withoutTasks(spec []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(spec))
	d.UseNumber()
	all := map[string]any{}
	if err := d.Decode(&all); err != nil {
		return nil, err
	}
	for _, what := range []string{"stream", "environment"} {
		if m, ok := all[what].(map[string]any); ok {
			delete(m, "tasks")
		}
	}
	return json.Marshal(all)
}

func holdsSeeds(all, some *pb.Seeds) bool {
	have, want := seeds.Set{Packed: all}, seeds.Set{Packed: some}
	for i := range want.Len() {
		if have.Index(want.At(i)) < 0 {
			return false
		}
	}
	return true
}
