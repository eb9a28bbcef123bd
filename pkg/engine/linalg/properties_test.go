package linalg

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// draw draws a matrix of any rank, with rows and columns of very different
// size, some of them 0.
func draw(rt *rapid.T, rows, cols int) []float64 {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
	rank := rapid.IntRange(0, min(rows, cols)).Draw(rt, "rank")
	decades := rapid.SampledFrom([]float64{0, 6, 30}).Draw(rt, "decades")
	size := math.Pow(10, rapid.SampledFrom([]float64{0, -200, 150}).Draw(rt, "size"))
	scale := func(n int) []float64 {
		s := make([]float64, n)
		for i := range s {
			s[i] = math.Pow(10, decades*(r.Float64()-1))
			if r.IntN(8) == 0 {
				s[i] = 0
			}
		}
		return s
	}
	left, right := scale(rows), scale(cols)
	x := make([]float64, rows*cols)
	for range rank {
		u, v := r.NormFloat64, r.NormFloat64
		row := make([]float64, cols)
		for j := range row {
			row[j] = v() * right[j]
		}
		for i := range rows {
			a := u() * left[i]
			for j := range cols {
				x[i*cols+j] += size * a * row[j]
			}
		}
	}
	return x
}

func largest(x []float64) float64 {
	var m float64
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}

// orthonormal checks k rows of n elements.
func orthonormal(rt *rapid.T, v []float64, k, n int, what string) {
	for i := range k {
		for j := range i + 1 {
			want := 0.0
			if i == j {
				want = 1
			}
			if got := dot(v[i*n:(i+1)*n], v[j*n:(j+1)*n]); math.Abs(got-want) > 1e-13 {
				rt.Fatalf("%s %d·%d = %v", what, i, j, got)
			}
		}
	}
}

// rebuilt returns Σ σ_k·u_k·v_kᵀ.
func rebuilt(u, sigma, v []float64, rows, cols int) []float64 {
	x := make([]float64, rows*cols)
	for k, s := range sigma {
		for i := range rows {
			for j := range cols {
				x[i*cols+j] += u[k*rows+i] * s * v[k*cols+j]
			}
		}
	}
	return x
}

func TestDecompositionsRebuildTheMatrix(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows, cols := rapid.IntRange(1, 24).Draw(rt, "rows"), rapid.IntRange(1, 24).Draw(rt, "cols")
		x := draw(rt, rows, cols)
		var s SVD
		u, sigma, v, err := s.Decompose(x, rows, cols)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.IsSortedFunc(sigma, func(a, b float64) int { return int(math.Copysign(1, b-a)) * boolInt(a != b) }) || sigma[len(sigma)-1] < 0 {
			rt.Fatalf("values %v", sigma)
		}
		orthonormal(rt, u, len(sigma), rows, "left")
		orthonormal(rt, v, len(sigma), cols, "right")
		back := rebuilt(u, sigma, v, rows, cols)
		for i := range x {
			if math.Abs(back[i]-x[i]) > 1e-14*sigma[0]*4 {
				rt.Fatalf("element %d: %v, want %v (σ %v)", i, back[i], x[i], sigma)
			}
		}
	})
}

func TestEigenvectorsRebuildTheMatrix(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 24).Draw(rt, "n")
		x := draw(rt, n, n)
		var trace float64
		for i := range n {
			for j := range i {
				x[j*n+i] = x[i*n+j]
			}
			trace += x[i*n+i]
		}
		size := largest(x)
		var s Eigen
		only, err := s.Values(x, n)
		if err != nil {
			rt.Fatal(err)
		}
		only = slices.Clone(only)
		lambda, v, err := s.Decompose(x, n)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(only, lambda) {
			rt.Fatal("values depend on whether vectors are wanted")
		}
		sum := 0.0
		for i, l := range lambda {
			if i > 0 && l > lambda[i-1] {
				rt.Fatalf("not in descending order: %v", lambda)
			}
			sum += l
		}
		if math.Abs(sum-trace) > 1e-13*float64(n)*size {
			rt.Fatalf("sum %v, trace %v", sum, trace)
		}
		orthonormal(rt, v, n, n, "vectors")
		back := rebuilt(v, lambda, v, n, n)
		for i := range x {
			if math.Abs(back[i]-x[i]) > 1e-13*size {
				rt.Fatalf("element %d: %v, want %v (λ %v)", i, back[i], x[i], lambda)
			}
		}
	})
}

func TestRidgeIsTheMinimum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n, inputs, outputs := rapid.IntRange(1, 12).Draw(rt, "n"), rapid.IntRange(1, 12).Draw(rt, "inputs"), rapid.IntRange(1, 3).Draw(rt, "outputs")
		bias := rapid.Bool().Draw(rt, "bias")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		x, y := make([]float32, n*inputs), make([]float64, n*outputs)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		for i := range y {
			y[i] = r.NormFloat64()
		}
		const lambda = 0.3
		var f Ridge
		w, b, err := f.Fit(x, y, n, inputs, outputs, lambda, bias)
		if err != nil {
			rt.Fatal(err)
		}
		// The gradient Σ (prediction − y)·x + λw vanishes, and so does that by b.
		for k := range outputs {
			gradient := make([]float64, inputs+1)
			for j := range inputs {
				gradient[j] = lambda * w[j*outputs+k]
			}
			for i := range n {
				residual := b[k] - y[i*outputs+k]
				for j := range inputs {
					residual += float64(x[i*inputs+j]) * w[j*outputs+k]
				}
				for j := range inputs {
					gradient[j] += residual * float64(x[i*inputs+j])
				}
				gradient[inputs] += residual
			}
			if !bias {
				if b[k] != 0 {
					rt.Fatal("a bias that was not asked for")
				}
				gradient[inputs] = 0
			}
			if largest(gradient) > 1e-11 {
				rt.Fatalf("output %d: gradient %v", k, gradient)
			}
		}
	})
}

func TestPowerFindsTheDominantEigenvalue(t *testing.T) {
	// Eigenvalues −5, 2, 1 with the vectors (1, −1, 0), (1, 1, 0), e₃.
	a := []float64{-1.5, 3.5, 0, 3.5, -1.5, 0, 0, 0, 1}
	calls := 0
	apply := func(dst, src []float64) {
		calls++
		for i := range dst {
			dst[i] = dot(a[i*3:(i+1)*3], src)
		}
	}
	v, work := []float64{1, 0.2, 0.1}, make([]float64, 3)
	require.InDelta(t, -5, Power(apply, v, work, 1000, 1e-15), 1e-13)
	require.Less(t, calls, 60, "it stops when nothing changes")
	require.InDelta(t, 1, math.Abs(v[0]-v[1])/math.Sqrt2, 1e-7)

	require.Zero(t, Power(apply, make([]float64, 3), work, 5, 0))
	require.Zero(t, Power(func(dst, _ []float64) { clear(dst) }, []float64{1, 0, 0}, work, 5, 0))
	require.True(t, math.IsNaN(Power(func(dst, _ []float64) { dst[0] = math.Inf(1) }, []float64{1, 0, 0}, work, 5, 0)))
	require.True(t, math.IsNaN(Power(apply, []float64{math.NaN(), 0, 0}, work, 5, 0)))
}

func TestSpectralNormGrowsToTheLargestSingularValue(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	const rows, cols = 12, 7
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	want := values(t, x, rows, cols)[0]
	u, v := make([]float64, rows), make([]float64, cols)
	u[3] = 1e-200 // its length does not matter
	last := 0.0
	for range 200 {
		n := SpectralNorm(x, rows, cols, u, v, 1)
		require.GreaterOrEqual(t, n, last-1e-13)
		require.LessOrEqual(t, n, want+1e-13)
		last = n
	}
	require.InDelta(t, want, last, 1e-12)
	require.InDelta(t, 1, dot(u, u), 1e-14)
	require.InDelta(t, 1, dot(v, v), 1e-14)

	zero := make([]float32, rows*cols)
	require.Zero(t, SpectralNorm(zero, rows, cols, u, v, 3))
	clear(u)
	require.Zero(t, SpectralNorm(x, rows, cols, u, v, 3))
	zero[5] = float32(math.Inf(1))
	u[0] = 1
	require.True(t, math.IsNaN(SpectralNorm(zero, rows, cols, u, v, 3)))
}

func TestPow(t *testing.T) {
	for _, c := range [][3]float64{{2, 0, 1}, {0, 0, 1}, {math.NaN(), 0, 1}, {1, math.Inf(1), 1}, {0, 3, 0}, {0, -3, math.Inf(1)}, {math.Inf(1), 0.5, math.Inf(1)}, {0.5, 1e9, 0}} {
		require.Equal(t, c[2], Pow(c[0], c[1]), "%v", c)
	}
	for _, c := range [][2]float64{{-1, 2}, {2, math.NaN()}, {0, math.NaN()}} {
		require.True(t, math.IsNaN(Pow(c[0], c[1])), "%v", c)
	}
}

func TestWhatCannotBeFactored(t *testing.T) {
	var c Cholesky
	for name, a := range map[string][]float64{
		"indefinite":    {1, 2, 2, 1},
		"semi-definite": {1, 1, 1, 1},
		"zero":          {0, 0, 0, 0},
		"not a number":  {1, 0, math.NaN(), 1},
		"infinite":      {math.Inf(1), 0, 0, 1},
	} {
		require.ErrorIs(t, c.Factor(a, 2), ErrNotPositive, name)
	}
	var r Ridge
	_, _, err := r.Fit([]float32{1, 1, 1, 1}, []float64{1, 2}, 2, 2, 1, 0, false)
	require.ErrorIs(t, err, ErrNotPositive, "without a penalty")
	_, _, err = r.Fit([]float32{1, float32(math.NaN())}, []float64{1, 2}, 2, 1, 1, 1, false)
	require.ErrorIs(t, err, ErrNotFinite)
	var e Eigen
	_, err = e.Values([]float64{1, 0, math.Inf(-1), 1}, 2)
	require.ErrorIs(t, err, ErrNotFinite)
	var s SVD
	_, _, _, err = s.Decompose([]float64{1, math.NaN()}, 1, 2)
	require.ErrorIs(t, err, ErrNotFinite)
}

// TestRotationsOfAnySize: squares may leave the range of float64.
func TestRotationsOfAnySize(t *testing.T) {
	for _, size := range []float64{1, 1e-300, 1e300, 0x1p-1074} {
		for _, p := range [][2]float64{{3, 4}, {-3, 4}, {3, -4}, {-4, -3}, {0, 2}, {2, 0}, {0, 0}} {
			f, g := p[0]*size, p[1]*size
			c, s, r := rotation(f, g)
			require.InDelta(t, 1, c*c+s*s, 1e-15)
			require.InDelta(t, r/size, c*f/size+s*g/size, 4e-15, "%v", p)
			require.InDelta(t, 0, c*g/size-s*f/size, 4e-15)
		}
	}
}

// TestSmallerOf2x2 compares with the formula σ₁σ₂ = f·h, σ₁² + σ₂² = f² + g² + h².
func TestSmallerOf2x2(t *testing.T) {
	for _, x := range [][3]float64{{1, 0, 1}, {1, 1, 1}, {2, 1, 3}, {3, 10, 0.5}, {0, 2, 1}, {1e-3, 5, 1e-2}} {
		f, g, h := x[0], x[1], x[2]
		sum, product := f*f+g*g+h*h, f*h
		large := math.Sqrt((sum + math.Sqrt((sum-2*product)*(sum+2*product))) / 2)
		require.InDelta(t, product/large, smaller(f, g, h), 1e-15*large, "%v", x)
	}
	require.Zero(t, smaller(1e-300, 1e300, 1e-300), "below the range")
}

// TestBits pins every bit of what the package computes, on whatever machine it
// runs. A change of the digest is a change of [engine.NumericsVersion].
func TestBits(t *testing.T) {
	h := sha256.New()
	sum := func(x ...float64) {
		for _, v := range x {
			if v != v {
				v = math.NaN()
			}
			require.NoError(t, binary.Write(h, binary.LittleEndian, math.Float64bits(v)))
		}
	}
	state := uint64(1)
	next := func() float64 { // in [−1, 1), exact everywhere
		state = state*6364136223846793005 + 1442695040888963407
		return float64(int64(state>>11)-1<<52) * 0x1p-52
	}
	for range 200 {
		x := next()
		sum(Log(math.Abs(x)), Exp(700*x), Pow(math.Abs(x), 20*next()))
	}
	var svd SVD
	var eigen Eigen
	var ridge Ridge
	for _, size := range [][2]int{{1, 1}, {5, 5}, {40, 7}, {7, 40}, {33, 31}, {90, 30}} {
		rows, cols := size[0], size[1]
		x, y := make([]float64, rows*cols), make([]float32, rows*cols)
		for i := range x {
			x[i] = next()
			y[i] = max(0, float32(x[i]))
		}
		values, err := svd.Values(y, rows, cols)
		require.NoError(t, err)
		sum(values...)
		u, sigma, v, err := svd.Decompose(x, rows, cols)
		require.NoError(t, err)
		sum(slices.Concat(u, sigma, v)...)
		n := min(rows, cols)
		lambda, vectors, err := eigen.Decompose(x[:n*n], n)
		require.NoError(t, err)
		sum(slices.Concat(lambda, vectors)...)
		w, b, err := ridge.Fit(y, x, rows, cols, cols, 0.5, true)
		require.NoError(t, err)
		sum(slices.Concat(w, b)...)
		left, right := make([]float64, rows), make([]float64, cols)
		for i := range left {
			left[i] = next()
		}
		sum(SpectralNorm(y, rows, cols, left, right, 3))
	}
	require.Equal(t, "5d8ffd68004d023553f0a9855e854e9ffb66dc0b2527eccb24587e3abd3b685c", hex.EncodeToString(h.Sum(nil)))
}

func TestEigenKeepsItsMemory(t *testing.T) {
	var e Eigen
	var s SVD
	x := make([]float64, 20*20)
	for i := range x {
		x[i] = float64(i*i%17) - 8
	}
	use := func() {
		_, _, err := e.Decompose(x, 20)
		_, _, _, err2 := s.Decompose(x, 20, 20)
		if err != nil || err2 != nil {
			t.Fatal(fmt.Errorf("%w, %w", err, err2))
		}
	}
	use()
	require.Zero(t, testing.AllocsPerRun(5, use))
}
