package architecture

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

func TestFreezeHoldsLayersFromATaskOn(t *testing.T) {
	for _, test := range []struct {
		layers []any
		held   map[string]bool
	}{
		{[]any{"all-but-output"}, map[string]bool{"hidden1/weight": true, "hidden1/bias": true, "hidden2/weight": true, "hidden2/bias": true}},
		{[]any{"hidden2", "output"}, map[string]bool{"hidden2/weight": true, "hidden2/bias": true, "output/weight": true, "output/bias": true}},
	} {
		b := methodtest.New(t, 5, []any{6, 5}, "pytorch")
		m := b.Method(map[string]any{"kind": "freeze", "layers": test.layers, "from_task": 2.0})
		for task := range 4 {
			for _, p := range b.Net.Params() {
				require.False(t, p.Frozen)
				before := methodtest.Clone(p.Var.F32)
				prog := b.Update(p, m, map[string]any{"kind": "adamw", "lr": 0.1, "weight_decay": 0.1})
				for i := range prog.Input("g") {
					prog.Input("g")[i] = 1
				}
				prog.Run(0)
				if task >= 2 && test.held[p.Var.Name[len("net/"):]] {
					require.Equal(t, before, p.Var.F32, "%s in task %d", p.Var.Name, task)
				} else {
					require.NotEqual(t, before, p.Var.F32, "%s in task %d", p.Var.Name, task)
				}
			}
			require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: task}))
		}
	}
}

func TestFreezeFromTheStartTakesLayersOutOfTraining(t *testing.T) {
	b := methodtest.New(t, 5, []any{6, 5}, "pytorch")
	b.Method(map[string]any{"kind": "freeze"})
	for _, p := range b.Net.Params() {
		require.Equal(t, p.Layer != "output", p.Frozen, p.Var.Name)
	}
	r, err := method.Resolve("methods[0]", map[string]any{"kind": "freeze", "layers": []any{"hidden3"}})
	require.NoError(t, err)
	_, err = r.Build(b.Env("freeze2"))
	require.ErrorContains(t, err, `methods[0].layers: the network has no layer "hidden3", did you mean "hidden1"? (have: hidden1, hidden2, output)`)
}
