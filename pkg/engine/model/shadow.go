package model

import (
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/nn"
)

// Shadow is a copy of a model's network that stays as it is until it is synchronised:
// the same function with other weights. It implements [learner.Shadow].
type Shadow struct {
	of, copies []*graph.Var
	program    *graph.Program
	x, output  []float32
}

// Shadow makes a copy, whose variables belong to the learner, and its program for
// batches of n.
func (m *Model) Shadow(name string, n int) *Shadow {
	s := &Shadow{}
	space := m.store.Space(graph.OfLearner, "shadow/"+name)
	b := m.store.Builder()
	values := map[*graph.Var]graph.Node{}
	for _, v := range Vars(m.store) {
		if v.Type != graph.F32 {
			continue
		}
		other := space.State(v.Name, graph.F32, v.Shape...)
		values[v] = b.Read(other)
		s.of, s.copies = append(s.of, v), append(s.copies, other)
	}
	x := b.Input("x", n, m.Info.Input.Elems())
	b.With(values, func() { b.Output("output", m.Network.Forward(b, x, nn.Evaluation).Output) })
	s.program = b.Compile()
	s.x, s.output = s.program.Input("x"), s.program.Output("output")
	s.Sync()
	return s
}

// Sync copies the network's parameters.
func (s *Shadow) Sync() {
	for i, v := range s.of {
		s.copies[i].CopyFrom(v)
	}
}

// Output returns the copy's output [n][outputs] for inputs [n][inputs], valid until
// the next call.
func (s *Shadow) Output(x []float32) []float32 {
	copy(s.x, x)
	s.program.Run(0)
	return s.output
}
