package linalg

// Ridge fits linear regressions with an L2 penalty, as for refitting a linear
// head on features: the W [inputs][outputs] and b [outputs] that minimise
//
//	Σ_i ‖W·x_i + b − y_i‖² + λ‖W‖²
//
// (Hoerl & Kennard 1970). The bias is not penalised; without bias it is 0. It
// keeps its memory. The zero Ridge is ready for use.
type Ridge struct {
	x          []float64   // [n][inputs], centred
	rows       [][]float64 // of x or of its transpose
	xm, ym     []float64   // means
	gram, work []float64
	chol       Cholesky
	w, b       []float64
}

// Fit fits n examples x [n][inputs], y [n][outputs] with λ > 0. It solves
// (XᵀX + λI)·W = XᵀY, or W = Xᵀ(XXᵀ + λI)⁻¹·Y if there are fewer examples than
// inputs. With λ far below 1e-15·σ₁² the system is singular to rounding, and the
// error is [ErrNotPositive]. W and b are valid until the next call.
func (r *Ridge) Fit(x []float32, y []float64, n, inputs, outputs int, lambda float64, bias bool) (w, b []float64, err error) {
	for _, v := range x[:n*inputs] {
		if v-v != 0 {
			return nil, nil, ErrNotFinite
		}
	}
	r.centre(x, y, n, inputs, outputs, bias)
	size, length := inputs, n
	if n < inputs {
		size, length = n, inputs
	}
	// The Gram matrix of columns, or of rows.
	r.rows = rowsOf(r.rows, r.x, size, length)
	r.gram = resize(r.gram, size*size)
	for i, ri := range r.rows {
		for j, rj := range r.rows[:i+1] {
			r.gram[i*size+j] = dot(ri, rj)
		}
		r.gram[i*size+i] += lambda
	}
	if err := r.chol.Factor(r.gram, size); err != nil {
		return nil, nil, err
	}
	r.w, r.b = resize(r.w, inputs*outputs), resize(r.b, outputs)
	r.work = resize(r.work, n+inputs)
	for k := range outputs {
		target, column := r.work[:n], r.work[n:n+inputs]
		for i := range target {
			target[i] = y[i*outputs+k] - r.ym[k]
		}
		if n < inputs {
			r.chol.Solve(target)
			clear(column)
			for i, t := range target {
				axpy(column, t, r.rows[i])
			}
		} else {
			for j := range column {
				column[j] = dot(r.rows[j], target)
			}
			r.chol.Solve(column)
		}
		for j, v := range column {
			r.w[j*outputs+k] = v
		}
		r.b[k] = r.ym[k] - dot(column, r.xm)
	}
	return r.w, r.b, nil
}

// centre fills r.x with the centred inputs, by columns if there are at least as
// many examples as inputs, else by rows, and the means.
func (r *Ridge) centre(x []float32, y []float64, n, inputs, outputs int, bias bool) {
	r.xm, r.ym = resize(r.xm, inputs), resize(r.ym, outputs)
	clear(r.xm)
	clear(r.ym)
	if bias {
		for i := range n {
			for j, v := range x[i*inputs : (i+1)*inputs] {
				r.xm[j] += float64(v)
			}
			for k, v := range y[i*outputs : (i+1)*outputs] {
				r.ym[k] += v
			}
		}
		for j := range r.xm {
			r.xm[j] /= float64(n)
		}
		for k := range r.ym {
			r.ym[k] /= float64(n)
		}
	}
	r.x = resize(r.x, n*inputs)
	for i := range n {
		for j, v := range x[i*inputs : (i+1)*inputs] {
			at := i*inputs + j
			if n >= inputs {
				at = j*n + i
			}
			r.x[at] = float64(v) - r.xm[j]
		}
	}
}
