package gradients

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "gradient-l1",
			Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
			Summary: "L1 norm of each step's gradient, weights and biases",
			Needs:   []component.Capability{component.Gradients},
		},
		Metrics: []probe.Metric{{Metric: "gradient_l1", Title: "L1 norm of the gradient", Range: probe.Positive}},
		Every:   "step",
	}, gradientL1Config{}, nil, newGradientL1)
}

type gradientL1Config struct{}

func (gradientL1Config) Validate() error { return nil }

// newGradientL1 emits Σ |g|. (The paper's code leaves biases out.)
func newGradientL1(_ gradientL1Config, env probe.Env) (probe.Probe, error) {
	p := newGradientTotal("gradient_l1", env)
	p.element = (*graph.Builder).Abs
	p.finish = func(_ *graph.Builder, sum graph.Node, _ int) graph.Node { return sum }
	return p, nil
}
