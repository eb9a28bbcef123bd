package optim

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "adagrad",
		Paper:   "Duchi, Hazan & Singer 2011 (as torch.optim.Adagrad)",
		Summary: "steps scaled by the root of the sum of all squared gradients",
	}, adagradConfig{LR: 0.01, Epsilon: 1e-10}, nil, func(c adagradConfig) Optimizer { return &adagrad{c} })
}

type adagradConfig struct {
	LR      float64 `json:"lr" doc:"step size"`
	Epsilon float64 `json:"epsilon" doc:"added to the root of the sum"`
	Initial float64 `json:"initial" doc:"what the sum begins with (optax: 0.1)"`
}

func (c adagradConfig) Validate() error {
	return errors.Join(checkLR(c.LR), checkEpsilon(c.Epsilon), checkNotNegative("initial", c.Initial))
}

type adagrad struct{ cfg adagradConfig }

// Update returns w − lr·g/(√s + ε) with s ← s + g².
func (o *adagrad) Update(u *Update) graph.Node {
	b := u.B
	state := u.State("sum", float32(o.cfg.Initial))
	s := b.Add(b.Read(state), b.Mul(u.G, u.G))
	b.Assign(state, s)
	return b.Sub(u.W, b.Div(b.Scale(float32(o.cfg.LR), u.G), b.Add(b.Sqrt(s), b.Const(float32(o.cfg.Epsilon)))))
}
