package optim

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
)

func init() {
	def := upgdConfig{LR: 0.01, WeightDecay: 0.01, Beta: 0.9999, Sigma: 0.1, Protect: true, Scaling: "global", Maximum: "corrected"}
	// What Elsayed & Mahmood 2024 chose for their figures, which their code made.
	published := func(lr, decay, beta, sigma float64) upgdConfig {
		return upgdConfig{lr, decay, beta, sigma, true, "global", "reference-code"}
	}
	Register(component.Info{
		Name:    "upgd",
		Paper:   "Elsayed & Mahmood 2024, Addressing Loss of Plasticity and Catastrophic Forgetting in Continual Learning, algorithm 1 (first-order utility)",
		Summary: "utility-based perturbed gradient descent: useful weights are protected, the others perturbed",
	}, def, map[string]upgdConfig{
		"input-permuted-mnist":         published(0.01, 0.01, 0.9999, 0.1),
		"label-permuted-emnist":        published(0.01, 0, 0.9, 0.001),
		"label-permuted-cifar10":       published(0.01, 0, 0.999, 0.001),
		"label-permuted-cifar10-paper": published(0.01, 0, 0.999, 0),
	}, func(c upgdConfig) Optimizer { return &upgd{upgdConfig: c} })
	Register(component.Info{
		Name:    "adaptive-upgd",
		Paper:   "Elsayed & Mahmood 2024, as in their reinforcement learning code (AdaptiveUPGD)",
		Summary: "UPGD with Adam's direction in the place of the gradient",
	}, adaptiveUPGDConfig{
		LR: 1e-3, WeightDecay: 0.001, Beta: 0.999, Sigma: 0.001, Protect: true, Scaling: "global", Maximum: "corrected",
		Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-5,
	}, nil, func(c adaptiveUPGDConfig) Optimizer {
		return &upgd{
			upgdConfig: upgdConfig{c.LR, c.WeightDecay, c.Beta, c.Sigma, c.Protect, c.Scaling, c.Maximum},
			adam:       &adamConfig{c.LR, c.Beta1, c.Beta2, c.Epsilon},
		}
	})
}

type upgdConfig struct {
	LR          float64 `json:"lr" doc:"step size α, of gradient and noise"`
	WeightDecay float64 `json:"weight_decay" doc:"fraction λ of lr by which weights shrink each step"`
	Beta        float64 `json:"beta" doc:"decay β of the running average of utilities"`
	Sigma       float64 `json:"sigma" doc:"standard deviation σ of the noise"`
	Protect     bool    `json:"protect" doc:"true: useful weights are kept from gradient and noise (UPGD-W); false: from noise only"`
	Scaling     string  `json:"scaling" doc:"what utilities are compared with: global is the largest of the network, local the norm of the unit's" enum:"global|local"`
	Maximum     string  `json:"maximum" doc:"corrected: the global maximum is of bias-corrected utilities, as the paper; reference-code: of uncorrected ones" enum:"corrected|reference-code"`
}

func (c upgdConfig) Validate() error {
	return errors.Join(checkLR(c.LR), checkNotNegative("weight_decay", c.WeightDecay), checkDecay("beta", c.Beta), checkNotNegative("sigma", c.Sigma))
}

type adaptiveUPGDConfig struct {
	LR          float64 `json:"lr" doc:"step size α, of direction and noise"`
	WeightDecay float64 `json:"weight_decay" doc:"fraction λ of lr by which weights shrink each step"`
	Beta        float64 `json:"beta" doc:"decay β of the running average of utilities"`
	Sigma       float64 `json:"sigma" doc:"standard deviation σ of the noise"`
	Protect     bool    `json:"protect" doc:"true: useful weights are kept from direction and noise; false: from noise only"`
	Scaling     string  `json:"scaling" doc:"what utilities are compared with: global is the largest of the network, local the norm of the unit's" enum:"global|local"`
	Maximum     string  `json:"maximum" doc:"corrected: the global maximum is of bias-corrected utilities; reference-code: of uncorrected ones" enum:"corrected|reference-code"`
	Beta1       float64 `json:"beta1" doc:"decay of the first moment"`
	Beta2       float64 `json:"beta2" doc:"decay of the second moment"`
	Epsilon     float64 `json:"epsilon" doc:"added to the root of the second moment"`
}

func (c adaptiveUPGDConfig) Validate() error {
	return errors.Join(
		upgdConfig{LR: c.LR, WeightDecay: c.WeightDecay, Beta: c.Beta, Sigma: c.Sigma}.Validate(),
		checkDecay("beta1", c.Beta1), checkDecay("beta2", c.Beta2), checkEpsilon(c.Epsilon),
	)
}

// StateArrays returns 2: the utilities, and the noise of the step.
func (upgdConfig) StateArrays() int { return 2 }

// StateArrays returns 4: the utilities, the noise of the step and the moments.
func (adaptiveUPGDConfig) StateArrays() int { return 4 }

// upgd measures what the loss would lose with each weight, by a first-order
// estimate, and moves it the less the more that is:
//
//	U ← β·U − (1−β)·g·w          Û = U / (1−βᵗ)
//	s = sigmoid(Û / max Û)       over all parameters of the network: global
//	s = sigmoid(Û / ‖Û‖)         over the incoming weights of a unit: local
//	w ← w·(1−αλ) − α·(d + σξ)·(1−s)          protecting
//	w ← w·(1−αλ) − α·(d + σξ·(1−s))          not protecting
//
// with ξ ~ N(0, 1) for each weight and step. d is the gradient g or, for
// adaptive-upgd, Adam's m̂/(√v̂ + ε). Biases are weights like the others; the
// unit that local scaling gives them is their layer.
//
// The published code divides Û by the largest U, without its correction:
// reference-code, which matters as long as βᵗ is not small. The variant in its
// README, and its AdaptiveUPGD, step by 2α: twice lr and half the
// weight_decay here. Where the largest utility is 0 (below 1e-30 in size) all
// weights have s = ½; the published code then divides 0 by 0.
type upgd struct {
	upgdConfig
	adam *adamConfig

	prepared map[*nn.Param]utility
	byMax    graph.Node // 1/max Û, 0 where there is no telling
}

// utility is a parameter's Û, as sum·factor.
type utility struct{ sum, factor graph.Node }

// Prepare implements [Preparer].
func (o *upgd) Prepare(us []*Update) {
	o.prepared = map[*nn.Param]utility{}
	o.byMax = graph.Node{}
	var largest graph.Node
	for _, u := range us {
		b := u.B
		state := u.State("utility", 0)
		sum := b.Flush(b.Sub(b.Scale(float32(o.Beta), b.Read(state)), b.Scale(float32(1-o.Beta), b.Mul(u.G, u.W))))
		b.Assign(state, sum)
		util := utility{sum, b.Recip(u.Correction("correction", o.Beta))}
		raw := sum
		if util.factor.Shape().Elems() > 1 { // steps are counted weight by weight
			util = utility{b.Mul(sum, util.factor), b.Const(1)}
		}
		o.prepared[u.Param] = util
		if o.Scaling == "local" {
			continue
		}
		most := b.MaxAll(raw)
		if o.Maximum == "corrected" {
			most = b.Mul(b.MaxAll(util.sum), b.Reshape(util.factor))
		}
		if largest.Valid() {
			most = b.Max(largest, most)
		}
		largest = most
	}
	if largest.Valid() {
		b := us[0].B
		o.byMax = b.Select(b.Greater(b.Abs(largest), b.Const(1e-30)), b.Recip(largest), b.Const(0))
	}
}

// Update implements [Optimizer].
func (o *upgd) Update(u *Update) graph.Node {
	b := u.B
	d := u.G
	if o.adam != nil {
		d = o.adamDirection(u)
	}
	open := b.Sigmoid(b.Mul(o.prepared[u.Param].sum, b.Neg(o.scale(u)))) // 1 − s = sigmoid(−Û/…)
	if o.Sigma != 0 {
		noise := b.Scale(float32(o.Sigma), u.Noise("noise"))
		if !o.Protect {
			noise = b.Mul(noise, open)
		}
		d = b.Add(d, noise)
	}
	if o.Protect {
		d = b.Mul(d, open)
	}
	w := u.W
	if o.WeightDecay != 0 {
		w = b.Scale(float32(1-float64(o.LR*o.WeightDecay)), w)
	}
	return b.Sub(w, b.Scale(float32(o.LR), d))
}

// scale returns what a parameter's sum multiplies with in the sigmoid.
func (o *upgd) scale(u *Update) graph.Node {
	b, util := u.B, o.prepared[u.Param]
	if o.Scaling == "global" {
		return b.Mul(util.factor, o.byMax)
	}
	var inputs []int // all axes but the units', which is the last, or that of a bias
	for axis := range max(1, len(util.sum.Shape())-1) {
		inputs = append(inputs, axis)
	}
	norm := b.Mul(b.Sqrt(b.SumAxes(b.Square(util.sum), inputs...)), util.factor)
	return b.Div(util.factor, b.Max(norm, b.Const(1e-12)))
}

// adamDirection returns m̂/(√v̂ + ε).
func (o *upgd) adamDirection(u *Update) graph.Node {
	b := u.B
	ms, vs := u.State("m", 0), u.State("v", 0)
	m := u.Average(ms, o.adam.Beta1, u.G)
	v := u.Average(vs, o.adam.Beta2, b.Mul(u.G, u.G))
	rate := b.Recip(u.Correction("correction1", o.adam.Beta1))
	root := b.Recip(b.Sqrt(u.Correction("correction2", o.adam.Beta2)))
	return b.Div(b.Mul(rate, m), b.Add(b.Mul(b.Sqrt(v), root), b.Const(float32(o.adam.Epsilon))))
}

var _ Preparer = (*upgd)(nil)
