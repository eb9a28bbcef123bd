package accuracy

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
)

// TestAccuracyMatrix has a matrix of four rows on which the variants of the
// literature differ.
func TestAccuracyMatrix(t *testing.T) {
	nan := math.NaN()
	p := probetest.Build(t, nil, probetest.Object{"kind": "accuracy-matrix", "tasks": 3.0, "samples": 77.0})
	require.Equal(t, []probe.Column{
		{Metric: "average_accuracy"}, {Metric: "backward_transfer"}, {Metric: "forward_transfer"}, {Metric: "forgetting"}, {Metric: "one_step_backward_transfer"},
		{Metric: "task_accuracy", Layer: "task0"}, {Metric: "task_accuracy", Layer: "task1"}, {Metric: "task_accuracy", Layer: "task2"},
	}, p.Columns())
	e := &probetest.Exam{T: t, Asked: 77, Examples: []int{20, 20, 20}, Accuracy: []float64{0.1, 0.2, 0.1}}
	require.NoError(t, p.(probe.Beginner).Begin(e))

	for _, c := range []struct {
		now, learned                      int
		row                               []float64
		acc, bwt, fwt, forgetting, oneBWT float64
	}{
		{0, 0, []float64{0.1, 0.2, 0.1}, nan, nan, nan, nan, nan}, // at the start of task 0
		{0, 1, []float64{0.9, 0.2, 0.75}, 0.9, nan, nan, nan, nan},
		{1, 2, []float64{1.0, 0.1, 1.0}, 0.55, 0.1, 0, -0.1, 0.1}, // in the middle of task 1
		// After two tasks: R21 − R11 = −0.4; R12 − b2 = 0.
		{1, 2, []float64{0.5, 0.8, 0.2}, 0.65, -0.4, 0, 0.4, -0.4},
		// backward (−0.3 − 0.4)/2, where the mean over all pairs would be −1.1/3;
		// forward (0 + 0.1)/2, where that without b would be 0.2;
		// forgetting (0.9 − 0.6 + 0.8 − 0.4)/2; one step (−0.4 − 0.4)/2.
		{2, 3, []float64{0.6, 0.4, 0.7}, 1.7 / 3, -0.35, 0.05, 0.35, -0.4},
		// backward (0.05 − 0.5 − 0.2)/3; forgetting (−0.05 + 0.5 + 0.25)/3, task 3
		// having been best before it was learned; with the present row in the
		// maximum it would be 0.75/3, with rows from a task's own on 0.65/3.
		{3, 4, []float64{0.95, 0.3, 0.5}, 1.75 / 3, -0.65 / 3, 0.05, 0.7 / 3, -1.0 / 3},
		// The start of a fifth task adds no row.
		{4, 4, []float64{0.95, 0.3, 0.5}, 1.75 / 3, -0.65 / 3, 0.05, 0.7 / 3, -1.0 / 3},
	} {
		e.Task, e.Done, e.Accuracy = c.now, c.learned, c.row
		got := e.Sit(p)
		for i, want := range append([]float64{c.acc, c.bwt, c.fwt, c.forgetting, c.oneBWT}, c.row...) {
			if math.IsNaN(want) {
				require.True(t, math.IsNaN(float64(got[i])), "%+v: %s is %v", c, p.Columns()[i], got[i])
			} else {
				require.InDelta(t, want, float64(got[i]), 1e-7, "%+v: %s", c, p.Columns()[i])
			}
		}
	}
}

// Tasks that were over before the probe looked leave no terms behind.
func TestAccuracyMatrixWithHoles(t *testing.T) {
	p := probetest.Build(t, nil, probetest.Object{"kind": "accuracy-matrix", "tasks": 4.0, "samples": 1.0})
	e := &probetest.Exam{T: t, Asked: 1, Examples: []int{10, 10, 10, 10}, Accuracy: []float64{0, 0, 0.2, 0.1}}
	require.NoError(t, p.(probe.Beginner).Begin(e))
	e.Task, e.Done, e.Accuracy = 0, 1, []float64{0.9, 0, 0, 0}
	e.Sit(p)
	e.Task, e.Done, e.Accuracy = 2, 3, []float64{0.5, 0.7, 0.8, 0.6}
	got := e.Sit(p)
	for i, want := range []float64{2. / 3, -0.4, 0, (0.4 - 0.7) / 2, math.NaN()} {
		if math.IsNaN(want) {
			require.True(t, math.IsNaN(float64(got[i])))
		} else {
			require.InDelta(t, want, float64(got[i]), 1e-7, p.Columns()[i])
		}
	}
	e.Task, e.Done, e.Accuracy = 3, 4, []float64{0.5, 0.6, 0.6, 0.9}
	got = e.Sit(p)
	require.InDelta(t, (-0.4-0.2)/2, float64(got[1]), 1e-7, "tasks 1 and 3")
	require.InDelta(t, (0+0.5)/2, float64(got[2]), 1e-7, "tasks 2 and 4")
	require.InDelta(t, -0.2, float64(got[4]), 1e-7, "task 3")
}

func TestHeldOutAccuracy(t *testing.T) {
	e := &probetest.Exam{T: t, Asked: 50, Task: 2, Done: 3, Examples: []int{10, 40, 50, 20}, Accuracy: []float64{1, 0.5, 0.2, 0}}
	p := probetest.Build(t, nil, probetest.Object{"kind": "test-accuracy", "samples": 50.0})
	require.Equal(t, []float32{0.2}, e.Sit(p))
	p = probetest.Build(t, nil, probetest.Object{"kind": "seen-class-accuracy", "samples": 50.0})
	require.Equal(t, []float32{0.4}, e.Sit(p), "10 + 20 + 10 of 100")
	e.Task = 3
	require.Equal(t, []float32{0.4}, e.Sit(p), "task 3 is about to begin")
	e.Done = 4
	require.InDelta(t, 40./120, float64(e.Sit(p)[0]), 1e-7)
	p = probetest.Build(t, nil, probetest.Object{"kind": "seen-class-accuracy", "samples": 50.0, "tasks": 2.0})
	require.Equal(t, []float32{0.6}, e.Sit(p), "all classes were there after two tasks")
}
