package methods

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "l2",
		Paper:   "Krogh & Hertz 1991",
		Summary: "L2 regularisation: the loss gains λ/2·‖θ‖², biases included",
		Needs:   []component.Capability{component.Gradients},
	}, l2Config{Lambda: 1e-4}, nil, func(c l2Config, _ method.Env) (method.Method, error) { return &l2{float32(c.Lambda)}, nil })
}

type l2Config struct {
	Lambda float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
}

func (c l2Config) Validate() error {
	if !(c.Lambda >= 0 && c.Lambda <= 1e6) {
		return component.Fieldf("lambda", "must be between 0 and 1e6, is %v", c.Lambda)
	}
	return nil
}

// l2 adds λ·w to every gradient, as weight_decay of torch.optim.SGD does.
type l2 struct{ lambda float32 }

// UpdateGradient implements [method.GradientUpdater].
func (m *l2) UpdateGradient(u *optim.Update) graph.Node {
	if m.lambda == 0 {
		return u.G
	}
	return u.B.Add(u.G, u.B.Scale(m.lambda, u.W))
}

var _ method.GradientUpdater = (*l2)(nil)
