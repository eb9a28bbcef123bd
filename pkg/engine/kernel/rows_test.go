package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// softmaxSpec returns the softmax of a row, its logarithm and the cross
// entropies of all labels, from the definition.
func softmaxSpec(x []float32) (p, logs, losses []float32) {
	var t [lanes]float32
	p, logs, losses = make([]float32, len(x)), make([]float32, len(x)), make([]float32, len(x))
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = maxOf(m, v)
	}
	for i, v := range x {
		p[i] = exp(v - (m + 0))
		t[i%lanes] += p[i]
	}
	sum := fold(&t)
	for i, v := range x {
		p[i] /= sum
		logs[i] = v - (m + 0) - log(sum)
		losses[i] = log(sum) - (v - (m + 0))
	}
	return p, logs, losses
}

func TestSoftmaxRows(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for cols := 1; cols < 330; cols = cols*33/32 + 1 {
		rows := 1 + 70/cols
		if cols == 10 {
			rows = rowStretch + 3
		}
		labels := make([]int32, rows)
		for i := range labels {
			labels[i] = int32(r.IntN(cols))
		}
		eachISA(t, func(t *testing.T) {
			for in := range inputs(t, rows*cols, 2) {
				y, x := in[0], in[1]
				// By rows: ordinary; one large element; all equal; infinities, NaN and zeros of both signs.
				for i := range rows {
					switch row := x[i*cols : (i+1)*cols]; i % 5 {
					case 1:
						row[r.IntN(cols)] = 300
					case 2:
						fill(row, -1.5)
					case 3:
						fill(row, 0)
						row[r.IntN(cols)] = float32(math.Copysign(0, -1))
					case 4:
						row[r.IntN(cols)] = specials[r.IntN(len(specials))]
					}
				}
				var p, logs, losses []float32
				for i := range rows {
					rp, rlogs, rlosses := softmaxSpec(x[i*cols : (i+1)*cols])
					p, logs, losses = append(p, rp...), append(logs, rlogs...), append(losses, rlosses[labels[i]])
				}
				got, check := misaligned(rows, rows%16)
				SoftmaxRows(y, x, rows, cols)
				requireBits(t, p, y, "softmax of %d", cols)
				LogSoftmaxRows(y, x, rows, cols)
				requireBits(t, logs, y, "log-softmax of %d", cols)
				CrossEntropyRows(got, x, labels, rows, cols)
				requireBits(t, losses, got, "cross entropy of %d", cols)
				require.True(t, sameBits(losses[0], CrossEntropy(x[:cols], int(labels[0]))))
				clear(y)
				clear(got)
				SoftmaxCrossEntropyRows(y, got, x, labels, rows, cols)
				requireBits(t, p, y, "both of %d", cols)
				requireBits(t, losses, got, "both of %d", cols)
				clear(got)
				SoftmaxCrossEntropyRows(x, got, x, labels, rows, cols)
				requireBits(t, p, x, "in place of %d", cols)
				requireBits(t, losses, got, "in place of %d", cols)
				check(t)
			}
		})
	}
	x, y := make([]float32, 40), make([]float32, 4)
	eachISA(t, func(t *testing.T) {
		SoftmaxRows(nil, nil, 0, 10)
		LogSoftmaxRows(nil, nil, 3, 0)
		CrossEntropyRows(nil, nil, nil, 0, 10)
		for _, l := range []int32{-1, 10} {
			require.Panics(t, func() { CrossEntropyRows(y, x, []int32{0, 0, 0, l}, 4, 10) })
		}
		require.Panics(t, func() { CrossEntropyRows(y[:3:3], x, []int32{0, 0, 0, 0}, 4, 10) })
		require.Panics(t, func() { CrossEntropyRows(y, x, []int32{0, 0, 0}, 4, 10) })
		require.Panics(t, func() { SoftmaxRows(y, x, 4, 10) })
		require.Panics(t, func() { SoftmaxRows(x, x, 4, 11) })
	})
}

func TestSoftmaxAccuracy(t *testing.T) {
	for _, cols := range []int{2, 10, 100} {
		x, p := random(1000*cols, uint64(cols)), make([]float32, 1000*cols)
		for i := range x {
			x[i] *= 5
		}
		losses, labels := make([]float32, 1000), make([]int32, 1000)
		SoftmaxCrossEntropyRows(p, losses, x, labels, 1000, cols)
		for i := range losses {
			row := x[i*cols : (i+1)*cols]
			var z float64
			for _, v := range row {
				z += math.Exp(float64(v) - float64(row[0]))
			}
			require.InDelta(t, math.Log(z), losses[i], 1e-6*(1+math.Log(z)))
			for j, v := range row {
				want := math.Exp(float64(v)-float64(row[0])) / z
				require.InEpsilon(t, want, p[i*cols+j], 3e-6)
			}
		}
	}
}

func TestRowMaxAndArgMax(t *testing.T) {
	negativeZero := float32(math.Copysign(0, -1))
	eachISA(t, func(t *testing.T) {
		for _, n := range lengths(257)[1:] {
			for in := range inputs(t, n, 1) {
				x := in[0]
				want, at := x[0], 0
				for i, v := range x {
					if v > want || v != v && want == want {
						want, at = v, i
					}
				}
				require.True(t, sameBits(want+0, RowMax(x)), "max of %v is not %v", x, RowMax(x))
				require.Equal(t, at, ArgMax(x), "%v", x)
			}
			x := make([]float32, n)
			fill(x, negativeZero)
			require.Equal(t, uint32(0), math.Float32bits(RowMax(x)))
			fill(x, -3)
			x[n-1] = -2
			require.Equal(t, float32(-2), RowMax(x))
			require.Equal(t, n-1, ArgMax(x))
			fill(x, float32(math.Inf(-1)))
			require.Equal(t, float32(math.Inf(-1)), RowMax(x))
		}
		long := random(stretch*2+5, 1)
		long[stretch*2+2] = 100
		require.Equal(t, stretch*2+2, ArgMax(long))
		long[5] = float32(math.NaN())
		require.Equal(t, 5, ArgMax(long))
	})
	require.Panics(t, func() { RowMax(nil) })
	require.Panics(t, func() { ArgMax(nil) })
}

func TestMomentsRows(t *testing.T) {
	for _, cols := range lengths(257)[1:] {
		const rows = 3
		eachISA(t, func(t *testing.T) {
			for in := range inputs(t, rows*cols, 2) {
				y, x := in[0], in[1]
				mean, variance, scale := make([]float32, rows), make([]float32, rows), make([]float32, rows)
				MomentsRows(mean, variance, x, rows, cols)
				want := make([]float32, rows*cols)
				for i := range rows {
					row := x[i*cols : (i+1)*cols]
					var s, t2 [lanes]float32
					for j, v := range row {
						s[j%lanes] += v
					}
					m := fold(&s) / float32(cols)
					for j, v := range row {
						t2[j%lanes] = fma32(v-m, v-m, t2[j%lanes])
					}
					v := fold(&t2) / float32(cols)
					requireBits(t, []float32{m, v}, []float32{mean[i], variance[i]}, "cols=%d", cols)
					for j := range row {
						want[i*cols+j] = (row[j] - m) * (1 / float32(math.Sqrt(float64(v+1e-5))))
					}
				}
				LayerNormRows(y, mean, scale, x, rows, cols, 1e-5)
				requireBits(t, want, y, "cols=%d", cols)
				LayerNormRows(x, mean, scale, x, rows, cols, 1e-5)
				requireBits(t, want, x, "cols=%d", cols)
			}
		})
	}
}

func TestRowsAllocateNothing(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, cols := range []int{10, 100, 1000} {
			x, y, z := random(3*cols, 1), make([]float32, 3*cols), make([]float32, 3)
			labels := make([]int32, 3)
			require.Zero(t, testing.AllocsPerRun(10, func() {
				SoftmaxRows(y, x, 3, cols)
				LogSoftmaxRows(y, x, 3, cols)
				CrossEntropyRows(z, x, labels, 3, cols)
				CrossEntropy(x, 2)
				LayerNormRows(y, z, z, x, 3, cols, 1e-5)
				ArgMax(x)
			}))
		}
	})
}

func BenchmarkRows(b *testing.B) {
	for _, d := range [][2]int{{1, 10}, {32, 10}, {32, 100}, {1, 1000}} {
		rows, cols := d[0], d[1]
		x, y, losses, labels := random(rows*cols, 1), make([]float32, rows*cols), make([]float32, rows), make([]int32, rows)
		name := fmt.Sprintf("%dx%d", rows, cols)
		b.Run("softmax/"+name, func(b *testing.B) { benchISA(b, rows, func() { SoftmaxRows(y, x, rows, cols) }) })
		b.Run("cross-entropy/"+name, func(b *testing.B) { benchISA(b, rows, func() { CrossEntropyRows(losses, x, labels, rows, cols) }) })
		b.Run("both/"+name, func(b *testing.B) {
			benchISA(b, rows, func() { SoftmaxCrossEntropyRows(y, losses, x, labels, rows, cols) })
		})
		b.Run("layer-norm/"+name, func(b *testing.B) {
			benchISA(b, rows, func() { LayerNormRows(y, losses, losses, x, rows, cols, 1e-5) })
		})
		b.Run("max/"+name, func(b *testing.B) { benchISA(b, rows, func() { ArgMax(x[:cols]) }) })
	}
}
