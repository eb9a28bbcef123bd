package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

type concatOp struct{ axis int }

// Concat joins values along the last axis; their other axes are equal.
func (b *Builder) Concat(xs ...Node) Node { return b.ConcatAxis(-1, xs...) }

// ConcatAxis joins values along an axis; their other axes are equal. A negative
// axis counts from the end.
func (b *Builder) ConcatAxis(axis int, xs ...Node) Node {
	if len(xs) == 0 {
		panic(errorf("concat: of nothing"))
	}
	to := slices.Clone(xs[0].Shape())
	axis = axisOf("concat", to, axis)
	for _, x := range xs[1:] {
		s := x.Shape()
		for a := range max(len(s), len(to)) {
			if len(s) != len(to) || a != axis && s[a] != to[a] {
				panic(errorf("concat: %s beside %s", s, xs[0].Shape()))
			}
		}
		to[axis] += s[axis]
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return b.add(concatOp{axis}, to, xs...)
}

// Stack joins values of one shape along a new axis: with k values of [n][m],
// axis 0 gives [k][n][m] and axis 2 [n][m][k].
func (b *Builder) Stack(axis int, xs ...Node) Node {
	each := make([]Node, len(xs))
	for i, x := range xs {
		s := x.Shape()
		if axis < 0 || axis > len(s) {
			panic(errorf("stack: no axis %d beside those of %s", axis, s))
		}
		each[i] = b.Reshape(x, slices.Insert(slices.Clone(s), axis, 1)...)
	}
	return b.ConcatAxis(axis, each...)
}

func (concatOp) name() string { return "concat" }

func (o concatOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	out := make([]Node, len(in))
	at := 0
	for i, x := range in {
		n := x.Shape()[o.axis]
		out[i] = b.SliceAxis(dy, o.axis, at, at+n)
		at += n
	}
	return out
}

func (o concatOp) emit(s *site) func(uint64) {
	y, xs := s.y, s.x
	outer, inner := runOf(s.shape, o.axis)
	total := s.shape[o.axis] * inner
	widths := make([]int, len(xs))
	for k, in := range s.in {
		widths[k] = in[o.axis] * inner
	}
	return func(uint64) {
		at := 0
		for k, w := range widths {
			x := xs[k]
			for i := range outer {
				copy(y[i*total+at:i*total+at+w], x[i*w:(i+1)*w])
			}
			at += w
		}
	}
}

func (o concatOp) twin(s *site64) {
	outer, inner := runOf(s.shape, o.axis)
	at, total := 0, s.shape[o.axis]*inner
	for k, in := range s.in {
		w := in[o.axis] * inner
		for i := range outer {
			copy(s.y[i*total+at:i*total+at+w], s.x[k][i*w:(i+1)*w])
		}
		at += w
	}
}

type sliceOp struct{ axis, from, to int }

// Slice returns what is at [from, to) of the last axis.
func (b *Builder) Slice(x Node, from, to int) Node { return b.SliceAxis(x, -1, from, to) }

// SliceAxis returns what is at [from, to) of an axis. A negative axis counts
// from the end.
func (b *Builder) SliceAxis(x Node, axis, from, to int) Node {
	s := slices.Clone(x.Shape())
	axis = axisOf("slice", s, axis)
	if from < 0 || to > s[axis] || from >= to {
		panic(errorf("slice: [%d, %d) of axis %d of %s", from, to, axis, s))
	}
	if to-from == s[axis] {
		return x
	}
	s[axis] = to - from
	return b.add(sliceOp{axis, from, to}, s, x)
}

func (sliceOp) name() string { return "slice" }

func (o sliceOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.PadAxis(dy, o.axis, o.from, in[0].Shape()[o.axis]-o.to)}
}

func (o sliceOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	outer, inner := runOf(s.shape, o.axis)
	w, total, at := (o.to-o.from)*inner, s.in[0][o.axis]*inner, o.from*inner
	return func(uint64) {
		for i := range outer {
			copy(y[i*w:(i+1)*w], x[i*total+at:])
		}
	}
}

func (o sliceOp) twin(s *site64) {
	outer, inner := runOf(s.shape, o.axis)
	for i := range outer {
		for j := range (o.to - o.from) * inner {
			s.y[i*(o.to-o.from)*inner+j] = s.x[0][(i*s.in[0][o.axis]+o.from)*inner+j]
		}
	}
}

type padOp struct{ axis, from int }

// PadAxis adds zeros before and after x along an axis. A negative axis counts
// from the end.
func (b *Builder) PadAxis(x Node, axis, before, after int) Node {
	s := slices.Clone(x.Shape())
	axis = axisOf("pad", s, axis)
	if before < 0 || after < 0 || before > tensor.MaxElems || after > tensor.MaxElems {
		panic(errorf("pad: by %d and %d", before, after))
	}
	if before+after == 0 {
		return x
	}
	s[axis] += before + after
	return b.add(padOp{axis, before}, s, x)
}

// part implements [partial]: outside of its operand there are zeros.
func (o padOp) part(b *Builder, n node, from, to int) (Node, bool) {
	width := b.nodes[n.in[0]].shape[0]
	switch {
	case to <= o.from || from >= o.from+width:
		return Node{}, true
	case from >= o.from && to <= o.from+width:
		return b.stretchOf(Node{b, n.in[0]}, from-o.from, to-o.from), true
	}
	return Node{}, false
}

func (padOp) name() string { return "pad" }

func (o padOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.SliceAxis(dy, o.axis, o.from, o.from+in[0].Shape()[o.axis])}
}

func (o padOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	outer, inner := runOf(s.shape, o.axis)
	w, total, at := s.in[0][o.axis]*inner, s.shape[o.axis]*inner, o.from*inner
	return func(uint64) {
		for i := range outer {
			row := y[i*total : (i+1)*total]
			clear(row[:at])
			copy(row[at:], x[i*w:(i+1)*w])
			clear(row[at+w:])
		}
	}
}

func (o padOp) twin(s *site64) {
	outer, inner := runOf(s.shape, o.axis)
	w := s.in[0][o.axis] * inner
	for i := range outer {
		for j := range w {
			s.y[(i*s.shape[o.axis]+o.from)*inner+j] = s.x[0][i*w+j]
		}
	}
}

// runOf returns how many stretches of consecutive elements a shape falls into
// when it is cut along an axis, and the length of one index of the axis.
func runOf(s tensor.Shape, axis int) (outer, inner int) {
	return s[:axis].Elems(), s[axis+1:].Elems()
}
