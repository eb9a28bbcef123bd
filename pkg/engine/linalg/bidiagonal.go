package linalg

import (
	"math"
	"slices"
)

// bidiagonal is a matrix Uᵀ·A·V that bidiagonalise makes of A and iterate makes
// diagonal.
type bidiagonal struct {
	d, e []float64 // the diagonal, and what is right above it

	columns     [][]float64 // column k holds the vector of a reflection from the left, from element k on
	w           []float64   // [n][n]: row k holds the vector of one from the right, from k+1 on
	beta, gamma []float64   // factors of those
	t, y        []float64

	wanted      bool        // U and V
	left, right [][]float64 // columns of U and V
	swapped     []bool      // whether the two of a pair have changed places
	l, r        []float64   // memory of those
}

// bidiagonalise reduces a matrix given by its columns, of m ≥ len(columns)
// elements, by reflections from both sides (Golub & Kahan 1965). Each column is
// passed over twice per reflection: the end of the reflection before and the
// start of the next are taken together.
func (b *bidiagonal) bidiagonalise(columns [][]float64, m int) {
	n := len(columns)
	b.columns, b.wanted = columns, false
	b.d, b.e = resize(b.d, n), resize(b.e, n)
	b.beta, b.gamma = resize(b.beta, n), resize(b.gamma, n)
	b.w, b.t, b.y = resize(b.w, n*n), resize(b.t, n), resize(b.y, m)
	for k, v := range columns {
		if k > 0 {
			b.finish(v[k:], k, k)
		}
		v = v[k:]
		b.d[k], b.beta[k] = reflector(v)
		row := b.w[k*n : (k+1)*n]
		for j := k + 1; j < n; j++ {
			c := columns[j][k:]
			if k > 0 {
				b.finish(c, k, j)
			}
			b.t[j] = b.beta[k] * dot(v, c)
			row[j] = c[0] - float64(b.t[j]*v[0])
		}
		if k == n-1 {
			return
		}
		b.e[k], b.gamma[k] = reflector(row[k+1:])
		y := b.y[k+1:]
		clear(y)
		for j := k + 1; j < n; j++ {
			c := columns[j][k+1:]
			axpy(c, -b.t[j], v[1:])
			axpy(y, row[j], c)
		}
	}
}

// finish takes the reflection from the right with number k−1 to the elements of
// column j from k on: c − γ·w_j·y, where y = A·w.
func (b *bidiagonal) finish(c []float64, k, j int) {
	if g := b.gamma[k-1]; g != 0 {
		axpy(c, -float64(g*b.w[(k-1)*len(b.d)+j]), b.y[k:])
	}
}

// vectors asks for U and V: it makes them of the reflections so far.
func (b *bidiagonal) vectors() {
	n, m := len(b.d), len(b.y)
	b.wanted = true
	b.l, b.r = resize(b.l, n*m), resize(b.r, n*n)
	clear(b.l)
	clear(b.r)
	b.left, b.right = rowsOf(b.left, b.l, n, m), rowsOf(b.right, b.r, n, n)
	b.swapped = slices.Grow(b.swapped[:0], n)[:n]
	clear(b.swapped)
	for i := n - 1; i >= 0; i-- {
		b.left[i][i], b.right[i][i] = 1, 1
		for k := i; k < n; k++ {
			reflect(b.left[k][i:], b.columns[i][i:], b.beta[i])
			if k > i {
				reflect(b.right[k][i+1:], b.w[i*n+i+1:(i+1)*n], b.gamma[i])
			}
		}
	}
}

// iterate makes the matrix diagonal by QR sweeps over its unreduced blocks,
// starting with the last.
func (b *bidiagonal) iterate() error {
	n := len(b.d)
	first, last := -1, -1 // of the block before
	for hi, sweeps := n-1, 0; hi > 0; {
		lo := hi
		for lo > 0 && !b.negligible(lo-1) {
			lo--
		}
		if lo > 0 {
			b.e[lo-1] = 0
		}
		if lo == hi {
			hi--
			continue
		}
		if sweeps++; sweeps > maxSweeps*n {
			return errNoConvergence
		}
		// Sweeps that go from large elements to small ones converge fast; the
		// direction is chosen when a block is new.
		if (lo > last || hi < first) && math.Abs(b.d[lo]) < math.Abs(b.d[hi]) {
			b.flip(lo, hi)
		}
		first, last = lo, hi
		b.sweep(lo, hi, b.shift(lo, hi))
	}
	return nil
}

// negligible reports whether e_i is but rounding beside its neighbours.
func (b *bidiagonal) negligible(i int) bool {
	return math.Abs(b.e[i]) <= 0x1p-53*(math.Abs(b.d[i])+math.Abs(b.d[i+1])) || math.Abs(b.e[i]) < 0x1p-500
}

// flip turns a block about its antidiagonal: J·Bᵀ·J, which changes U and V for
// each other.
func (b *bidiagonal) flip(lo, hi int) {
	slices.Reverse(b.d[lo : hi+1])
	slices.Reverse(b.e[lo:hi])
	if !b.wanted {
		return
	}
	slices.Reverse(b.left[lo : hi+1])
	slices.Reverse(b.right[lo : hi+1])
	for i := lo; i <= hi; i++ {
		b.left[i], b.right[i] = b.right[i], b.left[i]
		b.swapped[i] = !b.swapped[i]
	}
}

// shift returns the smaller singular value of the last 2×2 block, or 0 where a
// sweep without a shift is more exact, or is needed as an element of the
// diagonal is 0.
func (b *bidiagonal) shift(lo, hi int) float64 {
	for _, d := range b.d[lo : hi+1] {
		if d == 0 {
			return 0
		}
	}
	s := smaller(math.Abs(b.d[hi-1]), math.Abs(b.e[hi-1]), math.Abs(b.d[hi]))
	if r := s / b.d[lo]; float64(r*r) < 0x1p-53 {
		return 0
	}
	return s
}

// smaller returns the smaller singular value of the triangle (f g; 0 h) of
// positive numbers, as LAPACK's dlas2.
func smaller(f, g, h float64) float64 {
	small, large := min(f, h), max(f, h)
	if small == 0 {
		return 0
	}
	as, at := 1+small/large, (large-small)/large
	if g < large {
		q := g / large
		au := float64(q * q)
		return small * (2 / (math.Sqrt(float64(as*as)+au) + math.Sqrt(float64(at*at)+au)))
	}
	au := large / g
	if au == 0 {
		return float64(small*large) / g
	}
	p, q := float64(as*au), float64(at*au)
	return 2 * float64(float64(small*(1/(math.Sqrt(1+float64(p*p))+math.Sqrt(1+float64(q*q)))))*au) // 2·x is x + x, which would fuse
}

// sweep is one QR iteration of the block lo..hi, from top to bottom.
func (b *bidiagonal) sweep(lo, hi int, shift float64) {
	d, e := b.d, b.e
	if shift == 0 {
		b.zeroSweep(lo, hi)
		return
	}
	f := (math.Abs(d[lo]) - shift) * (math.Copysign(1, d[lo]) + shift/d[lo])
	g := e[lo]
	for i := lo; i < hi; i++ {
		c, s, r := rotation(f, g)
		if i > lo {
			e[i-1] = r
		}
		f = float64(c*d[i]) + float64(s*e[i])
		e[i] = float64(c*e[i]) - float64(s*d[i])
		g = float64(s * d[i+1])
		d[i+1] = float64(c * d[i+1])
		b.turn(b.right, i, c, s)
		c, s, d[i] = rotation(f, g)
		f = float64(c*e[i]) + float64(s*d[i+1])
		d[i+1] = float64(c*d[i+1]) - float64(s*e[i])
		if i < hi-1 {
			g = float64(s * e[i+1])
			e[i+1] = float64(c * e[i+1])
		}
		b.turn(b.left, i, c, s)
	}
	e[hi-1] = f
}

// zeroSweep is a sweep with shift 0, without any subtraction (Demmel & Kahan
// 1990, section 3).
func (b *bidiagonal) zeroSweep(lo, hi int) {
	d, e := b.d, b.e
	c, oc := 1.0, 1.0
	var s, os, r float64
	for i := lo; i < hi; i++ {
		c, s, r = rotation(float64(d[i]*c), e[i])
		if i > lo {
			e[i-1] = float64(os * r)
		}
		b.turn(b.right, i, c, s)
		oc, os, d[i] = rotation(float64(oc*r), float64(d[i+1]*s))
		b.turn(b.left, i, oc, os)
	}
	h := float64(d[hi] * c)
	d[hi] = float64(h * oc)
	e[hi-1] = float64(h * os)
}

func (b *bidiagonal) turn(vectors [][]float64, i int, c, s float64) {
	if b.wanted {
		rotate(vectors[i], vectors[i+1], c, s)
	}
}
