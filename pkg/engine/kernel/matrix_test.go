package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// placed copies x to where reading or writing past it is noticed, before a
// forbidden page, if it is small enough. Arrays in the same slot overwrite each
// other.
func placed(t *testing.T, slot int, x []float32) []float32 {
	t.Helper()
	if len(x) > 1<<14 {
		return clone(x)
	}
	y := beforeGuard(t, slot, len(x))
	copy(y, x)
	return y
}

func TestReductionsOnEveryISA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, n := range lengths(257) {
			for in := range inputs(t, n, 2) {
				x, y := in[0], in[1]
				requireBits(t, []float32{dotGeneric(x, y), sumGeneric(x), dotGeneric(x, x), sumAbsGeneric(x)},
					[]float32{Dot(x, y), Sum(x), SumSquares(x), SumAbs(x)}, "n=%d", n)
				want := clone(y)
				axpyGeneric(want, 0.3, x)
				Axpy(y, 0.3, x)
				requireBits(t, want, y, "axpy n=%d", n)
				scaleGeneric(want, -0.7, x)
				Scale(y, -0.7, x)
				requireBits(t, want, y, "scale n=%d", n)
				Scale(x, -0.7, x)
				requireBits(t, want, x, "scale in place n=%d", n)
			}
		}
	})
}

func TestReductionsOfLongArraysOnEveryISA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for i, n := range []int{stretch, stretch + 1, stretch + 63, stretch + 64, stretch + 65, 2 * stretch, 3*stretch + 130} {
			x, y := sprinkled(n, uint64(i)), random(n, uint64(i+10))
			if i%2 == 0 {
				x = random(n, uint64(i))
			}
			requireBits(t, []float32{dotGeneric(x, y), sumGeneric(x), sumAbsGeneric(x)}, []float32{Dot(x, y), Sum(x), SumAbs(x)}, "n=%d", n)
			in := []float32{2, 0, -3}
			w := random(3*n, 5)
			dx, want := make([]float32, 3), make([]float32, 3)
			gemvTGeneric(want, w, x)
			GemvT(dx, w, x)
			requireBits(t, want, dx, "gemvT of rows of %d", n)
			want = make([]float32, 3*n)
			outerGeneric(want, in, x)
			Outer(w, in, x)
			requireBits(t, want, w, "outer of rows of %d", n)
		}
	})
}

func TestReductionsAreCloseToTheSum(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		x, y := random(3*stretch/2, 1), random(3*stretch/2, 2)
		var sum, dot, abs float64
		for i, v := range x {
			sum += float64(v)
			dot += float64(v) * float64(y[i])
			abs += math.Abs(float64(v))
		}
		require.InDelta(t, sum, Sum(x), 1e-2)
		require.InDelta(t, dot, Dot(x, y), 1e-2)
		require.InDelta(t, abs, SumAbs(x), 1)
		require.Equal(t, uint32(0), math.Float32bits(Dot([]float32{-0x1p-149}, []float32{0x1p-149})), "no −0, even by underflow")
		z := clone(y)
		Axpy(z, 2, x)
		Scale(x, 2, x)
		for i := range z {
			require.Equal(t, x[i]+y[i], z[i])
		}
	})
}

// batch1Shapes are inputs × outputs that reach every path: all widths of the
// register tiles, their tails and more than one of them, few and many rows.
func batch1Shapes() [][2]int {
	var s [][2]int
	for m := range 70 {
		s = append(s, [2]int{5, m}, [2]int{m, 3})
	}
	for m := 70; m < 270; m += 3 {
		s = append(s, [2]int{3, m})
	}
	return append(s, [2]int{20, 5}, [2]int{64, 100}, [2]int{65, 17}, [2]int{200, 33}, [2]int{129, 600}, [2]int{1100, 70}, [2]int{0, 10}, [2]int{0, 300}, [2]int{0, 0})
}

// sparse zeroes about half of x, whole stretches too.
func sparse(x []float32, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 10))
	for i := range x {
		if r.IntN(2) == 0 || i/70%3 == 1 {
			x[i] = float32(math.Copysign(0, float64(x[i])))
		}
	}
	return x
}

func TestBatch1OnEveryISA(t *testing.T) {
	fills := []func(int, uint64) []float32{random, sprinkled, anyBits}
	eachISA(t, func(t *testing.T) {
		for s, shape := range batch1Shapes() {
			n, m := shape[0], shape[1]
			for variant, fill := range fills {
				name := fmt.Sprintf("%d×%d variant %d", n, m, variant)
				seed := uint64(100*s + variant)
				x, w, dy := placed(t, 0, fill(n, seed)), placed(t, 1, fill(n*m, seed+1)), placed(t, 2, fill(m, seed+2))
				if variant > 0 {
					sparse(x, seed)
				}
				y, want := placed(t, 3, random(m, 3)), make([]float32, m)
				gemvGeneric(want, x, w)
				Gemv(y, x, w)
				requireBits(t, want, y, "gemv %s", name)

				dx, want := placed(t, 3, random(n, 3)), make([]float32, n)
				gemvTGeneric(want, w, dy)
				GemvT(dx, w, dy)
				requireBits(t, want, dx, "gemvT %s", name)

				dst, want := placed(t, 3, random(n*m, 3)), make([]float32, n*m)
				outerGeneric(want, x, dy)
				Outer(dst, x, dy)
				requireBits(t, want, dst, "outer %s", name)

				sums, want := placed(t, 3, random(m, 3)), make([]float32, m)
				colSumGeneric(want, w, n, m)
				ColSum(sums, w, n, m)
				requireBits(t, want, sums, "colSum %s", name)

				stride := m + n%3
				apart := random(n*stride+m, 6)
				sums, want = placed(t, 3, random(m, 3)), random(m, 3)
				for c := 0; c < n; {
					if n-c >= 4 {
						for j := range want {
							x := func(k int) float64 { return math.Abs(float64(apart[(c+k)*stride+j])) }
							want[j] += (float32(x(0)) + float32(x(1))) + (float32(x(2)) + float32(x(3)))
						}
						c += 4
						continue
					}
					for j := range want {
						want[j] += float32(math.Abs(float64(apart[c*stride+j])))
					}
					c++
				}
				AddColSumsAbs(sums, apart, n, stride)
				requireBits(t, want, sums, "sizes %s", name)

				for _, gated := range []bool{false, true} {
					for _, wanted := range []bool{false, true} {
						wantW, wantDx := clone(w), make([]float32, n)
						gotW, gotDx := placed(t, 3, w), placed(t, 4, random(n, 5))
						if !wanted {
							wantDx, gotDx = nil, nil
						}
						backwardSGDGeneric(wantDx, wantW, x, dy, 0.01, gated)
						BackwardSGD(gotDx, gotW, x, dy, 0.01, gated)
						requireBits(t, wantW, gotW, "backward w %s", name)
						requireBits(t, wantDx, gotDx, "backward dx %s", name)
					}
				}
			}
		}
	})
}

func TestBatch1MisalignedStaysInside(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for off := range 16 {
			n, m := 37, 41+off
			y, checkY := misaligned(m, off)
			w, checkW := misaligned(n*m, 15-off)
			dx, checkX := misaligned(n, off)
			copy(w, random(n*m, 1))
			x, dy := random(n, 2), random(m, 3)
			want := make([]float32, m)
			gemvGeneric(want, x, w)
			Gemv(y, x, w)
			requireBits(t, want, y, "gemv")
			wantDx, wantW := make([]float32, n), clone(w)
			backwardSGDGeneric(wantDx, wantW, x, dy, 0.1, true)
			BackwardSGD(dx, w, x, dy, 0.1, true)
			requireBits(t, wantDx, dx, "dx")
			requireBits(t, wantW, w, "w")
			Outer(w, x, dy)
			outerGeneric(wantW, x, dy)
			requireBits(t, wantW, w, "outer")
			checkY(t)
			checkW(t)
			checkX(t)
		}
	})
}

func TestBackwardSGDReadsNoRowOfAnInactiveInput(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		nan := float32(math.NaN())
		w := []float32{nan, nan, 1, 2}
		dx := []float32{9, 9}
		BackwardSGD(dx, w, []float32{0, 1}, []float32{1, 1}, 0.5, true)
		require.Equal(t, []float32{0, 3}, dx)
		require.Equal(t, []float32{0.5, 1.5}, w[2:])
		require.True(t, w[0] != w[0], "the row is as it was")
	})
}

func TestRowsAndShapes(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6}
	y := make([]float32, 6)
	AddRow(y, x, []float32{10, 20, 30}, 2)
	require.Equal(t, []float32{11, 22, 33, 14, 25, 36}, y)
	RowSums(y[:2], x, 2, 3)
	require.Equal(t, []float32{6, 15}, y[:2])
	ColSum(y[:3], x, 2, 3)
	require.Equal(t, []float32{5, 7, 9}, y[:3])
	ColSum(y[:2], nil, 0, 2)
	require.Equal(t, []float32{0, 0}, y[:2])
	require.Panics(t, func() { Gemv(y[:2], x[:2], x[:3:3]) })
	require.Panics(t, func() { BackwardSGD(nil, x[:3:3], x[:2], x[:2], 1, false) })
	require.Panics(t, func() { Dot(x, y[:2:2]) })
	require.Panics(t, func() { Outer(y[:3:3], x[:2], x[:2]) })
}

// pixels are n inputs of which about 19 % are not zero.
func pixels(n int) []float32 {
	r := rand.New(rand.NewPCG(1, 11))
	x := make([]float32, n)
	for i := range x {
		if r.IntN(100) < 19 {
			x[i] = r.Float32()
		}
	}
	return x
}

func positive(x []float32) []float32 {
	for i, v := range x {
		x[i] = max(v, 0)
	}
	return x
}

func BenchmarkBatch1(b *testing.B) {
	for _, d := range []struct {
		name string
		x    []float32
		m    int
	}{
		{"pixels784x100", pixels(784), 100}, {"dense784x100", slices.Repeat([]float32{1}, 784), 100},
		{"relu100x100", positive(random(100, 1)), 100}, {"relu100x10", positive(random(100, 1)), 10},
		{"dense20x5", slices.Repeat([]float32{1}, 20), 5}, {"dense5x1", slices.Repeat([]float32{1}, 5), 1},
		{"pixels784x1000", pixels(784), 1000}, {"relu1000x1000", positive(random(1000, 1)), 1000},
		{"pixels784x2000", pixels(784), 2000}, {"relu2000x2000", positive(random(2000, 1)), 2000},
	} {
		n := len(d.x)
		w, y, dy, dx := random(n*d.m, 1), make([]float32, d.m), random(d.m, 2), make([]float32, n)
		g := make([]float32, n*d.m)
		for name, f := range map[string]func(){
			"gemv":     func() { Gemv(y, d.x, w) },
			"gemvT":    func() { GemvT(dx, w, dy) },
			"outer":    func() { Outer(g, d.x, dy) },
			"backward": func() { BackwardSGD(dx, w, d.x, dy, 0, true) },
			"update":   func() { BackwardSGD(nil, w, d.x, dy, 0, true) },
		} {
			b.Run(name+"/"+d.name, func(b *testing.B) {
				for _, isa := range Available()[1:] {
					b.Run(isa.String(), func(b *testing.B) {
						defer ForceISA(isa)()
						b.ReportAllocs()
						b.SetBytes(int64(4 * len(w)))
						for b.Loop() {
							f()
						}
					})
				}
			})
		}
	}
}

func TestLanesAreSingleCalls(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, d := range [][3]int{{0, 2, 3}, {1, 20, 5}, {7, 20, 5}, {64, 5, 1}, {5, 9, 4}, {4, 8, 8}, {6, 17, 16}, {3, 70, 300}, {9, 1000, 15}, {2, 0, 3}, {2, 3, 0}} {
			lanes, n, m := d[0], d[1], d[2]
			slot := 0
			last := func(x []float32) []float32 { // in front of a page that must not be touched, where it fits
				if slot++; len(x) > 16*1024 {
					return x
				}
				at := beforeGuard(t, slot-1, len(x))
				copy(at, x)
				return at
			}
			x, w, dy := last(random(lanes*n, 1)), last(random(lanes*n*m, 2)), last(random(lanes*m, 3))
			lr := last(random(max(1, lanes), 4))
			for i := range x { // some of them zeros of either sign
				if i%5 == 1 {
					x[i] = float32(math.Copysign(0, float64(i%2)-.5))
				}
			}
			y, dx := last(make([]float32, lanes*m)), last(make([]float32, lanes*n))
			wantY, wantDx := clone(y), clone(dx)
			GemvLanes(y, x, w, lanes, n, m)
			for l := range lanes {
				gemvGeneric(wantY[l*m:(l+1)*m], x[l*n:(l+1)*n], w[l*n*m:(l+1)*n*m])
			}
			requireBits(t, wantY, y, "gemv %v", d)
			wantW := clone(w)
			for l := range lanes {
				backwardSGDGeneric(wantDx[l*n:(l+1)*n], wantW[l*n*m:(l+1)*n*m], x[l*n:(l+1)*n], dy[l*m:(l+1)*m], lr[l], true)
				backwardSGDGeneric(nil, wantW[l*n*m:(l+1)*n*m], x[l*n:(l+1)*n], dy[l*m:(l+1)*m], lr[0], false)
			}
			BackwardSGDLanes(dx, w, x, dy, lr, true, lanes, n, m)
			BackwardSGDLanes(nil, w, x, dy, lr[:1], false, lanes, n, m)
			requireBits(t, wantW, w, "backward w %v", d)
			requireBits(t, wantDx, dx, "backward dx %v", d)
		}
	})
}

// FuzzBatch1 compares every instruction set with the specification on matrices
// of any shape and any bits.
func FuzzBatch1(f *testing.F) {
	f.Add(uint64(1), uint16(20), uint16(5), byte(0))
	f.Add(uint64(2), uint16(100), uint16(100), byte(1))
	f.Add(uint64(3), uint16(65), uint16(257), byte(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows, cols uint16, kind byte) {
		n, m := int(rows)%300, int(cols)%300
		fill := []func(int, uint64) []float32{random, sprinkled, anyBits}[kind%3]
		x, w, dy := sparse(fill(n, seed), seed), fill(n*m, seed+1), fill(m, seed+2)
		wantY, wantDx, wantW := make([]float32, m), make([]float32, n), clone(w)
		gemvGeneric(wantY, x, w)
		backwardSGDGeneric(wantDx, wantW, x, dy, 0.01, kind > 127)
		dot := dotGeneric(w, w)
		for _, isa := range Available()[1:] {
			restore := ForceISA(isa)
			y, dx, got := make([]float32, m), make([]float32, n), clone(w)
			Gemv(y, x, w)
			BackwardSGD(dx, got, x, dy, 0.01, kind > 127)
			d := SumSquares(w)
			restore()
			requireBits(t, wantY, y, "gemv on %s", isa)
			requireBits(t, wantDx, dx, "dx on %s", isa)
			requireBits(t, wantW, got, "w on %s", isa)
			requireBits(t, []float32{dot}, []float32{d}, "dot on %s", isa)
		}
	})
}
