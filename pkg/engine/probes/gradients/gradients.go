// Package gradients has probes of the derivatives of the loss and of the outputs: norms,
// curvature, and the ranks and overlaps of Fisher information.
package gradients

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
	"neoteny/pkg/engine/stream"
)

// gradientTotal measures, each step, a function of Σ f(g) over the elements of
// the gradient, of each layer and of all. The gradient is that of the training
// loss with the terms that methods add to the loss, before methods and
// optimiser transform it.
type gradientTotal struct {
	scope   string
	columns []probe.Column
	params  []*nn.Param
	// element is f, and finish the function of the sum over n elements.
	element func(b *graph.Builder, g graph.Node) graph.Node
	finish  func(b *graph.Builder, sum graph.Node, n int) graph.Node
	values  [][]float32 // scalars of the training program, parallel to columns
}

func newGradientTotal(metric string, env probe.Env) *gradientTotal {
	layers, _ := measure.LayerParams(env.Network, measure.IsAny)
	return &gradientTotal{scope: env.Space.Name(), columns: measure.LayerColumns(metric, layers), params: env.Network.Params()}
}

// Columns implements [probe.Probe].
func (p *gradientTotal) Columns() []probe.Column { return p.columns }

func (p *gradientTotal) output(c probe.Column) string { return p.scope + "/" + c.Layer }

// Trace implements [probe.Tracer].
func (p *gradientTotal) Trace(b *graph.Builder, gradients []graph.Node) {
	total, all := b.Const(0), 0
	for _, c := range p.columns[1:] {
		layer, n := b.Const(0), 0
		for i, w := range p.params {
			if w.Layer == c.Layer {
				layer = b.Add(layer, b.Sum(p.element(b, gradients[i])))
				n += w.Var.Len()
			}
		}
		b.Output(p.output(c), p.finish(b, layer, n))
		total = b.Add(total, layer)
		all += n
	}
	b.Output(p.output(p.columns[0]), p.finish(b, total, all))
}

// Traced implements [probe.Tracer].
func (p *gradientTotal) Traced(program *graph.Program) {
	for _, c := range p.columns {
		p.values = append(p.values, program.Output(p.output(c)))
	}
}

// Step implements [probe.Stepper].
func (p *gradientTotal) Step(_ *learner.Step, values []float32) {
	for i, v := range p.values {
		values[i] = v[0]
	}
}

// gram measures the rank of the matrix G_ij = Σ_k ⟨g_ik, g_jk⟩ of the gradients
// g_ik, with respect to all trained parameters, of several scalars k for each of m
// examples i: the least number of its eigenvalues that make up 99 % of their sum,
// over m.
type gram struct {
	columns []probe.Column
	samples int
	env     probe.Env
	// scalar returns what is differentiated; it may read inputs of its own,
	// which choose sets for number k of count.
	scalar func(b *graph.Builder, net nn.Activations, losses graph.Node) graph.Node
	choose func(p *graph.Program, k int)
	count  func(task int) int

	program   *graph.Program
	gradients [][]float32
	size      int
	piece     []float32 // [m][width]: a stretch of all examples' gradients
	g         []float64
	one       *stream.Batch
	eigen     linalg.Eigen
}

// gramWidth is how much of a gradient is looked at at once: gradients of all
// examples together would fill the memory, so they are computed again for every
// stretch.
const gramWidth = 1 << 16

func newGram(metric string, samples int, env probe.Env) *gram {
	return &gram{
		columns: []probe.Column{{Metric: metric}}, samples: samples, env: env,
		choose: func(*graph.Program, int) {}, count: func(int) int { return 1 },
	}
}

// Columns implements [probe.Probe].
func (p *gram) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *gram) Samples() int { return p.samples }

func (p *gram) trace(m int) {
	b := graph.NewBuilder()
	net, losses := p.env.Forward(b, 1)
	var theta []graph.Node
	for _, w := range p.env.Network.Params() {
		if !w.Frozen {
			theta = append(theta, b.Read(w.Var))
			p.size += w.Var.Len()
		}
	}
	p.program, p.gradients = measure.CompileGradients(b, p.scalar(b, net, losses), theta)
	p.piece = make([]float32, m*min(gramWidth, p.size))
	p.g = make([]float64, m*m)
	p.one = stream.NewBatch(p.env.Info, 1)
}

// Measure implements [probe.Measurer].
func (p *gram) Measure(e *learner.Evaluation, values []float32) error {
	m := e.N
	if p.program == nil {
		p.trace(m)
	}
	clear(p.g)
	for k := range p.count(e.Batch.Task) {
		p.choose(p.program, k)
		for from := 0; from < p.size; from += gramWidth {
			p.add(e.Batch, from, min(gramWidth, p.size-from))
		}
	}
	lambda, err := p.eigen.Values(p.g, m)
	if err != nil {
		return err
	}
	var sum, head float64
	for _, l := range lambda {
		sum += max(l, 0)
	}
	rank := 0
	for ; rank < m && sum > 0 && head/sum < 0.99; rank++ {
		head += max(lambda[rank], 0)
	}
	values[0] = float32(float64(rank) / float64(m))
	return nil
}

// add adds the part of G that elements [from, from+width) of the gradients have.
func (p *gram) add(all *stream.Batch, from, width int) {
	m, one := all.N, p.one
	one.Task = all.Task
	inputs, outputs := len(one.X), len(one.Targets)
	for i := range m {
		copy(one.X, all.X[i*inputs:])
		if one.Labels != nil {
			one.Labels[0] = all.Labels[i]
		}
		if outputs > 0 {
			copy(one.Targets, all.Targets[i*outputs:])
		}
		p.env.Fill(p.program, one)
		p.program.Run(0)
		at := 0
		for _, g := range p.gradients {
			lo, hi := max(from-at, 0), min(from+width-at, len(g))
			if lo < hi {
				copy(p.piece[i*width+at+lo-from:], g[lo:hi])
			}
			at += len(g)
		}
	}
	// Single precision within short stretches, float64 over them.
	const short = 4096
	for i := range m {
		for j := range i + 1 {
			gi, gj := p.piece[i*width:(i+1)*width], p.piece[j*width:(j+1)*width]
			var sum float64
			for lo := 0; lo < width; lo += short {
				hi := min(lo+short, width)
				sum += float64(kernel.Dot(gi[lo:hi], gj[lo:hi]))
			}
			p.g[i*m+j] += sum
		}
	}
}

// checkGram checks how many examples' gradients are compared.
func checkGram(n int) error {
	if n < 1 || n > 100 {
		return component.Fieldf("samples", "must be between 1 and 100, is %d", n)
	}
	return nil
}
