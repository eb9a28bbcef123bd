package importance

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "streaming-si",
		Paper:   "Zenke, Poole & Ganguli 2017 (synaptic intelligence), as a streaming method in Elsayed & Mahmood 2024",
		Summary: "weights are pulled to their running average, the more the more their moves lowered the loss",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"kappa": 0.0}}, Lively: component.Object{"kappa": 0.1}, Optimizer: component.Object{"kind": "sgd", "lr": 1e-3}},
	}, streamingSIConfig{10, 0.99, 0.99, 1e-3}, map[string]streamingSIConfig{
		// With SGD (lr 1e-3), from the code of Elsayed & Mahmood 2024.
		"input-permuted-mnist":  {10, 0.99, 0.99, 1e-3},
		"label-permuted-emnist": {1, 0.999, 0.9, 1e-3},
	}, func(c streamingSIConfig, _ method.Env) (method.Method, error) { return &streamingSI{c}, nil })
}

type streamingSIConfig struct {
	Kappa          float64 `json:"kappa" doc:"strength κ of the pull; 0 changes nothing"`
	BetaWeight     float64 `json:"beta_weight" doc:"β_w: decay of the running average of weights"`
	BetaImportance float64 `json:"beta_importance" doc:"β_F: decay of the running averages that importance is made of"`
	Epsilon        float64 `json:"epsilon" doc:"ε: keeps the divisor from 0"`
}

func (c streamingSIConfig) Validate() error {
	return errors.Join(check.Range("kappa", c.Kappa, 0, 1e6), check.Decay("beta_weight", c.BetaWeight), check.Decay("beta_importance", c.BetaImportance),
		check.Range("epsilon", c.Epsilon, 1e-20, 1e6))
}

// streamingSI needs no task boundaries. Every step, before the optimiser, with
// δ = w_before − w, the last update turned round:
//
//	w̄ ← β_w·w̄ + (1−β_w)·w          ŵ = w̄ / (1−β_wᵗ)
//	D ← β_F·D + (1−β_F)·g·δ         D̂ = D / (1−β_Fᵗ)
//	d ← β_F·d + (1−β_F)·δ           d̂ = d / (1−β_Fᵗ)
//	g ← g + κ·D̂/(d̂² + ε)·(w − ŵ)
//
// In the first step δ is 0. (The published code takes weights to have been 0
// before, so that δ is then −w.) Changes that other methods make to weights
// after the optimiser are not in δ unless they come before this one.
type streamingSI struct{ cfg streamingSIConfig }

// UpdateGradient implements [method.GradientUpdater].
func (m *streamingSI) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Kappa == 0 {
		return u.G
	}
	b := u.B
	keep, take := float32(m.cfg.BetaImportance), float32(1-m.cfg.BetaImportance)
	delta := b.Read(u.State("delta", 0))
	average, gains, moves := u.State("weight", 0), u.State("gains", 0), u.State("moves", 0)
	w := b.Add(b.Scale(float32(m.cfg.BetaWeight), b.Read(average)), b.Scale(float32(1-m.cfg.BetaWeight), u.W))
	gain := b.Add(b.Scale(keep, b.Read(gains)), b.Scale(take, b.Mul(u.G, delta)))
	move := b.Add(b.Scale(keep, b.Read(moves)), b.Scale(take, delta))
	b.Assign(average, w)
	b.Assign(gains, gain)
	b.Assign(moves, move)
	correction := u.Correction("importance_correction", m.cfg.BetaImportance)
	importance := b.Div(b.Div(gain, correction), b.Add(b.Square(b.Div(move, correction)), b.Const(float32(m.cfg.Epsilon))))
	away := b.Sub(u.W, b.Div(w, u.Correction("weight_correction", m.cfg.BetaWeight)))
	return b.Add(u.G, b.Mul(b.Scale(float32(m.cfg.Kappa), importance), away))
}

// UpdateWeight implements [method.WeightUpdater]: it notes δ.
func (m *streamingSI) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.Kappa != 0 {
		u.B.Assign(u.State("delta", 0), u.B.Sub(u.W, w))
	}
	return w
}

var (
	_ method.GradientUpdater = (*streamingSI)(nil)
	_ method.WeightUpdater   = (*streamingSI)(nil)
)
