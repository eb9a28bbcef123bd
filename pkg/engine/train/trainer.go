// Package train has training: an objective, a learning rule, an optimiser and the
// hooks of methods, compiled into programs over a model, and the sequence of a step.
package train

import (
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/model"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rule"
	"neoteny/pkg/engine/stream"
)

// Trainer trains a model. It implements [learner.Core], and [learner.Joiner] for
// learners that are nothing but their training.
type Trainer struct {
	// What every step of a small network in lanes goes through comes first: the lanes'
	// trainers compete for the cache.
	now      *learner.Step
	hooks    hooks
	losses   []float32
	correct  []float32
	outputs  []float32
	features [][]float32
	feed     model.Feed

	model     *model.Model
	tracer    *optim.Tracer
	forward   *graph.Program // forward, gradients and, with update nil, the update
	update    *graph.Program // the update from the stored gradients
	gradients [][]float32    // when update is set, one per parameter

	run     func() error // the step between begin and end, with the Around hooks about it
	alone   sequence     // of this learner only
	rebirth func(task int) error
}

// Method is a method of a spec that is built, with the space of its variables.
type Method struct {
	method.Method
	Space graph.Space
}

// Config says what a trainer is put together from.
type Config struct {
	Model *model.Model
	// Tracer has the model's initial values; methods know its States.
	Tracer    *optim.Tracer
	Rule      rule.Rule
	Optimizer optim.Optimizer
	Methods   []Method       // in the order of the spec
	Probes    []probe.Tracer // that look into the training program
	// Rebirth makes the whole learner anew when a method asks for it at the end of a
	// task.
	Rebirth func(task int) error
}

// hooks are those of the methods that run outside of programs, in the order of the
// spec.
type hooks struct {
	batch    []method.Batcher
	after    []method.AfterStep
	backward []method.AfterBackward
	around   []method.Around
	boundary []method.TaskBoundary
	rebirth  []method.Rebirther
}

func hooksOf(methods []Method) hooks {
	var h hooks
	for _, m := range methods {
		collect(&h.batch, m.Method)
		collect(&h.backward, m.Method)
		collect(&h.around, m.Method)
		collect(&h.after, m.Method)
		collect(&h.boundary, m.Method)
		collect(&h.rebirth, m.Method)
	}
	return h
}

// collect adds a method to the list of those that have a hook, if it has it.
func collect[H any](list *[]H, m method.Method) {
	if h, ok := m.(H); ok {
		*list = append(*list, h)
	}
}

// New compiles the programs of a training. Mistakes in how components fit together
// panic with a [graph.Error].
func New(c Config) *Trainer {
	t := &Trainer{model: c.Model, tracer: c.Tracer, hooks: hooksOf(c.Methods), rebirth: c.Rebirth}
	t.trace(c)
	for _, m := range c.Methods {
		if h, ok := m.Method.(method.Evaluator); ok {
			t.model.OnEvaluation(h.Evaluate)
		}
	}
	t.alone = sequence{trainers: []*Trainer{t}, forward: t.forward, errs: make([]error, 1)}
	if t.update != nil {
		t.alone.update = t.update
	}
	t.run = t.bare
	for i := len(t.hooks.around) - 1; i >= 0; i-- {
		h, next := t.hooks.around[i], t.run
		t.run = func() error { return h.Around(t.now, next) }
	}
	return t
}

// Store implements [learner.Learner].
func (t *Trainer) Store() *graph.Store { return t.model.Store() }

// Network returns the network that is trained.
func (t *Trainer) Network() nn.Network { return t.model.Network }

// Evaluate implements [learner.Learner].
func (t *Trainer) Evaluate(b *stream.Batch) (*learner.Evaluation, error) { return t.model.Evaluate(b) }

// Input implements [learner.Core].
func (t *Trainer) Input(name string) []float32 { return t.forward.Input(name) }

// Shadow implements [learner.Core].
func (t *Trainer) Shadow(name string, n int) learner.Shadow { return t.model.Shadow(name, n) }

// Programs implements [learner.Lister]: train is forward, backward and, where no method
// asks for whole gradients, the update, which else is a program of its own.
func (t *Trainer) Programs() []learner.Program {
	all := []learner.Program{{Name: "train", Listing: t.forward.Listing()}}
	if t.update != nil {
		all = append(all, learner.Program{Name: "update", Listing: t.update.Listing()})
	}
	return append(all, learner.Program{Name: "evaluate", Listing: t.model.EvaluationListing(t.model.Info.Batch)})
}

// EndTask implements [learner.Learner]: methods see the boundary of the task.
func (t *Trainer) EndTask(s *learner.Step) error {
	if err := t.checkFinite(s); err != nil {
		return err
	}
	for _, h := range t.hooks.boundary {
		if err := h.TaskBoundary(s); err != nil {
			return err
		}
	}
	for _, h := range t.hooks.rebirth {
		if h.Reborn(s) {
			return t.rebirth(s.Task)
		}
	}
	return nil
}

var (
	_ learner.Core   = (*Trainer)(nil)
	_ learner.Joiner = (*Trainer)(nil)
)
