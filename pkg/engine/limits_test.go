package engine_test

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

func TestTooLargeSpecsNameTheField(t *testing.T) {
	for name, c := range map[string]struct {
		batch     any
		hidden    []any
		optimizer string
		probes    []map[string]any
		want      []string // field: problem, by substrings
	}{
		"batch 0":            {batch: 0.0, want: []string{"stream.batch: must be between 1 and 65536, is 0"}},
		"a negative batch":   {batch: -8.0, want: []string{"stream.batch: must be between 1"}},
		"a huge batch":       {batch: 1e9, want: []string{"stream.batch: must be between 1"}},
		"half an example":    {batch: 0.5, want: []string{"stream.batch: "}},
		"beyond int64":       {batch: 1e300, want: []string{"stream.batch: "}},
		"10^9 hidden units":  {hidden: []any{1e9}, want: []string{"learner.network.hidden[0]: must be between 1 and 1048576 units, is 1000000000"}},
		"no hidden units":    {hidden: []any{10.0, 0.0}, want: []string{"learner.network.hidden[1]: must be between 1"}},
		"too many layers":    {hidden: slices.Repeat([]any{1.0}, 65), want: []string{"learner.network.hidden: has 65 layers"}},
		"too many weights":   {hidden: []any{1e6, 1e6}, want: []string{"learner.network: has 1000023000001 parameters, at most 1073741824"}},
		"weights for Adam":   {hidden: []any{30000.0, 25000.0}, optimizer: "adam", want: []string{"learner.network: with 750680001 parameters takes 11.2 GiB to train with adam, at most 8.0 GiB"}},
		"the same for SGD":   {hidden: []any{30000.0, 25000.0}},
		"batch × width":      {batch: 60000.0, hidden: []any{20000.0}, want: []string{"stream.batch: 60000 examples in a layer of 20000 units are more than 1073741824 elements"}},
		"batch × widths":     {batch: 60000.0, hidden: slices.Repeat([]any{1024.0}, 20), want: []string{"stream.batch: with 60000 examples at once the run takes 9.3 GiB"}},
		"samples × width":    {hidden: []any{20000.0}, probes: []map[string]any{{"kind": "loss"}, {"kind": "dead-units", "samples": 60000.0}}, want: []string{"probes[1].samples: 60000 examples in a layer of 20000 units"}},
		"samples 0":          {probes: []map[string]any{{"kind": "srank99", "samples": 0.0}}, want: []string{"probes[0].samples: must be between 1 and 65536, is 0"}},
		"huge samples":       {probes: []map[string]any{{"kind": "srank99", "samples": 1e9}}, want: []string{"probes[0].samples: must be between 1"}},
		"shared evaluations": {hidden: []any{16000.0}, probes: []map[string]any{{"kind": "dead-units", "samples": 60000.0}, {"kind": "srank99", "samples": 60000.0}}},
		"many evaluations": {hidden: []any{16000.0}, probes: []map[string]any{
			{"kind": "dead-units", "samples": 60000.0}, {"kind": "srank99", "samples": 60000.0}, {"kind": "dormant-units", "samples": 60001.0},
			{"kind": "effective-rank", "samples": 50000.0}, {"kind": "stable-rank", "samples": 100.0},
		}, want: []string{"probes[3].samples: with 50000 examples at once the run takes 10.1 GiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			raw := engine.RawSpec{
				Stream:  object{"kind": "bit-flip-regression", "examples_per_task": 300000.0},
				Learner: object{"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"}},
				Probes:  c.probes,
			}
			if c.batch != nil {
				raw.Stream["batch"] = c.batch
			}
			if c.hidden != nil {
				raw.Learner["network"] = object{"kind": "mlp", "hidden": c.hidden}
			}
			if c.optimizer != "" {
				raw.Learner["optimizer"] = object{"kind": c.optimizer}
			}
			_, err := engine.Resolve(raw)
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.Len(t, component.FieldErrors(err), len(c.want), "%v", err)
			for _, w := range c.want {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

func TestTooLargeLearnersOfCallers(t *testing.T) {
	learner := object{"network": object{"kind": "mlp", "hidden": []any{1000.0}}, "optimizer": object{"kind": "sgd"}}
	_, err := engine.NewLearner(learner, stream.Info{Input: tensor.Shape{10}, Classes: 10, Batch: 1 << 21}, 0)
	require.ErrorContains(t, err, "info.Batch: 2097152 examples in a layer of 1000 units")
	_, err = engine.NewLearner(learner, stream.Info{Input: tensor.Shape{math.MaxInt, math.MaxInt}, Classes: 10, Batch: 1}, 0)
	require.ErrorContains(t, err, "info.Input: ")
}

// TestAnySizesResolveOrFail draws sizes of all magnitudes: no panic, no
// allocation to speak of, an error that is a field's, and no spec above the
// limit.
func TestAnySizesResolveOrFail(t *testing.T) {
	size := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "sort") {
		case 0:
			return float64(rapid.IntRange(-2, 70000).Draw(t, "n"))
		case 1:
			return float64(rapid.Int64().Draw(t, "n"))
		case 2:
			return rapid.Float64().Draw(t, "x")
		}
		return math.Exp2(float64(rapid.IntRange(0, 64).Draw(t, "exponent")))
	})
	rapid.Check(t, func(t *rapid.T) {
		var hidden []any
		for range rapid.IntRange(0, 5).Draw(t, "layers") {
			hidden = append(hidden, size.Draw(t, "units"))
		}
		raw := engine.RawSpec{
			Stream:  object{"kind": "permuted", "batch": size.Draw(t, "batch")},
			Learner: object{"network": object{"kind": "mlp", "hidden": hidden}, "optimizer": object{"kind": rapid.SampledFrom([]string{"sgd", "momentum", "adam", "adamw"}).Draw(t, "optimizer")}},
		}
		if hidden == nil {
			raw.Learner["network"] = object{"kind": "mlp", "hidden": []any{}}
		}
		for _, name := range []string{"tasks", "examples_per_task", "subset"} {
			if rapid.Bool().Draw(t, name+" given") {
				raw.Stream[name] = size.Draw(t, name)
			}
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "probes") {
			raw.Probes = append(raw.Probes, map[string]any{"kind": "dead-units", "as": fmt.Sprintf("dead_%d", i), "samples": size.Draw(t, "samples")})
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		spec, err := engine.Resolve(raw)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Fatalf("%d bytes were allocated", used)
		}
		if err != nil {
			fields := component.FieldErrors(err)
			if len(fields) == 0 {
				t.Fatalf("no field is named: %v", err)
			}
			for _, f := range fields {
				if !strings.HasPrefix(f.Field, "stream.") && !strings.HasPrefix(f.Field, "learner.network") && !strings.HasPrefix(f.Field, "probes[") {
					t.Fatalf("field %q: %s", f.Field, f.Problem)
				}
			}
			return
		}
		if spec.Steps() < 1 || spec.Steps() > stream.MaxSteps {
			t.Fatalf("%d steps", spec.Steps())
		}
		weights, in := 0.0, 784.0
		for _, n := range append(hidden, 10.0) {
			weights += (in + 1) * n.(float64)
			in = n.(float64)
		}
		if 8*weights > engine.MaxBytes {
			t.Fatalf("%v parameters", weights)
		}
	})
}
