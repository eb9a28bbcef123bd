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
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

func init() {
	method.Register(component.Info{
		Name:    "dual-arch",
		Paper:   "Lu et al. 2025, Rethinking the Stability-Plasticity Trade-off in Continual Learning from an Architectural Perspective",
		Summary: "a deep thin network learns each task first, and the learner's own, wide and shallow, learns from its answers, too",
		Needs:   []component.Capability{component.Gradients, component.Classification},
		Trial: component.Trial{
			Inert:  []component.Object{{"alpha": 0.0, "share": 0.0}},
			Lively: component.Object{"share": 0.4, "network": component.Object{"kind": "mlp", "hidden": []any{4.0, 4.0, 4.0}}},
		},
	}, dualArchConfig{
		Network:   nn.NewNested(component.Object{"kind": "mlp", "hidden": []any{50.0, 50.0, 50.0, 50.0}}),
		Optimizer: optim.NewNested(component.Object{"kind": "momentum", "lr": 0.01}),
		Share:     0.5, Alpha: 0.5, Temperature: 3, Outputs: "task",
	}, nil, newDualArch)
}

type dualArchConfig struct {
	Network     nn.Nested    `json:"network" doc:"the plastic learner's network"`
	Optimizer   optim.Nested `json:"optimizer" doc:"the plastic learner's optimiser"`
	Share       float64      `json:"share" doc:"fraction of a task's steps, its first ones, in which the plastic learner learns and the stable one waits"`
	Alpha       float64      `json:"alpha" doc:"α: weight of the plastic learner's answers beside the labels"`
	Temperature float64      `json:"temperature" doc:"T that logits are divided by before they are compared"`
	Outputs     string       `json:"outputs" doc:"which outputs are compared: task: those of the classes that the plastic learner has been shown in this task; all" enum:"task|all"`
}

func (c dualArchConfig) Validate() error {
	return errors.Join(check.Range("share", c.Share, 0, 1), check.Range("alpha", c.Alpha, 0, 1), check.Range("temperature", c.Temperature, 1e-3, 1e3))
}

// dualArch teaches a second, plastic network φ first, in the first share of the
// steps of every task, by cross-entropy CE on the task's batches alone, while the
// learner's own network θ keeps its weights. In the other steps φ is left as it
// is, and θ learns, with whatever other methods there are, by
//
//	(1−α)·CE(θ) − α·mean_b Σ_k p_k(φ)·ln p_k(θ),   p = softmax(logits/T)
//
// (section 4 of the paper and its code, with α = 1/2 and T = 3). The sum goes
// over the classes of the task, as the code has it for methods without a memory.
// Both networks go on from where the last task left them; both optimisers start
// anew where their network begins to learn.
type dualArch struct {
	cfg    dualArchConfig
	states *optim.States // of the learner's own network
	first  int64         // steps of the plastic learner

	learns *graph.Var // 1 while the learner's own network learns
	soft   *graph.Var // [n][outputs], what the plastic learner gives for the step's batch
	shown  *graph.Var // [outputs], 0 for outputs that are compared, else very small

	plasticStates *optim.States
	train, ask    *graph.Program
	info          stream.Info
}

// unlikely is added to logits that are to have no probability.
const unlikely = -1e30

func newDualArch(c dualArchConfig, env method.Env) (_ method.Method, err error) {
	defer graph.Catch(&err)
	m := &dualArch{cfg: c, states: env.States, info: env.Info, first: int64(float64(c.Share * float64(env.StepsPerTask)))}
	m.learns = env.State("learns", graph.F32)
	m.shown = env.State("shown", graph.F32, env.Outputs)
	m.soft = env.Space.New("soft", graph.F32, graph.Transient, env.Batch, env.Outputs)
	if c.Alpha == 0 && c.Share == 0 {
		return m, nil
	}
	input, reorder := nn.ReadAs(c.Network.Config, env.Info.Input, env.Info.ChannelsFirst)
	network, err := c.Network.Build(nn.Env{
		Space: env.Space.Sub("plastic"),
		Key:   env.Key("init"), Keys: func(purpose string) rng.Key { return env.Key("plastic/" + purpose) },
		Input: input, ChannelsFirst: reorder, Outputs: env.Outputs,
	})
	if err != nil {
		return nil, component.At("network", err)
	}
	optimizer, err := c.Optimizer.Build(optim.Env{})
	if err != nil {
		return nil, component.At("optimizer", err)
	}
	forward := func(b *graph.Builder, mode nn.Mode) graph.Node {
		out := network.Forward(b, b.Input("x", env.Batch, env.Inputs), mode).Output
		return b.Add(out, b.Input("head", env.Outputs))
	}
	b := env.Space.Builder()
	loss := b.Mean(b.CrossEntropy(forward(b, nn.Training), b.Labels("labels", env.Batch)))
	var reads []graph.Node
	for _, p := range network.Params() {
		reads = append(reads, b.Read(p.Var))
	}
	tracer := optim.NewTracer(env.Space.Store(), graph.OfMethod, env.Key)
	m.plasticStates = tracer.States
	tracer.Descend(b, optimizer, network.Params(), b.Gradients(loss, reads...), optim.Edits{})
	m.train = b.Compile()
	b = env.Space.Builder()
	b.Output("output", forward(b, nn.Evaluation))
	m.ask = b.Compile()
	return m, nil
}

// Batch implements [method.Batcher].
func (m *dualArch) Batch(s *learner.Step) error {
	if m.train == nil {
		return nil
	}
	if s.TaskStep == 0 {
		m.plasticStates.Restart(true)
		fill(m.shown.F32, unlikely)
		m.learns.F32[0] = 0
	}
	if s.TaskStep < m.first {
		for _, l := range s.Batch.Labels {
			m.shown.F32[l] = 0
		}
		m.fill(m.train, s.Batch)
		copy(m.train.Labels("labels"), s.Batch.Labels)
		m.train.Run(uint64(s.Index))
	} else if m.learns.F32[0] == 0 {
		m.learns.F32[0] = 1
		m.states.Restart(true)
		if m.cfg.Outputs == "all" || m.first == 0 {
			clear(m.shown.F32)
		}
	}
	m.fill(m.ask, s.Batch)
	m.ask.Run(uint64(s.Index))
	copy(m.soft.F32, m.ask.Output("output"))
	return nil
}

// fill gives a program of the plastic learner its examples and the task's head.
func (m *dualArch) fill(p *graph.Program, b *stream.Batch) {
	copy(p.Input("x"), b.X)
	head := p.Input("head")
	fill(head, unlikely)
	first, n := m.info.HeadOf(b.Task)
	clear(head[first : first+n])
}

// Loss implements [method.Losser].
func (m *dualArch) Loss(t *method.Trace) graph.Node {
	if m.cfg.Alpha == 0 {
		return graph.Node{}
	}
	b, alpha := t.B, float32(m.cfg.Alpha)
	compared := func(logits graph.Node) graph.Node {
		return b.Add(b.Scale(float32(1/m.cfg.Temperature), logits), b.Read(m.shown))
	}
	answers := b.Mul(b.Softmax(compared(b.Read(m.soft))), b.LogSoftmax(compared(t.Net.Output)))
	distilled := b.Scale(-1, b.Mean(b.SumRows(answers)))
	return b.Scale(alpha, b.Sub(distilled, b.Mean(t.Losses)))
}

// UpdateWeight implements [method.WeightUpdater].
func (m *dualArch) UpdateWeight(u *optim.Update, w graph.Node) graph.Node {
	if m.first == 0 {
		return w
	}
	return u.B.Select(u.B.Read(m.learns), w, u.W)
}

var (
	_ method.Batcher       = (*dualArch)(nil)
	_ method.Losser        = (*dualArch)(nil)
	_ method.WeightUpdater = (*dualArch)(nil)
)
