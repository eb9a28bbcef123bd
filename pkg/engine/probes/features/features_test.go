package features

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRanksByHand(t *testing.T) {
	equal := []float64{3, 3, 3, 3}
	require.InDelta(t, 4, effectiveRank(equal), 1e-14, "equal values: all units")
	require.InDelta(t, 4, stableRank(equal), 1e-14)
	require.Equal(t, 4.0, srank99(equal))
	one := []float64{7, 0, 0}
	require.Equal(t, 1.0, effectiveRank(one))
	require.Equal(t, 1.0, stableRank(one))
	require.Equal(t, 1.0, srank99(one))
	// p = ¾, ¼: H = ¾·ln(4/3) + ¼·ln 4, and σ² = 9, 1.
	require.InDelta(t, math.Pow(4./3, 0.75)*math.Sqrt2, effectiveRank([]float64{3, 1}), 1e-14)
	require.InDelta(t, 10./9, stableRank([]float64{3, 1}), 1e-15)
	require.Equal(t, 1.0, srank99([]float64{99, 0.9999, 0.0001}), "exactly 99 % is enough")
	require.Equal(t, 2.0, srank99([]float64{98, 1.5, 0.5}))
	require.Equal(t, 1.0, stableRank([]float64{1e-200, 0}), "squares do not underflow")
}
