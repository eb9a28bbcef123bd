package regularise

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
		Name:    "parseval-regularization",
		Paper:   "Chung, Cherif, Precup & Meger 2024, Parseval Regularization for Continual Reinforcement Learning",
		Summary: "the incoming weights of a layer's units are pulled to be orthogonal, and of one norm",
		Needs:   []component.Capability{component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}, {"lambda": 0.0, "output": true}}, Lively: component.Object{"lambda": 0.01}},
	}, parsevalConfig{Lambda: 1e-3, Scale: 1}, nil, newParseval)
}

type parsevalConfig struct {
	Lambda float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Scale  float64 `json:"scale" doc:"s: the squared norm that each unit's incoming weights are pulled to"`
	Output bool    `json:"output" doc:"the output layer is regularised, too"`
}

func (c parsevalConfig) Validate() error {
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e6), check.Range("scale", c.Scale, 0, 1e6))
}

// parseval adds to the loss, for the weights W [in][out] of every layer,
//
//	λ·‖WᵀW − s·I‖²_F
//
// Biases and normalisations are left alone, and the output layer, too, unless
// asked for. A layer with more units than inputs cannot be orthogonal; it is
// pulled to what comes nearest. The cost is that of a batch of out examples.
type parseval struct{ cfg parsevalConfig }

func newParseval(c parsevalConfig, _ method.Env) (method.Method, error) { return &parseval{c}, nil }

// Loss implements [method.Losser].
func (m *parseval) Loss(t *method.Trace) graph.Node {
	if m.cfg.Lambda == 0 {
		return graph.Node{}
	}
	b := t.B
	var loss graph.Node
	for _, p := range t.Network.Params() {
		if p.Role != nn.Weight || p.Layer == "output" && !m.cfg.Output {
			continue
		}
		out := p.Var.Shape[len(p.Var.Shape)-1]
		w := b.Reshape(b.Read(p.Var), p.Var.Len()/out, out)
		identity := make([]float32, out*out)
		for i := range out {
			identity[i*out+i] = float32(m.cfg.Scale)
		}
		term := b.Sum(b.Square(b.Sub(b.MatMulTN(w, w), b.Array(identity, out, out))))
		if loss.Valid() {
			term = b.Add(loss, term)
		}
		loss = term
	}
	if !loss.Valid() {
		return loss
	}
	return b.Scale(float32(m.cfg.Lambda), loss)
}

var _ method.Losser = (*parseval)(nil)
