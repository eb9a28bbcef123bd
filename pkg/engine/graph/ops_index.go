package graph

import (
	"math"
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

type batchMatmulOp struct{ ta, tb bool }
type gatherOp struct{}
type scatterOp struct{}
type rowMaxOp struct{}
type topKOp struct{ k int }
type uniformOp struct {
	key    rng.Key
	lo, hi float32
}

func (batchMatmulOp) name() string { return "batch-matmul" }
func (gatherOp) name() string      { return "gather" }
func (scatterOp) name() string     { return "scatter-add" }
func (rowMaxOp) name() string      { return "max-rows" }
func (topKOp) name() string        { return "top-k" }
func (uniformOp) name() string     { return "uniform" }

func (o batchMatmulOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	x, w := in[0], in[1]
	var gx, gw Node
	switch {
	case !o.ta && !o.tb:
		gx, gw = b.batchMatmul(dy, w, false, true), b.batchMatmul(x, dy, true, false)
	case o.ta && !o.tb:
		gx, gw = b.batchMatmul(w, dy, false, true), b.batchMatmul(x, dy, false, false)
	case !o.ta && o.tb:
		gx, gw = b.batchMatmul(dy, w, false, false), b.batchMatmul(dy, x, true, false)
	default:
		gx, gw = b.batchMatmul(w, dy, true, true), b.batchMatmul(dy, x, true, true)
	}
	return []Node{gx, gw}
}

func (gatherOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.ScatterAdd(dy, in[1], in[0].Shape()[0]), {}}
}

func (scatterOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.Gather(dy, in[1]), {}}
}

func (rowMaxOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.Mul(dy, b.ArgMax(in[0]))}
}

func (topKOp) grad(*Builder, Node, Node, []Node) []Node    { return []Node{{}} }
func (uniformOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

// BatchMatMul returns x·w for each of the leading axes, which are equal: x
// [...][n][k] and w [...][k][m] give [...][n][m]. It is always the op gemm,
// also with one row.
func (b *Builder) BatchMatMul(x, w Node) Node { return b.batchMatmul(x, w, false, false) }

// BatchMatMulNT returns x·wᵀ for each of the leading axes: x [...][n][k] and
// w [...][m][k] give [...][n][m].
func (b *Builder) BatchMatMulNT(x, w Node) Node { return b.batchMatmul(x, w, false, true) }

// BatchMatMulTN returns xᵀ·w for each of the leading axes: x [...][k][n] and
// w [...][k][m] give [...][n][m].
func (b *Builder) BatchMatMulTN(x, w Node) Node { return b.batchMatmul(x, w, true, false) }

func (b *Builder) batchMatmul(x, w Node, ta, tb bool) Node {
	xs, ws := x.Shape(), w.Shape()
	d := len(xs) - 2
	if d < 0 || len(ws) != len(xs) || !xs[:d].Equal(ws[:d]) {
		panic(errorf("batch-matmul: %s and %s are not equally many matrices", xs, ws))
	}
	n, k := xs[d], xs[d+1]
	if ta {
		n, k = k, n
	}
	k2, m := ws[d], ws[d+1]
	if tb {
		k2, m = m, k2
	}
	if k != k2 {
		panic(errorf("batch-matmul: %s and %s do not fit (transposed: %t, %t)", xs, ws, ta, tb))
	}
	return b.add(batchMatmulOp{ta, tb}, append(slices.Clone(xs[:d]), n, m), x, w)
}

// Indices declares an input of row numbers for [Builder.Gather], filled through
// [Program.Labels].
func (b *Builder) Indices(name string, shape ...int) Node { return b.input(name, shape, true) }

// Gather returns rows of x [v][...] by their numbers: [i...][...] for labels or
// indices [i...], each in [0, v); another number panics when the program runs.
func (b *Builder) Gather(x, indices Node) Node {
	b.checkIndices("gather", indices)
	if len(x.Shape()) == 0 {
		panic(errorf("gather: of a single number"))
	}
	return b.add(gatherOp{}, slices.Concat(indices.Shape(), x.Shape()[1:]), x, indices)
}

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

func (b *Builder) checkIndices(what string, indices Node) {
	if !b.nodes[indices.id].label {
		panic(errorf("%s: operand holds no indices", what))
	}
}

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

// Uniform returns noise that is uniform in [lo, hi), a function of the key and
// of the step that [Program.Run] is given; it has no gradient.
func (b *Builder) Uniform(key rng.Key, lo, hi float32, shape ...int) Node {
	if w := hi - lo; !(w >= 0 && w <= math.MaxFloat32) {
		panic(errorf("uniform: from %v to %v", lo, hi))
	}
	return b.add(uniformOp{key, lo, hi}, shape)
}

func (o batchMatmulOp) emit(s *site) func(uint64) {
	y, x, w := s.y, s.x[0], s.x[1]
	d := len(s.shape) - 2
	n, m, k := s.shape[d], s.shape[d+1], s.in[0][d+1]
	if o.ta {
		k = s.in[0][d]
	}
	form, lda, ldb := kernel.NN, s.in[0][d+1], s.in[1][d+1]
	switch {
	case o.ta && o.tb:
		form = kernel.TT
	case o.ta:
		form = kernel.TN
	case o.tb:
		form = kernel.NT
	}
	scratch := tensor.Float32s(kernel.MatMulScratch(form, n, m, k))
	items := len(y) / (n * m)
	return func(uint64) {
		for i := range items {
			kernel.MatMul(form, n, m, k, x[i*n*k:(i+1)*n*k], lda, w[i*k*m:(i+1)*k*m], ldb, y[i*n*m:(i+1)*n*m], m, scratch)
		}
	}
}

func (gatherOp) emit(s *site) func(uint64) {
	y, x, index, w := s.y, s.x[0], s.labels[1], s.in[0][1:].Elems()
	return func(uint64) { kernel.GatherRows(y, x, index, w) }
}

func (scatterOp) emit(s *site) func(uint64) {
	y, x, index, w := s.y, s.x[0], s.labels[1], s.shape[1:].Elems()
	return func(uint64) {
		clear(y)
		kernel.ScatterAddRows(y, x, index, w)
	}
}

func (rowMaxOp) emit(s *site) func(uint64) {
	y, x, m := s.y, s.x[0], s.in[0][len(s.in[0])-1]
	return func(uint64) {
		for i := range y {
			y[i] = kernel.RowMax(x[i*m : (i+1)*m])
		}
	}
}

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

func (o uniformOp) emit(s *site) func(uint64) {
	y := s.y
	return func(step uint64) { o.key.FillUniform(y, o.lo, o.hi, step) }
}

func (o batchMatmulOp) twin(s *site64) {
	d := len(s.shape) - 2
	n, m, k := s.shape[d], s.shape[d+1], s.in[0][d+1]
	if o.ta {
		k = s.in[0][d]
	}
	for i := range len(s.y) / (n * m) {
		gemm64(s.y[i*n*m:(i+1)*n*m], s.x[0][i*n*k:], s.x[1][i*k*m:], n, m, k, o.ta, o.tb)
	}
}

func (gatherOp) twin(s *site64) {
	w := s.in[0][1:].Elems()
	for i, r := range s.labels[1] {
		copy(s.y[i*w:(i+1)*w], s.x[0][int(r)*w:])
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

func (rowMaxOp) twin(s *site64) {
	m := s.in[0][len(s.in[0])-1]
	for i := range s.y {
		s.y[i] = slices.Max(s.x[0][i*m : (i+1)*m])
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

func (o uniformOp) twin(s *site64) {
	noise := make([]float32, len(s.y))
	o.key.FillUniform(noise, o.lo, o.hi, s.step)
	widen(s.y, noise)
}
