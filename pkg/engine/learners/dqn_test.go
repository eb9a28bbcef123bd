package learners_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
)

type object = map[string]any

type table struct{ rows [][]float64 }

func (t *table) Rows(engine.Rows) error { return nil }
func (t *table) Boundary(b engine.Boundary) error {
	t.rows = append(t.rows, append([]float64(nil), b.Table...))
	return nil
}

// The shortest ways of a 4×4 world are known: from a random cell to the goal
// they take 1 to 6 moves, so that with a cost of 0.1 a move the best mean return
// lies between 0.4 and 0.9, and a random walk, cut off after 40 moves, far
// below. Every task has a goal of its own, so the way is found anew. A learner
// whose targets ignore what follows never gets there.
func TestDQNFindsTheWay(t *testing.T) {
	run := func(learner object) []float64 {
		l := object{
			"kind": "dqn", "warm_up": 100.0, "epsilon_steps": 2000.0, "replay_ratio": 1.0, "gamma": 0.9, "target_period": 50.0,
			"network":   object{"kind": "mlp", "hidden": []any{32.0}},
			"optimizer": object{"kind": "adam", "lr": 0.003},
		}
		for k, v := range learner {
			l[k] = v
		}
		spec, err := engine.Resolve(engine.RawSpec{
			Environment: object{"kind": "gridworld", "tasks": 4.0, "steps_per_task": 1000.0, "size": 4.0, "limit": 40.0, "cost": 0.1},
			Learner:     l,
			Probes:      []map[string]any{{"kind": "episode-return", "reduce": "last", "window": 50.0}},
		})
		require.NoError(t, err)
		life, err := engine.New(spec, engine.Env{Seed: 3})
		require.NoError(t, err)
		var got table
		require.NoError(t, life.Advance(context.Background(), spec.Steps(), &got))
		var returns []float64
		for _, r := range got.rows {
			returns = append(returns, r[0])
		}
		return returns
	}
	for name, learner := range map[string]object{"plain": {}, "double": {"double": true}} {
		returns := run(learner)
		require.Greater(t, returns[len(returns)-1], 0.3, "%s: %v", name, returns)
	}
	blind := run(object{"gamma": 0.0})
	require.Less(t, blind[len(blind)-1], 0.0, "without later rewards there is no way: %v", blind)
}
