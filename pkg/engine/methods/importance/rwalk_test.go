package importance

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

// TestRWalkAgainstItsFormulas computes all weights' lives in float64.
func TestRWalkAgainstItsFormulas(t *testing.T) {
	const lr, mu, lambda, decay, period, epsilon, steps = 0.05, 0.9, 0.2, 0.75, 3, 0.01, 7
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	m := b.Method(map[string]any{"kind": "rwalk", "lambda": lambda, "decay": decay, "period": 3.0, "epsilon": epsilon})
	var programs []*graph.Program
	type weight struct{ w, v, f, path, since, score, scores, omega, anchor float64 }
	var want [][]weight
	for _, p := range b.Net.Params() {
		programs = append(programs, b.Update(p, m, map[string]any{"kind": "momentum", "lr": lr, "momentum": mu}))
		var ws []weight
		for _, w := range p.Var.F32 {
			ws = append(ws, weight{w: float64(w), since: float64(w)})
		}
		want = append(want, ws)
	}
	each := func(f func(o *weight)) {
		for k := range want {
			for i := range want[k] {
				f(&want[k][i])
			}
		}
	}
	uphill := 0
	for task := range 3 {
		for step := range steps {
			for k, prog := range programs {
				g := prog.Input("g")
				for i := range g {
					g[i] = float32(math.Sin(0.7*float64(steps*task+step) + 3*float64(i) + float64(k)))
					o := &want[k][i]
					gradient := float64(g[i])
					o.f = decay*o.f + (1-decay)*gradient*gradient
					o.v = mu*o.v + gradient + 2*lambda*o.omega*(o.w-o.anchor)
					o.path -= gradient * (-lr * o.v)
					o.w -= lr * o.v
				}
				prog.Run(uint64(step))
			}
			last := step == steps-1
			require.NoError(t, m.(method.AfterStep).AfterStep(&learner.Step{Task: task, TaskStep: int64(step), LastStep: last}))
			if (step+1)%period == 0 || last {
				each(func(o *weight) {
					if o.path < 0 {
						uphill++
					}
					o.score += math.Max(0, o.path/(0.5*o.f*(o.w-o.since)*(o.w-o.since)+epsilon))
					o.path, o.since = 0, o.w
				})
			}
		}
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: task}))
		loF, hiF, loS, hiS := math.Inf(1), 0.0, math.Inf(1), 0.0
		each(func(o *weight) {
			if task > 0 {
				o.score = (o.scores + o.score) / 2
			}
			o.scores, o.score, o.anchor = o.score, 0, o.w
			loF, hiF = math.Min(loF, o.f), math.Max(hiF, o.f)
			loS, hiS = math.Min(loS, o.scores), math.Max(hiS, o.scores)
		})
		each(func(o *weight) { o.omega = (o.f-loF)/(hiF-loF) + (o.scores-loS)/(hiS-loS) })
		for k, p := range b.Net.Params() {
			for i, w := range p.Var.F32 {
				require.InDelta(t, want[k][i].w, w, 1e-4, "task %d: %s[%d]", task, p.Var.Name, i)
				require.InDelta(t, want[k][i].omega, m.(*rwalk).omega[p].F32[i], 1e-3, "task %d: importance of %s[%d]", task, p.Var.Name, i)
			}
		}
	}
	require.Positive(t, uphill)
}
