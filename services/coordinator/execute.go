package coordinator

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
	"neoteny/services/coordinator/schedule"
	"neoteny/services/coordinator/seeds"
)

// execute carries out one action. It returns the revision of its last write.
func (s *Service) execute(ctx context.Context, a schedule.Action) (int64, error) {
	switch a := a.(type) {
	case schedule.Expand:
		return s.expand(ctx, a)
	case schedule.CreateRuns:
		return s.createRuns(ctx, a)
	case schedule.Continue:
		return s.cluster.NextSegment(ctx, a.Prev.Ref, a.Mod, a.Next)
	case schedule.Fork:
		return s.cluster.Fork(ctx, a.Mod, a.Segment)
	case schedule.Assign:
		return s.assign(ctx, a)
	case schedule.Requeue:
		return s.requeue(ctx, a)
	case schedule.EndRun:
		return s.endRun(ctx, a)
	case schedule.Restart:
		return s.restart(ctx, a)
	case schedule.Forget:
		return s.cluster.ForgetRun(ctx, a.Run.Id, a.Mod)
	case schedule.DeleteCheckpoints:
		return 0, s.deleteCheckpoints(ctx, a)
	case schedule.SelectTrials:
		return s.selectTrials(ctx, a)
	case schedule.EndExperiment:
		return s.endExperiment(ctx, a)
	case schedule.DeleteExperiment:
		return s.deleteExperiment(ctx, a)
	}
	return 0, fmt.Errorf("action %q: no way to carry out a %T", a.Key().What, a)
}

// expand writes an experiment's trials, then marks it expanded: what a killed
// coordinator has left half-written is written again.
func (s *Service) expand(ctx context.Context, a schedule.Expand) (int64, error) {
	rec, plan := a.Experiment, s.plans.get(a.Experiment.Id)
	if plan == nil {
		err := s.cluster.FillSpec(ctx, rec)
		if err != nil {
			return 0, err
		}
		if plan, err = s.model.Plan(rec.Spec); err != nil {
			// It was valid when it was submitted, to another version.
			return s.giveUp(ctx, rec, a.Mod, "this version of the coordinator cannot expand it: "+err.Error())
		}
	}
	if _, err := s.cluster.AddTrials(ctx, rec.Id, a.Mod, plan.Trials); err != nil {
		return 0, err
	}
	rec.Expanded = true
	rec.Trials = int32(len(plan.Trials))
	rec.SegmentTasks = int32(plan.SegmentTasks)
	if len(plan.ConfirmSeeds) > 0 {
		rec.ConfirmSeeds = seeds.Pack(plan.ConfirmSeeds)
		rec.ConfirmArms = int32(len(plan.Arms))
	}
	rev, err := s.cluster.UpdateExperiment(ctx, rec, a.Mod)
	if err == nil {
		s.log.Info("experiment expanded", "experiment", rec.Id,
			"trials", len(plan.Trials), "runs", plan.Runs, "segments", plan.Segments)
	}
	return rev, err
}

func (s *Service) createRuns(ctx context.Context, a schedule.CreateRuns) (int64, error) {
	trials := map[string]model.Record{}
	runs := make([]cluster.NewRun, len(a.Runs))
	for i, r := range a.Runs {
		runs[i] = cluster.NewRun{Run: r.Run, Segment: r.Segment}
		if r.Segment == nil {
			continue // it ends before it needs a key
		}
		trial := r.Run.Trial
		if trials[trial] == nil {
			full, err := s.cluster.Trial(ctx, a.Experiment, trial)
			if err != nil {
				return 0, err
			}
			if trials[trial], err = s.model.Record(full.CanonicalSpec); err != nil {
				return 0, fmt.Errorf("spec of trial %s: %w", trial, err)
			}
		}
		var err error
		if r.Run.RunKey, err = trials[trial].RunKey(r.Run.Seed, r.Run.Inputs); err != nil {
			return 0, fmt.Errorf("run key of trial %s: %w", trial, err)
		}
		reused, err := s.reuse(ctx, r.Run)
		if err != nil {
			return 0, err
		}
		if reused {
			runs[i].Segment = nil
			s.log.Info("run reused", "run", r.Run.Id, "from", r.Run.Reused)
		}
	}
	rev, err := s.cluster.AddRuns(ctx, a.Experiment, a.Mod, runs)
	if err != nil {
		return rev, err
	}
	for _, r := range a.Runs {
		switch {
		case r.Run.Reused != "":
			s.metrics.RunEnded(mirror.RunStateName(r.Run.State))
		case r.Segment == nil:
			s.metrics.RunEnded(mirror.RunStateName(r.Run.State))
			s.log.Info("run ended before it began", "run", r.Run.Id,
				"state", mirror.RunStateName(r.Run.State), "message", r.Run.Message)
		}
	}
	return rev, nil
}

func (s *Service) assign(ctx context.Context, a schedule.Assign) (int64, error) {
	rev, err := s.cluster.AssignPack(ctx, a.Segments, cluster.Holder{ID: a.Worker, Rev: a.Rev}, a.At)
	if err == nil {
		for _, x := range a.Segments {
			s.metrics.Assigned(a.At.Sub(x.Segment.QueuedAt.AsTime()).Seconds())
		}
		first := a.Segments[0].Segment
		s.log.Debug("assigned", "run", first.Ref.Run, "track", first.Ref.Track, "first", first.Ref.FirstStep,
			"worker", a.Worker, "attempt", first.Attempt+1, "lanes", len(a.Segments))
	}
	return rev, err
}

func (s *Service) requeue(ctx context.Context, a schedule.Requeue) (int64, error) {
	rec := a.Segment
	rev, err := s.cluster.Requeue(ctx, rec, a.Mod, s.cfg.Now())
	if err == nil {
		s.metrics.Requeued()
		s.log.Info("worker lost, segment queued again", "worker", rec.Worker,
			"run", rec.Ref.Run, "track", rec.Ref.Track, "first", rec.Ref.FirstStep, "attempt", rec.Attempt)
	}
	return rev, err
}

func (s *Service) deleteCheckpoints(ctx context.Context, a schedule.DeleteCheckpoints) error {
	var steps []int64
	for _, g := range a.Segments {
		if err := s.blob.Remove(ctx, g.Result.Checkpoint.Key); err != nil {
			return err
		}
		steps = append(steps, g.Ref.FirstStep)
	}
	s.mirror.CheckpointsDeleted(a.Experiment, a.Run, steps)
	return nil
}

// deleteExperiment deletes what an experiment has in the blob store first, so
// that its record is there until nothing else is.
func (s *Service) deleteExperiment(ctx context.Context, a schedule.DeleteExperiment) (int64, error) {
	for _, folder := range cluster.BlobFolders(a.Experiment.Id) {
		if err := s.blob.Delete(ctx, folder); err != nil {
			return 0, err
		}
	}
	rev, err := s.cluster.DeleteExperiment(ctx, a.Experiment, a.Mod)
	if err == nil {
		s.log.Info("experiment deleted", "experiment", a.Experiment.Id)
	}
	return rev, err
}

func (s *Service) endExperiment(ctx context.Context, a schedule.EndExperiment) (int64, error) {
	rev, err := s.cluster.UpdateExperiment(ctx, a.Experiment, a.Mod)
	if err == nil {
		s.log.Info("experiment ended", "experiment", a.Experiment.Id, "state", mirror.StateName(a.Experiment.State))
	}
	return rev, err
}

// giveUp ends an experiment that cannot go on. rec is the action's own.
func (s *Service) giveUp(ctx context.Context, rec *pb.ExperimentRecord, mod int64, why string) (int64, error) {
	rec.State, rec.Message = pb.ExperimentState_EXPERIMENT_STATE_FAILED, why
	rec.EndedAt = timestamppb.New(s.cfg.Now())
	return s.cluster.UpdateExperiment(ctx, rec, mod)
}
