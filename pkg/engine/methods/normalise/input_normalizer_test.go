package normalise

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// A linear network shows what it is given: the test computes it in float64.
func TestInputNormalizerAgainstItsFormulas(t *testing.T) {
	for _, n := range []int{1, 3} {
		const decay, epsilon = 0.8, 1e-3
		store := graph.NewStore()
		r, err := nn.Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{}, "init": "pytorch"})
		require.NoError(t, err)
		net, err := r.Build(nn.Env{
			Space: store.Space(graph.OfNetwork, "net"), Key: rng.New(3, "init"), Input: tensor.Shape{2, 2}, Outputs: 3,
			Edit: inputNormalizerConfig{Decay: decay, Epsilon: epsilon}.Build,
		})
		require.NoError(t, err)
		require.Len(t, net.Params(), 2, "the normaliser is not trained")
		program := func(mode nn.Mode) *graph.Program {
			b := graph.NewBuilder()
			b.Output("y", net.Forward(b, b.Input("x", n, 4), mode).Output)
			return b.Compile()
		}
		training, evaluation := program(nn.Training), program(nn.Evaluation)
		w, bias := net.Params()[0].Var.F32, net.Params()[1].Var.F32
		mean, variance := []float64{0, 0, 0, 0}, []float64{1, 1, 1, 1}
		check := func(x []float32, y []float32, step int) {
			for i := range n {
				for j := range 3 {
					want := float64(bias[j])
					for k := range 4 {
						want += (float64(x[4*i+k]) - mean[k]) / (math.Sqrt(variance[k]) + epsilon) * float64(w[3*k+j])
					}
					require.InDelta(t, want, y[3*i+j], 2e-4*math.Max(1, math.Abs(want)), "step %d", step)
				}
			}
		}
		for step := range 60 {
			x := training.Input("x")
			rng.New(4, "x").FillUniform(x, -2, 3, uint64(step))
			for i := range n {
				x[4*i] = 0.25 // constant: its variance goes to ε
			}
			rate := math.Max(1-decay, 1/float64(step+2))
			for k := range 4 {
				var d, dd float64
				for i := range n {
					d += (float64(x[4*i+k]) - mean[k]) / float64(n)
				}
				now := mean[k] + rate*d
				for i := range n {
					v := float64(x[4*i+k])
					dd += (v - mean[k]) * (v - now) / float64(n)
				}
				mean[k], variance[k] = now, math.Max((1-rate)*variance[k]+rate*dd, epsilon)
			}
			training.Run(uint64(step))
			check(x, training.Output("y"), step)
			copy(evaluation.Input("x"), x)
			evaluation.Run(0)
			check(x, evaluation.Output("y"), step)
		}
		require.Equal(t, epsilon, variance[0])
	}
}

func TestInputNormalizerNeedsAChain(t *testing.T) {
	require.ErrorContains(t, inputNormalizerConfig{}.Build(&nn.Blueprint{}), "chains of layers")
}
