package regularise

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/optim"
)

func init() {
	half := func(lambda float64) l2Config { return l2Config{Lambda: lambda, Penalty: halfSquaredNorm} }
	kumar := l2Config{Lambda: 1e-2, Penalty: squaredNorm}
	method.Register(component.Info{
		Name:    "l2",
		Paper:   "Krogh & Hertz 1991, A Simple Weight Decay Can Improve Generalization",
		Summary: "L2 regularisation: weights and biases are pulled towards 0",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.01}},
	}, half(1e-4), map[string]l2Config{
		// Dohare et al. 2024, online permuted MNIST: the sweep; 1e-4 is plotted.
		"online-permuted-mnist-1e-3": half(1e-3),
		"online-permuted-mnist-1e-4": half(1e-4),
		"online-permuted-mnist-1e-5": half(1e-5),
		// Kumar et al. 2024, table 3: chosen with Adam (lr 1e-3) and with SGD
		// (lr 1e-2) on permuted MNIST, and on random-label MNIST.
		"kumar-permuted-mnist":     kumar,
		"kumar-random-label-mnist": kumar,
	}, newL2)
}

// Two conventions of writing a squared penalty, a factor of 2 in λ apart.
const (
	halfSquaredNorm = "half-squared-norm"
	squaredNorm     = "squared-norm"
)

type l2Config struct {
	Lambda  float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Penalty string  `json:"penalty" doc:"what the loss gains: half-squared-norm is λ/2·‖θ‖², gradient λθ, as weight_decay of PyTorch's SGD and Adam; squared-norm is λ‖θ‖², gradient 2λθ, as Kumar et al. 2024" enum:"half-squared-norm|squared-norm"`
}

func (c l2Config) Validate() error { return check.Range("lambda", c.Lambda, 0, 1e6) }

// l2 adds the penalty's gradient to every gradient, before the optimiser:
//
//	half-squared-norm   g ← g + λ·w
//	squared-norm        g ← g + 2λ·w
//
// With Adam that is L2 regularisation, not the decoupled decay of AdamW. The
// default is the convention of PyTorch, whose weight_decay most published λ are.
type l2 struct{ factor float32 }

func newL2(c l2Config, _ method.Env) (method.Method, error) {
	return &l2{penaltyFactor(c.Lambda, c.Penalty)}, nil
}

// penaltyFactor is what the gradient of a squared penalty multiplies with.
func penaltyFactor(lambda float64, penalty string) float32 {
	if penalty == squaredNorm {
		lambda *= 2
	}
	return float32(lambda)
}

// UpdateGradient implements [method.GradientUpdater].
func (m *l2) UpdateGradient(u *optim.Update) graph.Node {
	if m.factor == 0 {
		return u.G
	}
	return u.B.Add(u.G, u.B.Scale(m.factor, u.W))
}

var _ method.GradientUpdater = (*l2)(nil)
