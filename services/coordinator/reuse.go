package coordinator

import (
	"context"
	"fmt"
	"path"
	"slices"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/results"
)

// maxReused bounds an artifact that is copied for a run which reuses another.
const maxReused = 256 << 20

// reuse gives a run, which has its key and has not begun, the results of a finished run
// with that key. It reports false where there is none, or not all of its results are
// there any more. Task table and artifacts are copied, since the other run's go with its
// experiment; per-step data stay under its id.
func (s *Service) reuse(ctx context.Context, rec *pb.Run) (bool, error) {
	var from *pb.Run
	s.mirror.Read(func(st *mirror.State) {
		if e := st.Experiments[rec.Experiment]; e != nil && e.Rec != nil && !e.Rec.NoReuse {
			from = st.Finished(rec.RunKey)
		}
	})
	if from == nil || from.Id == rec.Id || from.NumericsVersion != rec.NumericsVersion || from.Steps != rec.Steps || from.Tasks != rec.Tasks ||
		slices.ContainsFunc(rec.Publishes, func(name string) bool { return from.Artifacts[name] == nil }) && from.State == pb.RunState_RUN_STATE_DONE {
		return false, nil
	}
	table, err := s.tables.Get(ctx, from.Table)
	if err != nil {
		return s.unusable(from, err)
	}
	artifacts := map[string]*pb.BlobRef{}
	for name, ref := range from.Artifacts {
		if !slices.Contains(rec.Publishes, name) {
			continue
		}
		b, err := s.blob.Get(ctx, ref, maxReused)
		if err != nil {
			return s.unusable(from, err)
		}
		if artifacts[name], err = s.blob.Put(ctx, "artifacts/"+rec.Experiment+"/"+path.Base(ref.Key), b); err != nil {
			return false, err
		}
	}
	if rec.Table, err = s.tables.Put(ctx, rec.Id, table); err != nil {
		return false, err
	}
	rec.State, rec.Message, rec.Divergence, rec.Digest = from.State, from.Message, from.Divergence, from.Digest
	rec.StepsDone, rec.TasksDone, rec.AsidesDone, rec.Seconds = from.StepsDone, from.TasksDone, from.AsidesDone, from.Seconds
	rec.Artifacts = artifacts
	rec.Committed = &pb.Committed{Step: from.Committed.GetStep(), Attempt: from.Committed.GetAttempt(), Metrics: from.Committed.GetMetrics()}
	if rec.Reused = from.Reused; rec.Reused == "" {
		rec.Reused = from.Id
	}
	return true, nil
}

// unusable is the answer of reuse where results of the other run cannot be read.
func (s *Service) unusable(from *pb.Run, err error) (bool, error) {
	if results.Lost(err) {
		s.log.Warn("a finished run is not reused: not all of its results can be read", "run", from.Id, "error", err)
		return false, nil
	}
	return false, fmt.Errorf("results of %s: %w", from.Id, err)
}
