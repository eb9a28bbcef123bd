package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// broadcastOp repeats its operand along axes.
type broadcastOp struct{}

// BroadcastTo repeats x along missing axes and axes of length 1, as NumPy does.
func (b *Builder) BroadcastTo(x Node, shape tensor.Shape) Node {
	if x.Shape().Equal(shape) {
		return x
	}
	if to, ok := broadcast(x.Shape(), shape); !ok || !to.Equal(shape) {
		panic(errorf("broadcast: %s does not spread to %s", x.Shape(), shape))
	}
	if v, ok := x.constant(); ok {
		return b.Fill(v, shape)
	}
	if shape.Elems() == x.Shape().Elems() {
		return b.Reshape(x, shape...)
	}
	return b.add(broadcastOp{}, shape, x)
}

func (broadcastOp) name() string { return "broadcast" }
func (broadcastOp) spreads()     {}

func (broadcastOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.SumTo(dy, in[0].Shape())}
}

// The instruction fills y from x by broadcasting, a row of equal or of
// consecutive elements at a time.
func (broadcastOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	spans := spread(s.shape, s.in[0])
	row := spans[len(spans)-1]
	if row.stride == 0 {
		w := newWalk(spans[:len(spans)-1])
		return func(uint64) {
			for i := 0; i < len(y); i += row.n {
				fill(y[i:i+row.n], x[w.at])
				w.next()
			}
		}
	}
	times := 1 // how often a row comes again at once
	if len(spans) > 1 {
		times = spans[len(spans)-2].n
	}
	w := newWalk(spans[:max(0, len(spans)-2)])
	return func(uint64) {
		for i := 0; i < len(y); i += row.n * times {
			rows := y[i : i+row.n*times]
			for n := copy(rows, x[w.at:w.at+row.n]); n < len(rows); {
				n += copy(rows[n:], rows[:n])
			}
			w.next()
		}
	}
}

func (broadcastOp) twin(s *site64) {
	for i := range s.y {
		s.y[i] = s.x[0][broadcastFrom(s.shape, s.in[0], i)]
	}
}

type sumOp struct{ to tensor.Shape }

// SumTo sums x down to a shape that broadcasts to x's: the reverse of
// BroadcastTo. Elements that are next to each other are summed by kernel.Sum,
// rows that are next to each other by kernel.ColSum; such sums are added up in
// their order in x.
func (b *Builder) SumTo(x Node, shape tensor.Shape) Node {
	if x.Shape().Equal(shape) {
		return x
	}
	if to, ok := broadcast(shape, x.Shape()); !ok || !to.Equal(x.Shape()) {
		panic(errorf("sum: %s does not reduce to %s", x.Shape(), shape))
	}
	if shape.Elems() == x.Shape().Elems() {
		return b.Reshape(x, shape...)
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

// SumAxes returns the sums over the given axes, which have length 1 in the
// result. A negative axis counts from the end.
func (b *Builder) SumAxes(x Node, axes ...int) Node {
	return b.SumTo(x, reduced("sum", x.Shape(), axes))
}

// MeanAxes returns the means over the given axes, which have length 1 in the
// result. A negative axis counts from the end.
func (b *Builder) MeanAxes(x Node, axes ...int) Node {
	to := reduced("mean", x.Shape(), axes)
	n := x.Shape().Elems() / to.Elems()
	return b.Div(b.SumTo(x, to), b.Const(float32(n)))
}

func reduced(what string, s tensor.Shape, axes []int) tensor.Shape {
	to := slices.Clone(s)
	for _, a := range axes {
		to[axisOf(what, s, a)] = 1
	}
	return to
}

func (sumOp) name() string { return "sum" }

func (sumOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.BroadcastTo(dy, in[0].Shape())}
}

// The instruction sums x down to y, a row or a block of rows at a time.
func (sumOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	spans := spread(s.in[0], s.shape)
	row := spans[len(spans)-1]
	if row.stride == 0 {
		if len(y)*row.n == len(x) { // one row for each sum
			return func(uint64) { kernel.RowSums(y, x, len(y), row.n) }
		}
		w := newWalk(spans[:len(spans)-1])
		return func(uint64) {
			clear(y)
			for i := 0; i < len(x); i += row.n {
				y[w.at] += kernel.Sum(x[i : i+row.n])
				w.next()
			}
		}
	}
	rows := 1 // that are added up
	if len(spans) > 1 {
		rows = spans[len(spans)-2].n
	}
	block := row.n * rows
	w := newWalk(spans[:max(0, len(spans)-2)])
	if len(y)*rows == len(x) { // one block for each row of sums
		return func(uint64) {
			for i := 0; i < len(x); i += block {
				kernel.ColSum(y[w.at:w.at+row.n], x[i:i+block], rows, row.n)
				w.next()
			}
		}
	}
	scratch := tensor.Float32s(row.n)
	return func(uint64) {
		clear(y)
		for i := 0; i < len(x); i += block {
			kernel.ColSum(scratch, x[i:i+block], rows, row.n)
			kernel.Axpy(y[w.at:w.at+row.n], 1, scratch)
			w.next()
		}
	}
}

func (sumOp) twin(s *site64) {
	for i, v := range s.x[0] {
		s.y[broadcastFrom(s.in[0], s.shape, i)] += v
	}
}
