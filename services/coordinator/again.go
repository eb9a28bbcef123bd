package coordinator

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/results"
	"neoteny/services/coordinator/schedule"
)

// restart takes a run up again. Its record stays what it was but for its state, so that
// what it had as a result is there until it has another one.
func (s *Service) restart(ctx context.Context, a schedule.Restart) (int64, error) {
	rec, first := a.Run, a.First
	was := mirror.RunStateName(rec.State)
	if a.GoOn {
		switch done, err := s.committed(ctx, rec); {
		case err == nil:
			first = done
		case results.Lost(err):
			s.log.Warn("a run cannot go on from where it was committed, and is made from its first step", "run", rec.Id, "error", err)
		default:
			return 0, err
		}
	}
	first.Attempt, first.Generation = rec.GetCommitted().GetAttempt(), a.To
	if err := s.lengthen(ctx, rec, a); err != nil {
		return 0, err
	}
	rec.State, rec.Message, rec.Generation, rec.Reused = pb.RunState_RUN_STATE_PENDING, "", a.To, ""
	if !hadResult(rec) {
		rec.Table = nil // of what is committed: the segments have it
	}
	rev, err := s.cluster.Restart(ctx, rec, a.Mod, first)
	if err == nil {
		s.log.Info("run taken up again", "run", rec.Id, "was", was, "from", first.Result.GetEndStep())
	}
	return rev, err
}

// lengthen makes a run as long as its trial has become. Until it has another, it has no
// digest.
func (s *Service) lengthen(ctx context.Context, rec *pb.Run, a schedule.Restart) error {
	if rec.Steps == a.Steps {
		return nil
	}
	trial, err := s.cluster.Trial(ctx, rec.Experiment, rec.Trial)
	if err != nil {
		return err
	}
	full, err := s.model.Record(trial.CanonicalSpec)
	if err != nil {
		return fmt.Errorf("spec of trial %s: %w", rec.Trial, err)
	}
	if rec.RunKey, err = full.RunKey(rec.Seed, rec.Inputs); err != nil {
		return fmt.Errorf("run key of trial %s: %w", rec.Trial, err)
	}
	rec.Steps, rec.Tasks, rec.Segments, rec.Asides = a.Steps, trial.Tasks, a.Count, a.Asides
	rec.Digest = ""
	return nil
}

// committed is what a run has committed, as one segment that is done.
func (s *Service) committed(ctx context.Context, rec *pb.Run) (*pb.Segment, error) {
	left := rec.Committed
	t, err := s.tables.Get(ctx, rec.Table)
	if err != nil {
		return nil, err
	}
	perTask := rec.Steps / int64(max(rec.Tasks, 1))
	if n := int(left.Step / max(perTask, 1)); len(t.Boundaries) != n || len(t.Rows) != n {
		return nil, fmt.Errorf("%w: %d boundaries and %d rows up to step %d", results.ErrTable, len(t.Boundaries), len(t.Rows), left.Step)
	}
	now := timestamppb.New(s.cfg.Now())
	return &pb.Segment{
		Ref:   &pb.SegmentRef{Run: rec.Id, Track: mirror.MainTrack, EndStep: left.Step},
		State: pb.SegmentState_SEGMENT_STATE_DONE,
		Result: &pb.SegmentResult{
			EndStep: left.Step, Checkpoint: left.Checkpoint, Boundaries: t.Boundaries, Columns: t.Columns, Rows: t.Rows,
			Metrics: left.Metrics, Seconds: rec.Seconds,
		},
		QueuedAt: now, DoneAt: now,
	}, nil
}

// hadResult reports whether a run that is being ended was done, or had diverged, before
// it was made again.
func hadResult(rec *pb.Run) bool { return rec.Digest != "" }

// keepResult is the final record of a run that could not be made again: what it was.
func keepResult(was *pb.Run, why string) *pb.Run {
	rec := proto.CloneOf(was)
	rec.State = pb.RunState_RUN_STATE_DONE
	if rec.Divergence != nil {
		rec.State = pb.RunState_RUN_STATE_DIVERGED
	}
	rec.Message = "it was to be made again, and is what it was before: " + why
	return rec
}
