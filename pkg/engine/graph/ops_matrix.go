package graph

import (
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

type matmulOp struct{ ta, tb bool }

func (matmulOp) name() string { return "matmul" }

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

type softmaxOp struct{}
type crossEntropyOp struct{}
type oneHotOp struct{}
type correctOp struct{}

func (softmaxOp) name() string      { return "softmax" }
func (crossEntropyOp) name() string { return "cross-entropy" }
func (oneHotOp) name() string       { return "one-hot" }
func (correctOp) name() string      { return "correct" }

func (softmaxOp) grad(b *Builder, y, dy Node, _ []Node) []Node {
	// dx = y ∘ (dy − Σ dy∘y)
	return []Node{b.Mul(y, b.Sub(dy, b.SumRows(b.Mul(dy, y))))}
}

func (crossEntropyOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	logits, labels := in[0], in[1]
	s := logits.Shape()
	d := b.Sub(b.Softmax(logits), b.OneHot(labels, s[1]))
	return []Node{b.Mul(d, b.Reshape(dy, s[0], 1)), {}}
}

func (oneHotOp) grad(*Builder, Node, Node, []Node) []Node  { return []Node{{}} }
func (correctOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}, {}} }

// Softmax returns the softmax along the last axis.
func (b *Builder) Softmax(x Node) Node {
	s := x.Shape()
	m := s[axisOf("softmax", s, -1)]
	rows := tensor.Shape{s.Elems() / m, m}
	return b.Reshape(b.add(softmaxOp{}, rows, b.Reshape(x, rows...)), s...)
}

// CrossEntropy returns −ln softmax(logits)[label] for each row: [n] from
// logits [n][m] and n labels.
func (b *Builder) CrossEntropy(logits, labels Node) Node {
	b.checkLabels("cross-entropy", logits, labels)
	return b.add(crossEntropyOp{}, tensor.Shape{logits.Shape()[0]}, logits, labels)
}

// Correct returns 1 for each row whose largest logit is at the label, the
// first of equals counting as largest, else 0: [n].
func (b *Builder) Correct(logits, labels Node) Node {
	b.checkLabels("correct", logits, labels)
	return b.add(correctOp{}, tensor.Shape{logits.Shape()[0]}, logits, labels)
}

func (b *Builder) checkLabels(what string, logits, labels Node) {
	s := logits.Shape()
	if len(s) != 2 || !b.nodes[labels.id].label || labels.Shape()[0] != s[0] {
		panic(errorf("%s: logits %s and labels %s", what, s, labels.Shape()))
	}
}

// OneHot returns rows with a 1 at the label: [n][classes]. A number that is no
// class has a row of zeros.
func (b *Builder) OneHot(labels Node, classes int) Node {
	if !b.nodes[labels.id].label {
		panic(errorf("one-hot: operand holds no labels"))
	}
	return b.add(oneHotOp{}, tensor.Shape{labels.Shape()[0], classes}, labels)
}

type normalOp struct{ key rng.Key }

func (normalOp) name() string                             { return "normal" }
func (normalOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

// Normal returns standard normal noise, a function of the key and of the step
// that [Program.Run] is given; it has no gradient.
func (b *Builder) Normal(key rng.Key, shape ...int) Node {
	return b.add(normalOp{key}, shape)
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

// width implements [ranger]: xᵀ·w, the gradient of a weight matrix, can be
// computed by rows.
func (matmulOp) width(shape tensor.Shape) int { return shape[1] }

// outer reports whether the op is the outer product of one example: its first
// operand, of the given shape, has one row.
func (o matmulOp) outer(x tensor.Shape) bool { return o.ta && !o.tb && x[0] == 1 }

func (o matmulOp) stretches() bool { return o.ta && !o.tb }

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

// emitRows returns the instruction that computes columns [lo, hi) of x·wᵀ from
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

func (softmaxOp) emit(s *site) func(uint64) {
	y, x, m := s.y, s.x[0], s.shape[len(s.shape)-1]
	rows := len(y) / m
	return func(uint64) { kernel.SoftmaxRows(y, x, rows, m) }
}

func (crossEntropyOp) emit(s *site) func(uint64) {
	y, x, labels, m := s.y, s.x[0], s.labels[1], s.in[0][1]
	return func(uint64) { kernel.CrossEntropyRows(y, x, labels, len(y), m) }
}

func (correctOp) emit(s *site) func(uint64) {
	y, x, labels, m := s.y, s.x[0], s.labels[1], s.in[0][1]
	return func(uint64) {
		for i, l := range labels {
			y[i] = 0
			if kernel.ArgMax(x[i*m:(i+1)*m]) == int(l) {
				y[i] = 1
			}
		}
	}
}

func (oneHotOp) emit(s *site) func(uint64) {
	y, labels, m := s.y, s.labels[0], s.shape[1]
	return func(uint64) {
		clear(y)
		for i, l := range labels {
			if l >= 0 && int(l) < m {
				y[i*m+int(l)] = 1
			}
		}
	}
}

func (o normalOp) emit(s *site) func(uint64) {
	y := s.y
	return func(step uint64) { o.key.FillNormal(y, step) }
}

// stretches implements [ranger]: noise is drawn where it is used.
func (normalOp) stretches() bool { return true }

func (normalOp) width(tensor.Shape) int { return 0 }

func (o normalOp) emitRange(*site) func(step uint64, dst []float32, lo, hi int) {
	return func(step uint64, dst []float32, lo, hi int) {
		// Draws come in groups of 64; the group that lo is in may begin earlier.
		if over := lo % 64; over > 0 {
			var group [64]float32
			o.key.FillNormalAt(group[:], step, lo-over)
			n := copy(dst, group[over:])
			dst, lo = dst[n:], lo+n
		}
		if len(dst) > 0 {
			o.key.FillNormalAt(dst, step, lo)
		}
	}
}
