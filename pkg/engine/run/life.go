// Package run has the life of a run: a learner that lives through a stream or a world
// under the eyes of its probes, its rows and digests, checkpoints, deferred
// measurements, and lives in lockstep. It knows learners by their contract only.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"neoteny/pkg/engine/assemble"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/spec"
	"neoteny/pkg/engine/stream"
)

// Env is what a run needs beyond its spec.
type Env = assemble.Env

// Sink takes what a life emits. An error from a sink ends Advance and comes
// back as a [SinkError].
type Sink interface {
	// Rows takes the values of a stretch of steps; r is valid during the call.
	Rows(r Rows) error
	// Boundary takes the end of a task, after the rows of its last step.
	Boundary(b Boundary) error
}

// Boundary is the end of a task: digests of state and rows, and the task's row
// of the task table.
type Boundary struct {
	Task  int
	Step  int64    // steps done so far
	State [32]byte // SHA-256 of every persistent variable
	Rows  [32]byte // SHA-256 of the metric rows since the last boundary
	// Table has one value per column: the mean (or last, or max) of its values
	// in the task, NaN where there was none.
	Table []float64
	// Diverged is set where the learner diverged: the run ends with this boundary, which
	// may be in the middle of its task. Rows and table have what was measured before;
	// State is zero, since the bits of a NaN differ from machine to machine.
	Diverged *learner.Diverged
}

// SinkError is an error of a sink: not the run's fault.
type SinkError struct{ Err error }

func (e *SinkError) Error() string { return "sink: " + e.Err.Error() }

// Unwrap returns the sink's error.
func (e *SinkError) Unwrap() error { return e.Err }

// Life is one run: a learner living through a stream under the eyes of its
// probes. It is a pure function of spec and seed: however it is cut, saved and
// restored, its rows and digests are the same bits. It is for one goroutine.
type Life struct {
	spec     *spec.Spec
	env      Env
	stream   stream.Stream
	relabel  stream.Relabeler // the stream, if it is one
	learner  learner.Learner
	rec      *recorder
	freezer  *freezer // nil where a learner that diverges ends its run
	deferred bool     // measures for another life: [Deferred]

	publishers map[string]component.Publisher // by artifact

	step    int64 // steps done
	entered int   // task that the stream is in, -1 for none
	batch   *stream.Batch
	samples map[int]*sample // by number of examples
	tasks   tasks           // for probes that look at other tasks
	now     learner.Step
}

// New builds a life at step 0. What the spec defers is measured elsewhere: see
// [Deferred].
func New(s *spec.Spec, env Env) (*Life, error) {
	return newLife(s.Measuring(false), env, graph.NewStore())
}

func newLife(s *spec.Spec, env Env, store *graph.Store) (*Life, error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	l := &Life{spec: s, env: env, entered: -1, samples: map[int]*sample{}}
	if s.Stream != nil { // before the learner, which may take long to build
		var err error
		if l.stream, err = assemble.NewStream(s, env); err != nil {
			return nil, err
		}
	}
	parts, err := assemble.New(s, env, store)
	if err != nil {
		return nil, err
	}
	l.learner, l.publishers = parts.Learner, parts.Publishers
	if parts.World != nil {
		sampler, _ := l.learner.(learner.Sampler)
		l.stream = &noStream{parts.World, sampler}
	}
	l.relabel, _ = l.stream.(stream.Relabeler)
	if l.rec, err = newRecorder(s, parts.Probes, store.Space(graph.OfLife, "life")); err != nil {
		return nil, err
	}
	if s.Freezes {
		l.freezer = newFreezer(store)
	}
	l.batch = stream.NewBatch(s.Info, s.Info.Batch)
	l.tasks = tasks{life: l, batches: map[int]*stream.Batch{}}
	return l, nil
}

// noStream is the stream of a learner that acts in an environment: its
// measurements look at what the learner remembers.
type noStream struct {
	world   environment.Environment
	sampler learner.Sampler // nil if the learner remembers nothing
}

// Enter implements [stream.Stream].
func (s *noStream) Enter(task int) error { return s.world.Enter(task) }

// Batch implements [stream.Stream].
func (s *noStream) Batch(int64, *stream.Batch) {}

// Sample implements [stream.Stream].
func (s *noStream) Sample(b *stream.Batch) {
	clear(b.X)
	if s.sampler != nil {
		s.sampler.Sample(b)
	}
}

// Step returns how many steps are done.
func (l *Life) Step() int64 { return l.step }

// Columns names the series that the life emits, in order.
func (l *Life) Columns() []Column { return l.rec.columns }

// Advance runs the life up to the given step. When ctx ends it returns the context's
// error after a whole step: the life may be saved, or advanced further. Rows
// of all steps done have gone to the sink when it returns. Where the learner diverges
// the error is a [learner.Diverged], the sink has a boundary that says so, and the
// life is over; but with a spec that freezes such a learner it goes on.
func (l *Life) Advance(ctx context.Context, until int64, sink Sink) error {
	if until > l.spec.Steps() {
		return fmt.Errorf("advance to step %d: the run has %d steps", until, l.spec.Steps())
	}
	l.rec.start(l.step)
	done := ctx.Done()
	for l.step < until {
		select {
		case <-done:
			if err := l.rec.flush(l.step, sink); err != nil {
				return err
			}
			return ctx.Err()
		default:
		}
		if err := l.one(sink); err != nil {
			return err
		}
		if l.step-l.rec.rows.First >= chunk {
			if err := l.rec.flush(l.step, sink); err != nil {
				return err
			}
		}
	}
	return l.rec.flush(l.step, sink)
}

// one makes one step.
func (l *Life) one(sink Sink) error {
	if err := l.begin(); err != nil {
		return l.settle(err, sink)
	}
	if err := l.learn(); err != nil {
		return l.settle(err, sink)
	}
	return l.end(sink)
}

func isDiverged(err error) bool {
	_, ok := errors.AsType[*learner.Diverged](err)
	return ok
}

// settle closes the task of a learner that has diverged, and returns err, which may
// say so.
func (l *Life) settle(err error, sink Sink) error {
	d, diverged := errors.AsType[*learner.Diverged](err)
	if !diverged {
		return err
	}
	d.Step, d.Task = l.now.Index, l.now.Task // a kind of learner may count its updates
	if lost := l.boundary(sink, d); lost != nil {
		return lost
	}
	return err
}

// begin prepares a step: at the start of a task the stream enters it and the
// probes have their look; then the batch.
func (l *Life) begin() error {
	task, taskStep := int(l.step/l.spec.Info.StepsPerTask), l.step%l.spec.Info.StepsPerTask
	if l.entered != task {
		if err := l.stream.Enter(task); err != nil {
			return fmt.Errorf("task %d: %w", task, err)
		}
		l.entered = task
	}
	l.now = learner.Step{
		Index: l.step, Task: task, TaskStep: taskStep, LastStep: taskStep == l.spec.Info.StepsPerTask-1,
		Batch: l.batch, Relabel: l.relabel,
	}
	l.batch.Task, l.tasks.now = task, task
	l.tasks.learned = task
	if l.step == 0 {
		if err := l.beginProbes(); err != nil {
			return err
		}
	}
	if taskStep == 0 {
		if err := l.measure(true, false); isDiverged(err) {
			return err
		} else if err != nil {
			return fmt.Errorf("task %d: %w", task, err)
		}
	}
	l.tasks.learned = task + 1
	l.stream.Batch(taskStep, l.batch)
	return nil
}

// beginProbes shows the learner as it starts to the probes that ask for it.
func (l *Life) beginProbes() error {
	for i := range l.rec.probes {
		if p, ok := l.rec.probes[i].Probe.(probe.Beginner); ok {
			if err := p.Begin(&l.tasks); err != nil {
				return fmt.Errorf("%s: %w", l.spec.Probes[i].Path, err)
			}
		}
	}
	return nil
}

// end records a step that was made, and closes the task after its last.
func (l *Life) end(sink Sink) error {
	s := &l.now
	l.rec.step(s)
	if err := l.measure(false, s.LastStep); isDiverged(err) {
		return l.settle(err, sink)
	} else if err != nil {
		return fmt.Errorf("step %d (task %d): %w", l.step, s.Task, err)
	}
	l.step++
	if !s.LastStep {
		return nil
	}
	if err := l.endTask(); err != nil {
		return l.settle(fmt.Errorf("end of task %d: %w", s.Task, err), sink)
	}
	return l.boundary(sink, nil)
}

// endTask lets the learner see the end of a task, unless it is frozen.
func (l *Life) endTask() error {
	if l.freezer.on() {
		return nil
	}
	err := l.learner.EndTask(&l.now)
	if l.freezer != nil && (isDiverged(err) || err == nil && l.freezer.diverged()) {
		l.freezer.freeze()
		return nil
	}
	return err
}

// boundary hands over the rows of the task that has ended, and its end; diverged is
// set where the run ends with it.
func (l *Life) boundary(sink Sink, diverged *learner.Diverged) error {
	if err := l.rec.flush(l.step, sink); err != nil {
		return err
	}
	b := Boundary{Task: l.now.Task, Step: l.step, Diverged: diverged}
	b.Table, b.Rows = l.rec.endTask()
	if diverged == nil {
		b.State = l.digest()
	}
	if err := sink.Boundary(b); err != nil {
		return &SinkError{err}
	}
	return nil
}

// Fork returns a second life in the same state, which goes its own way.
func (l *Life) Fork() (*Life, error) {
	var buf bytes.Buffer
	if err := l.Save(&buf); err != nil {
		return nil, err
	}
	f, err := New(l.spec, l.env)
	if err != nil {
		return nil, err
	}
	return f, f.Load(buf.Bytes())
}
