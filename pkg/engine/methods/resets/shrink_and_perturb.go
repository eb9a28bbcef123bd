package resets

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
)

func init() {
	lop := func(sigma float64) shrinkPerturbConfig { return shrinkPerturbConfig{"lop", 1e-4, sigma} }
	method.Register(component.Info{
		Name:    "shrink-and-perturb",
		Paper:   "Ash & Adams 2020, On Warm-Starting Neural Network Training; step by step as in Dohare et al. 2024, Elsayed & Mahmood 2024, Kumar et al. 2024",
		Summary: "weights shrink towards 0 and are disturbed by noise",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert: []component.Object{
				{"shrink": 0.0, "sigma": 0.0}, {"shrink": 0.0, "sigma": 0.0, "variant": "upgd"},
				{"shrink": 0.0, "sigma": 0.0, "variant": "kumar"}, {"shrink": 0.0, "sigma": 0.0, "variant": "ash-adams"},
			},
			Lively: component.Object{"shrink": 0.01, "sigma": 0.01},
		},
	}, lop(1e-5), map[string]shrinkPerturbConfig{
		// Dohare et al. 2024, online permuted MNIST, lr 0.003: the sweep; 1e-5
		// is plotted.
		"online-permuted-mnist-1e-4": lop(1e-4),
		"online-permuted-mnist-1e-5": lop(1e-5),
		"online-permuted-mnist-1e-6": lop(1e-6),
		// Elsayed & Mahmood 2024, input-permuted MNIST, lr 0.001: code and paper
		// differ in σ.
		"upgd-input-permuted-mnist":       {"upgd", 0.01, 0.05},
		"upgd-input-permuted-mnist-paper": {"upgd", 0.01, 0.1},
		// Kumar et al. 2024, table 3: permuted MNIST with Adam (lr 1e-3);
		// random-label MNIST with Adam, and permuted MNIST with SGD (lr 1e-2).
		"kumar-permuted-mnist-adam":     {"kumar", 1e-3, 1e-2},
		"kumar-permuted-mnist-sgd":      {"kumar", 1e-4, 1e-2},
		"kumar-random-label-mnist-adam": {"kumar", 1e-4, 1e-2},
		// Ash & Adams 2020: λ = 0.6, σ = 0.01.
		"ash-adams": {"ash-adams", 0.4, 0.01},
	}, newShrinkPerturb)
}

// shrinkPerturbConfig has one strength of each half, s and σ, whose place in
// the formula the variant says (α is the optimiser's step size, opt its step,
// ξ ~ N(0, 1), ε from the distribution that the weight was initialised from):
//
//	lop         w ← opt(w, g + s·w) + σ·ξ              every step
//	upgd        w ← w·(1 − α·s) − α·(g + σ·ξ)          every step
//	kumar       w ← (1 − s)·opt(w, g) + σ·ε            every step
//	ash-adams   w ← (1 − s)·w + σ·ξ                    at the end of each task
//
// s is the weight decay λ of lop and upgd, 1 − p of Kumar et al., 1 − λ of Ash
// and Adams. lop is the default: it is what the published comparisons with
// continual backprop ran. All variants take in the biases. Where an initialiser
// makes biases 0, kumar's ε for them is 0 too.
type shrinkPerturbConfig struct {
	Variant string  `json:"variant" doc:"lop: L2 in the gradient, noise after the step; upgd: decay and noise both scaled by the step size; kumar: shrink after the step, noise from the initialiser's distribution; ash-adams: once at the end of each task" enum:"lop|upgd|kumar|ash-adams"`
	Shrink  float64 `json:"shrink" doc:"strength s of the shrinking: weight decay λ (lop, upgd), or the fraction by which weights shrink (kumar: 1−p, ash-adams: 1−λ)"`
	Sigma   float64 `json:"sigma" doc:"scale σ of the noise"`
}

func (c shrinkPerturbConfig) Validate() error {
	hi := 1e6
	if c.Variant == "kumar" || c.Variant == "ash-adams" {
		hi = 1
	}
	return errors.Join(check.Range("shrink", c.Shrink, 0, hi), check.Range("sigma", c.Sigma, 0, 1e6))
}

func newShrinkPerturb(c shrinkPerturbConfig, env method.Env) (method.Method, error) {
	s, sigma := float32(c.Shrink), float32(c.Sigma)
	switch c.Variant {
	case "upgd":
		return &shrinkPerturbUPGD{s, sigma}, nil
	case "kumar":
		m := &shrinkPerturbKumar{keep: float32(1 - c.Shrink), sigma: sigma}
		m.noise = newWeightNoise(env, func(p *nn.Param) nn.Distribution {
			noise := p.Init
			noise.Mean = 0 // 1 for the scale of a normalisation
			return noise
		})
		return m, nil
	case "ash-adams":
		m := &shrinkPerturbAshAdams{keep: float32(1 - c.Shrink), sigma: sigma}
		m.noise = newWeightNoise(env, func(*nn.Param) nn.Distribution { return nn.Distribution{Normal: 1} })
		return m, nil
	}
	return &shrinkPerturbLop{s, sigma}, nil
}

type shrinkPerturbLop struct{ shrink, sigma float32 }

// UpdateGradient implements [method.GradientUpdater].
func (m *shrinkPerturbLop) UpdateGradient(u *optim.Update) graph.Node {
	if m.shrink == 0 {
		return u.G
	}
	return u.B.Add(u.G, u.B.Scale(m.shrink, u.W))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *shrinkPerturbLop) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.sigma == 0 {
		return w
	}
	return u.B.Add(w, u.B.Scale(m.sigma, u.Noise("noise")))
}

type shrinkPerturbUPGD struct{ shrink, sigma float32 }

// UpdateGradient implements [method.GradientUpdater]. With SGD
// w − α·(g + s·w + σ·ξ) = w·(1 − α·s) − α·(g + σ·ξ), whatever α is; another
// optimiser sees decay and noise as part of the gradient.
func (m *shrinkPerturbUPGD) UpdateGradient(u *optim.Update) graph.Node {
	g := u.G
	if m.shrink != 0 {
		g = u.B.Add(g, u.B.Scale(m.shrink, u.W))
	}
	if m.sigma != 0 {
		g = u.B.Add(g, u.B.Scale(m.sigma, u.Noise("noise")))
	}
	return g
}

// shrinkPerturbKumar works on the stored weights, because the graph draws
// normal noise only.
type shrinkPerturbKumar struct {
	keep, sigma float32
	noise       *weightNoise
}

// AfterStep implements [method.AfterStep].
func (m *shrinkPerturbKumar) AfterStep(s *learner.Step) error {
	m.noise.shrinkAndPerturb(m.keep, m.sigma, uint64(s.Index))
	return nil
}

type shrinkPerturbAshAdams struct {
	keep, sigma float32
	noise       *weightNoise
}

// TaskBoundary implements [method.TaskBoundary].
func (m *shrinkPerturbAshAdams) TaskBoundary(s *learner.Step) error {
	m.noise.shrinkAndPerturb(m.keep, m.sigma, uint64(s.Index))
	return nil
}

// weightNoise draws noise for the network's stored parameters.
type weightNoise struct {
	params []*nn.Param
	from   []nn.Distribution
	keys   []rng.Key
	drawn  []float32
}

func newWeightNoise(env method.Env, from func(*nn.Param) nn.Distribution) *weightNoise {
	n := &weightNoise{params: env.Network.Params()}
	for _, p := range n.params {
		n.from = append(n.from, from(p))
		n.keys = append(n.keys, env.Key("noise/"+p.Var.Name))
		n.drawn = append(n.drawn, make([]float32, max(0, p.Var.Len()-len(n.drawn)))...)
	}
	return n
}

// shrinkAndPerturb sets w ← keep·w + sigma·noise, the noise being the draw of
// that number.
func (n *weightNoise) shrinkAndPerturb(keep, sigma float32, draw uint64) {
	for i, p := range n.params {
		w := p.Var.F32
		if keep != 1 {
			for j := range w {
				w[j] *= keep
			}
		}
		if sigma == 0 || n.from[i] == (nn.Distribution{}) {
			continue
		}
		noise := n.drawn[:len(w)]
		n.from[i].Fill(noise, n.keys[i], draw)
		for j, e := range noise {
			w[j] += float32(sigma * e)
		}
	}
}

var (
	_ method.GradientUpdater = (*shrinkPerturbLop)(nil)
	_ method.WeightUpdater   = (*shrinkPerturbLop)(nil)
	_ method.GradientUpdater = (*shrinkPerturbUPGD)(nil)
	_ method.AfterStep       = (*shrinkPerturbKumar)(nil)
	_ method.TaskBoundary    = (*shrinkPerturbAshAdams)(nil)
)
