package normalise

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "input-normalizer",
		Paper:   "Welford 1962, Note on a Method for Calculating Corrected Sums of Squares and Products, with exponential forgetting",
		Summary: "a control: every input is seen with mean 0 and deviation 1, by its running statistics",
		Trial: component.Trial{
			Inert: []component.Object{}, Lively: component.Object{"decay": 0.9},
			Network: component.Object{"kind": "mlp", "hidden": []any{7.0, 5.0}},
		},
	}, inputNormalizerConfig{Decay: 0.99, Epsilon: 1e-8}, map[string]inputNormalizerConfig{
		// Chosen with plain SGD (lr 0.01, L2 0.01; without L2) on the streams of
		// Elsayed & Mahmood 2024.
		"input-permuted-mnist":  {Decay: 0.99, Epsilon: 1e-8},
		"label-permuted-emnist": {Decay: 0.999, Epsilon: 1e-8},
	}, func(c inputNormalizerConfig, _ method.Env) (method.Method, error) { return c, nil })
}

// inputNormalizerConfig puts an [inputNormalizer] before the first layer; all
// of the method is there.
type inputNormalizerConfig struct {
	Decay   float64 `json:"decay" doc:"d: decay of the running mean and variance; the first steps weigh all examples alike"`
	Epsilon float64 `json:"epsilon" doc:"ε: the least variance, which is also added to the deviation"`
}

func (c inputNormalizerConfig) Validate() error {
	return errors.Join(check.Decay("decay", c.Decay), check.Range("epsilon", c.Epsilon, 1e-12, 1))
}

// Build implements [method.Builder].
func (c inputNormalizerConfig) Build(bp *nn.Blueprint) error {
	if len(bp.Layers) == 0 {
		return component.Fieldf("", "goes with chains of layers (mlp, cnn) only")
	}
	bp.Input = append(bp.Input, &inputNormalizer{cfg: c})
	return nil
}

// inputNormalizer keeps a mean and a variance of every input. Step number t,
// from 1 on, moves them with the batch's examples x, and the network sees x̂:
//
//	r  = max(1 − d, 1/(t + 1))
//	µ' = µ + r·mean(x − µ)
//	v' = max((1 − r)·v + r·mean((x − µ)·(x − µ')), ε)
//	x̂  = (x − µ')/(√v' + ε)
//
// from µ = 0 and v = 1, as if one example had been seen. Evaluations use what
// training left behind.
type inputNormalizer struct {
	cfg                   inputNormalizerConfig
	mean, variance, steps *graph.Var
}

// Make implements [nn.Adapter].
func (a *inputNormalizer) Make(m *nn.AdapterMaker) error {
	a.mean = m.State("mean", m.Shape...)
	a.variance = m.State("variance", m.Shape...)
	a.steps = m.State("steps")
	for i := range a.variance.F32 {
		a.variance.F32[i] = 1
	}
	return nil
}

// Apply implements [nn.Adapter].
func (a *inputNormalizer) Apply(b *graph.Builder, x graph.Node, mode nn.Mode) graph.Node {
	mean, variance, epsilon := b.Read(a.mean), b.Read(a.variance), b.Const(float32(a.cfg.Epsilon))
	away := b.Sub(x, mean)
	if mode == nn.Training {
		over := func(x graph.Node) graph.Node { return b.Reshape(b.MeanAxes(x, 0), a.mean.Shape...) }
		t := b.Add(b.Read(a.steps), b.Const(1))
		rate := b.Max(b.Const(float32(1-a.cfg.Decay)), b.Recip(b.Add(t, b.Const(1))))
		b.Assign(a.steps, t)
		mean = b.Add(mean, b.Mul(rate, over(away)))
		before := away
		away = b.Sub(x, mean)
		variance = b.Add(b.Mul(b.Sub(b.Const(1), rate), variance), b.Mul(rate, over(b.Mul(before, away))))
		variance = b.Max(variance, epsilon)
		b.Assign(a.mean, mean)
		b.Assign(a.variance, variance)
	}
	return b.Div(away, b.Add(b.Sqrt(variance), epsilon))
}

var (
	_ method.Builder = inputNormalizerConfig{}
	_ nn.Adapter     = (*inputNormalizer)(nil)
)
