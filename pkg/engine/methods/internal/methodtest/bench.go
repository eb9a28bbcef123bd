// Package methodtest has a network without a learner around it, in which tests of
// methods play the learner, and some of its formulas in float64.
package methodtest

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// Bench is a network without a learner around it: tests play the learner.
type Bench struct {
	T      *testing.T
	Store  *graph.Store
	Net    nn.Network
	Tracer *optim.Tracer
	seed   uint64
	Batch  int // examples per step; 0 stands for 1

	Classes int // 0 for regression
}

// New makes an MLP of 4 inputs and 3 outputs.
func New(t *testing.T, seed uint64, hidden []any, init string) *Bench {
	return NewOf(t, seed, map[string]any{"kind": "mlp", "hidden": hidden, "init": init})
}

// NewOf makes a network of 4 inputs and 3 outputs.
func NewOf(t *testing.T, seed uint64, network map[string]any) *Bench {
	b := &Bench{T: t, Store: graph.NewStore(), seed: seed}
	r, err := nn.Resolve("network", network)
	require.NoError(t, err)
	b.Net, err = r.Build(nn.Env{Space: b.Store.Space(graph.OfNetwork, "net"), Key: b.Key("init"), Input: tensor.Shape{4}, Outputs: 3})
	require.NoError(t, err)
	b.Tracer = optim.NewTracer(b.Store, graph.OfOptimizer, b.Key)
	return b
}

// Key is that of a purpose.
func (b *Bench) Key(purpose string) rng.Key { return rng.New(b.seed, purpose) }

// Method builds a method as the learner does.
func (b *Bench) Method(spec map[string]any) method.Method {
	r, err := method.Resolve("methods[0]", spec)
	require.NoError(b.T, err)
	scope := "method/" + spec["kind"].(string)
	m, err := r.Build(method.Env{
		Space: b.Store.Space(graph.OfMethod, scope), Network: b.Net, Inputs: 4, Outputs: 3, Classes: b.Classes,
		Batch: max(b.Batch, 1), StepsPerTask: 10, States: b.Tracer.States,
		Key: func(purpose string) rng.Key { return b.Key(scope + "/" + purpose) },
	})
	require.NoError(b.T, err)
	if _, ok := m.(method.UnitResetter); ok {
		b.Tracer.States.PerWeight = true
	}
	return m
}

// Update compiles the update of one parameter by method and optimiser; the
// gradient is the program's input "g".
func (b *Bench) Update(p *nn.Param, m method.Method, optimizer map[string]any) *graph.Program {
	r, err := optim.Resolve("optimizer", optimizer)
	require.NoError(b.T, err)
	opt, err := r.Build(optim.Env{})
	require.NoError(b.T, err)
	g := graph.NewBuilder()
	w, grad := g.Read(p.Var), g.Input("g", p.Var.Shape...)
	if h, ok := m.(method.GradientUpdater); ok {
		grad = h.UpdateGradient(b.Tracer.Update(g, p, b.Store.Space(graph.OfMethod, "method/m"), w, grad))
	}
	next := opt.Update(b.Tracer.Update(g, p, b.Store.Space(graph.OfOptimizer, "optimizer"), w, grad))
	if h, ok := m.(method.WeightUpdater); ok {
		next = h.UpdateWeight(b.Tracer.Update(g, p, b.Store.Space(graph.OfMethod, "method/m"), w, grad), next)
	}
	g.Assign(p.Var, next)
	return g.Compile()
}

// Param returns a parameter by its name.
func (b *Bench) Param(name string) *nn.Param {
	for _, p := range b.Net.Params() {
		if p.Var.Name == "net/"+name {
			return p
		}
	}
	b.T.Fatalf("no parameter %s", name)
	return nil
}

// Clone copies values.
func Clone(x []float32) []float32 { return append([]float32(nil), x...) }

// Gradients plays the learner's part for methods that ask for gradients of
// another batch. Batches are classification: 4 inputs, 3 classes.
type Gradients struct {
	p   *graph.Program
	Out [][]float32 // of the parameters
}

// SecondGradient gives a method the gradients that it asks for.
func (b *Bench) SecondGradient(m method.SecondGradient) *Gradients {
	g := graph.NewBuilder()
	n := m.GradientBatch()
	x := g.Input("x", n, 4)
	net := b.Net.Forward(g, x, nn.Evaluation)
	losses := g.CrossEntropy(net.Output, g.Labels("labels", n))
	loss := g.Mean(losses)
	if o, ok := m.(method.Objective); ok {
		loss = o.Objective(&method.Trace{B: g, X: x, Net: net, Network: b.Net, Losses: losses, Loss: loss, Tracer: b.Tracer})
	}
	var reads []graph.Node
	for _, p := range b.Net.Params() {
		reads = append(reads, g.Read(p.Var))
	}
	g.Output("output", net.Output)
	for i, d := range g.Gradients(loss, reads...) {
		g.Output(fmt.Sprint(i), d)
	}
	s := &Gradients{p: g.Compile()}
	for i := range reads {
		s.Out = append(s.Out, s.p.Output(fmt.Sprint(i)))
	}
	m.UseGradients(s)
	return s
}

// On implements [method.Gradients].
func (s *Gradients) On(b *stream.Batch) ([][]float32, error) {
	copy(s.p.Input("x"), b.X)
	copy(s.p.Labels("labels"), b.Labels)
	s.p.Run(0)
	return s.Out, nil
}

// Output implements [method.Gradients].
func (s *Gradients) Output() []float32 { return s.p.Output("output") }

// Input implements [method.Gradients].
func (s *Gradients) Input(name string) []float32 { return s.p.Input(name) }

// BatchNumber makes distinct examples: the first input is the example's number.
func (b *Bench) BatchNumber(n int, from int, class func(i int) int) *stream.Batch {
	s := &stream.Batch{N: n, X: make([]float32, 4*n), Labels: make([]int32, n)}
	b.Key("examples").FillUniform(s.X, -1, 1, uint64(from))
	for i := range n {
		s.X[4*i] = float32(from + i)
		s.Labels[i] = int32(class(from + i))
	}
	return s
}

// Env is what a memory is made in.
func (b *Bench) Env(name string) method.Env {
	return method.Env{
		Space: b.Store.Space(graph.OfMethod, "method/"+name), Network: b.Net, Inputs: 4, Outputs: 3, Classes: 3, Batch: 1, States: b.Tracer.States,
		Key: b.Key,
	}
}

// See lets a method see batches as the learner does, without learning.
func (b *Bench) See(m method.AfterStep, batch *stream.Batch, index int64, task int, output []float32) *learner.Step {
	s := &learner.Step{Index: index, Task: task, Batch: batch, Output: output}
	require.NoError(b.T, m.AfterStep(s))
	return s
}

// FakeGradients are some numbers in the shapes of the parameters.
func (b *Bench) FakeGradients() (g [][]float32) {
	for i, p := range b.Net.Params() {
		g = append(g, make([]float32, p.Var.Len()))
		b.Key(fmt.Sprint("gradient", i)).FillNormal(g[i], 0)
	}
	return g
}

// Forward64 is an MLP of one ReLU layer in float64.
func Forward64(w map[string][]float64, x []float32) []float64 {
	layer := func(name string, x []float64) []float64 {
		y := append([]float64(nil), w["net/"+name+"/bias"]...)
		for i, v := range x {
			for j := range y {
				y[j] += v * w["net/"+name+"/weight"][i*len(y)+j]
			}
		}
		return y
	}
	in := make([]float64, len(x))
	for i, v := range x {
		in[i] = float64(v)
	}
	h := layer("hidden1", in)
	for i := range h {
		h[i] = math.Max(h[i], 0)
	}
	return layer("output", h)
}

// Weights64 returns the parameters by name.
func (b *Bench) Weights64() map[string][]float64 {
	w := map[string][]float64{}
	for _, p := range b.Net.Params() {
		for _, v := range p.Var.F32 {
			w[p.Var.Name] = append(w[p.Var.Name], float64(v))
		}
	}
	return w
}

// Differences returns the gradient of a function of the weights, in the order
// of the parameters.
func (b *Bench) Differences(f func(w map[string][]float64) float64) (g [][]float64) {
	w := b.Weights64()
	for _, p := range b.Net.Params() {
		x := w[p.Var.Name]
		d := make([]float64, len(x))
		for i := range x {
			const h = 1e-5
			keep := x[i]
			x[i] = keep + h
			above := f(w)
			x[i] = keep - h
			below := f(w)
			x[i] = keep
			d[i] = (above - below) / (2 * h)
		}
		g = append(g, d)
	}
	return g
}

// RequireAdded holds what was added to gradients against the gradient of f.
func (b *Bench) RequireAdded(before, after [][]float32, f func(w map[string][]float64) float64) {
	for k, d := range b.Differences(f) {
		for i, want := range d {
			require.InDelta(b.T, want, after[k][i]-before[k][i], 1e-4*math.Max(1, math.Abs(want)))
		}
	}
}

// Softmax64 is the softmax in float64.
func Softmax64(x []float64) []float64 {
	sum, p := 0.0, make([]float64, len(x))
	for i, v := range x {
		p[i] = math.Exp(v)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Features64 are the hidden units' values of [New]'s network with one
// hidden layer.
func Features64(w map[string][]float64, x []float32) []float64 {
	h := append([]float64(nil), w["net/hidden1/bias"]...)
	for i, v := range x {
		for j := range h {
			h[j] += float64(v) * w["net/hidden1/weight"][i*len(h)+j]
		}
	}
	for j := range h {
		h[j] = math.Max(h[j], 0)
	}
	return h
}

// Moments of a sample.
func Moments(x []float32) (mean, sd float64) {
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		sd += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	return mean, math.Sqrt(sd)
}
