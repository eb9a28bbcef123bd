// Package kernel has the arithmetic inner loops on float32 slices. It is plain
// Go: one rounding per operation, in the order that each function documents.
//
// Slices that a function reads together have equal lengths; a mismatch panics.
package kernel

// Axpy computes y += a·x.
func Axpy(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for len(y) >= 4 {
		y[0] += float32(a * x[0])
		y[1] += float32(a * x[1])
		y[2] += float32(a * x[2])
		y[3] += float32(a * x[3])
		y, x = y[4:], x[4:]
	}
	for i := range y {
		y[i] += float32(a * x[i])
	}
}

// Scale computes y = a·x.
func Scale(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] = a * x[i]
	}
}

// Dot returns Σ x·y over four interleaved partial sums, folded at the end.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float32
	for len(x) >= 4 {
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		x, y = x[4:], y[4:]
	}
	for i := range x {
		s0 += float32(x[i] * y[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// Sum returns Σ x over four interleaved partial sums, folded at the end.
func Sum(x []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(x) >= 4 {
		s0 += x[0]
		s1 += x[1]
		s2 += x[2]
		s3 += x[3]
		x = x[4:]
	}
	for i := range x {
		s0 += x[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// Gemv computes y = x·W for W [len(x)][len(y)], one ascending chain over the
// inputs per output. Inputs that are zero are skipped: that is part of its
// definition, and what makes sparse inputs cheap.
func Gemv(y, x, w []float32) {
	n := len(y)
	clear(y)
	for k, a := range x {
		if a != 0 {
			Axpy(y, a, w[k*n:(k+1)*n])
		}
	}
}

// GemmNN computes C = A·B for A [m][k], B [k][n], one ascending chain over k
// per element.
func GemmNN(c, a, b []float32, m, n, k int) {
	for i := range m {
		ci := c[i*n : (i+1)*n]
		clear(ci)
		for p, v := range a[i*k : (i+1)*k] {
			Axpy(ci, v, b[p*n:(p+1)*n])
		}
	}
}

// GemmNT computes C = A·Bᵀ for A [m][k], B [n][k].
func GemmNT(c, a, b []float32, m, n, k int) {
	for i := range m {
		ai := a[i*k : (i+1)*k]
		for j := range n {
			c[i*n+j] = Dot(ai, b[j*k:(j+1)*k])
		}
	}
}

// GemmTN computes C = Aᵀ·B for A [k][m], B [k][n], one ascending chain over k
// per element.
func GemmTN(c, a, b []float32, m, n, k int) {
	for i := range m {
		ci := c[i*n : (i+1)*n]
		if v := a[i]; v == 0 { // frequent at batch 1: pixels and inactive units
			clear(ci)
		} else {
			Scale(ci, v, b[:n])
		}
		for p := 1; p < k; p++ {
			Axpy(ci, a[p*m+i], b[p*n:(p+1)*n])
		}
	}
}

// GemmTT computes C = Aᵀ·Bᵀ for A [k][m], B [n][k].
func GemmTT(c, a, b []float32, m, n, k int) {
	for i := range m {
		for j := range n {
			var s float32
			for p := range k {
				s += float32(a[p*m+i] * b[j*k+p])
			}
			c[i*n+j] = s
		}
	}
}
