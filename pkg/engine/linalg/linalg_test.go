package linalg

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

func TestSinPiAndCosPiAgainstPackageMath(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100000 {
		x := 2*r.Float64() - 1 // where πx is rounded by less than 2^-52
		require.InDelta(t, math.Sin(math.Pi*x), SinPi(x), 6e-16)
		require.InDelta(t, math.Cos(math.Pi*x), CosPi(x), 6e-16)
		x *= 1 << 20
		s, c := SinPi(x), CosPi(x)
		require.InDelta(t, 1, s*s+c*c, 4e-16)
		require.Equal(t, SinPi(x-2*math.Floor(x/2)), s, "period 2, exactly")
		require.Equal(t, s, CosPi(x-0.5), "x has few bits enough for x − ½ to be exact")
	}
	for k := range 8 {
		require.Equal(t, []float64{0, 1, 0, -1}[k%4], SinPi(float64(k)/2))
		require.Equal(t, []float64{1, 0, -1, 0}[k%4], CosPi(float64(k)/2))
	}
	require.InDelta(t, 0.5, SinPi(1./6), 1e-16)
	require.InDelta(t, math.Sqrt2/2, CosPi(0.25), 2e-16)
}

func TestLogAndExpAgainstPackageMath(t *testing.T) {
	check := func(x float64) {
		t.Helper()
		if want := math.Log(x); math.Abs(Log(x)-want) > 4e-16*math.Abs(want) {
			t.Fatalf("Log(%v) = %v, want %v", x, Log(x), want)
		}
	}
	for _, x := range []float64{1, 2, 0.5, math.E, 0.70710678, 0.7071068, 1.4142135, 1 + 1e-15, 1 - 1e-15, 1e-300, 1e308, math.MaxFloat64} {
		check(x)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		check(math.Exp(r.Float64()*1400 - 700))
		check(0.5 + r.Float64())
		x := r.Float64()*1417 - 708
		if want := math.Exp(x); math.Abs(Exp(x)-want) > 5e-16*want {
			t.Fatalf("Exp(%v) = %v, want %v", x, Exp(x), want)
		}
	}
	// That of package math is wrong below the normal numbers on amd64.
	require.InEpsilon(t, -744.4400719213812, Log(math.SmallestNonzeroFloat64), 1e-15)
	require.Equal(t, 0.0, Log(1))
	require.Equal(t, 1.0, Exp(0))
	require.True(t, math.IsInf(Log(0), -1))
	require.True(t, math.IsNaN(Log(-1)))
	require.True(t, math.IsNaN(Log(math.NaN())))
	require.True(t, math.IsInf(Log(math.Inf(1)), 1))
	require.True(t, math.IsNaN(Exp(math.NaN())))
	require.True(t, math.IsInf(Exp(800), 1))
	require.True(t, math.IsInf(Exp(math.Inf(1)), 1))
	require.Zero(t, Exp(-800))
	require.Zero(t, Exp(math.Inf(-1)))
}

func values(t testing.TB, x []float32, rows, cols int) []float64 {
	t.Helper()
	var s SVD
	v, err := s.Values(x, rows, cols)
	require.NoError(t, err)
	return v
}

func TestSingularValuesOfKnownMatrices(t *testing.T) {
	for name, c := range map[string]struct {
		x          []float32
		rows, cols int
		want       []float64
	}{
		"diagonal":      {[]float32{3, 0, 0, -7}, 2, 2, []float64{7, 3}},
		"tall":          {[]float32{0, 2, 1, 0, 0, 0}, 3, 2, []float64{2, 1}},
		"wide":          {[]float32{0, 1, 0, 2, 0, 0}, 2, 3, []float64{2, 1}},
		"shear":         {[]float32{1, 1, 0, 1}, 2, 2, []float64{math.Phi, 1 / math.Phi}}, // the golden ratio
		"ones":          {[]float32{1, 1, 1, 1, 1, 1}, 2, 3, []float64{math.Sqrt(6), 0}},
		"zero":          {make([]float32, 6), 3, 2, []float64{0, 0}},
		"single":        {[]float32{-4}, 1, 1, []float64{4}},
		"column":        {[]float32{3, 4}, 2, 1, []float64{5}},
		"dead column":   {[]float32{3, 0, 4, 0, 0, 0}, 3, 2, []float64{5, 0}},
		"largest float": {[]float32{math.MaxFloat32, 0, 0, math.SmallestNonzeroFloat32}, 2, 2, []float64{math.MaxFloat32, math.SmallestNonzeroFloat32}},
	} {
		got := values(t, c.x, c.rows, c.cols)
		require.Len(t, got, len(c.want), name)
		for i := range got {
			require.InDelta(t, c.want[i], got[i], 1e-15*c.want[0], "%s: %v", name, got)
			if c.want[i] > 0 {
				require.InEpsilon(t, c.want[i], got[i], 1e-14, "%s: small values are as exact as large ones", name)
			}
		}
	}
}

func TestSingularValuesAgainstGonum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows, cols := rapid.IntRange(1, 40).Draw(rt, "rows"), rapid.IntRange(1, 40).Draw(rt, "cols")
		rank := rapid.IntRange(0, 40).Draw(rt, "rank")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		// A product of thin matrices with columns of very different size, then
		// ReLU, as features are.
		relu := rapid.Bool().Draw(rt, "relu")
		x := make([]float32, rows*cols)
		for range rank {
			u, v := make([]float64, rows), make([]float64, cols)
			for i := range u {
				u[i] = r.NormFloat64()
			}
			for j := range v {
				v[j] = r.NormFloat64() * math.Pow(10, -6*r.Float64())
			}
			for i := range u {
				for j := range v {
					x[i*cols+j] += float32(u[i] * v[j])
				}
			}
		}
		dense := mat.NewDense(rows, cols, nil)
		for i := range x {
			if relu && x[i] < 0 {
				x[i] = 0
			}
			dense.Set(i/cols, i%cols, float64(x[i]))
		}
		var ref mat.SVD
		if !ref.Factorize(dense, mat.SVDNone) {
			rt.Fatal("gonum failed")
		}
		want := ref.Values(nil)
		got := values(t, x, rows, cols)
		if len(got) != len(want) {
			rt.Fatalf("%d values, want %d", len(got), len(want))
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-13*want[0] {
				rt.Fatalf("value %d: %v, want %v", i, got[i], want[i])
			}
		}
		if !slices.IsSortedFunc(got, func(a, b float64) int { return int(math.Copysign(1, b-a)) * boolInt(a != b) }) {
			rt.Fatalf("not in descending order: %v", got)
		}
	})
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestSmallSingularValues scales the columns of an orthogonal matrix over 12
// decades; the Gram matrix would lose the lower half of the values. Where sizes
// descend, small values are even exact.
func TestSmallSingularValues(t *testing.T) {
	hadamard := []float32{1, 1, 1, 1, 1, -1, 1, -1, 1, 1, -1, -1, 1, -1, -1, 1}
	scale := []float64{1, 0x1p-13, 0x1p-26, 0x1p-40}
	x := make([]float32, 16)
	for i := range x {
		x[i] = hadamard[i] * float32(scale[i%4])
	}
	for i, v := range values(t, x, 4, 4) {
		require.InEpsilon(t, 2*scale[i], v, 1e-12)
		require.InDelta(t, 2*scale[i], v, 1e-15)
	}
}

func TestValuesKeepItsMemory(t *testing.T) {
	var s SVD
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, 30*20)
	for i := range x {
		x[i] = r.Float32()
	}
	first, err := s.Values(x, 30, 20)
	require.NoError(t, err)
	first = slices.Clone(first)
	_, err = s.Values(x, 20, 30)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(5, func() {
		if _, err := s.Values(x, 30, 20); err != nil {
			t.Fatal(err)
		}
	}))
	again, err := s.Values(x, 30, 20)
	require.NoError(t, err)
	require.Equal(t, first, again, "bits depend on nothing but the matrix")
}

func TestNotFinite(t *testing.T) {
	for _, v := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		var s SVD
		_, err := s.Values([]float32{1, v}, 1, 2)
		require.ErrorIs(t, err, ErrNotFinite)
	}
}
