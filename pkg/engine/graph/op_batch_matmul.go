package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type batchMatmulOp struct{ ta, tb bool }

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

// multiplyAdds implements [working].
func (o batchMatmulOp) multiplyAdds(shape tensor.Shape, in []tensor.Shape) int64 {
	d := len(in[0]) - 2
	k := in[0][d+1]
	if o.ta {
		k = in[0][d]
	}
	return int64(shape.Elems()) * int64(k)
}

func (o batchMatmulOp) name() string { return "batch-matmul" + transposed(o.ta, o.tb) }

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
