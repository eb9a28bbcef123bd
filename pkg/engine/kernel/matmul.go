package kernel

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
