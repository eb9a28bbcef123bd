package architecture_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
)

// TestSHARPFrozenUnitsStayWhatTheyAre compares units' values, bit by bit.
func TestSHARPFrozenUnitsStayWhatTheyAre(t *testing.T) {
	for _, rewire := range []bool{true, false} {
		l := newLearner(t, heads, object{"kind": "mlp", "hidden": []any{60.0, 60.0, 60.0}}, object{"kind": "adamw", "lr": 0.01, "weight_decay": 0.1}, object{
			"kind": "sharp", "phases": 4.0, "annealing": 4.0, "least": 0.7, "stored": 5.0, "replay": 8.0, "neighbors": 3.0, "rewire": rewire,
		})
		type kept struct {
			layer, unit int
			value       []float32
		}
		values := func(layer, unit int) (v []float32) {
			e, err := l.Evaluate(examples(heads, 0, 1000))
			require.NoError(t, err)
			n := len(e.Features[layer]) / e.N
			for i := range e.N {
				v = append(v, e.Features[layer][i*n+unit])
			}
			return v
		}
		var frozen []kept
		changed, layers := 0, map[int]int{}
		for task := range heads.Tasks {
			learn(t, l, heads, task)
			if _, accuracy := answers(t, l, heads, task); rewire && task < 2 {
				require.Greater(t, accuracy, 0.8, "task %d", task)
			}
			for _, k := range frozen {
				now := values(k.layer, k.unit)
				if rewire {
					require.Equal(t, k.value, now, "layer %d, unit %d", k.layer, k.unit)
				} else if differ(k.value, now) {
					changed++
				}
			}
			frozen = nil
			for i, name := range []string{"hidden1", "hidden2", "hidden3"} {
				for u, age := range variable(l, "method/sharp/age/"+name) {
					if age >= 3 || i == 0 && age == 2 {
						frozen = append(frozen, kept{i, u, values(i, u)})
						layers[i]++
					}
				}
			}
		}
		require.Len(t, layers, 3, "units of every layer have been frozen")
		require.Equal(t, rewire, changed == 0, "without rewiring they read units that change")
	}
}

func differ(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return true
		}
	}
	return false
}

func variable(l learner.Learner, name string) []int32 { return l.Store().Lookup(name).I32 }
