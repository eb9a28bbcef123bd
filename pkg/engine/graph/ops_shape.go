package graph

import (
	"math"
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type fillOp struct {
	noInstruction
	value float32
}
type broadcastOp struct{}
type sumOp struct{ to tensor.Shape }
type reshapeOp struct{ noInstruction }
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
	return b.add(fillOp{value: value}, shape)
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

func (transposeOp) emit(s *site) func(uint64) {
	y, x, rows, cols := s.y, s.x[0], s.in[0][0], s.in[0][1]
	return func(uint64) {
		for i := range rows {
			for j := range cols {
				y[j*rows+i] = x[i*cols+j]
			}
		}
	}
}

func (o concatOp) emit(s *site) func(uint64) {
	y, xs, rows, total := s.y, s.x, s.shape[0], s.shape[1]
	return func(uint64) {
		at := 0
		for k, w := range o.widths {
			for i := range rows {
				copy(y[i*total+at:i*total+at+w], xs[k][i*w:(i+1)*w])
			}
			at += w
		}
	}
}

func (o sliceOp) emit(s *site) func(uint64) {
	y, x, rows, w := s.y, s.x[0], s.shape[0], o.to-o.from
	return func(uint64) {
		for i := range rows {
			copy(y[i*w:(i+1)*w], x[i*o.width+o.from:])
		}
	}
}

func (o padOp) emit(s *site) func(uint64) {
	y, dy, rows, total, w := s.y, s.x[0], s.shape[0], s.shape[1], o.to-o.from
	return func(uint64) {
		clear(y)
		for i := range rows {
			copy(y[i*total+o.from:i*total+o.to], dy[i*w:(i+1)*w])
		}
	}
}

// The instruction fills y of shape ys from x by broadcasting.
func (broadcastOp) emit(s *site) func(uint64) {
	y, x, ys, xs := s.y, s.x[0], s.shape, s.in[0]
	rowLen := ys[len(ys)-1]
	switch {
	case len(x) == 1:
		return func(uint64) {
			for i := range y {
				y[i] = x[0]
			}
		}
	case len(x) == rowLen && xs[len(xs)-1] == rowLen:
		return func(uint64) {
			for i := 0; i < len(y); i += rowLen {
				copy(y[i:i+rowLen], x)
			}
		}
	}
	from := broadcastIndex(ys, xs)
	return func(uint64) {
		for i, j := range from {
			y[i] = x[j]
		}
	}
}

// The instruction sums x of shape xs down to y of shape ys, in ascending order of x's
// elements for each sum but for the sum of everything, which is kernel.Sum.
func (sumOp) emit(s *site) func(uint64) {
	y, x, ys, xs := s.y, s.x[0], s.shape, s.in[0]
	rowLen := xs[len(xs)-1]
	switch {
	case len(y) == 1:
		return func(uint64) { y[0] = kernel.Sum(x) }
	case len(y) == rowLen && ys[len(ys)-1] == rowLen:
		return func(uint64) {
			clear(y)
			for i := 0; i < len(x); i += rowLen {
				kernel.Axpy(y, 1, x[i:i+rowLen])
			}
		}
	}
	to := broadcastIndex(xs, ys)
	return func(uint64) {
		clear(y)
		for i, j := range to {
			y[j] += x[i]
		}
	}
}

// broadcastIndex maps each element of the large shape to the element of the
// small shape that broadcasts to it.
func broadcastIndex(large, small tensor.Shape) []int32 {
	n := large.Elems()
	if n > math.MaxInt32 {
		panic(errorf("broadcast: %s is too large", large))
	}
	strides := make([]int, len(large))
	stride := 1
	for i := len(small) - 1; i >= 0; i-- {
		if small[i] > 1 {
			strides[len(large)-len(small)+i] = stride
		}
		stride *= small[i]
	}
	index := make([]int32, n)
	for i := range index {
		rest, at := i, 0
		for d := len(large) - 1; d >= 0; d-- {
			at += rest % large[d] * strides[d]
			rest /= large[d]
		}
		index[i] = int32(at)
	}
	return index
}
