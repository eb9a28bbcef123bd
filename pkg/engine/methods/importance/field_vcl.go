package importance

import (
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
		Name:    "field-vcl",
		Paper:   "Li, Huang, Zou & Huang 2023, Statistical mechanics of continual learning: variational principle and mean-field potential",
		Summary: "variational continual learning of binary weights: what was believed of them after a task is the prior of the next",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.5},
			Network: component.Object{"kind": "binary-mlp", "hidden": []any{7.0}},
		},
	}, fieldVCLConfig{Lambda: 1.0 / 60000}, nil, newFieldVCL)
}

type fieldVCLConfig struct {
	Lambda float64 `json:"lambda" doc:"weight of the divergence beside the mean loss of an example: 1 over the examples of a task makes the variational free energy; 0 changes nothing"`
}

func (c fieldVCLConfig) Validate() error { return check.Range("lambda", c.Lambda, 0, 1e6) }

// fieldVCL adds λ·KL(q_t ‖ q_{t−1}) to the loss from the second task on, where
// q_t is the factorised distribution of binary weights with fields θ, and
// q_{t−1} that at the end of the task before, θ′. With m = tanh θ
//
//	KL = Σ (θ − θ′)·m − ln cosh θ + ln cosh θ′,   ∂KL/∂θ = (θ − θ′)(1 − m²)
//
// so that a weight that is certain, m² near 1, is moved by the data alone where
// it agrees with what was, and is held by its field else.
type fieldVCL struct {
	cfg    fieldVCLConfig
	fields []*nn.Param
	prior  []*graph.Var // θ′, parallel to fields
	weight *graph.Var   // λ; 0 in the first task
}

func newFieldVCL(c fieldVCLConfig, env method.Env) (method.Method, error) {
	net, ok := env.Network.(nn.Binary)
	if !ok {
		return nil, component.Fieldf("kind", "field-vcl needs a network of binary weights: binary-mlp")
	}
	m := &fieldVCL{cfg: c, fields: net.Fields(), weight: env.State("weight", graph.F32)}
	for _, p := range m.fields {
		m.prior = append(m.prior, env.State(p.Var.Name+"/prior", graph.F32, p.Var.Shape...))
	}
	return m, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *fieldVCL) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Lambda == 0 {
		return u.G
	}
	for i, p := range m.fields {
		if p == u.Param {
			b := u.B
			certain := b.Sub(b.Const(1), b.Square(b.Tanh(u.W)))
			pull := b.Mul(b.Sub(u.W, b.Read(m.prior[i])), certain)
			return b.Add(u.G, b.Mul(b.Read(m.weight), pull))
		}
	}
	return u.G
}

// TaskBoundary implements [method.TaskBoundary].
func (m *fieldVCL) TaskBoundary(*learner.Step) error {
	for i, p := range m.fields {
		copy(m.prior[i].F32, p.Var.F32)
	}
	m.weight.F32[0] = float32(m.cfg.Lambda)
	return nil
}

var (
	_ method.GradientUpdater = (*fieldVCL)(nil)
	_ method.TaskBoundary    = (*fieldVCL)(nil)
)
