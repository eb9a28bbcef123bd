package steps

import (
	"fmt"

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
	method.Register(component.Info{
		Name:    "homeostatic-lr",
		Paper:   "Man, Damasio & Neven 2022, Need is All You Need: Homeostatic Neural Networks Adapt to Concept Shift",
		Summary: "what a learner perceives raises or lowers its step size, and it chooses by what it believes to see",
		Needs:   []component.Capability{component.Classification, component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"step": 0.0}, {"step": 0.0, "decision": "random"}},
			Lively: component.Object{"step": 0.5, "decision": "random"},
		},
	}, homeostaticConfig{LR: 0.001, Step: 0.1, Memory: 20, Simulate: "example", Decision: "homeostatic"}, nil, newHomeostatic)
}

type homeostaticConfig struct {
	LR       float64 `json:"lr" doc:"η0: the optimiser's step size (sgd), which the learner's own begins with"`
	Step     float64 `json:"step" doc:"how much the step size is raised or lowered at a time, as a fraction of η0"`
	Memory   int     `json:"memory" doc:"how many examples, the last ones before the batch, an update is tried on"`
	Simulate string  `json:"simulate" doc:"the update that is tried, for homeostatic: with the gradient of the batch's first example over the batch's size, as in the authors' code, or with the whole batch's" enum:"example|batch"`
	Decision string  `json:"decision" doc:"whether the effect is taken is decided by trying it, or at random with probability 1/2" enum:"homeostatic|random"`
}

// lowestLR is what a step size below 0 becomes.
const lowestLR = 1e-8

func (c homeostaticConfig) Validate() error {
	if !(c.LR > 0 && c.LR <= 1e3) {
		return component.Fieldf("lr", "must be above 0 and at most 1000, is %v", c.LR)
	}
	if !(c.Step >= 0 && c.Step <= 1e3) {
		return component.Fieldf("step", "must be between 0 and 1000, is %v", c.Step)
	}
	return check.Count("memory", c.Memory, check.MostExamples)
}

// homeostatic exposes a learner of C classes to what it perceives: an example of
// the upper half of the classes raises its step size η by d = step·η0, one of the
// lower half lowers it. Before each update it perceives the first example of the
// batch, of class y, which it takes for class ŷ, and tries two updates from the
// weights w, with η and with the effect that it expects:
//
//	w − η·g  and  w − (η ± d)·g,  + for ŷ ≥ C/2
//
// If the second has more of the examples in memory right, it takes the effect,
// which is that of the true class:
//
//	η ← η ± d,  + for y ≥ C/2
//
// A step size below 0 becomes 1e-8. What is remembered is judged by its present
// labels: where a stream swaps labels, a swap holds for examples in memory, too.
// In the authors' code 20 are remembered, batches have 10, and every epoch begins
// with an empty memory; here it is empty at the start only. The optimiser must be
// plain gradient descent with step size η0: its gradient is scaled by η/η0.
type homeostatic struct {
	cfg       homeostaticConfig
	params    []*nn.Param
	choice    rng.Key
	gradients method.Gradients
	tried     *stream.Batch // what g is of
	share     float32       // of that gradient in the mean over the batch

	eta   []float64  // [1]
	scale *graph.Var // [] η/η0, which the training program reads

	// What is remembered, the oldest at seen mod memory: a row of x, a label, and
	// the stream's number of the example, −1 for none.
	x      []float32
	labels []int32
	index  []int32
	seen   []int32 // [1] examples so far, at most 2·memory − 1

	forward *graph.Program // the network on the memory
	input   []float32
	output  []float32
	kept    [][]float32 // the weights while updates are tried
	classes int
	inputs  int
}

func newHomeostatic(c homeostaticConfig, env method.Env) (method.Method, error) {
	m := &homeostatic{
		cfg: c, params: env.Network.Params(), choice: env.Key("decision"), classes: env.Classes, inputs: env.Inputs,
		tried: memory.BatchOf(env, env.Batch), share: 1,
		eta:    env.State("lr", graph.F64, 1).F64,
		scale:  env.State("scale", graph.F32),
		x:      env.State("memory/x", graph.F32, c.Memory, env.Inputs).F32,
		labels: env.State("memory/labels", graph.I32, c.Memory).I32,
		index:  env.State("memory/index", graph.I32, c.Memory).I32,
		seen:   env.State("memory/seen", graph.I32, 1).I32,
	}
	if c.Simulate == "example" {
		m.tried, m.share = memory.BatchOf(env, 1), 1/float32(env.Batch)
	}
	m.eta[0], m.scale.F32[0] = c.LR, 1
	b := graph.NewBuilder()
	b.Output("output", env.Network.Forward(b, b.Input("x", c.Memory, env.Inputs), nn.Evaluation).Output)
	m.forward = b.Compile()
	m.input, m.output = m.forward.Input("x"), m.forward.Output("output")
	for _, p := range m.params {
		m.kept = append(m.kept, make([]float32, len(p.Var.F32)))
	}
	return m, nil
}

// GradientBatch implements [method.SecondGradient].
func (m *homeostatic) GradientBatch() int { return m.tried.N }

// UseGradients implements [method.SecondGradient].
func (m *homeostatic) UseGradients(g method.Gradients) { m.gradients = g }

// UpdateGradient implements [method.GradientUpdater].
func (m *homeostatic) UpdateGradient(u *optim.Update) graph.Node {
	return u.B.Mul(u.B.Read(m.scale), u.G)
}

// Around implements [method.Around].
func (m *homeostatic) Around(s *learner.Step, next func() error) error {
	take := m.choice.Float32(uint64(s.Index), 0) > 0.5
	if m.cfg.Decision == "homeostatic" {
		var err error
		if take, err = m.decide(s); err != nil {
			return err
		}
	}
	if take {
		m.eta[0] = m.effect(s.Batch.Labels[0])
		m.scale.F32[0] = float32(m.eta[0] / m.cfg.LR)
	}
	m.remember(s.Batch)
	return next()
}

// effect returns the step size after an example of a class.
func (m *homeostatic) effect(class int32) float64 {
	d := float64(m.cfg.Step * m.cfg.LR)
	if int(2*class) < m.classes {
		d = -d
	}
	if eta := m.eta[0] + d; eta >= 0 {
		return eta
	}
	return lowestLR
}

// decide tries the update with the present step size and the expected one.
func (m *homeostatic) decide(s *learner.Step) (bool, error) {
	if int(m.seen[0]) < m.cfg.Memory {
		return false, nil
	}
	copy(m.tried.X, s.Batch.X)
	copy(m.tried.Labels, s.Batch.Labels)
	m.tried.Task = s.Task
	gradients, err := m.gradients.On(m.tried)
	if err != nil {
		return false, fmt.Errorf("homeostatic-lr: %w", err)
	}
	believed := largest(m.gradients.Output()[:m.classes])
	for i, p := range m.params {
		copy(m.kept[i], p.Var.F32)
	}
	if s.Relabel != nil {
		for i, index := range m.index {
			if index >= 0 {
				m.labels[i] = s.Relabel.Label(s.TaskStep*int64(s.Batch.N), index)
			}
		}
	}
	changed, unchanged := m.try(gradients, m.effect(int32(believed))), m.try(gradients, m.eta[0])
	return changed > unchanged, nil
}

// try returns how many examples in memory are right after an update. The weights
// are as before when it returns.
func (m *homeostatic) try(gradients [][]float32, eta float64) (right int) {
	for i, p := range m.params {
		kernel.Axpy(p.Var.F32, -float32(eta)*m.share, gradients[i])
	}
	copy(m.input, m.x)
	m.forward.Run(0)
	for i, p := range m.params {
		copy(p.Var.F32, m.kept[i])
	}
	for i, y := range m.labels {
		if largest(m.output[i*m.classes:(i+1)*m.classes]) == int(y) {
			right++
		}
	}
	return right
}

// largest returns the place of the largest number, the first of equals.
func largest(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}

func (m *homeostatic) remember(b *stream.Batch) {
	for i := range b.N {
		at := int(m.seen[0]) % m.cfg.Memory
		copy(m.x[at*m.inputs:(at+1)*m.inputs], b.X[i*m.inputs:(i+1)*m.inputs])
		m.labels[at], m.index[at] = b.Labels[i], -1
		if b.Index != nil {
			m.index[at] = b.Index[i]
		}
		if m.seen[0]++; int(m.seen[0]) == 2*m.cfg.Memory {
			m.seen[0] = int32(m.cfg.Memory)
		}
	}
}
