package train

import (
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/model"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rule"
	"neoteny/pkg/engine/stream"
)

// trace compiles the programs of a training: one, or two where a method wants whole
// gradients in between, and one for every second gradient.
func (t *Trainer) trace(c Config) {
	t.traceSecond(c)
	b := t.Store().Builder()
	pass := t.model.Forward(b, t.model.Info.Batch, nn.Training)
	b.Output("output", pass.Net.Output)
	gradients := directions(b, c.Rule, t.model.Network.Params(), t.total(b, pass, c.Methods))
	for _, p := range c.Probes {
		p.Trace(b, gradients)
	}
	updates := b
	if len(t.hooks.backward) > 0 {
		updates = t.Store().Builder()
		t.keepGradients(b, updates, gradients)
	}
	t.tracer.Descend(updates, c.Optimizer, t.model.Network.Params(), gradients, t.edits(updates, c.Methods))
	t.forward = b.Compile()
	if updates != b {
		t.update = updates.Compile()
	}
	for _, p := range c.Probes {
		p.Traced(t.forward)
	}
	t.feed = t.model.Feed(t.forward)
	t.losses = t.forward.Output("losses")
	t.correct = t.forward.Output("correct")
	t.outputs = t.forward.Output("output")
	t.features = t.model.Features(t.forward)
}

// total adds the methods' terms to the mean loss.
func (t *Trainer) total(b *graph.Builder, pass model.Pass, methods []Method) graph.Node {
	loss := b.Mean(pass.Losses)
	for _, m := range methods {
		if h, ok := m.Method.(method.Losser); ok {
			if term := h.Loss(t.traceOf(b, pass, loss)); term.Valid() {
				loss = b.Add(loss, term)
			}
		}
	}
	return loss
}

// traceOf is what a method sees of a program that is being traced.
func (t *Trainer) traceOf(b *graph.Builder, pass model.Pass, loss graph.Node) *method.Trace {
	return &method.Trace{
		B: b, X: pass.X, Net: pass.Net, Network: t.model.Network, Losses: pass.Losses, Loss: loss, Tracer: t.tracer,
	}
}

// directions traces the rule's direction of every parameter, 0 for frozen ones.
func directions(b *graph.Builder, r rule.Rule, params []*nn.Param, loss graph.Node) []graph.Node {
	all := make([]graph.Node, len(params))
	var trained []graph.Node
	for i, p := range params {
		all[i] = b.Read(p.Var)
		if !p.Frozen {
			trained = append(trained, all[i])
		}
	}
	found := r.Gradients(b, loss, trained)
	for i, p := range params {
		if p.Frozen {
			all[i] = b.Fill(0, p.Var.Shape)
		} else {
			all[i], found = found[0], found[1:]
		}
	}
	return all
}

// keepGradients stores the gradients of one program, to be seen and edited, for the
// other, where they stand for them.
func (t *Trainer) keepGradients(from, to *graph.Builder, gradients []graph.Node) {
	space := t.Store().Space(graph.OfOptimizer, "gradient")
	for i, p := range t.model.Network.Params() {
		v := space.New(p.Var.Name, graph.F32, graph.Transient, p.Var.Shape...)
		from.Assign(v, gradients[i])
		gradients[i] = to.Read(v)
		t.gradients = append(t.gradients, v.F32)
	}
}

// edits are the methods' part in an update, in the order of the spec.
func (t *Trainer) edits(b *graph.Builder, methods []Method) optim.Edits {
	return optim.Edits{
		Gradient: func(p *nn.Param, w, g graph.Node) graph.Node {
			for _, m := range methods {
				if h, ok := m.Method.(method.GradientUpdater); ok {
					g = h.UpdateGradient(t.tracer.Update(b, p, m.Space, w, g))
				}
			}
			return g
		},
		Weight: func(u *optim.Update, next graph.Node) graph.Node {
			for _, m := range methods {
				if h, ok := m.Method.(method.WeightUpdater); ok {
					next = h.UpdateWeight(t.tracer.Update(b, u.Param, m.Space, u.W, u.G), next)
				}
			}
			return next
		},
	}
}

// traceSecond compiles the second gradients that methods ask for. Those of the same
// number of examples are one program, unless they have an objective of their own.
func (t *Trainer) traceSecond(c Config) {
	shared := map[int]*secondGradient{}
	for _, m := range c.Methods {
		h, ok := m.Method.(method.SecondGradient)
		if !ok {
			continue
		}
		own, _ := m.Method.(method.Objective)
		g := shared[h.GradientBatch()]
		if own != nil || g == nil {
			g = t.newSecondGradient(c.Rule, h.GradientBatch(), own)
		}
		if own == nil {
			shared[h.GradientBatch()] = g
		}
		h.UseGradients(g)
	}
}

// secondGradient computes whole gradients of the prediction loss of another
// batch, without the methods' terms, or of a method's objective.
type secondGradient struct {
	program *graph.Program
	feed    model.Feed
	size    int
	out     [][]float32
}

func (t *Trainer) newSecondGradient(r rule.Rule, n int, objective method.Objective) *secondGradient {
	b := graph.NewBuilder()
	pass := t.model.Forward(b, n, nn.Evaluation)
	loss := b.Mean(pass.Losses)
	if objective != nil {
		loss = objective.Objective(t.traceOf(b, pass, loss))
	}
	b.Output("output", pass.Net.Output)
	params := t.model.Network.Params()
	for i, d := range directions(b, r, params, loss) {
		b.Output(fmt.Sprintf("gradient/%d", i), d)
	}
	g := &secondGradient{program: b.Compile(), size: n}
	g.feed = t.model.Feed(g.program)
	for i := range params {
		g.out = append(g.out, g.program.Output(fmt.Sprintf("gradient/%d", i)))
	}
	return g
}

// Output implements [method.Gradients].
func (g *secondGradient) Output() []float32 { return g.program.Output("output") }

// Input implements [method.Gradients].
func (g *secondGradient) Input(name string) []float32 { return g.program.Input(name) }

// On implements [method.Gradients].
func (g *secondGradient) On(b *stream.Batch) ([][]float32, error) {
	if b.N != g.size {
		return nil, fmt.Errorf("gradient of a batch of %d: %d was asked for", b.N, g.size)
	}
	g.feed.Fill(b)
	g.program.Run(0)
	return g.out, nil
}
