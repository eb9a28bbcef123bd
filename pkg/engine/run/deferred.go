package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/spec"
)

// Deferred measures what a spec's probes with `deferred: true` report of a run, from a
// checkpoint of its life and elsewhere. The life itself knows nothing of them. The
// values have the bits that the same probes have in a life.
//
// The end of a task is measured after its last step and before the methods act on
// the boundary. No checkpoint is of that moment, so it is taken from the one before
// the last step, which is made again here. A measurement is thus always the one
// step [k, k+1) of a fork at step k: before its step k the start of a task, after
// it the end of one.
type Deferred struct {
	life *Life // with the probes whose measurements are deferred
	main *Life // to read a checkpoint into; nil when that is done
	done bool
}

// NewDeferred builds what is measured at step 0, or where the checkpoint that is
// loaded was made.
func NewDeferred(s *spec.Spec, env Env) (*Deferred, error) {
	main, err := New(s, env)
	if err != nil {
		return nil, err
	}
	life, err := newLife(s.Measuring(true), env, graph.NewStore())
	if err != nil {
		return nil, err
	}
	life.deferred = true
	return &Deferred{life: life, main: main}, nil
}

// Step returns the step of the checkpoint, one more once it has been measured.
func (d *Deferred) Step() int64 { return d.life.step }

// Columns names the series that are measured, in order.
func (d *Deferred) Columns() []Column { return d.life.Columns() }

// Load takes the learner out of a checkpoint that a life of the same spec and seed
// has written.
func (d *Deferred) Load(b []byte) error {
	if d.main == nil {
		return errors.New("load checkpoint: a measurement has one")
	}
	if err := d.main.Load(b); err != nil {
		return err
	}
	from := d.main.learner.Store()
	for _, v := range d.life.learner.Store().Vars() {
		// Of what the recorder gathers this life has its own.
		if v.Keep != graph.Persistent || v.Owner == graph.OfLife {
			continue
		}
		x := from.Lookup(v.Name)
		if x == nil || x.Type != v.Type || !x.Shape.Equal(v.Shape) {
			return fmt.Errorf("load checkpoint: %s is not a variable of the run's life", v.Name)
		}
		v.CopyFrom(x)
	}
	if d.life.freezer != nil {
		d.life.freezer.load(d.main.freezer)
	}
	d.life.step, d.main = d.main.step, nil
	return nil
}

// Advance measures, and makes the one step that until must be away. What is
// measured goes to the sink as the rows of that step and a row of the task table;
// its digests are those of the learner as it was left, and of the values.
func (d *Deferred) Advance(ctx context.Context, until int64, sink Sink) error {
	l := d.life
	if d.done || until != l.step+1 || until > l.spec.Steps() {
		return fmt.Errorf("a deferred measurement is one step, not [%d, %d) of %d", l.step, until, l.spec.Steps())
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.rec.start(l.step)
	if err := l.begin(); err != nil {
		return err
	}
	s := &l.now
	if s.LastStep && slices.ContainsFunc(l.rec.probes, func(p recordedProbe) bool { return p.schedule.End(s.Task) }) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.learn(); err != nil {
			return err
		}
		if err := l.measure(false, true); err != nil {
			return fmt.Errorf("step %d (task %d): %w", l.step, s.Task, err)
		}
	}
	l.step, d.done = until, true
	return l.boundary(sink, nil)
}
