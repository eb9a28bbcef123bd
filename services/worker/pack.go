package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine"
)

// lane is one job in a pack.
type lane struct {
	*sink
	job  *job
	run  *runInfo
	life life
	err  error // why its metrics take nothing
}

// Rows implements engine.Sink. A lane whose job is dropped ends here, and the
// others go on.
func (l *lane) Rows(r engine.Rows) error {
	if l.err == nil && l.job.ctx.Err() != nil {
		l.err = context.Cause(l.job.ctx)
	}
	if l.err != nil {
		return l.err
	}
	return l.sink.Rows(r)
}

// close ends the lane's metrics.
func (l *lane) close() {
	if l.sink != nil && l.writer != nil {
		l.writer.Close()
	}
}

// lockstep does jobs that were assigned together as a pack. It returns those
// that it could not begin, or that a crash has interrupted: they are to be done
// one after the other, where each meets its own end.
func (w *Worker) lockstep(hard context.Context, jobs []*job) (alone []*job) {
	var wanted []*job
	for _, j := range jobs {
		if j.ctx.Err() == nil {
			wanted = append(wanted, j)
		} else {
			alone = append(alone, j)
		}
	}
	if len(wanted) < 2 {
		return jobs
	}
	var lanes []*lane
	var p pack
	err := safely(func() (err error) {
		lanes, p, err = w.assemble(wanted)
		return err
	})
	if crash, ok := errors.AsType[*panicError](err); ok {
		w.log.Error("no pack could be built: its segments are done one by one", "first", jobs[0].key.run, "jobs", len(jobs),
			"error", err, "stack", string(crash.stack))
		return jobs
	}
	if err != nil {
		w.log.Debug("no pack", "first", jobs[0].key.run, "jobs", len(jobs), "reason", err)
		return jobs
	}
	end := wanted[0].ref.GetEndStep()
	w.log.Debug("pack begins", "first", jobs[0].key.run, "lanes", len(lanes), "end_step", end)
	errs, err := w.advance(p, lanes, end)
	if err != nil {
		crash, _ := errors.AsType[*panicError](err)
		w.log.Error("pack crashed: its segments are done one by one", "first", jobs[0].key.run, "lanes", len(lanes), "error", err, "stack", string(crash.stack))
		for _, l := range lanes {
			l.close()
		}
		return jobs
	}

	outs, kept, gaps := make([]outcome, len(lanes)), make([]bool, len(lanes)), make([]bool, len(lanes))
	var ends sync.WaitGroup
	for i, l := range lanes {
		ends.Go(func() {
			if outs[i], kept[i], gaps[i] = w.part(hard, l, errs[i]); !kept[i] && !gaps[i] {
				w.board.end(l.job)
			}
		})
	}
	ends.Wait()
	w.keep(p, lanes, outs, kept)
	for i, l := range lanes {
		if gaps[i] { // alone, it makes again what is missing
			alone = append(alone, l.job)
		}
		if kept[i] { // not before the lives are where the next segments find them
			w.board.end(l.job)
		}
	}
	return alone
}

// assemble makes a pack of the jobs' lives, at the first step of their
// segments.
func (w *Worker) assemble(jobs []*job) ([]*lane, pack, error) {
	first := jobs[0]
	lanes, programs, origins := make([]*lane, len(jobs)), make([]program, len(jobs)), make([]origin, len(jobs))
	for i, j := range jobs {
		if j.ref.GetFirstStep() != first.ref.GetFirstStep() || j.ref.GetEndStep() != first.ref.GetEndStep() ||
			(j.start == nil) != (j.ref.GetFirstStep() == 0) || j.ref.GetFirstStep() >= j.ref.GetEndStep() {
			return nil, nil, fmt.Errorf("steps of %s: %w", j.key.run, engine.ErrNotAlike)
		}
		run, err := w.run(j.steps, j)
		if err != nil {
			return nil, nil, err
		}
		lanes[i], programs[i] = &lane{job: j, run: run}, run.program
	}
	if p := w.warmed(lanes); p != nil {
		return lanes, p, nil
	}
	for i, l := range lanes {
		var err error
		if origins[i], err = w.origin(l.job, l.run); err != nil {
			return nil, nil, err
		}
	}
	p, err := w.engine.Pack(programs, origins)
	if err != nil {
		return nil, nil, err
	}
	for i, l := range p.Lives() {
		lanes[i].life = l
		start := "fresh"
		if j := lanes[i].job; j.start != nil {
			start = "checkpoint"
			if err := w.load(j, lanes[i].run, l); err != nil {
				return nil, nil, err
			}
		}
		w.tel.Start(start)
	}
	return lanes, p, nil
}

// advance runs the lanes until all of them are to stop. The
// error is a panic of one of them: there is no telling which.
func (w *Worker) advance(p pack, lanes []*lane, end int64) (errs []error, err error) {
	// A lane that is to stop does so with the last one: a drain stops all at
	// one step, a withdrawal concerns one.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var going atomic.Int64
	going.Store(int64(len(lanes)))
	engaged := &clock{since: time.Now()}
	sinks := make([]engine.Sink, len(lanes))
	for i, l := range lanes {
		defer context.AfterFunc(l.job.steps, func() {
			if going.Add(-1) == 0 {
				cancel()
			}
		})()
		l.sink = &sink{ctx: l.job.ctx, tel: w.tel, clock: engaged, lanes: len(lanes)}
		l.writer, l.err = w.metrics.Open(l.job.key.run, l.job.key.track, l.run.arm, w.board.attempt(l.job), l.job.ref.GetFirstStep())
		if l.err == nil {
			w.extend(l.job, l.writer)
		}
		sinks[i] = l
	}
	err = safely(func() error {
		errs = p.Advance(ctx, end, sinks)
		return nil
	})
	engaged.pause()
	return errs, err
}

// part brings one lane to its end, after the pack's, but for one whose metrics have a
// gap.
func (w *Worker) part(hard context.Context, l *lane, err error) (out outcome, committed, gap bool) {
	defer l.close()
	if l.err != nil {
		err = l.err
	} else {
		err = safely(func() (failed error) {
			out, failed = w.wrapUp(l.job, l.run, l.life, l.sink, err)
			return failed
		})
	}
	if _, gap = errors.AsType[*metricsclient.GapError](err); gap {
		return out, false, true
	}
	return out, w.conclude(hard, l.job, out, err), false
}
