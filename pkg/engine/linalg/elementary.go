package linalg

import "math"

// ln2 = ln2High + ln2Low; the low bits of ln2High are zero, so that its
// products with exponents are exact.
const (
	ln2High = 6.93147180369123816490e-01
	ln2Low  = 1.90821492927058770002e-10
)

// Log returns the natural logarithm of x to about 2 ulp. Log(0) is −Inf, and
// that of a negative number or NaN is NaN.
func Log(x float64) float64 {
	switch {
	case !(x >= 0):
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	case math.IsInf(x, 1):
		return x
	}
	shift := 0
	if x < 0x1p-1022 {
		x *= 0x1p54
		shift = -54
	}
	// x = 2^e · m with m in [√½, √2).
	const split = 0x3FE6A09E_00000000 // bits of a number just below √½, low word clear
	b := math.Float64bits(x)
	e := int64(b-split) >> 52
	m := math.Float64frombits(b - uint64(e)<<52)
	e += int64(shift)
	// ln m = 2·atanh(s), |s| < 0.1716: the odd series to s^23 is exact to 1e-19.
	s := (m - 1) / (m + 1)
	z := s * s
	p := 0.0
	for k := 23; k >= 3; k -= 2 {
		p = float64((p + 1/float64(k)) * z)
	}
	return float64(float64(e)*ln2High) + (float64(2*s) + (float64(2*s*p) + float64(float64(e)*ln2Low)))
}

// Exp returns e^x to about 2 ulp; 0 below the range of normal numbers and +Inf
// above it.
func Exp(x float64) float64 {
	switch {
	case math.IsNaN(x):
		return x
	case x > 709.78:
		return math.Inf(1)
	case x < -708.39:
		return 0
	}
	k := math.Floor(float64(x*math.Log2E) + 0.5)
	r := (x - float64(k*ln2High)) - float64(k*ln2Low)
	// The Taylor series to r^13 is exact to 1e-17 for |r| < 0.35.
	p := 1.0
	for i := 13; i >= 1; i-- {
		p = float64(p*r/float64(i)) + 1
	}
	half := int64(k) / 2 // in two steps, as 2^1024 is no float64
	return p * power(half) * power(int64(k)-half)
}

// power returns 2^k for a normal result.
func power(k int64) float64 { return math.Float64frombits(uint64(k+1023) << 52) }

// Pow returns x^y = e^(y·ln x) for x ≥ 0, to about 2 + |y·ln x| ulp, and NaN for
// x < 0. x^0 is 1, whatever x is.
func Pow(x, y float64) float64 {
	switch {
	case y == 0 || x == 1:
		return 1
	case x == 0 && y < 0:
		return math.Inf(1)
	case x == 0 && y > 0:
		return 0
	}
	return Exp(float64(y * Log(x)))
}

// SinPi returns sin πx with an error below 2·10⁻¹⁶, and exactly where it is 0 or
// ±1. It is meant for |x| < 2^50.
func SinPi(x float64) float64 { return quarterTurns(x, 0) }

// CosPi is [SinPi] of x + ½.
func CosPi(x float64) float64 { return quarterTurns(x, 1) }

// quarterTurns returns sin(πx + turns·π/2).
func quarterTurns(x float64, turns int64) float64 {
	n := math.Floor(2*x + 0.5)
	a := float64(math.Pi * (x - float64(n/2))) // |a| ≤ π/4; the difference is exact
	z := float64(a * a)
	// The Taylor series to a^19 and a^18 are exact to 1e-18.
	sin, cos := 0.0, 0.0
	for k := 18.0; k >= 2; k -= 2 {
		sin = float64((1 - sin) * z / float64(k*(k+1)))
		cos = float64((1 - cos) * z / float64(k*(k-1)))
	}
	switch (int64(n) + turns) & 3 {
	case 0:
		return a - float64(a*sin)
	case 1:
		return 1 - cos
	case 2:
		return float64(a*sin) - a
	}
	return cos - 1
}
