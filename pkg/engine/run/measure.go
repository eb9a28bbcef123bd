package run

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/assemble"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/stream"
)

// sample is what measurements of one number of examples look at.
type sample struct {
	batch      *stream.Batch
	evaluation *learner.Evaluation // nil until a probe of this moment asks
}

// measure runs the probes that are due to look at the learner at rest, before
// or after the step that l.step stands at. Probes that ask for the same number
// of examples share one evaluation. A probe may be the first to see that the learner
// has diverged: the error is a [learner.Diverged] then, or the learner is frozen when
// all have looked at it. Not so in a deferred measurement, of which the run knows nothing.
func (l *Life) measure(taskStart, taskEnd bool) error {
	for _, s := range l.samples {
		s.evaluation = nil
	}
	diverged := false
	for i := range l.rec.probes {
		p := &l.rec.probes[i]
		if !p.due(l.step, l.tasks.now, taskStart, taskEnd) {
			continue
		}
		err := l.measureOne(p)
		if err != nil {
			err = fmt.Errorf("%s: %w", l.spec.Probes[i].Path, err)
		}
		switch notFinite := errors.Is(err, linalg.ErrNotFinite); {
		case notFinite && (l.freezer != nil || l.deferred):
			nothing(p.values)
			diverged = true
		case notFinite:
			return &learner.Diverged{Step: l.now.Index, Task: l.now.Task, What: err.Error()}
		case err != nil:
			return err
		}
		for k, v := range p.values {
			l.rec.emit(p.first+k, l.step, v)
		}
	}
	if diverged && !l.deferred && !l.freezer.on() {
		l.freezer.freeze()
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

// evaluate returns the evaluation of n examples of the current task, nil for
// none.
func (l *Life) evaluate(n int) (*learner.Evaluation, error) {
	if n == 0 {
		return nil, nil
	}
	s := l.samples[n]
	if s == nil {
		s = &sample{batch: stream.NewBatch(l.spec.Info, n)}
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
	if t.life.spec.Stream == nil {
		return errors.New("an environment has no examples of tasks")
	}
	if t.stream == nil {
		var err error
		if t.stream, err = assemble.NewStream(t.life.spec, t.life.env); err != nil {
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
		b = stream.NewBatch(t.life.spec.Info, n)
		t.batches[n] = b
	}
	b.Task = task
	return b
}
