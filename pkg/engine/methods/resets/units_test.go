package resets

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/recycle"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// owner is the unit that an element of a slice's parameter belongs to, by what
// the slice's fields say; -1 for none.
func owner(s nn.Slice, units, at int) int {
	shape := s.Param.Var.Shape
	along := at
	for d := len(shape) - 1; d > s.Axis; d-- {
		along /= shape[d]
	}
	along %= shape[s.Axis]
	if s.Repeat > 1 {
		along %= s.Every
	}
	if unit := (along - s.Start) / s.Each; along >= s.Start && unit < units {
		return unit
	}
	return -1
}

// Σ|w| per unit is what adding up element by element gives.
func TestSumAbsAgainstIndexing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		axis := rapid.IntRange(0, 2).Draw(t, "axis")
		shape := make([]int, rapid.IntRange(axis+1, 3).Draw(t, "rank"))
		for i := range shape {
			shape[i] = rapid.IntRange(1, 7).Draw(t, "dim")
		}
		each, units, repeat := rapid.IntRange(1, 3).Draw(t, "each"), rapid.IntRange(1, 5).Draw(t, "units"), rapid.IntRange(1, 6).Draw(t, "repeat")
		s := nn.Slice{Axis: axis, Each: each}
		if repeat > 1 {
			s.Repeat, s.Every = repeat, units*each+rapid.IntRange(0, 2).Draw(t, "rest")
			shape[axis] = s.Repeat * s.Every
		} else {
			s.Start = rapid.IntRange(0, 2).Draw(t, "start")
			shape[axis] = s.Start + units*each + rapid.IntRange(0, 2).Draw(t, "rest")
		}
		s.Param = &nn.Param{Var: graph.NewStore().New("w", graph.F32, graph.Persistent, shape...)}
		want := make([]float64, units)
		for i := range s.Param.Var.F32 {
			w := float32(i%17) - 8
			s.Param.Var.F32[i] = w
			if u := owner(s, units, i); u >= 0 {
				want[u] += math.Abs(float64(w))
			}
		}
		got := make([]float32, units)
		require.Equal(t, s.Len(), sumAbs(got, []nn.Slice{s}))
		for u := range want {
			require.Equal(t, float32(want[u]), got[u]) // small whole numbers: exact
		}
	})
}

// Networks whose units are more than rows and columns of a matrix.
var networks = []struct {
	spec  map[string]any
	input tensor.Shape
}{
	{map[string]any{"kind": "mlp", "hidden": []any{6.0, 5.0}, "activation": "crelu", "norm": "batch"}, tensor.Shape{4}},
	{map[string]any{"kind": "cnn", "hidden": []any{5.0}, "norm": "layer", "convolutions": []any{
		map[string]any{"channels": 3.0, "pool": 2.0}, map[string]any{"channels": 4.0, "padding": 1.0},
	}}, tensor.Shape{6, 6}},
	{map[string]any{"kind": "lstm", "hidden": []any{4.0, 3.0}}, tensor.Shape{3, 2}},
}

func buildNetwork(t *testing.T, store *graph.Store, spec map[string]any, input tensor.Shape) nn.Network {
	t.Helper()
	r, err := nn.Resolve("network", spec)
	require.NoError(t, err)
	net, err := r.Build(nn.Env{Space: store.Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: input, Outputs: 3})
	require.NoError(t, err)
	return net
}

// A recycled unit has new incoming weights, biases 0, scales 1 and outgoing
// weights 0; nothing else changes.
func TestRecyclingUnitsOfAnyNetwork(t *testing.T) {
	for _, n := range networks {
		store := graph.NewStore()
		net := buildNetwork(t, store, n.spec, n.input)
		tracer := optim.NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(1, purpose) })
		for _, p := range net.Params() {
			for i := range p.Var.F32 {
				p.Var.F32[i] = 7 + float32(i)
			}
		}
		for _, u := range net.Units() {
			before := map[*nn.Param][]float32{}
			for _, p := range net.Params() {
				before[p] = slices.Clone(p.Var.F32)
			}
			r := recycle.New(methodEnv(store, net, tracer), u)
			const unit = 1
			r.Recycle(5, unit)
			for _, p := range net.Params() {
				for i, w := range p.Var.F32 {
					of := func(list []nn.Slice) bool {
						return slices.ContainsFunc(list, func(s nn.Slice) bool { return s.Param == p && owner(s, u.N, i) == unit })
					}
					what := fmt.Sprintf("%s[%d] as %s[%d] is recycled", p.Var.Name, i, u.Layer, unit)
					switch {
					case of(u.Out), of(u.Bias):
						require.Zero(t, w, what)
					case of(u.Gain):
						require.Equal(t, float32(1), w, what)
					case of(u.In):
						require.Less(t, w, float32(7), what)
						require.NotZero(t, w, what)
					default:
						require.Equal(t, before[p][i], w, what)
					}
				}
			}
		}
	}
}

// Dormant units are found by their activity over examples and places, whatever
// the network: silenced by hand, exactly they are recycled.
func TestReDoFindsUnitsOfAnyNetwork(t *testing.T) {
	for _, n := range networks {
		store := graph.NewStore()
		net := buildNetwork(t, store, n.spec, n.input)
		tracer := optim.NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(1, purpose) })
		m, err := newRedo(redoConfig{Period: 1, Threshold: 0.01, Window: 1}, methodEnv(store, net, tracer))
		require.NoError(t, err)
		step := &learner.Step{Batch: &stream.Batch{N: 2}}
		for _, u := range net.Units() {
			h := make([]float32, 2*u.Rows()*u.N)
			for i := range h {
				if i%u.N != 2 {
					h[i] = -1 // a unit is active whichever its sign
				}
			}
			step.Features = append(step.Features, h)
		}
		before := map[*nn.Param][]float32{}
		for _, p := range net.Params() {
			before[p] = slices.Clone(p.Var.F32)
		}
		require.NoError(t, m.(*redo).AfterStep(step))
		for _, u := range net.Units() {
			p := u.In[0].Param
			for i, w := range p.Var.F32 {
				unit := owner(u.In[0], u.N, i)
				others := slices.ContainsFunc(net.Units(), func(o *nn.Units) bool {
					return slices.ContainsFunc(o.Out, func(s nn.Slice) bool { return s.Param == p && owner(s, o.N, i) == 2 })
				})
				if !others {
					require.Equal(t, unit == 2, before[p][i] != w, "%s[%d]", p.Var.Name, i)
				}
			}
		}
	}
}

func methodEnv(store *graph.Store, net nn.Network, tracer *optim.Tracer) method.Env {
	return method.Env{
		Space: store.Space(graph.OfMethod, "method/of-test"), Network: net, Batch: 2, StepsPerTask: 10, States: tracer.States,
		Key: func(purpose string) rng.Key { return rng.New(2, purpose) },
	}
}

// A channel that is the same everywhere moves into the biases of what reads it,
// another convolution or the dense layer behind the flattened image, without a
// change of the output.
func TestBiasCompensationOfChannels(t *testing.T) {
	for layer := range 3 {
		store := graph.NewStore()
		input := tensor.Shape{8, 8}
		net := buildNetwork(t, store, map[string]any{"kind": "cnn", "hidden": []any{5.0}, "activation": "tanh", "convolutions": []any{
			map[string]any{"channels": 3.0, "pool": 2.0}, map[string]any{"channels": 4.0},
		}}, input)
		tracer := optim.NewTracer(store, graph.OfOptimizer, func(purpose string) rng.Key { return rng.New(1, purpose) })
		m, err := newContinualBackprop(continualBackpropConfig{
			ReplacementRate: 0.35, Decay: 0, Utility: "contribution", Accumulate: true, BiasCompensation: "paper", // one unit
		}, methodEnv(store, net, tracer))
		require.NoError(t, err)
		// Unit 0 is tanh 0.25 for every input, and the least useful.
		u := net.Units()[layer]
		elements := func(list []nn.Slice, f func(w *float32)) {
			for _, s := range list {
				for i := range s.Param.Var.F32 {
					if owner(s, u.N, i) == 0 {
						f(&s.Param.Var.F32[i])
					}
				}
			}
		}
		elements(u.In, func(w *float32) { *w = 0 })
		elements(u.Bias, func(w *float32) { *w = 0.25 })
		elements(u.Out, func(w *float32) { *w *= 0.01 })
		evaluate := func() (output, features []float32) {
			b := graph.NewBuilder()
			a := net.Forward(b, b.Input("x", 2, input.Elems()), nn.Training)
			b.Output("output", a.Output)
			b.Output("features", a.Features[layer])
			p := b.Compile()
			rng.New(4, "x").FillNormal(p.Input("x"), 0)
			p.Run(0)
			return p.Output("output"), p.Output("features")
		}
		want, features := evaluate()
		l := m.(*continualBackprop).layers[layer]
		l.measure(features)
		l.replace(0)
		elements(u.Out, func(w *float32) { require.Zero(t, *w, "%s was not replaced", u.Layer) })
		elements(u.In, func(w *float32) { require.NotZero(t, *w) })
		got, _ := evaluate()
		require.InDeltaSlice(t, want, got, 1e-5, u.Layer)
	}
}
