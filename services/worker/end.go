package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/internal/telemetry"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// Errors that end a segment's context; the cause says what becomes of it.
var (
	errWithdrawn = errors.New("withdrawn")
	errDraining  = errors.New("worker is draining")
	errTooLate   = errors.New("drain timeout")
)

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

// permanent reports whether no worker could do better: errors of the engine but
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

// conclude brings a job that was lived through, or was not because of err, to
// its end. It reports whether that is a commit.
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
		if yielded(j, r) {
			what = telemetry.SegmentYielded
		}
		w.tel.Segment(what)
		log.Info("segment committed", "outcome", what, "done", r.GetEndStep(), "seconds", r.GetSeconds())
		if d := r.GetDivergence(); d != nil {
			log.Info("run diverged", "step", d.GetStep(), "task", d.GetTask(), "layer", d.GetLayer(), "what", d.GetWhat())
		}
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

// yielded reports whether a result leaves a rest of the segment to be done.
func yielded(j *job, r *pb.SegmentResult) bool {
	return r.GetEndStep() < j.ref.GetEndStep() && r.GetDivergence() == nil
}

// settle commits a result under the attempt of now: the segment may have been
// assigned to this worker anew meanwhile. That it is withdrawn does not matter
// any more, the commit's fence decides.
func (w *Worker) settle(hard context.Context, j *job, r *pb.SegmentResult) error {
	if !w.board.settle(j) {
		return context.Cause(j.ctx)
	}
	commit := w.ledger.Commit
	if yielded(j, r) {
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
