package report

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"neoteny/pkg/engine/rng"
)

const (
	confidence = 0.95
	// Intervals are bootstrapped from bootstrapFrom values on; with fewer,
	// resampling knows too little of the tails. With more than bootstrapTo the
	// bootstrap is slow and Student's interval as good.
	bootstrapFrom = 10
	bootstrapTo   = 2000
	// Resamples of a claim, whose ends decide a verdict, and of a metric, of
	// which an experiment can have a hundred thousand.
	claimResamples  = 10_000
	metricResamples = 2_000
)

// Method names how an interval was computed.
type Method string

// The methods of intervals.
const (
	StudentT Method = "t"
	BCa      Method = "bca"
)

// Interval is the mean of a sample with its 95 % confidence interval. With one
// value there is a mean but no interval; with none, neither.
type Interval struct {
	Mean   Number `json:"mean"`
	Low    Number `json:"ci_low"`
	High   Number `json:"ci_high"`
	N      int    `json:"n"`  // values that went in
	Of     int    `json:"of"` // seeds that there are, of which each could have had a value
	Method Method `json:"method,omitempty"`
}

// sampler draws bootstrap samples. Which values a sample takes is a function
// of the size of the sample and its number alone, so the same values give the
// same interval, and samples of one size share the draws.
type sampler map[int][]uint16

// draws returns the positions that the given number of samples of n values
// take, n to a sample.
func (s sampler) draws(n, samples int) []uint16 {
	have := s[n]
	if len(have) < n*samples {
		key := rng.New(0, "report bootstrap")
		for i := len(have); i < n*samples; i++ {
			have = append(have, uint16(key.Intn(n, uint64(i/n), uint64(i%n))))
		}
		s[n] = have
	}
	return have[:n*samples]
}

// interval computes the interval of the mean over the finite values: Student's
// t below bootstrapFrom values, the BCa bootstrap from there on.
func (s sampler) interval(values []float64, resamples int) Interval {
	v := finite(values)
	if len(v) < bootstrapFrom || len(v) > bootstrapTo {
		return tInterval(v)
	}
	low, high := s.bca(v, mean, confidence, resamples)
	return Interval{Mean: Number(mean(v)), Low: Number(low), High: Number(high), N: len(v), Of: len(values), Method: BCa}
}

// tInterval computes Student's interval of the mean over the finite values.
func tInterval(values []float64) Interval {
	v := finite(values)
	nan := Number(math.NaN())
	switch len(v) {
	case 0:
		return Interval{Mean: nan, Low: nan, High: nan, Of: len(values)}
	case 1:
		return Interval{Mean: Number(v[0]), Low: nan, High: nan, N: 1, Of: len(values)}
	}
	m, n := mean(v), float64(len(v))
	ss := 0.0
	for _, x := range v {
		ss += (x - m) * (x - m)
	}
	half := tQuantile(len(v)-1) * math.Sqrt(ss/(n-1)/n)
	return Interval{Mean: Number(m), Low: Number(m - half), High: Number(m + half), N: len(v), Of: len(values), Method: StudentT}
}

// tQuantiles are computed once: a curve over tasks asks for the same ones
// again and again.
var tQuantiles = func() (q [64]float64) {
	for df := 1; df < len(q); df++ {
		q[df] = studentQuantile(df)
	}
	return q
}()

func tQuantile(df int) float64 {
	if df < len(tQuantiles) {
		return tQuantiles[df]
	}
	return studentQuantile(df)
}

func studentQuantile(df int) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(df)}.Quantile((1 + confidence) / 2)
}

func finite(values []float64) []float64 {
	out := make([]float64, 0, len(values))
	for _, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			out = append(out, x)
		}
	}
	return out
}

// mean is the arithmetic mean, computed around the first value so that equal
// values have exactly their own value as the mean.
func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x - v[0]
	}
	return v[0] + sum/float64(len(v))
}

// bca computes the bias-corrected and accelerated bootstrap interval of a
// statistic (Efron 1987; Efron & Tibshirani 1993, chapter 14).
func (s sampler) bca(v []float64, statistic func([]float64) float64, confidence float64, resamples int) (low, high float64) {
	estimate := statistic(v)
	if slices.Min(v) == slices.Max(v) {
		return estimate, estimate
	}
	boot, sample := make([]float64, resamples), make([]float64, len(v))
	draws := s.draws(len(v), resamples)
	below := 0.0
	for b := range boot {
		for i := range sample {
			sample[i] = v[draws[b*len(v)+i]]
		}
		boot[b] = statistic(sample)
		switch {
		case boot[b] < estimate:
			below++
		case boot[b] == estimate:
			below += 0.5 // ties count half, so that a symmetric sample has no bias
		}
	}
	slices.Sort(boot)
	// Away from 0 and 1, where the normal quantile is infinite.
	total := float64(resamples)
	bias := distuv.UnitNormal.Quantile(min(max(below, 0.5), total-0.5) / total)
	accel := acceleration(v, statistic)
	at := func(p float64) float64 {
		z := bias + distuv.UnitNormal.Quantile(p)
		d := 1 - accel*z
		if d <= 0 { // beyond where the correction is defined: the far end
			return boot[map[bool]int{true: len(boot) - 1, false: 0}[z > 0]]
		}
		return quantile(boot, distuv.UnitNormal.CDF(bias+z/d))
	}
	return at((1 - confidence) / 2), at((1 + confidence) / 2)
}

// acceleration measures how the statistic's spread changes with its value, by
// the jackknife.
func acceleration(v []float64, statistic func([]float64) float64) float64 {
	left := make([]float64, len(v))
	without := make([]float64, 0, len(v))
	for i := range v {
		without = append(append(without[:0], v[:i]...), v[i+1:]...)
		left[i] = statistic(without)
	}
	// The measure has no unit, so the largest deviation can be the unit, which
	// keeps the cubes of large ones finite.
	m, largest := mean(left), 0.0
	for _, x := range left {
		largest = max(largest, math.Abs(m-x))
	}
	if !(largest > 0) || math.IsInf(largest, 0) {
		return 0
	}
	s2, s3 := 0.0, 0.0
	for _, x := range left {
		d := (m - x) / largest
		s2 += d * d
		s3 += d * d * d
	}
	return s3 / (6 * math.Pow(s2, 1.5))
}

// quantile interpolates linearly between the order statistics of a sorted
// sample: the k-th of n stands at k/(n+1).
func quantile(sorted []float64, p float64) float64 {
	n := len(sorted)
	pos := p*float64(n+1) - 1
	switch {
	case pos <= 0:
		return sorted[0]
	case pos >= float64(n-1):
		return sorted[n-1]
	}
	i := int(pos)
	f := pos - float64(i)
	return sorted[i] + f*(sorted[i+1]-sorted[i])
}
