package kernel

import (
	"fmt"
	"math"
)

// Functions of the rows of a matrix [rows][cols], each row by itself. The
// exponentials of a softmax are of the elements minus the row's maximum, their
// sum is that of [Sum], and all is float32.

// shortRow is how many columns fit into one vector: such rows have assembly of
// their own.
var shortRow = [...]int{NEON: 4, AVX2: 8, AVX512: 16}

// rowStretch is how many short rows one call of assembly does.
const rowStretch = 256

// Softmax computes y = softmax(x) for one row.
func Softmax(y, x []float32) { SoftmaxRows(y, x, 1, len(x)) }

// SoftmaxRows computes each row of y = softmax of the row of x, eˣ/Σeˣ, with
// one division per element. y may be x.
func SoftmaxRows(y, x []float32, rows, cols int) {
	softmaxRows(y[:rows*cols], nil, x, nil, rows, cols)
}

// CrossEntropy returns −ln softmax(x)[label] of one row.
func CrossEntropy(x []float32, label int) float32 {
	var loss [1]float32
	CrossEntropyRows(loss[:], x, []int32{int32(label)}, 1, len(x))
	return loss[0]
}

// CrossEntropyRows computes losses[i] = −ln softmax(row i of x)[labels[i]], as
// ln Σeˣ minus the label's element.
func CrossEntropyRows(losses, x []float32, labels []int32, rows, cols int) {
	softmaxRows(nil, losses[:rows], x, labels, rows, cols)
}

// SoftmaxCrossEntropyRows is SoftmaxRows and CrossEntropyRows in one pass.
func SoftmaxCrossEntropyRows(probabilities, losses, x []float32, labels []int32, rows, cols int) {
	softmaxRows(probabilities[:rows*cols], losses[:rows], x, labels, rows, cols)
}

// softmaxRows computes probabilities unless y is nil, and losses unless they
// are.
func softmaxRows(y, losses, x []float32, labels []int32, rows, cols int) {
	x = x[:rows*cols]
	if len(x) == 0 {
		return
	}
	if losses != nil {
		labels = labels[:rows]
		for _, l := range labels {
			if uint(l) >= uint(cols) {
				panic(fmt.Sprintf("kernel: label %d of %d classes", l, cols))
			}
		}
	}
	if int(active) < len(shortRow) && cols <= shortRow[active] {
		for i := 0; i < rows; i += rowStretch {
			n := min(rowStretch, rows-i)
			softmaxRowsASM(from(y, i*cols), from(losses, i), &x[i*cols], from(labels, i), n, cols)
		}
		return
	}
	for i := range rows {
		row := x[i*cols : (i+1)*cols]
		m := RowMax(row)
		var of float32
		if losses != nil {
			of = row[labels[i]] - m
		}
		var sum float32
		if y != nil {
			p := y[i*cols : (i+1)*cols]
			expShifted(p, row, m)
			sum = Sum(p)
			single := [1]float32{sum}
			Binary(Div, p, p, single[:])
		} else {
			sum = sumExp(row, m)
		}
		if losses != nil {
			losses[i] = sum
			Unary(Log, losses[i:i+1], losses[i:i+1])
			losses[i] -= of
		}
	}
}

// from returns the address of element i, nil for a nil slice.
func from[T any](x []T, i int) *T {
	if x == nil {
		return nil
	}
	return &x[i]
}

// LogSoftmaxRows computes each row of y = ln softmax of the row of x, as the
// element minus the maximum minus ln Σeˣ. y may not be x.
func LogSoftmaxRows(y, x []float32, rows, cols int) {
	y, x = y[:rows*cols], x[:rows*cols]
	if len(x) == 0 {
		return
	}
	if int(active) < len(shortRow) && cols <= shortRow[active] {
		for i := 0; i < rows; i += rowStretch {
			logSoftmaxRowsASM(&y[i*cols], &x[i*cols], min(rowStretch, rows-i), cols)
		}
		return
	}
	for i := range rows {
		row, to := x[i*cols:(i+1)*cols], y[i*cols:(i+1)*cols]
		m := RowMax(row)
		expShifted(to, row, m)
		v := [1]float32{Sum(to)}
		Unary(Log, v[:], v[:])
		log := v[0]
		v[0] = m
		Binary(Sub, to, row, v[:])
		v[0] = log
		Binary(Sub, to, to, v[:])
	}
}

// RowMax returns the largest element, NaN if there is one; a zero is +0. x has
// an element.
func RowMax(x []float32) float32 {
	n := min(len(x), stretch)
	m, ok := rowMaxASM(&x[0], n)
	if !ok {
		return rowMaxGeneric(x)
	}
	if n < len(x) {
		parts := [2]float32{m, RowMax(x[n:])}
		return rowMaxGeneric(parts[:])
	}
	return m
}

func rowMaxGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		if v > m || v != v {
			m = v
		}
	}
	return m + 0
}

// ArgMax returns the index of the largest element, the first of equals, or of
// the first NaN. x has an element.
func ArgMax(x []float32) int {
	m := RowMax(x)
	for i, v := range x {
		if v == m || v != v {
			return i
		}
	}
	panic("kernel: no element is the largest")
}

// expShifted computes y = e^(x−m).
func expShifted(y, x []float32, m float32) {
	const stretch = 1 << 13
	for len(x) > 0 {
		n := min(len(x), stretch)
		if !expShiftedASM(&y[0], &x[0], n, m) {
			for i, v := range x[:n] {
				y[i] = exp(v - m)
			}
		}
		y, x = y[n:], x[n:]
	}
}

// sumExp returns the [Sum] of e^(x−m) without a place for all of them.
func sumExp(x []float32, m float32) float32 {
	var buf [4 * lanes]float32
	if len(x) <= len(buf) {
		expShifted(buf[:len(x)], x, m)
		return Sum(buf[:len(x)])
	}
	var t [lanes]float32
	for len(x) > 0 {
		n := min(len(x), len(buf))
		expShifted(buf[:n], x[:n], m)
		for i := 0; i < n; i += lanes {
			k := min(lanes, n-i)
			Binary(Add, t[:k], t[:k], buf[i:i+k])
		}
		x = x[n:]
	}
	return fold(&t)
}

// MomentsRows computes the mean of each row, [Sum] divided by cols, and its
// variance: the squares of the differences to the mean, added up in the order of
// [Dot], divided by cols.
func MomentsRows(mean, variance, x []float32, rows, cols int) {
	mean, variance, x = mean[:rows], variance[:rows], x[:rows*cols]
	for i := range rows {
		row := x[i*cols : (i+1)*cols]
		mean[i] = Sum(row) / float32(cols)
		variance[i] = sumSquaredDeviations(row, mean[i]) / float32(cols)
	}
}

func sumSquaredDeviations(x []float32, mean float32) float32 {
	if len(x) <= stretch {
		if s, ok := sumSquaredDeviationsASM(ptr(x), len(x), mean); ok {
			return s
		}
	}
	return sumSquaredDeviationsGeneric(x, mean)
}

func sumSquaredDeviationsGeneric(x []float32, mean float32) float32 {
	var t [lanes]float32
	for i, v := range x {
		d := v - mean
		t[i%lanes] = fma32(d, d, t[i%lanes])
	}
	return fold(&t)
}

// LayerNormRows computes y = (x − mean)·scale for each row, where scale =
// 1/√(variance + eps), and puts mean and scale, which the backward pass needs,
// into slices of one element per row. y may be x.
func LayerNormRows(y, mean, scale, x []float32, rows, cols int, eps float32) {
	MomentsRows(mean, scale, x, rows, cols)
	for i := range rows {
		scale[i] = 1 / float32(math.Sqrt(float64(scale[i]+eps)))
		from, to := x[i*cols:(i+1)*cols], y[i*cols:(i+1)*cols]
		Binary(Sub, to, from, mean[i:i+1])
		Binary(Mul, to, to, scale[i:i+1])
	}
}
