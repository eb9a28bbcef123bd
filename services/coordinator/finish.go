package coordinator

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/results"
	"neoteny/services/coordinator/schedule"
)

// endRun puts together what a run has committed, stores its task table, and
// writes its final record in place of its segments.
func (s *Service) endRun(ctx context.Context, a schedule.EndRun) (int64, error) {
	rec, was := a.Run, proto.CloneOf(a.Run)
	var tasks int32
	switch rec.State {
	case pb.RunState_RUN_STATE_DONE:
		tasks = rec.Tasks
	case pb.RunState_RUN_STATE_DIVERGED: // with a row for the task that was under way
		tasks = rec.GetDivergence().GetTask() + 1
	}
	table, err := s.tables.Assemble(ctx, a.Segments, a.Deferred, tasks)
	if err != nil {
		if !results.Lost(err) {
			return 0, err
		}
		// What was committed is not what it should be, and will never be.
		rec.State = pb.RunState_RUN_STATE_FAILED
		rec.Message = "its results cannot be put together: " + err.Error()
		table = &pb.TaskTable{}
	}
	mirror.FillProgress(rec, a.Segments, a.Deferred)
	i := slices.IndexFunc(rec.Publishes, func(name string) bool { return rec.Artifacts[name] == nil })
	if i >= 0 && rec.State == pb.RunState_RUN_STATE_DONE {
		rec.State = pb.RunState_RUN_STATE_FAILED
		rec.Message = fmt.Sprintf("it was to publish %s, and its worker has not", rec.Publishes[i])
	}
	if rec.State == pb.RunState_RUN_STATE_DONE || rec.State == pb.RunState_RUN_STATE_DIVERGED {
		rec.Digest = experiment.RunDigest(slices.Concat(table.Boundaries, table.Asides))
		if hadResult(was) && rec.Digest != was.Digest {
			rec.State = pb.RunState_RUN_STATE_FAILED
			rec.Message = fmt.Sprintf("made again, it has the digest %s, not %s as before", rec.Digest, was.Digest)
		}
	} else if hadResult(was) {
		rec = keepResult(was, rec.Message)
		table = nil
	}
	if table != nil {
		if rec.Table, err = s.tables.Put(ctx, rec.Id, table); err != nil {
			return 0, err
		}
	}
	rev, err := s.cluster.EndRun(ctx, rec, a.Mod, a.Open)
	if err != nil {
		return rev, err
	}
	s.metrics.RunEnded(mirror.RunStateName(rec.State))
	s.log.Info("run ended", "run", rec.Id, "state", mirror.RunStateName(rec.State), "message", rec.Message)
	s.dropCheckpoints(ctx, a.Segments[a.Pruned:])
	return rev, nil
}

// dropCheckpoints deletes the checkpoints of a run's segments but the last. What
// is left behind when it fails goes with the experiment.
func (s *Service) dropCheckpoints(ctx context.Context, segs []mirror.SegmentAt) {
	last := ""
	for _, g := range slices.Backward(segs) {
		key := g.Segment.GetResult().GetCheckpoint().GetKey()
		switch {
		case key == "" || key == last:
			continue
		case last == "":
			last = key
			continue
		}
		if err := s.blob.Remove(ctx, key); err != nil && ctx.Err() == nil {
			s.log.Warn("old checkpoint stays", "key", key, "error", err)
		}
	}
}

// selectTrials picks the trials to confirm and records the choice: it must not
// change when more is known.
func (s *Service) selectTrials(ctx context.Context, a schedule.SelectTrials) (int64, error) {
	rec := a.Experiment
	if err := s.cluster.FillSpec(ctx, rec); err != nil {
		return 0, err
	}
	tables := make([]report.RunTable, len(a.Runs))
	for i, r := range a.Runs {
		tables[i] = report.RunTable{Arm: r.Arm, Trial: r.Trial, Seed: r.Seed, Outcome: report.Diverged}
		if r.State == pb.RunState_RUN_STATE_DIVERGED {
			continue
		}
		t, err := s.tables.Get(ctx, r.Table)
		switch {
		case results.Lost(err):
			return s.giveUp(ctx, rec, a.Mod, fmt.Sprintf("no trial can be selected: task table of %s: %v", r.Id, err))
		case err != nil:
			return 0, fmt.Errorf("task table of %s: %w", r.Id, err)
		}
		tables[i].Outcome, tables[i].Table = report.Finished, t
	}
	selected, err := s.model.Select(rec.Spec, tables)
	if err != nil {
		return s.giveUp(ctx, rec, a.Mod, "no trial can be selected: "+err.Error())
	}
	rec.SelectionDone, rec.Selected = true, selected
	rev, err := s.cluster.UpdateExperiment(ctx, rec, a.Mod)
	if err == nil {
		s.log.Info("trials selected", "experiment", rec.Id, "arms", len(selected))
	}
	return rev, err
}
