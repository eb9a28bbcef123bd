package replay

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/check"
	"neoteny/pkg/engine/nn"
)

func init() {
	method.Register(component.Info{
		Name:    "lwf",
		Paper:   "Li & Hoiem 2016, Learning without Forgetting; the factor T²: Hinton et al. 2015",
		Summary: "on new examples the network is held to what it said at the end of the last task",
		Needs:   []component.Capability{component.Classification, component.Gradients},
		Trial:   component.Trial{Inert: []component.Object{{"lambda": 0.0}}, Lively: component.Object{}},
	}, lwfConfig{Lambda: 1, Temperature: 2}, nil, newLwF)
}

type lwfConfig struct {
	Lambda      float64 `json:"lambda" doc:"strength λ; 0 changes nothing"`
	Temperature float64 `json:"temperature" doc:"T: above 1, small probabilities count for more"`
}

func (c lwfConfig) Validate() error {
	return errors.Join(check.Range("lambda", c.Lambda, 0, 1e6), check.Range("temperature", c.Temperature, 1e-3, 1e3))
}

// lwf adds to the loss, from the second task on, with z the logits, z* those of
// the network as it was when the last task ended, on the same examples,
//
//	λ·T²·mean −Σ_k softmax(z*/T)_k·ln softmax(z/T)_k      over the batch
//
// k goes over the outputs whose classes earlier tasks have shown. Where tasks
// have heads, each is a distribution of its own, and the terms of those of
// earlier tasks are added. The old network keeps its weights only: running
// statistics of batch normalisations are those of now, and it drops nothing out.
type lwf struct {
	cfg  lwfConfig
	head int          // outputs of a distribution
	old  []*graph.Var // parameters at the last task's end, parallel to Params
	seen *graph.Var   // [outputs] 1 for those of classes of earlier tasks
	now  []uint8      // [outputs] 1 for those of classes of this task so far

	params []*nn.Param
}

func newLwF(c lwfConfig, env method.Env) (method.Method, error) {
	m := &lwf{
		cfg: c, params: env.Network.Params(), head: env.Outputs,
		seen: env.State("seen", graph.F32, env.Outputs), now: env.State("now", graph.U8, env.Outputs).U8,
	}
	if env.Info.Head > 0 {
		m.head = env.Info.Head
	}
	for _, p := range m.params {
		m.old = append(m.old, env.State("old/"+p.Var.Name, graph.F32, p.Var.Shape...))
	}
	return m, nil
}

// Loss implements [method.Losser].
func (m *lwf) Loss(t *method.Trace) graph.Node {
	if m.cfg.Lambda == 0 {
		return graph.Node{}
	}
	b := t.B
	n, outputs := t.X.Shape()[0], m.seen.Len()
	heads := outputs / m.head
	then := map[*graph.Var]graph.Node{}
	for i, p := range m.params {
		then[p.Var] = b.Read(m.old[i])
	}
	var before graph.Node
	b.With(then, func() { before = t.Network.Forward(b, t.X, nn.Evaluation).Output })

	seen := b.Read(m.seen)
	out := b.Scale(1e30, b.Sub(seen, b.Const(1))) // 0 for what counts, else out of reach
	rows := func(z graph.Node) graph.Node {
		return b.Reshape(b.Add(b.Scale(float32(1/m.cfg.Temperature), z), out), n*heads, m.head)
	}
	target := b.StopGradient(b.Softmax(rows(before)))
	z := rows(t.Net.Logits)
	z = b.Sub(z, b.StopGradient(b.MaxRows(z)))
	logP := b.Sub(z, b.Log(b.SumRows(b.Exp(z))))
	terms := b.Reshape(b.SumRows(b.Mul(target, logP)), n, heads)
	counts := b.Reshape(b.MaxRows(b.Reshape(seen, heads, m.head)), heads) // heads with classes of earlier tasks
	sum := b.Sum(b.Mul(terms, counts))
	square := m.cfg.Temperature * m.cfg.Temperature
	return b.Scale(float32(-m.cfg.Lambda*square/float64(n)), sum)
}

// AfterStep implements [method.AfterStep]: it notes which classes there are.
func (m *lwf) AfterStep(s *learner.Step) error {
	for _, y := range s.Batch.Labels {
		m.now[y] = 1
	}
	return nil
}

// TaskBoundary implements [method.TaskBoundary].
func (m *lwf) TaskBoundary(*learner.Step) error {
	for k, now := range m.now {
		if now == 1 {
			m.seen.F32[k] = 1
		}
	}
	clear(m.now)
	for i, p := range m.params {
		copy(m.old[i].F32, p.Var.F32)
	}
	return nil
}

var (
	_ method.Losser       = (*lwf)(nil)
	_ method.AfterStep    = (*lwf)(nil)
	_ method.TaskBoundary = (*lwf)(nil)
)
