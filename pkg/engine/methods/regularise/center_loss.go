package regularise

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "center-loss",
		Paper:   "Olpadkar & Gavas 2021, Center Loss Regularization for Continual Learning; the loss: Wen et al. 2016",
		Summary: "features are pulled to their class's centre, which the first task has placed",
		Needs:   []component.Capability{component.Classification, component.Gradients, component.Units},
		Trial: component.Trial{
			Inert:  []component.Object{{"lambda": 0.0, "later_head": 1.0}},
			Lively: component.Object{"lambda": 0.1}, Network: component.Object{"kind": "mlp", "hidden": []any{7.0, 5.0}},
		},
	}, centerLossConfig{Lambda: 0.01, Rate: 0.5}, nil, newCenterLoss)
}

type centerLossConfig struct {
	Lambda    float64 `json:"lambda" doc:"strength λ; with later_head 1, 0 changes nothing"`
	Rate      float64 `json:"rate" doc:"α: how far centres move to the batch's features, in the first task"`
	LaterRate float64 `json:"later_rate" doc:"α in later tasks; 0 holds the centres"`
	LaterHead float64 `json:"later_head" doc:"in later tasks, the part of the output layer's updates that is carried out; 0 holds the decision boundaries, 1 is plain training"`
}

func (c centerLossConfig) Validate() error {
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e6), check.Range("rate", c.Rate, 0, 1), check.Range("later_rate", c.LaterRate, 0, 1), check.Range("later_head", c.LaterHead, 0, 1))
}

// centerLoss adds to the loss, f(x) being the features that the output layer
// reads and c_y a centre per class, from 0 on,
//
//	λ/2·mean ‖f(x) − c_y‖²          over the batch
//
// and moves each centre by the n_j examples of its class in the batch:
//
//	c_j ← c_j − α·Σ_{y=j} (c_j − f(x))/(1 + n_j)
//
// From the second task on α is later_rate, and the output layer moves by
// later_head times its update: with both small, new tasks find their features
// where the old ones' are, on the same sides of the same boundaries.
type centerLoss struct {
	cfg     centerLossConfig
	centers *graph.Var         // [classes][features]
	rate    *graph.Var         // α
	head    *graph.Var         // part of the output layer's updates
	output  map[*nn.Param]bool // parameters of the output layer
}

func newCenterLoss(c centerLossConfig, env method.Env) (method.Method, error) {
	units := env.Network.Units()
	last := units[len(units)-1]
	if last.Places != 1 {
		return nil, component.Fieldf("", "needs a dense layer before the output; the last units (%s) have %d values each", last.Layer, last.Places)
	}
	m := &centerLoss{
		cfg: c, output: map[*nn.Param]bool{},
		centers: env.State("centers", graph.F32, env.Classes, last.Outputs*last.N),
		rate:    env.State("rate", graph.F32),
		head:    env.State("head", graph.F32),
	}
	m.rate.F32[0], m.head.F32[0] = float32(c.Rate), 1
	params := env.Network.Params()
	for _, p := range params {
		m.output[p] = p.Layer == params[len(params)-1].Layer
	}
	return m, nil
}

// Loss implements [method.Losser].
func (m *centerLoss) Loss(t *method.Trace) graph.Node {
	labels, classification := t.B.Declared("labels")
	if m.cfg.Lambda == 0 || !classification {
		return graph.Node{}
	}
	b, n := t.B, t.X.Shape()[0]
	classes, width := m.centers.Shape[0], m.centers.Shape[1]
	features := b.Reshape(t.Net.Features[len(t.Net.Features)-1], n, width)
	centers := b.Read(m.centers)

	of := b.OneHot(labels, classes) // [n][classes]
	count := b.Reshape(b.SumAxes(of, 0), classes, 1)
	away := b.Sub(b.Mul(count, centers), b.MatMulTN(of, features)) // Σ_{y=j} (c_j − f)
	b.Assign(m.centers, b.Sub(centers, b.Mul(b.Read(m.rate), b.Div(away, b.Add(count, b.Const(1))))))

	distance := b.SumRows(b.Square(b.Sub(features, b.Gather(centers, labels))))
	return b.Scale(float32(m.cfg.Lambda/2), b.Mean(distance))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *centerLoss) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.cfg.LaterHead == 1 || !m.output[u.Param] {
		return w
	}
	b, part := u.B, u.B.Read(m.head)
	return b.Select(b.Equal(part, b.Const(1)), w, b.Add(u.W, b.Mul(part, b.Sub(w, u.W))))
}

// TaskBoundary implements [method.TaskBoundary].
func (m *centerLoss) TaskBoundary(*learner.Step) error {
	m.rate.F32[0], m.head.F32[0] = float32(m.cfg.LaterRate), float32(m.cfg.LaterHead)
	return nil
}

var (
	_ method.Losser        = (*centerLoss)(nil)
	_ method.WeightUpdater = (*centerLoss)(nil)
	_ method.TaskBoundary  = (*centerLoss)(nil)
)
