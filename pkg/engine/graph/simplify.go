package graph

import "neoteny/pkg/engine/kernel"

// What follows is decided while tracing, and changes no bit of any value:
// arithmetic on constants is done at once, and what leaves its operand as it is
// leaves no trace. Gradients of means and sums are full of both.

// constant returns the one number that a node holds, if it is known.
func (n Node) constant() (float32, bool) {
	if o, ok := n.b.nodes[n.id].op.(constant); ok {
		return o.constant(), true
	}
	return 0, false
}

// foldUnary returns f of a constant.
func (b *Builder) foldUnary(f kernel.UnaryOp, x Node) (Node, bool) {
	v, ok := x.constant()
	if !ok || x.b != b {
		return Node{}, false
	}
	y := make([]float32, 1)
	kernel.Unary(f, y, []float32{v})
	return b.Fill(y[0], x.Shape()), true
}

// foldBinary returns f of two constants, and x where x·1, x/1 or x−0 was asked
// for.
func (b *Builder) foldBinary(f kernel.BinaryOp, x, z Node) (Node, bool) {
	shape, ok := broadcast(x.Shape(), z.Shape())
	if !ok || x.b != b || z.b != b {
		return Node{}, false
	}
	u, isU := x.constant()
	v, isV := z.constant()
	switch {
	case isU && isV:
		y := make([]float32, 1)
		kernel.Binary(f, y, []float32{u}, []float32{v})
		return b.Fill(y[0], shape), true
	case isV && x.Shape().Equal(shape) && (v == 1 && (f == kernel.Mul || f == kernel.Div) || v == 0 && f == kernel.Sub && !signed(v)):
		return x, true
	case isU && z.Shape().Equal(shape) && u == 1 && f == kernel.Mul:
		return z, true
	}
	return Node{}, false
}

// signed reports whether a zero is −0.
func signed(v float32) bool { return 1/v < 0 }
