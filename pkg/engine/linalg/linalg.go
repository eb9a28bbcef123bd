// Package linalg has the engine's float64 linear algebra: singular values and
// vectors, eigenvalues of symmetric matrices, Cholesky and ridge regression,
// power iteration, quantiles, and the logarithm, exponential and power that
// summaries of them need.
//
// Matrices are slices row by row. Everything here is the same bits on every architecture: only correctly
// rounded operations in a fixed order, each product rounded before it is added
// (float64(x*y) + z keeps Go from fusing the two on arm64). Functions of
// package math do not promise that.
package linalg

import (
	"errors"
	"math"
	"slices"
)

// ErrNotFinite is returned for a matrix with an infinity or NaN.
var ErrNotFinite = errors.New("matrix has a value that is not finite")

// errNoConvergence cannot happen to a finite matrix as far as is known: shifted
// QR and QL iterations take about two sweeps per value.
var errNoConvergence = errors.New("singular values or eigenvalues did not converge")

// maxSweeps bounds the sweeps of an iteration, per value.
const maxSweeps = 60

func resize(x []float64, n int) []float64 { return slices.Grow(x[:0], n)[:n] }

// rowsOf returns n slices of the given length into one array.
func rowsOf(dst [][]float64, a []float64, n, length int) [][]float64 {
	dst = slices.Grow(dst[:0], n)[:n]
	for i := range dst {
		dst[i] = a[i*length : (i+1)*length : (i+1)*length]
	}
	return dst
}

// dot returns Σ x·y over four interleaved partial sums, folded at the end.
func dot(x, y []float64) float64 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float64
	for len(x) >= 4 && len(y) >= 4 {
		s0 += float64(x[0] * y[0])
		s1 += float64(x[1] * y[1])
		s2 += float64(x[2] * y[2])
		s3 += float64(x[3] * y[3])
		x, y = x[4:], y[4:]
	}
	for i := range x {
		s0 += float64(x[i] * y[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// axpy computes y += a·x.
func axpy(y []float64, a float64, x []float64) {
	x = x[:len(y)]
	for len(x) >= 4 && len(y) >= 4 {
		y[0] += float64(a * x[0])
		y[1] += float64(a * x[1])
		y[2] += float64(a * x[2])
		y[3] += float64(a * x[3])
		x, y = x[4:], y[4:]
	}
	for i := range x {
		y[i] += float64(a * x[i])
	}
}

// rotation returns c, s and r = ±√(f² + g²) with c·f + s·g = r and
// c·g − s·f = 0.
func rotation(f, g float64) (c, s, r float64) {
	switch {
	case g == 0:
		return 1, 0, f
	case f == 0:
		return 0, 1, g
	}
	if q := float64(f*f) + float64(g*g); q > 0x1p-900 && q < 0x1p900 {
		r = math.Sqrt(q)
		return f / r, g / r, r
	}
	scale := max(math.Abs(f), math.Abs(g))
	p, q := f/scale, g/scale
	h := math.Sqrt(float64(p*p) + float64(q*q))
	return p / h, q / h, float64(scale * h)
}

// rotate replaces x by c·x + s·y, and y by c·y − s·x.
func rotate(x, y []float64, c, s float64) {
	y = y[:len(x)]
	for i, a := range x {
		b := y[i]
		x[i] = float64(c*a) + float64(s*b)
		y[i] = float64(c*b) - float64(s*a)
	}
}

// reflector turns x into the vector v of the reflection H = I − β·v·vᵀ that
// maps x to (α, 0, …); both are 0 for x = 0.
func reflector(x []float64) (alpha, beta float64) {
	norm := dot(x, x)
	if norm < 0x1p-900 { // elements below 1e-135, of a matrix of size 1
		return 0, 0
	}
	alpha = math.Sqrt(norm)
	if x[0] > 0 {
		alpha = -alpha
	}
	beta = 1 / (norm - float64(alpha*x[0]))
	x[0] -= alpha
	return alpha, beta
}

// reflect replaces x by H·x.
func reflect(x, v []float64, beta float64) {
	if beta != 0 {
		axpy(x, -float64(beta*dot(v, x)), v)
	}
}

// exponent returns e with 2^(e−1) ≤ |x| < 2^e for the largest |x|, so that a
// matrix scaled by 2^−e neither overflows nor loses its squares; ok is false
// where an element is not finite.
func exponent[T float32 | float64](x []T) (e int, ok bool) {
	var largest T
	for _, v := range x {
		if v-v != 0 {
			return 0, false
		}
		largest = max(largest, v, -v)
	}
	_, e = math.Frexp(float64(largest))
	return e, true
}
