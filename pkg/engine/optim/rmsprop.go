package optim

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "rmsprop",
		Paper:   "Tieleman & Hinton 2012, lecture 6.5 (as torch.optim.RMSprop)",
		Summary: "steps scaled by the root of a running mean of the squared gradient",
	}, rmspropConfig{LR: 0.01, Alpha: 0.99, Epsilon: 1e-8}, nil, func(c rmspropConfig) Optimizer { return &rmsprop{c} })
}

type rmspropConfig struct {
	LR      float64 `json:"lr" doc:"step size"`
	Alpha   float64 `json:"alpha" doc:"decay of the running mean"`
	Epsilon float64 `json:"epsilon" doc:"added to the root of the running mean"`
}

func (c rmspropConfig) Validate() error {
	return errors.Join(checkLR(c.LR), checkDecay("alpha", c.Alpha), checkEpsilon(c.Epsilon))
}

type rmsprop struct{ cfg rmspropConfig }

// Update returns w − lr·g/(√v + ε) with v ← α·v + (1−α)·g².
func (o *rmsprop) Update(u *Update) graph.Node {
	b := u.B
	state := u.State("v", 0)
	v := u.Average(state, o.cfg.Alpha, b.Mul(u.G, u.G))
	return b.Sub(u.W, b.Div(b.Scale(float32(o.cfg.LR), u.G), b.Add(b.Sqrt(v), b.Const(float32(o.cfg.Epsilon)))))
}
