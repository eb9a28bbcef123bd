package importance

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "metaplasticity",
		Paper:   "Laborieux, Ernoult, Hirtzlin & Querlioz 2021, Synaptic metaplasticity in binarized neural networks, equations 1 and 2",
		Summary: "the larger the hidden weight of a binary one, the less it moves towards the other sign",
		Needs:   []component.Capability{component.Gradients},
		Trial: component.Trial{
			Inert: []component.Object{{"m": 0.0}}, Lively: component.Object{"m": 5.0},
			Network: component.Object{"kind": "binary-mlp", "hidden": []any{7.0}, "weights": "sign"},
		},
	}, metaplasticityConfig{M: 1.35}, nil, newMetaplasticity)
}

type metaplasticityConfig struct {
	M float64 `json:"m" doc:"how fast weights consolidate with their size; 0 changes nothing, the paper takes 1.35 for permuted MNIST"`
}

func (c metaplasticityConfig) Validate() error { return check.Range("m", c.M, 0, 1e6) }

// metaplasticity attenuates the optimiser's change Δ of a hidden weight W that
// would bring it nearer to 0, sign(W)·Δ < 0:
//
//	W ← W + (1 − tanh²(m·|W|))·Δ,   else W ← W + Δ
type metaplasticity struct {
	cfg    metaplasticityConfig
	fields []*nn.Param
}

func newMetaplasticity(c metaplasticityConfig, env method.Env) (method.Method, error) {
	net, ok := env.Network.(nn.Binary)
	if !ok {
		return nil, component.Fieldf("kind", "metaplasticity needs a network of binary weights: binary-mlp")
	}
	return &metaplasticity{c, net.Fields()}, nil
}

// UpdateWeight implements [method.WeightUpdater].
func (m *metaplasticity) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.M == 0 {
		return w
	}
	for _, p := range m.fields {
		if p == u.Param {
			b := u.B
			delta := b.Sub(w, u.W)
			// tanh² is even: |W| is as good as W.
			plastic := b.Sub(b.Const(1), b.Square(b.Tanh(b.Scale(float32(m.cfg.M), u.W))))
			towards := b.Greater(b.Const(0), b.Mul(u.W, delta))
			return b.Select(towards, b.Add(u.W, b.Mul(plastic, delta)), w)
		}
	}
	return w
}

var _ method.WeightUpdater = (*metaplasticity)(nil)
