// Package environment has the worlds that reinforcement learners act in.
// Environments register themselves; each is one file in package environments.
package environment

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Environment is a Markov decision process with discrete actions, which may
// change from task to task. Where it stands is in variables made with
// [Env.State], and what it draws is a function of episode and time, so that a
// run can stop and go on anywhere.
type Environment interface {
	// Enter moves to a task. It leaves the episode where it is.
	Enter(task int) error
	// Reset begins an episode; number counts them from 0.
	Reset(number uint64)
	// Observe writes what the agent sees.
	Observe(dst []float32)
	// Act takes an action.
	Act(action int) Outcome
}

// Outcome is what comes of an action.
type Outcome struct {
	Reward float32
	// Terminal: the episode has ended, and nothing follows from its last state.
	Terminal bool
	// Truncated: the episode is cut off for its length; its last state still
	// has a value.
	Truncated bool
}

// Info is what the rest of a spec must know of an environment; it follows from
// the configuration alone.
type Info struct {
	Observation  tensor.Shape
	Actions      int
	Tasks        int
	StepsPerTask int64
}

// Config is an environment's configuration.
type Config interface {
	component.Config
	// Info describes the environment. It is called on a validated configuration.
	Info() (Info, error)
}

// Env is what an environment is built in.
type Env struct {
	Space graph.Space // of the environment's variables
	// Key returns the random key of a purpose. It is made of the run's seed and
	// the purpose, so that every arm acts in the same world.
	Key func(purpose string) rng.Key
}

// State makes a persistent variable of the environment.
func (e Env) State(name string, t graph.DType, shape ...int) *graph.Var {
	return e.Space.State(name, t, shape...)
}

var registry = component.NewRegistry[Env, Environment]("environment")

// Register adds an environment; see [component.Add].
func Register[C Config](info component.Info, def C, presets map[string]C, build func(C, Env) (Environment, error)) {
	component.Add(registry, info, def, presets, build)
}

// Resolved is an environment of a spec, ready to build.
type Resolved = component.Resolved[Env, Environment]

// Resolve decodes the environment object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }
