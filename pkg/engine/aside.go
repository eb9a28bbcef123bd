package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"neoteny/pkg/engine/graph"
)

// MaxAsides is how often a probe may be measured aside in a run: each time is a
// segment of its own.
const MaxAsides = 10_000

// AsideSchedule says when something is measured aside: every so many tasks, before
// the first step of a task or after its last.
type AsideSchedule struct {
	Every int
	Start bool
}

// Asides returns the schedules of the probes that are measured aside, each once.
func (s *Spec) Asides() (list []AsideSchedule) {
	for _, p := range s.probes {
		a := AsideSchedule{p.schedule.tasks, p.schedule.at == "start"}
		if p.schedule.aside && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// with returns the spec with those of its probes only that are measured aside, or
// with the others.
func (s *Spec) with(aside bool) *Spec {
	part := *s
	part.probes = nil
	for _, p := range s.probes {
		if p.schedule.aside == aside {
			part.probes = append(part.probes, p)
		}
	}
	return &part
}

// Aside measures what a spec's probes with `aside: true` say of a run, from a
// checkpoint of its life and elsewhere. The life itself knows nothing of them. The
// values have the bits that the same probes have in a life.
//
// The end of a task is measured after its last step and before the methods act on
// the boundary. No checkpoint is of that moment, so it is taken from the one before
// the last step, which is made again here. A measurement is thus always the one
// step [k, k+1) of a fork at step k: before its step k the start of a task, after
// it the end of one.
type Aside struct {
	life *Life // with the probes that are measured aside
	main *Life // to read a checkpoint into; nil when that is done
	done bool
}

// NewAside builds what is measured at step 0, or where the checkpoint that is
// loaded was made.
func NewAside(spec *Spec, env Env) (*Aside, error) {
	main, err := New(spec, env)
	if err != nil {
		return nil, err
	}
	life, err := newLife(spec.with(true), env, graph.NewStore())
	if err != nil {
		return nil, err
	}
	return &Aside{life: life, main: main}, nil
}

// Step returns the step of the checkpoint, one more once it has been measured.
func (a *Aside) Step() int64 { return a.life.step }

// Columns names the series that are measured, in order.
func (a *Aside) Columns() []Column { return a.life.Columns() }

// Load takes the learner out of a checkpoint that a life of the same spec and seed
// has written.
func (a *Aside) Load(b []byte) error {
	if a.main == nil {
		return errors.New("load checkpoint: a measurement has one")
	}
	if err := a.main.Load(b); err != nil {
		return err
	}
	from := a.main.learner.Store()
	for _, v := range a.life.learner.Store().Vars() {
		// Of the others the life has its own, and they remember nothing.
		if v.Keep != graph.Persistent || strings.HasPrefix(v.Name, "life/") {
			continue
		}
		x := from.Lookup(v.Name)
		if x == nil || x.Type != v.Type || !x.Shape.Equal(v.Shape) {
			return fmt.Errorf("load checkpoint: %s is not a variable of the run's life", v.Name)
		}
		copy(v.F32, x.F32)
		copy(v.F64, x.F64)
		copy(v.I32, x.I32)
		copy(v.U8, x.U8)
	}
	a.life.step, a.main = a.main.step, nil
	return nil
}

// Advance measures, and makes the one step that until must be away. What is
// measured goes to the sink as the rows of that step and a row of the task table;
// its digests are those of the learner as it was left, and of the values.
func (a *Aside) Advance(ctx context.Context, until int64, sink Sink) error {
	l := a.life
	if a.done || until != l.step+1 || until > l.spec.Steps() {
		return fmt.Errorf("a measurement aside is one step, not [%d, %d) of %d", l.step, until, l.spec.Steps())
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.rec.start(l.step)
	if err := l.begin(); err != nil {
		return err
	}
	s := &l.now
	if s.LastStep && slices.ContainsFunc(l.rec.probes, func(p recordedProbe) bool { return p.schedule.end(s.Task) }) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.learner.Step(s); err != nil {
			return err
		}
		if err := l.measure(false, true); err != nil {
			return fmt.Errorf("step %d (task %d): %w", l.step, s.Task, err)
		}
	}
	b := Boundary{Task: s.Task, Step: until}
	if err := l.rec.flush(until, sink); err != nil {
		return err
	}
	l.step, a.done = until, true
	b.Table, b.Rows = l.rec.endTask()
	b.State = l.digest()
	if err := sink.Boundary(b); err != nil {
		return &SinkError{err}
	}
	return nil
}

// Save refuses: nothing goes on from a measurement.
func (a *Aside) Save(io.Writer) error {
	return errors.New("save checkpoint: nothing goes on from a measurement")
}

// Artifact refuses: the run's life publishes what there is.
func (a *Aside) Artifact(name string) ([]byte, error) {
	return nil, fmt.Errorf("publish %s: a measurement has no artifacts", name)
}
