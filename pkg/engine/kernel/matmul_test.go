package kernel

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func matMulShapes() [][3]int {
	var s [][3]int
	for m := range 31 {
		s = append(s, [3]int{m, 35, 3}, [3]int{m, 7, 5})
	}
	for n := range 100 {
		s = append(s, [3]int{15, n, 4}, [3]int{2, n, 9})
	}
	for k := range 40 {
		s = append(s, [3]int{4, 9, k}, [3]int{17, 33, k})
	}
	return append(s, [3]int{32, 50, 300}, [3]int{70, 40, 530}, [3]int{3, 200, 1030}, [3]int{200, 3, 20}, [3]int{64, 260, 256}, [3]int{5, 180, 600}, [3]int{33, 40, 1024}, [3]int{24, 1050, 2000})
}

func TestMatMulOnEveryISA(t *testing.T) {
	fills := []func(int, uint64) []float32{random, sprinkled, anyBits}
	for s, d := range matMulShapes() {
		m, n, k := d[0], d[1], d[2]
		for form := NN; form <= TT; form++ {
			ar, ac, br, bc := m, k, k, n
			if form == TN || form == TT {
				ar, ac = k, m
			}
			if form == NT || form == TT {
				br, bc = n, k
			}
			variant := s % 3
			if m*n*k > 1<<20 && (form == TT || testing.Short()) {
				continue
			}
			gapA, gapB, gapC := s%5, s/2%4, s/3%3
			lda, ldb, ldc := ac+gapA, bc+gapB, n+gapC
			at := func(rows, cols, ld int) int { return max(0, (rows-1)*ld+cols) }
			if variant > 0 {
				variant = 1 + s/7%2
			}
			a, b := fills[variant](at(ar, ac, lda), uint64(s)), fills[variant](at(br, bc, ldb), uint64(s+1))
			if variant > 0 { // zeros times what is not finite are not defined
				for i, v := range a {
					if v == 0 {
						a[i] = 1
					}
				}
			}
			before := random(at(m, n, ldc), 3)
			want := clone(before)
			ars, acs, brs, bcs := lda, 1, ldb, 1
			if form == TN || form == TT {
				ars, acs = 1, lda
			}
			if form == NT || form == TT {
				brs, bcs = 1, ldb
			}
			gemmGeneric(m, n, k, a, ars, acs, b, brs, bcs, want, ldc)
			eachISA(t, func(t *testing.T) {
				if active == Generic {
					return
				}
				scratch := placed(t, 3, random(MatMulScratch(form, m, n, k), 4))
				got := placed(t, 2, before)
				MatMul(form, m, n, k, placed(t, 0, a), lda, placed(t, 1, b), ldb, got, ldc, scratch)
				requireBits(t, want, got, "%s", fmt.Sprint(form, m, n, k, lda, ldb, ldc))
			})
		}
	}
}

func TestTranspose(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for rows := range 36 {
			for cols := range 36 {
				lds, ldd := cols+rows%3, rows+cols%4
				n := max(0, (rows-1)*lds+cols)
				src, before := anyBits(n, uint64(n)), random(max(0, (cols-1)*ldd+rows), 1)
				want, got := clone(before), placed(t, 1, before)
				transposeGeneric(want, ldd, src, lds, rows, cols)
				Transpose(got, ldd, placed(t, 0, src), lds, rows, cols)
				requireBits(t, want, got, "%d×%d", rows, cols)
			}
		}
	})
}

func TestMatMulMisuse(t *testing.T) {
	x := make([]float32, 16)
	require.Panics(t, func() { MatMulNN(2, 2, 2, x[:3:3], 2, x, 2, x, 2, x) })
	require.Panics(t, func() { MatMulNN(2, 2, 2, x, 2, x[:3:3], 2, x, 2, x) })
	require.Panics(t, func() { MatMulNN(2, 2, 2, x, 2, x, 2, x[:3:3], 2, x) })
	require.Panics(t, func() { MatMulNN(-1, 2, 2, x, 2, x, 2, x, 2, x) })
}

// FuzzMatMul compares every form on every instruction set with the
// specification.
func FuzzMatMul(f *testing.F) {
	f.Add(uint64(1), byte(32), byte(100), byte(20), byte(0))
	f.Add(uint64(2), byte(7), byte(33), byte(60), byte(2))
	f.Fuzz(func(t *testing.T, seed uint64, rows, cols, depth, kind byte) {
		m, n, k, form := int(rows)%70, int(cols), int(depth)%70, Form(kind%4)
		a, b := random(m*k, seed), sprinkled(k*n, seed+1)
		for i, v := range a {
			if v == 0 {
				a[i] = 1 // zeros times what is not finite are not defined
			}
		}
		ars, acs, brs, bcs := k, 1, n, 1
		if form == TN || form == TT {
			ars, acs = 1, m
		}
		if form == NT || form == TT {
			brs, bcs = 1, k
		}
		want := make([]float32, m*n)
		gemmGeneric(m, n, k, a, ars, acs, b, brs, bcs, want, n)
		for _, isa := range Available()[1:] {
			restore := ForceISA(isa)
			got := random(m*n, seed+2)
			MatMul(form, m, n, k, a, ars*acs, b, brs*bcs, got, n, make([]float32, MatMulScratch(form, m, n, k)))
			restore()
			requireBits(t, want, got, "%s %d×%d×%d on %s", form, m, n, k, isa)
		}
	})
}

func BenchmarkMatMul(b *testing.B) {
	for _, d := range []struct {
		form    Form
		m, n, k int
	}{
		{NN, 32, 100, 784}, {NN, 64, 256, 256}, {NN, 256, 2000, 2000}, {NN, 18432, 16, 25}, {NN, 32, 5, 20},
		{TN, 784, 100, 32}, {TN, 256, 256, 64}, {TN, 25, 16, 18432}, {NT, 32, 784, 100}, {NT, 64, 256, 256}, {NT, 256, 2000, 2000}, {TT, 64, 256, 256},
	} {
		m, n, k := d.m, d.n, d.k
		x, y, c, scratch := random(m*k, 1), random(k*n, 2), make([]float32, m*n), make([]float32, MatMulScratch(d.form, m, n, k))
		lda, ldb := k, n
		if d.form == TN || d.form == TT {
			lda = m
		}
		if d.form == NT || d.form == TT {
			ldb = k
		}
		for _, isa := range Available()[1:] {
			b.Run(fmt.Sprintf("%s/%dx%dx%d/%s", d.form, m, n, k, isa), func(b *testing.B) {
				defer ForceISA(isa)()
				b.ReportAllocs()
				for b.Loop() {
					MatMul(d.form, m, n, k, x, lda, y, ldb, c, n, scratch)
				}
				b.ReportMetric(2*float64(m*n*k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
	}
}
