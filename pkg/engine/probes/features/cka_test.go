package features

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/stream"
)

// extractor is an [exam] whose learner has the given features.
type extractor struct {
	probetest.Exam
	features [][]float32
	batch    *stream.Batch
}

func (x *extractor) Evaluate(_, n int) (*learner.Evaluation, error) {
	return &learner.Evaluation{N: x.batch.N, Features: x.features, Batch: x.batch}, nil
}

func (x *extractor) EvaluateTraining(task, n int) (*learner.Evaluation, error) {
	return x.Evaluate(task, n)
}

func TestCKA(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	at := func(f [][]float32) *extractor { return &extractor{features: f, batch: g.Evaluation.Batch} }
	look := func(p probe.Probe, f [][]float32) []float32 {
		values := make([]float32, 3)
		require.NoError(t, p.(probe.TaskMeasurer).MeasureTasks(at(f), values))
		return values
	}
	ones := []float64{1, 1, 1}
	first := g.Build(t, probetest.Object{"kind": "cka"})
	probetest.CloseTo(t, ones, look(first, g.Other), 1e-6, "first")
	probetest.CloseTo(t, g.CKA, look(first, g.Features), 1e-6, "after the first")
	probetest.CloseTo(t, ones, look(first, g.Other), 1e-6, "first again")

	previous := g.Build(t, probetest.Object{"kind": "cka", "reference": "previous"})
	require.True(t, math.IsNaN(float64(look(previous, g.Other)[0])), "nothing to compare with")
	probetest.CloseTo(t, g.CKA, look(previous, g.Features), 1e-6, "previous")
	probetest.CloseTo(t, ones, look(previous, g.Features), 1e-6, "previous again")

	initial := g.Build(t, probetest.Object{"kind": "cka", "reference": "initial"})
	require.NoError(t, initial.(probe.Beginner).Begin(at(g.Features)))
	probetest.CloseTo(t, g.CKA, look(initial, g.Other), 1e-6, "initial")
	// A rotation, a factor and a shift change nothing.
	turned := [][]float32{append([]float32{}, g.Other[0]...), append([]float32{}, g.Other[1]...)}
	for layer, units := range []int{7, 5} {
		for i := range g.N {
			row := turned[layer][i*units:]
			a, b := row[0], row[units-1]
			row[0], row[units-1] = 0.6*a-0.8*b, 0.8*a+0.6*b
			for j := range units {
				row[j] = -3*row[j] + 7
			}
		}
	}
	probetest.CloseTo(t, g.CKA, look(initial, turned), 1e-5, "turned")
}
