package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// maxRuns is how many runs' specs are kept decoded.
const maxRuns = 256

// runInfo is what does not change about a run.
type runInfo struct {
	program program
	seed    uint32
	arm     string
	steps   int64

	inputs    []*pb.Input // artifacts of other runs that it starts from
	publishes []string    // names of those of its own that it leaves
}

// warmLife is a life that stands where its checkpoint was made, or a pack of
// them, which is kept under the first one's key.
type warmLife struct {
	life   life // nil of a pack
	step   int64
	sha256 string
	warmPack
}

// outcome is a segment lived through, up to where it was stopped.
type outcome struct {
	life   life
	result *pb.SegmentResult
	last   bool // the run has no further steps on this track
}

// errUnbegun: a drain came before the first step.
var errUnbegun = errors.New("stopped before the first step")

// runError is the run's own fault: another worker would meet it as well.
type runError struct{ err error }

func (e *runError) Error() string { return e.err.Error() }
func (e *runError) Unwrap() error { return e.err }

// panicError is a panic of the engine.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("panic: %v (the worker's log has the stack)", e.value)
}

// safely calls f, and returns a panic in it as a *panicError.
func safely(f func() error) (err error) {
	defer func() {
		if x := recover(); x != nil {
			err = &panicError{value: x, stack: debug.Stack()}
		}
	}()
	return f()
}

// permanent tells whether no worker could do better: errors of the engine but
// for those of this machine's data.
func permanent(err error) bool {
	if _, ok := errors.AsType[*data.MissingError](err); ok {
		return false
	}
	if _, ok := errors.AsType[*data.CorruptError](err); ok {
		return false
	}
	_, ok := errors.AsType[*runError](err)
	return ok
}

// work does what takes a slot: a job, or a pack of them. hard ends when there
// is no more time.
func (w *Worker) work(hard context.Context, jobs []*job) {
	defer w.tel.Busy()()
	if len(jobs) > 1 {
		jobs = w.lockstep(hard, jobs)
	}
	for _, j := range jobs {
		w.do(hard, j)
	}
}

// do runs a job to one of its ends.
func (w *Worker) do(hard context.Context, j *job) {
	defer w.board.end(j)
	var out outcome
	err := safely(func() (err error) {
		out, err = w.live(j)
		return err
	})
	if w.conclude(hard, j, out, err) && !out.last {
		r := out.result
		w.warm.put(j.key, warmLife{life: out.life, step: r.GetEndStep(), sha256: r.GetCheckpoint().GetSha256()}, warmBytes(r))
	}
}

// warmBytes estimates what a life takes: what is not in the checkpoint,
// intermediates and batches, is taken to be about as much again.
func warmBytes(r *pb.SegmentResult) int64 { return 2 * r.GetCheckpoint().GetBytes() }

// conclude brings a job that was lived through, or was not because of err, to
// its end. It tells whether that is a commit.
func (w *Worker) conclude(hard context.Context, j *job, out outcome, err error) (committed bool) {
	log := w.log.With("run", j.key.run, "track", j.key.track, "first_step", j.ref.GetFirstStep(), "end_step", j.ref.GetEndStep())
	if err == nil {
		err = w.settle(hard, j, out.result)
	} else if errors.Is(err, cluster.ErrFenced) {
		w.board.decide(j, -1)
	}
	_, crashed := errors.AsType[*panicError](err)
	switch {
	case err == nil:
		r := out.result
		what := telemetry.SegmentDone
		if r.GetEndStep() < j.ref.GetEndStep() {
			what = telemetry.SegmentYielded
		}
		w.tel.Segment(what)
		log.Info("segment committed", "outcome", what, "done", r.GetEndStep(), "seconds", r.GetSeconds())
	case errors.Is(err, cluster.ErrFenced), !crashed && errors.Is(context.Cause(j.ctx), errWithdrawn):
		w.tel.Segment(telemetry.SegmentDropped)
		log.Info("segment dropped", "reason", err)
	case hard.Err() != nil:
		// The lease's end gives it to others.
		w.tel.Segment(telemetry.SegmentDropped)
		log.Warn("segment given up: no time left to save it", "error", err)
	case errors.Is(err, errUnbegun), errors.Is(err, metricsclient.ErrFenced), errors.Is(err, metricsclient.ErrClosed):
		// Fenced by the metrics service alone: its attempts are ahead of the
		// cluster's, and the next assignment's will be higher.
		log.Info("segment given back", "reason", err)
		w.release(hard, j)
	default:
		w.fail(hard, j, log, err)
	}
	return err == nil
}

// live takes a job's segment from its start to a result that can be committed:
// lived, saved, and its metrics durable.
func (w *Worker) live(j *job) (outcome, error) {
	w.log.Debug("segment begins", "run", j.key.run, "first_step", j.ref.GetFirstStep(), "attempt", w.board.attempt(j))
	first, end := j.ref.GetFirstStep(), j.ref.GetEndStep()
	if first < 0 || end <= first {
		return outcome{}, &runError{fmt.Errorf("segment [%d, %d) is empty", first, end)}
	}
	run, l, err := w.begin(j)
	if err != nil {
		if j.steps.Err() != nil && j.ctx.Err() == nil {
			return outcome{}, errUnbegun
		}
		return outcome{}, err
	}
	mw, err := w.metrics.Open(j.key.run, j.key.track, run.arm, w.board.attempt(j), first)
	if err != nil {
		return outcome{}, err
	}
	defer mw.Close()
	s := &sink{ctx: j.ctx, writer: mw, tel: w.tel, clock: &clock{since: time.Now()}, lanes: 1}
	err = l.Advance(j.steps, end, s)
	s.pause()
	return w.wrapUp(j, run, l, s, err)
}

// wrapUp makes a result of a life that was asked to advance to the segment's
// end, which returned err.
func (w *Worker) wrapUp(j *job, run *runInfo, l life, s *sink, err error) (outcome, error) {
	first, end := j.ref.GetFirstStep(), j.ref.GetEndStep()
	switch sinkErr, ok := errors.AsType[*engine.SinkError](err); {
	case ok:
		return outcome{}, fmt.Errorf("metrics: %w", sinkErr.Err)
	case err != nil && j.ctx.Err() != nil:
		return outcome{}, context.Cause(j.ctx)
	case err != nil && j.steps.Err() != nil && errors.Is(err, context.Canceled):
		if l.Step() == first {
			return outcome{}, errUnbegun
		}
	case err != nil:
		return outcome{}, &runError{err}
	case l.Step() != end:
		return outcome{}, &runError{fmt.Errorf("the engine stopped at step %d instead of %d", l.Step(), end)}
	}

	r := &pb.SegmentResult{EndStep: l.Step(), Boundaries: s.boundaries, Rows: s.rows, Seconds: s.seconds()}
	for _, c := range l.Columns() {
		r.Columns = append(r.Columns, &pb.ColumnName{Metric: c.Metric, Layer: c.Layer})
	}
	c, goesOn := l.(checkpointer) // a measurement does not
	if goesOn {
		if r.Checkpoint, err = w.save(j, l, c); err != nil {
			return outcome{}, err
		}
	}
	flush, last := s.writer.Flush, !goesOn || l.Step() == run.steps
	if last {
		flush = s.writer.Finish
	}
	if p, ok := l.(publisher); ok && last {
		if r.Artifacts, err = w.publish(j, run, p); err != nil {
			return outcome{}, err
		}
	}
	if r.Metrics, err = flush(j.ctx); err != nil {
		return outcome{}, fmt.Errorf("metrics: %w", err)
	}
	return outcome{life: l, result: r, last: last}, nil
}

// begin returns the run and its life at the first step of the segment.
func (w *Worker) begin(j *job) (*runInfo, life, error) {
	run, err := w.run(j.steps, j.key.run)
	if err != nil {
		return nil, nil, err
	}
	first := j.ref.GetFirstStep()
	if k, ok := w.warm.take(j.key); ok && k.life != nil && j.start != nil && k.step == first && k.sha256 == j.start.GetSha256() {
		w.tel.Start("warm")
		return run, k.life, nil
	}
	if j.start == nil && first > 0 {
		return nil, nil, fmt.Errorf("no checkpoint to start from at step %d", first)
	}
	o, err := w.origin(j, run)
	if err != nil {
		return nil, nil, err
	}
	l, err := run.program.New(o)
	if err != nil {
		return nil, nil, &runError{err}
	}
	if j.start == nil {
		w.tel.Start("fresh")
		return run, l, nil
	}
	if err := w.load(j, l); err != nil {
		return nil, nil, err
	}
	w.tel.Start("checkpoint")
	return run, l, nil
}

// origin fetches what a run starts from.
func (w *Worker) origin(j *job, run *runInfo) (origin, error) {
	o := origin{seed: run.seed, aside: cluster.IsAside(j.key.track)}
	for _, in := range run.inputs {
		g := given{Input: in}
		err := w.retry(j.steps, "blob", "read artifact", func() (err error) {
			g.file, err = w.store.Get(j.steps, in.GetBlob(), w.cfg.MaxCheckpoint)
			return err
		})
		if err != nil {
			return origin{}, fmt.Errorf("artifact %s (%s of run %s): %w", in.GetName(), in.GetArtifact(), in.GetRun(), err)
		}
		o.inputs = append(o.inputs, g)
	}
	return o, nil
}

// publish stores the artifacts that a run leaves.
func (w *Worker) publish(j *job, run *runInfo, p publisher) (map[string]*pb.BlobRef, error) {
	out := map[string]*pb.BlobRef{}
	for _, name := range run.publishes {
		b, err := p.Artifact(name)
		if err != nil {
			return nil, &runError{err}
		}
		sum := sha256.Sum256(b)
		key, err := cluster.ArtifactKey(j.key.run, hex.EncodeToString(sum[:]))
		if err != nil {
			return nil, err
		}
		err = w.retry(j.ctx, "blob", "write artifact", func() (err error) {
			out[name], err = w.store.Put(j.ctx, key, b)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("write artifact %s: %w", name, err)
		}
	}
	return out, nil
}

// load brings a life that was just made to the first step of the segment.
func (w *Worker) load(j *job, l life) error {
	var b []byte
	err := w.retry(j.steps, "blob", "read checkpoint", func() (err error) {
		b, err = w.store.Get(j.steps, j.start, w.cfg.MaxCheckpoint)
		return err
	})
	if err != nil {
		return err
	}
	if err := l.Load(b); err != nil {
		return &runError{err}
	}
	if first := j.ref.GetFirstStep(); l.Step() != first {
		return fmt.Errorf("checkpoint %s is of step %d, the segment starts at %d", j.start.GetKey(), l.Step(), first)
	}
	return nil
}

// run returns what there is to know of a run.
func (w *Worker) run(ctx context.Context, id string) (*runInfo, error) {
	if r, ok := w.runs.get(id); ok {
		return r, nil
	}
	var canonical []byte
	var rec *pb.Run
	err := w.retry(ctx, "cluster", "read run", func() (err error) {
		canonical, rec, err = w.members.RunSpec(ctx, id)
		return err
	})
	if errors.Is(err, cluster.ErrNotFound) {
		// Deleted since: nobody wants the segment.
		return nil, fmt.Errorf("%w: %w", err, cluster.ErrFenced)
	}
	if err != nil {
		return nil, err
	}
	if v := rec.GetNumericsVersion(); v != engine.NumericsVersion {
		return nil, fmt.Errorf("the run is of numerics version %d, this worker of %d", v, engine.NumericsVersion)
	}
	p, err := w.engine.Compile(canonical)
	if err != nil {
		// A worker of another build may know what this one does not.
		return nil, fmt.Errorf("this worker cannot read the run's spec: %w", err)
	}
	r := &runInfo{program: p, seed: rec.GetSeed(), arm: rec.GetArm(), steps: rec.GetSteps(), inputs: rec.GetInputs(), publishes: rec.GetPublishes()}
	w.runs.put(id, r, 0)
	return r, nil
}

// save stores a checkpoint of where l stands.
func (w *Worker) save(j *job, l life, c checkpointer) (*pb.BlobRef, error) {
	begin := time.Now()
	var buf bytes.Buffer
	if err := c.Save(&buf); err != nil {
		return nil, &runError{err}
	}
	sum := sha256.Sum256(buf.Bytes())
	key := fmt.Sprintf("checkpoints/%s/%s/%d-%s.safetensors", j.key.run, j.key.track, l.Step(), hex.EncodeToString(sum[:8]))
	var ref *pb.BlobRef
	err := w.retry(j.ctx, "blob", "write checkpoint", func() (err error) {
		ref, err = w.store.Put(j.ctx, key, buf.Bytes())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("write checkpoint at step %d: %w", l.Step(), err)
	}
	w.tel.Checkpoint(int64(buf.Len()), time.Since(begin))
	return ref, nil
}

// settle commits a result under the attempt of now: the segment may have been
// assigned to this worker anew meanwhile. That it is withdrawn does not matter
// any more, the commit's fence decides.
func (w *Worker) settle(hard context.Context, j *job, r *pb.SegmentResult) error {
	if !w.board.settle(j) {
		return context.Cause(j.ctx)
	}
	commit := w.ledger.Commit
	if r.GetEndStep() < j.ref.GetEndStep() {
		commit = w.ledger.Yield
	}
	return w.retry(hard, "cluster", "commit segment", func() error {
		for {
			attempt := w.board.attempt(j)
			err := commit(hard, j.ref, attempt, r)
			if !errors.Is(err, cluster.ErrFenced) {
				return err
			}
			if _, ok := w.board.decide(j, attempt); ok {
				return err
			}
		}
	})
}

// release gives a job's segment back undone.
func (w *Worker) release(ctx context.Context, j *job) {
	attempt, _ := w.board.decide(j, -1)
	err := w.ledger.Release(ctx, j.ref, attempt)
	switch {
	case err == nil:
		w.tel.Segment(telemetry.SegmentReleased)
		return
	case !errors.Is(err, cluster.ErrFenced):
		w.log.Warn("segment could not be given back; the lease's end will", "run", j.key.run, "error", err)
	}
	w.tel.Segment(telemetry.SegmentDropped)
}

// fail reports that a job's segment could not be done.
func (w *Worker) fail(hard context.Context, j *job, log *slog.Logger, cause error) {
	attempt, _ := w.board.decide(j, -1)
	attrs := []any{"attempt", attempt, "permanent", permanent(cause), "error", cause}
	if p, ok := errors.AsType[*panicError](cause); ok {
		attrs = append(attrs, "stack", string(p.stack))
	}
	log.Error("segment failed", attrs...)
	w.tel.Segment(telemetry.SegmentFailed)
	err := w.retry(hard, "cluster", "report failure", func() error {
		return w.ledger.Fail(hard, j.ref, attempt, w.cfg.ID, cause.Error(), permanent(cause))
	})
	if err != nil && !errors.Is(err, cluster.ErrFenced) {
		log.Error("failure could not be reported; the lease's end gives the segment to others", "error", err)
	}
}

// sink hands a life's rows to the metrics writer and gathers its boundaries.
type sink struct {
	ctx    context.Context
	writer metricWriter
	tel    *telemetry.Worker

	series     []metric.Series
	boundaries []*pb.Boundary
	rows       []*pb.TaskRow

	*clock
	lanes int           // that share the clock
	told  time.Duration // of it, in the metrics
}

// clock measures the time in the engine, of all lanes of a pack together.
type clock struct {
	since time.Time     // when the engine took over last
	busy  time.Duration // time in the engine
}

// pause stops the clock of the engine.
func (c *clock) pause() { c.busy += time.Since(c.since) }

// seconds is the lane's share of the time in the engine.
func (s *sink) seconds() float64 { return s.busy.Seconds() / float64(s.lanes) }

// Rows implements engine.Sink. It waits only where neither memory nor the
// spill quota have room.
func (s *sink) Rows(r engine.Rows) error {
	s.pause()
	defer func() { s.since = time.Now() }()
	s.tel.Steps(r.N, (s.busy-s.told)/time.Duration(s.lanes))
	s.told = s.busy
	s.series = s.series[:0]
	for _, x := range r.Series {
		s.series = append(s.series, metric.Series{Column: metric.Column(x.Column), Offsets: x.Offsets, Values: x.Values})
	}
	return s.writer.Append(s.ctx, metric.Rows{First: r.First, N: r.N, Series: s.series})
}

// Boundary implements engine.Sink.
func (s *sink) Boundary(b engine.Boundary) error {
	s.boundaries = append(s.boundaries, &pb.Boundary{Task: int32(b.Task), Step: b.Step, StateDigest: b.State[:], RowsDigest: b.Rows[:]})
	s.rows = append(s.rows, &pb.TaskRow{Task: int32(b.Task), Values: append([]float64(nil), b.Table...)})
	return nil
}

// final tells errors that trying again does not mend.
func final(err error) bool {
	for _, e := range []error{
		cluster.ErrFenced, cluster.ErrNotFound, cluster.ErrConflict,
		blob.ErrNotFound, blob.ErrCorrupt, blob.ErrTooLarge, blob.ErrKey,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
