package methods

import (
	"errors"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
)

func init() {
	method.Register(component.Info{
		Name:    "gateon",
		Paper:   "Barry, Gerstner & Bellec 2023, GateON: an unsupervised method for large scale continual learning",
		Summary: "every task gates units by factors that it learns, and units that tasks depend on become less available for learning",
		Needs:   []component.Capability{component.Units, component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"gate": false, "obstruct": "nothing"}},
			Lively: component.Object{"rate": 0.1},
			Alone:  true, // others want layers without gates
		},
	}, gateONConfig{Contexts: 100, Gate: true, GateMean: 0, Obstruct: obstructUnits, Rate: 0.01, Relative: "largest", Epsilon: 0.01}, nil, newGateON)
}

// What has an availability.
const (
	obstructNothing = "nothing"
	obstructUnits   = "units"
	obstructWeights = "weights"
)

type gateONConfig struct {
	Contexts int     `json:"contexts" doc:"how many tasks have gates; at least as many as the stream has"`
	Gate     bool    `json:"gate" doc:"units are gated by the task; false is the ablation that only obstructs"`
	GateMean float64 `json:"gate_mean" doc:"gates' parameters P start from a normal distribution with this mean and deviation 1; a unit whose P is not above 0 is off in that task for good"`
	Obstruct string  `json:"obstruct" doc:"what has an availability: units (n-GateON), or every weight and bias into units (p-GateON); nothing is the ablation that only gates" enum:"nothing|units|weights"`
	Rate     float64 `json:"rate" doc:"how fast availability follows relevance"`
	Relative string  `json:"relative" doc:"what relevances are divided by, so that those of different layers compare: the layer's largest, or its mean" enum:"largest|mean"`
	Epsilon  float64 `json:"epsilon" doc:"ε: what is less relevant than that becomes available again; 0 makes nothing available again"`
}

func (c gateONConfig) Validate() error {
	var contexts error
	if c.Contexts < 1 || c.Contexts > 1<<16 {
		contexts = component.Fieldf("contexts", "must be between 1 and %d, is %d", 1<<16, c.Contexts)
	}
	return errors.Join(contexts, checkRange("gate_mean", c.GateMean, -10, 10), checkRange("rate", c.Rate, 0, 1), checkRange("epsilon", c.Epsilon, 0, 1e3))
}

// Build implements [method.Builder].
func (c gateONConfig) Build(bp *nn.Blueprint) error {
	if !c.Gate {
		return nil
	}
	if len(bp.Layers) < 2 {
		return component.Fieldf("gate", "needs a chain of layers with hidden ones, such as an mlp or a cnn, or false")
	}
	for i := range bp.Layers[:len(bp.Layers)-1] {
		bp.Layers[i].Adapters = append(bp.Layers[i].Adapters, &contextGate{contexts: c.Contexts, mean: float32(c.GateMean)})
	}
	return nil
}

// gateON gates the output h of every hidden unit i in task t, in training and in
// evaluation,
//
//	h_i ← h_i · tanh²(max(P_ti, 0))
//
// with learned P, and after every step measures relevance r on the step's batch b
// and moves availability A, 1 at the start, for every unit i or every weight w
// into a unit of layer l:
//
//	r_i = mean_b (h_bi · ∂L_b/∂h_bi)²      units, places of an image among the mean
//	r_w = (w · ∂L/∂w)²                     weights
//	A  ← clip(A − rate·A·(r/max_l r − ε), 0, 1)
//	w  ← w + A·(w' − w)
//
// w' being what the optimiser makes of w, and A that of the unit that w leads
// into, or, in the output layer, out of; or the weight's own. The paper scales
// gradients; of an optimiser that divides by their size (Adam) that would be no
// obstruction, so here the step is scaled, which for plain SGD is the same. It
// normalises relevance in every layer and does not say how: by the largest or,
// if asked for, by the mean; over the array for weights. Contexts are tasks,
// which the learner is told: the paper's inference of contexts from jumps of the
// loss is not here. Gates of other tasks keep their values. Biases of the output
// layer have no unit behind them, and are obstructed among weights only.
type gateON struct {
	cfg     gateONConfig
	network nn.Network
	units   []*graph.Var             // availability by layer, [units]
	into    map[*nn.Param]*graph.Var // that of the units that a parameter leads into
	outOf   map[*nn.Param]*graph.Var // that of the units that the output layer reads
	open    *graph.Var               // [contexts][1], 1 for the task's gates
}

const gateName = "/gate"

func newGateON(c gateONConfig, env method.Env) (method.Method, error) {
	if env.Info.Tasks > c.Contexts && c.Gate {
		return nil, component.Fieldf("contexts", "there are gates for %d tasks, the stream has %d", c.Contexts, env.Info.Tasks)
	}
	m := &gateON{cfg: c, network: env.Network, into: map[*nn.Param]*graph.Var{}, outOf: map[*nn.Param]*graph.Var{}}
	for _, u := range env.Network.Units() {
		a := env.State("availability/"+u.Layer, graph.F32, u.N)
		fill(a.F32, 1)
		m.units = append(m.units, a)
		for _, slices := range [][]nn.Slice{u.In, u.Bias, u.Gain} {
			for _, s := range slices {
				if s.Param.Var.Shape[len(s.Param.Var.Shape)-1] != u.N {
					return nil, component.Fieldf("", "needs layers whose weights have one column per unit, such as those of an mlp or a cnn; layer %s is of another kind", u.Layer)
				}
				m.into[s.Param] = a
			}
		}
		for _, s := range u.Out {
			if s.Param.Layer == "output" {
				m.outOf[s.Param] = a
			}
		}
	}
	m.open = env.State("open", graph.F32, c.Contexts, 1)
	m.open.F32[0] = 1
	return m, nil
}

// Loss implements [method.Losser]: it adds no term but the update of units'
// availabilities to the program.
func (m *gateON) Loss(t *method.Trace) graph.Node {
	if m.cfg.Obstruct != obstructUnits {
		return graph.Node{}
	}
	b := t.B
	for i, g := range b.Gradients(t.Losses, t.Net.Features...) {
		r := b.MeanAxes(b.Square(b.Mul(t.Net.Features[i], g)), 0)
		m.follow(b, m.units[i], b.Reshape(r, m.units[i].Len()))
	}
	return graph.Node{}
}

// follow moves availabilities by relevances.
func (m *gateON) follow(b *graph.Builder, availability *graph.Var, r graph.Node) {
	a := b.Read(availability)
	whole := b.Mean(r)
	if m.cfg.Relative == "largest" {
		whole = b.MaxAll(r)
	}
	r = b.Div(r, b.Add(whole, b.Const(1e-30)))
	a = b.Sub(a, b.Scale(float32(m.cfg.Rate), b.Mul(a, b.Sub(r, b.Const(float32(m.cfg.Epsilon))))))
	b.Assign(availability, b.Min(b.Max(a, b.Const(0)), b.Const(1)))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *gateON) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	b := u.B
	if strings.HasSuffix(u.Param.Var.Name, gateName) {
		return b.Select(b.Read(m.open), w, u.W)
	}
	var availability graph.Node
	into, outOf := m.into[u.Param], m.outOf[u.Param]
	switch {
	case m.cfg.Obstruct == obstructNothing:
		return w
	case m.cfg.Obstruct == obstructWeights:
		v := u.State("availability", 1)
		availability = b.Read(v)
		m.follow(b, v, b.Square(b.Mul(u.W, u.G)))
	case into != nil:
		availability = b.Read(into)
	case outOf != nil: // places of an image before its channels
		in := u.Param.Var.Shape[0]
		availability = b.Reshape(b.BroadcastTo(b.Read(outOf), []int{in / outOf.Len(), outOf.Len()}), in, 1)
	default:
		return w
	}
	return b.Add(u.W, b.Mul(availability, b.Sub(w, u.W)))
}

// TaskBoundary implements [method.TaskBoundary].
func (m *gateON) TaskBoundary(s *learner.Step) error {
	clear(m.open.F32)
	if next := s.Task + 1; next < m.cfg.Contexts {
		m.open.F32[next] = 1
	}
	return nil
}

// contextGate is the [nn.Adapter] of one layer.
type contextGate struct {
	contexts int
	mean     float32
	p        *nn.Param // P, [contexts][units]
}

// Make implements [nn.Adapter].
func (g *contextGate) Make(m *nn.AdapterMaker) error {
	g.p = m.Param(strings.TrimPrefix(gateName, "/"), 1, nn.Distribution{Mean: g.mean, Normal: 1}, g.contexts, m.Shape[len(m.Shape)-1])
	return nil
}

// Apply implements [nn.Adapter].
func (g *contextGate) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	p := b.MatMul(b.OneHot(nn.Task(b), g.contexts), b.Read(g.p.Var)) // 0, units off, for a task without gates
	return b.Mul(x, b.Reshape(b.Square(b.Tanh(b.ReLU(p))), g.p.Var.Shape[1]))
}

var (
	_ method.Builder       = gateONConfig{}
	_ method.Losser        = (*gateON)(nil)
	_ method.WeightUpdater = (*gateON)(nil)
	_ method.TaskBoundary  = (*gateON)(nil)
	_ nn.Adapter           = (*contextGate)(nil)
)
