package regularise

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "weight-clipping",
		Paper:   "Elsayed, Lan, Lyle & Mahmood 2024, Weight Clipping for Deep Continual and Reinforcement Learning, algorithm 1",
		Summary: "after each step weights and biases are clipped to what initialisers draw, times a factor",
		Trial:   component.Trial{Inert: []component.Object{{"kappa": 1e6}}, Lively: component.Object{"kappa": 0.5}},
	}, weightClippingConfig{Kappa: 2}, map[string]weightClippingConfig{
		// Label-permuted EMNIST with SGD (lr 0.01) and with Adam (lr 1e-4);
		// input-permuted MNIST (lr 1e-3 and 1e-4): both are in their sweep.
		"label-permuted-emnist-sgd":  {Kappa: 2},
		"label-permuted-emnist-adam": {Kappa: 3},
		"input-permuted-mnist-1":     {Kappa: 1},
		"input-permuted-mnist-2":     {Kappa: 2},
	}, newWeightClipping)
}

type weightClippingConfig struct {
	Kappa float64 `json:"kappa" doc:"κ: the bound, in units of 1/√fan_in"`
}

func (c weightClippingConfig) Validate() error { return check.Range("kappa", c.Kappa, 1e-6, 1e30) }

// weightClipping clips the new weights and biases of every layer, the output
// included:
//
//	w ← min(max(w, −κ/√n), κ/√n)
//
// n being the fan-in of the layer: 1/√n is the bound of PyTorch's initialiser.
// Scales and shifts of normalisations are left alone.
type weightClipping struct{ kappa float64 }

func newWeightClipping(c weightClippingConfig, _ method.Env) (method.Method, error) {
	return &weightClipping{c.Kappa}, nil
}

// UpdateWeight implements [method.WeightUpdater].
func (m *weightClipping) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if u.Param.Role != nn.Weight && u.Param.Role != nn.Bias {
		return w
	}
	bound := float32(m.kappa / math.Sqrt(float64(u.Param.FanIn)))
	return u.B.Clip(w, -bound, bound)
}

var _ method.WeightUpdater = (*weightClipping)(nil)
