package kernel

import "math"

// Random numbers by the group: the draws numbered a under a key form one long
// sequence, cut into groups of 64 elements, and a group is made of 16 blocks of
// Philox4x32-10 side by side: word w of block 16·group + e is behind element
// 64·group + 16·w + e. So sixteen blocks fill whole vectors, and any group can
// be made by itself.

// philoxGroup is how many elements a group has.
const philoxGroup = 64

// Multipliers and key increments of Philox4x32, as published.
const (
	philoxMul0  = 0xD2511F53
	philoxMul1  = 0xCD9E8D57
	philoxWeyl0 = 0x9E3779B9
	philoxWeyl1 = 0xBB67AE85
)

// Philox returns 128 random bits: Philox4x32-10 (Salmon, Moraes, Dror and Shaw,
// SC 2011) of the counter words lo(a), hi(a), lo(b), hi(b) under a key of two
// words.
func Philox(key0, key1 uint32, a, b uint64) [4]uint32 {
	c0, c1, c2, c3 := uint32(a), uint32(a>>32), uint32(b), uint32(b>>32)
	for range 10 {
		p0 := philoxMul0 * uint64(c0)
		p1 := philoxMul1 * uint64(c2)
		c0, c1, c2, c3 = uint32(p1>>32)^c1^key0, uint32(p1), uint32(p0>>32)^c3^key1, uint32(p0)
		key0 += philoxWeyl0
		key1 += philoxWeyl1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// PhiloxUniform fills dst with lo + width·u, but at most top, from the given
// group on: u is the top 24 bits of an element's word, times 2⁻²⁴. The product
// and the sum are each rounded.
func PhiloxUniform(dst []float32, key0, key1 uint32, a, group uint64, lo, width, top float32) {
	var tail [philoxGroup]float32
	n := len(dst) &^ (philoxGroup - 1)
	philoxUniform(dst[:n], key0, key1, a, group, lo, width, top)
	if n < len(dst) {
		philoxUniform(tail[:], key0, key1, a, group+uint64(n/philoxGroup), lo, width, top)
		copy(dst[n:], tail[:])
	}
}

// A call of assembly makes at most this many elements, some 50 µs.
const philoxStretch = 1024 * philoxGroup

// philoxUniform fills whole groups.
func philoxUniform(dst []float32, key0, key1 uint32, a, group uint64, lo, width, top float32) {
	keys := philoxKeys(key0, key1)
	for len(dst) > 0 {
		n := min(len(dst), philoxStretch)
		if !philoxUniformASM(&dst[0], n/philoxGroup, &keys[0], a, group*16, lo, width, top) {
			philoxUniformGeneric(dst, key0, key1, a, group, lo, width, top)
			return
		}
		dst, group = dst[n:], group+uint64(n/philoxGroup)
	}
}

// philoxKeys returns the keys of the ten rounds.
func philoxKeys(key0, key1 uint32) (keys [20]uint32) {
	for i := 0; i < len(keys); i += 2 {
		keys[i], keys[i+1] = key0, key1
		key0 += philoxWeyl0
		key1 += philoxWeyl1
	}
	return keys
}

func philoxUniformGeneric(dst []float32, key0, key1 uint32, a, group uint64, lo, width, top float32) {
	for ; len(dst) > 0; dst, group = dst[philoxGroup:], group+1 {
		d := (*[philoxGroup]float32)(dst)
		for e := range 16 {
			for w, x := range Philox(key0, key1, a, group*16+uint64(e)) {
				v := lo + float32(width*(float32(x>>8)*(1.0/(1<<24))))
				if !(v < top) {
					v = top
				}
				d[16*w+e] = v
			}
		}
	}
}

// PhiloxNormal fills dst with values of the standard normal distribution from
// the given group on: two Box–Muller pairs of each block, of which words 0 and 1
// give the elements e and 16+e of the group and words 2 and 3 give 32+e and
// 48+e. No magnitude exceeds 6.67.
func PhiloxNormal(dst []float32, key0, key1 uint32, a, group uint64) {
	var tail [philoxGroup]float32
	n := len(dst) &^ (philoxGroup - 1)
	philoxNormal(dst[:n], key0, key1, a, group)
	if n < len(dst) {
		philoxNormal(tail[:], key0, key1, a, group+uint64(n/philoxGroup))
		copy(dst[n:], tail[:])
	}
}

// philoxNormal fills whole groups.
func philoxNormal(dst []float32, key0, key1 uint32, a, group uint64) {
	keys := philoxKeys(key0, key1)
	for len(dst) > 0 {
		n := min(len(dst), philoxStretch)
		if !philoxNormalASM(&dst[0], n/philoxGroup, &keys[0], a, group*16) {
			philoxNormalGeneric(dst, key0, key1, a, group)
			return
		}
		dst, group = dst[n:], group+uint64(n/philoxGroup)
	}
}

func philoxNormalGeneric(dst []float32, key0, key1 uint32, a, group uint64) {
	for ; len(dst) > 0; dst, group = dst[philoxGroup:], group+1 {
		d := (*[philoxGroup]float32)(dst)
		for e := range 16 {
			w := Philox(key0, key1, a, group*16+uint64(e))
			d[e], d[16+e] = boxMuller(w[0], w[1])
			d[32+e], d[48+e] = boxMuller(w[2], w[3])
		}
	}
}

// boxMuller turns 64 random bits into two independent normal values: a radius
// √(−2 ln u) and an angle in full circles. Every operation is one rounding of
// float32.
func boxMuller(r, t uint32) (cos, sin float32) {
	radius := float32(math.Sqrt(float64(minusTwoLog(r))))
	cos, sin = cosSinCircle(t)
	return radius * cos, radius * sin
}

// Coefficients fitted to least relative error (Remez), lowest power first.
var (
	// −2 ln(1+t)/t on [√½−1, √2−1]: 2.6e−8.
	radiusPoly = [...]float32{-2, 0.99999976, -0.66668373, 0.5000415, -0.39913666, 0.33124787, -0.2990454, 0.2873369, -0.17444699}
	// sin(½π·y)/y in y² for |y| ≤ ½: 3.3e−9.
	circleSin = [...]float32{1.5707964, -0.6459635, 0.07968003, -0.004601658}
	// cos(½π·y) in y² for |y| ≤ ½: 5.4e−11.
	circleCos = [...]float32{1, -1.2337005, 0.25366923, -0.020860288, 0.0009040217}
)

// Constants of minusTwoLog. radiusSplit is a number just below √½.
const (
	radiusSplit  = 0x3f3504f3
	radiusOffset = radiusSplit + 31<<23
	minusTwoLn2  = -2 * math.Ln2
)

// minusTwoLog returns −2 ln u for u = (⌊x/2⌋ + ½)·2⁻³¹, rounded to float32
// twice on the way, so u is in [2⁻³², 1] and the result is finite.
func minusTwoLog(x uint32) float32 {
	// u·2³¹ = 2ᵉ⁺³¹·m with m in [√½, √2).
	d := int32(math.Float32bits(float32(int32(x>>1))+0.5)) - radiusOffset
	m := math.Float32frombits(uint32(d&(1<<23-1) + radiusSplit))
	t := m - 1
	return fma32(float32(d>>23), minusTwoLn2, t*horner32(t, radiusPoly[:]))
}

// cosSinCircle returns cosine and sine of (x>>30 + int32(x<<2)·2⁻³²) quarter
// circles: a quarter and at most an eighth of the circle around it, which is
// exact before the one rounding to float32.
func cosSinCircle(x uint32) (cos, sin float32) {
	y := float32(int32(x<<2)) * (1.0 / (1 << 32))
	z := y * y
	s := y * horner32(z, circleSin[:])
	c := horner32(z, circleCos[:])
	if x>>30&1 != 0 {
		s, c = c, s
	}
	cos = math.Float32frombits(math.Float32bits(c) ^ (x^x<<1)&(1<<31))
	sin = math.Float32frombits(math.Float32bits(s) ^ x&(1<<31))
	return cos, sin
}

// horner32 returns Σ c[i]·xⁱ, from the highest power down, by fused
// multiply-adds.
func horner32(x float32, c []float32) float32 {
	p := c[len(c)-1]
	for i := len(c) - 2; i >= 0; i-- {
		p = fma32(p, x, c[i])
	}
	return p
}
