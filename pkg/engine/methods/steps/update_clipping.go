package steps

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "update-clipping",
		Paper:   "Keskinen 2024, Hard ASH: Sparsity and the right optimizer make a continual learner (as optax.clip behind the optimiser)",
		Summary: "no weight changes by more than a bound in one step",
		Trial:   component.Trial{Inert: []component.Object{{"bound": 1e6}}, Lively: component.Object{"bound": 1e-5}},
	}, updateClippingConfig{Bound: 0.01}, nil,
		func(c updateClippingConfig, _ method.Env) (method.Method, error) { return &updateClipping{c}, nil })
}

type updateClippingConfig struct {
	Bound float64 `json:"bound" doc:"c: the largest change of a weight in a step"`
}

func (c updateClippingConfig) Validate() error {
	if !(c.Bound > 0 && c.Bound <= 1e9) {
		return component.Fieldf("bound", "must be above 0 and at most 1e9, is %v", c.Bound)
	}
	return nil
}

// updateClipping keeps the weight that the optimiser is about to make within
// [w − c, w + c].
type updateClipping struct{ cfg updateClippingConfig }

// UpdateWeight implements [method.WeightUpdater].
func (m *updateClipping) UpdateWeight(u *optim.Update, next graph.Node) graph.Node {
	c := u.B.Const(float32(m.cfg.Bound))
	return u.B.Max(u.B.Min(next, u.B.Add(u.W, c)), u.B.Sub(u.W, c))
}
