package kernel

import (
	"slices"
	"unsafe"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// stretch is how much one call of assembly may have to do, in multiply-adds: it
// cannot be preempted, so calls stay well below 50 µs even if the data come
// from memory.
const stretch = 1 << 16

func ptr(x []float32) *float32 { return unsafe.SliceData(x) }

// Dot returns Σ x·y: 64 partial sums, element i adding to sum i%64 with one
// rounding, which are then folded pairwise. A result of zero is +0.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	if len(x) <= stretch {
		if s, ok := dotASM(ptr(x), ptr(y), len(x)); ok {
			return s
		}
	}
	var t [lanes]float32
	for len(x) >= lanes {
		n := min(len(x), stretch) &^ (lanes - 1)
		if !dotLanesASM(&t[0], &x[0], &y[0], n) {
			break
		}
		x, y = x[n:], y[n:]
	}
	dotLanes(&t, x, y)
	return fold(&t)
}

// Sum returns Σ x over 64 partial sums, as [Dot] does.
func Sum(x []float32) float32 {
	if len(x) <= stretch {
		if s, ok := sumASM(ptr(x), len(x)); ok {
			return s
		}
	}
	var t [lanes]float32
	for len(x) >= lanes {
		n := min(len(x), stretch) &^ (lanes - 1)
		if !sumLanesASM(&t[0], &x[0], n) {
			break
		}
		x = x[n:]
	}
	sumLanes(&t, x)
	return fold(&t)
}

// SumSquares returns Σ x², the product of x with itself.
func SumSquares(x []float32) float32 { return Dot(x, x) }

// SumAbs returns Σ |x| over 64 partial sums, as [Dot] does.
func SumAbs(x []float32) float32 {
	if len(x) <= stretch {
		if s, ok := sumAbsASM(ptr(x), len(x)); ok {
			return s
		}
	}
	var t [lanes]float32
	for len(x) >= lanes {
		n := min(len(x), stretch) &^ (lanes - 1)
		if !sumAbsLanesASM(&t[0], &x[0], n) {
			break
		}
		x = x[n:]
	}
	sumAbsLanes(&t, x)
	return fold(&t)
}

// Axpy computes y += a·x, with a rounded product.
func Axpy(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for len(y) > stretch {
		Axpy(y[:stretch], a, x[:stretch])
		y, x = y[stretch:], x[stretch:]
	}
	if !axpyASM(ptr(y), ptr(x), len(y), a) {
		axpyGeneric(y, a, x)
	}
}

// Scale computes y = a·x.
func Scale(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for len(y) > stretch {
		Scale(y[:stretch], a, x[:stretch])
		y, x = y[stretch:], x[stretch:]
	}
	if !scaleASM(ptr(y), ptr(x), len(y), a) {
		scaleGeneric(y, a, x)
	}
}

// gemvColumns is how many outputs one call of gemvTileASM covers.
var gemvColumns = [...]int{NEON: 64, AVX2: 96, AVX512: 256}

// Gemv computes y = x·W for W [len(x)][len(y)], one chain of fused
// multiply-adds over the ascending inputs per output. Inputs that are zero are
// skipped: that is part of its definition, and what makes sparse inputs cheap.
func Gemv(y, x, w []float32) {
	n := len(y)
	w = w[:len(x)*n]
	if active == Generic || len(w) == 0 {
		gemvGeneric(y, x, w)
		return
	}
	for j := 0; j < n; j += gemvColumns[active] {
		gemvColumnTile(y[j:min(n, j+gemvColumns[active])], x, w[j:], n, 0)
	}
}

// gemvColumnTile computes some columns of a product.
func gemvColumnTile(y, x, w []float32, ld, more int) {
	rows := stretch / len(y)
	for ; len(x) > rows; more = 1 {
		gemvTileASM(ptr(y), ptr(x), ptr(w), rows, 4*ld, len(y), more)
		x, w = x[rows:], w[rows*ld:]
	}
	gemvTileASM(ptr(y), ptr(x), ptr(w), len(x), 4*ld, len(y), more)
}

// GemvT computes dx = W·dy for W [len(dx)][len(dy)]: dx_i is the [Dot] of row i
// and dy.
func GemvT(dx, w, dy []float32) {
	n := len(dy)
	w = w[:len(dx)*n]
	switch {
	case active == Generic:
		gemvTGeneric(dx, w, dy)
		return
	case n > stretch:
		for i := range dx {
			dx[i] = Dot(w[i*n:(i+1)*n], dy)
		}
		return
	}
	for most := stretch / max(n, 1); len(dx) > 0; {
		rows := min(most, len(dx))
		if narrow(n) {
			gemvNarrowASM(ptr(dx), ptr(w), ptr(dy), rows, n)
		} else {
			gemvRowsASM(ptr(dx), ptr(w), ptr(dy), rows, n)
		}
		dx, w = dx[rows:], w[rows*n:]
	}
}

// Outer computes dst = x·dyᵀ for dst [len(x)][len(dy)]. Rows where x is zero
// are +0: that is part of its definition, as in [Gemv].
func Outer(dst, x, dy []float32) {
	n := len(dy)
	dst = dst[:len(x)*n]
	switch {
	case active == Generic:
		outerGeneric(dst, x, dy)
		return
	case n > stretch:
		for i, v := range x {
			if row := dst[i*n : (i+1)*n]; v == 0 {
				clear(row)
			} else {
				Scale(row, v, dy)
			}
		}
		return
	}
	for most := stretch / max(n, 1); len(x) > 0; {
		rows := min(most, len(x))
		outerRowsASM(ptr(dst), ptr(x), ptr(dy), rows, n)
		x, dst = x[rows:], dst[rows*n:]
	}
}

// BackwardSGD takes a step of plain gradient descent on W [len(x)][len(dy)] at
// batch 1, W −= lr·(x·dyᵀ) with every operation rounded, and computes dx = W·dy
// with the W of before, in one pass. Rows where x is zero stay as they are. A
// nil dx is not wanted. Gated, dx_i is +0 where x_i is zero: what the gradient
// behind a ReLU is anyway, and it saves reading the row.
func BackwardSGD(dx, w, x, dy []float32, lr float32, gated bool) {
	n := len(dy)
	w = w[:len(x)*n]
	if dx != nil {
		dx = dx[:len(x)]
	}
	if active == Generic || n > stretch {
		backwardSGDGeneric(dx, w, x, dy, lr, gated)
		return
	}
	slim := narrow(n)
	if dx != nil && gated && !slim {
		clear(dx)
	}
	for most := stretch / max(n, 1); len(x) > 0; {
		rows := min(most, len(x))
		switch {
		case dx == nil && slim:
			updateNarrowASM(ptr(w), ptr(x), ptr(dy), &lr, spreads(n), rows, n, 1, 0)
		case dx == nil:
			updateRowsASM(ptr(w), ptr(x), ptr(dy), rows, n, lr)
		case slim:
			backwardNarrowASM(ptr(dx), ptr(w), ptr(x), ptr(dy), &lr, rows, n, oneIf(gated), 1, 0)
		default:
			backwardRowsASM(ptr(dx), ptr(w), ptr(x), ptr(dy), rows, n, lr)
			if !gated {
				for i, v := range x[:rows] {
					if v == 0 {
						dx[i] = Dot(w[i*n:(i+1)*n], dy)
					}
				}
			}
		}
		if dx != nil {
			dx = dx[rows:]
		}
		x, w = x[rows:], w[rows*n:]
	}
}

// narrow says whether rows of n elements are at most one vector.
func narrow(n int) bool { return n > 0 && n <= tilings[active].lanes }

// spreads returns how rows of n elements, n at most one vector, lie in the
// vectors of a matrix, for as many rows as a vector has lanes: for each of the n
// vectors, which row its elements belong to, and which column.
func spreads(n int) *uint32 {
	l := tilings[active].lanes
	return &spread[active][n*(n-1)*l]
}

// spread has [spreads] by instruction set, for n = 1, 2, …
var spread = func() (tables [len(tilings)][]uint32) {
	for isa, t := range tilings {
		index := func(lane int) { tables[isa] = append(tables[isa], laneIndex(ISA(isa), lane)) }
		for n := 1; n <= t.lanes; n++ {
			for i := 0; i < n*t.lanes; i += t.lanes {
				for e := range t.lanes {
					index((i + e) / n)
				}
				for e := range t.lanes {
					index((i + e) % n)
				}
			}
		}
	}
	return tables
}()

// laneIndex returns how an instruction set's permutation names a lane: NEON's
// by its four bytes.
func laneIndex(isa ISA, lane int) uint32 {
	if isa == NEON {
		return 0x03020100 + uint32(lane)*0x04040404
	}
	return uint32(lane)
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// AddRow computes dst = x + row for every row of x [rows][len(row)].
func AddRow(dst, x, row []float32, rows int) {
	n := len(row)
	for i := range rows {
		Binary(Add, dst[i*n:(i+1)*n], x[i*n:(i+1)*n], row)
	}
}

var ones = func() (x [512]float32) {
	for i := range x {
		x[i] = 1
	}
	return x
}()

// ColSum computes the sums of the columns of x [rows][cols], one chain of
// additions over the ascending rows per column.
func ColSum(y, x []float32, rows, cols int) {
	y, x = y[:cols], x[:rows*cols]
	if active == Generic || len(x) == 0 {
		colSumGeneric(y, x, rows, cols)
		return
	}
	// acc + 1·x, rounded once, is acc + x.
	for j := 0; j < cols; j += gemvColumns[active] {
		tile := y[j:min(cols, j+gemvColumns[active])]
		more := 0
		for i := 0; i < rows; i += len(ones) {
			gemvColumnTile(tile, ones[:min(len(ones), rows-i)], x[i*cols+j:], cols, more)
			more = 1
		}
	}
}

// AddColSumsAbs adds to y, per column, the sizes of x's rows, which begin stride
// elements apart: (|x0|+|x1|)+(|x2|+|x3|) of four rows at a time, then the sizes
// of the rows that are left, one by one.
func AddColSumsAbs(y, x []float32, rows, stride int) {
	n := len(y)
	if n == 0 {
		return
	}
	for ; rows >= 4; rows -= 4 {
		x0, x1, x2, x3 := x[:n], x[stride:][:n], x[2*stride:][:n], x[3*stride:][:n]
		at := [...]*float32{&y[0], &x0[0], &x1[0], &x2[0], &x3[0], &y[0]} // arrays, then the output
		if active == Generic || n > mapStretch || !mapASM(addAbs4, &at[0], nil, n) {
			for i := range y {
				y[i] += (abs32(x0[i]) + abs32(x1[i])) + (abs32(x2[i]) + abs32(x3[i]))
			}
		}
		x = x[min(4*stride, len(x)):]
	}
	for r := range rows {
		for i, v := range x[r*stride:][:n] {
			y[i] += abs32(v)
		}
	}
}

// addAbs4 is the number of the pattern that AddColSumsAbs uses.
var addAbs4 = slices.IndexFunc(spec.Patterns, func(p spec.Pattern) bool { return p.Name == "AddAbs4" })

// RowSums computes the [Sum] of each row of x [rows][cols].
func RowSums(y, x []float32, rows, cols int) {
	for i := range y[:rows] {
		y[i] = Sum(x[i*cols : (i+1)*cols])
	}
}
