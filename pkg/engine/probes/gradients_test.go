package probes

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/safetensors"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// classifier is a learner of a network with cross-entropy: what a life gives to
// probes.
func classifier(net nn.Network, inputs, classes int) probe.Env {
	return probe.Env{
		Network: net, Classes: classes, Batch: 1, Space: graph.NewStore().Space(graph.OfProbe, "probe/0"),
		Info: stream.Info{Input: tensor.Shape{inputs}, Classes: classes, Outputs: classes, Examples: 4},
		Key:  func(purpose string) rng.Key { return rng.New(11, purpose) },
		Forward: func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
			a := net.Forward(b, b.Input("x", n, inputs), nn.Evaluation)
			losses := b.CrossEntropy(a.Output, b.Labels("labels", n))
			b.Output("losses", losses)
			for i, f := range a.Features {
				b.Output(fmt.Sprintf("features/%d", i), f)
			}
			return a, losses
		},
		Fill: func(p *graph.Program, b *stream.Batch) {
			copy(p.Input("x"), b.X)
			copy(p.Labels("labels"), b.Labels)
		},
	}
}

type gradientsGolden struct {
	X              []float32
	Labels         []int32
	Widths         []int
	Params         [][]float32
	Features       [][]float32
	Hessian        []float64
	MaxEigenvalue  float64 `json:"max_eigenvalue"`
	Trace          float64
	Losses         []float64
	FisherRank     float64 `json:"fisher_rank"`
	NTKRank        float64 `json:"ntk_rank"`
	Saturated      map[string][]float64
	Duplicates     map[string][]float64
	Inactive       map[string][]float64
	Active         []float64
	Approximate    []float64 `json:"approximate_rank"`
	Participation  []float64 `json:"participation_ratio"`
	Other          [][]float32
	CKA            []float64
	Low            []float32
	WeightRank     []float64 `json:"weight_rank"`
	WeightL1       []float64 `json:"weight_l1"`
	WeightL2       []float64 `json:"weight_l2"`
	net            nn.Network
	env            probe.Env
	evaluation     *learner.Evaluation
	n, outputs     int
	parameterCount int
}

func readGradients(t *testing.T) *gradientsGolden {
	t.Helper()
	raw, err := os.ReadFile("testdata/gradients.json")
	require.NoError(t, err)
	g := &gradientsGolden{}
	require.NoError(t, json.Unmarshal(raw, g))
	g.net = network(t, g.Widths...)
	require.Len(t, g.net.Params(), len(g.Params))
	for i, p := range g.net.Params() {
		require.Len(t, g.Params[i], len(p.Var.F32))
		copy(p.Var.F32, g.Params[i])
		g.parameterCount += len(p.Var.F32)
	}
	g.n, g.outputs = len(g.Labels), g.Widths[len(g.Widths)-1]
	g.env = classifier(g.net, g.Widths[0], g.outputs)
	g.evaluation = &learner.Evaluation{N: g.n, Features: g.Features, Batch: &stream.Batch{N: g.n, X: g.X, Labels: g.Labels}}
	return g
}

func (g *gradientsGolden) build(t testing.TB, raw object) probe.Probe {
	t.Helper()
	if _, ok := raw["samples"]; !ok {
		raw["samples"] = float64(g.n)
	}
	if raw["samples"] == nil {
		delete(raw, "samples")
	}
	r, _, err := probe.Resolve("probes[0]", raw)
	require.NoError(t, err)
	env := g.env
	env.Space = graph.NewStore().Space(graph.OfProbe, "probe/0")
	p, err := r.Build(env)
	require.NoError(t, err)
	return p
}

// TestAgainstPyTorch holds the probes against testdata/gradients.py.
func TestAgainstPyTorch(t *testing.T) {
	g := readGradients(t)
	check := func(raw object, want []float64, tolerance float64) {
		t.Helper()
		p := g.build(t, raw)
		closeTo(t, want, measure(t, p, g.evaluation), tolerance, fmt.Sprint(raw))
		require.Zero(t, testing.AllocsPerRun(3, func() { measureInto(p, g.evaluation) }), "%v allocates after its first use", raw)
	}
	check(object{"kind": "fisher-rank"}, []float64{g.FisherRank}, 1e-7)
	check(object{"kind": "ntk-rank"}, []float64{g.NTKRank}, 1e-7)
	check(object{"kind": "saturated-units", "ratio": 1e-4, "share": 0.9}, g.Saturated["1e-4 0.9"], 1e-7)
	check(object{"kind": "saturated-units", "ratio": 0.05, "share": 0.6}, g.Saturated["0.05 0.6"], 1e-7)
	check(object{"kind": "duplicate-units"}, g.Duplicates["0.95"], 1e-7)
	check(object{"kind": "duplicate-units", "cosine": 0.3}, g.Duplicates["0.3"], 1e-7)
	check(object{"kind": "inactive-frequency"}, g.Inactive["0.01 0"], 1e-7)
	check(object{"kind": "inactive-frequency", "frequency": 0.5, "threshold": 0.2}, g.Inactive["0.5 0.2"], 1e-7)
	check(object{"kind": "active-units"}, g.Active, 1e-7)
	check(object{"kind": "approximate-rank"}, g.Approximate, 1e-7)
	check(object{"kind": "participation-ratio"}, g.Participation, 1e-5)
	check(object{"kind": "weight-norm", "samples": nil}, append(g.WeightL1, g.WeightL2...), 1e-5)
	check(object{"kind": "curvature", "iterations": 2000.0, "tolerance": 0.0, "vectors": 0.0}, []float64{g.MaxEigenvalue}, 1e-5*g.MaxEigenvalue)

	copy(g.net.Params()[0].Var.F32, g.Low)
	check(object{"kind": "weight-rank", "samples": nil}, g.WeightRank, 1e-7)
}

// The trace is vᵀHv of the Hessian that PyTorch has, for the vectors that the
// key draws.
func TestHessianTrace(t *testing.T) {
	g := readGradients(t)
	const vectors = 5
	p := g.build(t, object{"kind": "curvature", "vectors": float64(vectors)})
	var sum float64
	draws := make([]float32, g.parameterCount)
	for i := range vectors {
		rng.New(11, "trace").FillUniform(draws, -1, 1, uint64(i))
		for a := range draws {
			for b := range draws {
				h := g.Hessian[a*len(draws)+b]
				if (draws[a] < 0) != (draws[b] < 0) {
					h = -h
				}
				sum += h
			}
		}
	}
	require.InDelta(t, sum/vectors, float64(measure(t, p, g.evaluation)[1]), 1e-5*math.Abs(sum))

	p = g.build(t, object{"kind": "curvature", "vectors": 3000.0})
	require.InDelta(t, g.Trace, float64(measure(t, p, g.evaluation)[1]), 0.03*g.Trace)
}

// The eigenvalue is the largest, not the largest in size: here those of
// −|w|² + v² at a saddle, by a network whose loss is not that of a classifier.
func TestLargestEigenvalueOfASaddle(t *testing.T) {
	net := network(t, 2, 1)
	env := classifier(net, 2, 1)
	w := net.Params()[0].Var
	env.Forward = func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
		b.Input("x", n, 2)
		curves := b.Array([]float32{-5, 1.5}, 2, 1) // half the eigenvalues
		return nn.Activations{}, b.BroadcastTo(b.Sum(b.Mul(curves, b.Square(b.Read(w)))), tensor.Shape{n})
	}
	env.Fill = func(*graph.Program, *stream.Batch) {}
	r, _, err := probe.Resolve("probes[0]", object{"kind": "curvature", "iterations": 200.0, "tolerance": 1e-9, "samples": 2.0})
	require.NoError(t, err)
	p, err := r.Build(env)
	require.NoError(t, err)
	e := &learner.Evaluation{N: 2, Batch: &stream.Batch{N: 2}}
	closeTo(t, []float64{3, -7}, measure(t, p, e), 1e-5, "eigenvalues −10, 3 and 0")
}

// extractor is an [exam] whose learner has the given features.
type extractor struct {
	exam
	features [][]float32
	batch    *stream.Batch
}

func (x *extractor) Evaluate(_, n int) (*learner.Evaluation, error) {
	return &learner.Evaluation{N: x.batch.N, Features: x.features, Batch: x.batch}, nil
}

func (x *extractor) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	return x.Evaluate(task, n)
}

func TestCKA(t *testing.T) {
	g := readGradients(t)
	at := func(f [][]float32) *extractor { return &extractor{features: f, batch: g.evaluation.Batch} }
	look := func(p probe.Probe, f [][]float32) []float32 {
		values := make([]float32, 3)
		require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(at(f), values))
		return values
	}
	ones := []float64{1, 1, 1}
	first := g.build(t, object{"kind": "cka"})
	closeTo(t, ones, look(first, g.Other), 1e-6, "first")
	closeTo(t, g.CKA, look(first, g.Features), 1e-6, "after the first")
	closeTo(t, ones, look(first, g.Other), 1e-6, "first again")

	previous := g.build(t, object{"kind": "cka", "reference": "previous"})
	require.True(t, math.IsNaN(float64(look(previous, g.Other)[0])), "nothing to compare with")
	closeTo(t, g.CKA, look(previous, g.Features), 1e-6, "previous")
	closeTo(t, ones, look(previous, g.Features), 1e-6, "previous again")

	initial := g.build(t, object{"kind": "cka", "reference": "initial"})
	require.NoError(t, initial.(probe.Beginner).Begin(at(g.Features)))
	closeTo(t, g.CKA, look(initial, g.Other), 1e-6, "initial")
	// A rotation, a factor and a shift change nothing.
	turned := [][]float32{append([]float32{}, g.Other[0]...), append([]float32{}, g.Other[1]...)}
	for layer, units := range []int{7, 5} {
		for i := range g.n {
			row := turned[layer][i*units:]
			a, b := row[0], row[units-1]
			row[0], row[units-1] = 0.6*a-0.8*b, 0.8*a+0.6*b
			for j := range units {
				row[j] = -3*row[j] + 7
			}
		}
	}
	closeTo(t, g.CKA, look(initial, turned), 1e-5, "turned")
}

// TestUpdateNorm moves weights by known distances.
func TestUpdateNorm(t *testing.T) {
	net := network(t, 2, 1, 1) // 3 and 2 parameters
	r, _, err := probe.Resolve("probes[0]", object{"kind": "update-norm"})
	require.NoError(t, err)
	p, err := r.Build(probe.Env{Network: net, Space: graph.NewStore().Space(graph.OfProbe, "probe/0")})
	require.NoError(t, err)
	for _, w := range net.Params() {
		for i := range w.Var.F32 {
			w.Var.F32[i] = 0
		}
	}
	measure(t, p, nil)
	net.Params()[0].Var.F32[0] = 3
	net.Params()[1].Var.F32[0] = 4
	net.Params()[2].Var.F32[0] = 5
	closeTo(t, []float64{math.Sqrt(50. / 5), math.Sqrt(25. / 3), math.Sqrt(25. / 2)}, measure(t, p, nil), 1e-6, "moved")
	closeTo(t, []float64{0, 0, 0}, measure(t, p, nil), 0, "stayed")
}

func TestSamplePlasticity(t *testing.T) {
	g := readGradients(t)
	p := g.build(t, object{"kind": "sample-plasticity", "samples": nil}).(probe.Stepper)
	var after float64
	for _, l := range g.Losses {
		after += l / float64(g.n)
	}
	var v [1]float32
	step := &learner.Step{Batch: g.evaluation.Batch}
	for _, c := range []struct{ before, want float64 }{{2 * after, 0.5}, {after / 2, 0}, {0, 0}, {1e9, 1}} {
		step.Loss = float32(c.before)
		p.Step(step, v[:])
		require.InDelta(t, c.want, float64(v[0]), 1e-6)
	}
	require.Zero(t, testing.AllocsPerRun(3, func() { p.Step(step, v[:]) }))
}

// The probe's training is gradient descent on the labels that it draws, written
// out here in float64, and leaves no bit of the weights changed.
func TestProbePlasticity(t *testing.T) {
	g := readGradients(t)
	const steps, batch, lr, targets = 7, 5, 0.3, 2
	p := g.build(t, object{"kind": "probe-plasticity", "steps": float64(steps), "batch": float64(batch), "lr": lr, "optimizer": "sgd", "targets": float64(targets)})
	got := measure(t, p, g.evaluation)
	for i, w := range g.net.Params() {
		require.Equal(t, g.Params[i], w.Var.F32, "parameter %d is not what it was", i)
	}
	require.Zero(t, testing.AllocsPerRun(2, func() { measureInto(p, g.evaluation) }))
	require.Equal(t, got, measure(t, p, g.evaluation), "the same again")

	var loss float64
	order := make([]int32, g.n)
	for y := range targets {
		var theta [][]float64
		for _, w := range g.Params {
			var d []float64
			for _, v := range w {
				d = append(d, float64(v))
			}
			theta = append(theta, d)
		}
		labels := make([]int, g.n)
		for i := range labels {
			labels[i] = rng.New(11, "targets").Intn(g.outputs, uint64(y), uint64(i))
		}
		for step := range steps {
			sum := make([][]float64, len(theta))
			for i := range sum {
				sum[i] = make([]float64, len(theta[i]))
			}
			for i := range batch {
				at := step*batch + i
				if at%g.n == 0 {
					rng.New(11, "order").Perm(order, uint64(y)<<32|uint64(at/g.n))
				}
				example := int(order[at%g.n])
				_, grad := g.backprop(theta, example, labels[example])
				for k := range grad {
					for j, v := range grad[k] {
						sum[k][j] += v / batch
					}
				}
			}
			for k := range theta {
				for j := range theta[k] {
					theta[k][j] -= lr * sum[k][j]
				}
			}
		}
		for i, label := range labels {
			l, _ := g.backprop(theta, i, label)
			loss += l / float64(g.n*targets)
		}
	}
	closeTo(t, []float64{math.Log(float64(g.outputs)) - loss, loss}, got, 2e-5, "plasticity and loss")
}

// backprop returns an example's cross-entropy and its gradient for a ReLU
// network.
func (g *gradientsGolden) backprop(theta [][]float64, example, label int) (float64, [][]float64) {
	layers := len(g.Widths) - 1
	h := [][]float64{nil}
	for _, v := range g.X[example*g.Widths[0] : (example+1)*g.Widths[0]] {
		h[0] = append(h[0], float64(v))
	}
	for l := range layers {
		out := append([]float64{}, theta[2*l+1]...)
		for i, v := range h[l] {
			for j := range out {
				out[j] += v * theta[2*l][i*len(out)+j]
			}
		}
		if l < layers-1 {
			for j := range out {
				out[j] = math.Max(out[j], 0)
			}
		}
		h = append(h, out)
	}
	var z float64
	for _, v := range h[layers] {
		z += math.Exp(v)
	}
	loss := math.Log(z) - h[layers][label]
	d := make([]float64, g.outputs)
	for j, v := range h[layers] {
		d[j] = math.Exp(v) / z
	}
	d[label]--
	grad := make([][]float64, len(theta))
	for l := layers - 1; l >= 0; l-- {
		grad[2*l+1] = d
		grad[2*l] = make([]float64, len(theta[2*l]))
		back := make([]float64, len(h[l]))
		for i, v := range h[l] {
			for j, e := range d {
				grad[2*l][i*len(d)+j] = v * e
				if v > 0 {
					back[i] += theta[2*l][i*len(d)+j] * e
				}
			}
		}
		d = back
	}
	return loss, grad
}

// TestRefitHead separates what the extractor makes separable, and no more: task
// 0's classes by the first unit, task 1's not at all.
func TestRefitHead(t *testing.T) {
	g := readGradients(t)
	p := g.build(t, object{"kind": "refit-head", "tasks": 2.0, "lambda": 1e-5, "samples": 40.0})
	e := &halves{}
	values := make([]float32, 3)
	require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(e, values))
	require.Equal(t, float32(1), values[1])
	require.Equal(t, float32(0.5), values[2], "one class for both, at half of them")
	require.Equal(t, float32(0.75), values[0])
	require.Zero(t, testing.AllocsPerRun(3, func() {
		if err := p.(probe.TaskMeasurer).MeasureTasks(e, values); err != nil {
			panic(err)
		}
	}))
}

// TestRefitHeadCountsAnExampleOnce has training that goes round after 10 examples.
func TestRefitHeadCountsAnExampleOnce(t *testing.T) {
	g := readGradients(t)
	p := g.build(t, object{"kind": "refit-head", "tasks": 2.0, "lambda": 1e-5, "samples": 40.0}).(*refitHead)
	for _, c := range []struct{ round, want int }{{10, 2 * 10}, {40, 2 * 40}, {0, 2 * 40}} {
		values := make([]float32, 3)
		require.NoError(t, p.MeasureTasks(&rounds{round: c.round}, values))
		require.Len(t, p.x, c.want*p.width, "going round after %d, 0 for examples that have no number", c.round)
		require.Len(t, p.y, c.want*p.classes)
	}
}

type rounds struct {
	halves
	round int
}

func (x *rounds) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	e, err := x.Evaluate(task, n)
	e.Batch.Index = make([]int32, n)
	for i := range e.Batch.Index {
		e.Batch.Index[i] = -1
		if x.round > 0 {
			e.Batch.Index[i] = int32(i % x.round)
		}
	}
	return e, err
}

// halves has 40 examples of four classes, two in each of two tasks.
type halves struct {
	exam
	e learner.Evaluation
}

func (x *halves) Evaluate(task, n int) (*learner.Evaluation, error) {
	if x.e.Batch == nil {
		x.e = learner.Evaluation{N: n, Batch: &stream.Batch{N: n, Labels: make([]int32, n)}, Features: [][]float32{make([]float32, 7*n), make([]float32, 5*n)}}
	}
	for i := range n {
		h := x.e.Features[1][i*5 : i*5+5]
		clear(h)
		class := i % 2
		x.e.Batch.Labels[i] = int32(2*task + class)
		h[3] = float32(task) * 10
		if task == 0 {
			h[0] = 4*float32(class) - 2
		}
	}
	return &x.e, nil
}

func (x *halves) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	return x.Evaluate(task, n)
}

// TestExampleForgetting follows four examples by hand.
func TestExampleForgetting(t *testing.T) {
	g := readGradients(t)
	p := g.build(t, object{"kind": "example-forgetting", "samples": nil})
	values := make([]float32, 3)
	step := func(index []int32, correct ...float32) []float32 {
		p.(probe.Stepper).Step(&learner.Step{Batch: &stream.Batch{N: len(index), Index: index}, Correct: correct}, values)
		return values
	}
	near := func(forgotten, unlearned, events float64, got []float32, what ...any) {
		t.Helper()
		require.InDeltaSlice(t, []float64{forgotten, unlearned, events}, []float64{float64(got[0]), float64(got[1]), float64(got[2])}, 1e-7, what...)
	}
	near(1./2, 1./2, 0, step([]int32{0, 1}, 1, 0))
	near(2./3, 1./3, 0, step([]int32{1, 2}, 1, 0))
	near(1./3, 1./3, 0.5, step([]int32{0, 2}, 0, 0), "0 is forgotten")
	near(1./3, 1./3, 0.5, step([]int32{0, -1}, 1, 0), "and learned again")
	near(1./3, 1./3, 1, step([]int32{0, 1}, 0, 1), "and forgotten again")
	near(0, 1./3, 1.5, step([]int32{0, 1}, 0, 0), "wrong twice is one event; 1 is forgotten")
	none := &learner.Step{Batch: &stream.Batch{Index: []int32{-1}}}
	require.Zero(t, testing.AllocsPerRun(3, func() { p.(probe.Stepper).Step(none, values) }))

	b, err := p.(*exampleForgetting).Publish(ForgettingCounts)
	require.NoError(t, err)
	f, err := safetensors.Decode(b)
	require.NoError(t, err)
	var tensors [][]byte
	for _, x := range f.Tensors {
		require.Equal(t, "I32", x.DType)
		require.Equal(t, []int{4}, x.Shape)
		tensors = append(tensors, x.Data)
	}
	const never = 0xff
	require.Equal(t, [][]byte{
		{2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		{0, 0, 0, 0, 1, 0, 0, 0, never, never, never, never, never, never, never, never},
	}, tensors)

	env := g.env
	env.Info.Examples = 0
	r, _, err := probe.Resolve("probes[0]", object{"kind": "example-forgetting"})
	require.NoError(t, err)
	_, err = r.Build(env)
	require.ErrorContains(t, err, "numbers them")
}

func TestGradientTotals(t *testing.T) {
	net := network(t, 2, 1, 1) // 3 and 2 parameters
	for kind, want := range map[string][]float32{
		"gradient-l0": {0.8, 1, 0.5},
		"gradient-l1": {35, 11, 24},
	} {
		p := build(t, net, object{"kind": kind}).(*gradientTotal)
		b := graph.NewBuilder()
		var gradients []graph.Node
		for i, w := range net.Params() {
			gradients = append(gradients, b.Input(fmt.Sprint(i), w.Var.Shape...))
		}
		p.Trace(b, gradients)
		program := b.Compile()
		p.Traced(program)
		copy(program.Input("0"), []float32{2, 3})
		copy(program.Input("1"), []float32{-6})
		copy(program.Input("2"), []float32{-24})
		program.Run(0)
		values := make([]float32, 3)
		p.Step(nil, values)
		require.InDeltaSlice(t, want, values, 1e-6, kind)
	}
}
