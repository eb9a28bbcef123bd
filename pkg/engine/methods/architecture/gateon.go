package architecture

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
		Name:    "gateon",
		Paper:   "Barry, Gerstner & Bellec 2023, GateON: an unsupervised method for large scale continual learning",
		Summary: "every task, given or inferred, gates units by factors that it learns, and units that tasks depend on become less available for learning",
		Needs:   []component.Capability{component.Units, component.Gradients},
		Trial: component.Trial{
			Inert:  []component.Object{{"gate": false, "obstruct": "nothing"}},
			Lively: component.Object{"rate": 0.1},
			Alone:  true, // others want layers without gates
		},
	}, gateONDefault, map[string]gateONConfig{"inferred": gateONInferred}, newGateON)
}

var gateONDefault = gateONConfig{
	Contexts: 100, Context: contextTask, Jump: 2.5, Settle: 100,
	Gate: true, GateMean: 0, Obstruct: obstructUnits, Rate: 0.01, Relative: "largest", Epsilon: 0.01,
}

var gateONInferred = func() gateONConfig { c := gateONDefault; c.Context = contextInferred; return c }()

// What has an availability.
const (
	obstructNothing = "nothing"
	obstructUnits   = "units"
	obstructWeights = "weights"
)

// Where contexts come from.
const (
	contextTask     = "task"
	contextInferred = "inferred"
)

type gateONConfig struct {
	Contexts int     `json:"contexts" doc:"how many contexts have gates; at least as many as the stream has tasks"`
	Context  string  `json:"context" doc:"a context is a task, which is given, or it is inferred from jumps of the loss" enum:"task|inferred"`
	Jump     float64 `json:"jump" doc:"inferred: a jump is a loss of more than so many times the mean of the last 50 in the context"`
	Settle   int     `json:"settle" doc:"inferred: steps in a context before a jump leads out of it"`
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
	var context error
	if c.Context == contextInferred && !c.Gate {
		context = component.Fieldf("context", "is of no use without gates; set gate to true")
	}
	return errors.Join(contexts, context, check.Range("jump", c.Jump, 1, 1e6), check.Count("settle", c.Settle, 1<<30), check.Range("gate_mean", c.GateMean, -10, 10), check.Range("rate", c.Rate, 0, 1), check.Range("epsilon", c.Epsilon, 0, 1e3))
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
		bp.Layers[i].Adapters = append(bp.Layers[i].Adapters, &contextGate{contexts: c.Contexts, inferred: c.Context == contextInferred, mean: float32(c.GateMean)})
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
// normalises relevance in every layer; its program divides by the mean, which is to
// be asked for here, over the array for weights. Availability works from the next
// step on; in the program from the next context on. Gates of other tasks keep their
// values. Biases of the output layer have no unit behind them, and are obstructed
// among weights only. t is the task's number, or see [gateONInferring].
type gateON struct {
	cfg     gateONConfig
	network nn.Network
	units   []*graph.Var             // availability by layer, [units]
	into    map[*nn.Param]*graph.Var // that of the units that a parameter leads into
	outOf   map[*nn.Param]*graph.Var // that of the units that the output layer reads
	gates   map[*nn.Param]bool       // P of every layer
	open    *graph.Var               // [contexts][1], 1 for the task's gates
}

func newGateON(c gateONConfig, env method.Env) (method.Method, error) {
	m, err := newGateONOfTasks(c, env)
	if err != nil || c.Context == contextTask {
		return m, err
	}
	return newGateONInferring(m, env)
}

func newGateONOfTasks(c gateONConfig, env method.Env) (*gateON, error) {
	if env.Info.Tasks > c.Contexts && c.Gate {
		return nil, component.Fieldf("contexts", "there are gates for %d tasks, the stream has %d", c.Contexts, env.Info.Tasks)
	}
	m := &gateON{cfg: c, network: env.Network, into: map[*nn.Param]*graph.Var{}, outOf: map[*nn.Param]*graph.Var{}, gates: map[*nn.Param]bool{}}
	for _, gate := range gatesOf(env.Network) {
		m.gates[gate.p] = true
	}
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
	if m.gates[u.Param] {
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

// gateONInferring is a [gateON] whose contexts are not tasks. Before each step it
// compares the batch's mean loss L_c in the present context c (cross-entropy, or
// the squared error of regression) with the mean of the last 50 of these there:
//
//	L_c > jump·mean(L_c)   after settle steps in c: c is left
//
// for the first context k with L_k ≤ jump·mean(L_k), or, if there is none, for a
// new one, while there are any. The step then is made in that context. Evaluations
// of a task are in the context that was the last one of the task, or, for tasks to
// come, is the present one.
//
// The rule is the authors' program's, where jump is 1.01 and settle 460 (a
// confidence that grows by .005 of what is missing must be above .9). Its loss is
// of 1000 examples and takes probabilities for logits, so that it lies between 1.46
// and 2.46; cross-entropy on small batches varies more.
type gateONInferring struct {
	*gateON
	forward *graph.Program // of the batch in the present context
	x       []float32
	labels  []int32
	targets []float32
	task    []int32
	losses  []float32 // [batch]

	active []int32     // [1] the present context
	known  []int32     // [1] how many there are
	steps  []int32     // [contexts] steps in each
	recent []float32   // [contexts][recentLosses] its last losses, the oldest at steps mod recentLosses
	of     [][]float32 // [tasks][contexts] a 1 for every task's context, by gated layer
}

// recentLosses is how many losses of a context are remembered.
const recentLosses = 50

func newGateONInferring(g *gateON, env method.Env) (method.Method, error) {
	if env.Info.Head > 0 {
		return nil, component.Fieldf("context", "is inferred where tasks share one head; a head per task identifies the task")
	}
	m := &gateONInferring{
		gateON: g,
		active: env.State("active", graph.I32, 1).I32,
		known:  env.State("known", graph.I32, 1).I32,
		steps:  env.State("steps", graph.I32, g.cfg.Contexts).I32,
		recent: env.State("recent", graph.F32, g.cfg.Contexts, recentLosses).F32,
	}
	for _, gate := range gatesOf(env.Network) {
		m.of = append(m.of, gate.of.F32)
	}
	m.known[0] = 1
	m.enter(0, 0)
	b := graph.NewBuilder()
	out := env.Network.Forward(b, b.Input("x", env.Batch, env.Inputs), nn.Evaluation).Output
	if env.Classes > 0 {
		b.Output("losses", b.CrossEntropy(out, b.Labels("labels", env.Batch)))
	} else {
		b.Output("losses", b.SumRows(b.Square(b.Sub(out, b.Input("targets", env.Batch, env.Outputs)))))
	}
	m.forward = b.Compile()
	m.x, m.targets = m.forward.Input("x"), m.forward.Input("targets")
	m.labels, m.task = m.forward.Labels("labels"), m.forward.Labels("task")
	m.losses = m.forward.Output("losses")
	return m, nil
}

// Around implements [method.Around].
func (m *gateONInferring) Around(s *learner.Step, next func() error) error {
	copy(m.x, s.Batch.X)
	copy(m.labels, s.Batch.Labels)
	copy(m.targets, s.Batch.Targets)
	m.task[0] = int32(s.Task)
	c := int(m.active[0])
	loss := m.loss()
	if int(m.steps[c]) >= m.cfg.Settle && m.jumps(c, loss) {
		loss = m.leave(c, s.Task)
		c = int(m.active[0])
	}
	m.recent[c*recentLosses+int(m.steps[c])%recentLosses] = loss
	m.steps[c]++
	return next()
}

// loss returns that of the batch in the present context.
func (m *gateONInferring) loss() float32 {
	m.forward.Run(0)
	var sum float64
	for _, v := range m.losses {
		sum += float64(v)
	}
	return float32(sum / float64(len(m.losses)))
}

func (m *gateONInferring) jumps(c int, loss float32) bool {
	last := m.recent[c*recentLosses:][:min(int(m.steps[c]), recentLosses)]
	var sum float64
	for _, v := range last {
		sum += float64(v)
	}
	return float64(loss)*float64(len(last)) > m.cfg.Jump*sum
}

// leave moves from context c to another one, and returns the batch's loss there.
func (m *gateONInferring) leave(c, task int) float32 {
	for k := range int(m.known[0]) {
		if k == c {
			continue
		}
		m.enter(k, task)
		if loss := m.loss(); !m.jumps(k, loss) {
			return loss
		}
	}
	if int(m.known[0]) < m.cfg.Contexts {
		c = int(m.known[0])
		m.known[0]++
	}
	m.enter(c, task)
	return m.loss()
}

// enter makes a context that of a task and of those after it.
func (m *gateONInferring) enter(c, task int) {
	m.active[0] = int32(c)
	clear(m.open.F32)
	m.open.F32[c] = 1
	for _, of := range m.of {
		for t := task; t < m.cfg.Contexts; t++ {
			row := of[t*m.cfg.Contexts:][:m.cfg.Contexts]
			clear(row)
			row[c] = 1
		}
	}
}

// TaskBoundary implements [method.TaskBoundary]: boundaries are not used.
func (m *gateONInferring) TaskBoundary(*learner.Step) error { return nil }

// contextGate is the [nn.Adapter] of one layer.
type contextGate struct {
	contexts int
	inferred bool
	mean     float32
	p        *nn.Param  // P, [contexts][units]
	of       *graph.Var // where contexts are inferred, a 1 for every task's context, [contexts][contexts]
}

// gatesOf returns the gates that Build has put into a network.
func gatesOf(n nn.Network) (gates []*contextGate) {
	for _, a := range nn.Adapters(n) {
		if g, ok := a.(*contextGate); ok {
			gates = append(gates, g)
		}
	}
	return gates
}

// Make implements [nn.Adapter].
func (g *contextGate) Make(m *nn.AdapterMaker) error {
	g.p = m.Param("gate", 1, nn.Distribution{Mean: g.mean, Normal: 1}, g.contexts, m.Shape[len(m.Shape)-1])
	if g.inferred {
		g.of = m.State("context_of_task", g.contexts, g.contexts)
	}
	return nil
}

// Apply implements [nn.Adapter].
func (g *contextGate) Apply(b *graph.Builder, x graph.Node, _ nn.Mode) graph.Node {
	context := b.OneHot(nn.Task(b), g.contexts)
	if g.inferred {
		context = b.MatMul(context, b.Read(g.of))
	}
	p := b.MatMul(context, b.Read(g.p.Var)) // 0, units off, for a task without gates
	return b.Mul(x, b.Reshape(b.Square(b.Tanh(b.ReLU(p))), g.p.Var.Shape[1]))
}

var (
	_ method.Builder       = gateONConfig{}
	_ method.Losser        = (*gateON)(nil)
	_ method.WeightUpdater = (*gateON)(nil)
	_ method.TaskBoundary  = (*gateON)(nil)
	_ method.Around        = (*gateONInferring)(nil)
	_ nn.Adapter           = (*contextGate)(nil)
)
