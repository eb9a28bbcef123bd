package methods

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/nn/activation"
)

// penalty compiles a method's term of the loss, and its gradients.
func (b *bench) penalty(m method.Losser) (p *graph.Program, gradients [][]float32) {
	g := graph.NewBuilder()
	x := g.Input("x", 1, 4)
	net := b.net.Forward(g, x, nn.Training)
	loss := m.Loss(&method.Trace{B: g, X: x, Net: net, Network: b.net, Loss: g.Sum(net.Output), Tracer: b.tracer})
	var reads []graph.Node
	for _, p := range b.net.Params() {
		reads = append(reads, g.Read(p.Var))
	}
	g.Output("loss", loss)
	for i, d := range g.Gradients(loss, reads...) {
		g.Output(fmt.Sprint(i), d)
	}
	p = g.Compile()
	for i := range reads {
		gradients = append(gradients, p.Output(fmt.Sprint(i)))
	}
	return p, gradients
}

// requireGradients compares gradients with central differences of the penalty
// written down in float64.
func (b *bench) requireGradients(gradients [][]float32, penalty func(p *nn.Param, w []float64) float64) {
	for k, p := range b.net.Params() {
		w := make([]float64, p.Var.Len())
		for i, v := range p.Var.F32 {
			w[i] = float64(v)
		}
		for i := range w {
			const h = 1e-5
			keep := w[i]
			w[i] = keep + h
			above := penalty(p, w)
			w[i] = keep - h
			below := penalty(p, w)
			w[i] = keep
			want := (above - below) / (2 * h)
			require.InDelta(b.t, want, gradients[k][i], 2e-4*math.Max(1, math.Abs(want)), "%s[%d]", p.Var.Name, i)
		}
	}
}

func largestSingular(t *testing.T, w []float64, rows, cols int) float64 {
	_, sigma, _, err := new(linalg.SVD).Decompose(slices.Clone(w), rows, cols)
	require.NoError(t, err)
	return slices.Max(sigma)
}

func TestSpectralRegularizationAgainstSingularValues(t *testing.T) {
	for _, power := range []float64{1, 2, 3} {
		b := newBench(t, 7, []any{6, 5}, "pytorch")
		p, gradients := b.penalty(b.method(map[string]any{"kind": "spectral-regularization", "lambda": 0.5, "power": power}).(method.Losser))
		for step := range 400 { // until the power iterations have converged
			p.Run(uint64(step))
		}
		penalty := func(p *nn.Param, w []float64) float64 {
			if p.Role == nn.Bias {
				sum := 0.0
				for _, v := range w {
					sum += v * v
				}
				return 0.5 * math.Pow(sum, power)
			}
			d := math.Pow(largestSingular(t, w, p.Var.Shape[0], p.Var.Shape[1]), power) - 1
			return 0.5 * d * d
		}
		total := 0.0
		for _, p := range b.net.Params() {
			w := make([]float64, p.Var.Len())
			for i, v := range p.Var.F32 {
				w[i] = float64(v)
			}
			total += penalty(p, w)
		}
		require.InEpsilon(t, total, p.Output("loss")[0], 1e-5)
		b.requireGradients(gradients, penalty)
	}
}

// One step is one power iteration from the stored vector.
func TestSpectralRegularizationIteratesOncePerStep(t *testing.T) {
	b := newBench(t, 7, []any{}, "pytorch")
	m := b.method(map[string]any{"kind": "spectral-regularization", "lambda": 1.0, "power": 1.0}).(method.Losser)
	w := b.param("output/weight").Var // [4][3]
	clear(b.param("output/bias").Var.F32)
	u := b.store.Lookup("method/spectral-regularization/u/net/output/weight").F32
	norm := func(x []float64) float64 {
		sum := 0.0
		for _, v := range x {
			sum += v * v
		}
		return math.Sqrt(sum)
	}
	v, next := make([]float64, 4), make([]float64, 3)
	for i := range v {
		for j := range u {
			v[i] += float64(w.F32[i*3+j]) * float64(u[j])
		}
	}
	n := norm(v)
	for j := range next {
		for i := range v {
			next[j] += float64(w.F32[i*3+j]) * v[i] / n
		}
	}
	sigma := norm(next)
	p, _ := b.penalty(m)
	p.Run(0)
	require.InDelta(t, (sigma-1)*(sigma-1), p.Output("loss")[0], 1e-6)
	for j := range next {
		require.InDelta(t, next[j]/sigma, u[j], 1e-6)
	}
}

func TestSpectralRegularizationOfNormalisations(t *testing.T) {
	b := newBench(t, 7, []any{6}, "pytorch")
	// A network with layer norm, in the bench's place.
	n := newNormedBench(t)
	p, gradients := n.penalty(n.method(map[string]any{"kind": "spectral-regularization", "lambda": 1.0}).(method.Losser))
	for step := range 400 {
		p.Run(uint64(step))
	}
	n.requireGradients(gradients, func(p *nn.Param, w []float64) float64 {
		sum := 0.0
		switch p.Role {
		case nn.Gain:
			for _, v := range w {
				sum += (v*v - 1) * (v*v - 1)
			}
		case nn.Shift:
			for _, v := range w {
				sum += v * v * v * v
			}
		case nn.Bias:
			for _, v := range w {
				sum += v * v
			}
			sum *= sum
		default:
			d := math.Pow(largestSingular(t, w, p.Var.Shape[0], p.Var.Shape[1]), 2) - 1
			return d * d
		}
		return sum
	})
	require.NotEqual(t, len(b.net.Params()), len(n.net.Params()))
}

// newNormedBench has gains and shifts that are not where they started.
func newNormedBench(t *testing.T) *bench {
	b := newBenchOf(t, 7, map[string]any{"kind": "mlp", "hidden": []any{6}, "init": "pytorch", "norm": "layer"})
	for _, p := range b.net.Params() {
		if p.Role == nn.Gain || p.Role == nn.Shift {
			b.key(p.Var.Name).FillUniform(p.Var.F32, -1.5, 1.5, 0)
		}
	}
	return b
}

func TestParsevalAgainstFiniteDifferences(t *testing.T) {
	for _, output := range []bool{false, true} {
		b := newBench(t, 7, []any{6, 5}, "pytorch")
		p, gradients := b.penalty(b.method(map[string]any{"kind": "parseval-regularization", "lambda": 0.5, "scale": 0.75, "output": output}).(method.Losser))
		p.Run(0)
		b.requireGradients(gradients, func(p *nn.Param, w []float64) float64 {
			if p.Role != nn.Weight || p.Layer == "output" && !output {
				return 0
			}
			in, out, sum := p.Var.Shape[0], p.Var.Shape[1], 0.0
			for j := range out {
				for k := range out {
					dot := 0.0
					for i := range in {
						dot += w[i*out+j] * w[i*out+k]
					}
					if j == k {
						dot -= 0.75
					}
					sum += dot * dot
				}
			}
			return 0.5 * sum
		})
	}
}

func TestWassersteinAgainstSorting(t *testing.T) {
	b := newBench(t, 7, []any{40}, "pytorch")
	m := b.method(map[string]any{"kind": "wasserstein", "lambda": 0.25}).(method.AfterBackward)
	var gradients, want [][]float32
	for k, p := range b.net.Params() {
		w0, w := clone(p.Var.F32), p.Var.F32
		b.key(fmt.Sprint("after", k)).FillNormal(w, 0)
		if len(w) > 8 { // ties, and both zeros
			w[1], w[4], w[2], w[6] = w[0], w[0], 0, float32(math.Copysign(0, -1))
		}
		slices.Sort(w0)
		g, e := make([]float32, len(w)), make([]float32, len(w))
		b.key(fmt.Sprint("gradient", k)).FillNormal(g, 0)
		for i := range w {
			rank := 0
			for j := range w {
				if w[j] < w[i] || w[j] == w[i] && j < i {
					rank++
				}
			}
			e[i] = float32(float64(g[i]) + 2*0.25*(float64(w[i])-float64(w0[rank])))
		}
		gradients, want = append(gradients, g), append(want, e)
	}
	require.NoError(t, m.AfterBackward(&learner.Step{}, gradients))
	for k := range want {
		require.InDeltaSlice(t, want[k], gradients[k], 1e-6)
	}
}

func TestWeightClipping(t *testing.T) {
	n := newNormedBench(t)
	m := n.method(map[string]any{"kind": "weight-clipping", "kappa": 0.5})
	for name, bound := range map[string]float64{
		"hidden1/weight": 0.5 / math.Sqrt(4), "hidden1/bias": 0.5 / math.Sqrt(4), "output/weight": 0.5 / math.Sqrt(6), "output/bias": 0.5 / math.Sqrt(6),
		"hidden1/gain": 10, "hidden1/shift": 10,
	} {
		p := n.param(name)
		before := clone(p.Var.F32)
		prog := n.update(p, m, map[string]any{"kind": "sgd", "lr": 1})
		n.key("g").FillUniform(prog.Input("g"), -1, 1, 0)
		prog.Run(0)
		clipped := 0
		for i, w := range p.Var.F32 {
			step := float64(before[i] - prog.Input("g")[i])
			require.InDelta(t, math.Max(-bound, math.Min(bound, step)), w, 1e-7, name)
			if math.Abs(step) > bound {
				clipped++
			}
		}
		require.Equal(t, bound < 10, clipped > 0, name)
	}
}

func TestNormalizeAndProject(t *testing.T) {
	spec := map[string]any{"kind": "normalize-and-project", "period": 2.0}
	b := newBench(t, 7, []any{6, 5}, "pytorch")
	m := b.method(spec).(method.AfterStep)
	norm := func(p *nn.Param) float64 {
		sum := 0.0
		for _, v := range p.Var.F32 {
			sum += float64(v) * float64(v)
		}
		return math.Sqrt(sum)
	}
	before := map[string]float64{}
	for _, p := range b.net.Params() {
		before[p.Var.Name] = norm(p)
		for i := range p.Var.F32 {
			p.Var.F32[i] = 3*p.Var.F32[i] + float32(i)
		}
	}
	w := clone(b.param("hidden2/weight").Var.F32)
	grown := norm(b.param("hidden2/weight"))
	bias := clone(b.param("hidden1/bias").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 0}))
	require.Equal(t, w, b.param("hidden2/weight").Var.F32, "every other step")
	require.NoError(t, m.AfterStep(&learner.Step{Index: 1}))
	for _, p := range b.net.Params() {
		if p.Role == nn.Weight {
			require.InEpsilon(t, before[p.Var.Name], norm(p), 1e-6, p.Var.Name)
		}
	}
	for i, v := range b.param("hidden2/weight").Var.F32 {
		require.InDelta(t, float64(w[i])*before["net/hidden2/weight"]/grown, v, 1e-6, "the direction stays")
	}
	require.Equal(t, bias, b.param("hidden1/bias").Var.F32)
	clear(b.param("output/weight").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 3}))
	require.Equal(t, make([]float32, 15), b.param("output/weight").Var.F32)

	r, err := method.Resolve("methods[0]", spec)
	require.NoError(t, err)
	bp := &nn.Blueprint{Layers: []nn.Layer{
		{Name: "stream", Activation: activation.Named("linear")}, {Name: "hidden1", Activation: activation.Named("relu")},
		{Name: "hidden2", Activation: activation.Named("relu"), Norm: "batch"}, {Name: "output", Activation: activation.Named("linear")},
	}}
	require.NoError(t, r.Config.(method.Builder).Build(bp))
	var norms []string
	for _, l := range bp.Layers {
		norms = append(norms, l.Norm)
	}
	require.Equal(t, []string{"", "layer", "batch", ""}, norms)
}

func TestLastLayerReset(t *testing.T) {
	for _, to := range []string{"initial-distribution", "zero"} {
		b := newBench(t, 7, []any{400, 300}, "pytorch")
		m := b.method(map[string]any{"kind": "last-layer-reset", "layers": 2.0, "to": to})
		before := map[string][]float32{}
		for _, p := range b.net.Params() {
			before[p.Var.Name] = clone(p.Var.F32)
		}
		prog := b.update(b.param("output/bias"), m, map[string]any{"kind": "momentum"})
		prog.Input("g")[0] = 1
		prog.Run(0)
		v := b.store.Lookup("optimizer/velocity/net/output/bias")
		require.NotNil(t, v)
		require.NotZero(t, v.F32[0])
		require.NoError(t, m.(method.AfterStep).AfterStep(&learner.Step{Index: 4}))
		require.NotZero(t, v.F32[0], "not before the task ends")
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Index: 9}))
		require.Equal(t, []float32{0, 0, 0}, v.F32)
		first := clone(b.param("hidden2/weight").Var.F32)
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Index: 19}))
		for _, p := range b.net.Params() {
			if p.Layer == "hidden1" {
				require.Equal(t, before[p.Var.Name], p.Var.F32)
				continue
			}
			mean, sd := moments(p.Var.F32)
			if to == "zero" {
				require.Zero(t, mean)
				require.Zero(t, sd)
				continue
			}
			require.NotEqual(t, before[p.Var.Name], p.Var.F32)
			if n := float64(p.Var.Len()); n > 100 {
				require.InDelta(t, 0, mean, 5*sd/math.Sqrt(n))
				require.InEpsilon(t, 1/math.Sqrt(3*float64(p.FanIn)), sd, 0.1)
			}
		}
		if to != "zero" {
			require.NotEqual(t, first, b.param("hidden2/weight").Var.F32, "each draw is another")
		}
	}
}
