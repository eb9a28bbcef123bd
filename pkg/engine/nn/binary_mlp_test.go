package nn

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// A layer's pre-activations have the moments of sums of independent weights of
// ±1, and in evaluations their mean, or those of the likelier signs.
func TestBinaryLayerHasTheMomentsOfItsWeights(t *testing.T) {
	const inputs, outputs, draws = 6, 3, 20000
	run := func(config map[string]any, mode Mode, steps int) (fields []float32, x []float32, all [][]float32) {
		r, err := Resolve("network", config)
		require.NoError(t, err)
		s := graph.NewStore()
		key := func(p string) rng.Key { return rng.New(5, p) }
		net, err := r.Build(Env{Space: s.Space(graph.OfNetwork, "net"), Key: key("init"), Keys: key, Input: tensor.Shape{inputs}, Outputs: outputs})
		require.NoError(t, err)
		require.Len(t, net.Params(), 1)
		b := graph.NewBuilder()
		b.Output("y", net.Forward(b, b.Input("x", 1, inputs), mode).Output)
		p := b.Compile()
		x = p.Input("x")
		for i := range x {
			x[i] = float32(i)/2 - 1
		}
		for step := range steps {
			p.Run(uint64(step))
			all = append(all, append([]float32(nil), p.Output("y")...))
		}
		return net.Params()[0].Var.F32, x, all
	}
	config := func(more map[string]any) map[string]any {
		c := map[string]any{"kind": "binary-mlp", "hidden": []any{}, "deviation": 0.7}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	fields, x, drawn := run(config(nil), Training, draws)
	_, _, mean := run(config(nil), Evaluation, 1)
	_, _, sign := run(config(map[string]any{"evaluation": "sign"}), Evaluation, 1)
	_, _, hard := run(config(map[string]any{"weights": "sign"}), Training, 1)
	for o := range outputs {
		var mu, variance, signs float64
		for i := range inputs {
			theta := float64(fields[i*outputs+o])
			p := math.Exp(theta) / (math.Exp(theta) + math.Exp(-theta)) // of +1
			mu += (2*p - 1) * float64(x[i])
			variance += 4 * p * (1 - p) * float64(x[i]) * float64(x[i])
			signs += math.Copysign(1, theta) * float64(x[i])
		}
		mu, signs, variance = mu/math.Sqrt(inputs), signs/math.Sqrt(inputs), variance/inputs
		var sum, squares float64
		for _, y := range drawn {
			sum += float64(y[o])
			squares += float64(y[o]) * float64(y[o])
		}
		sum /= draws
		require.InDelta(t, mu, sum, 5*math.Sqrt(variance/draws))
		require.InDelta(t, variance, squares/draws-sum*sum, 0.06*variance)
		require.InDelta(t, mu, mean[0][o], 1e-5)
		require.InDelta(t, signs, sign[0][o], 1e-5)
		require.InDelta(t, signs, hard[0][o], 1e-5)
	}
}
