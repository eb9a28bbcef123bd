package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// exactFMA rounds a·b + c once with math/big. It is for finite operands.
func exactFMA(a, b, c float32) float32 {
	x := new(big.Float).SetPrec(2000).SetFloat64(float64(a))
	x.Mul(x, new(big.Float).SetPrec(2000).SetFloat64(float64(b)))
	if x.Sign() == 0 { // big's zeros follow other rules
		return float32(float64(a)*float64(b)) + c
	}
	x.Add(x, new(big.Float).SetPrec(2000).SetFloat64(float64(c)))
	if x.Sign() == 0 {
		return 0 // x + −x
	}
	f, _ := x.Float32()
	return f
}

func TestFMAIsRoundedOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	check := func(a, b, c float32) {
		t.Helper()
		want, got := exactFMA(a, b, c), fma32(a, b, c)
		require.Equal(t, math.Float32bits(want), math.Float32bits(got), "%x·%x + %x = %x, not %x", a, b, c, want, got)
	}
	slow := 0
	for range 300_000 {
		var v [3]float32
		for i := range v {
			// Few mantissa bits in a, b and c at distant exponents: halfway cases abound.
			keep := uint32(math.MaxUint32) << r.IntN(24)
			v[i] = math.Float32frombits((r.Uint32()&(1<<31|1<<23-1) | uint32(127-30+r.IntN(60))<<23) & keep)
		}
		check(v[0], v[1], v[2])
		s := float64(v[0])*float64(v[1]) + float64(v[2])
		if float32(s) != fma32(v[0], v[1], v[2]) {
			slow++
		}
	}
	require.NotZero(t, slow, "no case where rounding twice would err")
	for range 200_000 { // subnormal results, and any bits at all
		tiny := func(e int) float32 {
			return math.Float32frombits(r.Uint32()&(1<<31|1<<23-1) | uint32(127+e)<<23)
		}
		check(tiny(-60-r.IntN(10)), tiny(-60-r.IntN(30)), math.Float32frombits(r.Uint32()&(1<<31|1<<24-1)))
		a, b, c := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		if f := float64(a) * float64(b) * float64(c); !math.IsInf(f, 0) && f == f {
			check(a, b, c)
		}
	}
	for _, a := range specials {
		for _, b := range specials {
			for _, c := range specials {
				if f := float64(a) * float64(b) * float64(c); math.IsInf(f, 0) || f != f {
					want, got := float32(math.FMA(float64(a), float64(b), float64(c))), fma32(a, b, c)
					require.True(t, sameBits(want, got), "%v·%v + %v", a, b, c)
				} else {
					check(a, b, c)
				}
			}
		}
	}
}

func FuzzFMA(f *testing.F) {
	f.Add(uint32(1), uint32(0x3f800001), uint32(0x00000001))
	f.Fuzz(func(t *testing.T, x, y, z uint32) {
		a, b, c := math.Float32frombits(x), math.Float32frombits(y), math.Float32frombits(z)
		if f := float64(a) * float64(b) * float64(c); !math.IsInf(f, 0) && f == f {
			require.Equal(t, math.Float32bits(exactFMA(a, b, c)), math.Float32bits(fma32(a, b, c)))
		}
	})
}

func BenchmarkFMA(b *testing.B) {
	s := float32(0)
	for b.Loop() {
		s = fma32(s, 0.999, 1.5)
	}
	sink = s
}

var sink float32
