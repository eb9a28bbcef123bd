package replay

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

// TestRehearsalFollowsItsSchedule counts the tasks of what is rehearsed, and
// checks the gradient that comes of it.
func TestRehearsalFollowsItsSchedule(t *testing.T) {
	const alpha, perTask, shown, rehearsed, steps = 1.5, 6, 20, 4, 1500
	for schedule, weight := range map[string]func(ago float64) float64{
		"power-law":   func(ago float64) float64 { return math.Pow(ago, -alpha) },
		"exponential": func(ago float64) float64 { return math.Exp(-alpha * ago) },
		"uniform":     func(float64) float64 { return 1 },
		"latest": func(ago float64) float64 {
			if ago > 1 {
				return 0
			}
			return 1
		},
	} {
		b := methodtest.New(t, 5, []any{6}, "pytorch")
		b.Classes = 3
		m := b.Method(map[string]any{
			"kind": "power-law-rehearsal", "schedule": schedule, "exponent": alpha, "batch": float64(rehearsed), "per_task": float64(perTask), "tasks": 3.0,
		}).(*powerLaw)
		g := b.SecondGradient(m)
		for task := range 5 { // more than can be rehearsed
			if task == 0 {
				gradients := [][]float32{{1}}
				require.NoError(t, m.AfterBackward(&learner.Step{Batch: b.BatchNumber(1, 0, func(int) int { return 0 })}, gradients))
				require.Equal(t, [][]float32{{1}}, gradients, "there is nothing to rehearse in the first task")
			}
			b.See(m, b.BatchNumber(shown, shown*task, func(i int) int { return i % 3 }), int64(task), task, nil)
		}
		const now = 5
		var count [now + 1]float64
		var total, examples float64
		seen := map[float32]bool{}
		for step := range steps {
			s := &learner.Step{Index: int64(1000 + step), Task: now, Batch: b.BatchNumber(12, 1000, func(int) int { return 0 })}
			gradients := make([][]float32, len(b.Net.Params()))
			for k, p := range b.Net.Params() {
				gradients[k] = make([]float32, p.Var.Len())
				for i := range gradients[k] {
					gradients[k][i] = 2
				}
			}
			require.NoError(t, m.AfterBackward(s, gradients))
			for i := range rehearsed {
				x := m.batch.X[4*i]
				count[now-int(x)/shown]++
				require.EqualValues(t, int(x)%3, m.batch.Labels[i])
				seen[x] = true
				examples++
			}
			if step == 0 {
				for k, of := range g.Out {
					for i, v := range of {
						require.InDelta(t, (12*2+rehearsed*float64(v))/(12+rehearsed), gradients[k][i], 1e-5)
					}
				}
			}
		}
		for ago := 1; ago <= 3; ago++ {
			total += weight(float64(ago))
		}
		for ago := 1; ago <= 3; ago++ {
			p := weight(float64(ago)) / total
			require.InDelta(t, p, count[ago]/examples, 4*math.Sqrt(p*(1-p)/examples)+1e-12, "%s: %d tasks ago", schedule, ago)
		}
		require.Zero(t, count[4]+count[5], "tasks that are no longer held")
		held := 3
		if schedule == "latest" {
			held = 1
		}
		require.Len(t, seen, held*perTask, "every example that is held is rehearsed")
	}
}
