package nn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn/activation"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

func build(t require.TestingT, seed uint64, inputs, outputs int, spec map[string]any) Network {
	spec["kind"] = "mlp"
	r, err := Resolve("network", spec)
	require.NoError(t, err)
	n, err := r.Build(Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(seed, "init"), Input: tensor.Shape{inputs}, Outputs: outputs})
	require.NoError(t, err)
	return n
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
		repeat := rapid.IntRange(0, 4).Draw(t, "repeat")
		shape := make([]int, rank)
		for i := range shape {
			shape[i] = rapid.IntRange(1, 4).Draw(t, "dim")
		}
		s := Slice{Axis: axis, Start: start, Each: each}
		if repeat > 1 {
			s.Start, s.Repeat, s.Every = 0, repeat, units*each+rest
			shape[axis] = repeat * s.Every
		} else {
			s.Repeat, s.Every = repeat, 7 // of no importance
			shape[axis] = start + units*each + rest
		}
		s.Param = &Param{Var: graph.NewStore().New("w", graph.F32, graph.Persistent, shape...)}
		owner := make([]int, s.Param.Var.Len()) // by element: 1 + its unit
		first, _, _, _ := s.Span(0)
		for u := range units {
			offset, length, stride, count := s.Span(u)
			require.Equal(t, s.Len(), length*count)
			require.Equal(t, first+u*length, offset, "the next unit's runs follow")
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
			if repeat > 1 {
				along %= s.Every
			}
			want := 0
			if along >= s.Start && along < s.Start+units*each {
				want = 1 + (along-s.Start)/each
			}
			require.Equal(t, want, owner[at], "element %d of %v", at, shape)
		}
	})
}

func TestSliceThatDoesNotFillItsAxis(t *testing.T) {
	p := &Param{Var: graph.NewStore().New("w", graph.F32, graph.Persistent, 7, 2)}
	require.Panics(t, func() { Slice{Param: p, Each: 1, Repeat: 3, Every: 2}.Span(0) })
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

// Size, by which too large networks are refused, is what is made.
func TestSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var hidden []any
		for range rapid.IntRange(0, 3).Draw(t, "layers") {
			hidden = append(hidden, float64(rapid.IntRange(1, 9).Draw(t, "width")))
		}
		inputs, outputs := rapid.IntRange(1, 9).Draw(t, "inputs"), rapid.IntRange(1, 9).Draw(t, "outputs")
		spec := map[string]any{
			"hidden":     append([]any{}, hidden...),
			"activation": rapid.SampledFrom([]any{"relu", "crelu"}).Draw(t, "activation"),
			"norm":       rapid.SampledFrom([]any{"none", "layer", "batch"}).Draw(t, "norm"),
			"bias":       rapid.Bool().Draw(t, "bias"), "residual": len(hidden) > 1 && rapid.Bool().Draw(t, "residual"),
		}
		net := build(t, 1, inputs, outputs, spec)
		var made int64
		for _, p := range net.Params() {
			made += int64(p.Var.Len())
		}
		r, err := Resolve("network", spec)
		require.NoError(t, err)
		size, err := r.Config.(Sizer).Size(tensor.Shape{inputs}, outputs, 2)
		require.NoError(t, err)
		require.Equal(t, made, size.Params)
	})
}

func TestSizeOfGiants(t *testing.T) {
	r, err := Resolve("network", map[string]any{"kind": "mlp", "hidden": make64(1 << 20)})
	require.NoError(t, err)
	size, err := r.Config.(Sizer).Size(tensor.Shape{1 << 30}, 1<<30, 1)
	require.NoError(t, err)
	require.Equal(t, int64(1<<20+1)<<20*63+1<<50+1<<20+1<<50+1<<30, size.Params)
	require.Equal(t, int64(1<<30), size.Widest)
}

func make64(width float64) []any {
	layers := make([]any, 64)
	for i := range layers {
		layers[i] = width
	}
	return layers
}

func TestEditedBlueprintIsBuilt(t *testing.T) {
	r, err := Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{4.0}})
	require.NoError(t, err)
	env := func(edit func(*Blueprint) error) Env {
		return Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: tensor.Shape{2, 3}, Outputs: 2, Edit: edit}
	}
	net, err := r.Build(env(func(bp *Blueprint) error {
		bp.Layers[0].Width = 7
		bp.Layers[0].Activation = activation.Named("crelu")
		return nil
	}))
	require.NoError(t, err)
	require.Equal(t, 7, net.Units()[0].N)
	require.Equal(t, tensor.Shape{6, 7}, net.Params()[0].Var.Shape)
	require.Equal(t, tensor.Shape{14, 2}, net.Params()[2].Var.Shape)
	_, err = r.Build(env(func(*Blueprint) error { return component.Fieldf("", "cannot") }))
	require.ErrorContains(t, err, "cannot")
}

func TestBadParameters(t *testing.T) {
	for _, tc := range []struct {
		spec map[string]any
		want string
	}{
		{map[string]any{"hidden": []any{0.0}}, "network.hidden[0]: must be between 1 and 1048576 units, is 0"},
		{map[string]any{"hidden": []any{5.0, 1e7}}, "network.hidden[1]"},
		{map[string]any{"hidden": make65()}, "network.hidden: has 65 layers"},
		{map[string]any{"activation": "reluu"}, `network.activation: unknown activation "reluu", did you mean "relu"?`},
		{map[string]any{"activation": map[string]any{"kind": "elu", "alpha": -1.0}}, `network.activation.alpha: must be between 0 and 100, is -1`},
		{map[string]any{"init": "he"}, `network.init: unknown init "he"`},
		{map[string]any{"init": map[string]any{"kind": "normal", "sd": 1.0}}, `network.init.sd: normal has no such parameter, did you mean "std"?`},
		{map[string]any{"norm": "bach"}, `network.norm: unknown value "bach", did you mean "batch"?`},
		{map[string]any{"dropout": 1.0}, "network.dropout: must be in [0, 1), is 1"},
		{map[string]any{"residual": true, "hidden": []any{3.0}}, "network.residual: needs at least 2 hidden layers"},
		{map[string]any{"weights": map[string]any{"path": "x"}}, "network.weights.sha256: missing"},
		{map[string]any{"weights": map[string]any{"path": "x", "sha256": "AB"}}, "network.weights.sha256: must be 64 hexadecimal digits"},
		{map[string]any{"weights": map[string]any{"sha256": "ab"}}, "network.weights.path: missing"},
		{map[string]any{"weights": map[string]any{"file": "x"}}, "network.weights.file: this object has no such parameter"},
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
