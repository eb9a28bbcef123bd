package importance

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/methods/internal/memory"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	// van de Ven et al. 2022 (GMvandeVen/continual-learning): exact Fisher.
	vandeven := func(lambda float64, samples int) ewcConfig {
		return ewcConfig{Lambda: lambda, Fisher: "exact", Samples: samples, Batch: 32, Accumulate: "sum", Decay: 1}
	}
	method.Register(component.Info{
		Name:    "ewc",
		Paper:   "Kirkpatrick et al. 2017, Overcoming Catastrophic Forgetting in Neural Networks; online: Schwarz et al. 2018; kinds of Fisher: van de Ven 2025",
		Summary: "elastic weight consolidation: weights that earlier tasks depend on are held where they were",
		Needs:   []component.Capability{component.Gradients, component.Classification},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"samples": 12.0}, Optimizer: component.Object{"kind": "adam", "lr": 1e-4}},
	}, vandeven(100, 200), map[string]ewcConfig{
		"permuted-mnist":          vandeven(100, 1000),
		"split-mnist-task":        vandeven(1e5, 1000),
		"split-mnist-domain":      vandeven(1e10, 1000),
		"split-mnist-class":       vandeven(1e9, 1000),
		"kumar-permuted-mnist-20": {Lambda: 10, Fisher: "empirical", Samples: 200, Batch: 32, Accumulate: "sum", Decay: 1},
	}, newEWC)
}

type ewcConfig struct {
	Lambda     float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Fisher     string  `json:"fisher" doc:"labels that the squared gradients are taken for: exact: all, weighted by the network's probabilities; sample: one drawn from these; predicted: the most probable; empirical: the true one; batched: true ones, the gradient of a mini-batch being squared; uniform: none, F is 1 for every weight" enum:"exact|sample|predicted|empirical|batched|uniform"`
	Samples    int     `json:"samples" doc:"examples of the task that the Fisher information is estimated on"`
	Batch      int     `json:"batch" doc:"examples of a mini-batch, for batched"`
	Accumulate string  `json:"accumulate" doc:"sum: every task keeps its weights and its information; online: the information adds up, decayed, and the weights are those of the last task" enum:"sum|online"`
	Decay      float64 `json:"decay" doc:"γ: what is left of earlier information after a task, for online"`
}

func (c ewcConfig) Validate() error {
	batch := check.Count("batch", c.Batch, check.MostExamples)
	if batch == nil && c.Fisher == "batched" && c.Samples%c.Batch != 0 {
		batch = component.Fieldf("batch", "%d does not divide the %d samples", c.Batch, c.Samples)
	}
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e15), check.Count("samples", c.Samples, check.MostExamples), batch, check.Range("decay", c.Decay, 0, 1))
}

// ewc measures, when task k has ended, on n of its examples, how much the
// network's answers depend on each weight, and adds to the gradient that of
// λ/2·Σ_k Σ F_k·(w − w*_k)²:
//
//	F_k = 1/n·Σ_x Σ_y p(y|x)·(∂ln p(y|x)/∂w)²     exact
//	F_k = 1/n·Σ_x (∂ln p(y_x|x)/∂w)²              sample, predicted, empirical
//	F_k = 1/n·Σ_batches |batch|·(mean over it of ∂ln p(y_x|x)/∂w)²     batched
//	F_k = 1     uniform, the paper's control: L2 to old weights
//	g ← g + λ·F·(w − A)
//
//	F ← F + F_k,   A ← A + F_k/F·(w* − A)         sum
//	F ← γ·F + F_k, A ← w*                         online
//
// For sum, F and A are such that the gradient is that of all tasks' terms. The
// kinds of Fisher information differ in size and outcome, and so does the λ that
// goes with each; exact is the default because it is what the name means. The n
// examples are a uniform sample of those that the task has shown, and all of
// them where it has shown fewer. p is the softmax of the outputs.
type ewc struct {
	cfg       ewcConfig
	params    []*nn.Param
	f, anchor map[*nn.Param]*graph.Var
	sum       [][]float32 // F_k
	memory    *memory.Memory
	batch     *stream.Batch
	key       rng.Key
	p         []float32
	gradients method.Gradients
}

func newEWC(c ewcConfig, env method.Env) (method.Method, error) {
	m := &ewc{
		cfg: c, params: env.Network.Params(), f: map[*nn.Param]*graph.Var{}, anchor: map[*nn.Param]*graph.Var{},
		memory: memory.New(env, "task", memory.Reservoir, c.Samples, false), key: env.Key("labels"), p: make([]float32, env.Outputs),
	}
	m.batch = memory.BatchOf(env, m.GradientBatch())
	for _, p := range m.params {
		m.f[p] = env.State("fisher/"+p.Var.Name, graph.F32, p.Var.Shape...)
		m.anchor[p] = env.State("anchor/"+p.Var.Name, graph.F32, p.Var.Shape...)
		m.sum = append(m.sum, make([]float32, p.Var.Len()))
	}
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *ewc) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Lambda == 0 {
		return u.G
	}
	b := u.B
	away := b.Sub(u.W, b.Read(m.anchor[u.Param]))
	return b.Add(u.G, b.Mul(b.Scale(float32(m.cfg.Lambda), b.Read(m.f[u.Param])), away))
}

// GradientBatch implements [method.SecondGradient].
func (m *ewc) GradientBatch() int {
	if m.cfg.Fisher == "batched" {
		return m.cfg.Batch
	}
	return 1
}

// UseGradients implements [method.SecondGradient].
func (m *ewc) UseGradients(g method.Gradients) { m.gradients = g }

// AfterStep implements [method.AfterStep]: it remembers a sample of the task.
func (m *ewc) AfterStep(s *learner.Step) error {
	m.memory.Add(s.Batch, s.Task, nil)
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *ewc) TaskBoundary(s *learner.Step) error {
	if m.cfg.Lambda == 0 {
		m.memory.Forget()
		return nil
	}
	if err := m.estimate(s); err != nil {
		return err
	}
	m.memory.Forget()
	for k, p := range m.params {
		f, anchor := m.f[p].F32, m.anchor[p].F32
		for i, w := range p.Var.F32 {
			if m.cfg.Accumulate == "online" {
				f[i] = float32(float32(m.cfg.Decay)*f[i]) + m.sum[k][i]
				anchor[i] = w
				continue
			}
			if f[i] += m.sum[k][i]; f[i] > 0 {
				anchor[i] += float32(m.sum[k][i] / f[i] * (w - anchor[i]))
			}
		}
	}
	return nil
}

// estimate sets sum to F_k.
func (m *ewc) estimate(s *learner.Step) error {
	for _, f := range m.sum {
		clear(f)
		if m.cfg.Fisher == "uniform" {
			for i := range f {
				f[i] = 1
			}
		}
	}
	if m.cfg.Fisher == "uniform" {
		return nil
	}
	size := m.batch.N
	n := m.memory.Len() / size * size
	for from := 0; from < n; from += size {
		m.memory.Take(m.batch, from)
		each := float32(size) / float32(n)
		if m.cfg.Fisher == "empirical" || m.cfg.Fisher == "batched" {
			if err := m.addSquares(each); err != nil {
				return err
			}
			continue
		}
		// The first gradient is for the sake of the outputs.
		if _, err := m.gradients.On(m.batch); err != nil {
			return err
		}
		kernel.Softmax(m.p, m.gradients.Output())
		for y, p := range m.labels(s, from) {
			if p == 0 {
				continue
			}
			m.batch.Labels[0] = int32(y)
			if err := m.addSquares(float32(each * p)); err != nil {
				return err
			}
		}
	}
	return nil
}

// labels returns the weight of each label for example number i of the sample,
// from its probabilities.
func (m *ewc) labels(s *learner.Step, i int) []float32 {
	var one int
	switch m.cfg.Fisher {
	case "exact":
		return m.p
	case "predicted":
		one = kernel.ArgMax(m.p)
	case "sample":
		u := m.key.Float32(uint64(s.Task), uint64(i))
		for one < len(m.p)-1 && u >= m.p[one] {
			u -= m.p[one]
			one++
		}
	}
	clear(m.p)
	m.p[one] = 1
	return m.p
}

// addSquares adds the squared gradient of the batch to sum.
func (m *ewc) addSquares(weight float32) error {
	gradients, err := m.gradients.On(m.batch)
	if err != nil {
		return err
	}
	for k, g := range gradients {
		f := m.sum[k]
		for i, v := range g {
			f[i] += float32(weight * float32(v*v))
		}
	}
	return nil
}

var (
	_ method.GradientUpdater = (*ewc)(nil)
	_ method.SecondGradient  = (*ewc)(nil)
	_ method.AfterStep       = (*ewc)(nil)
	_ method.TaskBoundary    = (*ewc)(nil)
)
