package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type fillOp struct {
	noInstruction
	value float32
}
type arrayOp struct{ values []float32 }
type broadcastOp struct{}
type sumOp struct{ to tensor.Shape }
type reshapeOp struct {
	noInstruction
	pass *pass // nil for an actual reshape
}
type permuteOp struct{ axes []int }
type concatOp struct{ axis int }
type sliceOp struct{ axis, from, to int }
type padOp struct{ axis, from int }

// pass is another derivative for a value: a reshape node with it is another
// name for its first operand, whose gradient goes where grad says.
type pass struct {
	label string
	grad  func(b *Builder, dy Node, in []Node) []Node
}

func (fillOp) name() string      { return "fill" }
func (arrayOp) name() string     { return "array" }
func (broadcastOp) name() string { return "broadcast" }
func (sumOp) name() string       { return "sum" }
func (permuteOp) name() string   { return "permute" }
func (concatOp) name() string    { return "concat" }
func (sliceOp) name() string     { return "slice" }
func (padOp) name() string       { return "pad" }

func (o reshapeOp) name() string {
	if o.pass != nil {
		return o.pass.label
	}
	return "reshape"
}

func (fillOp) grad(*Builder, Node, Node, []Node) []Node  { return nil }
func (arrayOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (broadcastOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.SumTo(dy, in[0].Shape())}
}

func (sumOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.BroadcastTo(dy, in[0].Shape())}
}

func (o reshapeOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	if o.pass != nil {
		return o.pass.grad(b, dy, in)
	}
	return []Node{b.Reshape(dy, in[0].Shape()...)}
}

func (o permuteOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	back := make([]int, len(o.axes))
	for i, a := range o.axes {
		back[a] = i
	}
	return []Node{b.Permute(dy, back...)}
}

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

func (o sliceOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.PadAxis(dy, o.axis, o.from, in[0].Shape()[o.axis]-o.to)}
}

func (o padOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.SliceAxis(dy, o.axis, o.from, o.from+in[0].Shape()[o.axis])}
}

// Fill returns an array of one value.
func (b *Builder) Fill(value float32, shape tensor.Shape) Node {
	return b.add(fillOp{value: value}, shape)
}

// Array returns constant values.
func (b *Builder) Array(values []float32, shape ...int) Node {
	if err := tensor.Shape(shape).Check(); err != nil {
		panic(errorf("array: %v", err))
	}
	if n := tensor.Shape(shape).Elems(); n != len(values) {
		panic(errorf("array: %d values for %s", len(values), tensor.Shape(shape)))
	}
	return b.add(arrayOp{slices.Clone(values)}, shape)
}

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

// axisOf returns an axis counted from the front.
func axisOf(what string, s tensor.Shape, axis int) int {
	a := axis
	if a < 0 {
		a += len(s)
	}
	if a < 0 || a >= len(s) {
		panic(errorf("%s: %s has no axis %d", what, s, axis))
	}
	return a
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

// Transpose swaps the axes of a matrix.
func (b *Builder) Transpose(x Node) Node {
	if len(x.Shape()) != 2 {
		panic(errorf("transpose: %s is not a matrix", x.Shape()))
	}
	return b.Permute(x, 1, 0)
}

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

// runOf returns how many stretches of consecutive elements a shape falls into
// when it is cut along an axis, and the length of one index of the axis.
func runOf(s tensor.Shape, axis int) (outer, inner int) {
	return s[:axis].Elems(), s[axis+1:].Elems()
}

func (o arrayOp) emit(s *site) func(uint64) {
	y := s.y
	return func(uint64) { copy(y, o.values) }
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

func fill(y []float32, v float32) {
	for i := range y {
		y[i] = v
	}
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

// span is a group of neighbouring axes of one array, taken as one axis, with
// what a step along it means in another array.
type span struct{ n, stride int }

// spread returns the spans of a shape against those of a shape that broadcasts
// to it; the stride is 0 where the latter is repeated, and the last span has
// stride 0 or 1.
func spread(large, small tensor.Shape) []span {
	off := len(large) - len(small)
	spans := []span{}
	stride := 1
	for d := len(large) - 1; d >= 0; d-- {
		s := span{n: large[d]}
		if s.n == 1 {
			continue
		}
		if d >= off && small[d-off] > 1 {
			s.stride = stride
			stride *= s.n
		}
		spans = append(spans, s)
	}
	return merged(spans)
}

// permuted returns the spans of the result of a permutation of axes.
func permuted(from tensor.Shape, axes []int) []span {
	strides := make([]int, len(from))
	stride := 1
	for d := len(from) - 1; d >= 0; d-- {
		strides[d] = stride
		stride *= from[d]
	}
	spans := []span{}
	for i := len(axes) - 1; i >= 0; i-- {
		if a := axes[i]; from[a] > 1 {
			spans = append(spans, span{from[a], strides[a]})
		}
	}
	return merged(spans)
}

// merged takes spans from the last axis to the first and returns them from the
// first to the last, neighbours joined where a step along the outer one is one
// past the end of the inner one. There is at least one.
func merged(spans []span) []span {
	out := []span{}
	for _, s := range spans {
		if k := len(out) - 1; k >= 0 && s.stride == out[k].stride*out[k].n {
			out[k].n *= s.n
		} else {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		out = append(out, span{1, 1})
	}
	slices.Reverse(out)
	return out
}

// walk goes through the indices of some spans in order and keeps the place in
// the other array; after the last it is at the first again.
type walk struct {
	spans []span
	index []int
	at    int
}

func newWalk(spans []span) *walk { return &walk{spans: spans, index: make([]int, len(spans))} }

func (w *walk) next() {
	for d := len(w.spans) - 1; d >= 0; d-- {
		w.at += w.spans[d].stride
		if w.index[d]++; w.index[d] < w.spans[d].n {
			return
		}
		w.at -= w.spans[d].n * w.spans[d].stride
		w.index[d] = 0
	}
}

func (o fillOp) twin(s *site64) {
	for i := range s.y {
		s.y[i] = float64(o.value)
	}
}

func (o arrayOp) twin(s *site64) { widen(s.y, o.values) }

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

func (o sliceOp) twin(s *site64) {
	outer, inner := runOf(s.shape, o.axis)
	for i := range outer {
		for j := range (o.to - o.from) * inner {
			s.y[i*(o.to-o.from)*inner+j] = s.x[0][(i*s.in[0][o.axis]+o.from)*inner+j]
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

func (broadcastOp) twin(s *site64) {
	for i := range s.y {
		s.y[i] = s.x[0][broadcastFrom(s.shape, s.in[0], i)]
	}
}

func (sumOp) twin(s *site64) {
	for i, v := range s.x[0] {
		s.y[broadcastFrom(s.in[0], s.shape, i)] += v
	}
}

// indexOf returns the index along each axis of element i.
func indexOf(s tensor.Shape, i int) []int {
	index := make([]int, len(s))
	for d := len(s) - 1; d >= 0; d-- {
		index[d] = i % s[d]
		i /= s[d]
	}
	return index
}

// broadcastFrom returns which element of the small shape element i of the large
// one is a copy of.
func broadcastFrom(large, small tensor.Shape, i int) int {
	index := indexOf(large, i)[len(large)-len(small):]
	j := 0
	for d, k := range index {
		j = j*small[d] + min(k, small[d]-1)
	}
	return j
}
