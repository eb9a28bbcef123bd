package graph

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/tensor"
)

func shapesOf(nodes []Node) []tensor.Shape {
	var s []tensor.Shape
	for _, n := range nodes {
		s = append(s, n.Shape())
	}
	return s
}

func rowsOf(nodes []Node, steps int) []tensor.Shape {
	var rows []tensor.Shape
	for _, n := range nodes {
		s := n.Shape()
		if len(s) == 0 || s[0] != steps {
			panic(errorf("scan: %s has no row for each of %d steps", s, steps))
		}
		rows = append(rows, s[1:])
	}
	return rows
}

// body is a traced step. Its operands are placeholders, or variables, that it
// reads; results are nodes.
type body struct {
	b                   *Builder
	carry, each, shared []*Var
	next, outs, sums    []int // sums are added up over the steps
}

func traceBody(carry, each, shared []tensor.Shape, f func(b *Builder, carry, each, shared []Node) (next, outs, sums []Node)) *body {
	inner := NewBuilder()
	var nodes [3][]Node
	var vars [3][]*Var
	for i, shapes := range [3][]tensor.Shape{carry, each, shared} {
		for _, s := range shapes {
			v := &Var{Name: "operand of a scan", Type: F32, Shape: s}
			vars[i] = append(vars[i], v)
			nodes[i] = append(nodes[i], inner.Read(v))
		}
	}
	own := len(inner.nodes)
	next, outs, sums := f(inner, nodes[0], nodes[1], nodes[2])
	if len(inner.inputs)+len(inner.outputs)+len(inner.assigns) > 0 {
		panic(errorf("scan: its body has inputs, outputs or assignments"))
	}
	if len(next) != len(carry) {
		panic(errorf("scan: its body takes a carry of %d values and returns %d", len(carry), len(next)))
	}
	bd := &body{b: inner, carry: vars[0], each: vars[1], shared: vars[2]}
	for i, n := range next {
		if n.b != inner || !n.Shape().Equal(carry[i]) {
			panic(errorf("scan: value %d of the carry is %s, and %s after a step", i, carry[i], n.Shape()))
		}
		bd.next = append(bd.next, n.id)
	}
	for _, n := range slices.Concat(outs, sums) {
		if n.b != inner {
			panic(errorf("scan: its body returns a value that is not its own"))
		}
	}
	for _, n := range outs {
		bd.outs = append(bd.outs, n.id)
	}
	for _, n := range sums {
		bd.sums = append(bd.sums, n.id)
	}
	for _, n := range inner.nodes[own:] {
		if v := n.reads(); v != nil {
			bd.shared = append(bd.shared, v)
		}
	}
	return bd
}

// operands returns the placeholders in the order of the operation's operands.
func (bd *body) operands() []*Var { return slices.Concat(bd.carry, bd.each, bd.shared) }

// inline traces the body into a builder with values for its placeholders, and
// returns its nodes there.
func (bd *body) inline(b *Builder, values map[*Var]Node) []Node {
	nodes := make([]Node, len(bd.b.nodes))
	for id, n := range bd.b.nodes {
		if v := n.reads(); v != nil {
			nodes[id] = values[v]
			continue
		}
		in := make([]Node, len(n.in))
		for i, j := range n.in {
			in[i] = nodes[j]
		}
		nodes[id] = b.add(n.op, n.shape, in...)
	}
	return nodes
}

func pick(nodes []Node, ids []int) []Node {
	out := make([]Node, len(ids))
	for i, id := range ids {
		out[i] = nodes[id]
	}
	return out
}

// instance is a body in a builder whose operands are variables of its own, to
// be executed.
type instance struct {
	b        *Builder
	operands []*Var
	results  []string // outputs: next, outs, sums
}

func (bd *body) instance(storage func(i int, placeholder *Var) []float32) *instance {
	in := &instance{b: NewBuilder()}
	values := map[*Var]Node{}
	for i, p := range bd.operands() {
		v := &Var{Name: p.Name, Type: F32, Shape: p.Shape, F32: storage(i, p)}
		in.operands = append(in.operands, v)
		values[p] = in.b.Read(v)
	}
	nodes := bd.inline(in.b, values)
	for i, id := range slices.Concat(bd.next, bd.outs, bd.sums) {
		in.results = append(in.results, fmt.Sprint(i))
		in.b.Output(in.results[i], nodes[id])
	}
	return in
}

// part is one of the things that a scan's value holds.
type part struct {
	at    int
	shape tensor.Shape
}

type parts []part

type layout struct {
	final, outs, sums, trace parts
	size                     int
}

func (o *scan) parts() layout {
	var l layout
	add := func(to *parts, s tensor.Shape, rows bool) {
		if rows {
			s = append(tensor.Shape{o.steps}, s...)
		}
		if err := s.Check(); err != nil {
			panic(errorf("scan: %v", err))
		}
		*to = append(*to, part{l.size, s})
		if l.size += s.Elems(); l.size > tensor.MaxElems {
			panic(errorf("scan: its results have more than %d elements", tensor.MaxElems))
		}
	}
	for _, v := range o.body.carry {
		add(&l.final, v.Shape, false)
	}
	for _, id := range o.body.outs {
		add(&l.outs, o.body.b.nodes[id].shape, true)
	}
	for _, id := range o.body.sums {
		add(&l.sums, o.body.b.nodes[id].shape, false)
	}
	if o.trace {
		for _, v := range o.body.carry {
			add(&l.trace, v.Shape, true)
		}
	}
	if l.size == 0 {
		panic(errorf("scan: its body returns nothing"))
	}
	return l
}

// of returns the parts of a scan's value.
func (ps parts) of(b *Builder, y Node) []Node {
	out := make([]Node, len(ps))
	for i, p := range ps {
		out[i] = b.Reshape(b.SliceAxis(y, 0, p.at, p.at+p.shape.Elems()), p.shape...)
	}
	return out
}

// gradients returns the parts of the gradient of a scan's value; those that are
// known to be zero are the zero Node.
func (ps parts) gradients(b *Builder, dy Node) []Node {
	out := make([]Node, len(ps))
	for i, p := range ps {
		if n := b.stretchOf(dy, p.at, p.at+p.shape.Elems()); n.Valid() {
			out[i] = b.Reshape(n, p.shape...)
		}
	}
	return out
}

// stretchOf returns elements [from, to) of a vector, the zero Node if they are
// known to be zero: gradients of a scan's value are sums of its parts' gradients,
// each padded with zeros.
func (b *Builder) stretchOf(x Node, from, to int) Node {
	n := b.nodes[x.id]
	if o, ok := n.op.(partial); ok {
		if part, known := o.part(b, n, from, to); known {
			return part
		}
	}
	return b.SliceAxis(x, 0, from, to)
}
