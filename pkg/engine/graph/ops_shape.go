package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

type fillOp struct{ value float32 }
type broadcastOp struct{}
type sumOp struct{ to tensor.Shape }
type reshapeOp struct{}
type transposeOp struct{}
type concatOp struct{ widths []int }
type sliceOp struct{ from, to, width int }
type padOp struct{ from, to int }

func (fillOp) name() string      { return "fill" }
func (broadcastOp) name() string { return "broadcast" }
func (sumOp) name() string       { return "sum" }
func (reshapeOp) name() string   { return "reshape" }
func (transposeOp) name() string { return "transpose" }
func (concatOp) name() string    { return "concat" }
func (sliceOp) name() string     { return "slice" }
func (padOp) name() string       { return "pad" }

func (fillOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (broadcastOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.SumTo(dy, in[0].Shape())}
}

func (sumOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.BroadcastTo(dy, in[0].Shape())}
}

func (reshapeOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.Reshape(dy, in[0].Shape()...)}
}

func (transposeOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.Transpose(dy)}
}

func (o concatOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	out := make([]Node, len(in))
	at := 0
	for i, w := range o.widths {
		out[i] = b.Slice(dy, at, at+w)
		at += w
	}
	return out
}

func (o sliceOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(padOp{o.from, o.to}, in[0].Shape(), dy)}
}

func (o padOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.Slice(dy, o.from, o.to)}
}

// Fill returns an array of one value.
func (b *Builder) Fill(value float32, shape tensor.Shape) Node {
	return b.add(fillOp{value}, shape)
}

// BroadcastTo repeats x along missing axes and axes of length 1, as NumPy does.
func (b *Builder) BroadcastTo(x Node, shape tensor.Shape) Node {
	if x.Shape().Equal(shape) {
		return x
	}
	if to, ok := broadcast(x.Shape(), shape); !ok || !to.Equal(shape) {
		panic(errorf("broadcast: %s does not spread to %s", x.Shape(), shape))
	}
	return b.add(broadcastOp{}, shape, x)
}

// SumTo sums x down to a shape that broadcasts to x's: the reverse of
// BroadcastTo.
func (b *Builder) SumTo(x Node, shape tensor.Shape) Node {
	if x.Shape().Equal(shape) {
		return x
	}
	if to, ok := broadcast(shape, x.Shape()); !ok || !to.Equal(x.Shape()) {
		panic(errorf("sum: %s does not reduce to %s", x.Shape(), shape))
	}
	return b.add(sumOp{slices.Clone(shape)}, shape, x)
}

// Sum returns the sum of all elements, a scalar.
func (b *Builder) Sum(x Node) Node { return b.SumTo(x, nil) }

// Mean returns the mean of all elements, a scalar.
func (b *Builder) Mean(x Node) Node {
	return b.Div(b.Sum(x), b.Const(float32(x.Shape().Elems())))
}

// SumRows returns the sums over the last axis of [n][m], as [n][1].
func (b *Builder) SumRows(x Node) Node {
	return b.SumTo(x, tensor.Shape{x.Shape()[0], 1})
}

// Reshape returns x with other axes and the same elements in order.
func (b *Builder) Reshape(x Node, shape ...int) Node {
	s := tensor.Shape(shape)
	if s.Equal(x.Shape()) {
		return x
	}
	if s.Elems() != x.Shape().Elems() {
		panic(errorf("reshape: %s to %s", x.Shape(), s))
	}
	return b.add(reshapeOp{}, s, x)
}

// Transpose swaps the axes of a matrix.
func (b *Builder) Transpose(x Node) Node {
	s := x.Shape()
	if len(s) != 2 {
		panic(errorf("transpose: %s is not a matrix", s))
	}
	return b.add(transposeOp{}, tensor.Shape{s[1], s[0]}, x)
}

// Concat joins matrices [n][m_i] along the last axis.
func (b *Builder) Concat(xs ...Node) Node {
	widths := make([]int, len(xs))
	total := 0
	for i, x := range xs {
		s := x.Shape()
		if len(s) != 2 || s[0] != xs[0].Shape()[0] {
			panic(errorf("concat: %s beside %s", s, xs[0].Shape()))
		}
		widths[i] = s[1]
		total += s[1]
	}
	return b.add(concatOp{widths}, tensor.Shape{xs[0].Shape()[0], total}, xs...)
}

// Slice returns columns [from, to) of a matrix.
func (b *Builder) Slice(x Node, from, to int) Node {
	s := x.Shape()
	if len(s) != 2 || from < 0 || to > s[1] || from >= to {
		panic(errorf("slice: columns [%d, %d) of %s", from, to, s))
	}
	return b.add(sliceOp{from, to, s[1]}, tensor.Shape{s[0], to - from}, x)
}
