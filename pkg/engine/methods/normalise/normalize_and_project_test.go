package normalise

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/nn/activation"
)

func TestNormalizeAndProject(t *testing.T) {
	spec := map[string]any{"kind": "normalize-and-project", "period": 2.0}
	b := methodtest.New(t, 7, []any{6, 5}, "pytorch")
	m := b.Method(spec).(method.AfterStep)
	norm := func(p *nn.Param) float64 {
		sum := 0.0
		for _, v := range p.Var.F32 {
			sum += float64(v) * float64(v)
		}
		return math.Sqrt(sum)
	}
	before := map[string]float64{}
	for _, p := range b.Net.Params() {
		before[p.Var.Name] = norm(p)
		for i := range p.Var.F32 {
			p.Var.F32[i] = 3*p.Var.F32[i] + float32(i)
		}
	}
	w := methodtest.Clone(b.Param("hidden2/weight").Var.F32)
	grown := norm(b.Param("hidden2/weight"))
	bias := methodtest.Clone(b.Param("hidden1/bias").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 0}))
	require.Equal(t, w, b.Param("hidden2/weight").Var.F32, "every other step")
	require.NoError(t, m.AfterStep(&learner.Step{Index: 1}))
	for _, p := range b.Net.Params() {
		if p.Role == nn.Weight {
			require.InEpsilon(t, before[p.Var.Name], norm(p), 1e-6, p.Var.Name)
		}
	}
	for i, v := range b.Param("hidden2/weight").Var.F32 {
		require.InDelta(t, float64(w[i])*before["net/hidden2/weight"]/grown, v, 1e-6, "the direction stays")
	}
	require.Equal(t, bias, b.Param("hidden1/bias").Var.F32)
	clear(b.Param("output/weight").Var.F32)
	require.NoError(t, m.AfterStep(&learner.Step{Index: 3}))
	require.Equal(t, make([]float32, 15), b.Param("output/weight").Var.F32)

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
