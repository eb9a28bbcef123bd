package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// pixelBatch returns examples, one a row or, transposed, one a column, in which
// some inputs are never active and the others seldom.
func pixelBatch(form Form, m, k int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 12))
	batch, size := m, k
	if form == TN {
		batch, size = k, m
	}
	dead := make([]bool, size)
	for i := range dead {
		dead[i] = r.IntN(100) < 30
	}
	x := make([]float32, batch*size)
	for i := range x {
		if !dead[i%size] && r.IntN(100) < 27 {
			x[i] = r.Float32()
		}
	}
	return x
}

func sparseShapes() [][3]int {
	var s [][3]int
	for n := 1; n < 270; n += 1 + n/70*6 {
		s = append(s, [3]int{3, n, 20})
	}
	for k := 1; k < 140; k += 1 + k/66*5 {
		s = append(s, [3]int{5, 20, k}, [3]int{k, 10, 7})
	}
	return append(s, [3]int{32, 100, 784}, [3]int{163, 100, 32}, [3]int{70, 130, 70}, [3]int{600, 50, 40}, [3]int{1, 1, 1})
}

// TestSparseOnEveryISA computes products from the elements that are not zero
// only. Then, unlike elsewhere, zeros times what is not finite are defined.
func TestSparseOnEveryISA(t *testing.T) {
	fills := []func(int, uint64) []float32{random, sprinkled, anyBits}
	for s, d := range sparseShapes() {
		m, n, k := d[0], d[1], d[2]
		for _, form := range []Form{NN, TN} {
			ar, ac := m, k
			if form == TN {
				ar, ac = k, m
			}
			lda, ldb, ldc := ac+s%5, n+s/2%4, n+s/3%3
			a, b := fills[s%3]((ar-1)*lda+ac, uint64(s)), fills[s%3]((k-1)*ldb+n, uint64(s+1))
			if s%4 > 0 {
				sparse(a, uint64(s))
			}
			before := random((m-1)*ldc+n, 3)
			want := clone(before)
			ars, acs := lda, 1
			if form == TN {
				ars, acs = 1, lda
			}
			gemmGeneric(m, n, k, a, ars, acs, b, ldb, 1, want, ldc)
			eachISA(t, func(t *testing.T) {
				if active == Generic {
					return
				}
				scratch := placed(t, 3, random(MatMulScratch(form, m, n, k), 4))
				got := placed(t, 2, before)
				gemmSparse(m, n, k, placed(t, 0, a), ars, acs, placed(t, 1, b), ldb, got, ldc, scratch)
				requireBits(t, want, got, "%s", fmt.Sprint(form, m, n, k, lda, ldb, ldc))
			})
		}
	}
}

// TestSparseUnderflow has chains that come to −0, which counts as +0 whether
// zeros follow or not.
func TestSparseUnderflow(t *testing.T) {
	const m, n, k = 9, 70, 48
	a, b := make([]float32, m*k), make([]float32, k*n)
	for i := range b {
		b[i] = -0x1p-149
	}
	for i := range m {
		a[i*k+5*i] = 0x1p-100
	}
	columns := make([]float32, m*k)
	Transpose(columns, m, a, k, m, k)
	eachISA(t, func(t *testing.T) {
		if active == Generic {
			return
		}
		scratch := make([]float32, MatMulScratch(NN, m, n, k))
		got := random(m*n, 1)
		gemmSparse(m, n, k, a, k, 1, b, n, got, n, scratch)
		requireBits(t, make([]float32, m*n), got, "NN")
		got = random(m*n, 1)
		gemmSparse(m, n, k, columns, 1, m, b, n, got, n, scratch)
		requireBits(t, make([]float32, m*n), got, "TN")
	})
}

func TestManyZeros(t *testing.T) {
	for _, d := range []struct {
		form    Form
		m, n, k int
	}{{NN, 32, 100, 784}, {TN, 163, 100, 32}, {NN, 64, 256, 784}, {TN, 64, 256, 64}} {
		ars, acs := d.k, 1
		if d.form == TN {
			ars, acs = 1, d.m
		}
		is := func(a []float32) bool { return manyZeros(d.m, d.n, d.k, a, ars, acs) }
		for seed := range uint64(20) {
			require.True(t, is(pixelBatch(d.form, d.m, d.k, seed)), d)
			require.False(t, is(random(d.m*d.k, seed)), d)
		}
		require.True(t, is(make([]float32, d.m*d.k)))
		require.False(t, is(anyBits(d.m*d.k, 1)))
	}
}

// FuzzSparse compares products of operands with any share of zeros.
func FuzzSparse(f *testing.F) {
	f.Add(uint64(1), byte(32), byte(100), byte(20), byte(200), false)
	f.Add(uint64(2), byte(7), byte(33), byte(130), byte(255), true)
	f.Add(uint64(3), byte(63), byte(111), byte(63), byte(220), false) // as MatMul too
	f.Add(uint64(4), byte(162), byte(99), byte(31), byte(220), true)
	f.Fuzz(func(t *testing.T, seed uint64, rows, cols, depth, zeros byte, transposed bool) {
		m, n, k := int(rows)+1, int(cols)+1, int(depth)+1
		a, b := anyBits(m*k, seed), random(k*n, seed+1)
		r := rand.New(rand.NewPCG(seed, 13))
		for i := range a {
			if r.IntN(255) < int(zeros) {
				a[i] = 0
			}
		}
		form, ars, acs := NN, k, 1
		if transposed {
			form, ars, acs = TN, 1, m
		}
		want := make([]float32, m*n)
		gemmGeneric(m, n, k, a, ars, acs, b, n, 1, want, n)
		for _, isa := range Available()[1:] {
			restore := ForceISA(isa)
			scratch := make([]float32, MatMulScratch(form, m, n, k))
			got, matmul := random(m*n, seed+2), random(m*n, seed+3)
			gemmSparse(m, n, k, a, ars, acs, b, n, got, n, scratch)
			MatMul(form, m, n, k, a, ars*acs, b, n, matmul, n, scratch)
			restore()
			requireBits(t, want, got, "%s %d×%d×%d on %s", form, m, n, k, isa)
			requireBits(t, want, matmul, "%s %d×%d×%d on %s", form, m, n, k, isa)
		}
	})
}

func BenchmarkMatMulOfPixels(b *testing.B) {
	for _, d := range []struct {
		form    Form
		m, n, k int
	}{{NN, 32, 100, 784}, {NN, 64, 256, 784}, {TN, 784, 100, 32}, {TN, 784, 256, 64}} {
		m, n, k := d.m, d.n, d.k
		x, y, c, scratch := pixelBatch(d.form, m, k, 1), random(k*n, 2), make([]float32, m*n), make([]float32, MatMulScratch(d.form, m, n, k))
		lda := k
		if d.form == TN {
			lda = m
		}
		for _, isa := range Available()[1:] {
			b.Run(fmt.Sprintf("%s/%dx%dx%d/%s", d.form, m, n, k, isa), func(b *testing.B) {
				defer ForceISA(isa)()
				b.ReportAllocs()
				for b.Loop() {
					MatMul(d.form, m, n, k, x, lda, y, n, c, n, scratch)
				}
			})
		}
	}
}
