package train

import (
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
)

// sequence is what a step of one or several trainers consists of, spelt once: the
// forward program, what it gave, whole gradients where a method asks for them, and the
// update. A trainer that fails takes no part in what follows.
type sequence struct {
	trainers []*Trainer
	forward  runner // programs of all trainers, each once
	update   runner // nil where forward makes the update
	errs     []error
}

// runner is a compiled program, or several that run as one.
type runner interface{ Run(step uint64) }

func (q *sequence) run(index uint64, errs []error) {
	q.forward.Run(index)
	for i, t := range q.trainers {
		if errs[i] != nil {
			continue
		}
		if err := t.observe(); err != nil {
			errs[i] = err
		}
	}
	if q.update == nil {
		return
	}
	going := false
	for i, t := range q.trainers {
		if errs[i] == nil {
			errs[i] = t.editGradients()
			going = going || errs[i] == nil
		}
	}
	if going {
		q.update.Run(index)
	}
}

// Step implements [learner.Learner].
func (t *Trainer) Step(s *learner.Step) error {
	if err := t.begin(s); err != nil {
		return err
	}
	if err := t.run(); err != nil {
		return err
	}
	return t.end()
}

// begin takes the step's batch through the methods' hooks.
func (t *Trainer) begin(s *learner.Step) error {
	t.now = s
	for _, h := range t.hooks.batch {
		if err := h.Batch(s); err != nil {
			return err
		}
	}
	return nil
}

// bare runs the sequence on the step's batch.
func (t *Trainer) bare() error {
	t.feed.Fill(t.now.Batch)
	t.alone.errs[0] = nil
	t.alone.run(uint64(t.now.Index), t.alone.errs)
	return t.alone.errs[0]
}

// observe takes the results of the forward pass.
func (t *Trainer) observe() error {
	s := t.now
	s.Correct, s.Output, s.Features = t.correct, t.outputs, t.features
	var sum float64
	for _, v := range t.losses {
		sum += float64(v)
	}
	s.Loss = float32(sum / float64(len(t.losses)))
	if sum-sum != 0 {
		return t.notFinite()
	}
	return nil
}

// editGradients shows whole gradients to the methods that asked for them.
func (t *Trainer) editGradients() error {
	for _, h := range t.hooks.backward {
		if err := h.AfterBackward(t.now, t.gradients); err != nil {
			return err
		}
	}
	return nil
}

// end lets the methods see and edit the network after the update.
func (t *Trainer) end() error {
	for _, h := range t.hooks.after {
		if err := h.AfterStep(t.now); err != nil {
			return err
		}
	}
	return nil
}

// Join implements [learner.Joiner]. Methods that wrap the step, and thus run steps of
// their own, keep trainers apart.
func (t *Trainer) Join(all []learner.Learner) (learner.Lockstep, error) {
	q := &lockstep{}
	for i, l := range all {
		one, ok := l.(*Trainer)
		if !ok || len(one.hooks.around) > 0 {
			return nil, fmt.Errorf("run %d: %w", i, learner.ErrNotAlike)
		}
		q.trainers = append(q.trainers, one)
	}
	forward, err := join(q.trainers, func(t *Trainer) *graph.Program { return t.forward })
	if err != nil {
		return nil, err
	}
	q.forward = forward
	if t.update != nil {
		update, err := join(q.trainers, func(t *Trainer) *graph.Program { return t.update })
		if err != nil {
			return nil, err
		}
		q.update = update
	}
	return q, nil
}

// join makes one program of one of each trainer's.
func join(trainers []*Trainer, program func(*Trainer) *graph.Program) (*graph.Joint, error) {
	programs := make([]*graph.Program, len(trainers))
	for i, t := range trainers {
		if programs[i] = program(t); programs[i] == nil {
			return nil, fmt.Errorf("run %d: %w", i, learner.ErrNotAlike)
		}
	}
	joint, err := graph.Join(programs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", learner.ErrNotAlike, err)
	}
	return joint, nil
}

// lockstep is the sequence of several trainers.
type lockstep struct{ sequence }

// Step implements [learner.Lockstep].
func (q *lockstep) Step(steps []*learner.Step, errs []error) {
	var index int64
	for i, t := range q.trainers {
		if errs[i] != nil {
			continue
		}
		index = steps[i].Index
		if err := t.begin(steps[i]); err != nil {
			errs[i] = err
		}
		t.feed.Fill(steps[i].Batch)
	}
	q.run(uint64(index), errs)
	for i, t := range q.trainers {
		if errs[i] != nil {
			continue
		}
		if err := t.end(); err != nil {
			errs[i] = err
		}
	}
}
