package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Binary primitives of the kernel; see op_unary.go.

// binaryOp is a binary primitive. Its operands have the shape of the value, or one
// element.
type binaryOp struct{ f kernel.BinaryOp }

type binaryDefinition struct {
	exact func(a, b float64) float64
	// derivative returns the gradients of x and z, with y = f(x, z), in the shape of y;
	// nil where they are 0.
	derivative func(b *Builder, x, z, y, dy Node) (gx, gz Node)
}

var binaries = map[kernel.BinaryOp]binaryDefinition{}

func defineBinary(f kernel.BinaryOp, exact func(a, b float64) float64, derivative func(b *Builder, x, z, y, dy Node) (gx, gz Node)) {
	binaries[f] = binaryDefinition{exact, derivative}
}

func (o binaryOp) name() string         { return o.f.String() }
func (o binaryOp) primitive() kernel.Op { return o.f }

func (o binaryOp) grad(b *Builder, y, dy Node, in []Node) []Node {
	d := binaries[o.f].derivative
	if d == nil {
		return []Node{{}, {}}
	}
	gx, gz := d(b, in[0], in[1], y, dy)
	return []Node{b.SumTo(gx, in[0].Shape()), b.SumTo(gz, in[1].Shape())}
}

func (o binaryOp) twin(s *site64) {
	f := binaries[o.f].exact
	for i := range s.y {
		s.y[i] = f(at(s.x[0], i), at(s.x[1], i))
	}
}

// part implements [partial]: a sum's stretch is that of its terms.
func (o binaryOp) part(b *Builder, n node, from, to int) (Node, bool) {
	if o.f != kernel.Add || !b.nodes[n.in[0]].shape.Equal(n.shape) || !b.nodes[n.in[1]].shape.Equal(n.shape) {
		return Node{}, false
	}
	u, v := b.stretchOf(Node{b, n.in[0]}, from, to), b.stretchOf(Node{b, n.in[1]}, from, to)
	switch {
	case !u.Valid():
		return v, true
	case !v.Valid():
		return u, true
	}
	return b.Add(u, v), true
}

func (b *Builder) binary(f kernel.BinaryOp, x, z Node) Node {
	shape, ok := broadcast(x.Shape(), z.Shape())
	if !ok {
		panic(errorf("%s: shapes %s and %s do not broadcast", f, x.Shape(), z.Shape()))
	}
	if y, ok := b.foldBinary(f, x, z); ok {
		return y
	}
	return b.add(binaryOp{f}, shape, b.spread(x, shape), b.spread(z, shape))
}

// spread gives an operand that is neither of the full shape nor a single number the
// full shape, so that arithmetic itself stays element-wise.
func (b *Builder) spread(n Node, shape tensor.Shape) Node {
	if n.Shape().Equal(shape) || n.Shape().Elems() == 1 {
		return n
	}
	return b.BroadcastTo(n, shape)
}

// Add returns x + z, broadcasting as NumPy does.
func (b *Builder) Add(x, z Node) Node { return b.binary(kernel.Add, x, z) }

func init() {
	defineBinary(kernel.Add, func(a, b float64) float64 { return a + b }, func(_ *Builder, _, _, _, dy Node) (gx, gz Node) {
		return dy, dy
	})
}

// Sub returns x − z, broadcasting.
func (b *Builder) Sub(x, z Node) Node { return b.binary(kernel.Sub, x, z) }

func init() {
	defineBinary(kernel.Sub, func(a, b float64) float64 { return a - b }, func(b *Builder, _, _, _, dy Node) (gx, gz Node) {
		return dy, b.Neg(dy)
	})
}

// Mul returns x · z element by element, broadcasting.
func (b *Builder) Mul(x, z Node) Node { return b.binary(kernel.Mul, x, z) }

func init() {
	defineBinary(kernel.Mul, func(a, b float64) float64 { return a * b }, func(b *Builder, x, z, _, dy Node) (gx, gz Node) {
		return b.Mul(dy, z), b.Mul(dy, x)
	})
}

// Div returns x / z, broadcasting.
func (b *Builder) Div(x, z Node) Node { return b.binary(kernel.Div, x, z) }

func init() {
	defineBinary(kernel.Div, func(a, b float64) float64 { return a / b }, func(b *Builder, _, z, y, dy Node) (gx, gz Node) {
		gx = b.Div(dy, z)
		return gx, b.Neg(b.Div(b.Mul(dy, y), z))
	})
}

// Max returns the larger of x and z, x of equals, broadcasting.
func (b *Builder) Max(x, z Node) Node { return b.binary(kernel.Max, x, z) }

func init() {
	defineBinary(kernel.Max, func(a, b float64) float64 { return max(a, b) }, func(b *Builder, x, z, _, dy Node) (gx, gz Node) {
		first := b.Sub(b.Const(1), b.Greater(z, x)) // x ≥ z: the first wins ties
		return b.Mul(dy, first), b.Mul(dy, b.Greater(z, x))
	})
}

// Min returns the smaller of x and z, x of equals, broadcasting.
func (b *Builder) Min(x, z Node) Node { return b.binary(kernel.Min, x, z) }

func init() {
	defineBinary(kernel.Min, func(a, b float64) float64 { return min(a, b) }, func(b *Builder, x, z, _, dy Node) (gx, gz Node) {
		first := b.Sub(b.Const(1), b.Greater(x, z))
		return b.Mul(dy, first), b.Mul(dy, b.Greater(x, z))
	})
}

// Greater returns 1 where x > z, else 0, broadcasting; its derivative is 0.
func (b *Builder) Greater(x, z Node) Node { return b.binary(kernel.Greater, x, z) }

func init() { defineBinary(kernel.Greater, func(a, b float64) float64 { return truth64(a > b) }, nil) }

// GreaterEqual returns 1 where x ≥ z, else 0, broadcasting; its derivative is 0.
func (b *Builder) GreaterEqual(x, z Node) Node { return b.binary(kernel.GreaterEqual, x, z) }

func init() {
	defineBinary(kernel.GreaterEqual, func(a, b float64) float64 { return truth64(a >= b) }, nil)
}

// Equal returns 1 where x = z, else 0, broadcasting; its derivative is 0.
func (b *Builder) Equal(x, z Node) Node { return b.binary(kernel.Equal, x, z) }

func init() { defineBinary(kernel.Equal, func(a, b float64) float64 { return truth64(a == b) }, nil) }

// Scale returns c · x.
func (b *Builder) Scale(c float32, x Node) Node { return b.Mul(b.Const(c), x) }

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

// at returns element i of an operand that may be one value for all.
func at(x []float64, i int) float64 {
	if len(x) == 1 {
		return x[0]
	}
	return x[i]
}
