package optim

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "momentum",
		Paper:   "Polyak 1964; as torch.optim.SGD with momentum and no dampening",
		Summary: "SGD with heavy-ball momentum: v ← µv + g, w ← w − lr·v",
	}, momentumConfig{LR: 0.01, Momentum: 0.9}, nil, func(c momentumConfig) Optimizer { return &momentum{c} })
}

type momentumConfig struct {
	LR       float64 `json:"lr" doc:"step size"`
	Momentum float64 `json:"momentum" doc:"decay µ of the velocity"`
}

func (c momentumConfig) Validate() error {
	return errors.Join(checkLR(c.LR), checkDecay("momentum", c.Momentum))
}

// StateArrays returns 1: the velocity.
func (momentumConfig) StateArrays() int { return 1 }

type momentum struct{ cfg momentumConfig }

// Update returns w − lr·v with v ← µv + g.
func (o *momentum) Update(u *Update) graph.Node {
	b := u.B
	state := u.State("velocity", 0)
	v := b.Flush(b.Add(b.Scale(float32(o.cfg.Momentum), b.Read(state)), u.G))
	b.Assign(state, v)
	return b.Sub(u.W, b.Scale(float32(o.cfg.LR), v))
}
