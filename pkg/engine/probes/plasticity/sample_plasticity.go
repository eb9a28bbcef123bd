package plasticity

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "sample-plasticity",
			Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning",
			Summary: "share of each mini-batch's loss that the update on it takes away",
			Needs:   []component.Capability{component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{
				Metric: "sample_plasticity", Title: "Sample plasticity",
				Unit: "share of the loss", Range: probe.Share, Better: probe.Higher,
			},
		},
		Every: "step",
	}, samplePlasticityConfig{}, nil, func(_ samplePlasticityConfig, env probe.Env) (probe.Probe, error) {
		return &samplePlasticity{env: env}, nil
	})
}

type samplePlasticityConfig struct{}

func (samplePlasticityConfig) Validate() error { return nil }

// samplePlasticity emits
//
//	p = clip(1 − ℓ(w⁺, z) / max(ℓ(w, z), 1e-8), 0, 1)
//
// for the mini-batch z of each step, w and w⁺ being the weights before and after
// it, and ℓ the mean loss without penalties. The loss of plasticity over a life
// is the mean of p over its first tasks less that over its last. It costs a
// second forward pass.
type samplePlasticity struct {
	env     probe.Env
	program *graph.Program
	losses  []float32
}

// Columns implements [probe.Probe].
func (p *samplePlasticity) Columns() []probe.Column {
	return []probe.Column{{Metric: "sample_plasticity"}}
}

// Step implements [probe.Stepper].
func (p *samplePlasticity) Step(s *learner.Step, values []float32) {
	if p.program == nil {
		b := graph.NewBuilder()
		p.env.Forward(b, s.Batch.N)
		p.program = b.Compile()
		p.losses = p.program.Output("losses")
	}
	p.env.Fill(p.program, s.Batch)
	p.program.Run(0)
	var after float64
	for _, l := range p.losses {
		after += float64(l)
	}
	after /= float64(len(p.losses))
	values[0] = float32(min(max(1-after/max(float64(s.Loss), 1e-8), 0), 1))
}
