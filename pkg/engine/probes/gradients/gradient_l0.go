package gradients

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "gradient-l0",
			Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
			Summary: "share of each step's gradient that is not 0, weights and biases: one minus its sparsity",
			Needs:   []component.Capability{component.Gradients},
		},
		Metrics: []probe.Metric{
			{
				Metric: "gradient_l0", Title: "Gradient entries that are not 0",
				Unit: "share of parameters", Range: probe.Share,
			},
		},
		Every: "step",
	}, gradientL0Config{}, nil, newGradientL0)
}

type gradientL0Config struct{}

func (gradientL0Config) Validate() error { return nil }

// newGradientL0 emits #{g ≠ 0}/#g. (The paper's code leaves biases out.)
func newGradientL0(_ gradientL0Config, env probe.Env) (probe.Probe, error) {
	p := newGradientTotal("gradient_l0", env)
	p.element = func(b *graph.Builder, g graph.Node) graph.Node { return b.Step(b.Abs(g)) }
	p.finish = func(b *graph.Builder, sum graph.Node, n int) graph.Node { return b.Scale(1/float32(n), sum) }
	return p, nil
}
