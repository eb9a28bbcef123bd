package probes

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

type object = map[string]any

// network is an MLP with the given widths, inputs first and outputs last.
func network(t testing.TB, widths ...int) nn.Network {
	t.Helper()
	hidden := []any{}
	for _, w := range widths[1 : len(widths)-1] {
		hidden = append(hidden, float64(w))
	}
	r, err := nn.Resolve("network", object{"kind": "mlp", "hidden": hidden})
	require.NoError(t, err)
	net, err := r.Build(nn.Env{
		Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"),
		Input: tensor.Shape{widths[0]}, Outputs: widths[len(widths)-1],
	})
	require.NoError(t, err)
	return net
}

func build(t testing.TB, net nn.Network, raw object) probe.Probe {
	t.Helper()
	r, _, err := probe.Resolve("probes[0]", raw)
	require.NoError(t, err)
	p, err := r.Build(probe.Env{Network: net, Classes: 10, Batch: 1, Space: graph.NewStore().Space(graph.OfProbe, "probe/0")})
	require.NoError(t, err)
	return p
}

func measure(t testing.TB, p probe.Probe, e *learner.Evaluation) []float32 {
	t.Helper()
	values := make([]float32, len(p.Columns()))
	require.NoError(t, p.(probe.Measurer).Measure(e, values))
	return values
}

func closeTo(t *testing.T, want []float64, got []float32, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], float64(got[i]), tolerance, "%s: column %d: %v, want %v", what, i, got, want)
	}
}

// TestAgainstNumpy holds the probes against testdata/golden.py.
func TestAgainstNumpy(t *testing.T) {
	raw, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var golden struct {
		Cases []struct {
			Samples  int
			Features [][]float32
			Units    []int
			Want     map[string][]float64
		}
		Weights         [][]float32
		WeightMagnitude []float64 `json:"weight_magnitude"`
	}
	require.NoError(t, json.Unmarshal(raw, &golden))
	specs := map[string]object{
		"dormant_units":         {"kind": "dormant-units"},
		"dormant_units tau 0":   {"kind": "dormant-units", "tau": 0.0},
		"dormant_units tau 0.1": {"kind": "dormant-units", "tau": 0.1},
		"dead_units":            {"kind": "dead-units"},
		"effective_rank":        {"kind": "effective-rank"},
		"stable_rank":           {"kind": "stable-rank"},
		"srank99":               {"kind": "srank99"},
	}
	require.Len(t, golden.Cases, 3)
	for i, c := range golden.Cases {
		net := network(t, append(append([]int{3}, c.Units...), 10)...)
		e := &learner.Evaluation{N: c.Samples, Features: c.Features}
		require.Len(t, c.Want, len(specs))
		for name, want := range c.Want {
			p := build(t, net, specs[name])
			require.Equal(t, 2000, p.(probe.Measurer).Samples())
			closeTo(t, want, measure(t, p, e), 2e-6, fmt.Sprintf("case %d: %s", i, name))
			require.Zero(t, testing.AllocsPerRun(5, func() { measureInto(p, e) }), "%s allocates after its first use", name)
		}
	}
	net := network(t, 6, 5, 4, 3)
	for i, p := range net.Params() {
		if p.Role == nn.Weight {
			copy(p.Var.F32, golden.Weights[i/2])
		} else {
			for k := range p.Var.F32 {
				p.Var.F32[k] = 100 // biases do not count
			}
		}
	}
	p := build(t, net, object{"kind": "weight-magnitude"})
	require.Equal(t, []probe.Column{{Metric: "weight_magnitude"}, {Metric: "weight_magnitude", Layer: "hidden1"}, {Metric: "weight_magnitude", Layer: "hidden2"}, {Metric: "weight_magnitude", Layer: "output"}}, p.Columns())
	require.Zero(t, p.(probe.Measurer).Samples())
	closeTo(t, golden.WeightMagnitude, measure(t, p, nil), 1e-6, "weight magnitude")
}

var scratch [16]float32

func measureInto(p probe.Probe, e *learner.Evaluation) {
	if err := p.(probe.Measurer).Measure(e, scratch[:len(p.Columns())]); err != nil {
		panic(err)
	}
}

// TestByHand has matrices small enough to see the answer.
func TestByHand(t *testing.T) {
	net := network(t, 1, 4, 2, 1)
	e := &learner.Evaluation{N: 2, Features: [][]float32{
		{ // means 2, 0, 0.02, 1.98; their mean is 1, so scores are the means
			1, 0, 0.04, -1.98,
			-3, 0, 0, 1.98,
		},
		{
			5, 0,
			0, 5,
		},
	}}
	columns := func(metric string) []probe.Column {
		return []probe.Column{{Metric: metric}, {Metric: metric, Layer: "hidden1"}, {Metric: metric, Layer: "hidden2"}}
	}
	for _, c := range []struct {
		raw    object
		metric string
		want   []float64
	}{
		{object{"kind": "dormant-units", "tau": 0.025}, "dormant_units", []float64{2. / 6, 0.5, 0}},
		{object{"kind": "dormant-units", "tau": 0.019}, "dormant_units", []float64{1. / 6, 0.25, 0}},
		{object{"kind": "dormant-units", "tau": 1.0}, "dormant_units", []float64{4. / 6, 0.5, 1}}, // the score of 1 lies below 1 by 1e-9
		{object{"kind": "dead-units"}, "dead_units", []float64{1. / 6, 0.25, 0}},
		{object{"kind": "srank99"}, "srank99", []float64{2, 2, 2}},
	} {
		p := build(t, net, c.raw)
		require.Equal(t, columns(c.metric), p.Columns())
		closeTo(t, c.want, measure(t, p, e), 1e-7, fmt.Sprint(c.raw))
	}

	equal := []float64{3, 3, 3, 3}
	require.InDelta(t, 4, effectiveRank(equal), 1e-14, "equal values: all units")
	require.InDelta(t, 4, stableRank(equal), 1e-14)
	require.Equal(t, 4.0, srank99(equal))
	one := []float64{7, 0, 0}
	require.Equal(t, 1.0, effectiveRank(one))
	require.Equal(t, 1.0, stableRank(one))
	require.Equal(t, 1.0, srank99(one))
	// p = ¾, ¼: H = ¾·ln(4/3) + ¼·ln 4, and σ² = 9, 1.
	require.InDelta(t, math.Pow(4./3, 0.75)*math.Sqrt2, effectiveRank([]float64{3, 1}), 1e-14)
	require.InDelta(t, 10./9, stableRank([]float64{3, 1}), 1e-15)
	require.Equal(t, 1.0, srank99([]float64{99, 0.9999, 0.0001}), "exactly 99 % is enough")
	require.Equal(t, 2.0, srank99([]float64{98, 1.5, 0.5}))
	require.Equal(t, 1.0, stableRank([]float64{1e-200, 0}), "squares do not underflow")

	for _, kind := range []string{"effective-rank", "stable-rank", "srank99", "dormant-units", "dead-units"} {
		p := build(t, net, object{"kind": kind})
		zeros := &learner.Evaluation{N: 3, Features: [][]float32{make([]float32, 12), make([]float32, 6)}}
		want := 0.0
		if kind == "dormant-units" || kind == "dead-units" {
			want = 1
		}
		closeTo(t, []float64{want, want, want}, measure(t, p, zeros), 0, kind+" of a dead network")
	}
	p := build(t, net, object{"kind": "effective-rank"})
	bad := &learner.Evaluation{N: 1, Features: [][]float32{{1, float32(math.NaN()), 0, 0}, {1, 1}}}
	require.ErrorIs(t, p.(probe.Measurer).Measure(bad, make([]float32, 3)), linalg.ErrNotFinite)
}

// A channel of a convolution has a row for every place of the image, and a unit
// with two outputs one for each: idle units are idle in all of them, and ranks
// are of means over places.
func TestPlacesAndOutputs(t *testing.T) {
	r, err := nn.Resolve("network", object{"kind": "cnn", "hidden": []any{2.0}, "activation": "crelu", "convolutions": []any{object{"channels": 2.0, "kernel": 3.0}}})
	require.NoError(t, err)
	net, err := r.Build(nn.Env{Space: graph.NewStore().Space(graph.OfNetwork, "net"), Key: rng.New(1, "init"), Input: tensor.Shape{3, 4}, Outputs: 2})
	require.NoError(t, err)
	require.Equal(t, []int{4, 2}, []int{net.Units()[0].Rows(), net.Units()[1].Rows()}, "two places of two outputs; two outputs")
	e := &learner.Evaluation{N: 2, Features: [][]float32{
		{
			0, 0 /* first place, first output */, 1, 0, // second output
			0, 0, 3, 0,
			0, 0, 0, 0,
			2, 0, 0, 0,
		},
		{1, 0, 0, 1, 1, 0, 0, 1},
	}}
	half := []float64{1. / 4, 1. / 2, 0}
	closeTo(t, half, measure(t, build(t, net, object{"kind": "dead-units"}), e), 1e-7, "dead units")
	// Means of |h| over the 8 rows are 6/8 and 0, scores 2 and 0.
	closeTo(t, half, measure(t, build(t, net, object{"kind": "dormant-units", "tau": 0.1}), e), 1e-7, "dormant units")
	// Means over places, a row for each example: [0 0 2 0] and [1 0 0 0]; and
	// [1 0 0 1] twice.
	closeTo(t, []float64{(1.25 + 1) / 2, 1.25, 1}, measure(t, build(t, net, object{"kind": "stable-rank"}), e), 1e-6, "stable rank")
}

func TestSteppers(t *testing.T) {
	net := network(t, 2, 1, 1)
	var v [1]float32
	accuracy := build(t, net, object{"kind": "online-accuracy"}).(probe.Stepper)
	accuracy.Step(&learner.Step{Correct: []float32{1, 0, 0, 1, 1, 1, 1, 1}}, v[:])
	require.Equal(t, float32(0.75), v[0])
	build(t, net, object{"kind": "loss"}).(probe.Stepper).Step(&learner.Step{Loss: 0.25}, v[:])
	require.Equal(t, float32(0.25), v[0])
}

func TestGradientNorm(t *testing.T) {
	net := network(t, 2, 1, 1)
	p := build(t, net, object{"kind": "gradient-norm"}).(*gradientTotal)
	require.Equal(t, []probe.Column{{Metric: "gradient_norm"}, {Metric: "gradient_norm", Layer: "hidden1"}, {Metric: "gradient_norm", Layer: "output"}}, p.Columns())
	b := graph.NewBuilder()
	var gradients []graph.Node
	for i, w := range net.Params() {
		gradients = append(gradients, b.Input(fmt.Sprint(i), w.Var.Shape...))
	}
	p.Trace(b, gradients)
	program := b.Compile()
	p.Traced(program)
	copy(program.Input("0"), []float32{2, 3}) // hidden1: 4 + 9 + 36 = 49
	copy(program.Input("1"), []float32{-6})
	copy(program.Input("2"), []float32{24}) // output: 576 + 0
	program.Run(0)
	values := make([]float32, 3)
	require.Zero(t, testing.AllocsPerRun(5, func() { p.Step(nil, values) }))
	require.Equal(t, []float32{25, 7, 24}, values)
}

func TestMistakesNameTheField(t *testing.T) {
	for _, c := range []struct {
		raw   object
		field string
	}{
		{object{"kind": "dormant-units", "tau": -0.1}, "probes[0].tau"},
		{object{"kind": "dormant-units", "samples": 0.0}, "probes[0].samples"},
		{object{"kind": "dead-units", "samples": 65537.0}, "probes[0].samples"},
		{object{"kind": "effective-rank", "samples": -1.0}, "probes[0].samples"},
		{object{"kind": "stable-rank", "samples": 0.0}, "probes[0].samples"},
		{object{"kind": "srank99", "samples": 0.0}, "probes[0].samples"},
		{object{"kind": "loss", "tau": 0.0}, "probes[0].tau"},
	} {
		_, _, err := probe.Resolve("probes[0]", c.raw)
		var fields []string
		for _, f := range component.FieldErrors(err) {
			fields = append(fields, f.Field)
		}
		require.Equal(t, []string{c.field}, fields, "%v", err)
	}
}
