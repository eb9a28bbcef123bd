package learner

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Learners of a kind of their own, `learner: {kind: …}`, register themselves;
// each is one file in package learners. A spec may give them a network, a rule,
// an optimiser and methods, as supervised learners have, which they build with
// [Env.Core], and train in a way of their own.

// Env is what such a learner is built in.
type Env struct {
	Store *graph.Store
	// Info is the stream's. In an environment Input is the shape of an
	// observation and Outputs the number of actions.
	Info        stream.Info
	Environment environment.Environment // nil with a stream
	// Key returns the random key of a purpose of this learner.
	Key func(purpose string) rng.Key
	// Artifacts are files of other runs, for learners that start from one.
	component.Artifacts
	// Core builds the network of the spec, with its rule, optimiser and methods.
	// It may be called once.
	Core func(Objective) (Core, error)
}

// State makes a persistent variable of the learner.
func (e Env) State(name string, t graph.DType, shape ...int) *graph.Var {
	return e.Store.New("learner/"+name, t, graph.Persistent, shape...)
}

// Objective is what a [Core] is trained for.
type Objective struct {
	// Batch is the number of examples of an update.
	Batch int
	// Losses traces the loss of each of n examples, [n], from the network's
	// output [n][outputs]. What else it needs it declares as inputs of b.
	Losses func(b *graph.Builder, output graph.Node, n int) graph.Node
}

// Core is a network with a rule, an optimiser and methods. Its Step makes an
// update on s.Batch, whose X is filled in; s.Index counts the updates.
type Core interface {
	Learner
	component.Publisher // of its weights, and of what its methods publish
	// Input returns the storage of an input that the objective declared for the
	// training program.
	Input(name string) []float32
	// Shadow makes a copy of the network's parameters that stays as it is until
	// it is synchronised, a target network for example, and evaluates batches
	// of n examples.
	Shadow(name string, n int) Shadow
}

// Shadow is a copy of a core's network.
type Shadow interface {
	// Sync copies the network's parameters.
	Sync()
	// Output returns the copy's output [n][outputs] for inputs [n][inputs],
	// valid until the next call.
	Output(x []float32) []float32
}

// Sampler is implemented by learners that live in an environment and remember
// what they saw: it fills b with examples for measurements.
type Sampler interface {
	Sample(b *stream.Batch)
}

var registry = component.NewRegistry[Env, Learner]("learner")

// Register adds a kind of learner; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Learner, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is a learner of a spec that is of a kind of its own, ready to build.
type Resolved = component.Resolved[Env, Learner]

// Resolve decodes the learner object that stands at path in a spec, without its
// network, rule, optimiser and methods.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }
