package steps

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/methods/internal/methodtest"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// softmaxLearner is a linear classifier of 4 inputs and 3 classes in float64,
// with the closed form of its gradient.
type softmaxLearner struct{ w, b []float64 } // [4][3], [3]

func (l softmaxLearner) logits(x []float32) []float64 {
	z := make([]float64, 3)
	for j := range z {
		z[j] = l.b[j]
		for i, v := range x {
			z[j] += float64(v) * l.w[i*3+j]
		}
	}
	return z
}

func guess(z []float64) int {
	best := 0
	for j := range z {
		if z[j] > z[best] {
			best = j
		}
	}
	return best
}

// moved returns the learner after a step of size eta along the gradient of the
// sum of the losses of some examples.
func (l softmaxLearner) moved(xs [][]float32, ys []int32, eta float64) softmaxLearner {
	m := softmaxLearner{append([]float64{}, l.w...), append([]float64{}, l.b...)}
	for n, x := range xs {
		z := l.logits(x)
		sum := 0.0
		for _, v := range z {
			sum += math.Exp(v)
		}
		for j := range z {
			e := math.Exp(z[j]) / sum
			if int32(j) == ys[n] {
				e--
			}
			m.b[j] -= eta * e
			for i, v := range x {
				m.w[i*3+j] -= eta * e * float64(v)
			}
		}
	}
	return m
}

// closedForm gives the method its gradients.
type closedForm struct {
	l      *softmaxLearner
	output []float32
}

func (c *closedForm) On(b *stream.Batch) ([][]float32, error) {
	var xs [][]float32
	c.output = nil
	for i := range b.N {
		xs = append(xs, b.X[i*4:(i+1)*4])
		for _, z := range c.l.logits(xs[i]) {
			c.output = append(c.output, float32(z))
		}
	}
	m := c.l.moved(xs, b.Labels, 1/float64(b.N))
	w, bias := make([]float32, 12), make([]float32, 3)
	for i := range w {
		w[i] = float32(c.l.w[i] - m.w[i])
	}
	for i := range bias {
		bias[i] = float32(c.l.b[i] - m.b[i])
	}
	return [][]float32{w, bias}, nil
}
func (c *closedForm) Output() []float32      { return c.output }
func (c *closedForm) Input(string) []float32 { return nil }

// swapped knows the classes of all examples shown so far, and the labels that
// classes have.
type swapped struct{ classes, labels []int32 }

func (s *swapped) Label(example int64, index int32) int32 {
	if int64(len(s.classes)) != example {
		panic("asked for labels of another time")
	}
	return s.labels[s.classes[index]]
}

// TestHomeostaticAgainstAnIndependentSimulation follows the step size of a
// linear classifier through random examples, whose labels change sides now and
// then, so that it goes up and down. Two labels are swapped in between, in what
// is remembered, too.
func TestHomeostaticAgainstAnIndependentSimulation(t *testing.T) {
	const batch, lr, step = 3, 0.3, 0.4
	key := rng.New(9, "examples")
	for _, simulate := range []string{"example", "batch"} {
		b := methodtest.NewOf(t, 1, map[string]any{"kind": "mlp", "hidden": []any{}, "init": "pytorch"})
		b.Classes, b.Batch = 3, batch
		m := b.Method(map[string]any{"kind": "homeostatic-lr", "lr": lr, "step": step, "memory": 7.0, "simulate": simulate}).(*homeostatic)
		ref := &softmaxLearner{make([]float64, 12), make([]float64, 3)}
		m.UseGradients(&closedForm{l: ref})
		params := b.Net.Params()
		for i, v := range params[0].Var.F32 {
			ref.w[i] = float64(v)
		}
		for i, v := range params[1].Var.F32 {
			ref.b[i] = float64(v)
		}
		eta := lr
		ups, downs, floors, outdated := 0, 0, 0, 0
		var pastX [][]float32
		var pastY []int32 // as they were
		past := &swapped{labels: []int32{0, 1, 2}}
		teacher := make([]float32, 12)
		for index := range 6000 {
			if index%50 == 0 {
				key.FillNormal(teacher, uint64(1e6+index))
			}
			if index%20 == 10 {
				i := key.Intn(3, uint64(2e6+index), 0)
				past.labels[i], past.labels[(i+1)%3] = past.labels[(i+1)%3], past.labels[i]
			}
			s := &stream.Batch{N: batch, X: make([]float32, batch*4), Labels: make([]int32, batch), Index: make([]int32, batch)}
			classes := make([]int32, batch)
			key.FillNormal(s.X, uint64(index))
			var xs [][]float32
			for i := range batch {
				x := s.X[i*4 : (i+1)*4]
				xs = append(xs, x)
				z := make([]float64, 3)
				for j := range z {
					for k, v := range x {
						z[j] += float64(v * teacher[k*3+j])
					}
				}
				classes[i] = int32(guess(z))
				s.Labels[i], s.Index[i] = past.labels[classes[i]], int32(index*batch+i)
			}
			effect := func(class int) float64 {
				if e := eta + step*lr*map[bool]float64{true: 1, false: -1}[class == 2]; e >= 0 {
					return e
				}
				return 1e-8
			}
			if len(pastX) >= 7 {
				tried := 1
				if simulate == "batch" {
					tried = batch
				}
				right := func(e float64) (n int) {
					moved := ref.moved(xs[:tried], s.Labels[:tried], e/batch)
					for i := len(pastX) - 7; i < len(pastX); i++ {
						y := past.labels[past.classes[i]]
						if int32(guess(moved.logits(pastX[i]))) == y {
							n++
						}
						if y != pastY[i] {
							outdated++
						}
					}
					return n
				}
				if right(effect(guess(ref.logits(xs[0])))) > right(eta) {
					next := effect(int(s.Labels[0]))
					switch {
					case next == 1e-8:
						floors++
					case next > eta:
						ups++
					default:
						downs++
					}
					eta = next
				}
			}
			called := false
			require.NoError(t, m.Around(&learner.Step{Index: int64(index), TaskStep: int64(index), Batch: s, Relabel: past}, func() error {
				called = true
				require.InDelta(t, eta, m.eta[0], 1e-9, "step %d", index)
				require.InDelta(t, eta/lr, m.scale.F32[0], 1e-6)
				moved := ref.moved(xs, s.Labels, eta/batch)
				*ref = moved
				for i, v := range ref.w {
					params[0].Var.F32[i] = float32(v)
				}
				for i, v := range ref.b {
					params[1].Var.F32[i] = float32(v)
				}
				return nil
			}))
			require.True(t, called)
			pastX, pastY = append(pastX, xs...), append(pastY, s.Labels...)
			past.classes = append(past.classes, classes...)
		}
		require.Greater(t, ups, 10, simulate)
		require.Greater(t, downs, 10, simulate)
		require.NotZero(t, floors, simulate)
		require.NotZero(t, outdated, simulate)
	}
}

func TestRandomRegulationTakesHalfOfTheEffects(t *testing.T) {
	b := methodtest.NewOf(t, 1, map[string]any{"kind": "mlp", "hidden": []any{}, "init": "pytorch"})
	b.Classes, b.Batch = 3, 1
	m := b.Method(map[string]any{"kind": "homeostatic-lr", "lr": 1.0, "step": 0.25, "decision": "random"}).(*homeostatic)
	s := &stream.Batch{N: 1, X: make([]float32, 4), Labels: []int32{2}}
	for i := range 4000 {
		require.NoError(t, m.Around(&learner.Step{Index: int64(i), Batch: s}, func() error { return nil }))
	}
	require.InDelta(t, 1+2000*0.25, m.eta[0], 5*math.Sqrt(1000)*0.25)
}

var _ method.Gradients = (*closedForm)(nil)
