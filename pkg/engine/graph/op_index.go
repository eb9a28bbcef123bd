package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Indices declares an input of row numbers for [Builder.Gather], filled through
// [Program.Labels].
func (b *Builder) Indices(name string, shape ...int) Node { return b.input(name, shape, true) }

type gatherOp struct{}

// Gather returns rows of x [v][...] by their numbers: [i...][...] for labels or
// indices [i...], each in [0, v); another number panics when the program runs.
func (b *Builder) Gather(x, indices Node) Node {
	b.checkIndices("gather", indices)
	if len(x.Shape()) == 0 {
		panic(errorf("gather: of a single number"))
	}
	return b.add(gatherOp{}, slices.Concat(indices.Shape(), x.Shape()[1:]), x, indices)
}

func (gatherOp) name() string { return "gather" }

func (gatherOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.ScatterAdd(dy, in[1], in[0].Shape()[0]), {}}
}

func (gatherOp) emit(s *site) func(uint64) {
	y, x, index, w := s.y, s.x[0], s.labels[1], s.in[0][1:].Elems()
	return func(uint64) { kernel.GatherRows(y, x, index, w) }
}

func (gatherOp) twin(s *site64) {
	w := s.in[0][1:].Elems()
	for i, r := range s.labels[1] {
		copy(s.y[i*w:(i+1)*w], s.x[0][int(r)*w:])
	}
}

type scatterOp struct{}

// ScatterAdd adds up the rows of x [i...][...] by their numbers, indices
// [i...], in ascending order, to v rows: [v][...]. It is the reverse of Gather.
func (b *Builder) ScatterAdd(x, indices Node, v int) Node {
	b.checkIndices("scatter-add", indices)
	is, xs := indices.Shape(), x.Shape()
	if len(xs) < len(is) || !xs[:len(is)].Equal(is) {
		panic(errorf("scatter-add: %s by indices %s", xs, is))
	}
	return b.add(scatterOp{}, append(tensor.Shape{v}, xs[len(is):]...), x, indices)
}

func (scatterOp) name() string { return "scatter-add" }

func (scatterOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.Gather(dy, in[1]), {}}
}

func (scatterOp) emit(s *site) func(uint64) {
	y, x, index, w := s.y, s.x[0], s.labels[1], s.shape[1:].Elems()
	return func(uint64) {
		clear(y)
		kernel.ScatterAddRows(y, x, index, w)
	}
}

func (scatterOp) twin(s *site64) {
	w := s.shape[1:].Elems()
	for i, r := range s.labels[1] {
		for j := range w {
			s.y[int(r)*w+j] += s.x[0][i*w+j]
		}
	}
}

func (b *Builder) checkIndices(what string, indices Node) {
	if !b.nodes[indices.id].label {
		panic(errorf("%s: operand holds no indices", what))
	}
}

type rowMaxOp struct{}

// MaxRows returns the largest element along the last axis, which has length 1
// in the result. NaN counts as largest. The gradient goes to the first of equals.
func (b *Builder) MaxRows(x Node) Node {
	to := slices.Clone(x.Shape())
	to[axisOf("max-rows", to, -1)] = 1
	return b.add(rowMaxOp{}, to, x)
}

// MaxAll returns the largest of all elements, a scalar; see [Builder.MaxRows].
func (b *Builder) MaxAll(x Node) Node {
	return b.Reshape(b.MaxRows(b.Reshape(x, x.Shape().Elems())))
}

func (rowMaxOp) name() string { return "max-rows" }

func (rowMaxOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.Mul(dy, b.ArgMax(in[0]))}
}

func (rowMaxOp) emit(s *site) func(uint64) {
	y, x, m := s.y, s.x[0], s.in[0][len(s.in[0])-1]
	return func(uint64) {
		for i := range y {
			y[i] = kernel.RowMax(x[i*m : (i+1)*m])
		}
	}
}

func (rowMaxOp) twin(s *site64) {
	m := s.in[0][len(s.in[0])-1]
	for i := range s.y {
		s.y[i] = slices.Max(s.x[0][i*m : (i+1)*m])
	}
}

type topKOp struct{ k int }

// TopK returns a mask of x's shape: 1 for the k largest along the last axis, of
// equals those that come first, and 0 for the others. NaN counts as largest.
// Its derivative is 0.
func (b *Builder) TopK(x Node, k int) Node {
	s := x.Shape()
	if m := s[axisOf("top-k", s, -1)]; k < 1 || k > m {
		panic(errorf("top-k: %d of %d", k, m))
	}
	return b.add(topKOp{k}, s, x)
}

// ArgMax returns a mask of x's shape: 1 for the largest along the last axis,
// the first of equals, and 0 for the others. Its derivative is 0.
func (b *Builder) ArgMax(x Node) Node { return b.TopK(x, 1) }

func (topKOp) name() string { return "top-k" }

func (topKOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}} }

func (o topKOp) emit(s *site) func(uint64) {
	y, x, m := s.y, s.x[0], s.shape[len(s.shape)-1]
	largest := make([]int32, o.k)
	return func(uint64) {
		clear(y)
		for i := 0; i < len(y); i += m {
			kernel.TopK(largest, x[i:i+m])
			for _, j := range largest {
				y[i+int(j)] = 1
			}
		}
	}
}

func (o topKOp) twin(s *site64) {
	m := s.shape[len(s.shape)-1]
	for i := 0; i < len(s.y); i += m {
		row := s.x[0][i : i+m]
		for range o.k {
			best := -1
			for j, v := range row {
				if s.y[i+j] == 0 && (best < 0 || v > row[best]) {
					best = j
				}
			}
			s.y[i+best] = 1
		}
	}
}
