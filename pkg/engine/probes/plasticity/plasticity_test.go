package plasticity

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/rng"
)

func TestSamplePlasticity(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	p := g.Build(t, probetest.Object{"kind": "sample-plasticity", "samples": nil}).(probe.Stepper)
	var after float64
	for _, l := range g.Losses {
		after += l / float64(g.N)
	}
	var v [1]float32
	step := &learner.Step{Batch: g.Evaluation.Batch}
	for _, c := range []struct{ before, want float64 }{{2 * after, 0.5}, {after / 2, 0}, {0, 0}, {1e9, 1}} {
		step.Loss = float32(c.before)
		p.Step(step, v[:])
		require.InDelta(t, c.want, float64(v[0]), 1e-6)
	}
	require.Zero(t, testing.AllocsPerRun(3, func() { p.Step(step, v[:]) }))
}

// The probe's training is gradient descent on the labels that it draws, written
// out here in float64, and leaves no bit of the weights changed.
func TestProbePlasticity(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	const steps, batch, lr, targets = 7, 5, 0.3, 2
	p := g.Build(t, probetest.Object{"kind": "probe-plasticity", "steps": float64(steps), "batch": float64(batch), "lr": lr, "optimizer": "sgd", "targets": float64(targets)})
	got := probetest.Measure(t, p, g.Evaluation)
	for i, w := range g.Net.Params() {
		require.Equal(t, g.Params[i], w.Var.F32, "parameter %d is not what it was", i)
	}
	require.Zero(t, testing.AllocsPerRun(2, func() { probetest.MeasureInto(p, g.Evaluation) }))
	require.Equal(t, got, probetest.Measure(t, p, g.Evaluation), "the same again")

	var loss float64
	order := make([]int32, g.N)
	for y := range targets {
		var theta [][]float64
		for _, w := range g.Params {
			var d []float64
			for _, v := range w {
				d = append(d, float64(v))
			}
			theta = append(theta, d)
		}
		labels := make([]int, g.N)
		for i := range labels {
			labels[i] = rng.New(11, "targets").Intn(g.Outputs, uint64(y), uint64(i))
		}
		for step := range steps {
			sum := make([][]float64, len(theta))
			for i := range sum {
				sum[i] = make([]float64, len(theta[i]))
			}
			for i := range batch {
				at := step*batch + i
				if at%g.N == 0 {
					rng.New(11, "order").Perm(order, uint64(y)<<32|uint64(at/g.N))
				}
				example := int(order[at%g.N])
				_, grad := g.Backprop(theta, example, labels[example])
				for k := range grad {
					for j, v := range grad[k] {
						sum[k][j] += v / batch
					}
				}
			}
			for k := range theta {
				for j := range theta[k] {
					theta[k][j] -= lr * sum[k][j]
				}
			}
		}
		for i, label := range labels {
			l, _ := g.Backprop(theta, i, label)
			loss += l / float64(g.N*targets)
		}
	}
	probetest.CloseTo(t, []float64{math.Log(float64(g.Outputs)) - loss, loss}, got, 2e-5, "plasticity and loss")
}
