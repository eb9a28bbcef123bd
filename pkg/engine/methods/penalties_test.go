package methods

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
)

// The updates of L2 and L2-init with SGD have closed forms: with a constant
// gradient w goes geometrically to its fixed point.
func TestPenaltiesAgainstClosedForms(t *testing.T) {
	const lr, lambda, steps = 0.125, 0.25, 40
	for name, tc := range map[string]struct {
		spec   map[string]any
		factor float64 // of λ in the gradient
		toInit bool
	}{
		"l2 default":      {map[string]any{"kind": "l2", "lambda": lambda}, 1, false},
		"l2 torch":        {map[string]any{"kind": "l2", "lambda": lambda, "penalty": "half-squared-norm"}, 1, false},
		"l2 kumar":        {map[string]any{"kind": "l2", "lambda": lambda, "penalty": "squared-norm"}, 2, false},
		"l2-init default": {map[string]any{"kind": "l2-init", "lambda": lambda}, 2, true},
		"l2-init half":    {map[string]any{"kind": "l2-init", "lambda": lambda, "penalty": "half-squared-norm"}, 1, true},
	} {
		for _, param := range []string{"hidden1/weight", "hidden1/bias"} {
			t.Run(name+" "+param, func(t *testing.T) {
				b := newBench(t, 3, []any{5}, "pytorch")
				p := b.param(param)
				start := clone(p.Var.F32)
				prog := b.update(p, b.method(tc.spec), map[string]any{"kind": "sgd", "lr": lr})
				for i := range prog.Input("g") {
					prog.Input("g")[i] = float32(i) - 2
				}
				for step := range steps {
					prog.Run(uint64(step))
				}
				for i, w0 := range start {
					g, anchor := float64(i)-2, 0.0
					if tc.toInit {
						anchor = float64(w0)
					}
					// w_{n+1} = w_n − lr·(g + c(w_n − a)), fixed point a − g/c
					c := tc.factor * lambda
					fixed := anchor - g/c
					want := fixed + (float64(w0)-fixed)*math.Pow(1-lr*c, steps)
					require.InDelta(t, want, p.Var.F32[i], 1e-4*math.Max(1, math.Abs(want)))
				}
			})
		}
	}
}

// moments of a sample.
func moments(x []float32) (mean, sd float64) {
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		sd += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	return mean, math.Sqrt(sd)
}

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
			b := newBench(t, 5, []any{5000}, "pytorch")
			p := b.param("hidden1/weight")
			m := b.method(map[string]any{"kind": "shrink-and-perturb", "variant": variant, "shrink": shrink, "sigma": sigma})
			prog := b.update(p, m, map[string]any{"kind": "sgd", "lr": lr})
			b.key("gradient").FillUniform(prog.Input("g"), -1, 1, 0)
			step := func(index int64) []float32 {
				w := clone(p.Var.F32)
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
				mean, sd := moments(rest)
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
		b := newBench(t, 5, []any{3}, "pytorch")
		m := b.method(map[string]any{"kind": "shrink-and-perturb", "variant": variant, "shrink": 0.25, "sigma": 0})
		p := b.param("output/bias")
		prog := b.update(p, m, map[string]any{"kind": "sgd", "lr": 0.5})
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
	b := newBench(t, 5, []any{3}, "kaiming-uniform")
	m := b.method(map[string]any{"kind": "shrink-and-perturb", "preset": "kumar-permuted-mnist-adam"}).(method.AfterStep)
	before := clone(b.param("hidden1/weight").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 9}))
	require.Equal(t, []float32{0, 0, 0}, b.param("hidden1/bias").Var.F32)
	require.NotEqual(t, before, b.param("hidden1/weight").Var.F32)
}

func TestBadParameters(t *testing.T) {
	for _, tc := range []struct {
		spec map[string]any
		want string
	}{
		{map[string]any{"kind": "l2", "lambda": -1.0}, "methods[0].lambda: must be between 0 and 1e+06, is -1"},
		{map[string]any{"kind": "l2", "penalty": "norm"}, `methods[0].penalty: unknown value "norm"`},
		{map[string]any{"kind": "l2-init", "lambda": 1e7}, "methods[0].lambda"},
		{map[string]any{"kind": "shrink-and-perturb", "variant": "kumar", "shrink": 1.5}, "methods[0].shrink"},
		{map[string]any{"kind": "shrink-and-perturb", "sigma": -1.0}, "methods[0].sigma"},
		{map[string]any{"kind": "continual-backprop", "replacement_rate": 1.5}, "methods[0].replacement_rate"},
		{map[string]any{"kind": "continual-backprop", "decay": 1.0}, "methods[0].decay"},
		{map[string]any{"kind": "continual-backprop", "maturity": -1.0}, "methods[0].maturity"},
		{map[string]any{"kind": "weight-clipping", "kappa": 0.0}, "methods[0].kappa"},
		{map[string]any{"kind": "spectral-regularization", "power": 0.0}, "methods[0].power: must be between 1 and 16, is 0"},
		{map[string]any{"kind": "parseval-regularization", "lambda": -1.0}, "methods[0].lambda"},
		{map[string]any{"kind": "wasserstein", "lambda": -1.0}, "methods[0].lambda"},
		{map[string]any{"kind": "normalize-and-project", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "self-normalized-resets", "least": 30000.0}, "methods[0].least: must be between 1 and most, 20000, is 30000"},
		{map[string]any{"kind": "self-normalized-resets", "most": 0.0}, "methods[0].most"},
		{map[string]any{"kind": "self-normalized-resets", "initial": 0.0}, "methods[0].initial"},
		{map[string]any{"kind": "self-normalized-resets", "percentile": 1.5}, "methods[0].percentile"},
		{map[string]any{"kind": "self-normalized-resets", "expansion": 0.5}, "methods[0].expansion"},
		{map[string]any{"kind": "self-normalized-resets", "tasks": 0.0}, "methods[0].tasks"},
		{map[string]any{"kind": "regrama", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "regrama", "window": 2000.0}, "methods[0].window: must be between 1 and the period of 1000 steps, is 2000"},
		{map[string]any{"kind": "regrama", "threshold": -1.0}, "methods[0].threshold"},
		{map[string]any{"kind": "adam-rel", "tasks": -1.0}, "methods[0].tasks"},
		{map[string]any{"kind": "last-layer-reset", "layers": -1.0}, "methods[0].layers"},
		{map[string]any{"kind": "last-layer-reset", "period": -1.0}, "methods[0].period"},
		{map[string]any{"kind": "streaming-ewc", "beta_weight": 1.0}, "methods[0].beta_weight: must be in [0, 1), is 1"},
		{map[string]any{"kind": "streaming-mas", "beta_importance": -1.0}, "methods[0].beta_importance"},
		{map[string]any{"kind": "streaming-si", "epsilon": 0.0}, "methods[0].epsilon"},
		{map[string]any{"kind": "streaming-rwalk", "kappa": -1.0}, "methods[0].kappa"},
		{map[string]any{"kind": "experience-replay", "batch": 501.0}, "methods[0].batch: of 501 examples from a memory of 500"},
		{map[string]any{"kind": "experience-replay", "memory": 0.0}, "methods[0].memory: must be between 1 and 1048576 examples, is 0"},
		{map[string]any{"kind": "experience-replay", "weight": -1.0}, "methods[0].weight"},
		{map[string]any{"kind": "der", "batch": 501.0}, "methods[0].batch: of 501 examples"},
		{map[string]any{"kind": "der", "alpha": -1.0}, "methods[0].alpha"},
		{map[string]any{"kind": "a-gem", "batch": 2501.0}, "methods[0].batch: of 2501 examples"},
		{map[string]any{"kind": "ewc", "fisher": "batched", "batch": 33.0}, "methods[0].batch: 33 does not divide the 200 samples"},
		{map[string]any{"kind": "ewc", "decay": 1.5}, "methods[0].decay"},
		{map[string]any{"kind": "mas", "samples": 0.0}, "methods[0].samples"},
		{map[string]any{"kind": "synaptic-intelligence", "xi": 0.0}, "methods[0].xi"},
		{map[string]any{"kind": "redo", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "redo", "period": 10.0}, "methods[0].window: must be between 1 and the period of 10 steps, is 64"},
		{map[string]any{"kind": "redo", "threshold": -0.1}, "methods[0].threshold"},
	} {
		_, err := method.Resolve("methods[0]", tc.spec)
		require.ErrorContains(t, err, tc.want)
	}
}
