package nn

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// small are small networks of every make, with the input that they are for.
var small = []struct {
	spec  object
	input tensor.Shape
}{
	{object{"kind": "mlp", "hidden": []any{7.0, 5.0}, "activation": "tanh"}, tensor.Shape{6}},
	{object{"kind": "mlp", "hidden": []any{7.0, 5.0}, "activation": "crelu", "bias": false}, tensor.Shape{6}},
	{object{"kind": "mlp", "hidden": []any{7.0, 5.0}, "activation": "fourier", "norm": "batch"}, tensor.Shape{6}},
	{object{"kind": "mlp", "hidden": []any{7.0, 5.0, 4.0}, "activation": "tanh", "residual": true}, tensor.Shape{6}},
	{object{"kind": "mlp", "hidden": []any{7.0}, "activation": "tanh", "standardize": true}, tensor.Shape{6}},
	{object{"kind": "cnn", "hidden": []any{5.0}, "activation": "tanh", "norm": "batch", "convolutions": []any{
		object{"channels": 3.0, "pool": 2.0}, object{"channels": 4.0, "padding": 1.0},
	}}, tensor.Shape{8, 10, 2}},
	{object{"kind": "cnn", "hidden": []any{5.0}, "activation": "crelu", "convolutions": []any{
		object{"channels": 3.0, "pool": 2.0}, object{"channels": 4.0, "stride": 2.0},
	}}, tensor.Shape{8, 10}},
	{object{"kind": "cnn", "hidden": []any{}, "active_convolutions": false, "pooling": "mean", "convolutions": []any{
		object{"channels": 3.0, "pool": 2.0},
	}}, tensor.Shape{8, 10}},
	{object{"kind": "resnet", "blocks": []any{1.0, 2.0}, "width": 3.0, "activation": "tanh"}, tensor.Shape{6, 6}},
	{object{"kind": "resnet", "blocks": []any{1.0, 1.0}, "width": 3.0, "activation": "tanh", "norm": "none"}, tensor.Shape{6, 6, 2}},
	{object{"kind": "rnn", "hidden": []any{5.0, 4.0}}, tensor.Shape{4, 3}},
	{object{"kind": "lstm", "hidden": []any{5.0, 4.0}, "readout": "mean"}, tensor.Shape{4, 3}},
	{object{"kind": "gru", "hidden": []any{5.0, 4.0}}, tensor.Shape{4}},
	{object{"kind": "transformer", "width": 4.0, "heads": 2.0, "hidden": []any{5.0, 3.0}, "causal": true}, tensor.Shape{4, 3}},
	{object{"kind": "transformer", "width": 4.0, "heads": 2.0, "hidden": []any{5.0}, "activation": "crelu"}, tensor.Shape{4, 3}},
}

func buildSmall(t *testing.T, spec object, input tensor.Shape) Network {
	t.Helper()
	r, err := Resolve("network", spec)
	require.NoError(t, err)
	n, err := r.Build(Env{
		Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(3, "init"), Input: input, Outputs: 3,
		Keys: func(purpose string) rng.Key { return rng.New(3, purpose) },
	})
	require.NoError(t, err)
	return n
}

// evaluate runs a network on n examples of noise.
func evaluate(t *testing.T, net Network, input tensor.Shape, n int) (output []float32, features [][]float32) {
	t.Helper()
	b := graph.NewBuilder()
	a := net.Forward(b, b.Input("x", n, input.Elems()), Evaluation)
	b.Output("output", a.Output)
	require.Equal(t, tensor.Shape{n, 3}, a.Output.Shape())
	require.Len(t, a.Features, len(net.Units()))
	for i, f := range a.Features {
		u := net.Units()[i]
		require.Equal(t, tensor.Shape{n * u.Rows(), u.N}, f.Shape())
		b.Output(fmt.Sprint(i), f)
	}
	p := b.Compile()
	rng.New(4, "x").FillNormal(p.Input("x"), 0)
	p.Run(0)
	for i := range a.Features {
		features = append(features, slices.Clone(p.Output(fmt.Sprint(i))))
	}
	return slices.Clone(p.Output("output")), features
}

// each calls f with every element of a unit's slices.
func each(slices []Slice, unit int, f func(p *Param, at int)) {
	for _, s := range slices {
		offset, length, stride, count := s.Span(unit)
		for c := range count {
			for k := range length {
				f(s.Param, offset+c*stride+k)
			}
		}
	}
}

// What a network says of its units is so. Without its outgoing weights a unit
// reaches nothing: whatever its incoming weights, biases and scales are, the
// output stays, and so do the other units of the layer. Its incoming weights,
// biases and scales are what it is made of: with the incoming weights and biases
// at 0 its values are the same for every example; and its outgoing weights are
// the only ones that it is behind.
func TestUnitsAreWhatNetworksSay(t *testing.T) {
	for _, net := range small {
		t.Run(fmt.Sprint(net.spec), func(t *testing.T) {
			units := buildSmall(t, net.spec, net.input).Units()
			require.NotEmpty(t, units)
			for g := range units {
				for unit := range units[g].N {
					n := buildSmall(t, net.spec, net.input)
					u := n.Units()[g]
					start := maps.Clone(map[*Param][]float32{})
					for _, p := range n.Params() {
						start[p] = slices.Clone(p.Var.F32)
					}
					whole, _ := evaluate(t, n, net.input, 3)
					each(u.Out, unit, func(p *Param, at int) { p.Var.F32[at] = 0 })
					without, features := evaluate(t, n, net.input, 3)
					require.NotEqual(t, whole, without, "%s, unit %d: its outgoing weights matter to nothing", u.Layer, unit)
					each(slices.Concat(u.In, u.Bias, u.Gain), unit, func(p *Param, at int) { p.Var.F32[at] += 0.75 })
					now, f := evaluate(t, n, net.input, 3)
					require.InDeltaSlice(t, without, now, 3e-6, "%s, unit %d", u.Layer, unit)
					changed := false
					for i := range f[g] {
						if i%u.N == unit {
							changed = changed || f[g][i] != features[g][i]
							f[g][i] = features[g][i]
						}
					}
					require.True(t, changed, "%s, unit %d: its incoming weights are not its own", u.Layer, unit)
					require.InDeltaSlice(t, features[g], f[g], 3e-6, "other units of %s", u.Layer)

					for p, w := range start { // the whole network again, but for what comes in
						copy(p.Var.F32, w)
					}
					each(slices.Concat(u.In, u.Bias), unit, func(p *Param, at int) { p.Var.F32[at] = 0 })
					_, f = evaluate(t, n, net.input, 3)
					perExample := len(f[g]) / 3
					for i := unit; i < perExample; i += u.N {
						require.Equal(t, f[g][i], f[g][i+perExample], "%s, unit %d depends on the input without incoming weights", u.Layer, unit)
					}
				}
			}
		})
	}
}

// Params are those that Size counts, once each, and every one matters.
func TestParamsOfNetworks(t *testing.T) {
	for _, net := range small {
		t.Run(fmt.Sprint(net.spec), func(t *testing.T) {
			n := buildSmall(t, net.spec, net.input)
			r, err := Resolve("network", net.spec)
			require.NoError(t, err)
			size, err := r.Config.(Sizer).Size(net.input, 3, 2)
			require.NoError(t, err)
			var made int64
			names := map[string]bool{}
			b := graph.NewBuilder()
			a := n.Forward(b, b.Input("x", 2, net.input.Elems()), Evaluation)
			var reads []graph.Node
			for _, p := range n.Params() {
				made += int64(p.Var.Len())
				require.False(t, names[p.Var.Name])
				names[p.Var.Name] = true
				require.NotEmpty(t, p.Layer)
				require.NotZero(t, p.FanIn)
				reads = append(reads, b.Read(p.Var))
			}
			require.Equal(t, made, size.Params)
			for i, d := range b.Gradients(b.Sum(b.Mul(a.Output, b.Array([]float32{1, -2, 3}, 3))), reads...) {
				b.Output(n.Params()[i].Var.Name, d)
			}
			p := b.Compile()
			rng.New(4, "x").FillNormal(p.Input("x"), 0)
			p.Run(0)
			for name := range names {
				require.True(t, slices.ContainsFunc(p.Output(name), func(v float32) bool { return v != 0 }), "the gradient of %s is 0", name)
			}
			// What a step keeps is at least its features and outputs.
			least := 3
			for _, u := range n.Units() {
				least += u.N * u.Rows()
			}
			require.GreaterOrEqual(t, size.Activations, int64(least))
			require.Less(t, size.Activations, int64(20*least))
		})
	}
}

func TestDropoutIsForTraining(t *testing.T) {
	for _, spec := range []object{
		{"kind": "mlp", "hidden": []any{400.0}, "dropout": 0.25, "activation": "sigmoid"},
		{"kind": "cnn", "hidden": []any{400.0}, "dropout": 0.25, "activation": "sigmoid"},
		{"kind": "transformer", "dropout": 0.25},
	} {
		input := tensor.Shape{28, 28}
		net := buildSmall(t, spec, input)
		run := func(mode Mode, step uint64) []float32 {
			b := graph.NewBuilder()
			b.Output("y", net.Forward(b, b.Input("x", 2, input.Elems()), mode).Output)
			p := b.Compile()
			rng.New(4, "x").FillNormal(p.Input("x"), 0)
			p.Run(step)
			return slices.Clone(p.Output("y"))
		}
		whole := run(Evaluation, 1)
		require.Equal(t, whole, run(Evaluation, 2))
		require.NotEqual(t, whole, run(Training, 1))
		require.NotEqual(t, run(Training, 2), run(Training, 1))
		require.Equal(t, run(Training, 1), run(Training, 1))
		mean := make([]float64, len(whole))
		const steps = 2000
		for step := range uint64(steps) {
			for i, v := range run(Training, step) {
				mean[i] += float64(v) / steps
			}
			if spec["kind"] != "mlp" {
				break // the output is not linear in what is dropped, or slow
			}
		}
		if spec["kind"] == "mlp" {
			for i, v := range whole {
				require.InDelta(t, v, mean[i], 0.05, "kept units stand in for those that are dropped")
			}
		}
	}
}

func TestNetworksThatDoNotGoWithAStream(t *testing.T) {
	for _, tc := range []struct {
		spec  object
		input tensor.Shape
		batch int
		want  string
	}{
		{object{"kind": "cnn"}, tensor.Shape{20}, 2, "needs images [height][width] or [height][width][channels]; the stream's examples are [20]"},
		{object{"kind": "cnn"}, tensor.Shape{8, 8}, 2, "layer conv2 does not go with images [2 2]"},
		{object{"kind": "cnn", "norm": "batch"}, tensor.Shape{28, 28}, 1, "norm: batch normalisation needs batches of at least 2 examples, the stream's have 1"},
		{object{"kind": "mlp", "norm": "batch"}, tensor.Shape{28, 28}, 1, "norm: batch normalisation needs"},
		{object{"kind": "resnet"}, tensor.Shape{28, 28}, 1, "norm: batch normalisation needs"},
		{object{"kind": "resnet"}, tensor.Shape{28}, 2, "needs images"},
		{object{"kind": "resnet", "width": 1e6, "blocks": []any{1.0, 1.0, 1.0}}, tensor.Shape{28, 28}, 2, "width: layer stage2/block1 has 2000000 channels"},
		{object{"kind": "rnn"}, tensor.Shape{100000}, 1, "an example has 100000 steps, at most 65536"},
		{object{"kind": "transformer"}, tensor.Shape{5000, 2}, 1, "an example has 5000 tokens, at most 4096"},
	} {
		r, err := Resolve("network", tc.spec)
		require.NoError(t, err)
		_, err = r.Config.(Sizer).Size(tc.input, 3, tc.batch)
		require.ErrorContains(t, err, tc.want)
	}
}

func TestBadParametersOfNetworks(t *testing.T) {
	for _, tc := range []struct {
		spec object
		want string
	}{
		{object{"kind": "cnn", "convolutions": []any{}}, "network.convolutions: has none"},
		{object{"kind": "cnn", "convolutions": []any{object{"kernel": 0.0}}}, "network.convolutions[0].kernel: must be between 1 and 64, is 0"},
		{object{"kind": "cnn", "convolutions": []any{object{}, object{"channls": 3.0}}}, `network.convolutions[1].channls: a convolution has no such parameter, did you mean "channels"?`},
		{object{"kind": "cnn", "convolutions": []any{3.0}}, "network.convolutions[0]: must be an object"},
		{object{"kind": "cnn", "norm": "group", "groups": 3.0}, "network.groups: the 16 channels of convolutions[0] are not in 3 equal groups"},
		{object{"kind": "cnn", "hidden": []any{0.0}}, "network.hidden[0]"},
		{object{"kind": "resnet", "blocks": []any{}}, "network.blocks: must have between 1 and 8 stages, has 0"},
		{object{"kind": "resnet", "blocks": []any{0.0}}, "network.blocks[0]"},
		{object{"kind": "resnet", "activation": "crelu"}, "network.activation: crelu gives two outputs per unit"},
		{object{"kind": "resnet", "norm": "group", "groups": 3.0}, "network.groups: 16 channels are not in 3 equal groups"},
		{object{"kind": "rnn", "hidden": []any{}}, "network.hidden: has no layer"},
		{object{"kind": "rnn", "activation": "fourier"}, "network.activation: fourier gives two outputs"},
		{object{"kind": "lstm", "forget_bias": 1e3}, "network.forget_bias: must be between -100 and 100"},
		{object{"kind": "transformer", "heads": 5.0}, "network.heads: 5 heads cannot share a width of 32"},
		{object{"kind": "transformer", "hidden": []any{}}, "network.hidden: has no block"},
	} {
		_, err := Resolve("network", tc.spec)
		require.ErrorContains(t, err, tc.want)
		require.NotEmpty(t, component.FieldErrors(err))
	}
}

// A unit that loses its weights and gets them back as the recycler does must
// find its scale at 1, which is what Init of the scale says.
func TestScalesStartAtOne(t *testing.T) {
	n := buildSmall(t, object{"kind": "mlp", "hidden": []any{3.0}, "norm": "layer"}, tensor.Shape{4})
	u := n.Units()[0]
	require.Len(t, u.Gain, 1)
	require.Equal(t, []float32{1, 1, 1}, u.Gain[0].Param.Var.F32)
	one := make([]float32, 1)
	u.Gain[0].Param.Init.Fill(one, rng.Key{}, 9)
	require.Equal(t, []float32{1}, one)
	require.Len(t, u.Bias, 2, "the layer's bias, and the shift")
}

func TestForgetGatesStartOpen(t *testing.T) {
	n := buildSmall(t, object{"kind": "lstm", "hidden": []any{2.0}, "forget_bias": 1.5}, tensor.Shape{4, 3})
	for _, p := range n.Params() {
		if p.Var.Name == "net/recurrent1/bias" {
			require.Equal(t, []float32{0, 0, 1.5, 1.5, 0, 0, 0, 0}, p.Var.F32)
		}
	}
}

// Standardised weights: each unit's are used with mean 0 and norm 1, so that
// neither scale nor offset of the stored ones matters.
func TestStandardisedWeights(t *testing.T) {
	n := buildSmall(t, object{"kind": "mlp", "hidden": []any{3.0}, "standardize": true}, tensor.Shape{4})
	before, _ := evaluate(t, n, tensor.Shape{4}, 2)
	w := n.Params()[0].Var.F32
	for i := range w {
		w[i] = 3*w[i] + 0.5
	}
	after, features := evaluate(t, n, tensor.Shape{4}, 2)
	require.InDeltaSlice(t, before, after, 1e-5)

	x := make([]float32, 8)
	rng.New(4, "x").FillNormal(x, 0)
	for j := range 3 {
		var mean, square, want float64
		for i := range 4 {
			mean += float64(w[i*3+j]) / 4
		}
		for i := range 4 {
			d := float64(w[i*3+j]) - mean
			square += d * d
			want += d * float64(x[i])
		}
		require.InDelta(t, math.Max(want/math.Sqrt(square), 0), features[0][j], 1e-5)
	}
}
