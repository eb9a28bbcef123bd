package graph

import (
	"math"

	"neoteny/pkg/engine/kernel"
)

// Unary primitives of the kernel: each is the Builder's method, its meaning in float64
// and its derivative. What the kernel computes is in package kernel.

// unaryOp is a unary primitive.
type unaryOp struct{ f kernel.UnaryOp }

type unaryDefinition struct {
	exact func(x float64) float64
	// derivative returns dy·f′(x), with y = f(x); nil where f′ is 0.
	derivative func(b *Builder, x, y, dy Node) Node
}

var unaries = map[kernel.UnaryOp]unaryDefinition{}

func defineUnary(f kernel.UnaryOp, exact func(float64) float64, derivative func(b *Builder, x, y, dy Node) Node) {
	unaries[f] = unaryDefinition{exact, derivative}
}

func (o unaryOp) name() string         { return o.f.String() }
func (o unaryOp) primitive() kernel.Op { return o.f }

func (o unaryOp) grad(b *Builder, y, dy Node, in []Node) []Node {
	d := unaries[o.f].derivative
	if d == nil {
		return []Node{{}}
	}
	return []Node{d(b, in[0], y, dy)}
}

func (o unaryOp) twin(s *site64) {
	f := unaries[o.f].exact
	for i := range s.y {
		s.y[i] = f(at(s.x[0], i))
	}
}

func (b *Builder) unary(f kernel.UnaryOp, x Node) Node {
	if y, ok := b.foldUnary(f, x); ok {
		return y
	}
	return b.add(unaryOp{f}, x.Shape(), x)
}

func init() {
	defineUnary(kernel.Copy, func(x float64) float64 { return x }, func(_ *Builder, _, _, dy Node) Node {
		return dy
	})
}

// Neg returns −x.
func (b *Builder) Neg(x Node) Node { return b.unary(kernel.Neg, x) }

func init() {
	defineUnary(kernel.Neg, func(x float64) float64 { return -x }, func(b *Builder, _, _, dy Node) Node {
		return b.Neg(dy)
	})
}

// Abs returns |x|; its derivative at 0 is 0.
func (b *Builder) Abs(x Node) Node { return b.unary(kernel.Abs, x) }

func init() {
	defineUnary(kernel.Abs, math.Abs, func(b *Builder, x, _, dy Node) Node {
		return b.Mul(dy, b.Sign(x))
	})
}

// Sign returns −1, 0 or 1; its derivative is 0.
func (b *Builder) Sign(x Node) Node { return b.unary(kernel.Sign, x) }

func init() {
	defineUnary(kernel.Sign, func(x float64) float64 { return truth64(x > 0) - truth64(x < 0) }, nil)
}

// Step returns 1 where x > 0, else 0; its derivative is 0.
func (b *Builder) Step(x Node) Node { return b.unary(kernel.Step, x) }

func init() { defineUnary(kernel.Step, func(x float64) float64 { return truth64(x > 0) }, nil) }

// Flush returns 0 where |x| < [kernel.Tiny], else x. What decays for ever goes
// through it: numbers below 2⁻¹²⁶ slow processors down many times over.
func (b *Builder) Flush(x Node) Node { return b.unary(kernel.Flush, x) }

func init() {
	defineUnary(kernel.Flush, func(x float64) float64 { return x * truth64(math.Abs(x) >= kernel.Tiny) }, func(b *Builder, x, _, dy Node) Node {
		return b.Mul(dy, b.GreaterEqual(b.Abs(x), b.Const(kernel.Tiny)))
	})
}

// ReLU returns max(x, 0); its derivative at 0 is 0.
func (b *Builder) ReLU(x Node) Node { return b.unary(kernel.ReLU, x) }

func init() {
	defineUnary(kernel.ReLU, func(x float64) float64 { return max(x, 0) }, func(b *Builder, _, y, dy Node) Node {
		return b.Select(b.Step(y), dy, b.Const(0))
	})
}

// Square returns x².
func (b *Builder) Square(x Node) Node { return b.unary(kernel.Square, x) }

func init() {
	defineUnary(kernel.Square, func(x float64) float64 { return x * x }, func(b *Builder, x, _, dy Node) Node {
		return b.Mul(dy, b.Mul(b.Const(2), x))
	})
}

// Sqrt returns √x.
func (b *Builder) Sqrt(x Node) Node { return b.unary(kernel.Sqrt, x) }

func init() {
	defineUnary(kernel.Sqrt, math.Sqrt, func(b *Builder, _, y, dy Node) Node {
		return b.Div(dy, b.Mul(b.Const(2), y))
	})
}

// Recip returns 1/x.
func (b *Builder) Recip(x Node) Node { return b.unary(kernel.Recip, x) }

func init() {
	defineUnary(kernel.Recip, func(x float64) float64 { return 1 / x }, func(b *Builder, _, y, dy Node) Node {
		return b.Neg(b.Mul(dy, b.Square(y)))
	})
}

// Exp returns eˣ.
func (b *Builder) Exp(x Node) Node { return b.unary(kernel.Exp, x) }

func init() {
	defineUnary(kernel.Exp, math.Exp, func(b *Builder, _, y, dy Node) Node {
		return b.Mul(dy, y)
	})
}

// Log returns ln x.
func (b *Builder) Log(x Node) Node { return b.unary(kernel.Log, x) }

func init() {
	defineUnary(kernel.Log, math.Log, func(b *Builder, x, _, dy Node) Node {
		return b.Div(dy, x)
	})
}

// Tanh returns tanh x.
func (b *Builder) Tanh(x Node) Node { return b.unary(kernel.Tanh, x) }

func init() {
	defineUnary(kernel.Tanh, math.Tanh, func(b *Builder, _, y, dy Node) Node {
		return b.Mul(dy, b.Sub(b.Const(1), b.Square(y)))
	})
}

// Sigmoid returns 1/(1+e⁻ˣ).
func (b *Builder) Sigmoid(x Node) Node { return b.unary(kernel.Sigmoid, x) }

func init() {
	defineUnary(kernel.Sigmoid, sigmoid64, func(b *Builder, _, y, dy Node) Node {
		return b.Mul(dy, b.Mul(y, b.Sub(b.Const(1), y)))
	})
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// Sin returns sin x.
func (b *Builder) Sin(x Node) Node { return b.unary(kernel.Sin, x) }

func init() {
	defineUnary(kernel.Sin, math.Sin, func(b *Builder, x, _, dy Node) Node {
		return b.Mul(dy, b.Cos(x))
	})
}

// Cos returns cos x.
func (b *Builder) Cos(x Node) Node { return b.unary(kernel.Cos, x) }

func init() {
	defineUnary(kernel.Cos, math.Cos, func(b *Builder, x, _, dy Node) Node {
		return b.Neg(b.Mul(dy, b.Sin(x)))
	})
}

// Erf returns the error function of x.
func (b *Builder) Erf(x Node) Node { return b.unary(kernel.Erf, x) }

func init() {
	defineUnary(kernel.Erf, math.Erf, func(b *Builder, x, _, dy Node) Node {
		return b.Mul(dy, b.Scale(2/math.SqrtPi, b.Exp(b.Neg(b.Square(x)))))
	})
}

// Floor returns the largest integer ≤ x; its derivative is 0.
func (b *Builder) Floor(x Node) Node { return b.unary(kernel.Floor, x) }

func init() { defineUnary(kernel.Floor, math.Floor, nil) }

// Log1p returns ln(1+x).
func (b *Builder) Log1p(x Node) Node { return b.unary(kernel.Log1p, x) }

func init() {
	defineUnary(kernel.Log1p, math.Log1p, func(b *Builder, x, _, dy Node) Node {
		return b.Div(dy, b.Add(x, b.Const(1)))
	})
}

// Expm1 returns eˣ−1.
func (b *Builder) Expm1(x Node) Node { return b.unary(kernel.Expm1, x) }

func init() {
	defineUnary(kernel.Expm1, math.Expm1, func(b *Builder, _, y, dy Node) Node {
		return b.Mul(dy, b.Add(y, b.Const(1)))
	})
}

// LeakyReLU returns x where x > 0, else slope·x, for a slope in [0, 1).
func (b *Builder) LeakyReLU(x Node, slope float32) Node {
	return b.Max(x, b.Mul(b.Const(slope), x))
}

func truth64(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
