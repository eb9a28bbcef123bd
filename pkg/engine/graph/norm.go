package graph

import "neoteny/pkg/engine/tensor"

// normalized returns (x − mean)/√(variance + ε) with both over the given axes,
// and the two, whose axes have length 1 there.
func (b *Builder) normalized(x Node, epsilon float32, axes ...int) (y, mean, variance Node) {
	mean = b.MeanAxes(x, axes...)
	d := b.Sub(x, mean)
	variance = b.MeanAxes(b.Square(d), axes...)
	return b.Div(d, b.Sqrt(b.Add(variance, b.Const(epsilon)))), mean, variance
}

// affine returns x·gamma + beta; either may be the zero Node.
func (b *Builder) affine(x, gamma, beta Node) Node {
	if gamma.Valid() {
		x = b.Mul(x, gamma)
	}
	if beta.Valid() {
		x = b.Add(x, beta)
	}
	return x
}

// LayerNorm normalises along the last axis: (x − mean)/√(variance + ε)·gamma +
// beta for x [...][m]. gamma and beta [m] may be the zero Node.
func (b *Builder) LayerNorm(x, gamma, beta Node, epsilon float32) Node {
	y, _, _ := b.normalized(x, epsilon, -1)
	return b.affine(y, gamma, beta)
}

// GroupNorm normalises every example over all its places and over the channels
// of a group, for x [n][...][c] whose channels are in equal groups. gamma and
// beta [c] may be the zero Node.
func (b *Builder) GroupNorm(x Node, groups int, gamma, beta Node, epsilon float32) Node {
	s := x.Shape()
	if len(s) < 2 || groups < 1 || s[len(s)-1]%groups != 0 {
		panic(errorf("group-norm: %s in %d groups", s, groups))
	}
	c := s[len(s)-1]
	y := b.Reshape(x, s[0], s[1:len(s)-1].Elems(), groups, c/groups)
	y, _, _ = b.normalized(y, epsilon, 1, 3)
	return b.affine(b.Reshape(y, s...), gamma, beta)
}

// BatchStatistics are the running mean and variance [c] of the values that a
// batch normalisation has seen: new = old + momentum·(batch − old). A new
// layer begins with mean 0 and variance 1.
type BatchStatistics struct {
	Mean, Variance *Var
	Momentum       float32
}

// BatchNorm normalises every channel by its mean and variance over the batch
// and all places, for x [n][...][c], and assigns the new running statistics, if
// any are given, the variance being that of a sample (divided by count − 1).
// gamma and beta [c] may be the zero Node. It is for training; see
// [Builder.BatchNormEvaluation].
func (b *Builder) BatchNorm(x, gamma, beta Node, epsilon float32, stats *BatchStatistics) Node {
	s := x.Shape()
	if len(s) < 2 {
		panic(errorf("batch-norm: %s is not [n ... c]", s))
	}
	c := s[len(s)-1]
	count := s.Elems() / c
	if count < 2 {
		panic(errorf("batch-norm: one value per channel in %s has no variance", s))
	}
	y, mean, variance := b.normalized(b.Reshape(x, count, c), epsilon, 0)
	if stats != nil {
		update := func(v *Var, batch Node) {
			old := b.Read(v)
			b.Assign(v, b.Add(old, b.Mul(b.Const(stats.Momentum), b.Sub(b.Reshape(batch, c), old))))
		}
		update(stats.Mean, mean)
		update(stats.Variance, b.Div(b.Mul(variance, b.Const(float32(count))), b.Const(float32(count-1))))
	}
	return b.affine(b.Reshape(y, s...), gamma, beta)
}

// BatchNormEvaluation normalises every channel of x [n][...][c] by given
// statistics: (x − mean)/√(variance + ε)·gamma + beta, all of them [c]. gamma
// and beta may be the zero Node.
func (b *Builder) BatchNormEvaluation(x, gamma, beta, mean, variance Node, epsilon float32) Node {
	scale := b.Recip(b.Sqrt(b.Add(variance, b.Const(epsilon))))
	return b.affine(b.Mul(b.Sub(x, mean), scale), gamma, beta)
}

// LogSumExp returns ln Σ eˣ along the last axis, which has length 1 in the
// result. Large values do not overflow.
func (b *Builder) LogSumExp(x Node) Node {
	top := b.StopGradient(b.MaxRows(x))
	return b.Add(b.Log(b.SumAxes(b.Exp(b.Sub(x, top)), -1)), top)
}

// LogSoftmax returns the logarithm of the softmax along the last axis.
func (b *Builder) LogSoftmax(x Node) Node {
	d := b.Sub(x, b.StopGradient(b.MaxRows(x)))
	return b.Sub(d, b.Log(b.SumAxes(b.Exp(d), -1)))
}

// perExample sums what is left of each example: [n] from [n][...].
func (b *Builder) perExample(x Node) Node {
	s := x.Shape()
	if len(s) == 0 {
		panic(errorf("loss: a single number has no examples"))
	}
	if len(s) == 1 {
		return x
	}
	return b.Squeeze(b.SumAxes(b.Reshape(x, s[0], s[1:].Elems()), 1), 1)
}

// meanPerExample is perExample with means.
func (b *Builder) meanPerExample(x Node) Node {
	y := b.perExample(x)
	n := x.Shape()[1:].Elems()
	if n == 1 {
		return y
	}
	return b.Div(y, b.Const(float32(n)))
}

// pair checks that the two operands of a loss have one shape.
func pair(what string, x, z Node) {
	if !x.Shape().Equal(z.Shape()) {
		panic(errorf("%s: %s and %s", what, x.Shape(), z.Shape()))
	}
}

// MSE returns the mean of (x − target)² over each example: [n] from two
// [n][...].
func (b *Builder) MSE(x, target Node) Node {
	pair("mse", x, target)
	return b.meanPerExample(b.Square(b.Sub(x, target)))
}

// Huber returns the mean over each example of d²/2 where |d| ≤ delta, else
// delta·(|d| − delta/2), for d = x − target: [n] from two [n][...].
func (b *Builder) Huber(x, target Node, delta float32) Node {
	pair("huber", x, target)
	if !(delta > 0) {
		panic(errorf("huber: delta %v is not positive", delta))
	}
	d := b.Sub(x, target)
	q := b.Clip(d, -delta, delta)
	return b.meanPerExample(b.Mul(q, b.Sub(d, b.Scale(0.5, q))))
}

// BinaryCrossEntropy returns the mean over each example of −t·ln σ(x) − (1 −
// t)·ln(1 − σ(x)) for logits x and targets t in [0, 1]: [n] from two [n][...].
func (b *Builder) BinaryCrossEntropy(logits, target Node) Node {
	pair("binary cross-entropy", logits, target)
	return b.meanPerExample(b.Sub(b.Softplus(logits), b.Mul(logits, target)))
}

// KL returns the Kullback–Leibler divergence Σ p·(ln p − ln q) along the last
// axis from the logarithms of two distributions: [...] from [...][m].
func (b *Builder) KL(logP, logQ Node) Node {
	pair("kl", logP, logQ)
	return b.Squeeze(b.SumAxes(b.Mul(b.Exp(logP), b.Sub(logP, logQ)), -1), -1)
}

// CosineSimilarity returns x·z/max(‖x‖‖z‖, ε) along the last axis: [...] from
// two [...][m]. The cosine distance is 1 minus that.
func (b *Builder) CosineSimilarity(x, z Node, epsilon float32) Node {
	pair("cosine similarity", x, z)
	dot := b.SumAxes(b.Mul(x, z), -1)
	squares := b.Mul(b.SumAxes(b.Square(x), -1), b.SumAxes(b.Square(z), -1))
	y := b.Div(dot, b.Sqrt(b.Max(squares, b.Const(epsilon*epsilon))))
	return b.Squeeze(y, -1)
}

// Attention returns scaled dot-product attention, softmax(q·kᵀ/√d + mask)·v
// for each of the leading axes: [...][n][e] from q [...][n][d], k [...][m][d]
// and v [...][m][e]. The mask is added to the scores [...][n][m], as far as it
// broadcasts; it may be the zero Node.
func (b *Builder) Attention(q, k, v, mask Node) Node {
	s := q.Shape()
	if len(s) < 2 {
		panic(errorf("attention: %s is not [... n d]", s))
	}
	scale := b.Recip(b.Sqrt(b.Const(float32(s[len(s)-1]))))
	scores := b.BatchMatMulNT(b.Mul(q, scale), k)
	if mask.Valid() {
		scores = b.Add(scores, mask)
	}
	return b.BatchMatMul(b.Softmax(scores), v)
}

// CausalMask returns the mask [n][n] for [Builder.Attention] that lets each
// place see itself and those before it: 0 there, else −10⁹.
func (b *Builder) CausalMask(n int) Node {
	shape := tensor.Shape{n, n}
	if err := shape.Check(); err != nil {
		panic(errorf("causal mask: %v", err))
	}
	mask := make([]float32, n*n)
	for i := range n {
		for j := i + 1; j < n; j++ {
			mask[i*n+j] = -1e9
		}
	}
	return b.Array(mask, shape...)
}
