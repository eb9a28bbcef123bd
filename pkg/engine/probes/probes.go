// Package probes has the measurements that come with neoteny, one file each.
package probes

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/stream"
)

// checkSamples checks how many examples a probe evaluates.
func checkSamples(n int) error {
	if n < 1 || n > 1<<16 {
		return component.Fieldf("samples", "must be between 1 and %d, is %d", 1<<16, n)
	}
	return nil
}

// testTask returns how many of a task's first samples held-out examples the
// learner has right, and how many they are.
func testTask(t probe.Tasks, task, samples int) (correct float64, n int, err error) {
	e, err := t.Evaluate(task, samples)
	if err != nil {
		return 0, 0, err
	}
	for _, c := range e.Correct {
		correct += float64(c)
	}
	return correct, e.N, nil
}

// unitColumns are a metric's columns: the whole network, then each group of
// hidden units.
func unitColumns(metric string, net nn.Network) []probe.Column {
	columns := []probe.Column{{Metric: metric}}
	for _, u := range net.Units() {
		columns = append(columns, probe.Column{Metric: metric, Layer: u.Layer})
	}
	return columns
}

// unitFraction measures the share of hidden units that are idle by some rule:
// per layer, and in the whole network as all idle units over all units.
type unitFraction struct {
	columns []probe.Column
	samples int
	units   []*nn.Units
	total   []float64 // Σ_b |h_bi| of one layer's units
	// of is summed up over the rows instead of |h|, if it is set.
	of func(h float32) float64
	// idle counts idle units, given Σ_b |h_bi| over n rows: samples, or samples
	// and places of a convolution or a sequence.
	idle func(total []float64, n int) int
}

func newUnitFraction(metric string, samples int, env probe.Env, idle func([]float64, int) int) *unitFraction {
	p := &unitFraction{columns: unitColumns(metric, env.Network), samples: samples, units: env.Network.Units(), idle: idle}
	widest := 0
	for _, u := range env.Network.Units() {
		widest = max(widest, u.N)
	}
	p.total = make([]float64, widest)
	return p
}

// Columns implements [probe.Probe].
func (p *unitFraction) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *unitFraction) Samples() int { return p.samples }

// Measure implements [probe.Measurer].
func (p *unitFraction) Measure(e *learner.Evaluation, values []float32) error {
	idle, units := 0, 0
	for layer, h := range e.Features {
		total := p.total[:p.units[layer].N]
		clear(total)
		rows := len(h) / len(total)
		for b := range rows {
			row := h[b*len(total) : (b+1)*len(total)]
			if p.of != nil {
				for i, v := range row {
					total[i] += p.of(v)
				}
				continue
			}
			for i, v := range row {
				if v < 0 {
					v = -v
				}
				total[i] += float64(v)
			}
		}
		n := p.idle(total, rows)
		values[1+layer] = float32(float64(n) / float64(len(total)))
		idle += n
		units += len(total)
	}
	values[0] = float32(float64(idle) / float64(units))
	return nil
}

// examples turns a layer's features into a matrix with a row for each example. A
// channel of a convolution, or a unit that a sequence passes through, has its
// mean over places there; a unit with two outputs has two columns.
type examples struct {
	units []*nn.Units
	means [][]float32 // [samples][outputs·units] of layers with several places
}

func newExamples(env probe.Env, samples int) examples {
	x := examples{units: env.Network.Units()}
	for _, u := range x.units {
		var means []float32
		if u.Places > 1 {
			means = make([]float32, samples*u.Outputs*u.N)
		}
		x.means = append(x.means, means)
	}
	return x
}

// matrix returns a layer's features [n][columns].
func (x examples) matrix(layer int, h []float32, n int) []float32 {
	means := x.means[layer]
	if means == nil {
		return h
	}
	places := x.units[layer].Places
	columns := len(h) / n / places
	means = means[:n*columns]
	for i := range n {
		for j := range columns {
			var sum float64
			for place := range places {
				sum += float64(h[(i*places+place)*columns+j])
			}
			means[i*columns+j] = float32(sum / float64(places))
		}
	}
	return means
}

// rank measures a function of the singular values of each layer's matrix of
// features H [samples][columns]; see [examples]. The whole network's value is
// the mean over layers.
type rank struct {
	examples
	columns []probe.Column
	samples int
	centre  bool      // subtract from every column its mean
	centred []float32 // scratch of centre
	svd     linalg.SVD
	// of maps singular values, in descending order and not all 0, to a rank.
	of func(sigma []float64) float64
}

func newRank(metric string, samples int, env probe.Env, of func([]float64) float64) *rank {
	return &rank{examples: newExamples(env, samples), columns: unitColumns(metric, env.Network), samples: samples, of: of}
}

// Columns implements [probe.Probe].
func (p *rank) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *rank) Samples() int { return p.samples }

// Measure implements [probe.Measurer]. Where a layer's features are all 0, its
// rank is 0.
func (p *rank) Measure(e *learner.Evaluation, values []float32) error {
	var sum float64
	for layer, h := range e.Features {
		h = p.matrix(layer, h, e.N)
		if p.centre {
			p.centred = append(p.centred[:0], h...)
			h = p.centred
			centre(h, e.N)
		}
		sigma, err := p.svd.Values(h, e.N, len(h)/e.N)
		if err != nil {
			return fmt.Errorf("layer %s: %w", p.columns[1+layer].Layer, err)
		}
		r := 0.0
		if sigma[0] > 0 {
			r = p.of(sigma)
		}
		values[1+layer] = float32(r)
		sum += r
	}
	values[0] = float32(sum / float64(len(e.Features)))
	return nil
}

// centre subtracts from every column of a matrix of n rows its mean.
func centre(x []float32, n int) {
	columns := len(x) / n
	for j := range columns {
		var sum float64
		for i := range n {
			sum += float64(x[i*columns+j])
		}
		mean := sum / float64(n)
		for i := range n {
			x[i*columns+j] = float32(float64(x[i*columns+j]) - mean)
		}
	}
}

// layerParams are a network's parameters that pass keep, by layer.
func layerParams(net nn.Network, keep func(*nn.Param) bool) (layers []string, params [][]*nn.Param) {
	index := map[string]int{}
	for _, w := range net.Params() {
		if !keep(w) {
			continue
		}
		i, known := index[w.Layer]
		if !known {
			i = len(layers)
			index[w.Layer] = i
			layers, params = append(layers, w.Layer), append(params, nil)
		}
		params[i] = append(params[i], w)
	}
	return layers, params
}

// layerColumns are a metric's columns: the whole network, then layers.
func layerColumns(metric string, layers []string) []probe.Column {
	columns := []probe.Column{{Metric: metric}}
	for _, l := range layers {
		columns = append(columns, probe.Column{Metric: metric, Layer: l})
	}
	return columns
}

func isWeight(p *nn.Param) bool { return p.Role == nn.Weight }
func isAny(*nn.Param) bool      { return true }

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
	layers, _ := layerParams(env.Network, isAny)
	return &gradientTotal{scope: env.Space.Name(), columns: layerColumns(metric, layers), params: env.Network.Params()}
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

// compileGradients compiles a program that ends with the gradients of y, and says
// where it leaves them.
func compileGradients(b *graph.Builder, y graph.Node, of []graph.Node) (*graph.Program, [][]float32) {
	name := func(i int) string { return fmt.Sprintf("gradient/%d", i) }
	for i, g := range b.Gradients(y, of...) {
		b.Output(name(i), g)
	}
	program := b.Compile()
	gradients := make([][]float32, len(of))
	for i := range of {
		gradients[i] = program.Output(name(i))
	}
	return program, gradients
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
	p.program, p.gradients = compileGradients(b, p.scalar(b, net, losses), theta)
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
