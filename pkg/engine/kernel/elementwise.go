package kernel

import (
	"fmt"
	"math"
)

// Op is an element-wise function.
type Op uint8

// The names that say how many arguments a function takes.
type (
	UnaryOp   = Op // one
	BinaryOp  = Op // two
	TernaryOp = Op // three
)

// The element-wise functions.
const (
	Copy    Op = iota // x
	Neg               // −x
	Abs               // |x|
	Sign              // −1, 0 or 1
	Step              // 1 where x > 0, else 0
	ReLU              // max(x, 0)
	Square            // x²
	Sqrt              // √x
	Recip             // 1/x
	Exp               // eˣ
	Log               // ln x
	Tanh              // tanh x
	Sigmoid           // 1/(1+e⁻ˣ)
	Sin               // sin x
	Cos               // cos x

	Add     // a + b
	Sub     // a − b
	Mul     // a · b
	Div     // a / b
	Max     // a if a ≥ b, else b; NaN if either is
	Min     // a if a ≤ b, else b; NaN if either is
	Greater // 1 where a > b, else 0
)

var opNames = [...]string{
	"copy", "neg", "abs", "sign", "step", "relu", "square", "sqrt", "recip", "exp", "log", "tanh", "sigmoid", "sin", "cos",
	"add", "sub", "mul", "div", "max", "min", "greater",
}

// String returns the function's name.
func (op Op) String() string { return opNames[op] }

// Unary computes y = op(x), element by element.
func Unary(op UnaryOp, y, x []float32) {
	x = x[:len(y)]
	switch op {
	case Copy:
		copy(y, x)
	case Neg:
		for i, v := range x {
			y[i] = -v
		}
	case Abs:
		for i, v := range x {
			y[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
		}
	case Sign:
		for i, v := range x {
			switch {
			case v > 0:
				y[i] = 1
			case v < 0:
				y[i] = -1
			default:
				y[i] = v // 0 and NaN
			}
		}
	case Step:
		for i, v := range x {
			if v > 0 {
				y[i] = 1
			} else {
				y[i] = 0
			}
		}
	case ReLU:
		for i, v := range x {
			if v > 0 || v != v {
				y[i] = v
			} else {
				y[i] = 0
			}
		}
	case Square:
		for i, v := range x {
			y[i] = v * v
		}
	case Sqrt:
		for i, v := range x {
			y[i] = float32(math.Sqrt(float64(v)))
		}
	case Recip:
		for i, v := range x {
			y[i] = 1 / v
		}
	case Exp:
		apply(y, x, math.Exp)
	case Log:
		apply(y, x, math.Log)
	case Tanh:
		apply(y, x, math.Tanh)
	case Sigmoid:
		for i, v := range x {
			y[i] = float32(1 / (1 + math.Exp(-float64(v))))
		}
	case Sin:
		apply(y, x, math.Sin)
	case Cos:
		apply(y, x, math.Cos)
	default:
		panic(fmt.Sprintf("kernel: unary op %d", op))
	}
}

func apply(y, x []float32, f func(float64) float64) {
	for i, v := range x {
		y[i] = float32(f(float64(v)))
	}
}

// Binary computes y = op(a, b), element by element. An operand of length 1
// stands for every element.
func Binary(op BinaryOp, y, a, b []float32) {
	switch {
	case len(a) == len(y) && len(b) == len(y):
		binary(op, y, a, b)
	case len(b) == 1:
		binaryRight(op, y, a[:len(y)], b[0])
	case len(a) == 1:
		binaryLeft(op, y, a[0], b[:len(y)])
	default:
		panic(fmt.Sprintf("kernel: %s of %d and %d into %d", op, len(a), len(b), len(y)))
	}
}

func binary(op BinaryOp, y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	if len(y) == 0 || binaryASM(op, &y[0], &a[0], &b[0], len(y)) {
		return
	}
	switch op {
	case Add:
		addSlices(y, a, b)
	case Sub:
		for i := range y {
			y[i] = a[i] - b[i]
		}
	case Mul:
		for i := range y {
			y[i] = a[i] * b[i]
		}
	case Div:
		for i := range y {
			y[i] = a[i] / b[i]
		}
	case Max:
		for i := range y {
			y[i] = maxOf(a[i], b[i])
		}
	case Min:
		for i := range y {
			y[i] = minOf(a[i], b[i])
		}
	case Greater:
		for i := range y {
			y[i] = greater(a[i], b[i])
		}
	}
}

func addSlices(y, a, b []float32) {
	for i := range y {
		y[i] = a[i] + b[i]
	}
}

func binaryRight(op BinaryOp, y, a []float32, b float32) {
	a = a[:len(y)]
	switch op {
	case Add:
		for i := range y {
			y[i] = a[i] + b
		}
	case Sub:
		for i := range y {
			y[i] = a[i] - b
		}
	case Mul:
		for i := range y {
			y[i] = a[i] * b
		}
	case Div:
		for i := range y {
			y[i] = a[i] / b
		}
	case Max:
		for i := range y {
			y[i] = maxOf(a[i], b)
		}
	case Min:
		for i := range y {
			y[i] = minOf(a[i], b)
		}
	case Greater:
		for i := range y {
			y[i] = greater(a[i], b)
		}
	}
}

func binaryLeft(op BinaryOp, y []float32, a float32, b []float32) {
	switch op {
	case Add, Mul, Max, Min:
		binaryRight(op, y, b, a)
		return
	}
	b = b[:len(y)]
	switch op {
	case Sub:
		for i := range y {
			y[i] = a - b[i]
		}
	case Div:
		for i := range y {
			y[i] = a / b[i]
		}
	case Greater:
		for i := range y {
			y[i] = greater(a, b[i])
		}
	}
}

func maxOf(a, b float32) float32 {
	if a >= b || a != a {
		return a
	}
	return b
}

func minOf(a, b float32) float32 {
	if a <= b || a != a {
		return a
	}
	return b
}

func greater(a, b float32) float32 {
	if a > b {
		return 1
	}
	return 0
}

// Softmax computes y = softmax(x) for one row, shifted by its maximum.
func Softmax(y, x []float32) {
	m := RowMax(x)
	var sum float64
	for i, v := range x {
		e := math.Exp(float64(v - m))
		sum += e
		y[i] = float32(e)
	}
	inv := 1 / sum
	for i := range y {
		y[i] = float32(float64(y[i]) * inv)
	}
}

// CrossEntropy returns −ln softmax(x)[label] of one row, shifted by its maximum.
func CrossEntropy(x []float32, label int) float32 {
	m := RowMax(x)
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v - m))
	}
	return float32(math.Log(sum) - float64(x[label]-m))
}

// RowMax returns the largest element, NaN if there is one.
func RowMax(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		if v > m || v != v {
			m = v
		}
	}
	return m
}

// ArgMax returns the index of the largest element, the first of equals.
func ArgMax(x []float32) int {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return best
}
