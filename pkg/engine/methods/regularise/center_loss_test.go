package regularise

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
)

func TestCenterLossAgainstItsFormulas(t *testing.T) {
	const n, lambda, rate, later = 5, 0.3, 0.5, 0.25
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	m := b.Method(map[string]any{"kind": "center-loss", "lambda": lambda, "rate": rate, "later_rate": later, "later_head": 0.5})

	g := graph.NewBuilder()
	x := g.Input("x", n, 4)
	g.Labels("labels", n)
	net := b.Net.Forward(g, x, nn.Training)
	loss := m.(method.Losser).Loss(&method.Trace{B: g, X: x, Net: net, Network: b.Net})
	g.Output("loss", loss)
	hidden := b.Param("hidden1/weight")
	g.Output("gradient", g.Gradients(loss, g.Read(hidden.Var))[0])
	p := g.Compile()

	var centers [3][6]float64
	for step := range 6 {
		alpha := rate
		if step >= 3 {
			alpha = later
		}
		if step == 3 {
			require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{}))
		}
		batch := b.BatchNumber(n, n*step, func(i int) int { return i * i % 3 % 2 }) // no class 2
		for i := range n {
			batch.X[4*i] = 0.5
		}
		copy(p.Input("x"), batch.X)
		copy(p.Labels("labels"), batch.Labels)
		want := func(w map[string][]float64) float64 {
			sum := 0.0
			for i := range n {
				for k, f := range methodtest.Features64(w, batch.X[4*i:4*i+4]) {
					d := f - centers[batch.Labels[i]][k]
					sum += lambda / 2 * d * d / n
				}
			}
			return sum
		}
		p.Run(uint64(step))
		require.InEpsilon(t, want(b.Weights64()), p.Output("loss")[0], 1e-5)
		for i, d := range b.Differences(want)[0] {
			require.InDelta(t, d, p.Output("gradient")[i], 1e-4)
		}
		var sum [3][6]float64
		var count [3]float64
		for i := range n {
			count[batch.Labels[i]]++
			for k, f := range methodtest.Features64(b.Weights64(), batch.X[4*i:4*i+4]) {
				sum[batch.Labels[i]][k] += centers[batch.Labels[i]][k] - f
			}
		}
		for j := range centers {
			for k := range centers[j] {
				centers[j][k] -= alpha * sum[j][k] / (1 + count[j])
				require.InDelta(t, centers[j][k], m.(*centerLoss).centers.F32[6*j+k], 1e-5)
			}
		}
	}

	// The head moves by half of its updates, the rest as ever.
	for _, q := range b.Net.Params() {
		before := methodtest.Clone(q.Var.F32)
		u := b.Update(q, m, map[string]any{"kind": "sgd", "lr": 1})
		for i := range u.Input("g") {
			u.Input("g")[i] = 1
		}
		u.Run(0)
		part := 1.0
		if q.Layer == "output" {
			part = 0.5
		}
		for i, w := range before {
			require.InDelta(t, float64(w)-part, q.Var.F32[i], 1e-6)
		}
	}
}
