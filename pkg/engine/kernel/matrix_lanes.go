package kernel

// The functions of this file do for several small networks, lane after lane in
// memory, what their namesakes do for one, with the same bits. Where a row is
// one vector at most, the lanes are a loop of the assembly.

// lanesOfCall returns how many lanes the assembly may go through in a call, or
// that it is one, which takes what there is for a single network.
func lanesOfCall(lanes, n, m int) (k int, one bool) {
	if active == Generic || !narrow(m) || n == 0 || n*m > stretch {
		return 1, true
	}
	return min(lanes, stretch/(n*m)), false
}

// GemvLanes computes y_l = x_l·W_l for y [lanes][m], x [lanes][n] and
// w [lanes][n][m]: see [Gemv].
func GemvLanes(y, x, w []float32, lanes, n, m int) {
	y, x, w = y[:lanes*m], x[:lanes*n], w[:lanes*n*m]
	for lanes > 0 {
		k, one := lanesOfCall(lanes, n, m)
		if one {
			Gemv(y[:m], x[:n], w[:n*m])
		} else {
			gemvLanesASM(ptr(y), ptr(x), ptr(w), n, m, k)
		}
		y, x, w, lanes = y[k*m:], x[k*n:], w[k*n*m:], lanes-k
	}
}

// BackwardSGDLanes does for each lane what [BackwardSGD] does for one: w
// [lanes][n][m], x and dx [lanes][n], dy [lanes][m], and lr has one rate for all
// or one per lane. A nil dx is not wanted.
func BackwardSGDLanes(dx, w, x, dy, lr []float32, gated bool, lanes, n, m int) {
	w, x, dy = w[:lanes*n*m], x[:lanes*n], dy[:lanes*m]
	rates := 0
	if len(lr) != 1 {
		lr, rates = lr[:lanes], 1
	}
	if dx != nil {
		dx = dx[:lanes*n]
	}
	for lanes > 0 {
		k, one := lanesOfCall(lanes, n, m)
		switch {
		case one:
			var d []float32
			if dx != nil {
				d = dx[:n]
			}
			BackwardSGD(d, w[:n*m], x[:n], dy[:m], lr[0], gated)
		case dx == nil:
			updateNarrowASM(ptr(w), ptr(x), ptr(dy), ptr(lr), spreads(m), n, m, k, rates)
		default:
			backwardNarrowASM(ptr(dx), ptr(w), ptr(x), ptr(dy), ptr(lr), n, m, oneIf(gated), k, rates)
		}
		if dx != nil {
			dx = dx[k*n:]
		}
		w, x, dy, lr, lanes = w[k*n*m:], x[k*n:], dy[k*m:], lr[k*rates:], lanes-k
	}
}
