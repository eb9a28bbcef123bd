package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// noise fills a slice with small numbers that are exact in float32, a third of
// them zero, so that products and short sums are exact and any order of
// summation gives the same bits.
func noise(n, seed int) []float32 {
	x := make([]float32, n)
	s := uint32(seed)*2654435761 + 1
	for i := range x {
		s = s*1664525 + 1013904223
		if s>>16%3 > 0 {
			x[i] = float32(int32(s)>>27) / 8
		}
	}
	return x
}

func TestProductsAgainstTheirDefinition(t *testing.T) {
	for _, d := range [][3]int{{1, 1, 1}, {1, 7, 5}, {3, 4, 5}, {8, 16, 9}, {5, 1, 33}, {2, 33, 1}} {
		m, n, k := d[0], d[1], d[2]
		t.Run(fmt.Sprint(m, n, k), func(t *testing.T) {
			a, b := noise(m*k, 1), noise(k*n, 2)
			at, bt := transposed(a, m, k), transposed(b, k, n)
			want := make([]float32, m*n)
			for i := range m {
				for j := range n {
					var s float64
					for p := range k {
						s += float64(a[i*k+p]) * float64(b[p*n+j])
					}
					want[i*n+j] = float32(s)
				}
			}
			dirty := func() []float32 { return noise(m*n, 3) }
			c := dirty()
			product(NN, c, a, b, m, n, k)
			require.Equal(t, want, c)
			c = dirty()
			product(NT, c, a, bt, m, n, k)
			require.Equal(t, want, c)
			c = dirty()
			product(TN, c, at, b, m, n, k)
			require.Equal(t, want, c)
			c = dirty()
			product(TT, c, at, bt, m, n, k)
			require.Equal(t, want, c)
			if m == 1 {
				c = dirty()
				Gemv(c, a, b)
				require.Equal(t, want, c)
			}
		})
	}
}

func transposed(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

func TestGemvSkipsZeroInputs(t *testing.T) {
	y := []float32{9, 9}
	Gemv(y, []float32{0, 2}, []float32{float32(math.NaN()), float32(math.Inf(1)), 3, 4})
	require.Equal(t, []float32{6, 8}, y)
}

func TestReductions(t *testing.T) {
	for n := range 70 {
		x, y := noise(n, 4), noise(n, 5)
		var sum, dot float64
		for i := range x {
			sum += float64(x[i])
			dot += float64(x[i]) * float64(y[i])
		}
		require.Equal(t, float32(sum), Sum(x), "n=%d", n)
		require.Equal(t, float32(dot), Dot(x, y), "n=%d", n)
		z := append([]float32(nil), y...)
		Axpy(z, 0.5, x)
		for i := range z {
			require.Equal(t, y[i]+0.5*x[i], z[i])
		}
	}
}

func TestBinaryOperandForms(t *testing.T) {
	a, b := noise(9, 6), noise(9, 7)
	for i := range b {
		b[i] += 10 // no division by zero
	}
	f := map[BinaryOp]func(a, b float32) float32{
		Add: func(a, b float32) float32 { return a + b }, Sub: func(a, b float32) float32 { return a - b },
		Mul: func(a, b float32) float32 { return a * b }, Div: func(a, b float32) float32 { return a / b },
		Max: func(a, b float32) float32 { return max(a, b) }, Min: func(a, b float32) float32 { return min(a, b) },
		Greater: func(a, b float32) float32 { return indicate(a > b) },
	}
	y := make([]float32, 9)
	for op, want := range f {
		Binary(op, y, a, b)
		for i := range y {
			require.Equal(t, want(a[i], b[i]), y[i], "%s", op)
		}
		Binary(op, y, a, b[3:4])
		for i := range y {
			require.Equal(t, want(a[i], b[3]), y[i], "%s with a single right operand", op)
		}
		Binary(op, y, a[2:3], b)
		for i := range y {
			require.Equal(t, want(a[2], b[i]), y[i], "%s with a single left operand", op)
		}
	}
	require.Panics(t, func() { Binary(Add, y, a[:2], b) })
}

func TestSoftmaxAndCrossEntropy(t *testing.T) {
	x := []float32{1, 2, 3, 4}
	y := make([]float32, 4)
	Softmax(y, x)
	var z float64
	for _, v := range x {
		z += math.Exp(float64(v))
	}
	for i, v := range x {
		require.InDelta(t, math.Exp(float64(v))/z, y[i], 1e-7)
		require.InDelta(t, math.Log(z)-float64(v), CrossEntropy(x, i), 1e-6)
	}
	big := []float32{1e30, -1e30}
	Softmax(y[:2], big)
	require.Equal(t, []float32{1, 0}, y[:2])
	require.Equal(t, 0, ArgMax([]float32{2, 2, 1}), "the first of equals")
}

// product computes a product of matrices without gaps.
func product(form Form, c, a, b []float32, m, n, k int) {
	lda, ldb := k, n
	if form == TN || form == TT {
		lda = m
	}
	if form == NT || form == TT {
		ldb = k
	}
	MatMul(form, m, n, k, a, lda, b, ldb, c, n, make([]float32, MatMulScratch(form, m, n, k)))
}
