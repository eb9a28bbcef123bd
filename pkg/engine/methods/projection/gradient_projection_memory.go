package projection

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "gradient-projection-memory",
		Paper:   "Saha, Garg & Roy 2021, Gradient Projection Memory for Continual Learning",
		Summary: "layers do not change in the directions that the inputs of earlier tasks had",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert: []component.Object{{"threshold": 0.0}}, Lively: component.Object{"samples": 12.0},
			Network: component.Object{"kind": "mlp", "hidden": []any{7.0, 5.0}},
		},
	}, gpmConfig{Samples: 300, Threshold: 0.95, First: 0.95}, map[string]gpmConfig{
		// Their code, 10 tasks of permuted MNIST with SGD (lr 0.01), without biases.
		"permuted-mnist": {Samples: 300, Threshold: 0.99, First: 0.95},
	}, newGPM)
}

type gpmConfig struct {
	Samples   int     `json:"samples" doc:"n: examples of the task whose layer inputs are looked at"`
	Threshold float64 `json:"threshold" doc:"ε: the part of the squared norm of a layer's inputs that the memory is to hold; 0 changes nothing"`
	First     float64 `json:"first_threshold" doc:"ε of the first layer, whose inputs are the examples"`
}

func (c gpmConfig) Validate() error {
	return errors.Join(check.Count("samples", c.Samples, 1<<14), check.Range("threshold", c.Threshold, 0, 1), check.Range("first_threshold", c.First, 0, 1))
}

// gpm keeps, for every layer, orthonormal directions M [k][in] of its inputs.
// Each step, with the layer's gradient G [in][out],
//
//	G ← G − Mᵀ·(M·G)
//
// before the optimiser (plain SGD keeps the update in that space; others do
// not). When a task has ended, R [in][n] being the layer's inputs for n of its
// examples, a uniform sample of those that it has shown,
//
//	R̂ = R − Mᵀ·(M·R) = U·Σ·Vᵀ,   M ← [M; the first j columns of U]
//
// with the least j such that ‖R‖² − ‖R̂‖² + Σ_{i≤j} σ_i² ≥ ε·‖R‖² (equations 5
// and 9). Biases are the weights of a constant input of 1, which the paper's
// networks lack.
type gpm struct {
	cfg    gpmConfig
	layers []affine
	inputs *layerInputs
	memory *memory.Memory
	batch  *stream.Batch
	basis  []*graph.Var // [in][in]; the first rank rows are M
	rank   []int32      // of each layer

	gradient, along, back, scratch []float32
	svd                            linalg.SVD
}

func newGPM(c gpmConfig, env method.Env) (method.Method, error) {
	m := &gpm{cfg: c, memory: memory.New(env, "task", memory.Reservoir, c.Samples, false), batch: memory.BatchOf(env, c.Samples)}
	var err error
	if m.layers, m.inputs, err = affines(env, c.Samples); err != nil {
		return nil, err
	}
	m.rank = env.State("rank", graph.I32, len(m.layers)).I32
	grow := func(x *[]float32, n int) { *x = append(*x, make([]float32, max(0, n-len(*x)))...) }
	for k, l := range m.layers {
		m.basis = append(m.basis, env.State(fmt.Sprintf("basis/%d", k), graph.F32, l.in, l.in))
		for _, x := range []*[]float32{&m.gradient, &m.along, &m.back} {
			grow(x, l.in*l.out)
		}
		grow(&m.scratch, kernel.MatMulScratch(kernel.NN, l.in, l.out, l.in))
		grow(&m.scratch, kernel.MatMulScratch(kernel.TN, l.in, l.out, l.in))
	}
	return m, nil
}

// AfterBackward implements [method.AfterBackward].
func (m *gpm) AfterBackward(_ *learner.Step, gradients [][]float32) error {
	for k, l := range m.layers {
		rank, basis := int(m.rank[k]), m.basis[k].F32
		if rank == 0 {
			continue
		}
		l.gradient(m.gradient, gradients, false)
		kernel.MatMulNN(rank, l.out, l.in, basis, l.in, m.gradient, l.out, m.along, l.out, m.scratch)
		kernel.MatMulTN(l.in, l.out, rank, basis, l.in, m.along, l.out, m.back, l.out, m.scratch)
		for i, v := range m.back[:l.in*l.out] {
			m.gradient[i] -= v
		}
		l.gradient(m.gradient, gradients, true)
	}
	return nil
}

// AfterStep implements [method.AfterStep]: it remembers a sample of the task.
func (m *gpm) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *gpm) TaskBoundary(s *learner.Step) error {
	n := m.memory.Len()
	held := *m.batch
	held.N, held.Task = n, s.Task
	m.memory.Take(&held, 0)
	m.memory.Forget()
	input := m.inputs.of(&held)
	for k, l := range m.layers {
		threshold := m.cfg.Threshold
		if k == 0 {
			threshold = min(threshold, m.cfg.First)
		}
		if err := m.extend(k, l, input(k)[:n*l.in], n, threshold); err != nil {
			return fmt.Errorf("layer %s: %w", l.w.Layer, err)
		}
	}
	return nil
}

// extend adds to the directions of a layer what they miss of its inputs x
// [n][in].
func (m *gpm) extend(k int, l affine, x []float32, n int, threshold float64) error {
	rank, basis := int(m.rank[k]), m.basis[k].F32
	residual := make([]float64, n*l.in) // [n][in], the transpose of R̂
	var total, held float64
	for i, v := range x {
		residual[i] = float64(v)
		total += float64(residual[i] * residual[i])
	}
	for r := range n {
		row := residual[r*l.in : (r+1)*l.in]
		for b := range rank {
			direction := basis[b*l.in : (b+1)*l.in]
			var along float64
			for i, d := range direction {
				along += float64(float64(d) * row[i])
			}
			for i, d := range direction {
				row[i] -= float64(along * float64(d))
			}
		}
	}
	held = total
	for _, v := range residual {
		held -= float64(v * v)
	}
	if threshold == 0 || held >= threshold*total { // for 0, whatever the rounding
		return nil
	}
	_, sigma, directions, err := m.svd.Decompose(residual, n, l.in)
	if err != nil {
		return err
	}
	for j := 0; held < threshold*total && j < len(sigma) && rank < l.in && sigma[j] > 0; j++ {
		for i, v := range directions[j*l.in : (j+1)*l.in] {
			basis[rank*l.in+i] = float32(v)
		}
		rank++
		held += float64(sigma[j] * sigma[j])
	}
	m.rank[k] = int32(rank)
	return nil
}

var (
	_ method.AfterBackward = (*gpm)(nil)
	_ method.AfterStep     = (*gpm)(nil)
	_ method.TaskBoundary  = (*gpm)(nil)
)
