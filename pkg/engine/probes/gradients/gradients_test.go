package gradients

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// The trace is vᵀHv of the Hessian that PyTorch has, for the vectors that the
// key draws.
func TestHessianTrace(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	const vectors = 5
	p := g.Build(t, probetest.Object{"kind": "curvature", "vectors": float64(vectors)})
	var sum float64
	draws := make([]float32, g.ParameterCount)
	for i := range vectors {
		rng.New(11, "trace").FillUniform(draws, -1, 1, uint64(i))
		for a := range draws {
			for b := range draws {
				h := g.Hessian[a*len(draws)+b]
				if (draws[a] < 0) != (draws[b] < 0) {
					h = -h
				}
				sum += h
			}
		}
	}
	require.InDelta(t, sum/vectors, float64(probetest.Measure(t, p, g.Evaluation)[1]), 1e-5*math.Abs(sum))

	p = g.Build(t, probetest.Object{"kind": "curvature", "vectors": 3000.0})
	require.InDelta(t, g.Trace, float64(probetest.Measure(t, p, g.Evaluation)[1]), 0.03*g.Trace)
}

// The eigenvalue is the largest, not the largest in size: here those of
// −|w|² + v² at a saddle, by a network whose loss is not that of a classifier.
func TestLargestEigenvalueOfASaddle(t *testing.T) {
	net := probetest.Network(t, 2, 1)
	env := probetest.Classifier(net, 2, 1)
	w := net.Params()[0].Var
	env.Forward = func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
		b.Input("x", n, 2)
		curves := b.Array([]float32{-5, 1.5}, 2, 1) // half the eigenvalues
		return nn.Activations{}, b.BroadcastTo(b.Sum(b.Mul(curves, b.Square(b.Read(w)))), tensor.Shape{n})
	}
	env.Fill = func(*graph.Program, *stream.Batch) {}
	r, _, err := probe.Resolve("probes[0]", probetest.Object{"kind": "curvature", "iterations": 200.0, "tolerance": 1e-9, "samples": 2.0})
	require.NoError(t, err)
	p, err := r.Build(env)
	require.NoError(t, err)
	e := &learner.Evaluation{N: 2, Batch: &stream.Batch{N: 2}}
	probetest.CloseTo(t, []float64{3, -7}, probetest.Measure(t, p, e), 1e-5, "eigenvalues −10, 3 and 0")
}

// tracedStepper measures what a training program leaves behind.
type tracedStepper interface {
	probe.Probe
	probe.Tracer
	probe.Stepper
}

func TestGradientTotals(t *testing.T) {
	net := probetest.Network(t, 2, 1, 1) // 3 and 2 parameters
	for kind, want := range map[string][]float32{
		"gradient-l0": {0.8, 1, 0.5},
		"gradient-l1": {35, 11, 24},
	} {
		p := probetest.Build(t, net, probetest.Object{"kind": kind}).(tracedStepper)
		b := graph.NewBuilder()
		var gradients []graph.Node
		for i, w := range net.Params() {
			gradients = append(gradients, b.Input(fmt.Sprint(i), w.Var.Shape...))
		}
		p.Trace(b, gradients)
		program := b.Compile()
		p.Traced(program)
		copy(program.Input("0"), []float32{2, 3})
		copy(program.Input("1"), []float32{-6})
		copy(program.Input("2"), []float32{-24})
		program.Run(0)
		values := make([]float32, 3)
		p.Step(nil, values)
		require.InDeltaSlice(t, want, values, 1e-6, kind)
	}
}

func TestGradientNorm(t *testing.T) {
	net := probetest.Network(t, 2, 1, 1)
	p := probetest.Build(t, net, probetest.Object{"kind": "gradient-norm"}).(tracedStepper)
	require.Equal(t, []probe.Column{{Metric: "gradient_norm"}, {Metric: "gradient_norm", Layer: "hidden1"}, {Metric: "gradient_norm", Layer: "output"}}, p.Columns())
	b := graph.NewBuilder()
	var gradients []graph.Node
	for i, w := range net.Params() {
		gradients = append(gradients, b.Input(fmt.Sprint(i), w.Var.Shape...))
	}
	p.Trace(b, gradients)
	program := b.Compile()
	p.Traced(program)
	copy(program.Input("0"), []float32{2, 3}) // hidden1: 4 + 9 + 36 = 49
	copy(program.Input("1"), []float32{-6})
	copy(program.Input("2"), []float32{24}) // output: 576 + 0
	program.Run(0)
	values := make([]float32, 3)
	require.Zero(t, testing.AllocsPerRun(5, func() { p.Step(nil, values) }))
	require.Equal(t, []float32{25, 7, 24}, values)
}
