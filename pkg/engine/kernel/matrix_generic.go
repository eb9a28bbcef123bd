package kernel

import "math"

// The functions of this file define what the assembly computes, bit for bit,
// and run where there is none.

// lanes is the number of partial sums of a reduction over one array: element i
// belongs to lane i%lanes.
const lanes = 64

// fold adds the lanes pairwise, 32, 16, 8 and 4 apart, and then the last four
// as (t0+t1)+(t2+t3). A sum of zero is +0, whatever the signs of its parts.
func fold(t *[lanes]float32) float32 {
	for d := lanes / 2; d >= 4; d /= 2 {
		for l := range d {
			t[l] += t[l+d]
		}
	}
	return (t[0] + t[1]) + (t[2] + t[3]) + 0
}

func dotGeneric(x, y []float32) float32 {
	var t [lanes]float32
	dotLanes(&t, x, y)
	return fold(&t)
}

func sumGeneric(x []float32) float32 {
	var t [lanes]float32
	sumLanes(&t, x)
	return fold(&t)
}

func sumAbsGeneric(x []float32) float32 {
	var t [lanes]float32
	sumAbsLanes(&t, x)
	return fold(&t)
}

func dotLanes(t *[lanes]float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		t[i%lanes] = fma32(v, y[i], t[i%lanes])
	}
}

func sumLanes(t *[lanes]float32, x []float32) {
	for i, v := range x {
		t[i%lanes] += v
	}
}

func sumAbsLanes(t *[lanes]float32, x []float32) {
	for i, v := range x {
		t[i%lanes] += math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	}
}

func axpyGeneric(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

func scaleGeneric(y []float32, a float32, x []float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] = a * v
	}
}

func addGeneric(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i, v := range a {
		y[i] = v + b[i]
	}
}

func gemvGeneric(y, x, w []float32) {
	n := len(y)
	clear(y)
	for i, v := range x {
		if v == 0 {
			continue
		}
		row := w[i*n : (i+1)*n]
		for j, u := range row {
			y[j] = fma32(v, u, y[j])
		}
	}
}

func gemvTGeneric(dx, w, dy []float32) {
	n := len(dy)
	for i := range dx {
		dx[i] = dotGeneric(w[i*n:(i+1)*n], dy)
	}
}

func outerGeneric(dst, x, dy []float32) {
	n := len(dy)
	for i, v := range x {
		row := dst[i*n : (i+1)*n]
		if v == 0 {
			clear(row)
			continue
		}
		scaleGeneric(row, v, dy)
	}
}

func backwardSGDGeneric(dx, w, x, dy []float32, lr float32, gated bool) {
	n := len(dy)
	for i, v := range x {
		row := w[i*n : (i+1)*n]
		if dx != nil {
			if v == 0 && gated {
				dx[i] = 0
			} else {
				dx[i] = dotGeneric(row, dy)
			}
		}
		if v == 0 {
			continue
		}
		for j, d := range dy {
			row[j] -= float32(lr * float32(v*d))
		}
	}
}

// gemmGeneric adds A·B to C, or stores it there, for A[i][p] at
// a[i*ars+p*acs] and B[p][j] at b[p*brs+j*bcs]. One chain of fused
// multiply-adds per element, over ascending p.
func gemmGeneric(m, n, k int, a []float32, ars, acs int, b []float32, brs, bcs int, c []float32, ldc int) {
	for i := range m {
		ci := c[i*ldc : i*ldc+n]
		clear(ci)
		for p := range k {
			v := a[i*ars+p*acs]
			if v == 0 {
				continue
			}
			if bcs == 1 {
				for j, u := range b[p*brs : p*brs+n] {
					ci[j] = fma32(v, u, ci[j])
				}
				continue
			}
			for j := range ci {
				ci[j] = fma32(v, b[p*brs+j*bcs], ci[j])
			}
		}
		for j := range ci {
			ci[j] += 0 // −0, the trace of an underflow, becomes +0
		}
	}
}

func transposeGeneric(dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	for i := range rows {
		for j, v := range src[i*ldsrc : i*ldsrc+cols] {
			dst[j*lddst+i] = v
		}
	}
}

func colSumGeneric(y, x []float32, rows, cols int) {
	clear(y[:cols])
	for i := range rows {
		addGeneric(y[:cols], y[:cols], x[i*cols:(i+1)*cols])
	}
}
