package graph

import (
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type matmulOp struct{ ta, tb bool }

// MatMul returns x·w for x [n][k] and w [k][m]. With one row (batch 1) it is
// the op gemv, which skips inputs that are zero; with more it is gemm. The two
// have their own orders of summation.
func (b *Builder) MatMul(x, w Node) Node { return b.matmul(x, w, false, false) }

// MatMulNT returns x·wᵀ for x [n][k] and w [m][k].
func (b *Builder) MatMulNT(x, w Node) Node { return b.matmul(x, w, false, true) }

// MatMulTN returns xᵀ·w for x [k][n] and w [k][m].
func (b *Builder) MatMulTN(x, w Node) Node { return b.matmul(x, w, true, false) }

func (b *Builder) matmul(x, w Node, ta, tb bool) Node {
	xs, ws := x.Shape(), w.Shape()
	if len(xs) != 2 || len(ws) != 2 {
		panic(errorf("matmul: %s and %s are not matrices", xs, ws))
	}
	n, k := xs[0], xs[1]
	if ta {
		n, k = k, n
	}
	k2, m := ws[0], ws[1]
	if tb {
		k2, m = m, k2
	}
	if k != k2 {
		panic(errorf("matmul: %s and %s do not fit (transposed: %t, %t)", xs, ws, ta, tb))
	}
	return b.add(matmulOp{ta, tb}, tensor.Shape{n, m}, x, w)
}

func (o matmulOp) name() string { return "matmul" + transposed(o.ta, o.tb) }

// transposed is what the name of a product says of its operands.
func transposed(ta, tb bool) string {
	switch {
	case ta && tb:
		return "-tt"
	case ta:
		return "-tn"
	case tb:
		return "-nt"
	}
	return ""
}

func (o matmulOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	x, w := in[0], in[1]
	var gx, gw Node
	switch {
	case !o.ta && !o.tb:
		gx, gw = b.matmul(dy, w, false, true), b.matmul(x, dy, true, false)
	case o.ta && !o.tb:
		gx, gw = b.matmul(w, dy, false, true), b.matmul(x, dy, false, false)
	case !o.ta && o.tb:
		gx, gw = b.matmul(dy, w, false, false), b.matmul(dy, x, true, false)
	default:
		gx, gw = b.matmul(w, dy, true, true), b.matmul(dy, x, true, true)
	}
	return []Node{gx, gw}
}

func (o matmulOp) emit(s *site) func(uint64) {
	y, x, w := s.y, s.x[0], s.x[1]
	n, m := s.shape[0], s.shape[1]
	k := s.in[0][1]
	if o.ta {
		k = s.in[0][0]
	}
	switch {
	case !o.ta && o.tb && n == 1:
		return func(uint64) { kernel.GemvT(y, w, x) }
	case o.outer(s.in[0]):
		return func(uint64) { kernel.Outer(y, x, w) }
	}
	form := o.form()
	scratch := tensor.Float32s(kernel.MatMulScratch(form, n, m, k))
	lda, ldb := s.in[0][1], s.in[1][1]
	return func(uint64) { kernel.MatMul(form, n, m, k, x, lda, w, ldb, y, m, scratch) }
}

func (o matmulOp) form() kernel.Form {
	switch {
	case o.ta && o.tb:
		return kernel.TT
	case o.ta:
		return kernel.TN
	case o.tb:
		return kernel.NT
	}
	return kernel.NN
}

func (o matmulOp) stretches() bool { return o.ta && !o.tb }

// width implements [ranger]: xᵀ·w, the gradient of a weight matrix, can be
// computed by rows.
func (matmulOp) width(shape tensor.Shape) int { return shape[1] }

// emitRange implements [ranger].
func (o matmulOp) emitRange(s *site) func(step uint64, dst []float32, lo, hi int) {
	x, dy, k, rows, m := s.x[0], s.x[1], s.in[0][0], s.in[0][1], s.shape[1]
	if o.outer(s.in[0]) {
		return func(_ uint64, dst []float32, lo, hi int) { kernel.Outer(dst, x[lo/m:hi/m], dy) }
	}
	scratch := tensor.Float32s(kernel.MatMulScratch(kernel.TN, rows, m, k))
	return func(_ uint64, dst []float32, lo, hi int) {
		kernel.MatMulTN((hi-lo)/m, m, k, x[lo/m:], rows, dy, m, dst, m, scratch)
	}
}

// multiplyAdds implements [working].
func (o matmulOp) multiplyAdds(shape tensor.Shape, in []tensor.Shape) int64 {
	k := in[0][1]
	if o.ta {
		k = in[0][0]
	}
	return int64(shape.Elems()) * int64(k)
}

// carries implements [carrying].
func (o matmulOp) carries() bool { return !o.ta && o.tb }

// instruction implements [instructed]: the forward product of one example can be
// joined across lanes.
func (o matmulOp) instruction(s *site) instruction {
	if !o.ta && !o.tb && s.shape[0] == 1 {
		return &gemv{s.y, s.x[0], s.x[1]}
	}
	return nil
}

// emitRows implements [carrying]. It returns the instruction that computes columns [lo, hi) of x·wᵀ from
// those rows of w.
func (o matmulOp) emitRows(s *site) func(lo, hi int) {
	dx, dy, w, n, rows, m := s.y, s.x[0], s.x[1], s.shape[0], s.shape[1], s.in[0][1]
	if n == 1 {
		return func(lo, hi int) { kernel.GemvT(dx[lo:hi], w[lo*m:hi*m], dy) }
	}
	var scratch []float32 // of the stretch that needs most
	return func(lo, hi int) {
		if need := kernel.MatMulScratch(kernel.NT, n, hi-lo, m); need > len(scratch) {
			scratch = tensor.Float32s(need)
		}
		kernel.MatMulNT(n, hi-lo, m, dy, m, w[lo*m:], m, dx[lo:], rows, scratch)
	}
}

// outer reports whether the op is the outer product of one example: its first
// operand, of the given shape, has one row.
func (o matmulOp) outer(x tensor.Shape) bool { return o.ta && !o.tb && x[0] == 1 }

func (o matmulOp) twin(s *site64) {
	k := s.in[0][1]
	if o.ta {
		k = s.in[0][0]
	}
	gemm64(s.y, s.x[0], s.x[1], s.shape[0], s.shape[1], k, o.ta, o.tb)
}

// gemm64 computes y [n][m] from x [n][k] and w [k][m], either of which may be
// stored transposed.
func gemm64(y, x, w []float64, n, m, k int, ta, tb bool) {
	for i := range n {
		for j := range m {
			var sum float64
			for p := range k {
				ix, iw := i*k+p, p*m+j
				if ta {
					ix = p*n + i
				}
				if tb {
					iw = j*k + p
				}
				sum += float64(x[ix] * w[iw])
			}
			y[i*m+j] = sum
		}
	}
}
