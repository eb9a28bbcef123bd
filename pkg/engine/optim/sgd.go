package optim

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "sgd",
		Summary: "stochastic gradient descent: w ← w − lr·g",
	}, sgdConfig{LR: 0.01}, nil, func(c sgdConfig) Optimizer { return &sgd{c} })
}

type sgdConfig struct {
	LR float64 `json:"lr" doc:"step size"`
}

func (c sgdConfig) Validate() error { return checkLR(c.LR) }

type sgd struct{ cfg sgdConfig }

// Update returns w − lr·g.
func (o *sgd) Update(u *Update) graph.Node {
	return u.B.Sub(u.W, u.B.Scale(float32(o.cfg.LR), u.G))
}
