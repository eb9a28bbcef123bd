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
		Name:    "streaming-rwalk",
		Paper:   "Chaudhry et al. 2018 (Riemannian walk), as a streaming method in Elsayed & Mahmood 2024",
		Summary: "weights are pulled to their running average, by squared gradients and by what their moves lowered the loss",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"kappa": 0.0}}, Lively: component.Object{"kappa": 0.1}},
	}, streamingRWalkConfig{0.1, 0.9999, 0.99, 1e-3, "gradients"}, map[string]streamingRWalkConfig{
		// With SGD (lr 1e-3 and 1e-2), from the code of Elsayed & Mahmood 2024.
		"input-permuted-mnist":  {0.1, 0.9999, 0.99, 1e-3, "reference-code"},
		"label-permuted-emnist": {0.1, 0.9999, 0.999, 1e-3, "reference-code"},
	}, func(c streamingRWalkConfig, _ method.Env) (method.Method, error) { return &streamingRWalk{c}, nil })
}

type streamingRWalkConfig struct {
	Kappa          float64 `json:"kappa" doc:"strength κ of the pull; 0 changes nothing"`
	BetaWeight     float64 `json:"beta_weight" doc:"β_w: decay of the running average of weights"`
	BetaImportance float64 `json:"beta_importance" doc:"β_F: decay of the running average of importance"`
	Epsilon        float64 `json:"epsilon" doc:"ε: keeps the divisor from 0"`
	Fisher         string  `json:"fisher" doc:"gradients: F is of squared gradients, and scores are kept; reference-code: F is of squared weights, and the score is half of this step's alone" enum:"gradients|reference-code"`
}

func (c streamingRWalkConfig) Validate() error {
	return errors.Join(check.Range("kappa", c.Kappa, 0, 1e6), check.Decay("beta_weight", c.BetaWeight), check.Decay("beta_importance", c.BetaImportance),
		check.Range("epsilon", c.Epsilon, 1e-20, 1e6))
}

// streamingRWalk needs no task boundaries. Every step, before the optimiser,
// with δ = w_before − w, the last update turned round:
//
//	w̄ ← β_w·w̄ + (1−β_w)·w                    ŵ = w̄ / (1−β_wᵗ)
//	s ← ½·(s + max(0, g·δ/(½·F·δ² + ε)))
//	F ← β_F·F + (1−β_F)·g²                    F̂ = F / (1−β_Fᵗ)
//	g ← g + κ·(F̂ + s)·(w − ŵ)
//
// The published code has w² in the place of g², and forgets s from step to step:
// reference-code. In the first step δ is 0 (there it is −w).
type streamingRWalk struct{ cfg streamingRWalkConfig }

// UpdateGradient implements [method.GradientUpdater].
func (m *streamingRWalk) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Kappa == 0 {
		return u.G
	}
	b := u.B
	delta := b.Read(u.State("delta", 0))
	average, importance := u.State("weight", 0), u.State("importance", 0)
	w := b.Add(b.Scale(float32(m.cfg.BetaWeight), b.Read(average)), b.Scale(float32(1-m.cfg.BetaWeight), u.W))
	b.Assign(average, w)

	divisor := b.Add(b.Scale(0.5, b.Mul(b.Read(importance), b.Square(delta))), b.Const(float32(m.cfg.Epsilon)))
	score := b.Scale(0.5, b.ReLU(b.Div(b.Mul(u.G, delta), divisor)))
	of := u.W
	if m.cfg.Fisher == "gradients" {
		of = u.G
		scores := u.State("score", 0)
		score = b.Add(b.Scale(0.5, b.Read(scores)), score)
		b.Assign(scores, score)
	}
	f := b.Add(b.Scale(float32(m.cfg.BetaImportance), b.Read(importance)), b.Scale(float32(1-m.cfg.BetaImportance), b.Square(of)))
	b.Assign(importance, f)

	strength := b.Add(b.Div(f, u.Correction("importance_correction", m.cfg.BetaImportance)), score)
	away := b.Sub(u.W, b.Div(w, u.Correction("weight_correction", m.cfg.BetaWeight)))
	return b.Add(u.G, b.Mul(b.Scale(float32(m.cfg.Kappa), strength), away))
}

// UpdateWeight implements [method.WeightUpdater]: it notes δ.
func (m *streamingRWalk) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.Kappa != 0 {
		u.B.Assign(u.State("delta", 0), u.B.Sub(u.W, w))
	}
	return w
}

var (
	_ method.GradientUpdater = (*streamingRWalk)(nil)
	_ method.WeightUpdater   = (*streamingRWalk)(nil)
)
