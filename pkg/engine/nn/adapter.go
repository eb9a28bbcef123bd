package nn

import (
	"fmt"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/tensor"
)

// Adapter is a function with parameters of its own that a method puts between
// the layers of a chain: gates of units, a kernel per task behind a
// convolution, an image added to the input. It leaves the shape as it is.
type Adapter interface {
	// Make makes the parameters, once, before Apply.
	Make(m *AdapterMaker) error
	// Apply traces the function of x, [n][units] or [n][height][width][channels].
	Apply(b *graph.Builder, x graph.Node, mode Mode) graph.Node
}

// AdapterMaker makes the parameters of an adapter.
type AdapterMaker struct {
	// Shape is what the adapter is applied to, of one example: [units],
	// [height][width][channels], or a stream's input as a vector.
	Shape tensor.Shape
	// Outputs is how many outputs the network has.
	Outputs int

	layer string // that it belongs to
	index int    // of the adapter in the network
	draws uint64
	m     *maker
}

// adapterDraws is where the draws of adapters begin, so that those of layers are
// the same with and without.
const adapterDraws = 1 << 32

// Adapters returns the adapters that methods have put into a network: each
// finds its own by their type.
func Adapters(n Network) []Adapter {
	if a, ok := n.(interface{ made() []Adapter }); ok {
		return a.made()
	}
	return nil
}

func (m *maker) made() []Adapter { return m.adapters }

// Param makes a trained parameter that starts from draws of the distribution.
// name is unique in the adapter.
func (a *AdapterMaker) Param(name string, fanIn int, init Distribution, shape ...int) *Param {
	keep := a.m.draws
	a.m.draws = adapterDraws*uint64(a.index+1) + a.draws
	a.draws++
	p := a.m.param(a.layer, fmt.Sprintf("%s/adapter%d/%s", a.layer, a.index, name), Adapted, fanIn, fanIn, start{Distribution: init}, torchName{}, shape...)
	a.m.draws = keep
	return p
}

// State makes a persistent variable of the adapter that is not trained, zero
// to begin with. name is unique in the adapter.
func (a *AdapterMaker) State(name string, shape ...int) *graph.Var {
	return a.m.env.Space.State(fmt.Sprintf("%s/adapter%d/%s", a.layer, a.index, name), graph.F32, shape...)
}

// adapt makes the parameters of adapters that are applied to values of a shape.
func (m *maker) adapt(layer string, shape tensor.Shape, adapters []Adapter) error {
	for _, a := range adapters {
		if err := a.Make(&AdapterMaker{Shape: shape, Outputs: m.env.Outputs, layer: layer, index: len(m.adapters), m: m}); err != nil {
			return fmt.Errorf("layer %s: %w", layer, err)
		}
		m.adapters = append(m.adapters, a)
	}
	return nil
}

func applyAdapters(b *graph.Builder, x graph.Node, mode Mode, adapters []Adapter) graph.Node {
	for _, a := range adapters {
		x = a.Apply(b, x, mode)
	}
	return x
}

// Task returns the number of the task that a program's batch is of, a label
// [1], for what differs from task to task. Code that runs a program of a learner
// fills it in with the rest of the batch.
func Task(b *graph.Builder) graph.Node {
	if n, ok := b.Declared("task"); ok {
		return n
	}
	return b.Labels("task", 1)
}
