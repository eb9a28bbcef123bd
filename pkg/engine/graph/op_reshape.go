package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type reshapeOp struct {
	other *detour // nil for an actual reshape
}

// detour is another derivative for a value: a reshape node with it is another
// name for its first operand, whose gradient goes where grad says.
type detour struct {
	label string
	grad  func(b *Builder, dy Node, in []Node) []Node
}

// Reshape returns x with other axes and the same elements in order.
func (b *Builder) Reshape(x Node, shape ...int) Node {
	s := tensor.Shape(shape)
	if s.Equal(x.Shape()) {
		return x
	}
	if err := s.Check(); err != nil {
		panic(errorf("reshape: %v", err))
	}
	if s.Elems() != x.Shape().Elems() {
		panic(errorf("reshape: %s to %s", x.Shape(), s))
	}
	if v, ok := x.constant(); ok {
		return b.Fill(v, s)
	}
	return b.add(reshapeOp{}, s, x)
}

// Squeeze drops the given axes, which must have length 1.
func (b *Builder) Squeeze(x Node, axes ...int) Node {
	s := x.Shape()
	drop := make([]bool, len(s))
	for _, a := range axes {
		a = axisOf("squeeze", s, a)
		if s[a] != 1 {
			panic(errorf("squeeze: axis %d of %s is longer than 1", a, s))
		}
		drop[a] = true
	}
	var to tensor.Shape
	for a, d := range s {
		if !drop[a] {
			to = append(to, d)
		}
	}
	return b.Reshape(x, to...)
}

func (reshapeOp) alias() {}

func (o reshapeOp) name() string {
	if o.other != nil {
		return o.other.label
	}
	return "reshape"
}

func (o reshapeOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	if o.other != nil {
		return o.other.grad(b, dy, in)
	}
	return []Node{b.Reshape(dy, in[0].Shape()...)}
}

type permuteOp struct{ axes []int }

// Permute puts the axes in another order: axis i of the result is axis axes[i]
// of x.
func (b *Builder) Permute(x Node, axes ...int) Node {
	s := x.Shape()
	if len(axes) != len(s) {
		panic(errorf("permute: %d axes for %s", len(axes), s))
	}
	to := make(tensor.Shape, len(s))
	seen := make([]bool, len(s))
	ordered := true // axes of length 1 may be anywhere
	last := -1
	for i, a := range axes {
		if a < 0 || a >= len(s) || seen[a] {
			panic(errorf("permute: %v is no order of the axes of %s", axes, s))
		}
		seen[a] = true
		to[i] = s[a]
		if s[a] > 1 {
			ordered = ordered && a > last
			last = a
		}
	}
	if ordered {
		return b.Reshape(x, to...)
	}
	return b.add(permuteOp{slices.Clone(axes)}, to, x)
}

// Transpose swaps the axes of a matrix.
func (b *Builder) Transpose(x Node) Node {
	if len(x.Shape()) != 2 {
		panic(errorf("transpose: %s is not a matrix", x.Shape()))
	}
	return b.Permute(x, 1, 0)
}

func (permuteOp) name() string { return "permute" }

func (o permuteOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	back := make([]int, len(o.axes))
	for i, a := range o.axes {
		back[a] = i
	}
	return []Node{b.Permute(dy, back...)}
}

func (o permuteOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	spans := permuted(s.in[0], o.axes)
	row := spans[len(spans)-1]
	if k := len(spans) - 2; k >= 0 && spans[k].stride == 1 { // matrices to be transposed
		w, cols := newWalk(spans[:k]), spans[k].n
		return func(uint64) {
			for i := 0; i < len(y); i += row.n * cols {
				kernel.Transpose(y[i:i+row.n*cols], row.n, x[w.at:], row.stride, row.n, cols)
				w.next()
			}
		}
	}
	w := newWalk(spans[:len(spans)-1])
	if row.stride == 1 {
		return func(uint64) {
			for i := 0; i < len(y); i += row.n {
				copy(y[i:i+row.n], x[w.at:w.at+row.n])
				w.next()
			}
		}
	}
	return func(uint64) {
		for i := 0; i < len(y); i += row.n {
			j := w.at
			for k := i; k < i+row.n; k++ {
				y[k] = x[j]
				j += row.stride
			}
			w.next()
		}
	}
}

func (o permuteOp) twin(s *site64) {
	for i := range s.y {
		index := indexOf(s.shape, i)
		from := make([]int, len(index))
		for d, a := range o.axes {
			from[a] = index[d]
		}
		j := 0
		for d, k := range from {
			j = j*s.in[0][d] + k
		}
		s.y[i] = s.x[0][j]
	}
}
