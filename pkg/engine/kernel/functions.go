package kernel

import (
	"math"
	"math/bits"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// The functions below define the results, bit for bit: each step is one rounded
// float32 operation, and the assembly takes the same steps. They avoid branches
// that the assembly cannot take: all sides are computed and one is chosen.
//
// float32(x*y) keeps the compiler from fusing a product with a sum.

func horner(x float32, coefficients []float32) float32 {
	p := coefficients[0]
	for _, c := range coefficients[1:] {
		p = fma32(p, x, c)
	}
	return p
}

// expReduced returns y and t with eˣ = y·2ᵏ, where k = powerOf(t).
func expReduced(x float32) (y, t float32) {
	t = fma32(x, spec.Log2E, spec.Magic)
	n := t - spec.Magic
	r := fma32(-n, spec.Ln2Hi, x)
	r = fma32(-n, spec.Ln2Lo, r)
	return fma32(horner(r, spec.ExpP), float32(r*r), r) + 1, t
}

// powerOf is the integer in t, a number to which Magic has been added.
func powerOf(t float32) int32 {
	const magic float32 = spec.Magic
	return int32(math.Float32bits(t) - math.Float32bits(magic))
}

// pow2 is 2ᵏ for −126 ≤ k ≤ 127.
func pow2(k int32) float32 { return math.Float32frombits(uint32(k+127) << 23) }

func exp(x float32) float32 {
	if x > spec.ExpMax {
		x = spec.ExpMax
	}
	if x < spec.ExpMin {
		x = spec.ExpMin
	}
	y, t := expReduced(x)
	k := powerOf(t)
	return y * pow2(k>>1) * pow2(k-k>>1)
}

func flush(x float32) float32 {
	if abs32(x) < Tiny {
		return 0
	}
	return x
}

func expm1(x float32) float32 {
	c := x
	if c > spec.ExpMax {
		c = spec.ExpMax
	}
	if c < -18 { // −1 from here
		c = -18
	}
	t := fma32(c, spec.Log2E, spec.Magic)
	n := t - spec.Magic
	r := fma32(-n, spec.Ln2Hi, c)
	r = fma32(-n, spec.Ln2Lo, r)
	q := fma32(horner(r, spec.Expm1P), float32(r*r), r)
	h := pow2(powerOf(t) - 1) // half of 2ᵏ, for 2¹²⁸ is too large
	y := 2 * fma32(q, h, h-0.5)
	if n == 0 {
		y = q
	}
	return withSignOf(y, x)
}

// withSignOf sets the sign of y, which is not negative or has the sign of x
// already.
func withSignOf(y, x float32) float32 {
	return math.Float32frombits(math.Float32bits(y) | math.Float32bits(x)&(1<<31))
}

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

// logReduced returns ln(x·2^e0 + c) for a positive normal x, where c is the
// small correction relative to x.
func logReduced(x, e0, c float32) float32 {
	b := math.Float32bits(x) - spec.SqrtHalfBits
	e := float32(int32(b)>>23) + e0
	f := math.Float32frombits(b&(1<<23-1)+spec.SqrtHalfBits) - 1
	z := f * f
	y := float32(horner(f, spec.LogP) * float32(f*z))
	y = fma32(e, spec.Ln2Lo, y)
	y = fma32(-0.5, z, y) + c
	return fma32(e, spec.Ln2Hi, f+y)
}

func log(x float32) float32 {
	s, e := x, float32(0)
	if x < 0x1p-126 {
		s, e = x*0x1p23, -23
	}
	y := logReduced(s, e, 0)
	return logEdges(y, x, x)
}

// logEdges replaces the result y of ln(u), where x is the argument, by NaN for
// negative u and NaN, −Inf for zero and x for +Inf.
func logEdges(y, u, x float32) float32 {
	if x == float32(math.Inf(1)) {
		y = x
	}
	switch {
	case u > 0:
		return y
	case u == 0:
		return float32(math.Inf(-1))
	}
	return float32(math.NaN())
}

func log1p(x float32) float32 {
	u := x + 1
	c := x - (u - 1) // what the sum has lost
	if x > 1 {
		c = 1 - (u - x)
	}
	y := logReduced(u, 0, c/u)
	return withSignOf(logEdges(y, u, x), x)
}

func tanh(x float32) float32 {
	a := abs32(x)
	if a > spec.TanhMax {
		a = spec.TanhMax
	}
	y, t := expReduced(a + a)
	r := 1 - 2/fma32(y, pow2(powerOf(t)), 1)
	if a < spec.TanhSmall {
		z := a * a
		r = fma32(float32(horner(z, spec.TanhP)*z), a, a)
	}
	return withSignOf(r, x)
}

func sigmoid(x float32) float32 { return 1 / (1 + exp(-x)) }

func erf(x float32) float32 {
	a := abs32(x)
	c := a
	if c > spec.ErfMax {
		c = spec.ErfMax
	}
	y, t := expReduced(horner(c, spec.ErfcLogP))
	r := fma32(-y, pow2(powerOf(t)), 1)
	if a < spec.ErfSmall {
		r = fma32(horner(float32(a*a), spec.ErfP), a, a)
	}
	return withSignOf(r, x)
}

// trigPoly returns the sine (odd false) or cosine (odd true) of r, |r| ≤ π/4.
func trigPoly(r float32, odd bool) float32 {
	z := r * r
	if odd {
		return fma32(fma32(horner(z, spec.CosP), z, -0.5), z, 1)
	}
	return fma32(float32(horner(z, spec.SinP)*z), r, r)
}

// trig returns sin(x + quarters·π/2) for |x| ≤ TrigMax, with the sign of x not
// looked at.
func trig(x float32, quarters uint32) float32 {
	a := abs32(x)
	t := fma32(a, spec.TwoOverPi, spec.Magic)
	n := t - spec.Magic
	r := fma32(-n, spec.HalfPi1, a)
	r = fma32(-n, spec.HalfPi2, r)
	r = fma32(-n, spec.HalfPi3, r)
	k := math.Float32bits(t) + quarters // Magic's own low bits are zero
	return math.Float32frombits(math.Float32bits(trigPoly(r, k&1 != 0)) ^ k&2<<30)
}

func sin(x float32) float32 {
	if !(abs32(x) <= spec.TrigMax) {
		return sinHuge(x, 0)
	}
	return math.Float32frombits(math.Float32bits(trig(x, 0)) ^ math.Float32bits(x)&(1<<31))
}

func cos(x float32) float32 {
	if !(abs32(x) <= spec.TrigMax) {
		return sinHuge(x, 1)
	}
	return trig(x, 1)
}

// twoOverPi is 2/π = 0.a2f9836e…₁₆.
var twoOverPi = [4]uint64{0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561}

// sinHuge returns sin(x) (quarters 0) or cos(x) (quarters 1) for |x| > TrigMax,
// and NaN for infinities and NaN. All instruction sets use it. After Payne and
// Hanek, it multiplies by those bits of 2/π that matter: the product's integer
// part is the quadrant modulo 4 and its fraction the angle in it.
func sinHuge(x float32, quarters uint32) float32 {
	b := math.Float32bits(x)
	e := int(b>>23&255) - 127 - 23 // |x| = m·2ᵉ, −6 ≤ e ≤ 104
	if e == 105 {
		return float32(math.NaN())
	}
	m := uint64(b&(1<<23-1) | 1<<23)
	// Bit j of 2/π has weight 2^-(j+1), and m·2^(e-j-1) is a multiple of 4 up to
	// j = e-3. The 128 bits from there on are enough: m times what follows is
	// below 2^-100.
	w0, w1 := twoOverPiBits(e-2), twoOverPiBits(e-2+64)
	hi, lo := bits.Mul64(m, w1)
	q := m*w0 + hi                       // x·2/π in units of 2^-62, modulo 4
	fraction := int64(q<<2 | lo>>62)     // of a quarter, in units of 2^-64, as a number in [−½, ½)
	k := uint32(q>>62) + uint32(q>>61)&1 // the nearest quarter
	const halfPi = math.Pi / 2
	r := float32(float64(float64(fraction)*0x1p-64) * halfPi)
	if b>>31 != 0 && quarters == 0 {
		k += 2 // sin(−x) = −sin(x)
	}
	k += quarters
	return math.Float32frombits(math.Float32bits(trigPoly(r, k&1 != 0)) ^ k&2<<30)
}

// twoOverPiBits returns 64 bits of 2/π from the one with weight 2^-(start+1).
// Before the first there are zeros.
func twoOverPiBits(start int) uint64 {
	if start < 0 {
		return twoOverPi[0] >> -start
	}
	i, s := start/64, start%64
	v := twoOverPi[i] << s
	if s > 0 {
		v |= twoOverPi[i+1] >> (64 - s)
	}
	return v
}
