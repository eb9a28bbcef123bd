package linalg

import (
	"cmp"
	"math"
	"slices"
)

// Eigen computes eigenvalues and eigenvectors of symmetric matrices. It keeps
// its memory, so that a second matrix of the same size costs no allocation. The
// zero Eigen is ready for use.
//
// Householder reflections make the matrix tridiagonal, and QL iterations with
// implicit shifts make that diagonal (Martin, Reinsch & Wilkinson 1968; Dubrulle,
// Martin & Wilkinson 1968: tred2 and imtql2 of EISPACK). The error of a value is
// a small multiple of 2^−53·max|λ|.
type Eigen struct {
	a     []float64
	rows  [][]float64
	d, e  []float64 // diagonal; e[i] is between d[i] and d[i+1]
	betas []float64
	p     []float64

	wanted bool
	z      []float64
	vecs   [][]float64 // rows are eigenvectors
	order  []int
	values []float64
	out    []float64
}

// Values returns the eigenvalues of a symmetric matrix [n][n] in descending
// order. Only what is on and below its diagonal is read. They are valid until
// the next call. It takes about 4/3·n³ operations.
func (s *Eigen) Values(x []float64, n int) ([]float64, error) {
	values, _, err := s.decompose(x, n, false)
	return values, err
}

// Decompose returns the eigenvalues as Values does, and eigenvectors as the rows
// of v [n][n], such that A = Σ λ_k·v_k·v_kᵀ and the first of the largest elements
// of each is positive. What it returns is valid until the next call.
func (s *Eigen) Decompose(x []float64, n int) (lambda, v []float64, err error) {
	return s.decompose(x, n, true)
}

func (s *Eigen) decompose(x []float64, n int, vectors bool) ([]float64, []float64, error) {
	s.a = resize(s.a, n*n)
	s.rows = rowsOf(s.rows, s.a, n, n)
	for i, row := range s.rows {
		for j := range i + 1 {
			row[j] = x[i*n+j]
			s.rows[j][i] = row[j]
		}
	}
	scale, ok := exponent(s.a)
	if !ok {
		return nil, nil, ErrNotFinite
	}
	for i, v := range s.a {
		s.a[i] = math.Ldexp(v, -scale)
	}
	s.wanted = vectors
	s.tridiagonalise(n)
	if vectors {
		s.vectors(n)
	}
	if err := s.iterate(n); err != nil {
		return nil, nil, err
	}
	s.order = slices.Grow(s.order[:0], n)[:n]
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortStableFunc(s.order, func(i, j int) int { return cmp.Compare(s.d[j], s.d[i]) })
	s.values = resize(s.values, n)
	for k, i := range s.order {
		s.values[k] = math.Ldexp(s.d[i], scale)
	}
	if !vectors {
		return s.values, nil, nil
	}
	s.out = resize(s.out, n*n)
	for k, i := range s.order {
		v := s.out[k*n : (k+1)*n]
		copy(v, s.vecs[i])
		orient(v, nil)
	}
	return s.values, s.out, nil
}

// tridiagonalise applies H = I − β·v·vᵀ from both sides, column by column:
//
//	H·A·H = A − v·qᵀ − q·vᵀ,  q = p − (β·pᵀv/2)·v,  p = β·A·v
//
// Row k keeps the vector of its reflection from k+1 on.
func (s *Eigen) tridiagonalise(n int) {
	s.d, s.e = resize(s.d, n), resize(s.e, max(n-1, 0))
	s.betas, s.p = resize(s.betas, n), resize(s.p, n)
	for k, row := range s.rows {
		s.d[k] = row[k]
		if k == n-1 {
			return
		}
		v := row[k+1:]
		alpha, beta := reflector(v)
		s.e[k], s.betas[k] = alpha, beta
		if beta == 0 {
			continue
		}
		q := s.p[k+1:]
		for i := range q {
			q[i] = beta * dot(s.rows[k+1+i][k+1:], v)
		}
		axpy(q, -float64(float64(beta*dot(q, v))/2), v)
		for i := range q {
			r := s.rows[k+1+i][k+1:]
			axpy(r, -v[i], q)
			axpy(r, -q[i], v)
		}
	}
}

// vectors makes the columns of the reflections' product.
func (s *Eigen) vectors(n int) {
	s.z = resize(s.z, n*n)
	clear(s.z)
	s.vecs = rowsOf(s.vecs, s.z, n, n)
	for k := n - 1; k >= 0; k-- {
		s.vecs[k][k] = 1
		for j := k + 1; j < n; j++ {
			reflect(s.vecs[j][k+1:], s.rows[k][k+1:], s.betas[k])
		}
	}
}

// iterate makes the tridiagonal matrix diagonal, value by value from the top.
func (s *Eigen) iterate(n int) error {
	d, e := s.d, s.e
	for l := 0; l < n; l++ {
		for sweeps := 0; ; sweeps++ {
			m := l
			for m < n-1 && math.Abs(e[m]) > 0x1p-53*(math.Abs(d[m])+math.Abs(d[m+1])) && math.Abs(e[m]) > 0x1p-500 {
				m++
			}
			if m < n-1 {
				e[m] = 0
			}
			if m == l {
				break
			}
			if sweeps == maxSweeps {
				return errNoConvergence
			}
			s.sweep(l, m)
		}
	}
	return nil
}

// sweep is one QL iteration of the block l..m, from bottom to top, with
// Wilkinson's shift: the eigenvalue of the first 2×2 block that is nearer to
// d_l.
func (s *Eigen) sweep(l, m int) {
	d, e := s.d, s.e
	g := (d[l+1] - d[l]) / (2 * e[l])
	r := math.Abs(g)
	if r < 0x1p500 {
		r = math.Sqrt(float64(g*g) + 1)
	}
	// What follows chases the bulge that the shifted rotation makes.
	g = d[m] - d[l] + e[l]/(g+math.Copysign(r, g))
	c, sn, p := 1.0, 1.0, 0.0
	for i := m - 1; i >= l; i-- {
		f, b := float64(sn*e[i]), float64(c*e[i])
		var h float64
		c, sn, h = rotation(g, f)
		if i < m-1 {
			e[i+1] = h
		}
		g = d[i+1] - p
		t := float64((d[i]-g)*sn) + float64(float64(2*c)*b)
		p = float64(sn * t)
		d[i+1] = g + p
		g = float64(c*t) - b
		if s.wanted {
			rotate(s.vecs[i+1], s.vecs[i], c, sn)
		}
	}
	d[l] -= p
	e[l] = g
}
