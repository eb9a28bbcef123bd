package methods_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/safetensors"
)

type discard struct{}

func (discard) Rows(engine.Rows) error         { return nil }
func (discard) Boundary(engine.Boundary) error { return nil }

// live runs a small regression life and returns its state by variable name.
func live(t *testing.T, optimizer map[string]any, methods ...any) map[string][]byte {
	spec, err := engine.Resolve(engine.RawSpec{
		Stream: map[string]any{"kind": "bit-flip-regression", "tasks": 4.0, "examples_per_task": 200.0, "batch": 2.0},
		Learner: map[string]any{
			"network":   map[string]any{"kind": "mlp", "hidden": []any{9.0, 6.0}},
			"optimizer": optimizer,
			"methods":   methods,
		},
	})
	require.NoError(t, err)
	l, err := engine.New(spec, engine.Env{Seed: 3})
	require.NoError(t, err)
	require.NoError(t, l.Advance(t.Context(), spec.Steps(), discard{}))
	var buf bytes.Buffer
	require.NoError(t, l.Save(&buf))
	f, err := safetensors.Decode(buf.Bytes())
	require.NoError(t, err)
	state := map[string][]byte{}
	for _, v := range f.Tensors {
		state[v.Name] = v.Data
	}
	return state
}

// A method at an inert setting leaves the plain learner's bits alone; at any
// other it does not.
func TestInertSettingsEqualThePlainLearner(t *testing.T) {
	for _, optimizer := range []map[string]any{{"kind": "sgd"}, {"kind": "momentum"}, {"kind": "adam"}, {"kind": "adamw"}} {
		plain := live(t, optimizer)
		for name, tc := range map[string]struct{ inert, active map[string]any }{
			"continual-backprop": {
				map[string]any{"replacement_rate": 0.0, "maturity": 0.0},
				map[string]any{"replacement_rate": 0.01, "maturity": 10.0},
			},
			"redo": { // no check falls within the life
				map[string]any{"period": 401.0, "threshold": 1e6},
				map[string]any{"period": 100.0, "threshold": 1.0},
			},
			"l2":      {map[string]any{"lambda": 0.0}, map[string]any{"lambda": 1e-3}},
			"l2-init": {map[string]any{"lambda": 0.0}, map[string]any{"lambda": 1e-3}},
			"shrink-and-perturb lop": {
				map[string]any{"shrink": 0.0, "sigma": 0.0}, map[string]any{},
			},
			"shrink-and-perturb upgd": {
				map[string]any{"shrink": 0.0, "sigma": 0.0}, map[string]any{"sigma": 0.01},
			},
			"shrink-and-perturb kumar": {
				map[string]any{"shrink": 0.0, "sigma": 0.0}, map[string]any{},
			},
			"shrink-and-perturb ash-adams": {
				map[string]any{"shrink": 0.0, "sigma": 0.0}, map[string]any{},
			},
		} {
			t.Run(optimizer["kind"].(string)+" "+name, func(t *testing.T) {
				kind, variant, _ := strings.Cut(name, " ")
				run := func(m map[string]any) map[string][]byte {
					m["kind"] = kind
					if variant != "" {
						m["variant"] = variant
					}
					return live(t, optimizer, m)
				}
				inert, active := run(tc.inert), run(tc.active)
				same := true
				for v, data := range plain {
					if strings.HasPrefix(v, "net/") {
						require.Equal(t, data, inert[v], v)
						same = same && bytes.Equal(data, active[v])
					}
				}
				require.False(t, same, "the active setting must change something")
			})
		}
	}
}
