package regularise

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/optim"
)

func init() {
	kumar := l2InitConfig{Lambda: 1e-2, Penalty: squaredNorm}
	method.Register(component.Info{
		Name:    "l2-init",
		Paper:   "Kumar, Marklund & Van Roy 2024, Maintaining Plasticity in Continual Learning via Regenerative Regularization",
		Summary: "regenerative regularisation: weights and biases are pulled towards their initial values",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.01}},
	}, kumar, map[string]l2InitConfig{
		// Table 3: chosen with Adam (lr 1e-3; 1e-4 for random labels) and with
		// SGD (lr 1e-2).
		"kumar-permuted-mnist":     kumar,
		"kumar-random-label-mnist": kumar,
		// The 20-task comparison of forgetting in the same paper.
		"kumar-permuted-mnist-20-tasks": {Lambda: 1e-3, Penalty: squaredNorm},
	}, newL2Init)
}

type l2InitConfig struct {
	Lambda  float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Penalty string  `json:"penalty" doc:"what the loss gains: squared-norm is λ‖θ−θ₀‖², gradient 2λ(θ−θ₀), as the paper; half-squared-norm is λ/2·‖θ−θ₀‖², gradient λ(θ−θ₀), as in the code of Elsayed et al. 2024 (weight clipping)" enum:"squared-norm|half-squared-norm"`
}

func (c l2InitConfig) Validate() error { return check.Range("lambda", c.Lambda, 0, 1e6) }

// l2Init adds the penalty's gradient to every gradient, before the optimiser:
//
//	squared-norm        g ← g + 2λ·(w − w₀)
//	half-squared-norm   g ← g + λ·(w − w₀)
//
// w₀ is the value before the first step. (The code of Elsayed et al. takes the
// one after it.) What it does depends on the initialiser: with kaiming-uniform
// biases are pulled to 0, with pytorch to where they were drawn.
type l2Init struct{ factor float32 }

func newL2Init(c l2InitConfig, _ method.Env) (method.Method, error) {
	return &l2Init{penaltyFactor(c.Lambda, c.Penalty)}, nil
}

// UpdateGradient implements [method.GradientUpdater].
func (m *l2Init) UpdateGradient(u *optim.Update) graph.Node {
	if m.factor == 0 {
		return u.G
	}
	return u.B.Add(u.G, u.B.Scale(m.factor, u.B.Sub(u.W, u.Initial())))
}

var _ method.GradientUpdater = (*l2Init)(nil)
