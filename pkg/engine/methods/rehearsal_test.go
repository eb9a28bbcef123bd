package methods

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/stream"
)

// gradients plays the learner's part for methods that ask for gradients of
// another batch. Batches are classification: 4 inputs, 3 classes.
type gradients struct {
	p   *graph.Program
	out [][]float32
}

func (b *bench) secondGradient(m method.SecondGradient) *gradients {
	g := graph.NewBuilder()
	n := m.GradientBatch()
	x := g.Input("x", n, 4)
	net := b.net.Forward(g, x, nn.Evaluation)
	losses := g.CrossEntropy(net.Output, g.Labels("labels", n))
	loss := g.Mean(losses)
	if o, ok := m.(method.Objective); ok {
		loss = o.Objective(&method.Trace{B: g, X: x, Net: net, Network: b.net, Losses: losses, Loss: loss, Tracer: b.tracer})
	}
	var reads []graph.Node
	for _, p := range b.net.Params() {
		reads = append(reads, g.Read(p.Var))
	}
	g.Output("output", net.Output)
	for i, d := range g.Gradients(loss, reads...) {
		g.Output(fmt.Sprint(i), d)
	}
	s := &gradients{p: g.Compile()}
	for i := range reads {
		s.out = append(s.out, s.p.Output(fmt.Sprint(i)))
	}
	m.UseGradients(s)
	return s
}

func (s *gradients) On(b *stream.Batch) ([][]float32, error) {
	copy(s.p.Input("x"), b.X)
	copy(s.p.Labels("labels"), b.Labels)
	s.p.Run(0)
	return s.out, nil
}

func (s *gradients) Output() []float32           { return s.p.Output("output") }
func (s *gradients) Input(name string) []float32 { return s.p.Input(name) }

// batchNumber makes distinct examples: the first input is the example's number.
func (b *bench) batchNumber(n int, from int, class func(i int) int) *stream.Batch {
	s := &stream.Batch{N: n, X: make([]float32, 4*n), Labels: make([]int32, n)}
	b.key("examples").FillUniform(s.X, -1, 1, uint64(from))
	for i := range n {
		s.X[4*i] = float32(from + i)
		s.Labels[i] = int32(class(from + i))
	}
	return s
}

// env is what a memory is made in.
func (b *bench) env(name string) method.Env {
	return method.Env{
		Space: b.store.Space(graph.OfMethod, "method/"+name), Network: b.net, Inputs: 4, Outputs: 3, Classes: 3, Batch: 1, States: b.tracer.States,
		Key: b.key,
	}
}

func TestReservoirHoldsEveryExampleWithTheSameProbability(t *testing.T) {
	const capacity, n, runs = 10, 40, 2000
	counts := make([]int, n)
	for run := range runs {
		b := newBench(t, uint64(run), []any{2}, "pytorch")
		m := newMemory(b.env("m"), "m", reservoir, capacity, false)
		for i := range n {
			m.add(b.batchNumber(1, i, func(int) int { return 0 }), 0, nil)
			require.Equal(t, min(i+1, capacity), m.len())
		}
		for i := range capacity {
			counts[int(m.x[4*i])]++
		}
	}
	for i, c := range counts { // binomial, p = 1/4: deviation 19.4
		require.InDelta(t, runs*capacity/n, c, 90, "example %d", i)
	}
}

func TestClassBalancedMemory(t *testing.T) {
	const capacity = 12
	// Class 0 floods the stream; 1 is seldom, 2 hardly ever.
	class := func(i int) int {
		switch {
		case i%50 == 49:
			return 2
		case i%10 == 9:
			return 1
		}
		return 0
	}
	early := 0
	const runs = 400
	for run := range runs {
		b := newBench(t, uint64(run), []any{2}, "pytorch")
		m := newMemory(b.env("m"), "m", classBalanced, capacity, false)
		for i := range 100 {
			m.add(b.batchNumber(4, 4*i, class), i, nil)
		}
		var held [3]int
		for i := range capacity {
			held[m.labels[i]]++
			require.Equal(t, class(int(m.x[4*i])), int(m.labels[i]))
			require.Equal(t, int(m.x[4*i])/4, int(m.task[i]))
			if m.labels[i] == 0 && m.x[4*i] < 200 {
				early++
			}
		}
		require.Equal(t, [3]int{4, 4, 4}, held, "400 examples: 352, 40 and 8 of the classes")
		require.Equal(t, []int32{12, 4, 4, 4}, m.held)
	}
	// 4 of class 0 are held in each run, from either half of the stream.
	require.InDelta(t, 0.5, float64(early)/(4*runs), 0.06)
}

func TestDrawsAreOfDifferentExamplesOfEarlierTasks(t *testing.T) {
	b := newBench(t, 5, []any{2}, "pytorch")
	m := newMemory(b.env("m"), "m", reservoir, 8, true)
	class := func(i int) int { return i % 3 }
	for i := range 8 {
		m.add(b.batchNumber(1, i, class), i/4, []float32{float32(i), 0, -float32(i)})
	}
	batch := &stream.Batch{N: 5, X: make([]float32, 20), Labels: make([]int32, 5)}
	require.False(t, m.draw(batch, 0, 5, 1, 0, nil), "four are of task 0")
	require.False(t, m.draw(batch, 0, 1, 0, 0, nil))
	counts := map[int]int{}
	for number := range uint64(800) {
		extra := make([]float32, 9)
		require.True(t, m.draw(batch, 2, 5, 1, number, extra))
		seen := map[int]bool{}
		for r := 2; r < 5; r++ {
			i := int(batch.X[4*r])
			require.False(t, seen[i])
			seen[i] = true
			require.Less(t, i, 4)
			require.Equal(t, int32(i%3), batch.Labels[r])
			require.Equal(t, []float32{float32(i), 0, -float32(i)}, extra[3*(r-2):3*(r-1)])
			counts[i]++
		}
	}
	for i := range 4 {
		require.InDelta(t, 600, counts[i], 60)
	}
}

// steps lets a method see batches as the learner does, without learning.
func (b *bench) see(m method.AfterStep, batch *stream.Batch, index int64, task int, output []float32) *learner.Step {
	s := &learner.Step{Index: index, Task: task, Batch: batch, Output: output}
	require.NoError(b.t, m.AfterStep(s))
	return s
}

func TestExperienceReplayIsOneBatch(t *testing.T) {
	b := newBench(t, 5, []any{6}, "pytorch")
	b.classes = 3
	class := func(i int) int { return i % 3 }
	m := b.method(map[string]any{"kind": "experience-replay", "memory": 4.0, "batch": 4.0, "weight": 0.5})
	second := b.secondGradient(m.(method.SecondGradient))
	held, now := b.batchNumber(4, 0, class), b.batchNumber(2, 10, class)
	g := b.fakeGradients()
	untouched := b.fakeGradients()
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Batch: now}, g))
	require.Equal(t, untouched, g, "nothing to replay")
	b.see(m.(method.AfterStep), held, 0, 0, nil)
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 1, Batch: now}, g))
	want, err := second.On(held) // all four, in whatever order
	require.NoError(t, err)
	for k := range g {
		for i := range g[k] {
			require.InDelta(t, (2*untouched[k][i]+0.5*4*want[k][i])/(2+0.5*4), g[k][i], 1e-6)
		}
	}
}

// fakeGradients are some numbers in the shapes of the parameters.
func (b *bench) fakeGradients() (g [][]float32) {
	for i, p := range b.net.Params() {
		g = append(g, make([]float32, p.Var.Len()))
		b.key(fmt.Sprint("gradient", i)).FillNormal(g[i], 0)
	}
	return g
}

func TestDERAddsTheGradientsOfItsTerms(t *testing.T) {
	const alpha, beta, n = 0.75, 0.25, 5
	b := newBench(t, 5, []any{6}, "pytorch")
	b.classes = 3
	class := func(i int) int { return i % 3 }
	m := b.method(map[string]any{"kind": "der", "memory": float64(n), "batch": float64(n), "alpha": alpha, "beta": beta})
	b.secondGradient(m.(method.SecondGradient))
	held := b.batchNumber(n, 0, class)
	z := make([]float32, 3*n)
	b.key("z").FillNormal(z, 0)
	b.see(m.(method.AfterStep), held, 0, 0, z)
	before, g := b.fakeGradients(), b.fakeGradients()
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 1, Batch: held}, g))
	// Both draws are of the whole memory: the objective in float64.
	objective := func(w map[string][]float64) float64 {
		total := 0.0
		for r := range n {
			out := forward64(w, held.X[4*r:4*r+4])
			sum := 0.0
			for j, v := range out {
				total += alpha * (v - float64(z[3*r+j])) * (v - float64(z[3*r+j])) / (3 * n)
				sum += math.Exp(v)
			}
			total += beta * (math.Log(sum) - out[held.Labels[r]]) / n
		}
		return total
	}
	b.requireAdded(before, g, objective)
}

// forward64 is an MLP of one ReLU layer in float64.
func forward64(w map[string][]float64, x []float32) []float64 {
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

// weights64 returns the parameters by name.
func (b *bench) weights64() map[string][]float64 {
	w := map[string][]float64{}
	for _, p := range b.net.Params() {
		for _, v := range p.Var.F32 {
			w[p.Var.Name] = append(w[p.Var.Name], float64(v))
		}
	}
	return w
}

// differences returns the gradient of a function of the weights, in the order
// of the parameters.
func (b *bench) differences(f func(w map[string][]float64) float64) (g [][]float64) {
	w := b.weights64()
	for _, p := range b.net.Params() {
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

func (b *bench) requireAdded(before, after [][]float32, f func(w map[string][]float64) float64) {
	for k, d := range b.differences(f) {
		for i, want := range d {
			require.InDelta(b.t, want, after[k][i]-before[k][i], 1e-4*math.Max(1, math.Abs(want)))
		}
	}
}

func TestAGEMProjects(t *testing.T) {
	b := newBench(t, 5, []any{6}, "pytorch")
	b.classes = 3
	class := func(i int) int { return i % 3 }
	m := b.method(map[string]any{"kind": "a-gem", "memory": 6.0, "batch": 3.0, "selection": "reservoir"})
	second := b.secondGradient(m.(method.SecondGradient))
	past := b.batchNumber(3, 0, class)
	b.see(m.(method.AfterStep), past, 0, 0, nil)
	b.see(m.(method.AfterStep), b.batchNumber(3, 3, class), 1, 1, nil)
	ref, err := second.On(past)
	require.NoError(t, err)
	var reference [][]float32
	for _, r := range ref {
		reference = append(reference, clone(r))
	}
	dot := func(x, y [][]float32) (sum float64) {
		for k := range x {
			for i := range x[k] {
				sum += float64(x[k][i]) * float64(y[k][i])
			}
		}
		return sum
	}
	for _, sign := range []float32{1, -1} {
		g, before := b.fakeGradients(), b.fakeGradients()
		along := float32(1)
		if dot(g, reference) < 0 {
			along = -1
		}
		for k := range g {
			for i := range g[k] {
				g[k][i] *= sign * along
				before[k][i] = g[k][i]
			}
		}
		require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 2, Task: 0}, g))
		require.Equal(t, before, g, "no earlier tasks")
		require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 2, Task: 1}, g))
		if sign > 0 {
			require.Equal(t, before, g, "no conflict")
			continue
		}
		require.InDelta(t, 0, dot(g, reference), 1e-4, "what is left does not raise the loss")
		for k := range g {
			for i := range g[k] {
				want := float64(before[k][i]) - dot(before, reference)/dot(reference, reference)*float64(reference[k][i])
				require.InDelta(t, want, g[k][i], 1e-5)
			}
		}
	}
}
