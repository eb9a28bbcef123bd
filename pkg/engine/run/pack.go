package run

import (
	"context"
	"errors"
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/spec"
)

// Pack is several runs in lockstep on one goroutine: seeds of one trial, or
// trials that differ in numbers only. Every run has the same bits as alone. It
// pays for small networks, whose steps are over before a processor is warm:
// one operation does the work of all.
type Pack struct {
	lives    []*Life
	steps    []*learner.Step // of the lives
	lockstep learner.Lockstep
	failed   []error // by life; a life that failed is over
	over     []bool  // by life: its failure is settled
	outcome  []error // by life: of the step that is under way
}

// errIdle stands in the place of an outcome for a life that makes no update.
var errIdle = errors.New("its learner is frozen")

// NewPack builds the lives of the given specs and environments at step 0, side
// by side. It returns an error that is [learner.ErrNotAlike] where they must run one
// by one.
func NewPack(specs []*spec.Spec, envs []Env) (*Pack, error) {
	p := &Pack{failed: make([]error, len(specs)), over: make([]bool, len(specs)), outcome: make([]error, len(specs))}
	var learners []learner.Learner
	for i, store := range graph.NewLanes(len(specs)) {
		l, err := newLife(specs[i].Measuring(false), envs[i], store)
		var differs *graph.Error
		if errors.As(err, &differs) && i > 0 {
			return nil, fmt.Errorf("run %d: %w: %w", i, learner.ErrNotAlike, err)
		}
		if err != nil {
			return nil, err
		}
		if l.spec.StepsPerTask() != specs[0].StepsPerTask() {
			return nil, fmt.Errorf("run %d: %w", i, learner.ErrNotAlike)
		}
		p.lives, p.steps = append(p.lives, l), append(p.steps, &l.now)
		learners = append(learners, l.learner)
	}
	var err error
	p.lockstep, err = Join(learners)
	return p, err
}

// Join returns the steps of learners that were built in the stores of
// [graph.NewLanes] as one. Its error is [learner.ErrNotAlike] where they cannot step
// together.
func Join(all []learner.Learner) (learner.Lockstep, error) {
	first, ok := all[0].(learner.Joiner)
	if !ok {
		return nil, fmt.Errorf("%w: %T steps in a way of its own", learner.ErrNotAlike, all[0])
	}
	return first.Join(all)
}

// Lives returns the runs, to be saved, loaded and looked at. They advance
// together, with [Pack.Advance] only, from the same step.
func (p *Pack) Lives() []*Life { return p.lives }

// Advance runs all lives up to the given step, as [Life.Advance] does for one; sinks
// is parallel to Lives. A run that fails stops at its step and the others go
// on; errs says by life why it stopped, with nil for those that reached the
// step. When ctx ends, all stop after the same whole step.
func (p *Pack) Advance(ctx context.Context, until int64, sinks []Sink) (errs []error) {
	step := p.lives[0].step
	for i, l := range p.lives {
		if l.step != step && p.failed[i] == nil {
			p.failed[i] = fmt.Errorf("a pack starts from one step: this run is at %d, the first at %d", l.step, step)
		}
		if until > l.spec.Steps() && p.failed[i] == nil {
			p.failed[i] = fmt.Errorf("advance to step %d: the run has %d steps", until, l.spec.Steps())
		}
		l.rec.start(l.step)
	}
	done := ctx.Done()
	for ; step < until && p.alive(); step++ {
		select {
		case <-done:
			return p.stop(sinks, ctx.Err())
		default:
		}
		p.one(sinks)
	}
	return p.stop(sinks, nil)
}

func (p *Pack) alive() bool {
	for _, err := range p.failed {
		if err == nil {
			return true
		}
	}
	return false
}

// one makes one step of every life that has not failed.
func (p *Pack) one(sinks []Sink) {
	going := false
	for i, l := range p.lives {
		if p.failed[i] == nil {
			p.failed[i] = l.begin()
		}
		p.outcome[i] = p.failed[i]
		switch {
		case p.failed[i] != nil || l.freezer == nil:
		case l.freezer.on():
			p.outcome[i] = errIdle
		default:
			l.freezer.copy()
		}
		going = going || p.outcome[i] == nil
	}
	if going {
		p.lockstep.Step(p.steps, p.outcome)
	}
	for i, l := range p.lives {
		switch {
		case p.failed[i] != nil:
		case errors.Is(p.outcome[i], errIdle):
			l.freezer.restore() // a joint program runs in all lanes
			p.failed[i] = l.look()
		default:
			p.failed[i] = l.learned(p.outcome[i])
		}
		switch {
		case p.over[i]:
		case p.failed[i] == nil:
			p.failed[i] = l.end(sinks[i])
		default:
			p.failed[i] = l.settle(p.failed[i], sinks[i])
		}
		p.over[i] = p.failed[i] != nil
		if p.failed[i] == nil && l.step-l.rec.rows.First >= chunk {
			p.failed[i] = l.rec.flush(l.step, sinks[i])
		}
	}
}

// stop hands over the rows that are not yet with the sinks.
func (p *Pack) stop(sinks []Sink, reason error) []error {
	errs := make([]error, len(p.lives))
	for i, l := range p.lives {
		if errs[i] = p.failed[i]; errs[i] == nil {
			if errs[i] = l.rec.flush(l.step, sinks[i]); errs[i] == nil {
				errs[i] = reason
			}
		}
	}
	return errs
}
