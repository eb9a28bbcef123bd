package linalg

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func golden(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	require.NoError(t, err)
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(b, &all))
	require.NoError(t, json.Unmarshal(all[name], into))
}

func near(t *testing.T, want, got []float64, tolerance float64, what string) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
		require.InDelta(t, want[i], got[i], tolerance, "%s: element %d", what, i)
	}
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func TestSingularValuesAndVectorsOfNumPy(t *testing.T) {
	var cases []struct {
		Rows, Cols     int
		A, U, Sigma, V []float64
	}
	golden(t, "svd", &cases)
	require.NotEmpty(t, cases)
	var s SVD
	for _, c := range cases {
		what := fmt.Sprintf("%d×%d", c.Rows, c.Cols)
		sigma, err := s.Values(narrow(c.A), c.Rows, c.Cols)
		require.NoError(t, err)
		near(t, c.Sigma, sigma, 1e-14*c.Sigma[0], what)
		u, sigma, v, err := s.Decompose(c.A, c.Rows, c.Cols)
		require.NoError(t, err)
		near(t, c.Sigma, sigma, 1e-14*c.Sigma[0], what)
		near(t, c.U, u, 1e-12, what+" left")
		near(t, c.V, v, 1e-12, what+" right")
	}
}

func TestSingularValuesOfFeatures(t *testing.T) {
	var cases []struct {
		Rows, Cols int
		A, Sigma   []float64
	}
	golden(t, "features", &cases)
	require.NotEmpty(t, cases)
	for _, c := range cases {
		near(t, c.Sigma, values(t, narrow(c.A), c.Rows, c.Cols), 1e-14*c.Sigma[0], fmt.Sprintf("%d×%d", c.Rows, c.Cols))
	}
}

func TestEigenvaluesAndVectorsOfNumPy(t *testing.T) {
	var cases []struct {
		N            int
		A, Lambda, V []float64
	}
	golden(t, "eigen", &cases)
	require.NotEmpty(t, cases)
	var s Eigen
	for _, c := range cases {
		lambda, err := s.Values(c.A, c.N)
		require.NoError(t, err)
		near(t, c.Lambda, lambda, 1e-13, "values only")
		lambda, v, err := s.Decompose(c.A, c.N)
		require.NoError(t, err)
		near(t, c.Lambda, lambda, 1e-13, "values")
		near(t, c.V, v, 1e-12, "vectors")
	}
}

func TestCholeskyOfNumPy(t *testing.T) {
	var cases []struct {
		N      int
		A, B   []float64
		X      []float64
		LogDet float64
	}
	golden(t, "cholesky", &cases)
	require.NotEmpty(t, cases)
	var f Cholesky
	for _, c := range cases {
		require.NoError(t, f.Factor(c.A, c.N))
		f.Solve(c.B)
		near(t, c.X, c.B, 1e-11, fmt.Sprint(c.N))
		require.InEpsilon(t, c.LogDet, f.LogDet(), 1e-13)
	}
}

func TestRidgeOfNumPy(t *testing.T) {
	var cases []struct {
		N, Inputs, Outputs int
		Lambda             float64
		Bias               bool
		X, Y, W, B         []float64
	}
	golden(t, "ridge", &cases)
	require.NotEmpty(t, cases)
	var r Ridge
	for i, c := range cases {
		w, b, err := r.Fit(narrow(c.X), c.Y, c.N, c.Inputs, c.Outputs, c.Lambda, c.Bias)
		require.NoError(t, err)
		near(t, c.W, w, 1e-11, fmt.Sprintf("case %d: weights", i))
		near(t, c.B, b, 1e-11, fmt.Sprintf("case %d: bias", i))
	}
}

func TestQuantilesOfNumPy(t *testing.T) {
	var cases []struct{ X, Q, Want []float64 }
	golden(t, "quantile", &cases)
	require.NotEmpty(t, cases)
	for _, c := range cases {
		for i, q := range c.Q {
			require.InDelta(t, c.Want[i], Quantile(c.X, q), 1e-15)
		}
	}
	for _, q := range []float64{-0.1, 1.1, math.NaN()} {
		require.True(t, math.IsNaN(Quantile([]float64{1}, q)))
	}
	require.True(t, math.IsNaN(Quantile(nil, 0.5)))
	require.Equal(t, math.Inf(1), Quantile([]float64{1, math.Inf(1), math.Inf(1)}, 0.5))
}

func TestElementaryFunctionsTo40Digits(t *testing.T) {
	type point struct{ X, Y, Want float64 }
	for name, f := range map[string]func(point) (got, ulps float64){
		"log": func(p point) (float64, float64) { return Log(p.X), 2 },
		"exp": func(p point) (float64, float64) { return Exp(p.X), 2 },
		"pow": func(p point) (float64, float64) { return Pow(p.X, p.Y), 2 + math.Abs(p.Y*math.Log(p.X)) },
	} {
		var points []point
		golden(t, name, &points)
		require.NotEmpty(t, points)
		for _, p := range points {
			got, ulps := f(p)
			require.InDelta(t, p.Want, got, ulps*0x1p-52*math.Abs(p.Want), "%s %v %v", name, p.X, p.Y)
		}
	}
}
