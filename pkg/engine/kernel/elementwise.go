package kernel

import (
	"fmt"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// Op is an element-wise function. Its results are the same bits on every
// instruction set; the sign and payload of a NaN are not defined.
type Op = spec.Op

// The names that say how many arguments a function takes.
type (
	UnaryOp   = Op // one
	BinaryOp  = Op // two
	TernaryOp = Op // three
)

// Functions of one argument, with their largest errors in units of the last
// place over all float32 arguments.
const (
	Copy    = spec.Copy    // x
	Neg     = spec.Neg     // −x
	Abs     = spec.Abs     // |x|
	Sign    = spec.Sign    // −1, 0 (of x's sign) or 1
	Step    = spec.Step    // 1 where x > 0, else 0
	ReLU    = spec.ReLU    // x where x > 0, else +0; NaN of NaN
	Square  = spec.Square  // x²
	Sqrt    = spec.Sqrt    // √x
	Recip   = spec.Recip   // 1/x
	Exp     = spec.Exp     // eˣ; 1.02 ulp
	Log     = spec.Log     // ln x; 0.9 ulp
	Tanh    = spec.Tanh    // tanh x; 1.4 ulp
	Sigmoid = spec.Sigmoid // 1/(1+e⁻ˣ); 2.5 ulp, and 0 below −88.7
	Sin     = spec.Sin     // sin x; 1.6 ulp, however large x is
	Cos     = spec.Cos     // cos x; 1.6 ulp, however large x is
	Erf     = spec.Erf     // erf x; 1.2 ulp
	Floor   = spec.Floor   // the largest integer ≤ x
	Log1p   = spec.Log1p   // ln(1+x); 1 ulp
	Expm1   = spec.Expm1   // eˣ−1; 1.5 ulp
	Flush   = spec.Flush   // +0 where |x| < [Tiny], else x
)

// Tiny is the smallest number but 0 that [Flush] lets pass, 2⁻¹⁰⁰: far below
// what a weight or a gradient can feel, and above the numbers below 2⁻¹²⁶ on
// which processors are slow.
const Tiny = spec.Tiny

// Functions of two arguments.
const (
	Add          = spec.Add          // a + b
	Sub          = spec.Sub          // a − b
	Mul          = spec.Mul          // a · b
	Div          = spec.Div          // a / b
	Max          = spec.Max          // a if a ≥ b, else b; NaN if either is
	Min          = spec.Min          // a if a ≤ b, else b; NaN if either is
	Greater      = spec.Greater      // 1 where a > b, else 0
	GreaterEqual = spec.GreaterEqual // 1 where a ≥ b, else 0
	Equal        = spec.Equal        // 1 where a = b, else 0
)

// Functions of three arguments.
const (
	Fma    = spec.Fma    // a·b + c, rounded once
	Select = spec.Select // b where a ≠ 0, else c
)

// mapStretch is how many elements one call of assembly handles at most: it cannot
// be preempted, and takes some 50 µs for as many of the slowest function.
const mapStretch = 1 << 15

// Unary computes y = op(x), element by element. y may be x.
func Unary(op UnaryOp, y, x []float32) {
	if len(x) != len(y) {
		panic(fmt.Sprintf("kernel: %s of %d into %d", op, len(x), len(y)))
	}
	for len(y) > mapStretch {
		unary(op, y[:mapStretch], x[:mapStretch])
		y, x = y[mapStretch:], x[mapStretch:]
	}
	unary(op, y, x)
}

func unary(op Op, y, x []float32) {
	if len(y) == 0 {
		return
	}
	switch op {
	case Copy:
		copy(y, x)
		return
	case Sin:
		if huge, ok := sinASM(&y[0], &x[0], len(y)); ok {
			if huge != 0 {
				trigRest(y, 0)
			}
			return
		}
	case Cos:
		if huge, ok := cosASM(&y[0], &x[0], len(y)); ok {
			if huge != 0 {
				trigRest(y, 1)
			}
			return
		}
	}
	if !unaryASM(op, &y[0], &x[0], len(y)) {
		unaryGo(op, y, x)
	}
}

// trigRest computes the elements that the assembly has left as they were: no
// sine is above 1.
func trigRest(y []float32, quarters uint32) {
	for i, v := range y {
		if !(abs32(v) <= 1) {
			y[i] = sinHuge(v, quarters)
		}
	}
}

// Binary computes y = op(a, b), element by element. An operand of length 1
// stands for every element; y may be a or b.
func Binary(op BinaryOp, y, a, b []float32) {
	single := singles(op, len(y), len(a), len(b), len(y))
	if len(y) == 0 {
		return
	}
	if single == 3 {
		binary(op, 0, y[:1], a, b)
		fill(y[1:], y[0])
		return
	}
	for len(y) > mapStretch {
		binary(op, single, y[:mapStretch], a, b)
		y, a, b = y[mapStretch:], rest(a, single, 0), rest(b, single, 1)
	}
	binary(op, single, y, a, b)
}

func binary(op Op, single int, y, a, b []float32) {
	if !binaryASM(int(op)<<3+single, &y[0], &a[0], &b[0], len(y)) {
		binaryGo(op, single, y, a, b)
	}
}

// Ternary computes y = op(a, b, c), element by element. An operand of length 1
// stands for every element; y may be a, b or c.
func Ternary(op TernaryOp, y, a, b, c []float32) {
	single := singles(op, len(y), len(a), len(b), len(c))
	if len(y) == 0 {
		return
	}
	if single == 7 {
		ternary(op, 0, y[:1], a, b, c)
		fill(y[1:], y[0])
		return
	}
	for len(y) > mapStretch {
		ternary(op, single, y[:mapStretch], a, b, c)
		y, a, b, c = y[mapStretch:], rest(a, single, 0), rest(b, single, 1), rest(c, single, 2)
	}
	ternary(op, single, y, a, b, c)
}

func ternary(op Op, single int, y, a, b, c []float32) {
	if !ternaryASM(int(op)<<3+single, &y[0], &a[0], &b[0], &c[0], len(y)) {
		ternaryGo(op, single, y, a, b, c)
	}
}

// singles returns which operands are single numbers, the first in bit 0.
func singles(op Op, y, a, b, c int) int {
	single := 0
	if a != y {
		single |= 1
	}
	if b != y {
		single |= 2
	}
	if c != y {
		single |= 4
	}
	if a != y && a != 1 || b != y && b != 1 || c != y && c != 1 {
		panic(fmt.Sprintf("kernel: %s of %d, %d and %d into %d", op, a, b, c, y))
	}
	return single
}

func rest(x []float32, single, i int) []float32 {
	if single>>i&1 != 0 {
		return x
	}
	return x[mapStretch:]
}

func fill(y []float32, v float32) {
	for i := range y {
		y[i] = v
	}
}
