package rng

import (
	"math"

	"neoteny/pkg/engine/kernel"
)

// Group is how many elements FillUniform and FillNormal make at a time. Blocks
// of a sequence that begin at multiples of it can be drawn by themselves.
const Group = 64

// Float32 returns a multiple of 2^-24 in [0, 1), all 2^24 of them being equally likely.
func (k Key) Float32(a, b uint64) float32 {
	return unit(k.Uint32(a, b))
}

// FillUniform fills dst with values in [lo, hi). Element 64g + 16w + e, for w < 4 and e < 16, comes from word w of
// Block(a, 16g+e), so a longer dst begins with the same values. With lo == hi every element is lo. It panics unless
// lo <= hi and hi-lo is finite.
func (k Key) FillUniform(dst []float32, lo, hi float32, a uint64) {
	k.FillUniformAt(dst, lo, hi, a, 0)
}

// FillUniformAt fills dst with the elements offset to offset+len(dst)-1 of what FillUniform would draw. It panics
// as FillUniform does, and where offset is not a multiple of Group.
func (k Key) FillUniformAt(dst []float32, lo, hi float32, a uint64, offset int) {
	width := hi - lo
	if !(width >= 0 && width <= math.MaxFloat32) {
		panic("rng: FillUniform needs lo <= hi and a finite width")
	}
	// lo + width·u may round up to hi; the largest value below hi takes its place.
	kernel.PhiloxUniform(dst, k.lo, k.hi, a, group(offset), lo, width, math.Nextafter32(hi, lo))
}

// FillNormal fills dst with independent values of the standard normal distribution, computed in float32, of
// magnitude at most 6.67. Elements 64g + e and 64g + 16 + e are a Box–Muller pair from words 0 and 1 of
// Block(a, 16g+e), elements 64g + 32 + e and 64g + 48 + e one from words 2 and 3. A longer dst begins with the same
// values.
func (k Key) FillNormal(dst []float32, a uint64) {
	k.FillNormalAt(dst, a, 0)
}

// FillNormalAt fills dst with the elements offset to offset+len(dst)-1 of what FillNormal would draw. It panics
// where offset is not a multiple of Group.
func (k Key) FillNormalAt(dst []float32, a uint64, offset int) {
	kernel.PhiloxNormal(dst, k.lo, k.hi, a, group(offset))
}

func group(offset int) uint64 {
	if offset < 0 || offset%Group != 0 {
		panic("rng: an offset must be a multiple of Group")
	}
	return uint64(offset / Group)
}

// unit maps 32 bits to [0, 1): the top 24 bits are all that a float32 can distinguish evenly.
func unit(x uint32) float32 {
	return float32(x>>8) * (1.0 / (1 << 24))
}
