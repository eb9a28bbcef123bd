package steps

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/methods/internal/methodtest"
)

func TestUpdateClippingBoundsEveryChange(t *testing.T) {
	b := methodtest.NewOf(t, 1, map[string]any{"kind": "mlp", "hidden": []any{}, "init": "pytorch"})
	p := b.Net.Params()[0]
	before := append([]float32{}, p.Var.F32...)
	program := b.Update(p, b.Method(map[string]any{"kind": "update-clipping", "bound": 0.02}), map[string]any{"kind": "sgd", "lr": 1.0})
	g := program.Input("g")
	for i := range g {
		g[i] = float32(i-6) / 100
	}
	program.Run(0)
	for i, w := range p.Var.F32 {
		want := math.Max(-0.02, math.Min(0.02, -float64(i-6)/100))
		require.InDelta(t, float64(before[i])+want, w, 1e-7)
	}
}
