package engine

import (
	"fmt"
	"math"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// supervised is the learner made of a network, a rule, an optimiser and
// methods. It traces one training program (or two, where somebody wants whole
// gradients in between), and an evaluation program per batch size.
type supervised struct {
	info      stream.Info        // Batch is that of the training program
	objective *learner.Objective // of a core; nil for the stream's targets
	mse       bool
	store     *graph.Store
	network   nn.Network
	tracer    *optim.Tracer

	train  *graph.Program // forward, gradients and, with update nil, the update
	update *graph.Program // the update from the stored gradients
	in     inputs
	losses []float32

	correct   []float32
	outputs   []float32
	features  [][]float32
	gradients [][]float32 // when update is set, one per parameter

	second map[int]*secondGradient
	evals  map[int]*evaluation
	output func(*graph.Builder, nn.Activations) graph.Node // in evaluations; nil without an Evaluator

	scopes []string     // of the methods, prefixes of their variables
	step   func() error // one step with the Around hooks about it
	around bool         // there are such hooks
	now    *learner.Step

	publishers map[string]component.Publisher // methods and probes, by artifact

	batchers   []method.Batcher
	backward   []method.AfterBackward
	after      []method.AfterStep
	boundaries []method.TaskBoundary
	births     []method.Rebirther

	spec *Spec // what it was built of
	env  Env
}

// inputs are where a program takes its batch from.
type inputs struct {
	x       []float32
	labels  []int32
	targets []float32
	task    []int32   // [1], where somebody asks for it; see [nn.Task]
	head    []float32 // [outputs], where tasks have heads: 0 for those of the task's, else closed
	info    stream.Info
}

// closed is added to the logits of other tasks' heads: their probabilities and
// gradients are 0 exactly.
const closed = -1e30

func inputsOf(p *graph.Program, info stream.Info) inputs {
	return inputs{p.Input("x"), p.Labels("labels"), p.Input("targets"), p.Labels("task"), p.Input("head"), info}
}

func (in *inputs) fill(b *stream.Batch) {
	copy(in.x, b.X)
	copy(in.labels, b.Labels)
	copy(in.targets, b.Targets)
	if in.task != nil {
		in.task[0] = int32(b.Task)
	}
	if in.head != nil {
		first, n := in.info.HeadOf(b.Task)
		for i := range in.head {
			in.head[i] = closed
		}
		clear(in.head[first : first+n])
	}
}

// newSupervised builds the learner and its probes' part in the training
// program. Mistakes in how components fit together come back as errors.
// With an objective it is the core of a learner of a kind of its own.
func newSupervised(spec *Spec, env Env, store *graph.Store, o *learner.Objective) (l *supervised, probes []probe.Probe, err error) {
	defer graph.Catch(&err)
	l = &supervised{
		spec: spec, env: env, info: spec.info, store: store,
		mse:    spec.loss == "mse" || spec.info.Classes == 0,
		second: map[int]*secondGradient{}, evals: map[int]*evaluation{}, publishers: map[string]component.Publisher{},
	}
	if o != nil {
		l.info.Batch, l.objective = o.Batch, o
	}
	key := func(purpose string) rng.Key { return rng.New(uint64(env.Seed)|uint64(env.life)<<32, purpose) }

	l.network, err = spec.network.Build(nn.Env{
		Store: store, Key: key("init"), Keys: key, Input: spec.info.Input, Outputs: spec.info.Outputs,
		Edit: func(bp *nn.Blueprint) error {
			for _, m := range spec.methods {
				if b, ok := m.Config.(method.Builder); ok {
					if err := b.Build(bp); err != nil {
						return component.At(m.Path, err)
					}
				}
			}
			return nil
		},
		Artifacts: env.Artifacts,
	})
	if err != nil {
		return nil, nil, err
	}
	l.tracer = optim.NewTracer(store, key)
	optimizer, err := spec.optimizer.Build(optim.Env{})
	if err != nil {
		return nil, nil, err
	}
	rule, err := spec.rule.Build(struct{}{})
	if err != nil {
		return nil, nil, err
	}
	methods, err := l.buildMethods(spec, env, key)
	if err != nil {
		return nil, nil, err
	}
	for i := range spec.probes {
		pr, err := buildProbe(spec, i, env, probe.Env{
			Network: l.network, Info: l.info, Classes: spec.info.Classes, Batch: l.info.Batch, Store: store,
			Forward: func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
				_, net, losses := l.forward(b, n, nn.Evaluation, l.output)
				return net, losses
			},
			Fill: func(p *graph.Program, b *stream.Batch) {
				in := inputsOf(p, l.info)
				in.fill(b)
			},
		})
		if err != nil {
			return nil, nil, err
		}
		probes = append(probes, pr)
		l.publish(spec.probes[i].Resolved.Info, spec.probes[i].Config, pr)
	}
	l.traceTraining(rule, optimizer, methods, probes)
	l.wrap(methods)
	return l, probes, nil
}

func (l *supervised) buildMethods(spec *Spec, env Env, key func(string) rng.Key) ([]method.Method, error) {
	var methods []method.Method
	count := map[string]int{}
	for _, m := range spec.methods {
		scope := fmt.Sprintf("method/%s", m.Name)
		if n := count[m.Name]; n > 0 {
			scope = fmt.Sprintf("%s.%d", scope, n)
		}
		count[m.Name]++
		built, err := m.Build(method.Env{
			Store: l.store, Network: l.network, Info: spec.info,
			Inputs: spec.info.Input.Elems(), Outputs: spec.info.Outputs, Classes: spec.info.Classes,
			Batch: l.info.Batch, StepsPerTask: spec.info.StepsPerTask,
			States: l.tracer.States, Scope: scope,
			Key:       func(purpose string) rng.Key { return key(scope + "/" + purpose) },
			Artifacts: env.Artifacts,
		})
		if err != nil {
			return nil, err
		}
		if _, ok := built.(method.UnitResetter); ok {
			l.tracer.States.PerWeight = true
		}
		if _, ok := built.(method.Rebirther); ok {
			l.tracer.Reborn = true
		}
		methods = append(methods, built)
		l.publish(m.Info, m.Config, built)
		l.scopes = append(l.scopes, scope)
	}
	return methods, nil
}

// forward traces network and losses for a batch of n; output, if set, changes
// the network's output before.
func (l *supervised) forward(b *graph.Builder, n int, mode nn.Mode, output func(*graph.Builder, nn.Activations) graph.Node) (x graph.Node, net nn.Activations, losses graph.Node) {
	x = b.Input("x", n, l.info.Input.Elems())
	net = l.network.Forward(b, x, mode)
	if output != nil {
		net.Output = output(b, net)
	}
	net.Logits = net.Output
	if first, n := l.info.HeadOf(0); first+n < l.info.Outputs {
		net.Output = b.Add(net.Output, b.Input("head", l.info.Outputs))
	}
	out := net.Output
	switch {
	case l.objective != nil:
		losses = l.objective.Losses(b, out, n)
	case l.info.Classes == 0:
		losses = b.SumRows(b.Square(b.Sub(out, b.Input("targets", n, l.info.Outputs))))
		losses = b.Scale(1/float32(l.info.Outputs), losses)
	case l.mse:
		labels := b.Labels("labels", n)
		losses = b.SumRows(b.Square(b.Sub(out, b.OneHot(labels, l.info.Classes))))
		losses = b.Scale(1/float32(l.info.Outputs), losses)
		b.Output("correct", b.Correct(out, labels))
	default:
		labels := b.Labels("labels", n)
		losses = b.CrossEntropy(out, labels)
		b.Output("correct", b.Correct(out, labels))
	}
	b.Output("losses", losses)
	for i, f := range net.Features {
		b.Output(fmt.Sprintf("features/%d", i), f)
	}
	return x, net, losses
}

// total adds the methods' terms to the mean loss.
func (l *supervised) total(b *graph.Builder, x graph.Node, net nn.Activations, losses graph.Node, methods []method.Method) graph.Node {
	loss := b.Mean(losses)
	for _, m := range methods {
		if h, ok := m.(method.Losser); ok {
			term := h.Loss(&method.Trace{B: b, X: x, Net: net, Network: l.network, Losses: losses, Loss: loss, Tracer: l.tracer})
			if term.Valid() {
				loss = b.Add(loss, term)
			}
		}
	}
	return loss
}

func (l *supervised) reads(b *graph.Builder) []graph.Node {
	nodes := make([]graph.Node, len(l.network.Params()))
	for i, p := range l.network.Params() {
		nodes[i] = b.Read(p.Var)
	}
	return nodes
}

// directions traces the rule's direction of every parameter, 0 for frozen ones.
func (l *supervised) directions(b *graph.Builder, rule gradientRule, loss graph.Node) []graph.Node {
	params := l.network.Params()
	all := l.reads(b)
	var trained []graph.Node
	for i, p := range params {
		if !p.Frozen {
			trained = append(trained, all[i])
		}
	}
	found := rule.Gradients(b, loss, trained)
	for i, p := range params {
		if p.Frozen {
			all[i] = b.Fill(0, p.Var.Shape)
		} else {
			all[i], found = found[0], found[1:]
		}
	}
	return all
}

type gradientRule interface {
	Gradients(b *graph.Builder, loss graph.Node, params []graph.Node) []graph.Node
}

func (l *supervised) traceTraining(rule gradientRule, optimizer optim.Optimizer, methods []method.Method, probes []probe.Probe) {
	split := false
	for _, m := range methods {
		_, whole := m.(method.AfterBackward)
		split = split || whole
		if h, ok := m.(method.SecondGradient); ok {
			g := &secondGradient{learner: l, rule: rule}
			if o, own := m.(method.Objective); own {
				g.trace(h.GradientBatch(), o)
			} else if known := l.second[h.GradientBatch()]; known != nil {
				g = known
			} else {
				g.trace(h.GradientBatch(), nil)
				l.second[h.GradientBatch()] = g
			}
			h.UseGradients(g)
		}
	}
	params := l.network.Params()
	b := l.store.Builder()
	x, net, losses := l.forward(b, l.info.Batch, nn.Training, nil)
	b.Output("output", net.Output)
	gradients := l.directions(b, rule, l.total(b, x, net, losses, methods))
	for _, p := range probes {
		if t, ok := p.(probe.Tracer); ok {
			t.Trace(b, gradients)
		}
	}
	u := b
	if split {
		u = l.store.Builder()
		for i, p := range params {
			v := l.store.New("gradient/"+p.Var.Name, graph.F32, graph.Transient, p.Var.Shape...)
			b.Assign(v, gradients[i])
			gradients[i] = u.Read(v)
			l.gradients = append(l.gradients, v.F32)
		}
	}
	l.traceUpdates(u, gradients, optimizer, methods)
	l.train = b.Compile()
	if split {
		l.update = u.Compile()
	}
	for _, p := range probes {
		if t, ok := p.(probe.Tracer); ok {
			t.Traced(l.train)
		}
	}
	l.in = inputsOf(l.train, l.info)
	l.losses = l.train.Output("losses")
	l.correct = l.train.Output("correct")
	l.outputs = l.train.Output("output")
	for i := range net.Features {
		l.features = append(l.features, l.train.Output(fmt.Sprintf("features/%d", i)))
	}
}

// traceUpdates traces the parameters' way through the methods and the
// optimiser.
func (l *supervised) traceUpdates(b *graph.Builder, gradients []graph.Node, optimizer optim.Optimizer, methods []method.Method) {
	var params []*nn.Param
	var updates []*optim.Update
	for i, p := range l.network.Params() {
		if p.Frozen {
			continue
		}
		w, g := b.Read(p.Var), gradients[i]
		for j, m := range methods {
			if h, ok := m.(method.GradientUpdater); ok {
				g = h.UpdateGradient(l.tracer.Update(b, p, l.scopes[j], w, g))
			}
		}
		params = append(params, p)
		updates = append(updates, l.tracer.Update(b, p, "optimizer", w, g))
	}
	if h, ok := optimizer.(optim.Preparer); ok {
		h.Prepare(updates)
	}
	for i, p := range params {
		u := updates[i]
		next := optimizer.Update(u)
		for j, m := range methods {
			if h, ok := m.(method.WeightUpdater); ok {
				next = h.UpdateWeight(l.tracer.Update(b, p, l.scopes[j], u.W, u.G), next)
			}
		}
		b.Assign(p.Var, next)
	}
}

// wrap resolves the hooks that run outside of programs.
func (l *supervised) wrap(methods []method.Method) {
	l.step = l.bareStep
	for i := len(methods) - 1; i >= 0; i-- {
		if h, ok := methods[i].(method.Around); ok {
			l.around = true
			next := l.step
			l.step = func() error { return h.Around(l.now, next) }
		}
	}
	for _, m := range methods {
		if h, ok := m.(method.Batcher); ok {
			l.batchers = append(l.batchers, h)
		}
		if h, ok := m.(method.AfterBackward); ok {
			l.backward = append(l.backward, h)
		}
		if h, ok := m.(method.AfterStep); ok {
			l.after = append(l.after, h)
		}
		if h, ok := m.(method.TaskBoundary); ok {
			l.boundaries = append(l.boundaries, h)
		}
		if h, ok := m.(method.Rebirther); ok {
			l.births = append(l.births, h)
		}
		if h, ok := m.(method.Evaluator); ok {
			before := l.output
			l.output = func(b *graph.Builder, a nn.Activations) graph.Node {
				if before != nil {
					a.Output = before(b, a)
				}
				return h.Evaluate(b, a)
			}
		}
	}
}

// Store implements [learner.Learner].
func (l *supervised) Store() *graph.Store { return l.store }

// Step implements [learner.Learner].
func (l *supervised) Step(s *learner.Step) error {
	if err := l.begin(s); err != nil {
		return err
	}
	if err := l.step(); err != nil {
		return err
	}
	return l.end()
}

// begin takes the step's batch through the methods' hooks.
func (l *supervised) begin(s *learner.Step) error {
	l.now = s
	for _, h := range l.batchers {
		if err := h.Batch(s); err != nil {
			return err
		}
	}
	return nil
}

// end lets the methods see and edit the network after the update.
func (l *supervised) end() error {
	for _, h := range l.after {
		if err := h.AfterStep(l.now); err != nil {
			return err
		}
	}
	return nil
}

// bareStep runs forward, backward and update on the step's batch.
func (l *supervised) bareStep() error {
	l.in.fill(l.now.Batch)
	l.train.Run(uint64(l.now.Index))
	if err := l.observe(); err != nil || l.update == nil {
		return err
	}
	if err := l.editGradients(); err != nil {
		return err
	}
	l.update.Run(uint64(l.now.Index))
	return nil
}

// observe takes the results of the forward pass.
func (l *supervised) observe() error {
	s := l.now
	s.Correct, s.Output, s.Features = l.correct, l.outputs, l.features
	var sum float64
	for _, v := range l.losses {
		sum += float64(v)
	}
	s.Loss = float32(sum / float64(len(l.losses)))
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return fmt.Errorf("step %d (task %d): the loss is %v; the first value that is not finite is in layer %s; a smaller step size may help",
			s.Index, s.Task, s.Loss, l.firstNonFinite())
	}
	return nil
}

// editGradients shows whole gradients to the methods that asked for them.
func (l *supervised) editGradients() error {
	for _, h := range l.backward {
		if err := h.AfterBackward(l.now, l.gradients); err != nil {
			return err
		}
	}
	return nil
}

// firstNonFinite names the first layer whose activations are not finite.
func (l *supervised) firstNonFinite() string {
	for i, f := range l.features {
		for _, v := range f {
			if v-v != 0 {
				return l.network.Units()[i].Layer
			}
		}
	}
	return "output"
}

// EndTask implements [learner.Learner]. It is also where weights and states that
// are not finite are found if no loss has told: the last update's, those of
// inputs that are 0, and those that leave units off.
func (l *supervised) EndTask(s *learner.Step) error {
	for _, p := range l.network.Params() {
		for _, v := range p.Var.F32 {
			if v-v != 0 {
				return fmt.Errorf("step %d (task %d): the %s of layer %s is not finite; a smaller step size may help", s.Index, s.Task, p.Role, p.Layer)
			}
		}
	}
	for _, v := range l.store.Vars() {
		for _, x := range v.F32 {
			if x-x != 0 && v.Keep == graph.Persistent {
				return fmt.Errorf("step %d (task %d): the state %s is not finite; a smaller step size may help", s.Index, s.Task, v.Name)
			}
		}
	}
	for _, h := range l.boundaries {
		if err := h.TaskBoundary(s); err != nil {
			return err
		}
	}
	for _, h := range l.births {
		if h.Reborn(s) {
			return l.reborn(s.Task)
		}
	}
	return nil
}

// reborn takes over all variables of a newborn learner of the same spec.
func (l *supervised) reborn(task int) error {
	env := l.env
	env.life = uint32(task + 1)
	fresh, _, err := newSupervised(l.spec, env, graph.NewStore(), l.objective)
	if err != nil {
		return err
	}
	for _, from := range fresh.store.Vars() {
		to := l.store.Lookup(from.Name)
		if strings.HasPrefix(from.Name, "probe/") { // measures on across lives
			continue
		}
		copy(to.F32, from.F32)
		copy(to.F64, from.F64)
		copy(to.I32, from.I32)
		copy(to.U8, from.U8)
	}
	return nil
}

type evaluation struct {
	program *graph.Program
	in      inputs
	result  learner.Evaluation
}

// Evaluate implements [learner.Learner].
func (l *supervised) Evaluate(batch *stream.Batch) (result *learner.Evaluation, err error) {
	defer graph.Catch(&err) // a probe may ask for more examples than fit into a tensor
	e := l.evals[batch.N]
	if e == nil {
		b := graph.NewBuilder()
		_, net, _ := l.forward(b, batch.N, nn.Evaluation, l.output)
		b.Output("output", net.Output)
		p := b.Compile()
		e = &evaluation{program: p, in: inputsOf(p, l.info), result: learner.Evaluation{
			N: batch.N, Losses: p.Output("losses"), Correct: p.Output("correct"), Output: p.Output("output"),
		}}
		for i := range net.Features {
			e.result.Features = append(e.result.Features, p.Output(fmt.Sprintf("features/%d", i)))
		}
		l.evals[batch.N] = e
	}
	e.in.fill(batch)
	e.result.Batch = batch
	e.program.Run(0)
	return &e.result, nil
}

// secondGradient computes whole gradients of the prediction loss of another
// batch, without the methods' terms, or of a method's objective.
type secondGradient struct {
	learner *supervised
	rule    gradientRule
	program *graph.Program
	in      inputs
	size    int
	out     [][]float32
}

func (g *secondGradient) trace(n int, objective method.Objective) {
	b, l := graph.NewBuilder(), g.learner
	x, net, losses := l.forward(b, n, nn.Evaluation, nil)
	loss := b.Mean(losses)
	if objective != nil {
		loss = objective.Objective(&method.Trace{B: b, X: x, Net: net, Network: l.network, Losses: losses, Loss: loss, Tracer: l.tracer})
	}
	b.Output("output", net.Output)
	for i, d := range l.directions(b, g.rule, loss) {
		b.Output(fmt.Sprintf("gradient/%d", i), d)
	}
	g.program = b.Compile()
	g.in = inputsOf(g.program, l.info)
	g.size = n
	for i := range l.network.Params() {
		g.out = append(g.out, g.program.Output(fmt.Sprintf("gradient/%d", i)))
	}
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
	g.in.fill(b)
	g.program.Run(0)
	return g.out, nil
}
