package rng

import "math"

// Float32 returns a multiple of 2^-24 in [0, 1), all 2^24 of them being equally likely.
func (k Key) Float32(a, b uint64) float32 {
	return unit(k.Uint32(a, b))
}

// FillUniform fills dst with values in [lo, hi): element i comes from Block(a, i/4)[i%4], so a longer dst begins
// with the same values. With lo == hi every element is lo. It panics unless lo <= hi and hi-lo is finite.
func (k Key) FillUniform(dst []float32, lo, hi float32, a uint64) {
	width := hi - lo
	if !(width >= 0 && width <= math.MaxFloat32) {
		panic("rng: FillUniform needs lo <= hi and a finite width")
	}
	// lo + width·u may round up to hi; the largest value below hi takes its place.
	top := math.Nextafter32(hi, lo)
	n := len(dst) &^ 3
	for i := 0; i < n; i += 4 {
		w := k.Block(a, uint64(i)/4)
		d := dst[i : i+4 : i+4]
		d[0] = min(lo+float32(width*unit(w[0])), top)
		d[1] = min(lo+float32(width*unit(w[1])), top)
		d[2] = min(lo+float32(width*unit(w[2])), top)
		d[3] = min(lo+float32(width*unit(w[3])), top)
	}
	if n < len(dst) {
		w := k.Block(a, uint64(n)/4)
		for i := range dst[n:] {
			dst[n+i] = min(lo+float32(width*unit(w[i])), top)
		}
	}
}

// FillNormal fills dst with independent values of the standard normal distribution, rounded to float32, of
// magnitude at most 6.77. Elements 4j..4j+3 come from Block(a, j): two Box–Muller pairs. A longer dst begins with
// the same values.
func (k Key) FillNormal(dst []float32, a uint64) {
	n := len(dst) &^ 3
	for i := 0; i < n; i += 4 {
		w := k.Block(a, uint64(i)/4)
		d := dst[i : i+4 : i+4]
		d[0], d[1] = boxMuller(w[0], w[1])
		d[2], d[3] = boxMuller(w[2], w[3])
	}
	if n < len(dst) {
		w := k.Block(a, uint64(n)/4)
		var d [4]float32
		d[0], d[1] = boxMuller(w[0], w[1])
		d[2], d[3] = boxMuller(w[2], w[3])
		copy(dst[n:], d[:])
	}
}

// unit maps 32 bits to [0, 1): the top 24 bits are all that a float32 can tell apart evenly.
func unit(x uint32) float32 {
	return float32(x>>8) * (1.0 / (1 << 24))
}

// boxMuller turns 64 random bits into two independent normal values: radius sqrt(-2 ln u) from r, angle from t.
// It computes in float64 with its own logarithm, sine and cosine, because those of package math differ in the
// last bits between architectures.
func boxMuller(r, t uint32) (float32, float32) {
	radius := math.Sqrt(-2 * logUnit(r))
	sin, cos := sinCosTurn(t)
	return float32(radius * cos), float32(radius * sin)
}

// logUnit returns ln((x + 1/2) · 2^-32), which is finite and negative for every x, to about 2 ulp
// (absolute error below 1e-15 near 0).
func logUnit(x uint32) float64 {
	const (
		ln2   = math.Ln2
		split = 0x3FE6A09E_00000000 // bits of a number just below sqrt(1/2), low word clear
	)
	// x + 1/2 = 2^e · m with m in [sqrt(1/2), sqrt(2)): move the exponent relative to the split point.
	b := math.Float64bits(float64(x) + 0.5)
	e := int64(b-split) >> 52
	m := math.Float64frombits(b - uint64(e)<<52)
	// ln m = 2 atanh(s), s = (m-1)/(m+1), |s| < 0.1716: the odd series to s^19 is exact to 1e-17.
	s := (m - 1) / (m + 1)
	z := s * s
	p := 1.0 / 19
	p = float64(p*z) + 1.0/17
	p = float64(p*z) + 1.0/15
	p = float64(p*z) + 1.0/13
	p = float64(p*z) + 1.0/11
	p = float64(p*z) + 1.0/9
	p = float64(p*z) + 1.0/7
	p = float64(p*z) + 1.0/5
	p = float64(p*z) + 1.0/3
	p = float64(p*z) + 1
	return float64(float64(e-32)*ln2) + float64(float64(2*s)*p)
}

// sinCosTurn returns sine and cosine of x · 2^-32 turns. The range reduction is exact since the angle is an
// integer: the nearest quarter turn and a rest of at most an eighth of a turn.
func sinCosTurn(x uint32) (sin, cos float64) {
	quarter := (x + 1<<29) >> 30
	rest := int32(x - quarter<<30)
	y := float64(rest) * (math.Pi / (1 << 31))
	z := y * y
	// Taylor series, exact to 1e-15 for |y| <= pi/4.
	s := -1.0 / 1307674368000
	s = float64(s*z) + 1.0/6227020800
	s = float64(s*z) - 1.0/39916800
	s = float64(s*z) + 1.0/362880
	s = float64(s*z) - 1.0/5040
	s = float64(s*z) + 1.0/120
	s = float64(s*z) - 1.0/6
	s = float64(s*z) + 1
	s = y * s
	c := 1.0 / 20922789888000
	c = float64(c*z) - 1.0/87178291200
	c = float64(c*z) + 1.0/479001600
	c = float64(c*z) - 1.0/3628800
	c = float64(c*z) + 1.0/40320
	c = float64(c*z) - 1.0/720
	c = float64(c*z) + 1.0/24
	c = float64(c*z) - 0.5
	c = float64(c*z) + 1
	switch quarter & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	default:
		return -c, s
	}
}
