package train_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// twin is an MLP and its loss written a second time, in float64.
type twin struct {
	activation string
	params     [][]float64 // weight [in][out], bias, weight, …
	b          *stream.Batch
	classes    int
	mse        bool
}

func (m *twin) loss() float64 {
	var total float64
	inputs := len(m.b.X) / m.b.N
	for e := range m.b.N {
		h := make([]float64, inputs)
		for i := range h {
			h[i] = float64(m.b.X[e*inputs+i])
		}
		for l := 0; l < len(m.params); l += 2 {
			z := slices.Clone(m.params[l+1])
			for i, x := range h {
				for o := range z {
					z[o] += x * m.params[l][i*len(z)+o]
				}
			}
			if l+2 < len(m.params) {
				for o, v := range z {
					z[o] = m.apply(v)
				}
			}
			h = z
		}
		if m.classes > 0 && !m.mse {
			var sum float64
			for _, v := range h {
				sum += math.Exp(v)
			}
			total += math.Log(sum) - h[m.b.Labels[e]]
			continue
		}
		for o, v := range h {
			var target float64
			switch {
			case m.classes == 0:
				target = float64(m.b.Targets[e*len(h)+o])
			case int(m.b.Labels[e]) == o:
				target = 1
			}
			total += (v - target) * (v - target) / float64(len(h))
		}
	}
	return total / float64(m.b.N)
}

func (m *twin) apply(z float64) float64 {
	switch m.activation {
	case "relu":
		return math.Max(z, 0)
	case "leaky-relu":
		return math.Max(z, 0.01*z)
	case "tanh":
		return math.Tanh(z)
	case "sigmoid":
		return 1 / (1 + math.Exp(-z))
	}
	return z
}

// The training program's step at a power of two as step size shows the whole
// gradient, w − w' = lr·g, which is held against central differences of the
// twin.
func TestTrainingGradientsAgainstFiniteDifferences(t *testing.T) {
	const lr = 512
	for _, activation := range []string{"relu", "tanh", "leaky-relu", "sigmoid", "linear"} {
		for _, loss := range []string{"cross-entropy", "mse", "mse of labels"} {
			for _, n := range []int{1, 6} {
				t.Run(fmt.Sprintf("%s %s batch %d", activation, loss, n), func(t *testing.T) {
					info := stream.Info{Input: tensor.Shape{2, 3}, Outputs: 4, Tasks: 1, StepsPerTask: 1, Batch: n}
					raw := map[string]any{
						"network":   map[string]any{"kind": "mlp", "hidden": []any{7.0, 5.0}, "activation": activation, "init": "pytorch"},
						"optimizer": map[string]any{"kind": "sgd", "lr": float64(lr)},
					}
					if loss != "mse" {
						info.Classes = 4
					}
					if loss == "mse of labels" {
						raw["loss"] = "mse"
					}
					l := newTestLearner(t, info, raw)
					m := &twin{activation: activation, b: stream.NewBatch(info, n), classes: info.Classes, mse: loss != "cross-entropy"}
					key := rng.New(1, "batch")
					key.FillNormal(m.b.X, 0)
					key.FillNormal(m.b.Targets, 1)
					for i := range m.b.Labels {
						m.b.Labels[i] = int32(i % 4)
					}
					for _, p := range l.Network().Params() {
						w := make([]float64, p.Var.Len())
						for i, v := range p.Var.F32 {
							w[i] = float64(v)
						}
						m.params = append(m.params, w)
					}
					s := &learner.Step{Batch: m.b}
					require.NoError(t, l.Step(s))
					require.InDelta(t, m.loss(), s.Loss, 1e-6)

					var nonzero int
					for k, p := range l.Network().Params() {
						for i := range p.Var.F32 {
							const h = 1e-6
							w := m.params[k][i]
							m.params[k][i] = w + h
							up := m.loss()
							m.params[k][i] = w - h
							down := m.loss()
							m.params[k][i] = w
							want := (up - down) / (2 * h)
							got := (w - float64(p.Var.F32[i])) / lr
							require.InDelta(t, want, got, 2e-6*math.Max(1, math.Abs(want)), "%s[%d]", p.Var.Name, i)
							if math.Abs(want) > 1e-4 {
								nonzero++
							}
						}
					}
					require.Greater(t, nonzero, 25, "of 113 gradients")
				})
			}
		}
	}
}

// What a step reports of its features is what its units do, and they are the
// units that the network declares: zeroing a unit's outgoing weights and moving
// its constant part into the biases leaves the output alone.
func TestFeaturesBelongToUnits(t *testing.T) {
	info := stream.Info{Input: tensor.Shape{6}, Outputs: 4, Classes: 4, Tasks: 1, StepsPerTask: 1, Batch: 1}
	l := newTestLearner(t, info, map[string]any{
		"network":   map[string]any{"kind": "mlp", "hidden": []any{7.0, 5.0}, "activation": "tanh", "init": "pytorch"},
		"optimizer": map[string]any{"kind": "sgd"},
	})
	b := stream.NewBatch(info, 1)
	rng.New(1, "batch").FillNormal(b.X, 0)
	evaluate := func() ([]float32, [][]float32) {
		e, err := l.Evaluate(b)
		require.NoError(t, err)
		var features [][]float32
		for _, f := range e.Features {
			features = append(features, slices.Clone(f))
		}
		return slices.Clone(e.Output), features
	}
	units := l.Network().Units()
	output, features := evaluate()
	require.Len(t, features, len(units))
	for g, u := range units {
		require.Len(t, features[g], u.N)
		for unit := range u.N {
			each(u.Out[0], unit, func(w *float32, next int) {
				u.OutBias[0].Var.F32[next] += *w * features[g][unit]
				*w = 0
			})
			// Now its incoming weights matter to nothing but its own feature.
			each(u.In[0], unit, func(w *float32, _ int) { *w += 1 })
			now, f := evaluate()
			require.InDeltaSlice(t, output, now, 1e-5)
			require.NotEqual(t, features[g][unit], f[g][unit])
			f[g][unit] = features[g][unit]
			require.InDeltaSlice(t, features[g], f[g], 1e-6, "other features of the layer")
			each(u.In[0], unit, func(w *float32, _ int) { *w -= 1 })
		}
	}
}

// each calls f for the elements of a unit's slice of weights [in][out], with
// the output that the weight leads to.
func each(s nn.Slice, unit int, f func(w *float32, out int)) {
	offset, length, stride, count := s.Span(unit)
	outputs := s.Param.Var.Shape[1]
	for c := range count {
		for k := range length {
			at := offset + c*stride + k
			f(&s.Param.Var.F32[at], at%outputs)
		}
	}
}
