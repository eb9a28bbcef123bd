package report

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Student's sleep data (1908): the difference of the two drugs. R's
// t.test(..., paired = TRUE) gives mean 1.58, 95 % interval 0.7001142 to
// 2.4598858.
func TestTIntervalOfTheSleepData(t *testing.T) {
	i := tInterval([]float64{1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4})
	require.InDelta(t, 1.58, float64(i.Mean), 1e-12)
	require.InDelta(t, 0.7001142, float64(i.Low), 1e-7)
	require.InDelta(t, 2.4598858, float64(i.High), 1e-7)
	require.Equal(t, 10, i.N)
}

// Printed tables of Student's t at 0.975.
func TestTQuantiles(t *testing.T) {
	for df, want := range map[int]float64{1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 29: 2.045, 60: 2.000, 120: 1.980} {
		require.InDelta(t, want, tQuantile(df), 6e-4, df)
	}
	// With two values the interval is the mean ± 12.706·|a-b|/2.
	i := tInterval([]float64{1, 3})
	require.InDelta(t, 2+12.7062047, float64(i.High), 1e-6)
	require.Equal(t, Interval{5, 5, 5, 3, 3, StudentT}, tInterval([]float64{5, 5, 5}))
}

func TestIntervalsOfFewValues(t *testing.T) {
	i := sampler{}.interval(nil, claimResamples)
	require.Zero(t, i.N)
	require.True(t, math.IsNaN(float64(i.Mean)) && math.IsNaN(float64(i.Low)))
	i = sampler{}.interval([]float64{math.NaN(), 3, math.Inf(1)}, claimResamples)
	require.Equal(t, 1, i.N)
	require.EqualValues(t, 3, i.Mean)
	require.True(t, math.IsNaN(float64(i.Low)) && math.IsNaN(float64(i.High)))

	ten := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	require.Equal(t, StudentT, sampler{}.interval(ten[:9], claimResamples).Method)
	require.Equal(t, BCa, sampler{}.interval(ten, claimResamples).Method)
	require.Equal(t, StudentT, sampler{}.interval(make([]float64, bootstrapTo+1), claimResamples).Method)
}

// Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 14: the
// variance of test A of the spatial test data is 171.5, its acceleration
// 0.061, its central 90 % BCa interval from 2000 resamples (115.8, 259.6).
func TestBCaOfTheSpatialTestData(t *testing.T) {
	a := []float64{48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41}
	variance := func(v []float64) float64 {
		m, s := mean(v), 0.0
		for _, x := range v {
			s += (x - m) * (x - m)
		}
		return s / float64(len(v))
	}
	require.InDelta(t, 171.5, variance(a), 0.05)
	require.InDelta(t, 0.061, acceleration(a, variance), 0.0005)
	low, high := sampler{}.bca(a, variance, 0.90, claimResamples)
	require.InEpsilon(t, 115.8, low, 0.02)
	require.InEpsilon(t, 259.6, high, 0.02)
}

// Efron's law school data: the correlation is 0.776; the central 90 % BCa
// interval that Efron (1987) gives is (0.43, 0.92).
func TestBCaOfTheLawSchoolData(t *testing.T) {
	lsat := []float64{576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594}
	gpa := []float64{3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96}
	schools := make([]float64, len(lsat)) // resampled by number, so that pairs stay together
	for i := range schools {
		schools[i] = float64(i)
	}
	correlation := func(v []float64) float64 {
		x, y := make([]float64, len(v)), make([]float64, len(v))
		for i, s := range v {
			x[i], y[i] = lsat[int(s)], gpa[int(s)]
		}
		mx, my := mean(x), mean(y)
		var sxy, sxx, syy float64
		for i := range x {
			sxy += (x[i] - mx) * (y[i] - my)
			sxx += (x[i] - mx) * (x[i] - mx)
			syy += (y[i] - my) * (y[i] - my)
		}
		return sxy / math.Sqrt(sxx*syy)
	}
	require.InDelta(t, 0.776, correlation(schools), 0.0005)
	low, high := sampler{}.bca(schools, correlation, 0.90, claimResamples)
	require.InDelta(t, 0.43, low, 0.015)
	require.InDelta(t, 0.92, high, 0.01)
}

// The mean of a skewed sample, against 100,000 resamples of another program
// (Python's random and statistics modules): 24.79 to 51.55.
func TestBCaOfASkewedMean(t *testing.T) {
	v := []float64{48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41}
	for i := range v {
		v[i] = math.Exp(v[i] / 10)
	}
	i := sampler{}.interval(v, claimResamples)
	require.InDelta(t, 36.27495268527955, float64(i.Mean), 1e-10)
	require.InDelta(t, 24.79, float64(i.Low), 0.3)
	require.InDelta(t, 51.55, float64(i.High), 0.3)
	require.Equal(t, i, sampler{}.interval(v, claimResamples), "the same values give the same interval")

	few := sampler{}
	short := few.interval(v, metricResamples)
	require.InDelta(t, float64(i.Low), float64(short.Low), 1)
	require.Equal(t, i, few.interval(v, claimResamples), "earlier draws do not matter")
}

func TestBCaOfDegenerateSamples(t *testing.T) {
	same := make([]float64, 12)
	for i := range same {
		same[i] = 0.1
	}
	i := sampler{}.interval(same, claimResamples)
	require.Equal(t, Interval{0.1, 0.1, 0.1, 12, 12, BCa}, i)

	outlier := append(make([]float64, 11), 1e300)
	i = sampler{}.interval(outlier, claimResamples)
	require.True(t, i.Low >= 0 && i.Low <= i.High && i.High <= 1e300, "%+v", i)

	// Values whose sums overflow have no interval, but do no harm.
	extreme := append(make([]float64, 10), math.MaxFloat64, -math.MaxFloat64)
	for range extreme {
		extreme = append(extreme[1:], extreme[0])
		require.Equal(t, 12, sampler{}.interval(extreme, metricResamples).N)
	}
}
