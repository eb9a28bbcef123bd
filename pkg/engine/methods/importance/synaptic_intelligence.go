package importance

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "synaptic-intelligence",
		Paper:   "Zenke, Poole & Ganguli 2017, Continual Learning Through Synaptic Intelligence",
		Summary: "weights whose moves lowered the loss of earlier tasks are held where they were",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"strength": 0.0}}, Lively: component.Object{}},
	}, siConfig{Strength: 0.1, Xi: 0.1}, map[string]siConfig{
		// Zenke et al. 2017, permuted MNIST with Adam (lr 1e-3).
		"permuted-mnist": {Strength: 0.1, Xi: 0.1},
	}, newSI)
}

type siConfig struct {
	Strength float64 `json:"strength" doc:"c; 0 changes nothing"`
	Xi       float64 `json:"xi" doc:"ξ: keeps the divisor from 0"`
	Clip     bool    `json:"clip" doc:"a weight's share of a task that is below 0 counts as 0"`
}

func (c siConfig) Validate() error {
	return errors.Join(check.Range("strength", c.Strength, 0, 1e6), check.Range("xi", c.Xi, 1e-20, 1e6))
}

// synapticIntelligence attributes the fall of the loss to weights along their
// path, with g the gradient before this method, w and w' the weight before and
// after a step, w* the one at the last task's end (before the first: the initial
// one):
//
//	g ← g + 2c·Ω·(w − w*)
//	ω ← ω − g·(w' − w)                   every step
//	Ω ← Ω + ω/((w − w*)² + ξ)            when a task has ended
//	w* ← w,  ω ← 0
//
// which is the gradient of c·Σ Ω·(w − w*)². Methods that change weights after
// the optimiser and come later in the spec are not seen in w'.
type synapticIntelligence struct {
	cfg                 siConfig
	params              []*nn.Param
	path, omega, anchor map[*nn.Param]*graph.Var
	gradients           map[*nn.Param]graph.Node // while tracing
}

func newSI(c siConfig, env method.Env) (method.Method, error) {
	m := &synapticIntelligence{
		cfg: c, params: env.Network.Params(), gradients: map[*nn.Param]graph.Node{},
		path: map[*nn.Param]*graph.Var{}, omega: map[*nn.Param]*graph.Var{}, anchor: map[*nn.Param]*graph.Var{},
	}
	for _, p := range m.params {
		m.path[p] = env.State("path/"+p.Var.Name, graph.F32, p.Var.Shape...)
		m.omega[p] = env.State("importance/"+p.Var.Name, graph.F32, p.Var.Shape...)
		m.anchor[p] = env.State("anchor/"+p.Var.Name, graph.F32, p.Var.Shape...)
		copy(m.anchor[p].F32, p.Var.F32)
	}
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *synapticIntelligence) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Strength == 0 {
		return u.G
	}
	m.gradients[u.Param] = u.G
	b := u.B
	away := b.Sub(u.W, b.Read(m.anchor[u.Param]))
	return b.Add(u.G, b.Mul(b.Scale(float32(2*m.cfg.Strength), b.Read(m.omega[u.Param])), away))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *synapticIntelligence) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.Strength != 0 {
		b, path := u.B, m.path[u.Param]
		b.Assign(path, b.Sub(b.Read(path), b.Mul(m.gradients[u.Param], b.Sub(w, u.W))))
	}
	return w
}

// TaskBoundary implements [method.TaskBoundary].
func (m *synapticIntelligence) TaskBoundary(*learner.Step) error {
	for _, p := range m.params {
		path, omega, anchor := m.path[p].F32, m.omega[p].F32, m.anchor[p].F32
		for i, w := range p.Var.F32 {
			share := path[i]
			if m.cfg.Clip && share < 0 {
				share = 0
			}
			moved := w - anchor[i]
			omega[i] += share / (float32(moved*moved) + float32(m.cfg.Xi))
		}
		clear(path)
		copy(anchor, p.Var.F32)
	}
	return nil
}

var (
	_ method.GradientUpdater = (*synapticIntelligence)(nil)
	_ method.WeightUpdater   = (*synapticIntelligence)(nil)
	_ method.TaskBoundary    = (*synapticIntelligence)(nil)
)
