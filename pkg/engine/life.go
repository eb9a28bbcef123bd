package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// NumericsVersion is raised whenever a bit of any result may change. Results
// of different versions are not compared, and workers take only work of their
// own.
const NumericsVersion = 4

// Env is what a run needs beyond its spec.
type Env struct {
	Seed uint32
	Data data.Source
	// Artifacts are the files of other runs that the spec refers to.
	component.Artifacts

	// life numbers the lives of a learner that is reborn: a seed of their own
	// above the run's 32 bits.
	life uint32
}

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
	spec    *Spec
	env     Env
	stream  stream.Stream
	relabel stream.Relabeler // the stream, if it is one
	learner learner.Learner
	rec     *recorder

	step    int64 // steps done
	entered int   // task that the stream is in, -1 for none
	batch   *stream.Batch
	samples map[int]*sample // by number of examples
	tasks   tasks           // for probes that look at other tasks
	now     learner.Step
}

// New builds a life at step 0. What the spec has measured aside is none of its
// business.
func New(spec *Spec, env Env) (*Life, error) { return newLife(spec.with(false), env, graph.NewStore()) }

func newLife(spec *Spec, env Env, store *graph.Store) (*Life, error) {
	if err := kernel.Err(); err != nil {
		return nil, err
	}
	l := &Life{spec: spec, env: env, entered: -1, samples: map[int]*sample{}}
	var err error
	var world environment.Environment
	if spec.world != nil {
		world, err = spec.world.Build(environment.Env{
			Store: store, Key: func(purpose string) rng.Key { return rng.New(uint64(env.Seed), "environment/"+purpose) },
		})
	} else {
		l.stream, err = l.newStream()
	}
	if err != nil {
		return nil, err
	}
	var probes []probe.Probe
	if l.learner, probes, err = newLearner(spec, env, store, world); err != nil {
		return nil, err
	}
	if world != nil {
		sampler, _ := l.learner.(learner.Sampler)
		l.stream = &noStream{world, sampler}
	}
	l.relabel, _ = l.stream.(stream.Relabeler)
	if l.rec, err = newRecorder(spec, probes, store); err != nil {
		return nil, err
	}
	l.batch = stream.NewBatch(spec.info, spec.info.Batch)
	l.tasks = tasks{life: l, batches: map[int]*stream.Batch{}}
	return l, nil
}

func (l *Life) newStream() (stream.Stream, error) {
	return l.spec.stream.Build(stream.Env{
		Data:      l.env.Data,
		Key:       func(purpose string) rng.Key { return rng.New(uint64(l.env.Seed), "stream/"+purpose) },
		Artifacts: l.env.Artifacts,
	})
}

// Step returns how many steps are done.
func (l *Life) Step() int64 { return l.step }

// Columns names the series that the life emits, in order.
func (l *Life) Columns() []Column { return l.rec.columns }

// Advance lives on until the given step. When ctx ends it returns the context's
// error after a whole step: the life may be saved, or advanced further. Rows
// of all steps done have gone to the sink when it returns.
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
		return err
	}
	if err := l.learner.Step(&l.now); err != nil {
		return err
	}
	return l.end(sink)
}

// begin prepares a step: at the start of a task the stream enters it and the
// probes have their look; then the batch.
func (l *Life) begin() error {
	task, taskStep := int(l.step/l.spec.info.StepsPerTask), l.step%l.spec.info.StepsPerTask
	if l.entered != task {
		if err := l.stream.Enter(task); err != nil {
			return fmt.Errorf("task %d: %w", task, err)
		}
		l.entered = task
	}
	l.batch.Task, l.tasks.now = task, task
	l.tasks.learned = task
	if l.step == 0 {
		if err := l.beginProbes(); err != nil {
			return err
		}
	}
	if taskStep == 0 {
		if err := l.measure(true, false); err != nil {
			return fmt.Errorf("task %d: %w", task, err)
		}
	}
	l.tasks.learned = task + 1
	l.stream.Batch(taskStep, l.batch)
	l.now = learner.Step{
		Index: l.step, Task: task, TaskStep: taskStep, LastStep: taskStep == l.spec.info.StepsPerTask-1,
		Batch: l.batch, Relabel: l.relabel,
	}
	return nil
}

// beginProbes shows the learner as it starts to the probes that ask for it.
func (l *Life) beginProbes() error {
	for i := range l.rec.probes {
		if p, ok := l.rec.probes[i].Probe.(probe.Beginner); ok {
			if err := p.Begin(&l.tasks); err != nil {
				return fmt.Errorf("%s: %w", l.spec.probes[i].Path, err)
			}
		}
	}
	return nil
}

// end records a step that was made, and closes the task after its last.
func (l *Life) end(sink Sink) error {
	s := &l.now
	l.rec.step(s)
	if err := l.measure(false, s.LastStep); err != nil {
		return fmt.Errorf("step %d (task %d): %w", l.step, s.Task, err)
	}
	l.step++
	if !s.LastStep {
		return nil
	}
	if err := l.learner.EndTask(s); err != nil {
		return fmt.Errorf("end of task %d: %w", s.Task, err)
	}
	if err := l.rec.flush(l.step, sink); err != nil {
		return err
	}
	b := Boundary{Task: s.Task, Step: l.step}
	b.Table, b.Rows = l.rec.endTask()
	b.State = l.digest()
	if err := sink.Boundary(b); err != nil {
		return &SinkError{err}
	}
	return nil
}

// sample is what measurements of one number of examples look at.
type sample struct {
	batch      *stream.Batch
	evaluation *learner.Evaluation // nil until a probe of this moment asks
}

// measure runs the probes that are due to look at the learner at rest, before
// or after the step that l.step stands at. Probes that ask for the same number
// of examples share one evaluation.
func (l *Life) measure(taskStart, taskEnd bool) error {
	for _, s := range l.samples {
		s.evaluation = nil
	}
	for i := range l.rec.probes {
		p := &l.rec.probes[i]
		if !p.due(l.step, l.tasks.now, taskStart, taskEnd) {
			continue
		}
		if err := l.measureOne(p); err != nil {
			return fmt.Errorf("%s: %w", l.spec.probes[i].Path, err)
		}
		for k, v := range p.values {
			l.rec.emit(p.first+k, l.step, v)
		}
	}
	return nil
}

func (l *Life) measureOne(p *recordedProbe) error {
	if p.tasks != nil {
		return p.tasks.MeasureTasks(&l.tasks, p.values)
	}
	e, err := l.evaluate(p.measurer.Samples())
	if err != nil {
		return err
	}
	return p.measurer.Measure(e, p.values)
}

// tasks is what a probe sees of other tasks. It looks at them with a stream of
// its own, so that the training's stays where it is.
type tasks struct {
	life    *Life
	now     int
	learned int
	stream  stream.Stream
	entered int
	batches map[int]*stream.Batch // by number of examples
}

// Now implements [probe.Tasks].
func (t *tasks) Now() int { return t.now }

// Learned implements [probe.Tasks].
func (t *tasks) Learned() int { return t.learned }

// Evaluate implements [probe.Tasks].
func (t *tasks) Evaluate(task, n int) (*learner.Evaluation, error) {
	if err := t.enter(task); err != nil {
		return nil, err
	}
	tester, _ := t.stream.(stream.Tester)
	if tester == nil || tester.TestSize() == 0 {
		return t.EvaluateTraining(task, n)
	}
	b := t.batch(task, min(n, tester.TestSize()))
	tester.Test(0, b)
	return t.life.learner.Evaluate(b)
}

// EvaluateTraining implements [probe.Tasks].
func (t *tasks) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	if err := t.enter(task); err != nil {
		return nil, err
	}
	b := t.batch(task, n)
	t.stream.Sample(b)
	return t.life.learner.Evaluate(b)
}

func (t *tasks) enter(task int) error {
	if t.life.spec.stream == nil {
		return errors.New("an environment has no examples of tasks")
	}
	if t.stream == nil {
		var err error
		if t.stream, err = t.life.newStream(); err != nil {
			return err
		}
		t.entered = -1
	}
	if t.entered != task {
		if err := t.stream.Enter(task); err != nil {
			return fmt.Errorf("look at task %d: %w", task, err)
		}
		t.entered = task
	}
	return nil
}

func (t *tasks) batch(task, n int) *stream.Batch {
	b := t.batches[n]
	if b == nil {
		b = stream.NewBatch(t.life.spec.info, n)
		t.batches[n] = b
	}
	b.Task = task
	return b
}

// evaluate returns the evaluation of n examples of the current task, nil for
// none.
func (l *Life) evaluate(n int) (*learner.Evaluation, error) {
	if n == 0 {
		return nil, nil
	}
	s := l.samples[n]
	if s == nil {
		s = &sample{batch: stream.NewBatch(l.spec.info, n)}
		l.samples[n] = s
	}
	if s.evaluation == nil {
		s.batch.Task = l.tasks.now
		l.stream.Sample(s.batch)
		var err error
		if s.evaluation, err = l.learner.Evaluate(s.batch); err != nil {
			return nil, err
		}
	}
	return s.evaluation, nil
}

// digest hashes the persistent variables: names, types, shapes and bytes, in
// the order in which they were made.
func (l *Life) digest() [32]byte {
	h := sha256.New()
	for _, v := range l.learner.Store().Vars() {
		if v.Keep == graph.Persistent {
			fmt.Fprintf(h, "%s %s %s\n", v.Name, v.Type, v.Shape)
			hashVar(h, v)
		}
	}
	var d [32]byte
	h.Sum(d[:0])
	return d
}

func hashVar(h hash.Hash, v *graph.Var) {
	var buf [8192]byte
	n := 0
	flush := func(need int) {
		if n+need > len(buf) {
			h.Write(buf[:n])
			n = 0
		}
	}
	for _, x := range v.F32 {
		flush(4)
		binary.LittleEndian.PutUint32(buf[n:], math.Float32bits(x))
		n += 4
	}
	for _, x := range v.F64 {
		flush(8)
		binary.LittleEndian.PutUint64(buf[n:], math.Float64bits(x))
		n += 8
	}
	for _, x := range v.I32 {
		flush(4)
		binary.LittleEndian.PutUint32(buf[n:], uint32(x))
		n += 4
	}
	h.Write(buf[:n])
	h.Write(v.U8)
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
