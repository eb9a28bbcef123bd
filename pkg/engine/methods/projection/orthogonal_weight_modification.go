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
		Name:    "orthogonal-weight-modification",
		Paper:   "Zeng, Chen, Cui & Yu 2019, Continual learning of context-dependent processing in neural networks (OWM)",
		Summary: "gradients are projected away from the mean inputs that layers had in earlier tasks",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert: []component.Object{}, Lively: component.Object{"samples": 12.0, "batch": 3.0, "alpha": 0.1},
			Network: component.Object{"kind": "mlp", "hidden": []any{7.0, 5.0}},
		},
	}, owmConfig{Samples: 4000, Batch: 40, Alpha: 1, Decay: 1e-3}, nil, newOWM)
}

type owmConfig struct {
	Samples int     `json:"samples" doc:"examples of the task whose layer inputs are looked at"`
	Batch   int     `json:"batch" doc:"examples whose mean input is taken"`
	Alpha   float64 `json:"alpha" doc:"α: how much of an input's direction is left, for the task's first batch; small is little"`
	Decay   float64 `json:"decay" doc:"λ: α goes to α·λ over the batches of a task"`
}

func (c owmConfig) Validate() error {
	batch := check.Count("batch", c.Batch, check.MostExamples)
	if batch == nil && (c.Samples < c.Batch || c.Samples%c.Batch != 0) {
		batch = component.Fieldf("batch", "%d does not divide the %d samples", c.Batch, c.Samples)
	}
	return errors.Join(check.Count("samples", c.Samples, check.MostExamples), batch, check.Range("alpha", c.Alpha, 1e-12, 1e12), check.Range("decay", c.Decay, 1e-12, 1))
}

// owm keeps a projector P [in][in] per layer, the identity at first. From the
// second task on, with the layer's gradient G [in][out],
//
//	G ← P·G
//
// before the optimiser (plain SGD and momentum keep the update in that space).
// When a task has ended, the mean inputs x̄ of batches of its examples, a uniform
// sample of those that it has shown, are taken out, one after the other:
//
//	k = P·x̄,   P ← P − k·kᵀ/(α·λ^{i/n} + x̄ᵀ·k)      batch i of n, from 0 on
//
// (recursive least squares: P⁻¹ = I + Σ x̄·x̄ᵀ/α_i). Biases are the weights of a
// constant input of 1.
type owm struct {
	cfg       owmConfig
	layers    []affine
	inputs    *layerInputs
	memory    *memory.Memory
	batch     *stream.Batch
	projector []*graph.Var // [in][in]

	gradient, projected, scratch []float32
}

func newOWM(c owmConfig, env method.Env) (method.Method, error) {
	m := &owm{cfg: c, memory: memory.New(env, "task", memory.Reservoir, c.Samples, false), batch: memory.BatchOf(env, c.Batch)}
	var err error
	if m.layers, m.inputs, err = affines(env, c.Batch); err != nil {
		return nil, err
	}
	grow := func(x *[]float32, n int) { *x = append(*x, make([]float32, max(0, n-len(*x)))...) }
	for k, l := range m.layers {
		p := env.State(fmt.Sprintf("projector/%d", k), graph.F32, l.in, l.in)
		for i := range l.in {
			p.F32[i*l.in+i] = 1
		}
		m.projector = append(m.projector, p)
		grow(&m.gradient, l.in*l.out)
		grow(&m.projected, l.in*l.out)
		grow(&m.scratch, kernel.MatMulScratch(kernel.NN, l.in, l.out, l.in))
	}
	return m, nil
}

// AfterBackward implements [method.AfterBackward].
func (m *owm) AfterBackward(s *learner.Step, gradients [][]float32) error {
	if s.Task == 0 {
		return nil
	}
	for k, l := range m.layers {
		l.gradient(m.gradient, gradients, false)
		kernel.MatMulNN(l.in, l.out, l.in, m.projector[k].F32, l.in, m.gradient, l.out, m.projected, l.out, m.scratch)
		l.gradient(m.projected, gradients, true)
	}
	return nil
}

// AfterStep implements [method.AfterStep]: it remembers a sample of the task.
func (m *owm) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *owm) TaskBoundary(s *learner.Step) error {
	n := m.memory.Len() / m.batch.N
	m.batch.Task = s.Task
	for i := range n {
		m.memory.Take(m.batch, i*m.batch.N)
		input := m.inputs.of(m.batch)
		alpha := m.cfg.Alpha * linalg.Pow(m.cfg.Decay, float64(i)/float64(n))
		for k, l := range m.layers {
			takeOut(m.projector[k].F32, meanRow(input(k), l.in), alpha)
		}
	}
	m.memory.Forget()
	return nil
}

// meanRow returns the mean of the rows of x [n][width].
func meanRow(x []float32, width int) []float64 {
	mean := make([]float64, width)
	n := len(x) / width
	for i, v := range x {
		mean[i%width] += float64(v)
	}
	for i := range mean {
		mean[i] /= float64(n)
	}
	return mean
}

// takeOut takes the direction x out of a projector [in][in].
func takeOut(p []float32, x []float64, alpha float64) {
	n := len(x)
	k := make([]float64, n)
	divisor := alpha
	for i := range k {
		for j, v := range p[i*n : (i+1)*n] {
			k[i] += float64(float64(v) * x[j])
		}
		divisor += float64(x[i] * k[i])
	}
	for i := range k {
		c := k[i] / divisor
		if c == 0 {
			continue
		}
		row := p[i*n : (i+1)*n]
		for j := range row {
			row[j] = float32(float64(row[j]) - float64(c*k[j]))
		}
	}
}

var (
	_ method.AfterBackward = (*owm)(nil)
	_ method.AfterStep     = (*owm)(nil)
	_ method.TaskBoundary  = (*owm)(nil)
)
