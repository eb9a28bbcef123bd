// Package model has networks at work: a network in a learner's store, the batches
// that it takes, and the programs that run it forward, for evaluations and with
// other weights. How it is trained is package train's.
package model

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Model is a network with what it is trained for.
type Model struct {
	Network nn.Network
	// Info says what batches are like; its Batch is that of the training program.
	Info stream.Info

	store      *graph.Store
	losses     func(b *graph.Builder, output graph.Node, n int) graph.Node
	evaluators []Evaluator
	evals      map[int]*evaluation // by number of examples
}

// Evaluator changes a network's output in evaluations: a node of the same shape.
type Evaluator func(b *graph.Builder, a nn.Activations) graph.Node

// Config says what a model is built of.
type Config struct {
	Store   *graph.Store
	Network *nn.Resolved
	Info    stream.Info
	// Objective is what the model is trained for: its losses are traced wherever the
	// network is.
	Objective learner.Objective
	// Key returns the random key of a purpose.
	Key func(purpose string) rng.Key
	// Edit changes the network before its parameters are made; nil for nothing.
	Edit func(*nn.Blueprint) error
	component.Artifacts
}

// New builds a model.
func New(c Config) (*Model, error) {
	input, reorder := nn.ReadAs(c.Network.Config, c.Info.Input, c.Info.ChannelsFirst)
	network, err := c.Network.Build(nn.Env{
		Space: c.Store.Space(graph.OfNetwork, "net"), Key: c.Key("init"), Keys: c.Key,
		Input: input, ChannelsFirst: reorder, Outputs: c.Info.Outputs, Edit: c.Edit, Artifacts: c.Artifacts,
	})
	if err != nil {
		return nil, err
	}
	info := c.Info
	info.Batch = c.Objective.Batch
	return &Model{
		Network: network, Info: info,
		store: c.Store, losses: c.Objective.Losses, evals: map[int]*evaluation{},
	}, nil
}

// Store returns the store of the model's variables.
func (m *Model) Store() *graph.Store { return m.store }

// OnEvaluation adds what changes the output in evaluations, behind those that are
// there; all come before the first evaluation.
func (m *Model) OnEvaluation(e Evaluator) { m.evaluators = append(m.evaluators, e) }

// Pass is a forward pass in a program that is being traced.
type Pass struct {
	X      graph.Node // [n][inputs]
	Net    nn.Activations
	Losses graph.Node // [n]
}

// Forward traces the network and its losses for a batch of n, whose parts are inputs
// of the program (see [Model.Feed]). Outputs "losses" and "features/0", … are there
// after a run.
func (m *Model) Forward(b *graph.Builder, n int, mode nn.Mode) Pass {
	return m.forward(b, n, mode, nil)
}

// ForwardEvaluation does so as evaluations do, with what methods change there.
func (m *Model) ForwardEvaluation(b *graph.Builder, n int) Pass {
	return m.forward(b, n, nn.Evaluation, m.evaluators)
}

func (m *Model) forward(b *graph.Builder, n int, mode nn.Mode, evaluators []Evaluator) Pass {
	x := b.Input("x", n, m.Info.Input.Elems())
	net := m.Network.Forward(b, x, mode)
	for _, e := range evaluators {
		net.Output = e(b, net)
	}
	net.Logits = net.Output
	if first, heads := m.Info.HeadOf(0); first+heads < m.Info.Outputs {
		net.Output = b.Add(net.Output, b.Input("head", m.Info.Outputs))
	}
	losses := m.losses(b, net.Output, n)
	b.Output("losses", losses)
	for i, f := range net.Features {
		b.Output(feature(i), f)
	}
	return Pass{X: x, Net: net, Losses: losses}
}

func feature(i int) string { return fmt.Sprintf("features/%d", i) }

// Features returns the outputs of a program with the features of its forward pass,
// a slice for each group of units.
func (m *Model) Features(p *graph.Program) [][]float32 {
	var all [][]float32
	for i := range m.Network.Units() {
		all = append(all, p.Output(feature(i)))
	}
	return all
}

// Feed is where a program takes its batch from.
type Feed struct {
	x       []float32
	labels  []int32
	targets []float32
	task    []int32   // [1], where the network asks for it; see [nn.Task]
	head    []float32 // [outputs], where tasks have heads: 0 for those of the task's, else closed
	info    stream.Info
}

// closed is added to the logits of other tasks' heads: their probabilities and
// gradients are 0 exactly.
const closed = -1e30

// Feed returns where a program with a forward pass of the model takes its batch from.
func (m *Model) Feed(p *graph.Program) Feed {
	return Feed{p.Input("x"), p.Labels("labels"), p.Input("targets"), p.Labels("task"), p.Input("head"), m.Info}
}

// Fill gives the program a batch.
func (f *Feed) Fill(b *stream.Batch) {
	copy(f.x, b.X)
	copy(f.labels, b.Labels)
	copy(f.targets, b.Targets)
	if f.task != nil {
		f.task[0] = int32(b.Task)
	}
	if f.head != nil {
		first, n := f.info.HeadOf(b.Task)
		for i := range f.head {
			f.head[i] = closed
		}
		clear(f.head[first : first+n])
	}
}

// EvaluationListing returns the program that evaluates a batch of n.
func (m *Model) EvaluationListing(n int) *graph.Listing {
	b := graph.NewBuilder()
	b.List()
	b.Output("output", m.ForwardEvaluation(b, n).Net.Output)
	return b.Compile().Listing()
}

type evaluation struct {
	program *graph.Program
	feed    Feed
	result  learner.Evaluation
}

// Evaluate runs the network on a batch. The result is valid until the next call with
// a batch of the same size.
func (m *Model) Evaluate(batch *stream.Batch) (result *learner.Evaluation, err error) {
	defer graph.Catch(&err) // a probe may ask for more examples than fit into a tensor
	e := m.evals[batch.N]
	if e == nil {
		b := graph.NewBuilder()
		pass := m.ForwardEvaluation(b, batch.N)
		b.Output("output", pass.Net.Output)
		p := b.Compile()
		e = &evaluation{program: p, feed: m.Feed(p), result: learner.Evaluation{
			N: batch.N, Losses: p.Output("losses"), Correct: p.Output("correct"), Output: p.Output("output"),
			Features: m.Features(p),
		}}
		m.evals[batch.N] = e
	}
	e.feed.Fill(batch)
	e.result.Batch = batch
	e.program.Run(0)
	return &e.result, nil
}
