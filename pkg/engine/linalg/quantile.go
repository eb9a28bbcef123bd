package linalg

import "math"

// Quantile returns the q-quantile, 0 ≤ q ≤ 1, of values in ascending order, by
// linear interpolation between the two nearest: definition 7 of Hyndman & Fan
// 1996, which is NumPy's default. It is NaN for no values.
func Quantile(sorted []float64, q float64) float64 {
	n := len(sorted)
	if n == 0 || !(q >= 0 && q <= 1) {
		return math.NaN()
	}
	at := float64(q * float64(n-1))
	i := int(at)
	if i == n-1 {
		return sorted[i]
	}
	low, high := sorted[i], sorted[i+1]
	f := at - float64(i)
	if f == 0 {
		return low // not Inf − Inf
	}
	return low + float64(f*(high-low))
}
