package data

import "math"

// Affine is what a feature of floats becomes: (v − shift)/unit.
type Affine struct{ Shift, Unit float64 }

// Of returns what a value becomes.
func (a Affine) Of(v float32) float32 { return float32((float64(v) - a.Shift) / a.Unit) }

// Scales returns what each feature becomes at a scale, by its own values in the
// training split: unit and symmetric take its range to [0, 1] and [−1, 1],
// standard gives it mean 0 and deviation 1, none leaves it. A feature that is the
// same in all examples becomes 0. Held-out examples may go beyond a range.
// Sums run over the examples in order, in float64.
func Scales(scale string, features int, train ...Split) []Affine {
	out := make([]Affine, features)
	if scale == "none" {
		for i := range out {
			out[i].Unit = 1
		}
		return out
	}
	low, high := make([]float64, features), make([]float64, features)
	mean := make([]float64, features)
	for i := range features {
		low[i], high[i] = math.Inf(1), math.Inf(-1)
	}
	each := func(do func(i int, v float64)) {
		for _, part := range train {
			for row := part.F; len(row) > 0; row = row[features:] {
				for i, v := range row[:features] {
					do(i, float64(v))
				}
			}
		}
	}
	each(func(i int, v float64) {
		low[i], high[i] = min(low[i], v), max(high[i], v)
		mean[i] += v
	})
	squares := make([]float64, features)
	n := 0.0
	for _, part := range train {
		n += float64(part.N)
	}
	for i := range mean {
		mean[i] /= n
	}
	if scale == "standard" {
		each(func(i int, v float64) {
			d := v - mean[i]
			squares[i] += float64(d * d)
		})
	}
	for i := range out {
		switch scale {
		case "unit":
			out[i] = Affine{low[i], high[i] - low[i]}
		case "symmetric":
			out[i] = Affine{float64(low[i]/2) + float64(high[i]/2), float64(high[i]/2) - float64(low[i]/2)}
		case "standard":
			out[i] = Affine{mean[i], math.Sqrt(squares[i] / n)}
		}
		if low[i] == high[i] {
			out[i] = Affine{low[i], 1}
		}
	}
	return out
}

// Moments returns mean and standard deviation of bytes as fractions of 255.
// Images that are all of one colour have deviation 1, so that they can be
// divided by it.
func Moments(xs ...[]uint8) (mean, deviation float64) {
	var count [256]uint64
	var total int
	for _, x := range xs {
		total += len(x)
		for _, p := range x {
			count[p]++
		}
	}
	var sum, squares float64 // exact: integers below 2^53
	for p, n := range count {
		sum += float64(float64(p) * float64(n))
		squares += float64(float64(p*p) * float64(n))
	}
	n := float64(total)
	mean = sum / n / 255
	variance := squares/n/(255*255) - float64(mean*mean)
	if total == 0 || variance <= 0 {
		return mean, 1
	}
	return mean, math.Sqrt(variance)
}
