package accuracy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/stream"
)

// TestRefitHead separates what the extractor makes separable, and no more: task
// 0's classes by the first unit, task 1's not at all.
func TestRefitHead(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	p := g.Build(t, probetest.Object{"kind": "refit-head", "tasks": 2.0, "lambda": 1e-5, "samples": 40.0})
	e := &halves{}
	values := make([]float32, 3)
	require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(e, values))
	require.Equal(t, float32(1), values[1])
	require.Equal(t, float32(0.5), values[2], "one class for both, at half of them")
	require.Equal(t, float32(0.75), values[0])
	require.Zero(t, testing.AllocsPerRun(3, func() {
		if err := p.(probe.TaskMeasurer).MeasureTasks(e, values); err != nil {
			panic(err)
		}
	}))
}

// TestRefitHeadCountsAnExampleOnce has training that goes round after 10 examples.
func TestRefitHeadCountsAnExampleOnce(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	p := g.Build(t, probetest.Object{"kind": "refit-head", "tasks": 2.0, "lambda": 1e-5, "samples": 40.0}).(*refitHead)
	for _, c := range []struct{ round, want int }{{10, 2 * 10}, {40, 2 * 40}, {0, 2 * 40}} {
		values := make([]float32, 3)
		require.NoError(t, p.MeasureTasks(&rounds{round: c.round}, values))
		require.Len(t, p.x, c.want*p.width, "going round after %d, 0 for examples that have no number", c.round)
		require.Len(t, p.y, c.want*p.classes)
	}
}

type rounds struct {
	halves
	round int
}

func (x *rounds) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	e, err := x.Evaluate(task, n)
	e.Batch.Index = make([]int32, n)
	for i := range e.Batch.Index {
		e.Batch.Index[i] = -1
		if x.round > 0 {
			e.Batch.Index[i] = int32(i % x.round)
		}
	}
	return e, err
}

// halves has 40 examples of four classes, two in each of two tasks.
type halves struct {
	probetest.Exam
	e learner.Evaluation
}

func (x *halves) Evaluate(task, n int) (*learner.Evaluation, error) {
	if x.e.Batch == nil {
		x.e = learner.Evaluation{N: n, Batch: &stream.Batch{N: n, Labels: make([]int32, n)}, Features: [][]float32{make([]float32, 7*n), make([]float32, 5*n)}}
	}
	for i := range n {
		h := x.e.Features[1][i*5 : i*5+5]
		clear(h)
		class := i % 2
		x.e.Batch.Labels[i] = int32(2*task + class)
		h[3] = float32(task) * 10
		if task == 0 {
			h[0] = 4*float32(class) - 2
		}
	}
	return &x.e, nil
}

func (x *halves) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	return x.Evaluate(task, n)
}
