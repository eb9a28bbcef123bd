package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// This file is what the tests of kernels share. The usual test:
//
//	func TestAxpy(t *testing.T) {
//		eachISA(t, func(t *testing.T) {              // generic too: it tests the wrapper
//			for _, n := range lengths(257) {
//				for in := range inputs(t, n, 2) {    // placements × values: misaligned, before and after a guard page, specials
//					y, x := in[0], in[1]
//					want := append([]float32(nil), y...)
//					axpyGo(want, 2, x)
//					Axpy(y, 2, x)
//					requireBits(t, want, y, "n=%d", n)
//				}
//			}
//		})
//	}

// eachISA runs f once for each instruction set that the machine has.
func eachISA(t *testing.T, f func(t *testing.T)) {
	for _, isa := range Available() {
		t.Run(isa.String(), func(t *testing.T) {
			defer ForceISA(isa)()
			f(t)
		})
	}
}

// benchISA runs a benchmark once for each instruction set; n is the number of
// elements per call, for ns/element.
func benchISA(b *testing.B, n int, f func()) {
	for _, isa := range Available() {
		b.Run(isa.String(), func(b *testing.B) {
			defer ForceISA(isa)()
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/element")
		})
	}
}

// lengths returns 0…upto. Each kernel has at most a few unrolled loops, so 257
// reaches every path with and without a tail.
func lengths(upto int) []int {
	ns := make([]int, upto+1)
	for i := range ns {
		ns[i] = i
	}
	return ns
}

// specials are the values where implementations tend to differ.
var specials = func() []float32 {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	vs := []float32{0, 1, 0.5, 2, 1 + 0x1p-23, 3.1415927, 1e-3, 88.5, 104, 1e10, 0x1p-126, 0x1p-127, 0x1p-149, math.MaxFloat32, inf, nan}
	for _, v := range vs {
		vs = append(vs, -v)
	}
	return vs
}()

// random fills a new slice with normal-sized numbers of both signs, about a
// tenth of them zero.
func random(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	x := make([]float32, n)
	for i := range x {
		if r.IntN(10) > 0 {
			x[i] = float32(r.NormFloat64())
		}
	}
	return x
}

// sprinkled is random with a special value in every third place.
func sprinkled(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 8))
	x := random(n, seed)
	for i := range x {
		if r.IntN(3) == 0 {
			x[i] = specials[r.IntN(len(specials))]
		}
	}
	return x
}

// anyBits fills a new slice with any bits.
func anyBits(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 9))
	x := make([]float32, n)
	for i := range x {
		x[i] = math.Float32frombits(r.Uint32())
	}
	return x
}

// inputs yields sets of arrays slices of n elements: normal numbers, specials
// and any bits; at one misalignment after the other; right before and right
// after a page that must not be touched (Linux). The elements around a slice
// are checked to be unchanged.
func inputs(t *testing.T, n, arrays int) func(yield func([][]float32) bool) {
	t.Helper()
	return func(yield func([][]float32) bool) {
		fill := []func(int, uint64) []float32{random, sprinkled, anyBits}
		for variant := range 5 {
			xs := make([][]float32, arrays)
			check := make([]func(t *testing.T), 0, arrays)
			for i := range xs {
				switch variant {
				case 3:
					xs[i] = beforeGuard(t, i, n)
				case 4:
					xs[i] = afterGuard(t, i, n)
				default:
					var c func(t *testing.T)
					xs[i], c = misaligned(n, (n+variant*5+i*3)%16)
					check = append(check, c)
				}
				copy(xs[i], fill[variant%3](n, uint64(1000*n+10*variant+i)))
			}
			if !yield(xs) {
				return
			}
			for _, c := range check {
				c(t)
			}
		}
	}
}

// misaligned returns n elements that begin off elements after a 64-byte
// boundary, and a check that their neighbours have not been written.
func misaligned(n, off int) ([]float32, func(t *testing.T)) {
	const margin = 32
	buf := make([]float32, n+2*margin+32)
	for i := range buf {
		buf[i] = -123.5
	}
	start := margin
	for uintptr(unsafe.Pointer(&buf[start]))%64 != 0 {
		start++
	}
	start += off
	return buf[start : start+n : start+n], func(t *testing.T) {
		t.Helper()
		for i, v := range buf {
			if (i < start || i >= start+n) && v != -123.5 {
				require.Fail(t, "write out of bounds", "element %d of %d", i-start, n)
			}
		}
	}
}

// sameBits compares bits; any NaN equals any NaN.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// requireBits fails the test at the first element whose bits differ.
func requireBits(t *testing.T, want, got []float32, format string, args ...any) {
	t.Helper()
	require.Len(t, got, len(want), format, args)
	for i := range want {
		if !sameBits(want[i], got[i]) {
			require.Fail(t, fmt.Sprintf("element %d is %v (%08x), want %v (%08x)", i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i])), format, args)
		}
	}
}

func clone(x []float32) []float32 { return append([]float32(nil), x...) }
