package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The philox4x32-10 lines of kat_vectors, published with Random123.
func TestPhiloxKnownAnswers(t *testing.T) {
	require.Equal(t, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, Philox(0, 0, 0, 0))
	require.Equal(t, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		Philox(0xffffffff, 0xffffffff, math.MaxUint64, math.MaxUint64))
	require.Equal(t, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		Philox(0xa4093822, 0x299f31d0, 0x85a308d3_243f6a88, 0x03707344_13198a2e))
}

// The layout, element by element.
func uniformAt(key0, key1 uint32, a, group uint64, i int, lo, width, top float32) float32 {
	e := i % philoxGroup
	x := Philox(key0, key1, a, (group+uint64(i/philoxGroup))*16+uint64(e%16))[e/16]
	return min(lo+float32(width*float32(float64(x>>8)/(1<<24))), top)
}

func normalAt(key0, key1 uint32, a, group uint64, i int) float32 {
	e := i % philoxGroup
	w := Philox(key0, key1, a, (group+uint64(i/philoxGroup))*16+uint64(e%16))
	pair := e / 32 * 2
	cos, sin := boxMuller(w[pair], w[pair+1])
	if e%32 < 16 {
		return cos
	}
	return sin
}

func TestPhiloxFills(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	eachISA(t, func(t *testing.T) {
		for _, n := range lengths(257) {
			// Groups at which the low word of the block number wraps, and the number itself.
			for _, group := range []uint64{0, r.Uint64(), 1<<28 - 1, 1<<60 - 2, 1<<60 - 1} {
				key0, key1, a := r.Uint32(), r.Uint32(), r.Uint64()
				for in := range inputs(t, n, 1) {
					PhiloxUniform(in[0], key0, key1, a, group, -0.3, 1.7, 1.39)
					for i, v := range in[0] {
						require.Equal(t, uniformAt(key0, key1, a, group, i, -0.3, 1.7, 1.39), v, "uniform %d of %d", i, n)
					}
				}
			}
		}
	})
	for n := 0; n < 257; n += 17 {
		want := make([]float32, n)
		for _, group := range []uint64{0, r.Uint64(), 1<<28 - 1, 1<<60 - 1} {
			key0, key1, a := r.Uint32(), r.Uint32(), r.Uint64()
			for i := range want {
				want[i] = normalAt(key0, key1, a, group, i)
			}
			eachISA(t, func(t *testing.T) {
				for in := range inputs(t, n, 1) {
					PhiloxNormal(in[0], key0, key1, a, group)
					requireBits(t, want, in[0], "normal, n=%d", n)
				}
			})
		}
	}
	// Many bits, and more than one call of assembly.
	const n = philoxStretch + 3*philoxGroup + 5
	normal, uniform := make([]float32, n), make([]float32, n)
	restore := ForceISA(Generic)
	PhiloxNormal(normal, 1, 2, 3, 4)
	PhiloxUniform(uniform, 1, 2, 3, 4, 1, 0x1p-22, 1)
	restore()
	got := make([]float32, n)
	eachISA(t, func(t *testing.T) {
		PhiloxNormal(got, 1, 2, 3, 4)
		requireBits(t, normal, got, "normal")
		PhiloxUniform(got, 1, 2, 3, 4, 1, 0x1p-22, 1)
		requireBits(t, uniform, got, "uniform")
	})
}

// The polynomials in float32 against float64.
func TestBoxMullerAccuracy(t *testing.T) {
	var worst, worstLog, worstCircle float64
	check := func(r, a uint32) {
		t.Helper()
		u := float64(float32(int32(r>>1))+0.5) * 0x1p-31
		want := -2 * math.Log(u)
		got := minusTwoLog(r)
		require.False(t, math.IsInf(float64(got), 0))
		if want > 0 {
			worstLog = max(worstLog, math.Abs(float64(got)/want-1))
		} else {
			require.Zero(t, got)
		}
		sin, cos := math.Sincos(math.Pi / 2 * (float64(a>>30) + float64(int32(a<<2))*0x1p-32))
		c, s := cosSinCircle(a)
		worstCircle = max(worstCircle, math.Abs(float64(c)-cos), math.Abs(float64(s)-sin))
		x, y := boxMuller(r, a)
		radius := math.Sqrt(want)
		worst = max(worst, math.Abs(float64(x)-radius*cos)/(radius+1e-30), math.Abs(float64(y)-radius*sin)/(radius+1e-30))
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		check(r.Uint32(), r.Uint32())
	}
	for i := range uint32(32) {
		for _, x := range []uint32{0, 1 << i, 1<<i - 1, -(1 << i), 1<<i + 1, ^uint32(0)} {
			check(x, 1<<31-1)
			check(5, x)
			check(x, x)
		}
	}
	t.Logf("relative error of the logarithm %.3g, error of the circle %.3g, of the values relative to the radius %.3g", worstLog, worstCircle, worst)
	require.Less(t, worstLog, 2e-7)
	require.Less(t, worstCircle, 1.2e-7)
	require.Less(t, worst, 2.5e-7)
	x, _ := boxMuller(0, 0)
	require.InDelta(t, math.Sqrt(2*32*math.Ln2), x, 1e-6, "the longest radius")
}

func BenchmarkPhilox(b *testing.B) {
	for _, n := range []int{64, 784, 1 << 16} {
		x := make([]float32, n)
		b.Run(fmt.Sprint("normal/", n), func(b *testing.B) {
			benchISA(b, n, func() { PhiloxNormal(x, 1, 2, 3, 4) })
		})
		b.Run(fmt.Sprint("uniform/", n), func(b *testing.B) {
			benchISA(b, n, func() { PhiloxUniform(x, 1, 2, 3, 4, -1, 2, 1) })
		})
	}
}
