package resets

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

func TestShrinkAndPerturbFormulas(t *testing.T) {
	const lr, shrink, sigma = 0.5, 0.25, 0.125
	for variant, noise := range map[string]struct {
		keep, grad, sd float64 // w' = keep·w + grad·g + noise of that deviation
	}{
		"lop":       {1 - lr*shrink, -lr, sigma},
		"upgd":      {1 - lr*shrink, -lr, lr * sigma},
		"kumar":     {1 - shrink, -lr * (1 - shrink), -sigma}, // times the initialiser's deviation
		"ash-adams": {1 - shrink, -lr * (1 - shrink), sigma},
	} {
		t.Run(variant, func(t *testing.T) {
			b := methodtest.New(t, 5, []any{5000}, "pytorch")
			p := b.Param("hidden1/weight")
			m := b.Method(map[string]any{"kind": "shrink-and-perturb", "variant": variant, "shrink": shrink, "sigma": sigma})
			prog := b.Update(p, m, map[string]any{"kind": "sgd", "lr": lr})
			b.Key("gradient").FillUniform(prog.Input("g"), -1, 1, 0)
			step := func(index int64) []float32 {
				w := methodtest.Clone(p.Var.F32)
				prog.Run(uint64(index))
				s := &learner.Step{Index: index, LastStep: true}
				switch m := m.(type) {
				case method.AfterStep:
					require.NoError(t, m.AfterStep(s))
				case method.TaskBoundary:
					require.NoError(t, m.TaskBoundary(s))
				}
				rest := make([]float32, len(w)) // what the formula's noise must be
				for i := range w {
					rest[i] = float32(float64(p.Var.F32[i]) - noise.keep*float64(w[i]) - noise.grad*float64(prog.Input("g")[i]))
				}
				return rest
			}
			want := noise.sd
			if want < 0 {
				want *= -float64(p.Init.StdDev())
			}
			first, second := step(0), step(1)
			var product float64
			for i := range first {
				product += float64(first[i]) * float64(second[i]) / float64(len(first))
			}
			for _, rest := range [][]float32{first, second} {
				mean, sd := methodtest.Moments(rest)
				require.InDelta(t, 0, mean, 5*want/math.Sqrt(float64(len(rest))))
				require.InEpsilon(t, want, sd, 0.03) // 20000 draws: 1/√(2n) = 0.5 %
			}
			require.InDelta(t, 0, product, 5*want*want/math.Sqrt(float64(len(first))), "steps must draw independently")
			if variant == "kumar" {
				for _, e := range first {
					require.LessOrEqual(t, math.Abs(float64(e)), sigma*float64(p.Init.Uniform)+1e-6, "uniform noise is bounded")
				}
			} else {
				beyond := 0
				for _, e := range first {
					if math.Abs(float64(e)) > 2*want {
						beyond++
					}
				}
				require.InDelta(t, 0.0455, float64(beyond)/float64(len(first)), 0.01, "normal noise beyond two deviations")
			}
		})
	}
}

// Without noise the variants are exact.
func TestShrinkAndPerturbWithoutNoise(t *testing.T) {
	for variant, want := range map[string]float32{
		"lop": 2 - 0.5*(1+0.25*2), "upgd": 2 - 0.5*(1+0.25*2), "kumar": (2 - 0.5) * 0.75, "ash-adams": (2 - 0.5) * 0.75,
	} {
		b := methodtest.New(t, 5, []any{3}, "pytorch")
		m := b.Method(map[string]any{"kind": "shrink-and-perturb", "variant": variant, "shrink": 0.25, "sigma": 0})
		p := b.Param("output/bias")
		prog := b.Update(p, m, map[string]any{"kind": "sgd", "lr": 0.5})
		for i := range p.Var.F32 {
			p.Var.F32[i], prog.Input("g")[i] = 2, 1
		}
		prog.Run(0)
		switch m := m.(type) {
		case method.AfterStep:
			require.NoError(t, m.AfterStep(&learner.Step{}))
		case method.TaskBoundary:
			require.NoError(t, m.TaskBoundary(&learner.Step{}))
		}
		require.Equal(t, []float32{want, want, want}, p.Var.F32, variant)
	}
}

// Kumar's noise comes from the initialiser: where biases start at 0 they get
// none.
func TestKumarNoiseFollowsTheInitialiser(t *testing.T) {
	b := methodtest.New(t, 5, []any{3}, "kaiming-uniform")
	m := b.Method(map[string]any{"kind": "shrink-and-perturb", "preset": "kumar-permuted-mnist-adam"}).(method.AfterStep)
	before := methodtest.Clone(b.Param("hidden1/weight").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 9}))
	require.Equal(t, []float32{0, 0, 0}, b.Param("hidden1/bias").Var.F32)
	require.NotEqual(t, before, b.Param("hidden1/weight").Var.F32)
}
