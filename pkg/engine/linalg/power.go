package linalg

import "math"

// Power improves v, an estimate of the dominant eigenvector of a symmetric
// operator such as a Hessian, by iterations of v ← A·v/‖A·v‖ (von Mises &
// Pollaczek-Geiringer 1929), and returns the Rayleigh quotient vᵀ·A·v of the
// last v that A was applied to: the eigenvalue that is largest in size, with its
// sign. It stops early when two quotients differ by at most tolerance times the
// last. apply writes A·src to dst. v is left normalised; if it is 0, or A·v is,
// the quotient is 0; it is NaN where a value is not finite. work has v's length.
func Power(apply func(dst, src []float64), v, work []float64, iterations int, tolerance float64) float64 {
	if length := normalise(v); !(length > 0) {
		return length
	}
	var quotient float64
	for i := range iterations {
		apply(work, v)
		last := quotient
		quotient = dot(v, work)
		if length := normalise(work); !(length > 0) {
			return length
		}
		copy(v, work)
		if i > 0 && math.Abs(quotient-last) <= float64(tolerance*math.Abs(quotient)) {
			break
		}
	}
	return quotient
}

// SpectralNorm improves u [rows] and v [cols], estimates of the first pair of
// singular vectors of a matrix, by iterations of
//
//	v ← Aᵀ·u/‖Aᵀ·u‖,  u ← A·v/‖A·v‖
//
// and returns uᵀ·A·v = ‖A·v‖, a lower bound of σ₁ (Miyato et al. 2018, Spectral
// Normalization for Generative Adversarial Networks, algorithm 1). Who keeps u
// from step to step needs one iteration each. If u is 0 or a product is, the
// norm is 0; it is NaN where a value is not finite.
func SpectralNorm(a []float32, rows, cols int, u, v []float64, iterations int) float64 {
	norm := normalise(u)
	if !(norm > 0) {
		return norm
	}
	for range iterations {
		clear(v)
		for i, x := range u {
			for j, w := range a[i*cols : (i+1)*cols] {
				v[j] += float64(x * float64(w))
			}
		}
		if norm = normalise(v); !(norm > 0) {
			return norm
		}
		for i := range u {
			var sum float64
			for j, w := range a[i*cols : (i+1)*cols] {
				sum += float64(float64(w) * v[j])
			}
			u[i] = sum
		}
		if norm = normalise(u); !(norm > 0) {
			return norm
		}
	}
	return norm
}

// normalise scales x to length 1 and returns its length before: 0 for a vector
// of zeros, which it leaves, and NaN where an element is not finite.
func normalise(x []float64) float64 {
	e, ok := exponent(x)
	if !ok {
		return math.NaN()
	}
	for i, v := range x {
		x[i] = math.Ldexp(v, -e) // its squares are in range
	}
	norm := math.Sqrt(dot(x, x))
	if norm == 0 {
		return 0
	}
	for i := range x {
		x[i] /= norm
	}
	return math.Ldexp(norm, e)
}
