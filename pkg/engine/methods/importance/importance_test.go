package importance

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
)

// fisher64 is the Fisher information of some examples, by finite differences.
func fisher64(b *methodtest.Bench, kind string, x []float32, labels []int32) (f [][]float64) {
	n := len(labels)
	for _, p := range b.Net.Params() {
		f = append(f, make([]float64, p.Var.Len()))
	}
	add := func(weight float64, g [][]float64) {
		for k := range g {
			for i, v := range g[k] {
				f[k][i] += weight * v * v
			}
		}
	}
	logP := func(r, y int) func(w map[string][]float64) float64 {
		return func(w map[string][]float64) float64 {
			return math.Log(methodtest.Softmax64(methodtest.Forward64(w, x[4*r:4*r+4]))[y])
		}
	}
	for r := range n {
		p := methodtest.Softmax64(methodtest.Forward64(b.Weights64(), x[4*r:4*r+4]))
		switch kind {
		case "exact":
			for y := range p {
				add(p[y]/float64(n), b.Differences(logP(r, y)))
			}
		case "predicted":
			best := 0
			for y := range p {
				if p[y] > p[best] {
					best = y
				}
			}
			add(1/float64(n), b.Differences(logP(r, best)))
		case "empirical":
			add(1/float64(n), b.Differences(logP(r, int(labels[r]))))
		case "uniform":
			for k := range f {
				for i := range f[k] {
					f[k][i] = 1
				}
			}
		case "batched": // of two
			if r%2 == 0 {
				add(2/float64(n), b.Differences(func(w map[string][]float64) float64 {
					return (logP(r, int(labels[r]))(w) + logP(r+1, int(labels[r+1]))(w)) / 2
				}))
			}
		}
	}
	return f
}

// TestEWCAgainstFiniteDifferences ends two tasks and compares the gradient of
// the penalty with the sum of both tasks' terms, in float64.
func TestEWCAgainstFiniteDifferences(t *testing.T) {
	class := func(i int) int { return i % 3 }
	for _, kind := range []string{"exact", "predicted", "empirical", "batched", "uniform"} {
		for _, accumulate := range []string{"sum", "online"} {
			b := methodtest.New(t, 5, []any{6}, "pytorch")
			b.Classes = 3
			m := b.Method(map[string]any{
				"kind": "ewc", "lambda": 3.0, "fisher": kind, "samples": 8.0, "batch": 2.0, "accumulate": accumulate, "decay": 0.5,
			})
			b.SecondGradient(m.(method.SecondGradient))
			var f [2][][]float64
			var anchors [2]map[string][]float64
			for task := range 2 {
				for i := range 3 { // 6 examples, fewer than the sample
					b.See(m.(method.AfterStep), b.BatchNumber(2, 2*i+6*task, class), int64(3*task+i), task, nil)
				}
				e := m.(*ewc).memory
				require.Equal(t, 6, e.Len())
				for i := range e.Len() { // first inputs are as large as an example's number
					e.X[4*i] /= 10
				}
				f[task] = fisher64(b, kind, e.X, e.Labels[:6])
				anchors[task] = b.Weights64()
				require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: task}))
				require.Zero(t, e.Len(), "the sample is the task's")
				for k, p := range b.Net.Params() { // on to the next task
					for i := range p.Var.F32 {
						p.Var.F32[i] += 0.1 * float32(math.Sin(float64(task+5*k+3*i)))
					}
				}
			}
			for k, p := range b.Net.Params() {
				w := methodtest.Clone(p.Var.F32)
				prog := b.Update(p, m, map[string]any{"kind": "sgd", "lr": 1})
				prog.Run(0)
				for i := range w {
					at := func(task int) float64 { return float64(w[i]) - anchors[task][p.Var.Name][i] }
					want := 3 * (f[0][k][i]*at(0) + f[1][k][i]*at(1))
					if accumulate == "online" {
						want = 3 * (0.5*f[0][k][i] + f[1][k][i]) * at(1)
					}
					require.InDelta(t, want, w[i]-p.Var.F32[i], 2e-4*math.Max(1, math.Abs(want)), "%s %s: %s[%d]", kind, accumulate, p.Var.Name, i)
				}
			}
		}
	}
}

// With labels drawn from the network's own distribution the information is the
// exact one in expectation.
func TestSampledFisherApproachesTheExact(t *testing.T) {
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	const n = 4000
	spec := func(kind string) map[string]any {
		return map[string]any{"kind": "ewc", "fisher": kind, "samples": float64(n)}
	}
	fisher := func(kind string) float64 {
		c := methodtest.New(t, 5, []any{6}, "pytorch")
		c.Classes = 3
		m := c.Method(spec(kind))
		c.SecondGradient(m.(method.SecondGradient))
		batch := b.BatchNumber(n, 0, func(i int) int { return 0 })
		for i := range n {
			batch.X[4*i] = 0.5
		}
		c.See(m.(method.AfterStep), batch, 0, 0, nil)
		require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{}))
		sum := 0.0
		for _, p := range c.Net.Params() {
			for _, v := range c.Store.Lookup("method/ewc/fisher/" + p.Var.Name).F32 {
				sum += float64(v)
			}
		}
		return sum
	}
	require.InEpsilon(t, fisher("exact"), fisher("sample"), 0.05)
}

func TestMASAgainstFiniteDifferences(t *testing.T) {
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	m := b.Method(map[string]any{"kind": "mas", "lambda": 0.5, "samples": 10.0})
	b.SecondGradient(m.(method.SecondGradient))
	batch := b.BatchNumber(6, 1, func(i int) int { return i % 3 })
	b.See(m.(method.AfterStep), batch, 0, 0, nil)
	omega := make([][]float64, len(b.Net.Params()))
	for r := range 6 {
		for k, d := range b.Differences(func(w map[string][]float64) float64 {
			sum := 0.0
			for _, v := range methodtest.Forward64(w, batch.X[4*r:4*r+4]) {
				sum += v * v
			}
			return sum
		}) {
			if omega[k] == nil {
				omega[k] = make([]float64, len(d))
			}
			for i, v := range d {
				omega[k][i] += math.Abs(v) / 6
			}
		}
	}
	anchor := b.Weights64()
	require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{}))
	for k, p := range b.Net.Params() {
		for i := range p.Var.F32 {
			p.Var.F32[i] += 0.1 * float32(math.Sin(float64(5*k+3*i)))
		}
		w := methodtest.Clone(p.Var.F32)
		prog := b.Update(p, m, map[string]any{"kind": "sgd", "lr": 1})
		prog.Run(0)
		for i := range w {
			want := 2 * 0.5 * omega[k][i] * (float64(w[i]) - anchor[p.Var.Name][i])
			require.InDelta(t, want, w[i]-p.Var.F32[i], 2e-4*math.Max(1, math.Abs(want)))
		}
	}
}

func TestSynapticIntelligenceAgainstItsFormulas(t *testing.T) {
	for _, clip := range []bool{false, true} {
		b := methodtest.New(t, 5, []any{6}, "pytorch")
		m := b.Method(map[string]any{"kind": "synaptic-intelligence", "strength": 0.5, "xi": 0.25, "clip": clip})
		p := b.Param("hidden1/weight")
		const lr, mu = 0.05, 0.9
		prog := b.Update(p, m, map[string]any{"kind": "momentum", "lr": lr, "momentum": mu})
		type weight struct{ w, v, path, omega, anchor float64 }
		var want []weight
		for _, w := range p.Var.F32 {
			want = append(want, weight{w: float64(w), anchor: float64(w)})
		}
		negative := 0
		for task := range 12 {
			for step := range 3 { // few, so that velocity carries weights uphill through whole tasks
				g := prog.Input("g")
				for i := range g {
					g[i] = float32(math.Sin(0.7*float64(3*task+step) + 3*float64(i)))
					o := &want[i]
					o.v = mu*o.v + float64(g[i]) + 2*0.5*o.omega*(o.w-o.anchor)
					o.path -= float64(g[i]) * (-lr * o.v)
					o.w -= lr * o.v
				}
				prog.Run(uint64(step))
			}
			require.NoError(t, m.(method.TaskBoundary).TaskBoundary(&learner.Step{Task: task}))
			for i := range want {
				o := &want[i]
				require.InDelta(t, o.w, p.Var.F32[i], 1e-4)
				if o.path < 0 {
					negative++
					if clip {
						o.path = 0
					}
				}
				o.omega += o.path / ((o.w-o.anchor)*(o.w-o.anchor) + 0.25)
				o.path, o.anchor = 0, o.w
			}
		}
		require.Positive(t, negative)
	}
}
