package graph

import (
	"math"
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type unaryOp struct {
	noInstruction
	f kernel.UnaryOp
}

func (o unaryOp) name() string { return o.f.String() }

func (o unaryOp) grad(b *Builder, y, dy Node, in []Node) []Node {
	x := in[0]
	one := func() Node { return b.Const(1) }
	var g Node
	switch o.f {
	case kernel.Copy:
		g = dy
	case kernel.Neg:
		g = b.Neg(dy)
	case kernel.Abs:
		g = b.Mul(dy, b.Sign(x))
	case kernel.Sign, kernel.Step, kernel.Floor:
		return []Node{{}}
	case kernel.ReLU:
		g = b.Select(b.Step(y), dy, b.Const(0))
	case kernel.Flush:
		g = b.Mul(dy, b.GreaterEqual(b.Abs(x), b.Const(kernel.Tiny)))
	case kernel.Square:
		g = b.Mul(dy, b.Mul(b.Const(2), x))
	case kernel.Sqrt:
		g = b.Div(dy, b.Mul(b.Const(2), y))
	case kernel.Recip:
		g = b.Neg(b.Mul(dy, b.Square(y)))
	case kernel.Exp:
		g = b.Mul(dy, y)
	case kernel.Log:
		g = b.Div(dy, x)
	case kernel.Tanh:
		g = b.Mul(dy, b.Sub(one(), b.Square(y)))
	case kernel.Sigmoid:
		g = b.Mul(dy, b.Mul(y, b.Sub(one(), y)))
	case kernel.Sin:
		g = b.Mul(dy, b.Cos(x))
	case kernel.Cos:
		g = b.Neg(b.Mul(dy, b.Sin(x)))
	case kernel.Erf:
		g = b.Mul(dy, b.Scale(2/math.SqrtPi, b.Exp(b.Neg(b.Square(x)))))
	case kernel.Log1p:
		g = b.Div(dy, b.Add(x, one()))
	case kernel.Expm1:
		g = b.Mul(dy, b.Add(y, one()))
	}
	return []Node{g}
}

func (b *Builder) unary(f kernel.UnaryOp, x Node) Node {
	if y, ok := b.foldUnary(f, x); ok {
		return y
	}
	return b.add(unaryOp{f: f}, x.Shape(), x)
}

// Neg returns −x.
func (b *Builder) Neg(x Node) Node { return b.unary(kernel.Neg, x) }

// Abs returns |x|; its derivative at 0 is 0.
func (b *Builder) Abs(x Node) Node { return b.unary(kernel.Abs, x) }

// Sign returns −1, 0 or 1; its derivative is 0.
func (b *Builder) Sign(x Node) Node { return b.unary(kernel.Sign, x) }

// Step returns 1 where x > 0, else 0; its derivative is 0.
func (b *Builder) Step(x Node) Node { return b.unary(kernel.Step, x) }

// Flush returns 0 where |x| < [kernel.Tiny], else x. What decays for ever goes
// through it: numbers below 2⁻¹²⁶ slow processors down many times over.
func (b *Builder) Flush(x Node) Node { return b.unary(kernel.Flush, x) }

// ReLU returns max(x, 0); its derivative at 0 is 0.
func (b *Builder) ReLU(x Node) Node { return b.unary(kernel.ReLU, x) }

// Square returns x².
func (b *Builder) Square(x Node) Node { return b.unary(kernel.Square, x) }

// Sqrt returns √x.
func (b *Builder) Sqrt(x Node) Node { return b.unary(kernel.Sqrt, x) }

// Recip returns 1/x.
func (b *Builder) Recip(x Node) Node { return b.unary(kernel.Recip, x) }

// Exp returns eˣ.
func (b *Builder) Exp(x Node) Node { return b.unary(kernel.Exp, x) }

// Log returns ln x.
func (b *Builder) Log(x Node) Node { return b.unary(kernel.Log, x) }

// Tanh returns tanh x.
func (b *Builder) Tanh(x Node) Node { return b.unary(kernel.Tanh, x) }

// Sigmoid returns 1/(1+e⁻ˣ).
func (b *Builder) Sigmoid(x Node) Node { return b.unary(kernel.Sigmoid, x) }

// Sin returns sin x.
func (b *Builder) Sin(x Node) Node { return b.unary(kernel.Sin, x) }

// Cos returns cos x.
func (b *Builder) Cos(x Node) Node { return b.unary(kernel.Cos, x) }

// Erf returns the error function of x.
func (b *Builder) Erf(x Node) Node { return b.unary(kernel.Erf, x) }

// Floor returns the largest integer ≤ x; its derivative is 0.
func (b *Builder) Floor(x Node) Node { return b.unary(kernel.Floor, x) }

// Log1p returns ln(1+x).
func (b *Builder) Log1p(x Node) Node { return b.unary(kernel.Log1p, x) }

// Expm1 returns eˣ−1.
func (b *Builder) Expm1(x Node) Node { return b.unary(kernel.Expm1, x) }

// LeakyReLU returns x where x > 0, else slope·x, for a slope in [0, 1).
func (b *Builder) LeakyReLU(x Node, slope float32) Node {
	return b.Max(x, b.Mul(b.Const(slope), x))
}

type binaryOp struct {
	noInstruction
	f kernel.BinaryOp
}

func (o binaryOp) name() string { return o.f.String() }

func (o binaryOp) grad(b *Builder, y, dy Node, in []Node) []Node {
	x, z := in[0], in[1]
	var gx, gz Node
	switch o.f {
	case kernel.Add:
		gx, gz = dy, dy
	case kernel.Sub:
		gx, gz = dy, b.Neg(dy)
	case kernel.Mul:
		gx, gz = b.Mul(dy, z), b.Mul(dy, x)
	case kernel.Div:
		gx = b.Div(dy, z)
		gz = b.Neg(b.Div(b.Mul(dy, y), z))
	case kernel.Max:
		first := b.Sub(b.Const(1), b.Greater(z, x)) // x ≥ z: the first wins ties
		gx, gz = b.Mul(dy, first), b.Mul(dy, b.Greater(z, x))
	case kernel.Min:
		first := b.Sub(b.Const(1), b.Greater(x, z))
		gx, gz = b.Mul(dy, first), b.Mul(dy, b.Greater(x, z))
	case kernel.Greater, kernel.GreaterEqual, kernel.Equal:
		return []Node{{}, {}}
	}
	return []Node{b.SumTo(gx, x.Shape()), b.SumTo(gz, z.Shape())}
}

func (b *Builder) binary(f kernel.BinaryOp, x, z Node) Node {
	shape, ok := broadcast(x.Shape(), z.Shape())
	if !ok {
		panic(errorf("%s: shapes %s and %s do not broadcast", f, x.Shape(), z.Shape()))
	}
	if y, ok := b.foldBinary(f, x, z); ok {
		return y
	}
	// Operands that are neither of the full shape nor single are spread out
	// first, so that arithmetic itself stays element-wise.
	spread := func(n Node) Node {
		if n.Shape().Equal(shape) || n.Shape().Elems() == 1 {
			return n
		}
		return b.BroadcastTo(n, shape)
	}
	return b.add(binaryOp{f: f}, shape, spread(x), spread(z))
}

// Add returns x + z, broadcasting as NumPy does.
func (b *Builder) Add(x, z Node) Node { return b.binary(kernel.Add, x, z) }

// Sub returns x − z, broadcasting.
func (b *Builder) Sub(x, z Node) Node { return b.binary(kernel.Sub, x, z) }

// Mul returns x · z element by element, broadcasting.
func (b *Builder) Mul(x, z Node) Node { return b.binary(kernel.Mul, x, z) }

// Div returns x / z, broadcasting.
func (b *Builder) Div(x, z Node) Node { return b.binary(kernel.Div, x, z) }

// Max returns the larger of x and z, x of equals, broadcasting.
func (b *Builder) Max(x, z Node) Node { return b.binary(kernel.Max, x, z) }

// Min returns the smaller of x and z, x of equals, broadcasting.
func (b *Builder) Min(x, z Node) Node { return b.binary(kernel.Min, x, z) }

// Greater returns 1 where x > z, else 0, broadcasting; its derivative is 0.
func (b *Builder) Greater(x, z Node) Node { return b.binary(kernel.Greater, x, z) }

// GreaterEqual returns 1 where x ≥ z, else 0, broadcasting; its derivative is 0.
func (b *Builder) GreaterEqual(x, z Node) Node { return b.binary(kernel.GreaterEqual, x, z) }

// Equal returns 1 where x = z, else 0, broadcasting; its derivative is 0.
func (b *Builder) Equal(x, z Node) Node { return b.binary(kernel.Equal, x, z) }

// Scale returns c · x.
func (b *Builder) Scale(c float32, x Node) Node { return b.Mul(b.Const(c), x) }

type ternaryOp struct {
	noInstruction
	f kernel.TernaryOp
}

func (o ternaryOp) name() string { return o.f.String() }

func (o ternaryOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	x, y, z := in[0], in[1], in[2]
	switch o.f {
	case kernel.Fma:
		return []Node{b.SumTo(b.Mul(dy, y), x.Shape()), b.SumTo(b.Mul(dy, x), y.Shape()), b.SumTo(dy, z.Shape())}
	default: // Select
		zero := b.Const(0)
		return []Node{{}, b.SumTo(b.Select(x, dy, zero), y.Shape()), b.SumTo(b.Select(x, zero, dy), z.Shape())}
	}
}

func (b *Builder) ternary(f kernel.TernaryOp, x, y, z Node) Node {
	shape, ok := broadcast(x.Shape(), y.Shape())
	if ok {
		shape, ok = broadcast(shape, z.Shape())
	}
	if !ok {
		panic(errorf("%s: shapes %s, %s and %s do not broadcast", f, x.Shape(), y.Shape(), z.Shape()))
	}
	spread := func(n Node) Node {
		if n.Shape().Equal(shape) || n.Shape().Elems() == 1 {
			return n
		}
		return b.BroadcastTo(n, shape)
	}
	return b.add(ternaryOp{f: f}, shape, spread(x), spread(y), spread(z))
}

// Fma returns x·y + z with one rounding, broadcasting.
func (b *Builder) Fma(x, y, z Node) Node { return b.ternary(kernel.Fma, x, y, z) }

// Select returns x where mask is not 0, else z, broadcasting; mask has no
// derivative. What is not selected may be anything, even not finite.
func (b *Builder) Select(mask, x, z Node) Node { return b.ternary(kernel.Select, mask, x, z) }

// broadcast returns the common shape of two shapes, aligned at the last axis.
func broadcast(x, z tensor.Shape) (tensor.Shape, bool) {
	if len(x) < len(z) {
		x, z = z, x
	}
	out := slices.Clone(x)
	off := len(x) - len(z)
	for i, d := range z {
		switch {
		case out[off+i] == d || d == 1:
		case out[off+i] == 1:
			out[off+i] = d
		default:
			return nil, false
		}
	}
	return out, true
}
