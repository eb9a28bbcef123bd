package methods

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// bench is a network without a learner around it: tests play the learner.
type bench struct {
	t      *testing.T
	store  *graph.Store
	net    nn.Network
	tracer *optim.Tracer
	seed   uint64
	batch  int // examples per step; 0 stands for 1

	classes int // 0 for regression
}

// newBench makes an MLP of 4 inputs and 3 outputs.
func newBench(t *testing.T, seed uint64, hidden []any, init string) *bench {
	return newBenchOf(t, seed, map[string]any{"kind": "mlp", "hidden": hidden, "init": init})
}

func newBenchOf(t *testing.T, seed uint64, network map[string]any) *bench {
	b := &bench{t: t, store: graph.NewStore(), seed: seed}
	r, err := nn.Resolve("network", network)
	require.NoError(t, err)
	b.net, err = r.Build(nn.Env{Space: b.store.Space(graph.OfNetwork, "net"), Key: b.key("init"), Input: tensor.Shape{4}, Outputs: 3})
	require.NoError(t, err)
	b.tracer = optim.NewTracer(b.store, graph.OfOptimizer, b.key)
	return b
}

func (b *bench) key(purpose string) rng.Key { return rng.New(b.seed, purpose) }

// method builds a method as the learner does.
func (b *bench) method(spec map[string]any) method.Method {
	r, err := method.Resolve("methods[0]", spec)
	require.NoError(b.t, err)
	scope := "method/" + spec["kind"].(string)
	m, err := r.Build(method.Env{
		Space: b.store.Space(graph.OfMethod, scope), Network: b.net, Inputs: 4, Outputs: 3, Classes: b.classes,
		Batch: max(b.batch, 1), StepsPerTask: 10, States: b.tracer.States,
		Key: func(purpose string) rng.Key { return b.key(scope + "/" + purpose) },
	})
	require.NoError(b.t, err)
	if _, ok := m.(method.UnitResetter); ok {
		b.tracer.States.PerWeight = true
	}
	return m
}

// update compiles the update of one parameter by method and optimiser; the
// gradient is the program's input "g".
func (b *bench) update(p *nn.Param, m method.Method, optimizer map[string]any) *graph.Program {
	r, err := optim.Resolve("optimizer", optimizer)
	require.NoError(b.t, err)
	opt, err := r.Build(optim.Env{})
	require.NoError(b.t, err)
	g := graph.NewBuilder()
	w, grad := g.Read(p.Var), g.Input("g", p.Var.Shape...)
	if h, ok := m.(method.GradientUpdater); ok {
		grad = h.UpdateGradient(b.tracer.Update(g, p, b.store.Space(graph.OfMethod, "method/m"), w, grad))
	}
	next := opt.Update(b.tracer.Update(g, p, b.store.Space(graph.OfOptimizer, "optimizer"), w, grad))
	if h, ok := m.(method.WeightUpdater); ok {
		next = h.UpdateWeight(b.tracer.Update(g, p, b.store.Space(graph.OfMethod, "method/m"), w, grad), next)
	}
	g.Assign(p.Var, next)
	return g.Compile()
}

func (b *bench) param(name string) *nn.Param {
	for _, p := range b.net.Params() {
		if p.Var.Name == "net/"+name {
			return p
		}
	}
	b.t.Fatalf("no parameter %s", name)
	return nil
}

func clone(x []float32) []float32 { return append([]float32(nil), x...) }
