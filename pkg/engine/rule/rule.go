// Package rule has learning rules: how the direction in which parameters move
// follows from a loss.
package rule

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

// Rule computes a direction for every parameter.
type Rule interface {
	// Gradients traces the direction of each parameter, of its shape, which
	// optimisers take for the gradient of the scalar loss.
	Gradients(b *graph.Builder, loss graph.Node, params []graph.Node) []graph.Node
}

// Env is what a rule is built in.
type Env struct{}

var registry = component.NewRegistry[Env, Rule]("rule")

// Register adds a rule; see [component.Add].
func Register[C component.Config](info component.Info, def C, presets map[string]C, build func(C) Rule) {
	component.Add(registry, info, def, presets, func(c C, _ Env) (Rule, error) { return build(c), nil })
}

// Resolved is a rule of a spec, ready to build.
type Resolved = component.Resolved[Env, Rule]

// Resolve decodes the rule object that stands at path in a spec.
func Resolve(path string, raw map[string]any) (*Resolved, error) { return registry.Resolve(path, raw) }
