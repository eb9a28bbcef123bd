package nn

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

func build(t require.TestingT, seed uint64, inputs, outputs int, spec map[string]any) Network {
	spec["kind"] = "mlp"
	r, err := Resolve("network", spec)
	require.NoError(t, err)
	n, err := r.Build(Env{Store: graph.NewStore(), Key: rng.New(seed, "init"), Input: tensor.Shape{inputs}, Outputs: outputs})
	require.NoError(t, err)
	return n
}

// Gains as torch.nn.init.calculate_gain has them.
var gains = map[string]float64{
	"relu": math.Sqrt2, "tanh": 5.0 / 3, "leaky-relu": math.Sqrt(2 / (1 + 0.2*0.2)), "sigmoid": 1, "linear": 1,
}

// The deviations of the initialisers, from their papers; fan-in and fan-out of
// the layer, and the gain.
var deviations = map[string]struct {
	uniform bool
	sd      func(in, out, gain float64) float64
}{
	"kaiming-uniform": {true, func(in, _, gain float64) float64 { return gain / math.Sqrt(in) }},
	"kaiming-normal":  {false, func(in, _, gain float64) float64 { return gain / math.Sqrt(in) }},
	"xavier-uniform":  {true, func(in, out, gain float64) float64 { return gain * math.Sqrt(2/(in+out)) }},
	"xavier-normal":   {false, func(in, out, gain float64) float64 { return gain * math.Sqrt(2/(in+out)) }},
	"lecun-uniform":   {true, func(in, _, _ float64) float64 { return 1 / math.Sqrt(in) }},
	"lecun-normal":    {false, func(in, _, _ float64) float64 { return 1 / math.Sqrt(in) }},
	"pytorch":         {true, func(in, _, _ float64) float64 { return 1 / math.Sqrt(3*in) }},
}

func TestInitialisersByMoments(t *testing.T) {
	require.Len(t, deviations, len(Inits))
	for _, init := range Inits {
		for activation, gain := range gains {
			t.Run(init+" "+activation, func(t *testing.T) {
				net := build(t, 4, 150, 90, map[string]any{"hidden": []any{200.0, 120.0}, "activation": activation, "negative_slope": 0.2, "init": init})
				for _, p := range net.Params() {
					in, g := map[string]float64{"hidden1": 150, "hidden2": 200, "output": 120}[p.Layer], gain
					out := map[string]float64{"hidden1": 200, "hidden2": 120, "output": 90}[p.Layer]
					if p.Layer == "output" {
						g = 1
					}
					require.Equal(t, [2]float64{in, out}, [2]float64{float64(p.FanIn), float64(p.FanOut)})
					if p.Role == Bias && init != "pytorch" {
						require.Equal(t, make([]float32, int(out)), p.Var.F32)
						require.Zero(t, p.Init.StdDev())
						continue
					}
					d := deviations[init]
					want := d.sd(in, out, g)
					require.InEpsilon(t, want, float64(p.Init.StdDev()), 1e-6, p.Var.Name)

					n := float64(p.Var.Len())
					var m1, m2, m4, largest float64
					for _, v := range p.Var.F32 {
						x := float64(v) / want
						m1 += x / n
						m2 += x * x / n
						m4 += x * x * x * x / n
						largest = math.Max(largest, math.Abs(x))
					}
					kurtosis := 3.0
					if d.uniform {
						kurtosis = 1.8
						require.LessOrEqual(t, largest, math.Sqrt(3)*(1+1e-6))
					}
					// Five standard errors of each moment.
					require.InDelta(t, 0, m1, 5/math.Sqrt(n), "%s: mean", p.Var.Name)
					require.InDelta(t, 1, m2, 5*math.Sqrt((kurtosis-1)/n), "%s: variance", p.Var.Name)
					if p.Role == Weight {
						require.InDelta(t, kurtosis, m4, 0.25, "%s: fourth moment", p.Var.Name)
					}
				}
			})
		}
	}
}

func TestParametersDependOnSeedAndDifferBetweenLayers(t *testing.T) {
	spec := func() map[string]any { return map[string]any{"hidden": []any{5.0, 5.0}, "init": "pytorch"} }
	a, same, b := build(t, 1, 5, 5, spec()), build(t, 1, 5, 5, spec()), build(t, 2, 5, 5, spec())
	for i, p := range a.Params() {
		require.Equal(t, p.Var.F32, same.Params()[i].Var.F32)
		require.NotEqual(t, p.Var.F32, b.Params()[i].Var.F32)
		for j := range i {
			if other := a.Params()[j]; other.Var.Len() == p.Var.Len() {
				require.NotEqual(t, other.Var.F32, p.Var.F32, "%s and %s", other.Var.Name, p.Var.Name)
			}
		}
	}
	// The input side does not depend on what comes behind it.
	deeper := build(t, 1, 5, 5, map[string]any{"hidden": []any{5.0, 5.0, 5.0}, "init": "pytorch"})
	require.Equal(t, a.Params()[0].Var.F32, deeper.Params()[0].Var.F32)
}

// Span, as runs of flat elements, is what indexing along the axis says.
func TestSpanAgainstIndexing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		axis := rapid.IntRange(0, 3).Draw(t, "axis")
		rank := rapid.IntRange(axis+1, 4).Draw(t, "rank")
		each, units, start, rest := rapid.IntRange(1, 3).Draw(t, "each"), rapid.IntRange(1, 4).Draw(t, "units"),
			rapid.IntRange(0, 2).Draw(t, "start"), rapid.IntRange(0, 2).Draw(t, "rest")
		shape := make([]int, rank)
		for i := range shape {
			shape[i] = rapid.IntRange(1, 4).Draw(t, "dim")
		}
		shape[axis] = start + units*each + rest
		s := Slice{Param: &Param{Var: graph.NewStore().New("w", graph.F32, graph.Persistent, shape...)}, Axis: axis, Start: start, Each: each}
		owner := make([]int, s.Param.Var.Len()) // by element: 1 + its unit
		for u := range units {
			offset, length, stride, count := s.Span(u)
			require.Equal(t, s.Len(), length*count)
			for c := range count {
				for k := range length {
					require.Zero(t, owner[offset+c*stride+k], "two units own an element")
					owner[offset+c*stride+k] = 1 + u
				}
			}
		}
		for at := range owner {
			rest, along := at, 0
			for d := rank - 1; d >= axis; d-- {
				along = rest % shape[d]
				rest /= shape[d]
			}
			want := 0
			if along >= start && along < start+units*each {
				want = 1 + (along-start)/each
			}
			require.Equal(t, want, owner[at], "element %d of %v", at, shape)
		}
	})
}

func TestUnitsOfAnMLP(t *testing.T) {
	for _, bias := range []bool{true, false} {
		net := build(t, 1, 6, 3, map[string]any{"hidden": []any{5.0, 4.0}, "bias": bias})
		names := map[string]*Param{}
		for _, p := range net.Params() {
			names[p.Var.Name] = p
		}
		require.Len(t, names, map[bool]int{true: 6, false: 3}[bias])
		units := net.Units()
		require.Len(t, units, 2, "the output layer has no units")
		for i, u := range units {
			next := []string{"hidden2", "output"}[i]
			require.Equal(t, fmt.Sprintf("hidden%d", i+1), u.Layer)
			require.Equal(t, []int{5, 4}[i], u.N)
			require.Equal(t, []Slice{{Param: names["net/"+u.Layer+"/weight"], Axis: 1, Each: 1}}, u.In)
			require.Equal(t, []Slice{{Param: names["net/"+next+"/weight"], Axis: 0, Each: 1}}, u.Out)
			require.Equal(t, []*Param{names["net/"+next+"/bias"]}, u.OutBias, "nil without biases")
			require.Equal(t, []int{6, 5}[i], u.In[0].Len())
			require.Equal(t, []int{4, 3}[i], u.Out[0].Len())
			if bias {
				require.Equal(t, []Slice{{Param: names["net/"+u.Layer+"/bias"], Axis: 0, Each: 1}}, u.Bias)
			} else {
				require.Empty(t, u.Bias)
			}
		}
	}
}

func TestLinearLearnerHasNoUnits(t *testing.T) {
	net := build(t, 1, 6, 3, map[string]any{"hidden": []any{}})
	require.Empty(t, net.Units())
	require.Len(t, net.Params(), 2)
	r, err := Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{}})
	require.NoError(t, err)
	require.Empty(t, r.Config.(mlpConfig).Provides())
}

// ParamCount, by which too large networks are refused, is what is made.
func TestParamCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hidden []any
		for range rapid.IntRange(0, 3).Draw(t, "layers") {
			hidden = append(hidden, float64(rapid.IntRange(1, 9).Draw(t, "width")))
		}
		inputs, outputs := rapid.IntRange(1, 9).Draw(t, "inputs"), rapid.IntRange(1, 9).Draw(t, "outputs")
		net := build(t, 1, inputs, outputs, map[string]any{"hidden": append([]any{}, hidden...)})
		var made int64
		for _, p := range net.Params() {
			made += int64(p.Var.Len())
		}
		r, err := Resolve("network", map[string]any{"kind": "mlp", "hidden": append([]any{}, hidden...)})
		require.NoError(t, err)
		require.Equal(t, made, r.Config.(mlpConfig).ParamCount(inputs, outputs))
	})
}

func TestEditedBlueprintIsBuilt(t *testing.T) {
	r, err := Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{4.0}})
	require.NoError(t, err)
	env := func(edit func(*Blueprint) error) Env {
		return Env{Store: graph.NewStore(), Key: rng.New(1, "init"), Input: tensor.Shape{2, 3}, Outputs: 2, Edit: edit}
	}
	net, err := r.Build(env(func(bp *Blueprint) error { bp.Layers[0].Width = 7; return nil }))
	require.NoError(t, err)
	require.Equal(t, 7, net.Units()[0].N)
	require.Equal(t, tensor.Shape{6, 7}, net.Params()[0].Var.Shape)
	_, err = r.Build(env(func(bp *Blueprint) error { bp.Layers[0].Activation.Name = "rleu"; return nil }))
	require.ErrorContains(t, err, `layer hidden1: unknown activation "rleu"`)
	_, err = r.Build(env(func(bp *Blueprint) error { bp.Init = "zeros"; return nil }))
	require.ErrorContains(t, err, `unknown initialiser "zeros"`)
}

func TestBadParameters(t *testing.T) {
	for _, tc := range []struct {
		spec map[string]any
		want string
	}{
		{map[string]any{"hidden": []any{0.0}}, "network.hidden[0]: must be between 1 and 1048576 units, is 0"},
		{map[string]any{"hidden": []any{5.0, 1e7}}, "network.hidden[1]"},
		{map[string]any{"hidden": make65()}, "network.hidden: has 65 layers"},
		{map[string]any{"negative_slope": 1.0}, "network.negative_slope"},
		{map[string]any{"negative_slope": -0.1}, "network.negative_slope"},
		{map[string]any{"activation": "rleu"}, `network.activation: unknown value "rleu", did you mean "relu"?`},
		{map[string]any{"init": "he"}, `network.init: unknown value "he"`},
	} {
		tc.spec["kind"] = "mlp"
		_, err := Resolve("network", tc.spec)
		require.ErrorContains(t, err, tc.want)
		require.NotEmpty(t, component.FieldErrors(err))
	}
}

func make65() []any {
	layers := make([]any, 65)
	for i := range layers {
		layers[i] = 3.0
	}
	return layers
}
