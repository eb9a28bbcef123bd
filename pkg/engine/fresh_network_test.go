package engine_test

import (
	"context"
	"encoding/binary"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/safetensors"
)

// state returns all variables of a checkpoint.
func state(t *testing.T, l *engine.Life) map[string]string {
	t.Helper()
	f, err := safetensors.Decode(save(t, l))
	require.NoError(t, err)
	s := map[string]string{}
	for _, x := range f.Tensors {
		s[x.Name] = string(x.Data)
	}
	return s
}

// A reborn learner is at the start of a life: what was not drawn is what it was
// at step 0, and what was drawn comes from the network's initialiser.
func TestFreshNetworkStartsLivesAnew(t *testing.T) {
	spec := resolve(t, engine.RawSpec{
		Stream: object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 24.0, "batch": 2.0},
		Learner: object{
			"network":   object{"kind": "mlp", "hidden": []any{7.0, 5.0}, "init": "orthogonal"},
			"optimizer": object{"kind": "adam", "lr": 0.01},
			"methods": []any{
				object{"kind": "l2-init"}, object{"kind": "fresh-network"}, object{"kind": "ewc", "samples": 12.0},
				object{"kind": "synaptic-intelligence"}, object{"kind": "input-normalizer"},
				object{"kind": "continual-backprop", "replacement_rate": 0.05, "maturity": 4.0},
			},
		},
		Probes: []map[string]any{{"kind": "loss"}},
	})
	l := newLife(t, spec, 1)
	start := state(t, l)
	drawn := func(name string) bool {
		return strings.HasSuffix(name, "/weight") && !strings.Contains(name, "fisher") && !strings.Contains(name, "optimizer/")
	}
	before := start
	weights := map[string]bool{start["net/hidden2/weight"]: true}
	for task := range int64(2) {
		require.NoError(t, l.Advance(context.Background(), 12*task+11, newRecord()))
		moved := 0
		for name, v := range state(t, l) {
			if v != before[name] {
				moved++
			}
		}
		require.Greater(t, moved, 40, "optimiser and methods remember")
		require.NoError(t, l.Advance(context.Background(), 12*task+12, newRecord()))
		now := state(t, l)
		require.Equal(t, slicesOf(maps.Keys(start)), slicesOf(maps.Keys(now)))
		for name, v := range now {
			switch {
			case strings.HasPrefix(name, "life/") || strings.HasPrefix(name, "probe/"):
			case drawn(name) && strings.Contains(name, "net/"):
				if strings.HasPrefix(name, "initial/") || strings.Contains(name, "synaptic-intelligence/anchor/") {
					require.Equal(t, now[name[strings.Index(name, "net/"):]], v, "%s is the weight at birth", name)
				}
			default:
				require.Equal(t, start[name], v, "%s after task %d", name, task)
			}
		}
		w := now["net/hidden2/weight"]
		require.False(t, weights[w], "every life draws anew")
		weights[w] = true
		requireOrthonormalColumns(t, w, 7, 5)
		before = now
	}
}

func slicesOf(names func(func(string) bool)) map[string]bool {
	all := map[string]bool{}
	for n := range names {
		all[n] = true
	}
	return all
}

// requireOrthonormalColumns holds up to the activation's gain.
func requireOrthonormalColumns(t *testing.T, data string, rows, cols int) {
	t.Helper()
	at := func(i, j int) float64 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32([]byte(data[4*(i*cols+j):]))))
	}
	var first float64
	for a := range cols {
		for b := range cols {
			dot := 0.0
			for i := range rows {
				dot += at(i, a) * at(i, b)
			}
			switch {
			case a != b:
				require.InDelta(t, 0, dot, 1e-5)
			case a == 0:
				first = dot
				require.Greater(t, dot, 0.5)
			default:
				require.InDelta(t, first, dot, 1e-5)
			}
		}
	}
}

// What a kind of learner remembers beside its network is made anew, too; the world
// goes on.
func TestFreshNetworkStartsALearnerInAnEnvironmentAnew(t *testing.T) {
	raw := engine.RawSpec{
		Learner: object{
			"network": object{"kind": "mlp", "hidden": []any{4.0}}, "optimizer": object{"kind": "adam"},
			"methods": []any{object{"kind": "fresh-network"}},
		},
		Probes: []map[string]any{{"kind": "episode-return"}},
	}
	world(&raw)
	spec := resolve(t, raw)
	l := newLife(t, spec, 1)
	start := state(t, l)
	require.NoError(t, l.Advance(context.Background(), spec.StepsPerTask()-1, newRecord()))
	var remembered []string
	for name, v := range state(t, l) {
		if strings.HasPrefix(name, "learner/") && v != start[name] {
			remembered = append(remembered, name)
		}
	}
	require.Contains(t, remembered, "learner/observations")
	require.NoError(t, l.Advance(context.Background(), spec.StepsPerTask(), newRecord()))
	now := state(t, l)
	for _, name := range remembered {
		require.Equal(t, start[name], now[name], name)
	}
	require.NotEqual(t, start["net/output/weight"], now["net/output/weight"], "another seed")
	require.Equal(t, now["net/output/weight"], now["shadow/target/net/output/weight"], "the target network is the newborn's")
	require.NoError(t, l.Advance(context.Background(), spec.Steps(), newRecord()))
}
