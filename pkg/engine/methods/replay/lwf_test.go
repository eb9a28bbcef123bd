package replay

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/tensor"
)

// TestLwFAgainstItsFormula ends two tasks and compares the term, and its
// gradient by finite differences, in float64: with one head of which a class
// has not been shown yet, and with two heads.
func TestLwFAgainstItsFormula(t *testing.T) {
	const n, lambda, temperature = 4, 0.7, 2.0
	for _, test := range []struct {
		head   int
		labels []int32 // of the tasks so far
		heads  [][]int // outputs that are a distribution, after task 0
		later  [][]int // and after task 1
	}{
		{0, []int32{0, 1, 3, 1}, [][]int{{0, 1, 3}}, [][]int{{0, 1, 2, 3}}},
		{2, []int32{0, 1, 0, 1}, [][]int{{0, 1}}, [][]int{{0, 1}, {2, 3}}},
	} {
		b := methodtest.New(t, 5, []any{6}, "pytorch")
		r, err := nn.Resolve("network", map[string]any{"kind": "mlp", "hidden": []any{6}, "init": "pytorch"})
		require.NoError(t, err)
		b.Store = graph.NewStore()
		b.Net, err = r.Build(nn.Env{Space: b.Store.Space(graph.OfNetwork, "net"), Key: b.Key("init"), Input: tensor.Shape{4}, Outputs: 4})
		require.NoError(t, err)
		env := b.Env("lwf")
		env.Outputs, env.Classes, env.Info.Head = 4, 4, test.head
		built, err := newLwF(lwfConfig{Lambda: lambda, Temperature: temperature}, env)
		require.NoError(t, err)
		m := built.(*lwf)

		g := graph.NewBuilder()
		x := g.Input("x", n, 4)
		net := b.Net.Forward(g, x, nn.Training)
		net.Logits = net.Output
		loss := m.Loss(&method.Trace{B: g, X: x, Net: net, Network: b.Net})
		g.Output("loss", loss)
		var reads []graph.Node
		for _, p := range b.Net.Params() {
			reads = append(reads, g.Read(p.Var))
		}
		for i, d := range g.Gradients(loss, reads...) {
			g.Output(b.Net.Params()[i].Var.Name, d)
		}
		p := g.Compile()
		b.Key("x").FillUniform(p.Input("x"), -1, 1, 0)
		p.Run(0)
		require.Zero(t, p.Output("loss")[0], "nothing is known before the first task's end")

		for task, heads := range [][][]int{test.heads, test.later} {
			labels := test.labels
			if task == 1 {
				labels = []int32{2, 3, 2, 3}
			}
			require.NoError(t, m.AfterStep(&learner.Step{Batch: b.BatchNumber(n, 0, func(i int) int { return int(labels[i]) })}))
			require.NoError(t, m.TaskBoundary(&learner.Step{Task: task}))
			old := b.Weights64()
			for k, q := range b.Net.Params() {
				for i := range q.Var.F32 {
					q.Var.F32[i] += 0.3 * float32(math.Sin(float64(task+5*k+3*i)))
				}
			}
			want := func(w map[string][]float64) float64 {
				sum := 0.0
				for i := range n {
					row := p.Input("x")[4*i : 4*i+4]
					z, zOld := methodtest.Forward64(w, row), methodtest.Forward64(old, row)
					for _, head := range heads {
						var part, partOld []float64
						for _, k := range head {
							part, partOld = append(part, z[k]/temperature), append(partOld, zOld[k]/temperature)
						}
						q, qOld := methodtest.Softmax64(part), methodtest.Softmax64(partOld)
						for k := range q {
							sum -= lambda * temperature * temperature * qOld[k] * math.Log(q[k]) / n
						}
					}
				}
				return sum
			}
			p.Run(0)
			require.InEpsilon(t, want(b.Weights64()), p.Output("loss")[0], 1e-5)
			for k, d := range b.Differences(want) {
				name := b.Net.Params()[k].Var.Name
				for i, v := range d {
					require.InDelta(t, v, p.Output(name)[i], 1e-4, "%s[%d]", name, i)
				}
			}
		}
	}
}
