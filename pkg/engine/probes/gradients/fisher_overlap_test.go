package gradients

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/probetest"
	"neoteny/pkg/engine/stream"
)

// parts gives each task a stretch of the golden examples, and the outputs of a
// program of its own for them.
type parts struct {
	probetest.Exam
	g       *probetest.Golden
	program *graph.Program
	from    []int // by task
	n       int
	e       learner.Evaluation
}

func newParts(g *probetest.Golden, n int, from ...int) *parts {
	b := graph.NewBuilder()
	a, _ := g.Env.Forward(b, n)
	b.Output("output", a.Output)
	return &parts{g: g, program: b.Compile(), from: from, n: n, Exam: probetest.Exam{Task: len(from) - 1, Done: len(from)}}
}

func (x *parts) Evaluate(task, _ int) (*learner.Evaluation, error) {
	from, inputs := x.from[task], x.g.Widths[0]
	if x.e.Batch == nil {
		x.e = learner.Evaluation{N: x.n, Batch: &stream.Batch{N: x.n}}
	}
	x.e.Batch.X, x.e.Batch.Labels, x.e.Batch.Task = x.g.X[from*inputs:(from+x.n)*inputs], x.g.Labels[from:from+x.n], task
	x.g.Env.Fill(x.program, x.e.Batch)
	x.program.Run(0)
	x.e.Output = x.program.Output("output")
	return &x.e, nil
}

// fisher returns Σ_x Σ_y p(y|x)·(∂ln p(y|x)/∂θ)² by layer, in float64.
func fisher(g *probetest.Golden, from, n int) [][]float64 {
	f := make([][]float64, len(g.Widths)-1)
	var theta [][]float64
	for i, w := range g.Params {
		theta = append(theta, nil)
		for _, v := range w {
			theta[i] = append(theta[i], float64(v))
		}
		f[i/2] = append(f[i/2], make([]float64, len(w))...)
	}
	for example := from; example < from+n; example++ {
		for y := range g.Outputs {
			loss, grad := g.Backprop(theta, example, y)
			for l := range f {
				for i, v := range append(append([]float64{}, grad[2*l]...), grad[2*l+1]...) {
					f[l][i] += math.Exp(-loss) * v * v
				}
			}
		}
	}
	return f
}

// frechet returns 1 − d², d² by its definition as a sum of squared differences.
func frechet(a, b []float64) float64 {
	var ta, tb, d float64
	for i := range a {
		ta, tb = ta+a[i], tb+b[i]
	}
	for i := range a {
		r := math.Sqrt(a[i]/ta) - math.Sqrt(b[i]/tb)
		d += r * r / 2
	}
	return 1 - d
}

func TestFisherOverlap(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	half := g.N / 2
	a, b := fisher(g, half, half), fisher(g, 0, half)
	var want, allA, allB []float64
	for l := range a {
		want = append(want, frechet(a[l], b[l]))
		allA, allB = append(allA, a[l]...), append(allB, b[l]...)
	}
	want = append([]float64{frechet(allA, allB)}, want...)
	require.Less(t, want[0], 0.99, "the halves differ")

	tasks := newParts(g, half, 0, half)
	p := g.Build(t, probetest.Object{"kind": "fisher-overlap"}).(probe.TaskMeasurer)
	values := make([]float32, len(want))
	require.NoError(t, p.MeasureTasks(tasks, values))
	probetest.CloseTo(t, want, values, 1e-6, "two halves")
	require.Zero(t, testing.AllocsPerRun(3, func() {
		if err := p.MeasureTasks(tasks, values); err != nil {
			panic(err)
		}
	}))

	itself := g.Build(t, probetest.Object{"kind": "fisher-overlap", "with": 1.0}).(probe.TaskMeasurer)
	require.NoError(t, itself.MeasureTasks(tasks, values))
	probetest.CloseTo(t, []float64{1, 1, 1, 1}[:len(values)], values, 1e-6, "with itself")
}

// Tasks whose inputs share no pixel share no weight of the first layer, but for
// its biases.
func TestFisherOverlapOfTasksWithoutACommonInput(t *testing.T) {
	g := probetest.ReadGolden(t, "..")
	inputs := g.Widths[0]
	for i := range g.N {
		for k := range inputs {
			if (k < inputs/2) != (i < g.N/2) {
				g.X[i*inputs+k] = 0
			}
		}
	}
	half := g.N / 2
	a, b := fisher(g, half, half)[0], fisher(g, 0, half)[0]
	weights := inputs * g.Widths[1]
	require.Zero(t, frechet(append([]float64{}, a[:weights]...), append([]float64{}, b[:weights]...)), "of the weights alone")
	values := make([]float32, len(g.Widths))
	require.NoError(t, g.Build(t, probetest.Object{"kind": "fisher-overlap"}).(probe.TaskMeasurer).MeasureTasks(newParts(g, half, 0, half), values))
	require.InDelta(t, frechet(a, b), float64(values[1]), 1e-6)
	require.Less(t, values[1], values[len(values)-1], "deeper layers share more")
}
