package kernel

import (
	"fmt"
	"math"
)

// unaryGo, binaryGo and ternaryGo define the element-wise functions, and run
// where there is no assembly.

func unaryGo(op Op, y, x []float32) {
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
			y[i] = abs32(v)
		}
	case Sign:
		for i, v := range x {
			y[i] = sign(v)
		}
	case Step:
		for i, v := range x {
			y[i] = indicate(v > 0)
		}
	case Flush:
		for i, v := range x {
			y[i] = flush(v)
		}
	case ReLU:
		for i, v := range x {
			y[i] = relu(v)
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
		for i, v := range x {
			y[i] = exp(v)
		}
	case Log:
		for i, v := range x {
			y[i] = log(v)
		}
	case Tanh:
		for i, v := range x {
			y[i] = tanh(v)
		}
	case Sigmoid:
		for i, v := range x {
			y[i] = sigmoid(v)
		}
	case Sin:
		for i, v := range x {
			y[i] = sin(v)
		}
	case Cos:
		for i, v := range x {
			y[i] = cos(v)
		}
	case Erf:
		for i, v := range x {
			y[i] = erf(v)
		}
	case Floor:
		for i, v := range x {
			y[i] = float32(math.Floor(float64(v)))
		}
	case Log1p:
		for i, v := range x {
			y[i] = log1p(v)
		}
	case Expm1:
		for i, v := range x {
			y[i] = expm1(v)
		}
	default:
		panic(fmt.Sprintf("kernel: %s is not of one argument", op))
	}
}

// copies is how many copies of a single operand are made at a time.
const copies = 256

// binaryGo takes the operands in the bits of single from their first element.
func binaryGo(op Op, single int, y, a, b []float32) {
	if single == 0 {
		binaryArrays(op, y, a, b)
		return
	}
	var buf [copies]float32
	one, many := a[0], b
	if single == 2 {
		one, many = b[0], a
	}
	fill(buf[:min(copies, len(y))], one)
	for len(y) > 0 {
		n := min(copies, len(y))
		if single == 1 {
			binaryArrays(op, y[:n], buf[:n], many[:n])
		} else {
			binaryArrays(op, y[:n], many[:n], buf[:n])
		}
		y, many = y[n:], many[n:]
	}
}

func binaryArrays(op Op, y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	switch op {
	case Add:
		for i := range y {
			y[i] = a[i] + b[i]
		}
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
			y[i] = indicate(a[i] > b[i])
		}
	case GreaterEqual:
		for i := range y {
			y[i] = indicate(a[i] >= b[i])
		}
	case Equal:
		for i := range y {
			y[i] = indicate(a[i] == b[i])
		}
	default:
		panic(fmt.Sprintf("kernel: %s is not of two arguments", op))
	}
}

func ternaryGo(op Op, single int, y, a, b, c []float32) {
	if op != Fma && op != Select {
		panic(fmt.Sprintf("kernel: %s is not of three arguments", op))
	}
	// The step from element to element is 0 for a single operand, which is
	// copied first, for y may hold it.
	sa, sb, sc := 1, 1, 1
	if single&1 != 0 {
		a, sa = []float32{a[0]}, 0
	}
	if single&2 != 0 {
		b, sb = []float32{b[0]}, 0
	}
	if single&4 != 0 {
		c, sc = []float32{c[0]}, 0
	}
	for i := range y {
		u, v, w := a[i*sa], b[i*sb], c[i*sc]
		switch {
		case op == Fma:
			y[i] = fma32(u, v, w)
		case u != 0:
			y[i] = v
		default:
			y[i] = w
		}
	}
}

func sign(v float32) float32 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return v // a zero or NaN
}

func relu(v float32) float32 {
	if v <= 0 {
		return 0
	}
	return v
}

func indicate(is bool) float32 {
	if is {
		return 1
	}
	return 0
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
