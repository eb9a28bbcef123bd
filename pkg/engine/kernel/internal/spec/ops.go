// Package spec is what package kernel and the generator of its assembly both
// follow: the element-wise functions, the coefficients of their polynomials and
// the element-wise programs that get code of their own.
package spec

// Op is an element-wise function. Package kernel documents them.
type Op uint8

// The functions of one, two and three arguments, in this order.
const (
	Copy Op = iota
	Neg
	Abs
	Sign
	Step
	ReLU
	Square
	Sqrt
	Recip
	Exp
	Log
	Tanh
	Sigmoid
	Sin
	Cos
	Erf
	Floor
	Log1p
	Expm1
	Flush

	Add
	Sub
	Mul
	Div
	Max
	Min
	Greater
	GreaterEqual
	Equal

	Fma
	Select

	Ops // how many there are
)

var names = [Ops]string{
	"copy", "neg", "abs", "sign", "step", "relu", "square", "sqrt", "recip", "exp", "log", "tanh", "sigmoid", "sin", "cos",
	"erf", "floor", "log1p", "expm1", "flush",
	"add", "sub", "mul", "div", "max", "min", "greater", "greater-equal", "equal",
	"fma", "select",
}

// String returns the function's name.
func (op Op) String() string {
	if op >= Ops {
		return "?"
	}
	return names[op]
}

// Arity is the number of arguments: 1, 2 or 3.
func (op Op) Arity() int {
	switch {
	case op < Add:
		return 1
	case op < Fma:
		return 2
	}
	return 3
}
