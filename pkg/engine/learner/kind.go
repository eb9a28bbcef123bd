package learner

import (
	"fmt"
	"maps"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Kinds of learners register themselves; each is one file in package learners. A
// spec may give them a network, a rule, an optimiser and methods, which they build
// with [Env.Core], and train in a way of their own.

// Env is what a learner is built in.
type Env struct {
	Space graph.Space // of the learner's own variables
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
	return e.Space.State(name, t, shape...)
}

// Objective is what a [Core] is trained for.
type Objective struct {
	// Batch is the number of examples of an update.
	Batch int
	// Losses traces the loss of each of n examples, [n], from the network's
	// output [n][outputs]. Of a batch there are the labels [n] and the targets
	// [n][outputs], inputs of b under those names; what else the objective needs it
	// declares as inputs. An output "correct", [n], is 1 where the answer was right.
	Losses func(b *graph.Builder, output graph.Node, n int) graph.Node
}

// Core is a network with a rule, an optimiser and methods. Its Step makes an
// update on s.Batch, whose X is filled in; s.Index counts the updates.
type Core interface {
	Learner
	Lister
	// Input returns the storage of an input that the objective declared for the
	// training program.
	Input(name string) []float32
	// Shadow makes a copy of the network's parameters that stays as it is until
	// it is synchronised, a target network for example, and evaluates batches
	// of n examples.
	Shadow(name string, n int) Shadow
}

// Program is a compiled program of a learner, for people who tune.
type Program struct {
	Name    string         `json:"name"`
	Listing *graph.Listing `json:"listing"`
}

// Lister is implemented by learners whose steps are compiled programs. They have
// listings where the learner's store was asked for them.
type Lister interface {
	Programs() []Program
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

// Fitter is implemented by configurations that go with some streams only: it
// reports the parameter that does not fit, as a [component.FieldError]. source
// names the stream or the environment.
type Fitter interface {
	Fits(info stream.Info, source string) error
}

// OnDivergence is the parameter of all learners that says what becomes of a run whose
// learner diverges: it ends, or goes on with the learner frozen.
const (
	OnDivergence = "on_divergence"
	End          = "end" // the default
	Freeze       = "freeze"
)

var (
	registry    = component.NewRegistry[Env, Learner]("learner", OnDivergence)
	defaultKind string
)

// Register adds a kind of learner; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Learner, error)) {
	component.Add(registry, info, def, presets, build)
}

// SetDefault says which kind the learners are of whose spec names none. The kind's
// own file calls it.
func SetDefault(kind string) {
	if defaultKind != "" {
		panic(fmt.Sprintf("learner: %s and %s are both the default", defaultKind, kind))
	}
	defaultKind = kind
}

// Default returns the kind of the learners whose spec names none.
func Default() string { return defaultKind }

// Resolved is a learner of a spec, ready to build.
type Resolved = component.Resolved[Env, Learner]

// Resolve decodes the learner object that stands at path in a spec, without its
// network, rule, optimiser and methods. Without a kind it is of the default one.
func Resolve(path string, raw map[string]any) (*Resolved, error) {
	if raw["kind"] == nil {
		raw = maps.Clone(raw)
		raw["kind"] = defaultKind
	}
	return registry.Resolve(path, raw)
}

// Parameters returns the names of the parameters that learners of a kind have beside
// their network, rule, optimiser and methods.
func Parameters(kind string) []string { return registry.Parameters(kind) }
