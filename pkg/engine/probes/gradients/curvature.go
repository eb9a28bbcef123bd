package gradients

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
	"neoteny/pkg/engine/rng"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "curvature",
			Paper:   "Lyle et al. 2023, Understanding Plasticity in Neural Networks; Hutchinson 1990 (trace); Pearlmutter 1994 (products with the Hessian)",
			Summary: "largest eigenvalue and trace of the Hessian of the loss, without penalties",
			Needs:   []component.Capability{component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{Metric: "hessian_max_eigenvalue", Title: "Largest eigenvalue of the Hessian"},
			{Metric: "hessian_trace", Title: "Trace of the Hessian"},
		},
		Every: "task",
		At:    "end",
	}, curvatureConfig{Samples: 500, Iterations: 30, Tolerance: 1e-3, Vectors: 10}, nil, newCurvature)
}

type curvatureConfig struct {
	Samples    int     `json:"samples" doc:"examples of the current task that the loss is the mean of, the first ones"`
	Iterations int     `json:"iterations" doc:"most products with the Hessian for the eigenvalue, twice that where the largest in size is negative"`
	Tolerance  float64 `json:"tolerance" doc:"relative change from one iteration to the next at which the eigenvalue is taken"`
	Vectors    int     `json:"vectors" doc:"random vectors for the trace, a product with the Hessian each; 0 leaves the trace out"`
}

func (c curvatureConfig) Validate() error {
	var errs []error
	if c.Iterations < 1 || c.Iterations > 10000 {
		errs = append(errs, component.Fieldf("iterations", "must be between 1 and 10000, is %d", c.Iterations))
	}
	if !(c.Tolerance >= 0 && c.Tolerance < 1) {
		errs = append(errs, component.Fieldf("tolerance", "must be at least 0 and below 1, is %v", c.Tolerance))
	}
	if c.Vectors < 0 || c.Vectors > 10000 {
		errs = append(errs, component.Fieldf("vectors", "must be between 0 and 10000, is %d", c.Vectors))
	}
	return errors.Join(append(errs, measure.CheckSamples(c.Samples))...)
}

// curvature emits, of H = ∂²L/∂θ² over all trained parameters θ,
//
//	hessian_max_eigenvalue   λ_max, by power iteration v ← Hv/‖Hv‖
//	hessian_trace            tr H ≈ mean over random v ∈ {−1, 1}^P of vᵀHv
//
// Power iteration finds the eigenvalue that is largest in size. If it is
// negative, λ = −|λ|, the largest one of all is that of H + |λ|I, less |λ|. Start
// and random vectors are the same at every measurement. Products are
// Hv = ∂(vᵀ·∂L/∂θ)/∂θ in float32, what is made of them float64.
type curvature struct {
	cfg     curvatureConfig
	columns []probe.Column
	env     probe.Env
	params  []*nn.Param // trained ones
	program *graph.Program
	in, out [][]float32 // vector and product, by parameter
	shift   float64
	apply   func(dst, src []float64)
	v, work []float64
	draws   []float32
	start   rng.Key // of the power iteration's vector
	random  rng.Key // of those for the trace
}

func newCurvature(c curvatureConfig, env probe.Env) (probe.Probe, error) {
	p := &curvature{cfg: c, env: env, start: env.Key("power"), random: env.Key("trace"), columns: []probe.Column{{Metric: "hessian_max_eigenvalue"}}}
	if c.Vectors > 0 {
		p.columns = append(p.columns, probe.Column{Metric: "hessian_trace"})
	}
	p.apply = p.product
	return p, nil
}

// Columns implements [probe.Probe].
func (p *curvature) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *curvature) Samples() int { return p.cfg.Samples }

func (p *curvature) trace(n int) {
	b := graph.NewBuilder()
	_, losses := p.env.Forward(b, n)
	var theta, v []graph.Node
	size := 0
	for _, w := range p.env.Network.Params() {
		if w.Frozen {
			continue
		}
		theta = append(theta, b.Read(w.Var))
		v = append(v, b.Input(fmt.Sprintf("vector/%d", len(v)), w.Var.Shape...))
		p.params = append(p.params, w)
		size += w.Var.Len()
	}
	along := b.Const(0)
	for i, g := range b.Gradients(b.Mean(losses), theta...) {
		along = b.Add(along, b.Sum(b.Mul(v[i], g)))
	}
	for i, h := range b.Gradients(along, theta...) {
		b.Output(fmt.Sprintf("product/%d", i), h)
	}
	p.program = b.Compile()
	for i := range theta {
		p.in = append(p.in, p.program.Input(fmt.Sprintf("vector/%d", i)))
		p.out = append(p.out, p.program.Output(fmt.Sprintf("product/%d", i)))
	}
	p.v, p.work, p.draws = make([]float64, size), make([]float64, size), make([]float32, size)
}

// product writes (H + shift·I)·src to dst.
func (p *curvature) product(dst, src []float64) {
	at := 0
	for _, in := range p.in {
		for k := range in {
			in[k] = float32(src[at+k])
		}
		at += len(in)
	}
	p.program.Run(0)
	at = 0
	for _, out := range p.out {
		for k, h := range out {
			dst[at+k] = float64(h) + float64(p.shift*src[at+k])
		}
		at += len(out)
	}
}

// Measure implements [probe.Measurer].
func (p *curvature) Measure(e *learner.Evaluation, values []float32) error {
	if p.program == nil {
		p.trace(e.N)
	}
	p.env.Fill(p.program, e.Batch)
	p.shift = 0
	lambda := p.power()
	if lambda < 0 {
		p.shift = -lambda
		lambda += p.power()
	}
	values[0] = float32(lambda)
	if p.cfg.Vectors == 0 {
		return nil
	}
	p.shift = 0
	var sum float64
	for i := range p.cfg.Vectors {
		p.sign(uint64(i))
		p.product(p.work, p.v)
		for k, h := range p.work {
			sum += float64(p.v[k] * h)
		}
	}
	values[1] = float32(sum / float64(p.cfg.Vectors))
	return nil
}

func (p *curvature) power() float64 {
	p.start.FillNormal(p.draws, 0)
	for k, x := range p.draws {
		p.v[k] = float64(x)
	}
	return linalg.Power(p.apply, p.v, p.work, p.cfg.Iterations, p.cfg.Tolerance)
}

// sign draws the random vector number i.
func (p *curvature) sign(i uint64) {
	p.random.FillUniform(p.draws, -1, 1, i)
	for k, x := range p.draws {
		p.v[k] = 1
		if x < 0 {
			p.v[k] = -1
		}
	}
}
