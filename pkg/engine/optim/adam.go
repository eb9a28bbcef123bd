package optim

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
)

func init() {
	Register(component.Info{
		Name:    "adam",
		Paper:   "Kingma & Ba 2015, algorithm 1",
		Summary: "Adam: steps scaled by bias-corrected moments of the gradient",
	}, adamConfig{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}, nil, func(c adamConfig) Optimizer { return &adam{cfg: c} })
	Register(component.Info{
		Name:    "adamw",
		Paper:   "Loshchilov & Hutter 2019, algorithm 2 (as torch.optim.AdamW)",
		Summary: "Adam with decoupled weight decay: w ← w·(1 − lr·weight_decay) first",
	}, adamWConfig{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01}, map[string]adamWConfig{
		"upgd-input-permuted-mnist": {LR: 1e-4, Beta1: 0, Beta2: 0.99, Epsilon: 1e-8, WeightDecay: 0},
	}, func(c adamWConfig) Optimizer {
		return &adam{cfg: adamConfig{c.LR, c.Beta1, c.Beta2, c.Epsilon}, decay: c.WeightDecay}
	})
	Register(component.Info{
		Name:    "amsgrad",
		Paper:   "Reddi, Kale & Kumar 2018, algorithm 2 (as torch.optim.Adam with amsgrad)",
		Summary: "Adam whose second moment never falls: v̂ ← max(v̂, v)",
	}, adamConfig{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}, nil, func(c adamConfig) Optimizer { return &adam{cfg: c, amsgrad: true} })
}

type adamConfig struct {
	LR      float64 `json:"lr" doc:"step size"`
	Beta1   float64 `json:"beta1" doc:"decay of the first moment"`
	Beta2   float64 `json:"beta2" doc:"decay of the second moment"`
	Epsilon float64 `json:"epsilon" doc:"added to the root of the second moment"`
}

func (c adamConfig) Validate() error {
	return errors.Join(checkLR(c.LR), checkDecay("beta1", c.Beta1), checkDecay("beta2", c.Beta2), checkEpsilon(c.Epsilon))
}

type adamWConfig struct {
	LR          float64 `json:"lr" doc:"step size"`
	Beta1       float64 `json:"beta1" doc:"decay of the first moment"`
	Beta2       float64 `json:"beta2" doc:"decay of the second moment"`
	Epsilon     float64 `json:"epsilon" doc:"added to the root of the second moment"`
	WeightDecay float64 `json:"weight_decay" doc:"fraction of lr by which weights shrink each step"`
}

func (c adamWConfig) Validate() error {
	return errors.Join(adamConfig{c.LR, c.Beta1, c.Beta2, c.Epsilon}.Validate(), checkNotNegative("weight_decay", c.WeightDecay))
}

// StateArrays returns 2: the moments.
func (adamConfig) StateArrays() int { return 2 }

// StateArrays returns 2: the moments.
func (adamWConfig) StateArrays() int { return 2 }

type adam struct {
	cfg     adamConfig
	decay   float64
	amsgrad bool
}

// Update returns the Adam step:
//
//	m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
//	w ← w·(1 − lr·decay) − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)
//
// In this order, which is PyTorch's, a weight costs one root and one division.
func (o *adam) Update(u *Update) graph.Node {
	b := u.B
	m := u.Average(u.State("m", 0), o.cfg.Beta1, u.G)
	v := u.Average(u.State("v", 0), o.cfg.Beta2, b.Mul(u.G, u.G))
	rate := b.Div(b.Const(float32(o.cfg.LR)), u.Correction("correction1", o.cfg.Beta1))
	root := b.Recip(b.Sqrt(u.Correction("correction2", o.cfg.Beta2)))
	if o.amsgrad {
		largest := u.State("v_max", 0)
		v = b.Max(b.Read(largest), v)
		b.Assign(largest, v)
	}
	w := u.W
	if o.decay != 0 {
		w = b.Scale(float32(1-float64(o.cfg.LR*o.decay)), w)
	}
	return b.Sub(w, b.Div(b.Mul(rate, m), b.Add(b.Mul(b.Sqrt(v), root), b.Const(float32(o.cfg.Epsilon)))))
}
