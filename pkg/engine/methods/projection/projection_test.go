package projection

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/stream"
)

// inPlane makes examples in a plane of the four inputs, another one in every
// task, that share one direction.
func inPlane(b *methodtest.Bench, n, task int) *stream.Batch {
	s := &stream.Batch{N: n, Task: task, X: make([]float32, 4*n), Labels: make([]int32, n)}
	var c [2]float32
	for i := range n {
		b.Key("plane").FillUniform(c[:], -1, 1, uint64(10*task+i))
		s.X[4*i], s.X[4*i+1+task] = c[0], c[1]
	}
	return s
}

// layerInputs64 are the inputs of both layers of [newBench]'s network with one
// hidden layer, with the constant 1 behind them.
func layerInputs64(b *methodtest.Bench, s *stream.Batch) (rows [2][][]float64) {
	for i := range s.N {
		x := s.X[4*i : 4*i+4]
		var first []float64
		for _, v := range x {
			first = append(first, float64(v))
		}
		rows[0] = append(rows[0], append(first, 1))
		rows[1] = append(rows[1], append(methodtest.Features64(b.Weights64(), x), 1))
	}
	return rows
}

// editGradients makes gradients, and a copy in float64 as the layers' matrices
// with the biases' row last, and lets the method edit them.
func editGradients(b *methodtest.Bench, m method.AfterBackward, task int) (gradients [][]float32, before [2][][]float64) {
	for k, p := range b.Net.Params() {
		g := make([]float32, p.Var.Len())
		b.Key("gradient").FillUniform(g, -1, 1, uint64(10*task+k))
		gradients = append(gradients, g)
		width := p.Var.Shape[len(p.Var.Shape)-1]
		for i := 0; i < len(g); i += width {
			var row []float64
			for _, v := range g[i : i+width] {
				row = append(row, float64(v))
			}
			before[k/2] = append(before[k/2], row)
		}
	}
	require.NoError(b.T, m.AfterBackward(&learner.Step{Task: task}, gradients))
	return gradients, before
}

// requireProduct compares edited gradients of a layer with P·G.
func requireProduct(t *testing.T, p [][]float64, g [][]float64, edited []float32, what string) {
	t.Helper()
	for i := range p {
		for j := range g[0] {
			want := 0.0
			for k := range g {
				want += p[i][k] * g[k][j]
			}
			require.InDelta(t, want, edited[i*len(g[0])+j], 2e-5, "%s [%d][%d]", what, i, j)
		}
	}
}

func TestGradientProjectionMemory(t *testing.T) {
	const threshold = 0.9
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	m := b.Method(map[string]any{"kind": "gradient-projection-memory", "samples": 20.0, "threshold": threshold, "first_threshold": threshold}).(*gpm)
	gradients, before := editGradients(b, m, 0)
	require.EqualValues(t, before[0][0][0], gradients[0][0], "the first task is free")

	var inputs [2][][]float64 // of the tasks so far
	for task := range 2 {
		var rank [2]int
		for k := range rank {
			rank[k] = int(m.rank[k])
		}
		batch := inPlane(b, 8, task)
		b.See(m, batch, int64(task), task, nil)
		rows := layerInputs64(b, batch)
		require.NoError(t, m.TaskBoundary(&learner.Step{Task: task}))
		gradients, before := editGradients(b, m, task+1)
		for k := range 2 {
			in := len(rows[k][0])
			basis := make([][]float64, m.rank[k])
			for j := range basis {
				for _, v := range m.basis[k].F32[j*in : (j+1)*in] {
					basis[j] = append(basis[j], float64(v))
				}
				for i := range j + 1 {
					dot := 0.0
					for c := range in {
						dot += basis[i][c] * basis[j][c]
					}
					want := 0.0
					if i == j {
						want = 1
					}
					require.InDelta(t, want, dot, 1e-5, "directions are orthonormal")
				}
			}
			// The part that the first r directions hold.
			part := func(r int) float64 {
				var held, total float64
				for _, row := range rows[k] {
					for _, v := range row {
						total += v * v
					}
					for _, d := range basis[:r] {
						dot := 0.0
						for c := range in {
							dot += d[c] * row[c]
						}
						held += dot * dot
					}
				}
				return held / total
			}
			all := len(basis)
			require.GreaterOrEqual(t, part(all), threshold-1e-6, "layer %d, task %d", k, task)
			if all > rank[k] {
				require.Less(t, part(all-1), threshold, "no direction too many")
			}
			if task == 0 { // no others of that number hold more
				gram := make([]float64, in*in)
				for _, row := range rows[k] {
					for i := range in {
						for j := range in {
							gram[i*in+j] += row[i] * row[j]
						}
					}
				}
				values, err := new(linalg.Eigen).Values(gram, in)
				require.NoError(t, err)
				sort64(values)
				var top, total float64
				for i, v := range values {
					total += v
					if i < all {
						top += v
					}
				}
				require.InDelta(t, top/total, part(all), 1e-5)
			}
			p := make([][]float64, in) // I − MᵀM
			for i := range p {
				p[i] = make([]float64, in)
				p[i][i] = 1
				for j := range p[i] {
					for _, d := range basis {
						p[i][j] -= d[i] * d[j]
					}
				}
			}
			edited := append(methodtest.Clone(gradients[2*k]), gradients[2*k+1]...)
			requireProduct(t, p, before[k], edited, "gradient")
			inputs[k] = append(inputs[k], rows[k]...)
		}
	}
}

func sort64(x []float64) { // in descending order
	for i := range x {
		for j := range i {
			if x[i] > x[j] {
				x[i], x[j] = x[j], x[i]
			}
		}
	}
}

// With all directions kept, steps on new tasks leave what the network says of
// old examples as it is.
func TestGradientProjectionMemoryKeepsOldAnswers(t *testing.T) {
	b := methodtest.New(t, 5, []any{9}, "pytorch")
	b.Classes = 3
	m := b.Method(map[string]any{"kind": "gradient-projection-memory", "samples": 20.0, "threshold": 1.0, "first_threshold": 1.0}).(*gpm)
	batch := inPlane(b, 4, 0)
	b.See(m, batch, 0, 0, nil)
	require.NoError(t, m.TaskBoundary(&learner.Step{}))
	old := b.Weights64()
	gradients, _ := editGradients(b, m, 1)
	moved := 0.0
	for k, p := range b.Net.Params() {
		for i, g := range gradients[k] {
			p.Var.F32[i] -= 0.3 * g
			moved += math.Abs(float64(g))
		}
	}
	require.Greater(t, moved, 5.0)
	for i := range batch.N {
		x := batch.X[4*i : 4*i+4]
		require.InDeltaSlice(t, methodtest.Forward64(old, x), methodtest.Forward64(b.Weights64(), x), 1e-5)
	}
	other := []float32{0.1, 0.2, 0.9, -0.8}
	require.Greater(t, math.Abs(methodtest.Forward64(old, other)[0]-methodtest.Forward64(b.Weights64(), other)[0]), 1e-3)
}

// TestOrthogonalWeightModification compares the recursion with its closed form:
// P·(I + Σ x̄x̄ᵀ/α) is the identity.
func TestOrthogonalWeightModification(t *testing.T) {
	const alpha, decay, size = 0.5, 0.01, 2
	b := methodtest.New(t, 5, []any{6}, "pytorch")
	b.Classes = 3
	m := b.Method(map[string]any{"kind": "orthogonal-weight-modification", "samples": 8.0, "batch": 2.0, "alpha": alpha, "decay": decay}).(*owm)
	var inverse [2][][]float64
	for task := range 2 {
		batch := inPlane(b, 7, task) // of which the last is in no whole batch
		b.See(m, batch, int64(task), task, nil)
		rows := layerInputs64(b, batch)
		require.NoError(t, m.TaskBoundary(&learner.Step{Task: task}))
		gradients, before := editGradients(b, m, task+1)
		for k := range 2 {
			in := len(rows[k][0])
			if inverse[k] == nil {
				for i := range in {
					inverse[k] = append(inverse[k], make([]float64, in))
					inverse[k][i][i] = 1
				}
			}
			const batches = 7 / size
			for at := range batches {
				a := alpha * math.Pow(decay, float64(at)/batches)
				for i := range in {
					for j := range in {
						mean := func(c int) float64 { return (rows[k][size*at][c] + rows[k][size*at+1][c]) / 2 }
						inverse[k][i][j] += mean(i) * mean(j) / a
					}
				}
			}
			p := make([][]float64, in)
			for i := range in {
				for _, v := range m.projector[k].F32[i*in : (i+1)*in] {
					p[i] = append(p[i], float64(v))
				}
				for j := range in {
					got := 0.0
					for c := range in {
						got += p[i][c] * inverse[k][c][j]
					}
					want := 0.0
					if i == j {
						want = 1
					}
					require.InDelta(t, want, got, 1e-4, "layer %d, task %d", k, task)
				}
			}
			requireProduct(t, p, before[k], append(methodtest.Clone(gradients[2*k]), gradients[2*k+1]...), "gradient")
		}
	}
	gradients, before := editGradients(b, m, 0)
	require.EqualValues(t, before[0][0][0], gradients[0][0], "the first task is free")
}

func TestProjectionsNeedDenseLayers(t *testing.T) {
	for _, network := range []map[string]any{
		{"kind": "mlp", "hidden": []any{6.0, 6.0, 6.0}, "residual": true},
		{"kind": "lstm", "hidden": []any{3.0}},
	} {
		b := methodtest.NewOf(t, 1, network)
		for _, kind := range []string{"gradient-projection-memory", "orthogonal-weight-modification"} {
			r, err := method.Resolve("methods[0]", map[string]any{"kind": kind})
			require.NoError(t, err)
			_, err = r.Build(b.Env(kind))
			require.ErrorContains(t, err, "networks of dense layers one behind the other only")
		}
	}
}
