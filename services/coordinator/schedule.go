package coordinator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/internal/cluster"
	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// upkeep decides everything but assignments: what follows from what has
// happened since.
func (s *Service) upkeep() []action {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []action
	slots, lanes := s.slots()
	for _, e := range s.state.experiments {
		if e.live() {
			out = append(out, s.upkeepOf(e, slots, lanes)...)
		}
	}
	return out
}

// slots is how many segments or packs of new runs the workers could do at a
// time, and the largest pack that one of them takes.
func (s *Service) slots() (n, lanes int) {
	lanes = 1
	for _, w := range s.state.workers {
		if !w.rec.Draining && w.rec.Problem == "" && w.rec.NumericsVersion == s.cfg.NumericsVersion {
			n += int(w.rec.Slots)
			lanes = max(lanes, w.lanes())
		}
	}
	return n, lanes
}

func (s *Service) upkeepOf(e *exp, slots, lanes int) []action {
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
		out = append(out, s.upkeepRun(r)...)
	}
	total := e.sum()
	tuned := e.ended.runs-e.ended.confirmations == total.runs-total.confirmations
	switch {
	case tuned && e.confirmSeeds().len() > 0 && !e.rec.SelectionDone:
		return append(out, s.selectTrials(e))
	case e.ended.runs == total.runs:
		return append(out, s.endExperiment(e))
	}
	if a, ok := s.enqueue(e, slots, lanes); ok {
		out = append(out, a)
	}
	return out
}

// upkeepRun decides what to do about one run that has not ended.
func (s *Service) upkeepRun(r *run) (out []action) {
	end := func(to pb.RunState, msg string) []action { return []action{s.endRun(r, to, msg)} }
	g := r.last()
	if g == nil {
		return end(pb.RunState_RUN_STATE_FAILED, "its segments are gone from etcd")
	}
	switch g.rec.State {
	case pb.SegmentState_SEGMENT_STATE_DONE:
		switch {
		case !r.trained():
			out = append(out, s.continueRun(r, g))
		case s.measured(r):
			return end(pb.RunState_RUN_STATE_DONE, s.lack(r))
		}
	case pb.SegmentState_SEGMENT_STATE_ASSIGNED:
		if _, ok := s.state.slot(g.rec); !ok {
			out = append(out, s.requeue(g))
		}
	case pb.SegmentState_SEGMENT_STATE_PENDING:
		if n := len(g.rec.Failures); n >= s.cfg.MaxFailures {
			f := g.rec.Failures[n-1]
			return end(pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("failed %d times at steps %d to %d, last on worker %s: %s", n, g.rec.Ref.FirstStep, g.rec.Ref.EndStep, f.Worker, f.Error))
		}
	case pb.SegmentState_SEGMENT_STATE_FAILED, pb.SegmentState_SEGMENT_STATE_CANCELLED:
		return end(pb.RunState_RUN_STATE_FAILED, g.trouble())
	}
	out = append(out, s.upkeepAsides(r)...)
	if len(out) == 0 {
		if a, ok := s.prune(r); ok {
			out = append(out, a)
		}
	}
	return out
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

// enqueue creates runs, up to QueuePerSlot waiting segments for each slot; of
// runs that can be packed, as many as fill a pack count as one.
func (s *Service) enqueue(e *exp, slots, lanes int) (action, bool) {
	room := float64(slots * s.cfg.QueuePerSlot)
	share := func(t *trial) float64 { return 1 / float64(min(t.pack(), lanes)) }
	for _, r := range e.active {
		if g := r.last(); g != nil && g.rec.State != pb.SegmentState_SEGMENT_STATE_ASSIGNED && !r.trained() {
			room -= share(r.trial()) // waiting, or about to have a next one that waits
		}
	}
	const least = 1e-9 // what sums of shares may be off by
	var begins []begin
	gap := false
	seq := e.cursor
	for room > least {
		w, skip, end := e.at(seq)
		if end {
			break
		}
		if !skip {
			if r := e.runs[w.id(e)]; r == nil || r.rec == nil {
				gap = true
				in, first, failed := e.inputs(w)
				switch {
				case failed != "":
					begins = append(begins, begin{want: w, failed: failed})
				case first == "":
					begins = append(begins, begin{want: w, inputs: in})
					room -= share(w.trial)
				}
			}
		}
		seq++
		if !gap {
			e.cursor = seq
		}
	}
	if len(begins) == 0 {
		return action{}, false
	}
	id, mod, per := e.id, e.mod, e.rec.SegmentTasks
	return action{"create runs", id, func(ctx context.Context) (int64, error) {
		return s.createRuns(ctx, id, mod, begins, per)
	}}, true
}

// begin is a run that can be created, or whose end is known before it begins.
type begin struct {
	want
	inputs []*pb.Input
	failed string // why it cannot begin
}

// inputs are the artifacts that a run starts from. first is a run that has to
// end before; failed says why the run can never begin.
func (e *exp) inputs(w want) (in []*pb.Input, first, failed string) {
	for _, n := range w.trial.rec.Needs {
		seeds := e.seedsOf(n, w)
		for i := range seeds.len() {
			id := experiment.RunID(e.id, n.Trial, seeds.at(i))
			r := e.runs[id]
			if r != nil && r.rec != nil && !final(r.rec.State) && r.trained() {
				// What is still measured of it changes none of its artifacts.
				if ref := r.last().rec.Result.GetArtifacts()[n.Artifact]; ref != nil && n.Artifact != analysis.Table {
					in = append(in, &pb.Input{Name: n.Name, Run: id, Artifact: n.Artifact, Blob: ref})
					continue
				}
			}
			if r == nil || r.rec == nil || !final(r.rec.State) {
				first = cmp.Or(first, id)
				continue
			}
			if r.rec.State != pb.RunState_RUN_STATE_DONE {
				return nil, "", fmt.Sprintf("it starts from %s of run %s, which is %s: %s", n.Artifact, id, runStateName(r.rec.State), r.rec.Message)
			}
			ref := r.rec.Artifacts[n.Artifact]
			if n.Artifact == analysis.Table {
				ref = r.rec.Table
			}
			if ref == nil {
				return nil, "", fmt.Sprintf("it starts from %s of run %s, which has not published it", n.Artifact, id)
			}
			in = append(in, &pb.Input{Name: n.Name, Run: id, Artifact: n.Artifact, Blob: ref})
		}
	}
	return in, first, ""
}

// seedsOf are the seeds of the runs from which a run takes what n says.
func (e *exp) seedsOf(n *pb.TrialNeed, w want) seedSet {
	from := e.trials[n.Trial]
	all := e.confirmSeeds()
	if from != nil && !w.confirmation {
		all = from.seeds()
	}
	one := func(seed uint32) seedSet { return seedSet{&pb.Seeds{List: []uint32{seed}}} }
	switch {
	case n.Seed != nil:
		return one(n.GetSeed())
	case from != nil && from.rec.Once:
		return one(all.at(0))
	case n.AllSeeds:
		return all
	}
	return one(w.seed)
}

func (s *Service) createRuns(ctx context.Context, id string, mod int64, begins []begin, per int32) (int64, error) {
	specs := map[string][]byte{}
	now := timestamppb.New(s.cfg.Now())
	var runs []cluster.NewRun
	for _, w := range begins {
		t := w.trial.rec
		if specs[t.Name] == nil {
			full, err := s.cluster.Trial(ctx, id, t.Name)
			if err != nil {
				return 0, err
			}
			specs[t.Name] = full.CanonicalSpec
		}
		key, err := s.model.RunKey(specs[t.Name], w.seed, w.inputs)
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
			Inputs:          w.inputs,
			Publishes:       t.Publishes,
			Analysis:        t.Analysis,
			Asides:          int32(w.trial.measured),
		}
		if w.failed != "" {
			r.RunKey, r.State, r.Message = "", pb.RunState_RUN_STATE_FAILED, w.failed
			runs = append(runs, cluster.NewRun{Run: r})
			continue
		}
		runs = append(runs, cluster.NewRun{Run: r, Segment: &pb.Segment{
			Ref:      &pb.SegmentRef{Run: r.Id, Track: cluster.MainTrack, EndStep: w.trial.asides.Cut(0, per)},
			State:    pb.SegmentState_SEGMENT_STATE_PENDING,
			QueuedAt: now,
		}})
	}
	rev, err := s.cluster.AddRuns(ctx, id, mod, runs)
	if err != nil {
		return rev, err
	}
	for _, r := range runs {
		if r.Segment == nil {
			s.metrics.RunEnded(runStateName(r.Run.State))
			s.log.Info("run ended before it began", "run", r.Run.Id, "state", runStateName(r.Run.State), "message", r.Run.Message)
		}
	}
	return rev, nil
}

// continueRun queues the segment after the last, up to the next place where the
// experiment's segment length cuts, or something is measured aside.
func (s *Service) continueRun(r *run, g *segment) action {
	prev, mod := g.rec, g.mod
	first := prev.Result.GetEndStep()
	if prev.Result.GetCheckpoint() == nil {
		return s.endRun(r, pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("worker %s committed step %d without a checkpoint", prev.Worker, first))
	}
	end := r.rec.Steps
	if t := r.trial(); t != nil {
		end = t.asides.Cut(first, r.exp.rec.SegmentTasks)
	}
	next := &pb.Segment{
		Ref:      &pb.SegmentRef{Run: r.id, Track: cluster.MainTrack, FirstStep: first, EndStep: end},
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
	return action{"requeue", rec.Ref.Run + " " + rec.Ref.Track, func(ctx context.Context) (int64, error) {
		rev, err := s.cluster.Requeue(ctx, rec, mod, s.cfg.Now())
		if err == nil {
			s.metrics.Requeued()
			s.log.Info("worker lost, segment queued again", "worker", rec.Worker, "run", rec.Ref.Run, "track", rec.Ref.Track, "first", rec.Ref.FirstStep, "attempt", rec.Attempt)
		}
		return rev, err
	}}
}

// keepCheckpoints is how many committed checkpoints a running run keeps: the
// one its next segment starts from, and the one before in case that is damaged.
const keepCheckpoints = 2

// prune deletes checkpoints that nothing will start from.
func (s *Service) prune(r *run) (action, bool) {
	var old []*segment
	for i := r.pruned; i < len(r.segs)-1-keepCheckpoints; i++ {
		g := r.segs[i]
		if g.rec.State == pb.SegmentState_SEGMENT_STATE_DONE && !g.dropped && g.rec.Result.GetCheckpoint() != nil && !s.unmeasured(r, g.rec.Result.EndStep) {
			old = append(old, g)
		}
	}
	if len(old) == 0 {
		return action{}, false
	}
	keys := make([]string, len(old))
	for i, g := range old {
		keys[i] = g.rec.Result.Checkpoint.Key
	}
	return action{"delete old checkpoints", r.id, func(ctx context.Context) (int64, error) {
		for _, key := range keys {
			if err := s.blob.Remove(ctx, key); err != nil {
				return 0, err
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, g := range old {
			g.dropped = true
		}
		for r.pruned < len(r.segs) && r.segs[r.pruned].dropped {
			r.pruned++
		}
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
	return pb.ExperimentState_EXPERIMENT_STATE_DONE, e.lack()
}

// lack says what measurements the runs that are done lack, or "".
func (e *exp) lack() string {
	if e.ended.lacking == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d runs lack measurements; %s: %s", e.ended.lacking, e.ended.runs, e.ended.firstLacking, e.ended.lack)
}

// free is a worker with slots left while assignments are decided.
type free struct {
	id    string
	w     *worker
	slots int
}

// queue is what an experiment has to give.
type queue struct {
	e       *exp
	running int // slots that work on it
	pending []*segment
	// coming are runs that can be packed and are between two segments: form and
	// step of the segments that are about to be queued.
	coming map[lockstep]bool
}

// lockstep is what segments have in common that can be done as a pack.
type lockstep struct {
	form       [sha256.Size]byte // of the trial
	numerics   int32
	first, end int64 // of those that are coming only first
}

// assign decides which pending segments go to which workers.
func (s *Service) assign() []action {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()

	// Workers that take work; with a slot left or not, for "nobody else can".
	var ws []*free
	slots, all := 0, 0
	for _, id := range slices.Sorted(maps.Keys(s.state.workers)) {
		w := s.state.workers[id]
		if w.rec.Draining || w.rec.Problem != "" || s.state.outOfService(id, now) {
			continue
		}
		f := &free{id, w, max(0, int(w.rec.Slots)-w.busy)}
		ws = append(ws, f)
		slots += f.slots
		all += int(w.rec.Slots)
	}
	if slots == 0 {
		return nil
	}

	var qs []*queue
	open := 0
	for _, e := range s.state.experiments {
		if e.rec == nil || e.rec.State != 0 || e.control != 0 {
			continue
		}
		q, n := s.queue(e, all)
		open += n
		if len(q.pending) > 0 {
			qs = append(qs, q)
		}
	}
	// What is in work or waits, evenly over all slots: more than this share for
	// one slot would leave another without work.
	share := (open + all - 1) / all

	var out []action
	for len(qs) > 0 && slots > 0 {
		q := slices.MinFunc(qs, func(a, b *queue) int {
			return cmp.Or(cmp.Compare(a.running, b.running),
				a.e.rec.CreatedAt.AsTime().Compare(b.e.rec.CreatedAt.AsTime()), cmp.Compare(a.e.id, b.e.id))
		})
		g := q.pending[0]
		q.pending = q.pending[1:]
		if to := choose(g, ws); to != nil && !q.waits(g) {
			to.slots--
			slots--
			q.running++
			out = append(out, s.give(q.pack(g, min(share, to.w.lanes())), to, now))
		}
		if len(q.pending) == 0 {
			qs = slices.DeleteFunc(qs, func(x *queue) bool { return x == q })
		}
	}
	return out
}

// queue lists what of an experiment is pending, and counts its open segments.
func (s *Service) queue(e *exp, slots int) (q *queue, open int) {
	asides := 0
	q = &queue{e: e, coming: map[lockstep]bool{}}
	places := map[[2]string]bool{}
	for _, r := range e.active {
		for g := range r.going() {
			switch {
			case g.rec.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED:
				open++
				if place, ok := s.state.slot(g.rec); ok {
					places[place] = true
				}
			case g.rec.State == pb.SegmentState_SEGMENT_STATE_PENDING && !s.settled(g):
				open++
				if g.aside() {
					asides++
				}
				q.pending = append(q.pending, g)
			case g.rec.State == pb.SegmentState_SEGMENT_STATE_DONE && !g.aside() && g.rec.Result.GetEndStep() < r.rec.Steps && r.trial().pack() > 1:
				q.coming[lockstep{r.trial().form, r.rec.NumericsVersion, g.rec.Result.GetEndStep(), 0}] = true
			}
		}
	}
	q.running = len(places)
	// Training goes first: what is measured aside is for workers that it leaves idle.
	// Where much of it waits, and checkpoints with it, no more runs begin before.
	rank := func(g *segment) int {
		switch {
		case g.aside():
			return 1
		case g.rec.Ref.FirstStep == 0 && asides > slots*asidesPerSlot:
			return 2
		}
		return 0
	}
	slices.SortFunc(q.pending, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(e.place(a.run), e.place(b.run)), cmp.Compare(a.run.id, b.run.id),
			cmp.Compare(a.rec.Ref.FirstStep, b.rec.Ref.FirstStep))
	})
	return q, open
}

// lockstep says what a segment can be packed with. One that has failed goes
// alone, so that what fails is found and takes no other along.
func (g *segment) lockstep() (k lockstep, ok bool) {
	t := g.run.trial()
	if t == nil {
		return lockstep{}, false
	}
	k = lockstep{t.form, g.run.rec.NumericsVersion, g.rec.Ref.FirstStep, g.rec.Ref.EndStep}
	return k, t.pack() > 1 && len(g.rec.Failures) == 0 && !g.aside()
}

// waits tells whether a segment had better be given in a moment, with others
// that are about to be queued: they were its pack in the segment before, whose
// commits come one by one. A run passes each step once, so this ends.
func (q *queue) waits(g *segment) bool {
	k, ok := g.lockstep()
	k.end = 0
	return ok && q.coming[k]
}

// pack takes up to n segments from the queue that can be done in lockstep, with
// g, which has been taken, as the first.
func (q *queue) pack(g *segment, n int) []*segment {
	out := []*segment{g}
	k, ok := g.lockstep()
	if n = min(n, g.run.trial().pack()); !ok || n < 2 {
		return out
	}
	q.pending = slices.DeleteFunc(q.pending, func(x *segment) bool {
		other, ok := x.lockstep()
		if !ok || other != k || len(out) >= n {
			return false
		}
		out = append(out, x)
		return true
	})
	return out
}

// pack is how many of a trial's runs do best in one slot, at least 1.
func (t *trial) pack() int {
	if t == nil {
		return 1
	}
	return min(max(1, int(t.rec.Pack)), cluster.MaxPack)
}

// trial is the run's trial; nil where its record is missing.
func (r *run) trial() *trial { return r.exp.trials[r.rec.GetTrial()] }

// lanes is the most segments that a worker takes for one slot, at least 1.
func (w *worker) lanes() int { return max(1, int(w.rec.Lanes)) }

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
	if t := r.trial(); t != nil {
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
	if n := len(g.run.segs); n > 1 && !g.aside() {
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

func (s *Service) give(gs []*segment, to *free, now time.Time) action {
	segs := make([]cluster.SegmentAt, len(gs))
	for i, g := range gs {
		segs[i] = cluster.SegmentAt{Segment: g.rec, Mod: g.mod}
	}
	holder := cluster.Holder{ID: to.id, Rev: to.w.rev}
	return action{"assign", segs[0].Segment.Ref.Run + " " + segs[0].Segment.Ref.Track, func(ctx context.Context) (int64, error) {
		rev, err := s.cluster.AssignPack(ctx, segs, holder, now)
		if err == nil {
			for _, x := range segs {
				s.metrics.Assigned(now.Sub(x.Segment.QueuedAt.AsTime()).Seconds())
			}
			first := segs[0].Segment
			s.log.Debug("assigned", "run", first.Ref.Run, "track", first.Ref.Track, "first", first.Ref.FirstStep, "worker", to.id, "attempt", first.Attempt+1, "lanes", len(segs))
		}
		return rev, err
	}}
}
