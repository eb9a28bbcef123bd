package rng

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/kernel"
)

// The philox4x32-10 lines of kat_vectors, published with Random123.
func TestBlockKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     Key
		want    [4]uint32
	}{
		{[4]uint32{}, Key{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			Key{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			Key{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		a := uint64(c.counter[1])<<32 | uint64(c.counter[0])
		b := uint64(c.counter[3])<<32 | uint64(c.counter[2])
		require.Equal(t, c.want, c.key.Block(a, b))
		require.Equal(t, c.want[0], c.key.Uint32(a, b))
		require.Equal(t, uint64(c.want[1])<<32|uint64(c.want[0]), c.key.Uint64(a, b))
	}
}

func TestNewIsSHA256OfSeedAndPurpose(t *testing.T) {
	long := string(make([]byte, 500))
	for _, purpose := range []string{"", "init/w1", long} {
		sum := sha256.Sum256(append([]byte{0x15, 0xcd, 0x5b, 0x07, 0, 0, 0, 0}, purpose...))
		k := New(123456789, purpose)
		require.Equal(t, binary.LittleEndian.Uint64(sum[:8]), uint64(k.hi)<<32|uint64(k.lo))
	}
	require.NotEqual(t, New(1, "a"), New(1, "b"))
	require.NotEqual(t, New(1, "a"), New(2, "a"))
}

// chiSquare returns the statistic of counts against equal expectations as a normal deviate
// (Wilson–Hilferty), so that one bound serves every number of cells.
func chiSquare(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	want := float64(n) / float64(len(counts))
	x := 0.0
	for _, c := range counts {
		d := float64(c) - want
		x += d * d / want
	}
	df := float64(len(counts) - 1)
	return (math.Cbrt(x/df) - (1 - 2/(9*df))) / math.Sqrt(2/(9*df))
}

// The draws are fixed, so these bounds cannot flake; 4 sigma leaves room for an honest generator only.
const sigmas = 4.0

func TestUniformity(t *testing.T) {
	for _, seed := range []uint64{0, 1, 2} {
		k := New(seed, "uniformity")
		perWord := make([][]int, 4)
		for w := range perWord {
			perWord[w] = make([]int, 256)
		}
		low := make([]int, 256)
		pairs := make([]int, 256)
		floats := make([]int, 100)
		for i := range uint64(100_000) {
			blk := k.Block(seed, i)
			for w, x := range blk {
				perWord[w][x>>24]++
				low[x&255]++
			}
			pairs[blk[0]>>28<<4|k.Uint32(seed, i+1)>>28]++ // serial
			floats[int(k.Float32(i, seed)*100)]++
		}
		for _, counts := range append(perWord, low, pairs, floats) {
			require.Less(t, math.Abs(chiSquare(counts)), sigmas)
		}
	}
}

// Every bit of the output turns with probability one half when one bit of counter or key turns.
func TestAvalanche(t *testing.T) {
	const n = 2000
	for bit := range 192 {
		turned := 0
		for i := range uint64(n) {
			k, a, b := New(i, "avalanche"), i, i*i
			before := k.Block(a, b)
			switch bit / 32 {
			case 0, 1:
				a ^= 1 << bit
			case 2, 3:
				b ^= 1 << (bit - 64)
			case 4:
				k.lo ^= 1 << (bit - 128)
			default:
				k.hi ^= 1 << (bit - 160)
			}
			after := k.Block(a, b)
			for w := range before {
				for x := before[w] ^ after[w]; x != 0; x &= x - 1 {
					turned++
				}
			}
		}
		mean, sd := float64(n)*64, math.Sqrt(n*128*0.25)
		require.InDelta(t, mean, float64(turned), 5*sd, "bit %d", bit)
	}
}

// The exact statement behind Intn: for 32-bit words every value is hit by floor(2^32/n) words exactly. Checking
// all 2^32 words takes too long, so the same arithmetic is checked at the borders of every value's range.
func TestScale32IsExactlyUniform(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.Uint64Range(1, 100), rapid.Uint64Range(1, 1<<32), rapid.Uint64Range(1<<32-5, 1<<32)).Draw(t, "n")
		v := rapid.Uint64Range(0, n-1).Draw(t, "v")
		// Words mapped to v by multiply-shift: [ceil(v·2^32/n), ceil((v+1)·2^32/n)).
		first := (v<<32 + n - 1) / n
		end := ((v+1)<<32 + n - 1) / n
		if v+1 == 1<<32 { // the shift above overflows
			end = 1 << 32
		}
		require.Contains(t, []uint64{1 << 32 / n, 1<<32/n + 1}, end-first)
		accepted := end - first
		// The low half grows by n from word to word and starts below n: only the first can be rejected.
		if _, ok := scale32(uint32(first), n); !ok {
			accepted--
		}
		for x := first; x < end && x < first+50; x++ {
			got, ok := scale32(uint32(x), n)
			require.True(t, ok || x == first)
			if ok {
				require.Equal(t, v, got)
			}
		}
		require.Equal(t, uint64(1<<32)/n, accepted)
	})
}

func TestScale64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, n := rapid.Uint64().Draw(t, "x"), rapid.Uint64Range(1, math.MaxInt64).Draw(t, "n")
		if v, ok := scale64(x, n); ok {
			require.Less(t, v, n)
		}
	})
	// n = 3·2^61: 2^64 mod n = 2^62, so exactly the words with a low product below 2^62 go.
	n := uint64(3) << 61
	_, ok := scale64(0, n)
	require.False(t, ok)
	v, ok := scale64(math.MaxUint64, n)
	require.True(t, ok)
	require.Equal(t, n-1, v)
}

func TestIntn(t *testing.T) {
	k := New(7, "intn")
	for _, n := range []int{1, 2, 3, 7, 10, 100, 784} {
		counts := make([]int, n)
		for i := range 200 * n {
			counts[k.Intn(n, uint64(n), uint64(i))]++
		}
		if n > 1 {
			require.Less(t, math.Abs(chiSquare(counts)), sigmas, "n=%d", n)
		}
	}
	// Ranges in which a quarter to a half of all words is rejected, so that later words and blocks are used.
	for _, n := range []int{1<<31 + 1, 3 << 30, 1<<32 - 1, 1 << 32, 1<<32 + 1, 3 << 61, 1<<62 + 1, math.MaxInt64} {
		counts := make([]int, 16)
		for i := range 20_000 {
			v := k.Intn(n, uint64(i), 1)
			require.GreaterOrEqual(t, v, 0)
			require.Less(t, v, n)
			counts[int(float64(v)/float64(n)*16)]++
		}
		require.Less(t, math.Abs(chiSquare(counts)), sigmas, "n=%d", n)
	}
	require.Panics(t, func() { k.Intn(0, 0, 0) })
	require.Panics(t, func() { k.Intn(-1, 0, 0) })
}

func TestPermUniform(t *testing.T) {
	k := New(3, "perm")
	for size, factorial := range map[int]int{1: 1, 2: 2, 3: 6, 4: 24, 5: 120} {
		counts := map[string]int{}
		dst := make([]int32, size)
		for i := range 500 * factorial {
			k.Perm(dst, uint64(i))
			counts[fmt.Sprint(dst)]++
		}
		require.Len(t, counts, factorial)
		if factorial > 1 {
			flat := make([]int, 0, factorial)
			for _, c := range counts {
				flat = append(flat, c)
			}
			slices.Sort(flat) // the sum of squares in a fixed order
			require.Less(t, math.Abs(chiSquare(flat)), sigmas, "size %d", size)
		}
	}
}

func TestPermIsPermutation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := New(rapid.Uint64().Draw(t, "seed"), "perm")
		n := rapid.IntRange(0, 2000).Draw(t, "n")
		dst := make([]int32, n)
		for i := range dst {
			dst[i] = -1 // what was in dst must not matter
		}
		k.Perm(dst, rapid.Uint64().Draw(t, "a"))
		slices.Sort(dst)
		for i, v := range dst {
			require.Equal(t, int32(i), v)
		}
	})
}

// Each position of a large permutation sees each value equally often.
func TestPermMarginals(t *testing.T) {
	const n, draws = 10, 20_000
	k := New(11, "marginals")
	counts := make([][]int, n)
	for i := range counts {
		counts[i] = make([]int, n)
	}
	dst := make([]int32, n)
	for d := range draws {
		k.Perm(dst, uint64(d))
		for i, v := range dst {
			counts[i][v]++
		}
	}
	for i := range counts {
		require.Less(t, math.Abs(chiSquare(counts[i])), sigmas, "position %d", i)
	}
}

func TestFillUniformIsItsDefinition(t *testing.T) {
	k := New(5, "uniform")
	dst := make([]float32, 1003)
	k.FillUniform(dst, -0.25, 0.5, 9)
	for i, v := range dst {
		group, e := i/64, i%64
		u := float32(k.Block(9, uint64(group*16+e%16))[e/16]>>8) / (1 << 24)
		require.Equal(t, -0.25+float32(0.75*u), v)
	}
	k.FillUniform(dst, 2, 2, 9)
	require.Equal(t, slices.Repeat([]float32{2}, len(dst)), dst)
	require.Panics(t, func() { k.FillUniform(dst, 1, 0, 0) })
	require.Panics(t, func() { k.FillUniform(dst, float32(math.NaN()), 0, 0) })
	require.Panics(t, func() { k.FillUniform(dst, -math.MaxFloat32, math.MaxFloat32, 0) })
}

// Where lo + width·u rounds up to hi (a tie or a coarse grid above lo), hi must still be left out.
func TestFillUniformStaysBelowHi(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Float32Range(-1e6, 1e6).Draw(t, "lo")
		hi := lo
		for range rapid.IntRange(1, 5).Draw(t, "ulps") {
			hi = math.Nextafter32(hi, math.MaxFloat32)
		}
		dst := make([]float32, 64)
		New(rapid.Uint64().Draw(t, "seed"), "u").FillUniform(dst, lo, hi, 0)
		for _, v := range dst {
			require.True(t, v >= lo && v < hi, "%v not in [%v, %v)", v, lo, hi)
		}
	})
}

func TestFillPrefixStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := New(rapid.Uint64().Draw(t, "seed"), "prefix")
		a := rapid.Uint64().Draw(t, "a")
		n := rapid.IntRange(0, 300).Draw(t, "n")
		m := rapid.IntRange(0, n).Draw(t, "m")
		from := rapid.IntRange(0, m/Group).Draw(t, "from") * Group
		long, short := make([]float32, n), make([]float32, m-from)
		k.FillNormal(long, a)
		k.FillNormalAt(short, a, from)
		require.Equal(t, long[from:m], short)
		k.FillUniform(long, -1, 1, a)
		k.FillUniformAt(short, -1, 1, a, from)
		require.Equal(t, long[from:m], short)
	})
	require.Panics(t, func() { Key{}.FillNormalAt(nil, 0, 1) })
	require.Panics(t, func() { Key{}.FillNormalAt(nil, 0, -Group) })
	require.Panics(t, func() { Key{}.FillUniformAt(nil, 0, 1, 0, 32) })
}

// What is drawn is part of the numerics version.
func TestFillsAreTheSameBitsEverywhere(t *testing.T) {
	x := make([]float32, 10_007)
	for _, isa := range kernel.Available() {
		restore := kernel.ForceISA(isa)
		New(1, "golden").FillNormal(x, 2)
		require.Equal(t, uint32(0x37c94c8f), checksum(x), "normal on %s", isa)
		New(1, "golden").FillUniform(x, -1, 2, 2)
		require.Equal(t, uint32(0xa59e772b), checksum(x), "uniform on %s", isa)
		restore()
	}
}

func checksum(x []float32) uint32 {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return crc32.ChecksumIEEE(b)
}

var lags = [...]int{1, 2, 15, 16, 32, 48, 64}

func TestNormalDistribution(t *testing.T) {
	const n = 200_000
	for _, seed := range []uint64{1, 2, 3} {
		x := make([]float32, n)
		New(seed, "normal").FillNormal(x, seed)
		var m1, m2, m3, m4 float64
		var lag [len(lags)]float64 // of neighbours, of a pair's cosine and sine, of the pairs of a block
		for i, v := range x {
			f := float64(v)
			m1 += f
			m2 += f * f
			m3 += f * f * f
			m4 += f * f * f * f
			for j, l := range lags {
				if i >= l {
					lag[j] += f * float64(x[i-l])
				}
			}
		}
		// Moments 0, 1, 0, 3; the variances of x, x², x³, x⁴ are 1, 2, 15 and 96.
		require.InDelta(t, 0, m1/n, sigmas*math.Sqrt(1.0/n))
		require.InDelta(t, 1, m2/n, sigmas*math.Sqrt(2.0/n))
		require.InDelta(t, 0, m3/n, sigmas*math.Sqrt(15.0/n))
		require.InDelta(t, 3, m4/n, sigmas*math.Sqrt(96.0/n))
		for j, l := range lags {
			require.InDelta(t, 0, lag[j]/n, sigmas*math.Sqrt(1.0/n), "correlation with the element %d before", l)
		}

		// The tails: how many lie beyond 3 and 4 standard deviations.
		for _, bound := range []float32{2, 3, 4} {
			p := math.Erfc(float64(bound) / math.Sqrt2)
			var above, below float64
			for _, v := range x {
				if v > bound {
					above++
				} else if v < -bound {
					below++
				}
			}
			require.InDelta(t, n*p/2, above, sigmas*math.Sqrt(n*p/2), "above %v", bound)
			require.InDelta(t, n*p/2, below, sigmas*math.Sqrt(n*p/2), "below −%v", bound)
		}

		// Kolmogorov–Smirnov against Φ(x) = erfc(-x/√2)/2; 1.95/√n is the 0.1 % point.
		slices.Sort(x)
		worst := 0.0
		for i, v := range x {
			cdf := math.Erfc(-float64(v)/math.Sqrt2) / 2
			worst = max(worst, math.Abs(cdf-float64(i)/n), math.Abs(cdf-float64(i+1)/n))
		}
		require.Less(t, worst, 1.95/math.Sqrt(n))
	}
}

func TestNothingAllocates(t *testing.T) {
	k := New(1, "alloc")
	f, p := make([]float32, 1001), make([]int32, 1001)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		k = New(uint64(k.lo), "some/purpose")
		k.FillNormal(f, 1)
		k.FillUniform(f, 0, 1, 2)
		k.FillNormalAt(f, 1, 64)
		k.Perm(p, 3)
		p[0] = int32(k.Intn(10, 4, 5))
	}))
}

func BenchmarkBlock(b *testing.B) {
	k := New(1, "bench")
	var x uint32
	for i := range b.N {
		x ^= k.Block(0, uint64(i))[0]
	}
	if x == 1 {
		b.Log(x)
	}
}

func BenchmarkFillUniform784(b *testing.B) {
	benchFill(b, func(k Key, d []float32) { k.FillUniform(d, -1, 1, 0) })
}
func BenchmarkFillNormal784(b *testing.B) {
	benchFill(b, func(k Key, d []float32) { k.FillNormal(d, 0) })
}

func BenchmarkPerm784(b *testing.B) {
	k, p := New(1, "bench"), make([]int32, 784)
	for i := range b.N {
		k.Perm(p, uint64(i))
	}
}

func benchFill(b *testing.B, fill func(Key, []float32)) {
	k, d := New(1, "bench"), make([]float32, 784)
	b.SetBytes(784 * 4)
	for range b.N {
		fill(k, d)
	}
}
