package normalise

import (
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "normalize-and-project",
		Paper:   "Lyle et al. 2024, Normalization and Effective Learning Rates in Reinforcement Learning",
		Summary: "layer norm before every activation, and weight matrices that keep their initial norm",
		Trial:   component.Trial{Inert: []component.Object{{"layer_norm": false, "period": 1e6}}, Lively: component.Object{"layer_norm": false}},
	}, napConfig{LayerNorm: true, Period: 1}, nil, newNaP)
}

type napConfig struct {
	LayerNorm bool  `json:"layer_norm" doc:"hidden layers without a normalisation get layer norm; for networks that are chains of layers"`
	Period    int64 `json:"period" doc:"steps from one projection to the next"`
}

func (c napConfig) Validate() error {
	if c.Period < 1 {
		return component.Fieldf("period", "must be at least 1 step, is %d", c.Period)
	}
	return nil
}

// Build implements [method.Builder].
func (c napConfig) Build(bp *nn.Blueprint) error {
	if !c.LayerNorm {
		return nil
	}
	for i := range bp.Layers {
		l := &bp.Layers[i]
		if i < len(bp.Layers)-1 && l.Activation.Name() != "linear" && (l.Norm == "" || l.Norm == "none") {
			l.Norm = "layer"
		}
	}
	return nil
}

// nap projects the weights of every layer, the output included, back to the
// sphere on which they started, after each step or every so many:
//
//	W ← W·‖W₀‖_F / ‖W‖_F
//
// so that the effective learning rate does not fall as weights grow. Behind a
// normalisation the scale of W does not change the function. Biases, and scales
// and shifts of normalisations, are left alone; the paper leaves scales and
// shifts out of its simplest form, or decays them (combine with l2-init).
// A matrix that is all 0 stays so. Optimiser state is not rescaled.
type nap struct {
	period  int64
	weights []*nn.Param
	norms   []float64 // ‖W₀‖
}

func newNaP(c napConfig, env method.Env) (method.Method, error) {
	m := &nap{period: c.Period}
	for _, p := range env.Network.Params() {
		if p.Role == nn.Weight {
			m.weights = append(m.weights, p)
			m.norms = append(m.norms, frobenius(p.Var.F32))
		}
	}
	return m, nil
}

// frobenius returns the norm of a matrix.
func frobenius(w []float32) float64 { return math.Sqrt(float64(kernel.SumSquares(w))) }

// AfterStep implements [method.AfterStep].
func (m *nap) AfterStep(s *learner.Step) error {
	if (s.Index+1)%m.period != 0 {
		return nil
	}
	for i, p := range m.weights {
		if now := frobenius(p.Var.F32); now > 0 {
			kernel.Scale(p.Var.F32, float32(m.norms[i]/now), p.Var.F32)
		}
	}
	return nil
}

var (
	_ method.Builder   = napConfig{}
	_ method.AfterStep = (*nap)(nil)
)
