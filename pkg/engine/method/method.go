// Package method has the hooks by which an intervention (continual backprop,
// L2, replay, …) takes part in a learner's life. Methods register themselves;
// each is one file in package methods.
//
// A method implements any subset of the hook interfaces; they are found once,
// when the life is built, and run in the order of the spec. State lives in
// store variables made with [Env.State], so it is checkpointed and digested
// without further code. Hooks that run every step must not allocate.
package method

import (
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Method is an intervention on a learner: at least one of the hooks below.
type Method any

// hooks are the interfaces by which a method takes part.
var hooks = []func(any) bool{
	is[Builder], is[Batcher], is[Losser], is[GradientUpdater], is[WeightUpdater], is[SecondGradient],
	is[AfterBackward], is[AfterStep], is[Around], is[TaskBoundary], is[Rebirther], is[Evaluator],
}

func is[H any](m any) bool {
	_, ok := m.(H)
	return ok
}

// Acts reports whether a method or its configuration has a hook: without one it
// would be no part of the learner, whatever it is meant to do.
func Acts(m Method, config component.Config) bool {
	return slices.ContainsFunc(hooks, func(has func(any) bool) bool { return has(m) || has(config) })
}

// Builder changes the network before its parameters are made. It is implemented
// by a method's configuration, because the method itself is built with the
// network at hand.
type Builder interface {
	Build(bp *nn.Blueprint) error
}

// Batcher changes the batch before the step, in place.
type Batcher interface {
	Batch(s *learner.Step) error
}

// Losser adds a differentiable scalar term to the training loss.
type Losser interface {
	Loss(t *Trace) graph.Node
}

// GradientUpdater transforms a parameter's gradient element by element, before
// the optimiser.
type GradientUpdater interface {
	UpdateGradient(u *optim.Update) graph.Node
}

// WeightUpdater transforms a parameter's new weight element by element, after
// the optimiser. u.W is still the weight before the step.
type WeightUpdater interface {
	UpdateWeight(u *optim.Update, w graph.Node) graph.Node
}

// SecondGradient asks for gradients of another batch of the given size, which
// the method then takes with [Gradients.On] from AfterBackward or Around.
type SecondGradient interface {
	GradientBatch() int
	UseGradients(g Gradients)
}

// Objective is implemented by a [SecondGradient] that wants the gradient of
// something other than the mean prediction loss.
type Objective interface {
	// Objective traces the scalar. t.Loss and t.Losses are of the batch that is
	// given to On; what else it needs it declares as inputs of t.B.
	Objective(t *Trace) graph.Node
}

// Gradients computes the gradient of the mean prediction loss, without
// penalties, or of an [Objective], on any batch of the size that was asked for.
type Gradients interface {
	// On returns one gradient per parameter, valid until the next call.
	On(b *stream.Batch) ([][]float32, error)
	// Output returns the network's output [n][outputs] for the last batch.
	Output() []float32
	// Input returns the storage of an input that the Objective declared, to be
	// filled before On.
	Input(name string) []float32
}

// AfterBackward sees and edits whole gradients before they are used: one slice
// per parameter of the network.
type AfterBackward interface {
	AfterBackward(s *learner.Step, gradients [][]float32) error
}

// AfterStep sees and edits the network after the update.
type AfterStep interface {
	AfterStep(s *learner.Step) error
}

// Around wraps the step: it calls next any number of times.
type Around interface {
	Around(s *learner.Step, next func() error) error
}

// TaskBoundary is called when a task has ended; s is its last step.
type TaskBoundary interface {
	TaskBoundary(s *learner.Step) error
}

// Rebirther ends the learner's life at task boundaries, for controls that know
// nothing of earlier tasks.
type Rebirther interface {
	// Reborn reports whether all that the learner and its methods are and
	// remember is made anew now that the task of s has ended, as at the start of
	// a run with another seed.
	Reborn(s *learner.Step) bool
}

// Evaluator changes the network's output in evaluations: a node of the same
// shape.
type Evaluator interface {
	Evaluate(b *graph.Builder, a nn.Activations) graph.Node
}

// UnitResetter is implemented by methods that reinitialise single weights, so
// that optimisers count steps weight by weight.
type UnitResetter interface {
	ResetsUnits()
}

// Trace is the training program while it is being traced.
type Trace struct {
	B       *graph.Builder
	X       graph.Node // [n][inputs]
	Net     nn.Activations
	Network nn.Network
	Losses  graph.Node // [n] prediction losses
	Loss    graph.Node // scalar, before the method's term
	Tracer  *optim.Tracer
}

// Env is what a method is built in.
type Env struct {
	Space        graph.Space // of the method's variables
	Network      nn.Network
	Info         stream.Info
	Inputs       int // numbers of an example
	Outputs      int // numbers that the network gives for it
	Classes      int // 0 for regression
	Batch        int
	StepsPerTask int64
	States       *optim.States
	// Key returns the random key of a purpose of this method.
	Key func(purpose string) rng.Key
	// Artifacts are files of other runs, for methods that start from one.
	component.Artifacts
}

// State makes a persistent variable of the method.
func (e Env) State(name string, t graph.DType, shape ...int) *graph.Var {
	return e.Space.State(name, t, shape...)
}

var registry = component.NewRegistry[Env, Method]("method")

// Register adds a method; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Method, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is a method of a spec, ready to build.
type Resolved = component.Resolved[Env, Method]

// Resolve decodes the method object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }
