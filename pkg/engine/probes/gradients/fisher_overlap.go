package gradients

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
	"neoteny/pkg/engine/stream"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "fisher-overlap",
			Paper:   "Kirkpatrick et al. 2017, Overcoming Catastrophic Forgetting in Neural Networks",
			Summary: "how far the present task and an earlier one depend on the same weights: overlap of their diagonal Fisher information",
			Needs:   []component.Capability{component.Gradients, component.Stream, component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "fisher_overlap", Title: "Overlap of Fisher information",
				Unit: "1 is the same weights", Range: probe.Share,
			},
		},
		Every: "task",
		At:    "end",
	}, fisherOverlapConfig{Samples: 100}, nil, newFisherOverlap)
}

type fisherOverlapConfig struct {
	With    int `json:"with" doc:"the task that the present one is compared with, counted from 0"`
	Samples int `json:"samples" doc:"held-out examples of each of the two tasks, the first ones; all if there are fewer"`
}

func (c fisherOverlapConfig) Validate() error {
	var err error
	if c.With < 0 {
		err = component.Fieldf("with", "must be at least 0, is %d", c.With)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// fisherOverlap emits, for the network as it is, the overlap of the Fisher
// information F_A of the present task and F_B of another (appendix 4.3 of the
// paper), in all parameters that learn together, and layer by layer:
//
//	F_i     = 1/n · Σ_x Σ_y p(y|x)·(∂ln p(y|x)/∂θ_i)²
//	F̂       = F / Σ_i F_i
//	d²      = ½ · tr(F̂_A + F̂_B − 2·(F̂_A·F̂_B)^½)
//	overlap = 1 − d² = Σ_i √(F̂_A,i · F̂_B,i)
//
// d being the Fréchet distance of Gaussians with these covariances and one mean.
// 1 is the same weights in the same proportions, 0 none in common, NaN that a task
// depends on no weight at all. p is the softmax of the outputs; its expectation
// over labels is exact, none is drawn.
type fisherOverlap struct {
	cfg     fisherOverlapConfig
	env     probe.Env
	columns []probe.Column
	params  [][]*nn.Param // by layer
	now     [][]float64   // F_A by layer
	other   [][]float64   // F_B

	program   *graph.Program
	gradients [][][]float32 // by layer and parameter
	one       *stream.Batch
	p         []float32 // of one example's labels
}

func newFisherOverlap(c fisherOverlapConfig, env probe.Env) (probe.Probe, error) {
	layers, params := measure.LayerParams(env.Network, func(w *nn.Param) bool { return !w.Frozen })
	return &fisherOverlap{cfg: c, env: env, columns: measure.LayerColumns("fisher_overlap", layers), params: params}, nil
}

// Columns implements [probe.Probe].
func (p *fisherOverlap) Columns() []probe.Column { return p.columns }

func (p *fisherOverlap) trace() {
	b := graph.NewBuilder()
	_, losses := p.env.Forward(b, 1)
	var theta []graph.Node
	for _, layer := range p.params {
		n := 0
		for _, w := range layer {
			theta = append(theta, b.Read(w.Var))
			n += w.Var.Len()
		}
		p.now, p.other = append(p.now, make([]float64, n)), append(p.other, make([]float64, n))
	}
	var gradients [][]float32
	p.program, gradients = measure.CompileGradients(b, b.Sum(losses), theta)
	for _, layer := range p.params {
		p.gradients = append(p.gradients, gradients[:len(layer)])
		gradients = gradients[len(layer):]
	}
	p.one = stream.NewBatch(p.env.Info, 1)
}

// MeasureTasks implements [probe.TaskMeasurer].
func (p *fisherOverlap) MeasureTasks(t probe.Tasks, values []float32) error {
	if p.program == nil {
		p.trace()
	}
	if err := p.estimate(t, t.Now(), p.now); err != nil {
		return err
	}
	if err := p.estimate(t, p.cfg.With, p.other); err != nil {
		return err
	}
	var all, allA, allB float64
	for l := range p.params {
		var common, traceA, traceB float64
		for i, a := range p.now[l] {
			b := p.other[l][i]
			common += math.Sqrt(float64(a * b))
			traceA += a
			traceB += b
		}
		values[1+l] = float32(common / math.Sqrt(float64(traceA*traceB)))
		all, allA, allB = all+common, allA+traceA, allB+traceB
	}
	values[0] = float32(all / math.Sqrt(float64(allA*allB)))
	return nil
}

// estimate sets f to n·F of a task; the factor has no say in the overlap.
func (p *fisherOverlap) estimate(t probe.Tasks, task int, f [][]float64) error {
	e, err := t.Evaluate(task, p.cfg.Samples)
	if err != nil {
		return err
	}
	for _, layer := range f {
		clear(layer)
	}
	outputs := len(e.Output) / e.N
	if len(p.p) != outputs {
		p.p = make([]float32, outputs)
	}
	for i := range e.N {
		kernel.Softmax(p.p, e.Output[i*outputs:(i+1)*outputs])
		p.add(e, i, f)
	}
	return nil
}

// add adds to f the squared gradients of example i of an evaluation for every
// label, weighted by its probability in p.
func (p *fisherOverlap) add(e *learner.Evaluation, i int, f [][]float64) {
	p.one.Task = e.Batch.Task
	copy(p.one.X, e.Batch.X[i*len(p.one.X):])
	for y, probability := range p.p {
		if probability == 0 {
			continue
		}
		p.one.Labels[0] = int32(y)
		p.env.Fill(p.program, p.one)
		p.program.Run(0)
		w := float64(probability)
		for l, layer := range p.gradients {
			sum := f[l]
			for _, g := range layer {
				for k, v := range g {
					d := float64(v)
					sum[k] += float64(w * float64(d*d))
				}
				sum = sum[len(g):]
			}
		}
	}
}
