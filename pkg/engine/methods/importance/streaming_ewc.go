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
		Name:    "streaming-ewc",
		Paper:   "Kirkpatrick et al. 2017 (EWC), as a streaming method in Elsayed & Mahmood 2024",
		Summary: "weights are pulled to their running average, the more the larger their squared gradients were",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"kappa": 0.0}}, Lively: component.Object{"kappa": 0.1}},
	}, streamingEWCConfig{Kappa: 1, BetaWeight: 0.9999, BetaImportance: 0.999}, map[string]streamingEWCConfig{
		// With SGD, from the code of Elsayed & Mahmood 2024.
		"input-permuted-mnist":  {Kappa: 1, BetaWeight: 0.9999, BetaImportance: 0.999},
		"label-permuted-emnist": {Kappa: 1, BetaWeight: 0.9999, BetaImportance: 0.9999},
		// Their table 3 differs from their code.
		"input-permuted-mnist-paper": {Kappa: 0.001, BetaWeight: 0.99, BetaImportance: 0.999},
	}, func(c streamingEWCConfig, _ method.Env) (method.Method, error) { return &streamingEWC{c}, nil })
}

type streamingEWCConfig struct {
	Kappa          float64 `json:"kappa" doc:"strength κ of the pull; 0 changes nothing"`
	BetaWeight     float64 `json:"beta_weight" doc:"β_w: decay of the running average of weights"`
	BetaImportance float64 `json:"beta_importance" doc:"β_F: decay of the running average of importance"`
}

func (c streamingEWCConfig) Validate() error {
	return errors.Join(check.Range("kappa", c.Kappa, 0, 1e6), check.Decay("beta_weight", c.BetaWeight), check.Decay("beta_importance", c.BetaImportance))
}

// streamingEWC needs no task boundaries. Every step, before the optimiser:
//
//	w̄ ← β_w·w̄ + (1−β_w)·w          ŵ = w̄ / (1−β_wᵗ)
//	F ← β_F·F + (1−β_F)·g²       F̂ = F / (1−β_Fᵗ)
//	g ← g + κ·F̂·(w − ŵ)
type streamingEWC struct{ cfg streamingEWCConfig }

// UpdateGradient implements [method.GradientUpdater].
func (m *streamingEWC) UpdateGradient(u *optim.Update) graph.Node {
	if m.cfg.Kappa == 0 {
		return u.G
	}
	b := u.B
	average, importance := u.State("weight", 0), u.State("importance", 0)
	w := b.Add(b.Scale(float32(m.cfg.BetaWeight), b.Read(average)), b.Scale(float32(1-m.cfg.BetaWeight), u.W))
	f := b.Add(b.Scale(float32(m.cfg.BetaImportance), b.Read(importance)), b.Scale(float32(1-m.cfg.BetaImportance), b.Mul(u.G, u.G)))
	b.Assign(average, w)
	b.Assign(importance, f)
	away := b.Sub(u.W, b.Div(w, u.Correction("weight_correction", m.cfg.BetaWeight)))
	strength := b.Div(b.Const(float32(m.cfg.Kappa)), u.Correction("importance_correction", m.cfg.BetaImportance))
	return b.Add(u.G, b.Mul(b.Mul(strength, f), away))
}

var _ method.GradientUpdater = (*streamingEWC)(nil)
