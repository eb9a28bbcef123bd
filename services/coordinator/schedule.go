package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// upkeep decides everything but assignments: what follows from what has
// happened since.
func (s *Service) upkeep() []action {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []action
	slots := s.slots()
	for _, e := range s.state.experiments {
		if e.live() {
			out = append(out, s.upkeepOf(e, slots)...)
		}
	}
	return out
}

// slots is how many segments of new runs the workers could do at a time.
func (s *Service) slots() (n int) {
	for _, w := range s.state.workers {
		if !w.rec.Draining && w.rec.Problem == "" && w.rec.NumericsVersion == s.cfg.NumericsVersion {
			n += int(w.rec.Slots)
		}
	}
	return n
}

func (s *Service) upkeepOf(e *exp, slots int) []action {
	ended := e.rec.State != 0
	switch {
	case e.control == pb.Desired_DESIRED_DELETE && ended:
		return []action{s.forget(e)}
	case e.control == pb.Desired_DESIRED_CANCEL || ended:
		if len(e.active) == 0 {
			return []action{s.endExperiment(e)}
		}
		// An ended experiment may have such runs too, when the transaction that
		// created them went through after it was given up.
		var out []action
		for _, r := range e.active {
			out = append(out, s.endRun(r, pb.RunState_RUN_STATE_CANCELLED, "cancelled"))
		}
		return out
	case !e.rec.Expanded:
		return []action{s.expand(e)}
	}

	var out []action
	for _, r := range e.active {
		if a, ok := s.upkeepRun(r); ok {
			out = append(out, a)
		}
	}
	total := e.sum()
	tuned := e.ended.runs-e.ended.confirmations == total.runs-total.confirmations
	switch {
	case tuned && e.confirmSeeds().len() > 0 && !e.rec.SelectionDone:
		return append(out, s.selectTrials(e))
	case e.ended.runs == total.runs:
		return append(out, s.endExperiment(e))
	}
	if a, ok := s.enqueue(e, slots); ok {
		out = append(out, a)
	}
	return out
}

// upkeepRun decides what to do about one run that has not ended.
func (s *Service) upkeepRun(r *run) (action, bool) {
	g := r.last()
	if g == nil {
		return s.endRun(r, pb.RunState_RUN_STATE_FAILED, "its segments are gone from etcd"), true
	}
	switch g.rec.State {
	case pb.SegmentState_SEGMENT_STATE_DONE:
		if g.rec.Result.GetEndStep() >= r.rec.Steps {
			return s.endRun(r, pb.RunState_RUN_STATE_DONE, ""), true
		}
		return s.continueRun(r, g), true
	case pb.SegmentState_SEGMENT_STATE_ASSIGNED:
		if !s.state.assigned[[2]string{g.rec.Worker, cluster.AssignmentID(g.rec.Ref, g.rec.Attempt)}] {
			return s.requeue(g), true
		}
	case pb.SegmentState_SEGMENT_STATE_PENDING:
		if n := len(g.rec.Failures); n >= s.cfg.MaxFailures {
			f := g.rec.Failures[n-1]
			return s.endRun(r, pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("failed %d times at steps %d to %d, last on worker %s: %s", n, g.rec.Ref.FirstStep, g.rec.Ref.EndStep, f.Worker, f.Error)), true
		}
	case pb.SegmentState_SEGMENT_STATE_FAILED, pb.SegmentState_SEGMENT_STATE_CANCELLED:
		msg := "segment is " + g.rec.State.String()
		if n := len(g.rec.Failures); n > 0 {
			msg = g.rec.Failures[n-1].Error
		}
		return s.endRun(r, pb.RunState_RUN_STATE_FAILED, msg), true
	}
	if a, ok := s.prune(r); ok {
		return a, true
	}
	return action{}, false
}

// expand writes an experiment's trials, then marks it expanded: what a killed
// coordinator has left half-written is written again.
func (s *Service) expand(e *exp) action {
	rec, mod, plan := proto.CloneOf(e.rec), e.mod, s.plans[e.id]
	return action{"expand", e.id, func(ctx context.Context) (int64, error) {
		if plan == nil {
			err := s.cluster.FillSpec(ctx, rec)
			if err != nil {
				return 0, err
			}
			if plan, err = s.model.Plan(rec.Spec); err != nil {
				// It was valid when it was submitted, to another version.
				return s.giveUp(ctx, rec, mod, "this version of the coordinator cannot expand it: "+err.Error())
			}
		}
		if _, err := s.cluster.AddTrials(ctx, rec.Id, mod, plan.Trials); err != nil {
			return 0, err
		}
		rec.Expanded = true
		rec.Trials = int32(len(plan.Trials))
		rec.SegmentTasks = int32(plan.SegmentTasks)
		if len(plan.ConfirmSeeds) > 0 {
			rec.ConfirmSeeds = packSeeds(plan.ConfirmSeeds)
			rec.ConfirmArms = int32(len(plan.Arms))
		}
		rev, err := s.cluster.UpdateExperiment(ctx, rec, mod)
		if err == nil {
			s.mu.Lock()
			delete(s.plans, rec.Id)
			s.mu.Unlock()
			s.log.Info("experiment expanded", "experiment", rec.Id, "trials", len(plan.Trials), "runs", plan.Runs, "segments", plan.Segments)
		}
		return rev, err
	}}
}

// enqueue creates runs, up to QueuePerSlot waiting segments for each slot.
func (s *Service) enqueue(e *exp, slots int) (action, bool) {
	queued := 0
	for _, r := range e.active {
		if g := r.last(); g != nil && g.rec.State != pb.SegmentState_SEGMENT_STATE_ASSIGNED {
			queued++ // waiting, or about to have a next one that waits
		}
	}
	room := slots*s.cfg.QueuePerSlot - queued
	var wants []want
	gap := false
	seq := e.cursor
	for room > len(wants) {
		w, skip, end := e.at(seq)
		if end {
			break
		}
		if !skip {
			if r := e.runs[w.id(e)]; r == nil || r.rec == nil {
				wants = append(wants, w)
				gap = true
			}
		}
		seq++
		if !gap {
			e.cursor = seq
		}
	}
	if len(wants) == 0 {
		return action{}, false
	}
	id, mod, per := e.id, e.mod, e.rec.SegmentTasks
	return action{"create runs", id, func(ctx context.Context) (int64, error) {
		return s.createRuns(ctx, id, mod, wants, per)
	}}, true
}

func (s *Service) createRuns(ctx context.Context, id string, mod int64, wants []want, per int32) (int64, error) {
	specs := map[string][]byte{}
	now := timestamppb.New(s.cfg.Now())
	var runs []cluster.NewRun
	for _, w := range wants {
		t := w.trial.rec
		if specs[t.Name] == nil {
			full, err := s.cluster.Trial(ctx, id, t.Name)
			if err != nil {
				return 0, err
			}
			specs[t.Name] = full.CanonicalSpec
		}
		key, err := s.model.RunKey(specs[t.Name], w.seed)
		if err != nil {
			return 0, fmt.Errorf("run key of trial %s: %w", t.Name, err)
		}
		r := &pb.Run{
			Id:              w.id(&exp{id: id}),
			Experiment:      id,
			Arm:             t.Arm,
			Trial:           t.Name,
			Seed:            w.seed,
			RunKey:          key,
			NumericsVersion: s.cfg.NumericsVersion,
			State:           pb.RunState_RUN_STATE_PENDING,
			Steps:           int64(t.Tasks) * t.StepsPerTask,
			Tasks:           t.Tasks,
			Segments:        segmentCount(t.Tasks, per),
			Params:          t.Params,
			Confirmation:    w.confirmation,
		}
		runs = append(runs, cluster.NewRun{Run: r, Segment: &pb.Segment{
			Ref:      &pb.SegmentRef{Run: r.Id, Track: cluster.MainTrack, EndStep: min(int64(per)*t.StepsPerTask, r.Steps)},
			State:    pb.SegmentState_SEGMENT_STATE_PENDING,
			QueuedAt: now,
		}})
	}
	return s.cluster.AddRuns(ctx, id, mod, runs)
}

// continueRun queues the segment after the last, up to the next place where the
// experiment's segment length cuts.
func (s *Service) continueRun(r *run, g *segment) action {
	prev, mod := g.rec, g.mod
	first := prev.Result.GetEndStep()
	if prev.Result.GetCheckpoint() == nil {
		return s.endRun(r, pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("worker %s committed step %d without a checkpoint", prev.Worker, first))
	}
	length := r.rec.Steps
	if t := r.exp.trials[r.rec.Trial]; t != nil {
		length = int64(r.exp.rec.SegmentTasks) * t.rec.StepsPerTask
	}
	next := &pb.Segment{
		Ref:      &pb.SegmentRef{Run: r.id, Track: cluster.MainTrack, FirstStep: first, EndStep: min((first/length+1)*length, r.rec.Steps)},
		State:    pb.SegmentState_SEGMENT_STATE_PENDING,
		Attempt:  prev.Attempt, // attempts rise over the whole track: they fence its metrics too
		Start:    prev.Result.GetCheckpoint(),
		QueuedAt: timestamppb.New(s.cfg.Now()),
	}
	return action{"continue run", r.id, func(ctx context.Context) (int64, error) {
		return s.cluster.NextSegment(ctx, prev.Ref, mod, next)
	}}
}

func (s *Service) requeue(g *segment) action {
	rec, mod := g.rec, g.mod
	return action{"requeue", rec.Ref.Run, func(ctx context.Context) (int64, error) {
		rev, err := s.cluster.Requeue(ctx, rec, mod, s.cfg.Now())
		if err == nil {
			s.metrics.Requeued()
			s.log.Info("worker lost, segment queued again", "worker", rec.Worker, "run", rec.Ref.Run, "first", rec.Ref.FirstStep, "attempt", rec.Attempt)
		}
		return rev, err
	}}
}

// keepCheckpoints is how many committed checkpoints a running run keeps: the
// one its next segment starts from, and the one before in case that is damaged.
const keepCheckpoints = 2

// prune deletes checkpoints that nothing will start from.
func (s *Service) prune(r *run) (action, bool) {
	var old []*pb.BlobRef
	upto := r.pruned
	for i := r.pruned; i < len(r.segs)-1-keepCheckpoints; i++ {
		if g := r.segs[i]; g.rec.State == pb.SegmentState_SEGMENT_STATE_DONE {
			if c := g.rec.Result.GetCheckpoint(); c != nil {
				old = append(old, c)
			}
			upto = i + 1
		}
	}
	if len(old) == 0 {
		return action{}, false
	}
	return action{"delete old checkpoints", r.id, func(ctx context.Context) (int64, error) {
		for _, c := range old {
			if err := s.blob.Remove(ctx, c.Key); err != nil {
				return 0, err
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		r.pruned = max(r.pruned, upto)
		return 0, nil
	}}, true
}

// forget deletes an experiment: what it has in the blob store first, so that
// its record is there until nothing else is.
func (s *Service) forget(e *exp) action {
	rec, mod := e.rec, e.mod
	return action{"delete experiment", e.id, func(ctx context.Context) (int64, error) {
		for _, folder := range cluster.BlobFolders(rec.Id) {
			if err := s.blob.Delete(ctx, folder); err != nil {
				return 0, err
			}
		}
		rev, err := s.cluster.DeleteExperiment(ctx, rec, mod)
		if err == nil {
			s.log.Info("experiment deleted", "experiment", rec.Id)
		}
		return rev, err
	}}
}

// endExperiment records that all is done.
func (s *Service) endExperiment(e *exp) action {
	rec, mod := proto.CloneOf(e.rec), e.mod
	rec.State, rec.Message = e.verdict()
	rec.EndedAt = timestamppb.New(s.cfg.Now())
	return action{"end experiment", e.id, func(ctx context.Context) (int64, error) {
		rev, err := s.cluster.UpdateExperiment(ctx, rec, mod)
		if err == nil {
			s.log.Info("experiment ended", "experiment", rec.Id, "state", stateName(rec.State))
		}
		return rev, err
	}}
}

// verdict is the final state of an experiment whose runs have all ended.
func (e *exp) verdict() (pb.ExperimentState, string) {
	switch {
	case e.control == pb.Desired_DESIRED_CANCEL:
		return pb.ExperimentState_EXPERIMENT_STATE_CANCELLED, fmt.Sprintf("cancelled with %d of %d runs done", e.ended.done, max(e.sum().runs, e.ended.runs))
	case e.ended.failed > 0:
		return pb.ExperimentState_EXPERIMENT_STATE_FAILED, fmt.Sprintf("%d of %d runs failed; %s: %s", e.ended.failed, e.ended.runs, e.ended.firstFailure, e.ended.failure)
	}
	return pb.ExperimentState_EXPERIMENT_STATE_DONE, ""
}

// free is a worker with slots left while assignments are decided.
type free struct {
	id    string
	w     *worker
	slots int
}

// assign decides which pending segments go to which workers.
func (s *Service) assign() []action {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()

	// Workers that take work; with a slot left or not, for "nobody else can".
	var ws []*free
	slots := 0
	for _, id := range slices.Sorted(maps.Keys(s.state.workers)) {
		w := s.state.workers[id]
		if w.rec.Draining || w.rec.Problem != "" || s.state.outOfService(id, now) {
			continue
		}
		f := &free{id, w, max(0, int(w.rec.Slots)-w.busy)}
		ws = append(ws, f)
		slots += f.slots
	}
	if slots == 0 {
		return nil
	}

	type queue struct {
		e       *exp
		running int
		pending []*segment
	}
	var qs []*queue
	for _, e := range s.state.experiments {
		if e.rec == nil || e.rec.State != 0 || e.control != 0 {
			continue
		}
		q := &queue{e: e}
		for _, r := range e.active {
			switch g := r.last(); {
			case g == nil:
			case g.rec.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED:
				q.running++
			case g.rec.State == pb.SegmentState_SEGMENT_STATE_PENDING && len(g.rec.Failures) < s.cfg.MaxFailures:
				q.pending = append(q.pending, g)
			}
		}
		if len(q.pending) == 0 {
			continue
		}
		slices.SortFunc(q.pending, func(a, b *segment) int {
			return cmp.Or(cmp.Compare(e.place(a.run), e.place(b.run)), cmp.Compare(a.run.id, b.run.id))
		})
		qs = append(qs, q)
	}

	var out []action
	for len(qs) > 0 && slots > 0 {
		q := slices.MinFunc(qs, func(a, b *queue) int {
			return cmp.Or(cmp.Compare(a.running, b.running),
				a.e.rec.CreatedAt.AsTime().Compare(b.e.rec.CreatedAt.AsTime()), cmp.Compare(a.e.id, b.e.id))
		})
		g := q.pending[0]
		q.pending = q.pending[1:]
		if len(q.pending) == 0 {
			qs = slices.DeleteFunc(qs, func(x *queue) bool { return x == q })
		}
		if to := choose(g, ws); to != nil {
			to.slots--
			slots--
			q.running++
			out = append(out, s.give(g, to, now))
		}
	}
	return out
}

// lacking returns the datasets of those needed that a worker does not have.
func lacking(w *pb.Worker, need []string) (out []string) {
	for _, name := range need {
		if slices.Contains(w.MissingDatasets, name) {
			out = append(out, name)
		}
	}
	return out
}

// datasets returns what a run reads.
func (r *run) datasets() []string {
	if t := r.exp.trials[r.rec.Trial]; t != nil {
		return t.rec.Datasets
	}
	return nil
}

// choose picks the worker for a segment: of its numerics version and with its
// datasets, not one that has failed it unless there is no other, best the one that has just done the
// run's previous segment, else the one with the most free slots.
func choose(g *segment, ws []*free) *free {
	failed := func(id string) bool {
		return slices.ContainsFunc(g.rec.Failures, func(f *pb.SegmentFailure) bool { return f.Worker == id })
	}
	need := g.run.datasets()
	able := func(f *free) bool {
		return f.w.rec.NumericsVersion == g.run.rec.NumericsVersion && len(lacking(f.w.rec, need)) == 0
	}
	fresh := slices.ContainsFunc(ws, func(f *free) bool { return able(f) && !failed(f.id) })
	warm := ""
	if n := len(g.run.segs); n > 1 {
		warm = g.run.segs[n-2].rec.Worker
	}
	var best *free
	for _, f := range ws {
		if f.slots == 0 || !able(f) || fresh && failed(f.id) {
			continue
		}
		if f.id == warm {
			return f
		}
		if best == nil || f.slots > best.slots {
			best = f
		}
	}
	return best
}

func (s *Service) give(g *segment, to *free, now time.Time) action {
	rec, mod := g.rec, g.mod
	holder := cluster.Holder{ID: to.id, Rev: to.w.rev}
	return action{"assign", rec.Ref.Run, func(ctx context.Context) (int64, error) {
		rev, err := s.cluster.Assign(ctx, rec, mod, holder, now)
		if err == nil {
			s.metrics.Assigned(now.Sub(rec.QueuedAt.AsTime()).Seconds())
			s.log.Debug("assigned", "run", rec.Ref.Run, "first", rec.Ref.FirstStep, "worker", to.id, "attempt", rec.Attempt+1)
		}
		return rev, err
	}}
}
