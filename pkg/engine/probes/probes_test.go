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
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// Tables, claims and pictures identify a metric by its name alone, so names are unique.
func TestMetricsDescribeThemselves(t *testing.T) {
	names, titles := map[string]string{}, map[string]string{}
	for _, d := range component.All() {
		if d.Kind != "probe" {
			continue
		}
		info, ok := probe.Of(d.Name)
		require.True(t, ok, d.Name)
		for _, m := range info.Metrics {
			require.Empty(t, names[m.Metric], "%s of %s", m.Metric, d.Name)
			require.Empty(t, titles[m.Title], "%s of %s", m.Title, d.Name)
			names[m.Metric], titles[m.Title] = d.Name, m.Metric
			require.Regexp(t, `^[A-Z][^_]*[^.]$`, m.Title, m.Metric)
			got, of, ok := probe.Describe(m.Metric)
			require.True(t, ok)
			require.Equal(t, m, got)
			require.Equal(t, d.Name, of.Name)
		}
	}
	require.Greater(t, len(names), 40)
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
	specs := map[string]probetest.Object{
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
		net := probetest.Network(t, append(append([]int{3}, c.Units...), 10)...)
		e := &learner.Evaluation{N: c.Samples, Features: c.Features}
		require.Len(t, c.Want, len(specs))
		for name, want := range c.Want {
			p := probetest.Build(t, net, specs[name])
			require.Equal(t, 2000, p.(probe.Measurer).Samples())
			probetest.CloseTo(t, want, probetest.Measure(t, p, e), 2e-6, fmt.Sprintf("case %d: %s", i, name))
			require.Zero(t, testing.AllocsPerRun(5, func() { probetest.MeasureInto(p, e) }), "%s allocates after its first use", name)
		}
	}
	net := probetest.Network(t, 6, 5, 4, 3)
	for i, p := range net.Params() {
		if p.Role == nn.Weight {
			copy(p.Var.F32, golden.Weights[i/2])
		} else {
			for k := range p.Var.F32 {
				p.Var.F32[k] = 100 // biases do not count
			}
		}
	}
	p := probetest.Build(t, net, probetest.Object{"kind": "weight-magnitude"})
	require.Equal(t, []probe.Column{{Metric: "weight_magnitude"}, {Metric: "weight_magnitude", Layer: "hidden1"}, {Metric: "weight_magnitude", Layer: "hidden2"}, {Metric: "weight_magnitude", Layer: "output"}}, p.Columns())
	require.Zero(t, p.(probe.Measurer).Samples())
	probetest.CloseTo(t, golden.WeightMagnitude, probetest.Measure(t, p, nil), 1e-6, "weight magnitude")
}

// TestByHand has matrices small enough to see the answer.
func TestByHand(t *testing.T) {
	net := probetest.Network(t, 1, 4, 2, 1)
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
		raw    probetest.Object
		metric string
		want   []float64
	}{
		{probetest.Object{"kind": "dormant-units", "tau": 0.025}, "dormant_units", []float64{2. / 6, 0.5, 0}},
		{probetest.Object{"kind": "dormant-units", "tau": 0.019}, "dormant_units", []float64{1. / 6, 0.25, 0}},
		{probetest.Object{"kind": "dormant-units", "tau": 1.0}, "dormant_units", []float64{4. / 6, 0.5, 1}}, // the score of 1 lies below 1 by 1e-9
		{probetest.Object{"kind": "dead-units"}, "dead_units", []float64{1. / 6, 0.25, 0}},
		{probetest.Object{"kind": "srank99"}, "srank99", []float64{2, 2, 2}},
	} {
		p := probetest.Build(t, net, c.raw)
		require.Equal(t, columns(c.metric), p.Columns())
		probetest.CloseTo(t, c.want, probetest.Measure(t, p, e), 1e-7, fmt.Sprint(c.raw))
	}

	for _, kind := range []string{"effective-rank", "stable-rank", "srank99", "dormant-units", "dead-units"} {
		p := probetest.Build(t, net, probetest.Object{"kind": kind})
		zeros := &learner.Evaluation{N: 3, Features: [][]float32{make([]float32, 12), make([]float32, 6)}}
		want := 0.0
		if kind == "dormant-units" || kind == "dead-units" {
			want = 1
		}
		probetest.CloseTo(t, []float64{want, want, want}, probetest.Measure(t, p, zeros), 0, kind+" of a dead network")
	}
	p := probetest.Build(t, net, probetest.Object{"kind": "effective-rank"})
	bad := &learner.Evaluation{N: 1, Features: [][]float32{{1, float32(math.NaN()), 0, 0}, {1, 1}}}
	require.ErrorIs(t, p.(probe.Measurer).Measure(bad, make([]float32, 3)), linalg.ErrNotFinite)
}

// A channel of a convolution has a row for every place of the image, and a unit
// with two outputs one for each: idle units are idle in all of them, and ranks
// are of means over places.
func TestPlacesAndOutputs(t *testing.T) {
	r, err := nn.Resolve("network", probetest.Object{"kind": "cnn", "hidden": []any{2.0}, "activation": "crelu", "convolutions": []any{probetest.Object{"channels": 2.0, "kernel": 3.0}}})
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
	probetest.CloseTo(t, half, probetest.Measure(t, probetest.Build(t, net, probetest.Object{"kind": "dead-units"}), e), 1e-7, "dead units")
	// Means of |h| over the 8 rows are 6/8 and 0, scores 2 and 0.
	probetest.CloseTo(t, half, probetest.Measure(t, probetest.Build(t, net, probetest.Object{"kind": "dormant-units", "tau": 0.1}), e), 1e-7, "dormant units")
	// Means over places, a row for each example: [0 0 2 0] and [1 0 0 0]; and
	// [1 0 0 1] twice.
	probetest.CloseTo(t, []float64{(1.25 + 1) / 2, 1.25, 1}, probetest.Measure(t, probetest.Build(t, net, probetest.Object{"kind": "stable-rank"}), e), 1e-6, "stable rank")
}

func TestSteppers(t *testing.T) {
	net := probetest.Network(t, 2, 1, 1)
	var v [1]float32
	accuracy := probetest.Build(t, net, probetest.Object{"kind": "online-accuracy"}).(probe.Stepper)
	accuracy.Step(&learner.Step{Correct: []float32{1, 0, 0, 1, 1, 1, 1, 1}}, v[:])
	require.Equal(t, float32(0.75), v[0])
	probetest.Build(t, net, probetest.Object{"kind": "loss"}).(probe.Stepper).Step(&learner.Step{Loss: 0.25}, v[:])
	require.Equal(t, float32(0.25), v[0])
}

func TestMistakesNameTheField(t *testing.T) {
	for _, c := range []struct {
		raw   probetest.Object
		field string
	}{
		{probetest.Object{"kind": "dormant-units", "tau": -0.1}, "probes[0].tau"},
		{probetest.Object{"kind": "dormant-units", "samples": 0.0}, "probes[0].samples"},
		{probetest.Object{"kind": "dead-units", "samples": 65537.0}, "probes[0].samples"},
		{probetest.Object{"kind": "effective-rank", "samples": -1.0}, "probes[0].samples"},
		{probetest.Object{"kind": "stable-rank", "samples": 0.0}, "probes[0].samples"},
		{probetest.Object{"kind": "srank99", "samples": 0.0}, "probes[0].samples"},
		{probetest.Object{"kind": "loss", "tau": 0.0}, "probes[0].tau"},
	} {
		_, _, err := probe.Resolve("probes[0]", c.raw)
		var fields []string
		for _, f := range component.FieldErrors(err) {
			fields = append(fields, f.Field)
		}
		require.Equal(t, []string{c.field}, fields, "%v", err)
	}
}
