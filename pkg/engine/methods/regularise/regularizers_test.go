package regularise

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
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
)

// penaltyOf compiles a method's term of the loss, and its gradients.
func penaltyOf(b *methodtest.Bench, m method.Losser) (p *graph.Program, gradients [][]float32) {
	g := graph.NewBuilder()
	x := g.Input("x", 1, 4)
	net := b.Net.Forward(g, x, nn.Training)
	loss := m.Loss(&method.Trace{B: g, X: x, Net: net, Network: b.Net, Loss: g.Sum(net.Output), Tracer: b.Tracer})
	var reads []graph.Node
	for _, p := range b.Net.Params() {
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
func requireGradients(b *methodtest.Bench, gradients [][]float32, penalty func(p *nn.Param, w []float64) float64) {
	for k, p := range b.Net.Params() {
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
			require.InDelta(b.T, want, gradients[k][i], 2e-4*math.Max(1, math.Abs(want)), "%s[%d]", p.Var.Name, i)
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
		b := methodtest.New(t, 7, []any{6, 5}, "pytorch")
		p, gradients := penaltyOf(b, b.Method(map[string]any{"kind": "spectral-regularization", "lambda": 0.5, "power": power}).(method.Losser))
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
		for _, p := range b.Net.Params() {
			w := make([]float64, p.Var.Len())
			for i, v := range p.Var.F32 {
				w[i] = float64(v)
			}
			total += penalty(p, w)
		}
		require.InEpsilon(t, total, p.Output("loss")[0], 1e-5)
		requireGradients(b, gradients, penalty)
	}
}

// One step is one power iteration from the stored vector.
func TestSpectralRegularizationIteratesOncePerStep(t *testing.T) {
	b := methodtest.New(t, 7, []any{}, "pytorch")
	m := b.Method(map[string]any{"kind": "spectral-regularization", "lambda": 1.0, "power": 1.0}).(method.Losser)
	w := b.Param("output/weight").Var // [4][3]
	clear(b.Param("output/bias").Var.F32)
	u := b.Store.Lookup("method/spectral-regularization/u/net/output/weight").F32
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
	p, _ := penaltyOf(b, m)
	p.Run(0)
	require.InDelta(t, (sigma-1)*(sigma-1), p.Output("loss")[0], 1e-6)
	for j := range next {
		require.InDelta(t, next[j]/sigma, u[j], 1e-6)
	}
}

func TestSpectralRegularizationOfNormalisations(t *testing.T) {
	b := methodtest.New(t, 7, []any{6}, "pytorch")
	// A network with layer norm, in the bench's place.
	n := newNormedBench(t)
	p, gradients := penaltyOf(n, n.Method(map[string]any{"kind": "spectral-regularization", "lambda": 1.0}).(method.Losser))
	for step := range 400 {
		p.Run(uint64(step))
	}
	requireGradients(n, gradients, func(p *nn.Param, w []float64) float64 {
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
	require.NotEqual(t, len(b.Net.Params()), len(n.Net.Params()))
}

// newNormedBench has gains and shifts that are not where they started.
func newNormedBench(t *testing.T) *methodtest.Bench {
	b := methodtest.NewOf(t, 7, map[string]any{"kind": "mlp", "hidden": []any{6}, "init": "pytorch", "norm": "layer"})
	for _, p := range b.Net.Params() {
		if p.Role == nn.Gain || p.Role == nn.Shift {
			b.Key(p.Var.Name).FillUniform(p.Var.F32, -1.5, 1.5, 0)
		}
	}
	return b
}

func TestParsevalAgainstFiniteDifferences(t *testing.T) {
	for _, output := range []bool{false, true} {
		b := methodtest.New(t, 7, []any{6, 5}, "pytorch")
		p, gradients := penaltyOf(b, b.Method(map[string]any{"kind": "parseval-regularization", "lambda": 0.5, "scale": 0.75, "output": output}).(method.Losser))
		p.Run(0)
		requireGradients(b, gradients, func(p *nn.Param, w []float64) float64 {
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
	b := methodtest.New(t, 7, []any{40}, "pytorch")
	m := b.Method(map[string]any{"kind": "wasserstein", "lambda": 0.25}).(method.AfterBackward)
	var gradients, want [][]float32
	for k, p := range b.Net.Params() {
		w0, w := methodtest.Clone(p.Var.F32), p.Var.F32
		b.Key(fmt.Sprint("after", k)).FillNormal(w, 0)
		if len(w) > 8 { // ties, and both zeros
			w[1], w[4], w[2], w[6] = w[0], w[0], 0, float32(math.Copysign(0, -1))
		}
		slices.Sort(w0)
		g, e := make([]float32, len(w)), make([]float32, len(w))
		b.Key(fmt.Sprint("gradient", k)).FillNormal(g, 0)
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
	m := n.Method(map[string]any{"kind": "weight-clipping", "kappa": 0.5})
	for name, bound := range map[string]float64{
		"hidden1/weight": 0.5 / math.Sqrt(4), "hidden1/bias": 0.5 / math.Sqrt(4), "output/weight": 0.5 / math.Sqrt(6), "output/bias": 0.5 / math.Sqrt(6),
		"hidden1/gain": 10, "hidden1/shift": 10,
	} {
		p := n.Param(name)
		before := methodtest.Clone(p.Var.F32)
		prog := n.Update(p, m, map[string]any{"kind": "sgd", "lr": 1})
		n.Key("g").FillUniform(prog.Input("g"), -1, 1, 0)
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
