package engine_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
)

// TestAccuracyMatrixOfALife holds what the accuracy probes say of one life at
// different moments against each other: rows of the matrix are measured in one
// life at the ends of tasks, in another at their starts, where the first is the
// baseline of forward transfer.
func TestAccuracyMatrixOfALife(t *testing.T) {
	const tasks, watched = 4, 5
	run := func(at string) map[string][]point {
		spec := resolve(t, engine.RawSpec{
			Stream: object{"kind": "permuted", "tasks": float64(tasks), "examples_per_task": 300.0, "batch": 10.0},
			Learner: object{
				"network":   object{"kind": "mlp", "hidden": []any{20.0}},
				"optimizer": object{"kind": "adam", "lr": 0.01},
			},
			Probes: []map[string]any{
				{"kind": "accuracy-matrix", "tasks": float64(watched), "samples": 200.0, "at": at},
				{"kind": "test-accuracy", "samples": 200.0, "at": at},
				{"kind": "seen-class-accuracy", "samples": 200.0, "at": at},
			},
		})
		return live(t, spec, 3).rows
	}
	end, start := run("end"), run("start")
	value := func(rows map[string][]point, name string, task int) float64 {
		require.Len(t, rows[name], tasks, name)
		return float64(math.Float32frombits(rows[name][task].bits))
	}
	column := func(j int) string { return "task_accuracy/task" + string(rune('0'+j)) }
	r := func(i, j int) float64 { return value(end, column(j), i) }
	baseline := func(j int) float64 { return value(start, column(j), 0) }

	transfer, all, taught := 0.0, 0.0, false
	for i := range tasks {
		for j := range watched {
			if i+1 < tasks {
				require.Equal(t, r(i, j), value(start, column(j), i+1), "before a task the learner is what the last one made of it")
			}
		}
		require.Equal(t, r(i, i), value(end, "test_accuracy", i))
		require.InDelta(t, value(end, "average_accuracy", i), value(end, "seen_class_accuracy", i), 1e-6, "tasks have equally many examples")
		all += r(tasks-1, i)
		if i > 0 {
			transfer += r(i-1, i) - baseline(i)
			require.InDelta(t, transfer/float64(i), value(end, "forward_transfer", i), 1e-6)
			taught = taught || r(i-1, i) != r(i, i)
		}
	}
	require.True(t, taught, "no task taught anything")
	require.InDelta(t, all/tasks, value(end, "average_accuracy", tasks-1), 1e-6)
}

// TestProbesLeaveNoTrace holds lives under the eyes of every probe against one
// that is not read: some probes train the network, and put it back.
// A stream that comes back to its first task has no more tasks to watch.
func TestAccuracyMatrixWatchesNoTaskTwice(t *testing.T) {
	columns := func(stream object, watched float64) int {
		spec := resolve(t, engine.RawSpec{
			Stream:  stream,
			Learner: object{"network": object{"kind": "mlp", "hidden": []any{4.0}}, "optimizer": object{"kind": "sgd", "lr": 0.01}},
			Probes:  []map[string]any{{"kind": "accuracy-matrix", "tasks": watched, "samples": 20.0}},
		})
		n := 0
		for name := range live(t, spec, 3).rows {
			if strings.HasPrefix(name, "task_accuracy/") {
				n++
			}
		}
		return n
	}
	split := object{"kind": "split", "tasks": 3.0, "examples_per_class": 10.0, "batch": 10.0}
	require.Equal(t, 5, columns(split, 10))
	require.Equal(t, 4, columns(split, 4))
	require.Equal(t, 5, columns(object{"kind": "noise", "of": split, "tasks": 3.0}, 10))
	require.Equal(t, 10, columns(object{"kind": "permuted", "tasks": 3.0, "examples_per_task": 10.0, "batch": 10.0}, 10))
}

func TestProbesLeaveNoTrace(t *testing.T) {
	run := func(probes ...map[string]any) map[string][]byte {
		spec := resolve(t, engine.RawSpec{
			Stream: object{"kind": "permuted", "tasks": 2.0, "examples_per_task": 24.0, "batch": 2.0},
			Learner: object{
				"network":   object{"kind": "mlp", "hidden": []any{7.0, 5.0}, "norm": "batch"},
				"optimizer": object{"kind": "adam", "lr": 0.01},
			},
			Probes: append(probes, object{"kind": "loss"}),
		})
		l := newLife(t, spec, 1)
		require.NoError(t, l.Advance(context.Background(), spec.Steps(), discard{}))
		return weights(t, l)
	}
	plain := run()
	for _, doc := range component.All() {
		if doc.Kind == "probe" && doc.Name != "loss" && !slices.Contains(doc.Needs, component.Environment) {
			p := object{"kind": doc.Name, "every": 5.0}
			limitSamples(doc, p)
			require.Equal(t, plain, run(p), doc.Name)
		}
	}
}
