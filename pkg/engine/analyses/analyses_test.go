package analyses_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/safetensors"
)

type object = map[string]any

func ints(name string, values ...int32) safetensors.Tensor {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
	return safetensors.Tensor{Name: name, DType: "I32", Shape: []int{len(values)}, Data: b}
}

func file(t *testing.T, tensors ...safetensors.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, safetensors.Encode(&b, &safetensors.File{Tensors: tensors}))
	return b.Bytes()
}

func run(t *testing.T, spec object, inputs map[string][]analysis.Given) (*analysis.Result, error) {
	t.Helper()
	r, err := analysis.Resolve("analyses.x", spec)
	require.NoError(t, err)
	return r.Run(analysis.Env{Context: context.Background(), Inputs: inputs})
}

// Counts of six examples and three seeds, worked out by hand. Example 5 was never
// learned by the second seed.
func TestForgettingScores(t *testing.T) {
	counts := func(seed uint32, learned []int32, events ...int32) analysis.Given {
		return analysis.Given{Seed: seed, File: file(t, ints("events", events...), ints("first_learned", learned...))}
	}
	all := []int32{0, 0, 3, 0, 1, 9}
	in := map[string][]analysis.Given{"counts": {
		counts(0, all, 0, 2, 1, 0, 5, 3),
		counts(1, []int32{0, 0, 3, 0, 1, -1}, 0, 3, 0, 0, 4, 0),
		counts(2, all, 0, 1, 2, 0, 3, 4),
	}}
	r, err := run(t, object{"kind": "forgetting-scores"}, in)
	require.NoError(t, err)
	require.InDelta(t, 2.0/6, r.Metrics["never_forgotten"], 1e-15)
	require.InDelta(t, 1.0/6, r.Metrics["never_learned"], 1e-15)
	// Spearman's formula, over the ranks as one writes them down.
	ranks := [][]float64{{1.5, 4, 3, 1.5, 6, 5}, {2, 4, 2, 2, 5, 6}, {1.5, 3, 4, 1.5, 5, 6}}
	dot := func(a, b []float64) (s float64) {
		for i := range a {
			s += (a[i] - 3.5) * (b[i] - 3.5)
		}
		return s
	}
	want := 0.0
	for _, p := range [][2]int{{0, 1}, {0, 2}, {1, 2}} {
		a, b := ranks[p[0]], ranks[p[1]]
		want += dot(a, b) / math.Sqrt(dot(a, a)*dot(b, b)) / 3
	}
	require.InDelta(t, want, r.Metrics["rank_correlation"], 1e-14)
	require.Greater(t, want, 0.7)

	f, err := safetensors.Decode(r.Artifacts["ranking"])
	require.NoError(t, err)
	data := map[string][]byte{}
	for _, x := range f.Tensors {
		data[x.Name] = x.Data
	}
	require.Equal(t, ints("ranking", 0, 3, 2, 1, 4, 5).Data, data["ranking"])
	for i, want := range []float32{0, 6, 3, 0, 12, float32(math.Inf(1))} {
		require.Equal(t, want, math.Float32frombits(binary.LittleEndian.Uint32(data["events"][4*i:])))
	}

	one, err := run(t, object{"kind": "forgetting-scores"}, map[string][]analysis.Given{"counts": in["counts"][:1]})
	require.NoError(t, err)
	require.True(t, math.IsNaN(one.Metrics["rank_correlation"]))
	in["counts"][1].File = file(t, ints("events", 1), ints("first_learned", 0))
	_, err = run(t, object{"kind": "forgetting-scores"}, in)
	require.ErrorContains(t, err, "counts of seed 1: 1 examples, those of another 6")
	in["counts"][1].File = file(t, ints("events", 1))
	_, err = run(t, object{"kind": "forgetting-scores"}, in)
	require.ErrorContains(t, err, "no tensor first_learned")
}

// Sums of six examples by two networks; the formula is that for ranks without ties,
// 1 − 6·Σd²/(n(n²−1)), and over ranks written down where there are some.
func TestForgettingAgreement(t *testing.T) {
	sums := func(events ...float32) []analysis.Given {
		b := make([]byte, 4*len(events))
		for i, v := range events {
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
		}
		return []analysis.Given{{File: file(t, safetensors.Tensor{Name: "events", DType: "F32", Shape: []int{len(events)}, Data: b})}}
	}
	agreement := object{"kind": "forgetting-agreement"}
	never := float32(math.Inf(1))
	r, err := run(t, agreement, map[string][]analysis.Given{"first": sums(0, 7, 3, 9, 1, never), "second": sums(1, 5, 8, 12, 0, 9)})
	require.NoError(t, err)
	// Ranks 1 4 3 5 2 6 and 2 3 4 6 1 5: every difference is 1.
	require.InDelta(t, 1-6*6.0/(6*35), r.Metrics["rank_correlation"], 1e-14)

	// Ranks 2 2 2 4.5 4.5 6 and 1.5 1.5 3 4 5 6.
	r, err = run(t, agreement, map[string][]analysis.Given{"first": sums(0, 0, 0, 2, 2, never), "second": sums(0, 0, 1, 2, 3, 4)})
	require.NoError(t, err)
	require.InDelta(t, 15/math.Sqrt(15*17), r.Metrics["rank_correlation"], 1e-14)

	_, err = run(t, agreement, map[string][]analysis.Given{"first": sums(0, 1), "second": sums(0)})
	require.ErrorContains(t, err, "the first has 2 examples, the second 1")
	_, err = run(t, agreement, map[string][]analysis.Given{"first": sums(0, 1), "second": {{File: file(t, ints("ranking", 0, 1))}}})
	require.ErrorContains(t, err, "second: the file has no tensor events")
}

// A linear network on a regression stream: its squared error along a line between
// two weights is a parabola that three of its points give.
func TestLinearModeConnectivity(t *testing.T) {
	raw := engine.RawSpec{
		Stream: object{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": 200.0},
		Learner: object{
			"network":   object{"kind": "mlp", "hidden": []any{}},
			"optimizer": object{"kind": "sgd", "lr": 0.01},
		},
	}
	spec, err := engine.Resolve(raw)
	require.NoError(t, err)
	given := func(seed uint32, steps int64) (analysis.Given, *engine.Life) {
		l, err := engine.New(spec, engine.Env{Seed: seed})
		require.NoError(t, err)
		require.NoError(t, l.Advance(context.Background(), steps, sink{}))
		b, err := l.Artifact(engine.Weights)
		require.NoError(t, err)
		canonical := object{}
		j, err := json.Marshal(spec.Canonical())
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(j, &canonical))
		return analysis.Given{Seed: seed, File: b, Spec: canonical}, l
	}
	first, _ := given(1, 300)
	second, _ := given(1, 20)
	in := map[string][]analysis.Given{"first": {first}, "second": {second}}
	const points = 11
	r, err := run(t, object{"kind": "linear-mode-connectivity", "points": float64(points), "examples": 50.0}, in)
	require.NoError(t, err)

	// The same with the ends and the middle evaluated here, in float64.
	probe, err := engine.New(spec, engine.Env{Seed: 1})
	require.NoError(t, err)
	weights := func(b []byte) map[string][]float64 {
		f, err := safetensors.Decode(b)
		require.NoError(t, err)
		out := map[string][]float64{}
		for _, x := range f.Tensors {
			for i := 0; i < len(x.Data); i += 4 {
				out[x.Name] = append(out[x.Name], float64(math.Float32frombits(binary.LittleEndian.Uint32(x.Data[i:]))))
			}
		}
		return out
	}
	one, two := weights(first.File), weights(second.File)
	var square float64
	for name := range one {
		for i, v := range one[name] {
			square += (v - two[name][i]) * (v - two[name][i])
		}
	}
	require.InDelta(t, math.Sqrt(square), r.Metrics["l2_distance"], 1e-9)
	loss := func(b []byte) float64 {
		require.NoError(t, probe.SetWeights(b))
		e, err := probe.Evaluate(0, 50)
		require.NoError(t, err)
		var sum float64
		for _, v := range e.Losses {
			sum += float64(v)
		}
		return sum / float64(e.N)
	}
	at1, at0 := loss(first.File), loss(second.File)
	require.InDelta(t, at1, r.Metrics["loss_first"], 1e-6)
	require.InDelta(t, at0, r.Metrics["loss_second"], 1e-6)
	// A parabola that opens upwards has no barrier beyond its ends.
	require.InDelta(t, max(at0, at1)-(at0+at1)/2, r.Metrics["loss_barrier"], 1e-6)
	require.True(t, math.IsNaN(r.Metrics["error_first"]))

	other, err := engine.Resolve(engine.RawSpec{Stream: raw.Stream, Learner: object{"network": object{"kind": "mlp", "hidden": []any{3.0}}, "optimizer": raw.Learner["optimizer"]}})
	require.NoError(t, err)
	l, err := engine.New(other, engine.Env{})
	require.NoError(t, err)
	b, err := l.Artifact(engine.Weights)
	require.NoError(t, err)
	in["second"][0].File = b
	_, err = run(t, object{"kind": "linear-mode-connectivity"}, in)
	require.ErrorContains(t, err, "networks of")
}

type sink struct{}

func (sink) Rows(engine.Rows) error         { return nil }
func (sink) Boundary(engine.Boundary) error { return nil }
