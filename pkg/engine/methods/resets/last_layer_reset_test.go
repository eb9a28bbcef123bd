package resets

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

func TestLastLayerReset(t *testing.T) {
	for _, to := range []string{"initial-distribution", "zero"} {
		b := methodtest.New(t, 7, []any{400, 300}, "pytorch")
		m := b.Method(map[string]any{"kind": "last-layer-reset", "layers": 2.0, "to": to})
		before := map[string][]float32{}
		for _, p := range b.Net.Params() {
			before[p.Var.Name] = methodtest.Clone(p.Var.F32)
		}
		prog := b.Update(b.Param("output/bias"), m, map[string]any{"kind": "momentum"})
		prog.Input("g")[0] = 1
		prog.Run(0)
		v := b.Store.Lookup("optimizer/velocity/net/output/bias")
		require.NotNil(t, v)
		require.NotZero(t, v.F32[0])
		require.NoError(t, m.(method.AfterStep).AfterStep(&learner.Step{Index: 4}))
		require.NotZero(t, v.F32[0], "not before the task ends")
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Index: 9}))
		require.Equal(t, []float32{0, 0, 0}, v.F32)
		first := methodtest.Clone(b.Param("hidden2/weight").Var.F32)
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Index: 19}))
		for _, p := range b.Net.Params() {
			if p.Layer == "hidden1" {
				require.Equal(t, before[p.Var.Name], p.Var.F32)
				continue
			}
			mean, sd := methodtest.Moments(p.Var.F32)
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
			require.NotEqual(t, first, b.Param("hidden2/weight").Var.F32, "each draw is another")
		}
	}
}
