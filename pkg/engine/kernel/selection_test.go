package kernel

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sorted returns the indices of x by ascending elements, NaN last, equals by
// index.
func sorted[T float](x []T, descending bool) []int32 {
	order := make([]int32, len(x))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(i, j int32) int {
		a, b := x[i], x[j]
		c := cmp.Compare(a, b)
		if a != a || b != b {
			c = -c // NaN is the smallest to package cmp
		}
		if descending {
			return -c
		}
		return c
	})
	return order
}

func checkSelections[T float](t *testing.T, x []T) {
	t.Helper()
	up, down := sorted(x, false), sorted(x, true)
	part := make([]int32, len(x))
	for k := range len(x) + 1 {
		got := make([]int32, k)
		BottomK(got, x)
		require.Equal(t, up[:k], got, "%d smallest of %v", k, x)
		TopK(got, x)
		require.Equal(t, down[:k], got, "%d largest of %v", k, x)
		ArgPartition(part, x, k)
		first, rest := slices.Clone(up[:k]), slices.Clone(up[k:])
		slices.Sort(first)
		slices.Sort(rest)
		require.Equal(t, append(first, rest...), part, "%d of %v", k, x)
	}
}

func TestSelections(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for n := range 40 {
		for _, values := range []int{1, 3, 1000} { // many equals, or hardly any
			x32, x64 := make([]float32, n), make([]float64, n)
			for i := range n {
				x32[i], x64[i] = float32(r.IntN(values))-1, float64(r.IntN(values))-1
				switch r.IntN(20) {
				case 0:
					x32[i], x64[i] = float32(math.NaN()), math.NaN()
				case 1:
					x32[i], x64[i] = float32(math.Copysign(0, -1)), math.Copysign(0, -1)
				case 2:
					x32[i], x64[i] = float32(math.Inf(-1)), math.Inf(1)
				}
			}
			checkSelections(t, x32)
			checkSelections(t, x64)
			if n > 0 {
				var top [1]int32
				TopK(top[:], x32)
				require.Equal(t, ArgMax(x32), int(top[0]))
			}
		}
	}
	x := []float64{1, 2}
	require.Panics(t, func() { TopK(make([]int32, 3), x) })
	require.Panics(t, func() { ArgPartition(make([]int32, 3), x, 1) })
	require.Panics(t, func() { ArgPartition(make([]int32, 2), x, 3) })
	indices := make([]int32, 2)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		TopK(indices, x)
		ArgPartition(indices, x, 1)
	}))
}

func FuzzSelections(f *testing.F) {
	f.Add([]byte{1, 2, 3, 3, 2, 1, 255, 0, 128})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := make([]float32, min(len(b), 100))
		for i := range x {
			x[i] = float32(int8(b[i]))
			if b[i] == 128 {
				x[i] = float32(math.NaN())
			}
		}
		checkSelections(t, x)
	})
}

func TestGatherAndScatterAddRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	eachISA(t, func(t *testing.T) {
		for _, cols := range []int{1, 2, 7, 16, 33, 100} {
			for in := range inputs(t, 12*cols, 2) {
				dst, src := in[0][:9*cols], in[1]
				indices := make([]int32, 9)
				for i := range indices {
					indices[i] = int32(r.IntN(12))
				}
				GatherRows(dst, src, indices, cols)
				for i, j := range indices {
					requireBits(t, src[int(j)*cols:][:cols], dst[i*cols:][:cols], "row %d", i)
				}
				want := clone(src)
				for i, j := range indices {
					for c := range cols {
						want[int(j)*cols+c] += dst[i*cols+c]
					}
				}
				ScatterAddRows(src, dst, indices, cols)
				requireBits(t, want, src, "cols=%d", cols)
			}
		}
	})
	x, y := make([]float32, 12), make([]float32, 12)
	for _, bad := range []int32{-1, 3} {
		require.Panics(t, func() { GatherRows(y[:3:3], x[:9], []int32{bad}, 3) })
		require.Panics(t, func() { ScatterAddRows(y[:9], x, []int32{bad}, 3) })
	}
	require.Panics(t, func() { GatherRows(y[:3:3], x, []int32{0, 1}, 3) })
}

func BenchmarkTopK(b *testing.B) {
	x := random(2000, 1)
	indices := make([]int32, 20)
	for b.Loop() {
		TopK(indices, x)
	}
}
