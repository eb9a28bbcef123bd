package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// maxTable bounds a task table that is read back.
const maxTable = 256 << 20

// endRun puts together what a run has committed, stores its task table, and
// writes its final record in place of its segments.
func (s *Service) endRun(r *run, to pb.RunState, msg string) action {
	rec, mod := proto.CloneOf(r.rec), r.rev.Mod
	rec.State, rec.Message = to, msg
	segs, asides := r.snapshot()
	pruned := r.pruned
	open := s.open(r)
	var tasks int32
	if to == pb.RunState_RUN_STATE_DONE {
		tasks = rec.Tasks
	}
	return action{"end run", r.id, func(ctx context.Context) (int64, error) {
		table, err := s.assemble(ctx, segs, asides, tasks)
		if err != nil {
			if !lost(err) {
				return 0, err
			}
			// What was committed is not what it should be, and will never be.
			rec.State = pb.RunState_RUN_STATE_FAILED
			rec.Message = "its results cannot be put together: " + err.Error()
			table = &pb.TaskTable{}
		}
		fillProgress(rec, segs, asides)
		if i := slices.IndexFunc(rec.Publishes, func(name string) bool { return rec.Artifacts[name] == nil }); i >= 0 && rec.State == pb.RunState_RUN_STATE_DONE {
			rec.State = pb.RunState_RUN_STATE_FAILED
			rec.Message = fmt.Sprintf("it was to publish %s, and its worker has not", rec.Publishes[i])
		}
		if rec.State == pb.RunState_RUN_STATE_DONE {
			rec.Digest = experiment.RunDigest(slices.Concat(table.Boundaries, table.Asides))
		}
		if rec.Table, err = s.putTable(ctx, rec.Id, table); err != nil {
			return 0, err
		}
		rev, err := s.cluster.EndRun(ctx, rec, mod, open)
		if err != nil {
			return rev, err
		}
		s.metrics.RunEnded(runStateName(rec.State))
		s.log.Info("run ended", "run", rec.Id, "state", runStateName(rec.State), "message", rec.Message)
		s.dropCheckpoints(ctx, segs[pruned:])
		return rev, nil
	}}
}

// snapshot copies a run's segments for use outside the lock, those of the main
// track and those that measure aside. The records themselves are never changed.
func (r *run) snapshot() (segs, asides []cluster.SegmentAt) {
	return at(r.segs), at(r.asides)
}

func at(segs []*segment) []cluster.SegmentAt {
	out := make([]cluster.SegmentAt, len(segs))
	for i, g := range segs {
		out[i] = cluster.SegmentAt{Segment: g.rec, Mod: g.mod}
	}
	return out
}

// open are the segments of a run that may still change.
func (s *Service) open(r *run) []cluster.SegmentAt {
	var out []*segment
	for i, g := range r.segs {
		if i == len(r.segs)-1 || g.rec.State != pb.SegmentState_SEGMENT_STATE_DONE {
			out = append(out, g)
		}
	}
	for _, g := range r.asides {
		if !s.settled(g) {
			out = append(out, g)
		}
	}
	return at(out)
}

// fillProgress sets what is derived from the committed segments.
func fillProgress(rec *pb.Run, segs, asides []cluster.SegmentAt) {
	rec.StepsDone, rec.TasksDone, rec.AsidesDone, rec.Seconds = 0, 0, 0, 0
	for _, g := range asides {
		if g.Segment.State == pb.SegmentState_SEGMENT_STATE_DONE {
			rec.AsidesDone++
			rec.Seconds += g.Segment.Result.GetSeconds()
		}
	}
	for _, g := range segs {
		if res := g.Segment.Result; g.Segment.State == pb.SegmentState_SEGMENT_STATE_DONE {
			rec.StepsDone = max(rec.StepsDone, res.GetEndStep())
			rec.Seconds += res.GetSeconds()
			for name, ref := range res.GetArtifacts() {
				if rec.Artifacts == nil {
					rec.Artifacts = map[string]*pb.BlobRef{}
				}
				rec.Artifacts[name] = ref
			}
		}
	}
	if rec.Steps > 0 && rec.Tasks > 0 {
		rec.TasksDone = int32(rec.StepsDone / (rec.Steps / int64(rec.Tasks)))
	}
}

// errTable says that committed results do not fit together.
var errTable = errors.New("results do not fit together")

// lost tells that trying again cannot help.
func lost(err error) bool {
	return errors.Is(err, errTable) || errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrTooLarge)
}

// assemble joins the task tables of committed segments, and adds what was measured
// aside. tasks is how many there must be; 0 takes what there is.
func (s *Service) assemble(ctx context.Context, segs, asides []cluster.SegmentAt, tasks int32) (*pb.TaskTable, error) {
	t := &pb.TaskTable{}
	for _, g := range segs {
		if g.Segment.State != pb.SegmentState_SEGMENT_STATE_DONE {
			continue
		}
		res, err := s.cluster.Result(ctx, g.Segment.Result)
		if err != nil {
			return nil, err
		}
		where := fmt.Sprintf("segment [%d, %d)", g.Segment.Ref.FirstStep, res.EndStep)
		switch {
		case len(res.Rows) == 0 && len(res.Columns) == 0:
			// Yielded inside a task.
		case t.Columns == nil:
			t.Columns = res.Columns
		case !slices.EqualFunc(t.Columns, res.Columns, func(a, b *pb.ColumnName) bool { return proto.Equal(a, b) }):
			return nil, fmt.Errorf("%s has other columns than the ones before: %w", where, errTable)
		}
		for _, row := range res.Rows {
			if n := len(t.Rows); int(row.Task) != n {
				return nil, fmt.Errorf("%s: row of task %d where task %d is due: %w", where, row.Task, n, errTable)
			}
			if len(row.Values) != len(t.Columns) {
				return nil, fmt.Errorf("%s: %d values in %d columns: %w", where, len(row.Values), len(t.Columns), errTable)
			}
			t.Rows = append(t.Rows, row)
		}
		for _, b := range res.Boundaries {
			if n := len(t.Boundaries); int(b.Task) != n {
				return nil, fmt.Errorf("%s: boundary of task %d where task %d is due: %w", where, b.Task, n, errTable)
			}
			t.Boundaries = append(t.Boundaries, b)
		}
	}
	if tasks > 0 && (len(t.Boundaries) != int(tasks) || len(t.Rows) != int(tasks)) {
		return nil, fmt.Errorf("%d rows and %d boundaries of %d tasks: %w", len(t.Rows), len(t.Boundaries), tasks, errTable)
	}
	return t, s.joinAsides(ctx, t, asides)
}

func (s *Service) putTable(ctx context.Context, runID string, t *pb.TaskTable) (*pb.BlobRef, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("task table of %s: %w", runID, err)
	}
	folder, err := cluster.RunBlobPrefix(runID)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return s.blob.Put(ctx, folder+"/table-"+hex.EncodeToString(sum[:8])+".pb", b)
}

func (s *Service) getTable(ctx context.Context, ref *pb.BlobRef) (*pb.TaskTable, error) {
	b, err := s.blob.Get(ctx, ref, maxTable)
	if err != nil {
		return nil, err
	}
	t := &pb.TaskTable{}
	if err := proto.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("task table %s: %w", ref.Key, err)
	}
	return t, nil
}

// dropCheckpoints deletes the checkpoints of a run's segments but the last. What
// is left behind when it fails goes with the experiment.
func (s *Service) dropCheckpoints(ctx context.Context, segs []cluster.SegmentAt) {
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

// selectTrials picks the trials to confirm, once all tuning runs have ended,
// and records the choice: it must not change when more is known.
func (s *Service) selectTrials(e *exp) action {
	rec, mod := proto.CloneOf(e.rec), e.mod
	var runs []*pb.Run
	for _, id := range slices.Sorted(maps.Keys(e.runs)) {
		if r := e.runs[id]; r.rec != nil && r.rec.State == pb.RunState_RUN_STATE_DONE && !r.rec.Analysis {
			runs = append(runs, r.rec)
		}
	}
	return action{"select trials", e.id, func(ctx context.Context) (int64, error) {
		if err := s.cluster.FillSpec(ctx, rec); err != nil {
			return 0, err
		}
		tables := make([]report.RunTable, len(runs))
		for i, r := range runs {
			t, err := s.getTable(ctx, r.Table)
			switch {
			case lost(err):
				return s.giveUp(ctx, rec, mod, fmt.Sprintf("no trial can be selected: task table of %s: %v", r.Id, err))
			case err != nil:
				return 0, fmt.Errorf("task table of %s: %w", r.Id, err)
			}
			tables[i] = report.RunTable{Arm: r.Arm, Trial: r.Trial, Seed: r.Seed, Table: t}
		}
		selected, err := s.model.Select(rec.Spec, tables)
		if err != nil {
			return s.giveUp(ctx, rec, mod, "no trial can be selected: "+err.Error())
		}
		rec.SelectionDone, rec.Selected = true, selected
		rev, err := s.cluster.UpdateExperiment(ctx, rec, mod)
		if err == nil {
			s.log.Info("trials selected", "experiment", rec.Id, "arms", len(selected))
		}
		return rev, err
	}}
}

// giveUp ends an experiment that cannot go on. rec is the action's own.
func (s *Service) giveUp(ctx context.Context, rec *pb.ExperimentRecord, mod int64, why string) (int64, error) {
	rec.State, rec.Message = pb.ExperimentState_EXPERIMENT_STATE_FAILED, why
	rec.EndedAt = timestamppb.New(s.cfg.Now())
	return s.cluster.UpdateExperiment(ctx, rec, mod)
}
