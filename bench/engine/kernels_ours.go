package main

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

func noise(n int) []float32 {
	x := tensor.Float32s(n)
	rng.New(0, "bench").FillUniform(x, 0, 1, 0)
	return x
}

var forms = map[string]kernel.Form{"NN": kernel.NN, "TN": kernel.TN, "NT": kernel.NT, "TT": kernel.TT}

// prepareGEMM is C = A·B of M×K and K×N, with A, B or both stored transposed.
func prepareGEMM(j job) (*task, error) {
	m, n, k := j.M, j.N, j.K
	a, b, c := noise(m*k), noise(k*n), tensor.Float32s(m*n)
	if len(j.Form) != 2 {
		return nil, fmt.Errorf("unknown form %q", j.Form)
	}
	lda, ldb := k, n
	if j.Form[0] == 'T' {
		lda = m
	}
	if j.Form[1] == 'T' {
		ldb = k
	}
	var step func() error
	switch j.Impl {
	case "ours":
		form, ok := forms[j.Form]
		if !ok {
			return nil, fmt.Errorf("unknown form %q", j.Form)
		}
		scratch := tensor.Float32s(kernel.MatMulScratch(form, m, n, k))
		step = func() error {
			kernel.MatMul(form, m, n, k, a, lda, b, ldb, c, n, scratch)
			return nil
		}
	case "gonum":
		trans := func(t byte) blas.Transpose {
			if t == 'T' {
				return blas.Trans
			}
			return blas.NoTrans
		}
		impl, ta, tb := blas32.Implementation(), trans(j.Form[0]), trans(j.Form[1])
		step = func() error {
			impl.Sgemm(ta, tb, m, n, k, 1, a, lda, b, ldb, 0, c, n)
			return nil
		}
	default:
		return nil, fmt.Errorf("unknown implementation %q", j.Impl)
	}
	return &task{step: step, units: 1}, nil
}

// preparePeak is a loop of fused multiply-adds on registers. Its steps are
// GFLOP.
func preparePeak() (*task, error) {
	isas := kernel.Available()
	best := isas[len(isas)-1] // also where NEOTENY_ISA asks for less
	loop, flops := peakLoop(best)
	if loop == nil {
		return nil, fmt.Errorf("%w: the peak of %s", errNotBuilt, best)
	}
	const rounds = 2000 // some 10 µs
	return &task{step: func() error { loop(rounds); return nil }, units: rounds * flops / 1e9}, nil
}

// streams are kernels whose limit is memory, with how many arrays they read
// and write.
var streams = []struct {
	name   string
	arrays int
	make   func(n int) func()
}{
	{"copy", 2, func(n int) func() {
		y, x := tensor.Float32s(n), noise(n)
		return func() { copy(y, x) }
	}},
	{"dot", 2, func(n int) func() {
		x, y := noise(n), noise(n)
		return func() { _ = kernel.Dot(x, y) }
	}},
	{"sum", 1, func(n int) func() {
		x := noise(n)
		return func() { _ = kernel.Sum(x) }
	}},
	{"axpy", 3, func(n int) func() {
		x, y := noise(n), noise(n)
		return func() { kernel.Axpy(y, 1e-9, x) }
	}},
	// One example through a layer of a quarter as many inputs as outputs, none
	// of them zero: the weights are what moves.
	{"gemv", 1, func(n int) func() {
		x, y, w := layer(n)
		return func() { kernel.Gemv(y, x, w) }
	}},
	{"gemv-t", 1, func(n int) func() {
		x, y, w := layer(n)
		return func() { kernel.GemvT(x, w, y) }
	}},
	{"backward-sgd", 2, func(n int) func() {
		x, y, w := layer(n)
		dx := tensor.Float32s(len(x))
		return func() { kernel.BackwardSGD(dx, w, x, y, 1e-9, true) }
	}},
	{"sgd", 3, func(n int) func() {
		return update(n, kernel.MapSpec{
			Arrays: 2, Scalars: 1,
			Code:    []kernel.MapOp{{Op: kernel.Mul, A: 2, B: 1}, {Op: kernel.Sub, A: 0, B: 3}},
			Outputs: []int{4}, Alias: []int{0},
		}, 1e-9)
	}},
	{"adam", 7, func(n int) func() {
		return update(n, kernel.MapSpec{
			Arrays: 4, Scalars: 7, // w, g, m, v; β₁, 1−β₁, β₂, 1−β₂, a, r, ε
			Code: []kernel.MapOp{
				{Op: kernel.Mul, A: 4, B: 2}, {Op: kernel.Mul, A: 5, B: 1}, {Op: kernel.Add, A: 11, B: 12}, {Op: kernel.Flush, A: 13},
				{Op: kernel.Mul, A: 1, B: 1}, {Op: kernel.Mul, A: 6, B: 3}, {Op: kernel.Mul, A: 7, B: 15}, {Op: kernel.Add, A: 16, B: 17}, {Op: kernel.Flush, A: 18},
				{Op: kernel.Mul, A: 8, B: 14}, {Op: kernel.Sqrt, A: 19}, {Op: kernel.Mul, A: 21, B: 9}, {Op: kernel.Add, A: 22, B: 10},
				{Op: kernel.Div, A: 20, B: 23}, {Op: kernel.Sub, A: 0, B: 24},
			},
			Outputs: []int{14, 19, 25}, Alias: []int{2, 3, 0},
		}, 0.9, 0.1, 0.999, 0.001, 1e-3, 1, 1e-8)
	}},
	{"exp", 2, function(kernel.Exp)},
	{"tanh", 2, function(kernel.Tanh)},
	{"erf", 2, function(kernel.Erf)},
	{"sin", 2, function(kernel.Sin)},
	{"sqrt", 2, function(kernel.Sqrt)},
	{"div", 3, func(n int) func() {
		x, y, z := noise(n), noise(n), tensor.Float32s(n)
		for i := range y {
			y[i]++
		}
		return func() { kernel.Binary(kernel.Div, z, x, y) }
	}},
	{"normal", 1, func(n int) func() {
		x, key := tensor.Float32s(n), rng.New(0, "bench")
		var a uint64
		return func() { key.FillNormal(x, a); a++ }
	}},
}

// update is an optimiser's pass over n weights, in place.
func update(n int, s kernel.MapSpec, scalars ...float32) func() {
	m := kernel.NewMap(s)
	if kernel.Active() != kernel.Generic && !m.Fused() {
		panic("an optimiser's update has no code of its own")
	}
	var arrays, outs [][]float32
	for range s.Arrays {
		arrays = append(arrays, noise(n))
	}
	for _, a := range s.Alias {
		outs = append(outs, arrays[a])
	}
	return func() { m.Run(n, arrays, scalars, outs) }
}

func function(op kernel.Op) func(n int) func() {
	return func(n int) func() {
		x, y := noise(n), tensor.Float32s(n)
		return func() { kernel.Unary(op, y, x) }
	}
}

// layer is a layer's input and output and its n weights.
func layer(n int) (x, y, w []float32) {
	inputs := 1
	for 4*inputs*inputs < n {
		inputs *= 2
	}
	return noise(inputs), noise(n / inputs), noise(n)
}

// prepareStream runs one of the streaming kernels.
func prepareStream(j job) (*task, error) {
	for _, s := range streams {
		if s.name == j.Impl {
			f := s.make(j.N)
			return &task{step: func() error { f(); return nil }, units: 1}, nil
		}
	}
	return nil, fmt.Errorf("unknown kernel %q", j.Impl)
}
