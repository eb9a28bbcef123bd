package kernel

// The functions of this file do for several small networks, lane after lane in
// memory, what their namesakes do for one, with the same bits.

// GemvLanes computes y_l = x_l·W_l for y [lanes][m], x [lanes][n] and
// w [lanes][n][m]: see [Gemv].
func GemvLanes(y, x, w []float32, lanes, n, m int) {
	y, x, w = y[:lanes*m], x[:lanes*n], w[:lanes*n*m]
	if active == Generic || n*m == 0 || m > gemvColumns[active] || n*m > stretch {
		for l := range lanes {
			Gemv(y[l*m:(l+1)*m], x[l*n:(l+1)*n], w[l*n*m:(l+1)*n*m])
		}
		return
	}
	for l := range lanes {
		gemvTileASM(ptr(y[l*m:]), ptr(x[l*n:]), ptr(w[l*n*m:]), n, 4*m, m, 0)
	}
}

// GemvTLanes computes dx_l = W_l·dy_l for dx [lanes][n], w [lanes][n][m] and
// dy [lanes][m]: see [GemvT].
func GemvTLanes(dx, w, dy []float32, lanes, n, m int) {
	dx, w, dy = dx[:lanes*n], w[:lanes*n*m], dy[:lanes*m]
	for l := range lanes {
		GemvT(dx[l*n:(l+1)*n], w[l*n*m:(l+1)*n*m], dy[l*m:(l+1)*m])
	}
}

// OuterLanes computes dst_l = x_l·dy_lᵀ for dst [lanes][n][m], x [lanes][n] and
// dy [lanes][m]: see [Outer].
func OuterLanes(dst, x, dy []float32, lanes, n, m int) {
	dst, x, dy = dst[:lanes*n*m], x[:lanes*n], dy[:lanes*m]
	for l := range lanes {
		Outer(dst[l*n*m:(l+1)*n*m], x[l*n:(l+1)*n], dy[l*m:(l+1)*m])
	}
}

// BackwardSGDLanes does for each lane what [BackwardSGD] does for one: w
// [lanes][n][m], x and dx [lanes][n], dy [lanes][m], and lr has one rate for all
// or one per lane. A nil dx is not wanted.
func BackwardSGDLanes(dx, w, x, dy, lr []float32, gated bool, lanes, n, m int) {
	w, x, dy = w[:lanes*n*m], x[:lanes*n], dy[:lanes*m]
	if len(lr) != 1 {
		lr = lr[:lanes]
	}
	for l := range lanes {
		var d []float32
		if dx != nil {
			d = dx[l*n : (l+1)*n]
		}
		BackwardSGD(d, w[l*n*m:(l+1)*n*m], x[l*n:(l+1)*n], dy[l*m:(l+1)*m], lr[min(l, len(lr)-1)], gated)
	}
}
