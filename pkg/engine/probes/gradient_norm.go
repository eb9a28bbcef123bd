package probes

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
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
		Metrics: []string{"gradient_norm"},
		Every:   "step",
	}, gradientNormConfig{}, nil, newGradientNorm)
}

type gradientNormConfig struct{}

func (gradientNormConfig) Validate() error { return nil }

// gradientNorm emits √Σ g² over each layer's parameters and over all. The
// gradient is that of the training loss with the terms that methods add to the
// loss, before methods and optimiser transform it.
type gradientNorm struct {
	scope   string
	columns []probe.Column
	params  []*nn.Param
	norms   [][]float32 // scalars of the training program, parallel to columns
}

func newGradientNorm(_ gradientNormConfig, env probe.Env) (probe.Probe, error) {
	p := &gradientNorm{scope: env.Scope, columns: []probe.Column{{Metric: "gradient_norm"}}, params: env.Network.Params()}
	known := map[string]bool{}
	for _, w := range p.params {
		if !known[w.Layer] {
			known[w.Layer] = true
			p.columns = append(p.columns, probe.Column{Metric: "gradient_norm", Layer: w.Layer})
		}
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *gradientNorm) Columns() []probe.Column { return p.columns }

func (p *gradientNorm) output(c probe.Column) string { return p.scope + "/" + c.Layer }

// Trace implements [probe.Tracer].
func (p *gradientNorm) Trace(b *graph.Builder, gradients []graph.Node) {
	total := b.Const(0)
	for _, c := range p.columns[1:] {
		layer := b.Const(0)
		for i, w := range p.params {
			if w.Layer == c.Layer {
				layer = b.Add(layer, b.Sum(b.Square(gradients[i])))
			}
		}
		b.Output(p.output(c), b.Sqrt(layer))
		total = b.Add(total, layer)
	}
	b.Output(p.output(p.columns[0]), b.Sqrt(total))
}

// Traced implements [probe.Tracer].
func (p *gradientNorm) Traced(program *graph.Program) {
	for _, c := range p.columns {
		p.norms = append(p.norms, program.Output(p.output(c)))
	}
}

// Step implements [probe.Stepper].
func (p *gradientNorm) Step(_ *learner.Step, values []float32) {
	for i, n := range p.norms {
		values[i] = n[0]
	}
}
