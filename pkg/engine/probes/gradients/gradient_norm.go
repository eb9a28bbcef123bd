package gradients

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "gradient-norm",
			Paper:   "Abbas et al. 2023, Loss of Plasticity in Continual Deep Reinforcement Learning",
			Summary: "L2 norm of each step's gradient, weights and biases",
			Needs:   []component.Capability{component.Gradients},
		},
		Metrics: []probe.Metric{{Metric: "gradient_norm", Title: "L2 norm of the gradient", Range: probe.Positive}},
		Every:   "step",
	}, gradientNormConfig{}, nil, newGradientNorm)
}

type gradientNormConfig struct{}

func (gradientNormConfig) Validate() error { return nil }

// newGradientNorm emits √Σ g².
func newGradientNorm(_ gradientNormConfig, env probe.Env) (probe.Probe, error) {
	p := newGradientTotal("gradient_norm", env)
	p.element = (*graph.Builder).Square
	p.finish = func(b *graph.Builder, sum graph.Node, _ int) graph.Node { return b.Sqrt(sum) }
	return p, nil
}
