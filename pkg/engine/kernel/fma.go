package kernel

import "math"

// fma32 returns a·b + c rounded once: the fused multiply-add of every
// instruction set, in pure Go.
func fma32(a, b, c float32) float32 {
	p := float64(float64(a) * float64(b)) // exact: 48 bits at most, exponents far inside float64's range
	s := p + float64(c)
	bits := math.Float64bits(s)
	// s is rounded to 53 bits; rounding it again to 24 errs only where s lies
	// exactly between two float32 (the low 29 bits are 1000…), for then the
	// rounding of s may have hidden which side the sum is on. Below 2^-126 the
	// float32 has fewer bits and the halfway points are elsewhere.
	if bits&(1<<29-1) != 1<<28 && bits<<1 >= (1023-126)<<53 {
		return float32(s)
	}
	return fmaSlow(p, float64(c), s)
}

// fmaSlow rounds p + c to odd in float64, from which rounding to float32 is
// right; s is the sum rounded to nearest.
//
//go:noinline
func fmaSlow(p, c, s float64) float32 {
	if s == 0 || math.IsInf(s, 0) || s != s {
		return float32(s)
	}
	// TwoSum: s + e is p + c exactly.
	t := s - p
	e := float64(p-float64(s-t)) + float64(c-t)
	if e != 0 {
		if bits := math.Float64bits(s); bits&1 == 0 {
			// The neighbour of s on the side of e is odd, as s is even.
			if (e > 0) == (s > 0) {
				bits++
			} else {
				bits--
			}
			s = math.Float64frombits(bits)
		}
	}
	return float32(s)
}
