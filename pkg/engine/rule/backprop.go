package rule

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:     "backprop",
		Paper:    "Rumelhart, Hinton & Williams 1986",
		Summary:  "the exact gradient, by reverse-mode differentiation",
		Provides: []component.Capability{component.Gradients},
	}, backpropConfig{}, nil, func(backpropConfig) Rule { return backprop{} })
}

type backpropConfig struct{}

func (backpropConfig) Validate() error { return nil }

type backprop struct{}

// Gradients returns ∂loss/∂θ for every parameter.
func (backprop) Gradients(b *graph.Builder, loss graph.Node, params []graph.Node) []graph.Node {
	return b.Gradients(loss, params...)
}
