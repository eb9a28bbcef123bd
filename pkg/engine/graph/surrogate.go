package graph

import (
	"math"

	"neoteny/pkg/engine/rng"
)

// StraightThrough returns the value of hard with the gradient of soft, for
// quantised or sampled values: hard is constant for differentiation.
func (b *Builder) StraightThrough(hard, soft Node) Node {
	pair("straight-through", hard, soft)
	p := &detour{"straight-through", func(_ *Builder, dy Node, _ []Node) []Node { return []Node{{}, dy} }}
	return b.add(reshapeOp{other: p}, hard.Shape(), hard, soft)
}

// Surrogate returns forward(x) with another derivative: dx = dy·derivative(x).
// Both functions take and return a node of x's shape. The derivative is
// differentiable in its turn, so that second derivatives are those of the
// function it is the derivative of.
func (b *Builder) Surrogate(x Node, forward, derivative func(b *Builder, x Node) Node) Node {
	y := b.StopGradient(forward(b, x))
	pair("surrogate", y, x)
	p := &detour{"surrogate", func(b *Builder, dy Node, in []Node) []Node {
		return []Node{{}, b.Mul(dy, derivative(b, in[1]))}
	}}
	return b.add(reshapeOp{other: p}, y.Shape(), y, x)
}

// Spike returns 1 where x > 0, else 0, with the given derivative in place of
// the one that is zero nearly everywhere: a spiking unit, x being its potential
// above the threshold. See [FastSigmoid], [Triangle] and [ArcTangent].
func (b *Builder) Spike(x Node, derivative func(b *Builder, x Node) Node) Node {
	return b.Surrogate(x, (*Builder).Step, derivative)
}

// FastSigmoid is the surrogate derivative 1/(1 + k·|x|)², that of
// x/(1 + k·|x|) (Zenke and Ganguli, "SuperSpike", 2018).
func FastSigmoid(k float32) func(b *Builder, x Node) Node {
	return func(b *Builder, x Node) Node {
		return b.Recip(b.Square(b.Add(b.Scale(k, b.Abs(x)), b.Const(1))))
	}
}

// Triangle is the surrogate derivative height·max(0, 1 − |x|/width) (Bellec et
// al., "Long short-term memory and learning-to-learn in networks of spiking
// neurons", 2018).
func Triangle(height, width float32) func(b *Builder, x Node) Node {
	return func(b *Builder, x Node) Node {
		return b.Scale(height, b.ReLU(b.Sub(b.Const(1), b.Scale(1/width, b.Abs(x)))))
	}
}

// ArcTangent is the surrogate derivative (alpha/2)/(1 + (π·alpha·x/2)²), that
// of arctan(π·alpha·x/2)/π (Fang et al., "Incorporating learnable membrane time
// constant", 2021).
func ArcTangent(alpha float32) func(b *Builder, x Node) Node {
	return func(b *Builder, x Node) Node {
		z := b.Scale(float32(math.Pi/2)*alpha, x)
		return b.Div(b.Const(alpha/2), b.Add(b.Square(z), b.Const(1)))
	}
}

// Clip returns x limited to [lo, hi]; its derivative is 1 within and on the
// limits, else 0.
func (b *Builder) Clip(x Node, lo, hi float32) Node {
	if !(lo <= hi) {
		panic(errorf("clip: to [%v, %v]", lo, hi))
	}
	return b.Min(b.Max(x, b.Const(lo)), b.Const(hi))
}

// Pow returns x to a constant power. Whole powers up to 64 are products and
// hold for every x (negative ones for all but 0), halves of them take a square
// root; any other power is e^(p·ln x) and needs x > 0.
func (b *Builder) Pow(x Node, p float64) Node {
	half, whole := math.Abs(p)*2, math.Abs(p)
	switch {
	case p == 0:
		return b.Fill(1, x.Shape())
	case whole == math.Trunc(whole) && whole <= 64:
		y := b.power(x, int(whole))
		if p < 0 {
			return b.Recip(y)
		}
		return y
	case half == math.Trunc(half) && half <= 64:
		y := b.Sqrt(x)
		if whole > 1 {
			y = b.Mul(b.power(x, int(whole)), y)
		}
		if p < 0 {
			return b.Recip(y)
		}
		return y
	}
	return b.Exp(b.Scale(float32(p), b.Log(x)))
}

// power returns xⁿ for n ≥ 1 by squaring.
func (b *Builder) power(x Node, n int) Node {
	var y Node
	for ; ; n /= 2 {
		if n%2 == 1 {
			if y.Valid() {
				y = b.Mul(y, x)
			} else {
				y = x
			}
		}
		if n == 1 {
			return y
		}
		x = b.Square(x)
	}
}

// Softplus returns ln(1 + eˣ); large values do not overflow. Its derivative is
// the sigmoid.
func (b *Builder) Softplus(x Node) Node {
	return b.Surrogate(x, func(b *Builder, x Node) Node {
		return b.Add(b.ReLU(x), b.Log1p(b.Exp(b.Neg(b.Abs(x)))))
	}, (*Builder).Sigmoid)
}

// LogSigmoid returns ln(1/(1 + e⁻ˣ)); large values do not overflow.
func (b *Builder) LogSigmoid(x Node) Node { return b.Neg(b.Softplus(b.Neg(x))) }

// Bernoulli returns a mask of independent draws, 1 with probability p, else 0:
// a function of the key and of the step that [Program.Run] is given.
func (b *Builder) Bernoulli(key rng.Key, p float32, shape ...int) Node {
	if !(p >= 0 && p <= 1) {
		panic(errorf("bernoulli: probability %v", p))
	}
	return b.Greater(b.Const(p), b.Uniform(key, 0, 1, shape...))
}

// Dropout sets elements of x to zero with probability p in [0, 1) and
// multiplies the others by 1/(1 − p). The mask is a function of the key and of
// the step that [Program.Run] is given: every layer needs a key of its own. It
// is for training; an evaluation leaves it out.
func (b *Builder) Dropout(x Node, p float32, key rng.Key) Node {
	if !(p >= 0 && p < 1) {
		panic(errorf("dropout: probability %v", p))
	}
	if p == 0 {
		return x
	}
	return b.Mul(x, b.Scale(1/(1-p), b.Bernoulli(key, 1-p, x.Shape()...)))
}
