package importance

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

// The pull of field-vcl is the slope of the divergence of two distributions of
// a binary weight, summed over its two values.
func TestFieldVCLDescendsTheDivergence(t *testing.T) {
	const lambda, lr = 0.5, 0.25
	b := methodtest.NewOf(t, 2, map[string]any{"kind": "binary-mlp", "hidden": []any{5.0}, "deviation": 1.5})
	p := b.Param("hidden1/field")
	m := b.Method(map[string]any{"kind": "field-vcl", "lambda": lambda})
	prog := b.Update(p, m, map[string]any{"kind": "sgd", "lr": lr})

	before := methodtest.Clone(p.Var.F32)
	prog.Run(0)
	require.Equal(t, before, p.Var.F32, "there is no prior in the first task")

	require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{}))
	for i := range p.Var.F32 {
		p.Var.F32[i] += float32(i%7-3) / 4
	}
	moved := methodtest.Clone(p.Var.F32)
	prog.Run(1)
	probability := func(theta, xi float64) float64 { return math.Exp(xi*theta) / (2 * math.Cosh(theta)) }
	divergence := func(theta, prior float64) (kl float64) {
		for _, xi := range []float64{-1, 1} {
			q := probability(theta, xi)
			kl += q * math.Log(q/probability(prior, xi))
		}
		return kl
	}
	for i, theta := range moved {
		const h = 1e-5
		slope := (divergence(float64(theta)+h, float64(before[i])) - divergence(float64(theta)-h, float64(before[i]))) / (2 * h)
		require.InDelta(t, float64(theta)-lr*lambda*slope, p.Var.F32[i], 1e-5)
	}
}

func TestMetaplasticityHoldsLargeWeights(t *testing.T) {
	const m, lr = 1.35, 0.5
	b := methodtest.NewOf(t, 2, map[string]any{"kind": "binary-mlp", "hidden": []any{5.0}, "weights": "sign", "deviation": 1.0})
	p := b.Param("hidden1/field")
	prog := b.Update(p, b.Method(map[string]any{"kind": "metaplasticity", "m": m}), map[string]any{"kind": "sgd", "lr": lr})
	before := methodtest.Clone(p.Var.F32)
	grad := prog.Input("g")
	for i := range grad {
		grad[i] = float32(i%5-2) / 3
	}
	prog.Run(0)
	held := 0
	for i, w := range before {
		delta := -lr * float64(grad[i])
		if math.Copysign(1, float64(w))*delta < 0 {
			s := math.Tanh(m * math.Abs(float64(w)))
			delta *= 1 - s*s
			held++
		}
		require.InDelta(t, float64(w)+delta, p.Var.F32[i], 1e-5)
	}
	require.NotZero(t, held)
}

func TestBinaryWeightsAreAskedFor(t *testing.T) {
	b := methodtest.New(t, 1, []any{5}, "pytorch")
	for _, kind := range []string{"field-vcl", "metaplasticity"} {
		r, err := method.Resolve("methods[0]", map[string]any{"kind": kind})
		require.NoError(t, err)
		_, err = r.Build(method.Env{Space: b.Store.Space(graph.OfMethod, "method/m"), Network: b.Net})
		require.ErrorContains(t, err, "needs a network of binary weights")
	}
}
