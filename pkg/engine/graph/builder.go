// Package graph has static programs over named variables: a builder that
// traces operations, reverse-mode differentiation whose every rule emits
// ordinary operations (so gradients can be differentiated again), and an
// executor that runs a compiled program without allocating.
//
// A learner traces its programs once: training, evaluation, gradients of
// another batch. The values of variables live in a [Store], outside of
// programs, so that programs, methods and probes share them.
//
// The executor is simple: one kernel call per operation, with runs of
// element-wise operations taken together block by block, so that a chain such
// as an optimiser's update passes over memory once.
package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

// Node is a value in a program under construction.
type Node struct {
	b  *Builder
	id int
}

// Valid reports whether the node is a value at all (the zero Node is not).
func (n Node) Valid() bool { return n.b != nil }

// Shape returns the node's shape; it must not be modified.
func (n Node) Shape() tensor.Shape { return n.b.nodes[n.id].shape }

type node struct {
	op    op
	in    []int
	shape tensor.Shape
	label bool // holds i32 class labels instead of float32
}

// Builder traces one program.
type Builder struct {
	nodes   []node
	inputs  map[string]int
	outputs []namedNode
	assigns []assign
	reads   map[*Var]int
	with    map[*Var]Node // see [Builder.With]
	wanted  []bool        // by node, while gradients are traced: its gradient is asked for
	memory  *memory
	listed  bool // programs have a [Listing]
}

type namedNode struct {
	name string
	id   int
}

type assign struct {
	v  *Var
	id int
}

// NewBuilder returns an empty program under construction.
func NewBuilder() *Builder {
	return &Builder{inputs: map[string]int{}, reads: map[*Var]int{}, memory: &memory{}}
}

func (b *Builder) add(o op, shape tensor.Shape, in ...Node) Node {
	if err := shape.Check(); err != nil {
		panic(errorf("%s: %v", o.name(), err))
	}
	ids := make([]int, len(in))
	for i, n := range in {
		if n.b != b {
			panic(errorf("%s: operand %d is not of this program", o.name(), i))
		}
		ids[i] = n.id
	}
	b.nodes = append(b.nodes, node{op: o, in: ids, shape: slices.Clone(shape)})
	return Node{b, len(b.nodes) - 1}
}

// Input declares a float32 input; the caller fills [Program.Input] before a run.
func (b *Builder) Input(name string, shape ...int) Node {
	return b.input(name, shape, false)
}

// Labels declares an input of n class labels, filled through [Program.Labels].
func (b *Builder) Labels(name string, n int) Node {
	return b.input(name, tensor.Shape{n}, true)
}

// List makes the program that is compiled have a [Listing].
func (b *Builder) List() { b.listed = true }

// Declared returns the input of that name, if the program has one already.
func (b *Builder) Declared(name string) (Node, bool) {
	id, ok := b.inputs[name]
	if !ok {
		return Node{}, false
	}
	return Node{b, id}, true
}

func (b *Builder) input(name string, shape tensor.Shape, label bool) Node {
	if _, dup := b.inputs[name]; dup {
		panic(errorf("input %q declared twice", name))
	}
	n := b.add(inputOp{name, label}, shape)
	b.nodes[n.id].label = label
	b.inputs[name] = n.id
	return n
}

// Read returns the value of a float32 variable as it was when the run began.
func (b *Builder) Read(v *Var) Node {
	if v.Type != F32 {
		panic(errorf("read %q: a program reads F32, this is %s", v.Name, v.Type))
	}
	if n, ok := b.with[v]; ok {
		return n
	}
	if id, ok := b.reads[v]; ok {
		return Node{b, id}
	}
	n := b.add(readOp{v}, v.Shape)
	b.reads[v] = n.id
	return n
}

// With calls trace, during which a Read of one of the given variables is the node
// that stands beside it: what is traced there is the same function with other
// weights, be they another variable's value or computed. Nodes have the shapes of
// the variables they stand for.
func (b *Builder) With(values map[*Var]Node, trace func()) {
	for v, x := range values {
		if !v.Shape.Equal(x.Shape()) {
			panic(errorf("%q %s instead of %q %s", b.nodes[x.id].op.name(), x.Shape(), v.Name, v.Shape))
		}
	}
	outer := b.with
	b.with = values
	defer func() { b.with = outer }()
	trace()
}

// Assign stores a value in a variable when the run ends. A program assigns to
// a variable at most once; every Read in it sees the old value.
func (b *Builder) Assign(v *Var, x Node) {
	if !v.Shape.Equal(x.Shape()) {
		panic(errorf("assign to %q: shape %s, not %s", v.Name, x.Shape(), v.Shape))
	}
	for _, a := range b.assigns {
		if a.v == v {
			panic(errorf("variable %q assigned twice", v.Name))
		}
	}
	b.assigns = append(b.assigns, assign{v, x.id})
}

// Output makes a value readable after a run through [Program.Output].
func (b *Builder) Output(name string, x Node) {
	for _, o := range b.outputs {
		if o.name == name {
			panic(errorf("output %q declared twice", name))
		}
	}
	b.outputs = append(b.outputs, namedNode{name, x.id})
}

// Gradients returns ∂Σy/∂x for every x, as nodes that can be differentiated
// again. An x that y does not depend on gets zeros.
func (b *Builder) Gradients(y Node, xs ...Node) []Node {
	return b.VJP([]Node{y}, []Node{b.Fill(1, y.Shape())}, xs...)
}

// VJP returns the vector-Jacobian products Σ_i dy_i·∂y_i/∂x for every x, dy_i
// having the shape of y_i, as nodes that can be differentiated again. An x that
// no y depends on gets zeros.
func (b *Builder) VJP(ys, dys []Node, xs ...Node) []Node {
	last := -1
	for _, y := range ys {
		last = max(last, y.id)
	}
	wanted := make([]bool, last+1)
	for _, x := range xs {
		if x.id <= last {
			wanted[x.id] = true
		}
	}
	// A node matters if one of xs is among its ancestors.
	for id := range wanted {
		if _, stop := b.nodes[id].op.(stopping); stop {
			continue
		}
		for _, in := range b.nodes[id].in {
			wanted[id] = wanted[id] || wanted[in]
		}
	}
	outer := b.wanted
	b.wanted = wanted
	defer func() { b.wanted = outer }()
	grads := make([]Node, last+1)
	for i, y := range ys {
		if !dys[i].Shape().Equal(y.Shape()) {
			panic(errorf("gradient of output %d: shape %s, not %s", i, dys[i].Shape(), y.Shape()))
		}
		if grads[y.id].Valid() {
			grads[y.id] = b.Add(grads[y.id], dys[i])
			continue
		}
		grads[y.id] = dys[i]
	}
	for id := last; id >= 0; id-- {
		if !grads[id].Valid() || !wanted[id] {
			continue
		}
		n := b.nodes[id]
		in := make([]Node, len(n.in))
		needed := false
		for i, j := range n.in {
			in[i] = Node{b, j}
			needed = needed || wanted[j]
		}
		if !needed {
			continue
		}
		for i, g := range n.op.grad(b, Node{b, id}, grads[id], in) {
			j := n.in[i]
			if !g.Valid() || !wanted[j] {
				continue
			}
			if !g.Shape().Equal(b.nodes[j].shape) {
				panic(errorf("gradient of %s: operand %d has shape %s, its gradient %s", n.op.name(), i, b.nodes[j].shape, g.Shape()))
			}
			if grads[j].Valid() {
				g = b.Add(grads[j], g)
			}
			grads[j] = g
		}
	}
	out := make([]Node, len(xs))
	for i, x := range xs {
		if x.id <= last && grads[x.id].Valid() {
			out[i] = grads[x.id]
		} else {
			out[i] = b.Fill(0, x.Shape())
		}
	}
	return out
}
