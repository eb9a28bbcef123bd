package linalg

import (
	"cmp"
	"math"
	"slices"
)

// SVD computes singular values and vectors. It keeps its memory, so that a
// second matrix of the same size costs no allocation. The zero SVD is ready for
// use.
//
// Householder reflections reduce the matrix to a triangle where it is much
// taller than wide (Chan 1982, An Improved Algorithm for Computing the Singular
// Value Decomposition), then to a bidiagonal, which shifted QR iterations make
// diagonal (Golub & Kahan 1965; Demmel & Kahan 1990, Accurate Singular Values
// of Bidiagonal Matrices). Every step is orthogonal: a value's error is a small
// multiple of 2^−53·σ₁. The Gram matrix would be quicker for tall matrices, but
// loses all values below 1e-8·σ₁.
type SVD struct {
	a, r  []float64   // the matrix by columns; its triangle, likewise
	cols  [][]float64 // of the matrix
	tri   [][]float64 // of what is made bidiagonal: the triangle or the matrix
	betas []float64   // of the triangle's reflections
	keep  []bool
	bidiagonal
	u, v   []float64
	order  []int
	values []float64
}

// Values returns the min(rows, cols) singular values of a matrix in descending
// order. They are valid until the next call. A tall matrix takes about
// 2·rows·cols² + 1.3·cols³ operations; rows and columns of zeros (dead units)
// cost nothing.
func (s *SVD) Values(x []float32, rows, cols int) ([]float64, error) {
	scale, ok := exponent(x[:rows*cols])
	if !ok {
		return nil, ErrNotFinite
	}
	m, n := s.compact(x, rows, cols, scale)
	if n > 0 {
		s.reduce(m, n)
		if err := s.iterate(); err != nil {
			return nil, err
		}
	}
	s.values = resize(s.values, min(rows, cols))
	clear(s.values)
	for i := range n {
		s.values[i] = math.Ldexp(math.Abs(s.d[i]), scale)
	}
	slices.Sort(s.values[:n])
	slices.Reverse(s.values[:n])
	return s.values, nil
}

// Decompose returns the thin decomposition of a matrix, A = Σ σ_k·u_k·v_kᵀ, in
// descending order of the k = min(rows, cols) values: u [k][rows] has the left
// singular vectors, v [k][cols] the right ones, one a row. Signs are such that
// the first of the largest elements of each u_k is positive. Vectors of values
// that are 0 are orthonormal, too. What it returns is valid until the next call.
func (s *SVD) Decompose(x []float64, rows, cols int) (u, sigma, v []float64, err error) {
	scale, ok := exponent(x[:rows*cols])
	if !ok {
		return nil, nil, nil, ErrNotFinite
	}
	m, n := max(rows, cols), min(rows, cols)
	s.a = resize(s.a, m*n)
	for i := range rows {
		for j, v := range x[i*cols : (i+1)*cols] {
			v = math.Ldexp(v, -scale)
			if rows >= cols {
				s.a[j*m+i] = v
			} else {
				s.a[i*m+j] = v
			}
		}
	}
	reduced := s.reduce(m, n)
	s.vectors()
	if err := s.iterate(); err != nil {
		return nil, nil, nil, err
	}
	s.order = slices.Grow(s.order[:0], n)[:n]
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortStableFunc(s.order, func(i, j int) int { return cmp.Compare(math.Abs(s.d[j]), math.Abs(s.d[i])) })
	s.values = resize(s.values, n)
	s.u, s.v = resize(s.u, n*m), resize(s.v, n*n)
	for k, i := range s.order {
		s.values[k] = math.Ldexp(math.Abs(s.d[i]), scale)
		left, right := s.left[i], s.right[i]
		if s.swapped[i] {
			left, right = right, left
		}
		if s.d[i] < 0 {
			for j := range right {
				right[j] = -right[j]
			}
		}
		tall := s.u[k*m : (k+1)*m]
		clear(tall[copy(tall, left):])
		if reduced {
			for j := n - 1; j >= 0; j-- {
				reflect(tall[j:], s.cols[j][j:], s.betas[j])
			}
		}
		copy(s.v[k*n:(k+1)*n], right)
	}
	u, v = s.u, s.v
	if rows < cols {
		u, v = v, u
	}
	for k := range n {
		orient(u[k*rows:(k+1)*rows], v[k*cols:(k+1)*cols])
	}
	return u, s.values, v, nil
}

// orient negates both vectors unless the first of the largest elements of u is
// positive.
func orient(u, v []float64) {
	largest := 0.0
	for _, x := range u {
		if math.Abs(x) > math.Abs(largest) {
			largest = x
		}
	}
	if largest >= 0 {
		return
	}
	for i := range u {
		u[i] = -u[i]
	}
	for i := range v {
		v[i] = -v[i]
	}
}

// compact fills s.a with the columns of 2^−scale·x or of its transpose,
// whichever is the taller, without rows and columns of zeros.
func (s *SVD) compact(x []float32, rows, cols, scale int) (m, n int) {
	s.keep = slices.Grow(s.keep[:0], rows+cols)[:rows+cols]
	clear(s.keep)
	keepRow, keepCol := s.keep[:rows], s.keep[rows:]
	for i := range rows {
		for j, v := range x[i*cols : (i+1)*cols] {
			if v != 0 {
				keepRow[i], keepCol[j] = true, true
			}
		}
	}
	for _, k := range keepRow {
		if k {
			m++
		}
	}
	for _, k := range keepCol {
		if k {
			n++
		}
	}
	transpose := m < n
	if transpose {
		m, n = n, m
	}
	s.a = resize(s.a, m*n)
	factor := math.Ldexp(1, -scale) // of a float32, so in the range of float64
	row := 0
	for i := range rows {
		if !keepRow[i] {
			continue
		}
		col := 0
		for j, v := range x[i*cols : (i+1)*cols] {
			switch {
			case !keepCol[j]:
				continue
			case transpose:
				s.a[row*m+col] = float64(v) * factor
			default:
				s.a[col*m+row] = float64(v) * factor
			}
			col++
		}
		row++
	}
	return m, n
}

// reduce makes the m×n matrix whose columns are in s.a bidiagonal, m ≥ n. It
// reports whether it made a triangle first.
func (s *SVD) reduce(m, n int) bool {
	s.cols = rowsOf(s.cols, s.a, n, m)
	if 3*m < 5*n {
		s.bidiagonalise(s.cols, m)
		return false
	}
	s.betas = resize(s.betas, n)
	s.r = resize(s.r, n*n)
	clear(s.r)
	s.tri = rowsOf(s.tri, s.r, n, n)
	for k, c := range s.cols {
		copy(s.tri[k], c[:k])
		v := c[k:]
		s.tri[k][k], s.betas[k] = reflector(v)
		for _, c := range s.cols[k+1:] {
			reflect(c[k:], v, s.betas[k])
		}
	}
	s.bidiagonalise(s.tri, n)
	return true
}
