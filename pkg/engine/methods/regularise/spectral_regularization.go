package regularise

import (
	"errors"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "spectral-regularization",
		Paper:   "Lewandowski et al. 2025, Learning Continually by Spectral Regularization",
		Summary: "the largest singular value of every layer is pulled to 1",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{"lambda": 0.01}},
	}, spectralConfig{Lambda: 1e-4, Power: 2}, nil, newSpectral)
}

type spectralConfig struct {
	Lambda float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Power  int     `json:"power" doc:"k: the power of the singular value that is pulled to 1"`
}

func (c spectralConfig) Validate() error {
	var power error
	if c.Power < 1 || c.Power > 16 {
		power = component.Fieldf("power", "must be between 1 and 16, is %d", c.Power)
	}
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e6), power)
}

// spectral adds to the loss, over all layers, the output included,
//
//	λ·(σ₁(W)ᵏ − 1)²                  weights
//	λ·‖b‖²ᵏ                          biases
//	λ·Σ(γᵏ − 1)²  and  λ·Σβ²ᵏ        scales and shifts of normalisations
//
// σ₁ is the largest singular value by one power iteration a step, from where the
// last step left off (the vectors are constants for the gradient):
//
//	v ← Wu/‖Wu‖    u ← Wᵀv/‖Wᵀv‖    σ₁ = vᵀWu
//
// with W [in][out]. u starts as a draw from the normal distribution. The weights
// of a convolution are a matrix of all inputs of a window by channels.
type spectral struct {
	lambda float32
	power  int
	u      map[*nn.Param]*graph.Var
}

func newSpectral(c spectralConfig, env method.Env) (method.Method, error) {
	m := &spectral{lambda: float32(c.Lambda), power: c.Power, u: map[*nn.Param]*graph.Var{}}
	if c.Lambda == 0 {
		return m, nil
	}
	for _, p := range env.Network.Params() {
		if p.Role != nn.Weight {
			continue
		}
		out := p.Var.Shape[len(p.Var.Shape)-1]
		v := env.State("u/"+p.Var.Name, graph.F32, out, 1)
		env.Key("u/"+p.Var.Name).FillNormal(v.F32, 0)
		normalize(v.F32)
		m.u[p] = v
	}
	return m, nil
}

// Loss implements [method.Losser].
func (m *spectral) Loss(t *method.Trace) graph.Node {
	if m.lambda == 0 {
		return graph.Node{}
	}
	b := t.B
	var loss graph.Node
	for _, p := range t.Network.Params() {
		w := b.Read(p.Var)
		var term graph.Node
		switch p.Role {
		case nn.Weight:
			term = b.Square(b.Sub(b.Pow(m.singular(b, p, w), float64(m.power)), b.Const(1)))
		case nn.Bias:
			term = b.Pow(b.Sum(b.Square(w)), float64(m.power))
		case nn.Gain:
			term = b.Sum(b.Square(b.Sub(b.Pow(w, float64(m.power)), b.Const(1))))
		case nn.Shift:
			term = b.Sum(b.Pow(b.Square(w), float64(m.power)))
		default:
			continue
		}
		if loss.Valid() {
			term = b.Add(loss, term)
		}
		loss = term
	}
	return b.Scale(m.lambda, loss)
}

// singular traces the power iteration and returns σ₁, a scalar.
func (m *spectral) singular(b *graph.Builder, p *nn.Param, w graph.Node) graph.Node {
	unit := func(x graph.Node) graph.Node {
		return b.StopGradient(b.Div(x, b.Max(b.Sqrt(b.Sum(b.Square(x))), b.Const(1e-12))))
	}
	out := m.u[p].Len()
	w = b.Reshape(w, w.Shape().Elems()/out, out)
	v := b.Reshape(unit(b.MatMul(w, b.Read(m.u[p]))), 1, w.Shape()[0])
	vw := b.MatMul(v, w) // [1][out]
	u := unit(vw)
	b.Assign(m.u[p], b.Reshape(u, out, 1))
	return b.Sum(b.Mul(vw, u))
}

// normalize scales x to norm 1.
func normalize(x []float32) {
	var sum float64
	for _, v := range x {
		sum += float64(float64(v) * float64(v))
	}
	for i := range x {
		x[i] = float32(float64(x[i]) / math.Sqrt(sum))
	}
}

var _ method.Losser = (*spectral)(nil)
