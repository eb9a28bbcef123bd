package linalg

import (
	"errors"
	"math"
	"slices"
)

// ErrNotFinite is returned for a matrix with an infinity or NaN.
var ErrNotFinite = errors.New("matrix has a value that is not finite")

// errNoConvergence cannot happen to a finite matrix as far as is known: cyclic
// Jacobi sweeps converge quadratically, and take about ten.
var errNoConvergence = errors.New("singular values did not converge")

const maxSweeps = 64

// SVD computes singular values. It keeps its memory, so that a second matrix
// of the same size costs no allocation. The zero SVD is ready for use.
type SVD struct {
	a, r   []float64
	cols   [][]float64
	norms  []float64
	values []float64
}

// Values returns the min(rows, cols) singular values of a matrix given row by
// row, in descending order. They are valid until the next call.
//
// Householder QR with column pivoting reduces the matrix to a triangle, whose
// rows one-sided Jacobi rotations then make orthogonal (Drmač & Veselić 2008,
// New fast and accurate Jacobi SVD algorithm). Forming the Gram matrix would
// be quicker, but loses every singular value below 1e-8 of the largest.
func (s *SVD) Values(x []float32, rows, cols int) ([]float64, error) {
	for _, v := range x[:rows*cols] {
		if v-v != 0 {
			return nil, ErrNotFinite
		}
	}
	m, n := rows, cols // of the matrix by columns, at least as tall as wide
	if m < n {
		m, n = n, m
	}
	s.a = resize(s.a, m*n)
	s.cols = slices.Grow(s.cols[:0], n)[:n]
	for j := range s.cols {
		s.cols[j] = s.a[j*m : (j+1)*m]
	}
	for i := range rows {
		for j, v := range x[i*cols : (i+1)*cols] {
			if rows >= cols {
				s.a[j*m+i] = float64(v)
			} else {
				s.a[i*m+j] = float64(v)
			}
		}
	}
	s.values = resize(s.values, n)
	s.norms = resize(s.norms, n)
	s.triangle(m, n)
	return s.values, s.rotate(n)
}

func resize(x []float64, n int) []float64 { return slices.Grow(x[:0], n)[:n] }

// triangle reduces the columns to the triangle R of a QR decomposition with
// column pivoting, left in s.cols as the rows of R.
func (s *SVD) triangle(m, n int) {
	rank := n
	for k := range n {
		// Computed anew, the norms of what is left cost half as much again as
		// the reflections, and cannot suffer from cancellation as updates do.
		best := k
		for j := k; j < n; j++ {
			c := s.cols[j][k:]
			s.norms[j] = dot(c, c)
			if s.norms[j] > s.norms[best] {
				best = j
			}
		}
		if s.norms[best] == 0 {
			rank = k
			break
		}
		s.cols[k], s.cols[best] = s.cols[best], s.cols[k]
		v := s.cols[k][k:]
		alpha := math.Sqrt(s.norms[best])
		if v[0] > 0 {
			alpha = -alpha
		}
		// H = I − β·v·vᵀ maps the column to (α, 0, …).
		beta := 1 / (s.norms[best] - float64(alpha*v[0]))
		v[0] -= alpha
		for j := k + 1; j < n; j++ {
			c := s.cols[j][k:]
			axpy(c, -float64(beta*dot(v, c)), v)
		}
		// v is needed no more; its place holds R's diagonal.
		v[0] = alpha
	}
	s.r = resize(s.r, n*n)
	clear(s.r)
	for j, c := range s.cols {
		for i := range min(j+1, rank) {
			s.r[i*n+j] = c[i]
		}
	}
	for i := range s.cols {
		s.cols[i] = s.r[i*n : (i+1)*n]
	}
}

// rotate makes the vectors in s.cols orthogonal by rotations of pairs; their
// norms are then the singular values.
func (s *SVD) rotate(n int) error {
	tolerance := float64(n) * 0x1p-53 // what rounding leaves of a dot product
	for range maxSweeps {
		for i, c := range s.cols {
			s.norms[i] = dot(c, c)
		}
		rotated := false
		for i := range n {
			for j := i + 1; j < n; j++ {
				rotated = s.orthogonalise(i, j, tolerance) || rotated
			}
		}
		if !rotated {
			for i, c := range s.cols {
				s.values[i] = math.Sqrt(dot(c, c))
			}
			slices.Sort(s.values)
			slices.Reverse(s.values)
			return nil
		}
	}
	return errNoConvergence
}

// orthogonalise rotates a pair of vectors unless they are orthogonal already.
func (s *SVD) orthogonalise(i, j int, tolerance float64) bool {
	x, y := s.cols[i], s.cols[j]
	gamma := dot(x, y)
	if math.Abs(gamma) <= tolerance*math.Sqrt(s.norms[i])*math.Sqrt(s.norms[j]) {
		return false
	}
	zeta := (s.norms[j] - s.norms[i]) / (2 * gamma)
	t := 1 / (math.Abs(zeta) + math.Sqrt(1+float64(zeta*zeta)))
	if zeta < 0 {
		t = -t
	}
	c := 1 / math.Sqrt(1+float64(t*t))
	sn := c * t
	y = y[:len(x)]
	for k, a := range x {
		b := y[k]
		x[k] = float64(c*a) - float64(sn*b)
		y[k] = float64(sn*a) + float64(c*b)
	}
	s.norms[i] -= float64(t * gamma)
	s.norms[j] += float64(t * gamma)
	return true
}
