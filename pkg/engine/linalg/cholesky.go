package linalg

import (
	"errors"
	"math"
)

// ErrNotPositive is returned for a matrix that is not positive definite, or so
// nearly singular that rounding decides.
var ErrNotPositive = errors.New("matrix is not positive definite")

// Cholesky is the factor L of a symmetric positive definite matrix, A = L·Lᵀ. It
// keeps its memory. The zero Cholesky is ready for Factor.
type Cholesky struct {
	n    int
	l    []float64
	rows [][]float64
}

// Factor decomposes a matrix [n][n], of which only what is on and below the
// diagonal is read (Cholesky–Banachiewicz, row by row).
func (c *Cholesky) Factor(a []float64, n int) error {
	c.n = n
	c.l = resize(c.l, n*n)
	clear(c.l)
	c.rows = rowsOf(c.rows, c.l, n, n)
	for i, row := range c.rows {
		for j := range i {
			row[j] = (a[i*n+j] - dot(row[:j], c.rows[j][:j])) / c.rows[j][j]
		}
		// Less than what rounding leaves of a sum of n squares is no pivot.
		pivot := a[i*n+i] - dot(row[:i], row[:i])
		if !(pivot > float64(float64(n)*0x1p-53)*a[i*n+i]) || math.IsInf(pivot, 1) {
			return ErrNotPositive
		}
		row[i] = math.Sqrt(pivot)
	}
	return nil
}

// Solve replaces b by the solution x of A·x = b.
func (c *Cholesky) Solve(b []float64) {
	for i, row := range c.rows {
		b[i] = (b[i] - dot(row[:i], b[:i])) / row[i]
	}
	for i := c.n - 1; i >= 0; i-- {
		b[i] /= c.rows[i][i]
		axpy(b[:i], -b[i], c.rows[i][:i])
	}
}

// LogDet returns ln det A.
func (c *Cholesky) LogDet() float64 {
	var sum float64
	for i, row := range c.rows {
		sum += 2 * Log(row[i])
	}
	return sum
}
