package mirror

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// MainTrack is the track of a run's own life.
const MainTrack = cluster.MainTrack

// DeferredTrack is the track that forks from the main one at a step, for a
// deferred measurement.
func DeferredTrack(step int64) string { return cluster.DeferredTrack(step) }

// Run is a run with its segments. Rec is nil until its record is there.
type Run struct {
	ID         string
	Experiment *Experiment
	Rec        *pb.Run
	Rev        Rev
	Segments   []*Segment // of the main track, by first step
	// Deferred are the segments of deferred measurements, each of a track of its
	// own, by first step.
	Deferred []*Segment
	// Pruned is the number of leading segments whose checkpoints are deleted.
	Pruned int
}

// Segment is a segment of a run.
type Segment struct {
	Run     *Run
	Rec     *pb.Segment
	Mod     int64
	Dropped bool // its checkpoint is deleted
	// FailedAt is when its last failure was seen, by this process's clock; zero where
	// that was before its time.
	FailedAt time.Time
}

// EarlierOf is where a segment has started, for the one that goes on from its end.
func EarlierOf(seg *pb.Segment) *pb.Earlier { return cluster.EarlierOf(seg) }

// SegmentAt is a segment at a revision, for use outside of the mirror.
type SegmentAt = cluster.SegmentAt

// Final reports whether a run in this state has ended.
func Final(s pb.RunState) bool {
	switch s {
	case pb.RunState_RUN_STATE_DONE, pb.RunState_RUN_STATE_DIVERGED, pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
		return true
	}
	return false
}

func (e *Experiment) run(id string) *Run {
	r := e.Runs[id]
	if r == nil {
		r = &Run{ID: id, Experiment: e}
		e.Runs[id] = r
	}
	return r
}

func (e *Experiment) setRun(c cluster.Change) {
	r := e.run(c.Run)
	e.unfile(r)
	if c.Deleted {
		r.Rec = nil
		e.forget(r)
		e.Begun = 0 // the next look finds the place again
		return
	}
	r.Rec, r.Rev = c.Msg.(*pb.Run), c.Rev
	e.file(r)
}

// file puts a run among those that are active, have ended, or are to be done again.
func (e *Experiment) file(r *Run) {
	switch {
	case !Final(r.Rec.State):
		e.Active[r.ID] = r
	case e.doneAgain(r.Rec):
		e.Again[r.ID] = r
	default:
		e.Ended.add(r.Rec, 1)
		if finished(r.Rec) {
			e.byKey[r.Rec.RunKey] = r
		}
	}
}

// finished reports whether a run has all of its results.
func finished(r *pb.Run) bool {
	result := r.State == pb.RunState_RUN_STATE_DONE && r.Message == "" || r.State == pb.RunState_RUN_STATE_DIVERGED && r.Divergence != nil
	return result && r.RunKey != "" && r.Digest != ""
}

func (e *Experiment) unfile(r *Run) {
	switch {
	case r.Rec == nil:
	case e.Active[r.ID] != nil:
		delete(e.Active, r.ID)
	case e.Again[r.ID] != nil:
		delete(e.Again, r.ID)
	default:
		if e.byKey[r.Rec.RunKey] == r {
			delete(e.byKey, r.Rec.RunKey)
		}
		if e.Ended.add(r.Rec, -1); e.Ended.Failed > 0 && e.Ended.FirstFailure == "" {
			e.nameFailure(r)
		}
	}
}

// nameFailure finds the first of the failed runs but for one.
func (e *Experiment) nameFailure(but *Run) {
	for _, r := range e.Runs {
		if r != but && r.Rec.GetState() == pb.RunState_RUN_STATE_FAILED && e.Again[r.ID] == nil {
			if t := &e.Ended; t.FirstFailure == "" || r.ID < t.FirstFailure {
				t.FirstFailure, t.Failure = r.ID, r.Rec.Message
			}
		}
	}
}

// doneAgain reports whether a run that has ended is to be done again: its experiment was
// taken up again since.
func (e *Experiment) doneAgain(r *pb.Run) bool {
	if e.Rec == nil || e.Rec.State != 0 || r.Generation >= e.Rec.Generation {
		return false
	}
	if t := e.Trials[r.Trial]; t != nil && r.State == pb.RunState_RUN_STATE_DONE && r.Steps < t.Steps() {
		return true
	}
	switch {
	case r.State == pb.RunState_RUN_STATE_CANCELLED:
		return true // the experiment is not cancelled any more
	case len(e.Rec.Again) > 0:
		return slices.Contains(e.Rec.Again, r.Id)
	}
	return r.State == pb.RunState_RUN_STATE_FAILED
}

// Ended reports whether a run has ended and is not to be done again.
func (r *Run) Ended() bool {
	return r.Rec != nil && Final(r.Rec.State) && r.Experiment.Again[r.ID] == nil
}

// forget leaves out a run of which nothing is there any more.
func (e *Experiment) forget(r *Run) {
	if r.Rec == nil && len(r.Segments)+len(r.Deferred) == 0 {
		delete(e.Runs, r.ID)
	}
}

// moved is what became of a segment.
type moved struct {
	commits, failures int
	good, bad         string // worker that committed; that failed by its own fault
}

func (e *Experiment) setSegment(c cluster.Change, now time.Time) (m moved) {
	main := c.Ref.Track == MainTrack
	if !main && !cluster.IsDeferred(c.Ref.Track) {
		return m
	}
	r := e.run(c.Run)
	segs := &r.Segments
	if !main {
		segs = &r.Deferred
	}
	i, found := find(*segs, c.Ref.FirstStep)
	if c.Deleted {
		if found {
			*segs = slices.Delete(*segs, i, i+1)
		}
		e.forget(r)
		return m
	}
	rec := c.Msg.(*pb.Segment)
	if !found {
		*segs = slices.Insert(*segs, i, &Segment{Run: r, Rec: rec, Mod: c.Rev.Mod})
		return m
	}
	g := (*segs)[i]
	old := g.Rec
	g.Rec, g.Mod = rec, c.Rev.Mod
	if done := pb.SegmentState_SEGMENT_STATE_DONE; rec.State == done && old.State != done {
		m.commits, m.good = 1, rec.Worker
	}
	if k := len(rec.Failures) - len(old.Failures); k > 0 {
		m.failures, g.FailedAt = k, now
		if f := rec.Failures[len(rec.Failures)-1]; !f.Permanent {
			m.bad = f.Worker
		}
	}
	return m
}

// find returns the place of the segment that begins at a step.
func find(segs []*Segment, first int64) (int, bool) {
	return slices.BinarySearchFunc(segs, first, func(g *Segment, first int64) int {
		return cmp.Compare(g.Rec.Ref.FirstStep, first)
	})
}

// Trial is the run's trial; nil where its record is missing.
func (r *Run) Trial() *Trial { return r.Experiment.Trials[r.Rec.GetTrial()] }

// Datasets returns what a run reads.
func (r *Run) Datasets() []string {
	if t := r.Trial(); t != nil {
		return t.Rec.Datasets
	}
	return nil
}

// Last is the main track's latest segment: the only one of it that may be open.
func (r *Run) Last() *Segment {
	if len(r.Segments) == 0 {
		return nil
	}
	return r.Segments[len(r.Segments)-1]
}

// DeferredAt is the measurement that forks at a step; nil where there is none.
func (r *Run) DeferredAt(step int64) *Segment {
	if i, found := find(r.Deferred, step); found {
		return r.Deferred[i]
	}
	return nil
}

// Going are the segments of a run that may be open: the main track's last, and
// the deferred measurements.
func (r *Run) Going() iter.Seq[*Segment] {
	return func(yield func(*Segment) bool) {
		if g := r.Last(); g != nil && !yield(g) {
			return
		}
		for _, g := range r.Deferred {
			if !yield(g) {
				return
			}
		}
	}
}

// Trained reports whether the main track is committed to its end: its last step, or
// where it diverged.
func (r *Run) Trained() bool {
	g := r.Last()
	return g != nil && g.Done() && (g.Rec.Result.GetEndStep() >= r.Rec.GetSteps() || r.Divergence() != nil)
}

// Divergence is where the main track diverged; nil where it has not.
func (r *Run) Divergence() *pb.Divergence {
	if g := r.Last(); g != nil && g.Done() {
		return g.Rec.Result.GetDivergence()
	}
	return nil
}

// State derives where a run stands.
func (r *Run) State() pb.RunState {
	if r.Ended() {
		return r.Rec.State
	}
	for _, g := range r.Segments {
		switch g.Rec.State {
		case pb.SegmentState_SEGMENT_STATE_ASSIGNED, pb.SegmentState_SEGMENT_STATE_DONE:
			return pb.RunState_RUN_STATE_RUNNING
		}
	}
	return pb.RunState_RUN_STATE_PENDING
}

// View is the run as clients see it, but for why it is pending: its record
// where it has ended, a copy with state and progress filled in where not.
func (r *Run) View() *pb.Run {
	if r.Ended() {
		return r.Rec
	}
	v := proto.CloneOf(r.Rec)
	v.Message = ""
	v.State = r.State()
	segs, deferred := r.Snapshot()
	FillProgress(v, segs, deferred)
	return v
}

// Snapshot copies a run's segments for use outside of the mirror, those of the
// main track and those of deferred measurements.
func (r *Run) Snapshot() (segs, deferred []SegmentAt) {
	return At(r.Segments), At(r.Deferred)
}

// At copies segments for use outside of the mirror.
func At(segs []*Segment) []SegmentAt {
	out := make([]SegmentAt, len(segs))
	for i, g := range segs {
		out[i] = SegmentAt{Segment: g.Rec, Mod: g.Mod}
	}
	return out
}

// FillProgress sets what is derived from a run's committed segments.
func FillProgress(rec *pb.Run, segs, deferred []SegmentAt) {
	rec.StepsDone, rec.TasksDone, rec.AsidesDone, rec.Seconds = 0, 0, 0, 0
	left := &pb.Committed{Metrics: &pb.MetricManifest{}}
	rec.Committed = left
	add := func(m *pb.MetricManifest) {
		left.Metrics.Steps += m.GetSteps()
		left.Metrics.Values += m.GetValues()
	}
	for _, g := range deferred {
		left.Attempt = max(left.Attempt, g.Segment.Attempt)
		if g.Segment.State == pb.SegmentState_SEGMENT_STATE_DONE {
			rec.AsidesDone++
			rec.Seconds += g.Segment.Result.GetSeconds()
			add(g.Segment.Result.GetMetrics())
		}
	}
	for _, g := range segs {
		left.Attempt = max(left.Attempt, g.Segment.Attempt)
		if res := g.Segment.Result; g.Segment.State == pb.SegmentState_SEGMENT_STATE_DONE {
			rec.StepsDone = max(rec.StepsDone, res.GetEndStep())
			left.Step, left.Checkpoint = res.GetEndStep(), res.GetCheckpoint()
			add(res.GetMetrics())
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

// Pending reports whether a segment waits for a worker.
func (g *Segment) Pending() bool { return g.Rec.State == pb.SegmentState_SEGMENT_STATE_PENDING }

// Assigned reports whether a worker has a segment, or had it when it was lost.
func (g *Segment) Assigned() bool { return g.Rec.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED }

// Done reports whether a segment is committed.
func (g *Segment) Done() bool { return g.Rec.State == pb.SegmentState_SEGMENT_STATE_DONE }

// IsDeferred reports whether a segment is a deferred measurement.
func (g *Segment) IsDeferred() bool { return cluster.IsDeferred(g.Rec.Ref.GetTrack()) }

// Trouble is the last error of a segment, or its state where it has none.
func (g *Segment) Trouble() string {
	if n := len(g.Rec.Failures); n > 0 {
		return g.Rec.Failures[n-1].Error
	}
	return "segment is " + g.Rec.State.String()
}
