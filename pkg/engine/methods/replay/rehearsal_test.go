package replay

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

func TestExperienceReplayIsOneBatch(t *testing.T) {
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	class := func(i int) int { return i % 3 }
	m := b.Method(map[string]any{"kind": "experience-replay", "memory": 4.0, "batch": 4.0, "weight": 0.5})
	second := b.SecondGradient(m.(method.SecondGradient))
	held, now := b.BatchNumber(4, 0, class), b.BatchNumber(2, 10, class)
	g := b.FakeGradients()
	untouched := b.FakeGradients()
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Batch: now}, g))
	require.Equal(t, untouched, g, "nothing to replay")
	b.See(m.(method.AfterStep), held, 0, 0, nil)
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 1, Batch: now}, g))
	want, err := second.On(held) // all four, in whatever order
	require.NoError(t, err)
	for k := range g {
		for i := range g[k] {
			require.InDelta(t, (2*untouched[k][i]+0.5*4*want[k][i])/(2+0.5*4), g[k][i], 1e-6)
		}
	}
}

func TestDERAddsTheGradientsOfItsTerms(t *testing.T) {
	const alpha, beta, n = 0.75, 0.25, 5
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	class := func(i int) int { return i % 3 }
	m := b.Method(map[string]any{"kind": "der", "memory": float64(n), "batch": float64(n), "alpha": alpha, "beta": beta})
	b.SecondGradient(m.(method.SecondGradient))
	held := b.BatchNumber(n, 0, class)
	z := make([]float32, 3*n)
	b.Key("z").FillNormal(z, 0)
	b.See(m.(method.AfterStep), held, 0, 0, z)
	before, g := b.FakeGradients(), b.FakeGradients()
	require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 1, Batch: held}, g))
	// Both draws are of the whole memory: the objective in float64.
	objective := func(w map[string][]float64) float64 {
		total := 0.0
		for r := range n {
			out := methodtest.Forward64(w, held.X[4*r:4*r+4])
			sum := 0.0
			for j, v := range out {
				total += alpha * (v - float64(z[3*r+j])) * (v - float64(z[3*r+j])) / (3 * n)
				sum += math.Exp(v)
			}
			total += beta * (math.Log(sum) - out[held.Labels[r]]) / n
		}
		return total
	}
	b.RequireAdded(before, g, objective)
}

func TestAGEMProjects(t *testing.T) {
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	class := func(i int) int { return i % 3 }
	m := b.Method(map[string]any{"kind": "a-gem", "memory": 6.0, "batch": 3.0, "selection": "reservoir"})
	second := b.SecondGradient(m.(method.SecondGradient))
	past := b.BatchNumber(3, 0, class)
	b.See(m.(method.AfterStep), past, 0, 0, nil)
	b.See(m.(method.AfterStep), b.BatchNumber(3, 3, class), 1, 1, nil)
	ref, err := second.On(past)
	require.NoError(t, err)
	var reference [][]float32
	for _, r := range ref {
		reference = append(reference, methodtest.Clone(r))
	}
	dot := func(x, y [][]float32) (sum float64) {
		for k := range x {
			for i := range x[k] {
				sum += float64(x[k][i]) * float64(y[k][i])
			}
		}
		return sum
	}
	for _, sign := range []float32{1, -1} {
		g, before := b.FakeGradients(), b.FakeGradients()
		along := float32(1)
		if dot(g, reference) < 0 {
			along = -1
		}
		for k := range g {
			for i := range g[k] {
				g[k][i] *= sign * along
				before[k][i] = g[k][i]
			}
		}
		require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 2, Task: 0}, g))
		require.Equal(t, before, g, "no earlier tasks")
		require.NoError(t, m.(method.AfterBackward).AfterBackward(&learner.Step{Index: 2, Task: 1}, g))
		if sign > 0 {
			require.Equal(t, before, g, "no conflict")
			continue
		}
		require.InDelta(t, 0, dot(g, reference), 1e-4, "what is left does not raise the loss")
		for k := range g {
			for i := range g[k] {
				want := float64(before[k][i]) - dot(before, reference)/dot(reference, reference)*float64(reference[k][i])
				require.InDelta(t, want, g[k][i], 1e-5)
			}
		}
	}
}
