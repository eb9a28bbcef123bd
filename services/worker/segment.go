package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine"
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

// run returns what there is to know of a job's run.
func (w *Worker) run(ctx context.Context, j *job) (*runInfo, error) {
	id := j.key.run
	known := fmt.Sprintf("%s %d", id, j.generation)
	if r, ok := w.runs.get(known); ok {
		return r, nil
	}
	var canonical []byte
	var rec *pb.Run
	err := w.retry(ctx, "cluster", "read run", func() (err error) {
		canonical, rec, err = w.members.RunSpec(ctx, id)
		return err
	})
	if errors.Is(err, cluster.ErrNotFound) {
		// Deleted since: the segment is no longer wanted.
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
	w.runs.put(known, r, 0)
	return r, nil
}

// outcome is a segment lived through, up to where it was stopped.
type outcome struct {
	life   life
	result *pb.SegmentResult
	last   bool // the run has no further steps on this track
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
		if gap, ok := errors.AsType[*metricsclient.GapError](err); ok {
			if err = w.refill(j, gap); err == nil {
				out, err = w.live(j)
			}
		}
		return err
	})
	if w.conclude(hard, j, out, err) && !out.last {
		r := out.result
		w.warm.put(j.key, warmLife{life: out.life, step: r.GetEndStep(), sha256: r.GetCheckpoint().GetSha256()}, warmBytes(r))
	}
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
	w.extend(j, mw)
	s := &sink{ctx: j.ctx, writer: mw, tel: w.tel, clock: &clock{since: time.Now()}, lanes: 1}
	err = l.Advance(j.steps, end, s)
	s.pause()
	return w.wrapUp(j, run, l, s, err)
}

// extend lets the rows of a run that may have become longer follow those of before.
func (w *Worker) extend(j *job, mw metricWriter) {
	if j.generation > 0 {
		mw.Extend()
	}
}

// begin returns the run and its life at the first step of the segment.
func (w *Worker) begin(j *job) (*runInfo, life, error) {
	run, err := w.run(j.steps, j)
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
	if err := w.load(j, run, l); err != nil {
		return nil, nil, err
	}
	w.tel.Start("checkpoint")
	return run, l, nil
}

// wrapUp makes a result of a life that was asked to advance to the segment's
// end, which returned err.
func (w *Worker) wrapUp(j *job, run *runInfo, l life, s *sink, err error) (outcome, error) {
	first, end := j.ref.GetFirstStep(), j.ref.GetEndStep()
	diverged, _ := errors.AsType[*engine.Diverged](err)
	switch sinkErr, ok := errors.AsType[*engine.SinkError](err); {
	case ok:
		return outcome{}, fmt.Errorf("metrics: %w", sinkErr.Err)
	case diverged != nil:
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
	if diverged != nil {
		r.Divergence = &pb.Divergence{Step: diverged.Step, Task: int32(diverged.Task), Layer: diverged.Layer, What: diverged.What}
	}
	c, goesOn := l.(checkpointer) // a measurement does not
	if goesOn = goesOn && diverged == nil; goesOn {
		if r.Checkpoint, err = w.save(j, l, c); err != nil {
			return outcome{}, err
		}
	}
	flush, last := s.writer.Flush, !goesOn || l.Step() == run.steps
	if last {
		flush = s.writer.Finish
	}
	if p, ok := l.(publisher); ok && last && diverged == nil {
		if r.Artifacts, err = w.publish(j, run, p); err != nil {
			return outcome{}, err
		}
	}
	if r.Metrics, err = flush(j.ctx); err != nil {
		return outcome{}, fmt.Errorf("metrics: %w", err)
	}
	return outcome{life: l, result: r, last: last}, nil
}
