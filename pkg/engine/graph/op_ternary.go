package graph

import (
	"math"

	"neoteny/pkg/engine/kernel"
)

// Ternary primitives of the kernel; see op_unary.go.

// fmaOp is x·y + z, rounded once.
type fmaOp struct{}

func (fmaOp) name() string         { return kernel.Fma.String() }
func (fmaOp) primitive() kernel.Op { return kernel.Fma }

func (fmaOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	x, y, z := in[0], in[1], in[2]
	return []Node{b.SumTo(b.Mul(dy, y), x.Shape()), b.SumTo(b.Mul(dy, x), y.Shape()), b.SumTo(dy, z.Shape())}
}

func (fmaOp) twin(s *site64) {
	for i := range s.y {
		s.y[i] = math.FMA(at(s.x[0], i), at(s.x[1], i), at(s.x[2], i))
	}
}

// Fma returns x·y + z with one rounding, broadcasting.
func (b *Builder) Fma(x, y, z Node) Node { return b.ternary(fmaOp{}, x, y, z) }

// selectOp is one of two values by a mask.
type selectOp struct{}

func (selectOp) name() string         { return kernel.Select.String() }
func (selectOp) primitive() kernel.Op { return kernel.Select }

func (selectOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	mask, zero := in[0], b.Const(0)
	return []Node{{}, b.SumTo(b.Select(mask, dy, zero), in[1].Shape()), b.SumTo(b.Select(mask, zero, dy), in[2].Shape())}
}

func (selectOp) twin(s *site64) {
	for i := range s.y {
		if at(s.x[0], i) != 0 {
			s.y[i] = at(s.x[1], i)
		} else {
			s.y[i] = at(s.x[2], i)
		}
	}
}

// Select returns x where mask is not 0, else z, broadcasting; mask has no
// derivative. What is not selected may be anything, even not finite.
func (b *Builder) Select(mask, x, z Node) Node { return b.ternary(selectOp{}, mask, x, z) }

func (b *Builder) ternary(o elementwise, x, y, z Node) Node {
	shape, ok := broadcast(x.Shape(), y.Shape())
	if ok {
		shape, ok = broadcast(shape, z.Shape())
	}
	if !ok {
		panic(errorf("%s: shapes %s, %s and %s do not broadcast", o.name(), x.Shape(), y.Shape(), z.Shape()))
	}
	return b.add(o, shape, b.spread(x, shape), b.spread(y, shape), b.spread(z, shape))
}
