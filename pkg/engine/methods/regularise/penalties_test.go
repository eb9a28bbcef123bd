package regularise

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/methods/internal/methodtest"
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
				b := methodtest.New(t, 3, []any{5}, "pytorch")
				p := b.Param(param)
				start := methodtest.Clone(p.Var.F32)
				prog := b.Update(p, b.Method(tc.spec), map[string]any{"kind": "sgd", "lr": lr})
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
