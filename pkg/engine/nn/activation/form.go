package activation

import (
	"math"

	"neoteny/pkg/engine/graph"
)

// form has what formulas are written with, beside the builder's own
// operations. All of it keeps values and derivatives finite: where a term would
// overflow, its argument stops at a point from which on it makes no difference
// to the result.
type form struct{ *graph.Builder }

func (f form) c(v float64) graph.Node { return f.Const(float32(v)) }

// plus returns x + v, times returns v·x.
func (f form) plus(x graph.Node, v float64) graph.Node  { return f.Add(x, f.c(v)) }
func (f form) times(v float64, x graph.Node) graph.Node { return f.Mul(f.c(v), x) }

// minus returns v − x.
func (f form) minus(v float64, x graph.Node) graph.Node { return f.Sub(f.c(v), x) }

// below returns min(x, v), above max(x, v), clamp both. The derivative at the
// bound is 1.
func (f form) below(x graph.Node, v float64) graph.Node { return f.Min(x, f.c(v)) }
func (f form) above(x graph.Node, v float64) graph.Node { return f.Max(x, f.c(v)) }
func (f form) clamp(x graph.Node, lo, hi float64) graph.Node {
	return f.below(f.above(x, lo), hi)
}

// where returns a where x > v, else z.
func (f form) where(x graph.Node, v float64, a, z graph.Node) graph.Node {
	return f.Select(f.Greater(x, f.c(v)), a, z)
}

// softplus returns ln(1 + eˣ), which is x from 40 on.
func (f form) softplus(x graph.Node) graph.Node {
	return f.where(x, 40, x, f.Log1p(f.Exp(f.below(x, 40))))
}

// negExpm1 returns e^min(x,0) − 1.
func (f form) negExpm1(x graph.Node) graph.Node { return f.Expm1(f.below(x, 0)) }

// gelu returns x·Φ(x).
func (f form) gelu(x graph.Node) graph.Node {
	return f.Mul(x, f.times(0.5, f.plus(f.Erf(f.times(math.Sqrt2/2, x)), 1)))
}

// sinc returns sin(x)/x, by its series near 0.
func (f form) sinc(x graph.Node) graph.Node {
	s := f.Square(f.clamp(x, -1, 1))
	series := f.c(1.0 / 6227020800)
	for _, c := range []float64{-1.0 / 39916800, 1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1} {
		series = f.plus(f.Mul(series, s), c)
	}
	far := f.Greater(f.Abs(x), f.c(1))
	safe := f.Select(far, x, f.Fill(1, x.Shape()))
	return f.Select(far, f.Div(f.Sin(safe), safe), series)
}

// power returns |x|^d for d > 0. Whole powers are products.
func (f form) power(x graph.Node, d float64) graph.Node {
	n := int(d)
	if d != float64(n) || n > 64 {
		return f.Exp(f.times(d, f.Log(f.above(f.Abs(x), 1e-30))))
	}
	var y graph.Node
	for base := f.Abs(x); ; base = f.Square(base) {
		if n&1 == 1 {
			if y.Valid() {
				y = f.Mul(y, base)
			} else {
				y = base
			}
		}
		if n >>= 1; n == 0 {
			return y
		}
	}
}

// moments returns mean and standard deviation of each example, over all axes
// but the first.
func (f form) moments(x graph.Node) (mean, deviation graph.Node) {
	axes := make([]int, len(x.Shape())-1)
	for i := range axes {
		axes[i] = i + 1
	}
	mean = f.MeanAxes(x, axes...)
	variance := f.MeanAxes(f.Square(f.Sub(x, mean)), axes...)
	// All units equal: no deviation, and the root's slope there is not infinite.
	return mean, f.Sqrt(f.plus(variance, 1e-12))
}

// tenToThe18 returns a number whose d-th power is about 10¹⁸ (for a d that is
// not whole, less), found by bisection in plain multiplications.
func tenToThe18(d float64) float64 {
	lo, hi := 1.0, 1e18
	for hi-lo > 1e-6*lo {
		mid := (lo + hi) / 2
		y := 1.0
		for range int(math.Ceil(d)) {
			y *= mid
		}
		if y > 1e18 {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}
