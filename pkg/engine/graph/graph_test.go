package graph

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

func TestCrossEntropyIsMinusLogSoftmax(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", 2, 3)
	l := b.Labels("labels", 2)
	b.Output("loss", b.CrossEntropy(x, l))
	b.Output("correct", b.Correct(x, l))
	b.Output("grad", b.Gradients(b.CrossEntropy(x, l), x)[0])
	p := b.Compile()
	copy(p.Input("x"), []float32{1, 2, 3, 1000, 1000, 0})
	copy(p.Labels("labels"), []int32{2, 1})
	p.Run(0)
	z := math.Exp(1) + math.Exp(2) + math.Exp(3)
	require.InDelta(t, math.Log(z)-3, p.Output("loss")[0], 1e-6)
	require.InDelta(t, math.Ln2, p.Output("loss")[1], 1e-6, "large logits do not overflow")
	require.Equal(t, []float32{1, 0}, p.Output("correct"), "of equal logits the first counts as largest")
	want := []float64{math.Exp(1) / z, math.Exp(2) / z, math.Exp(3)/z - 1, 0.5, -0.5, 0}
	for i, w := range want {
		require.InDelta(t, w, p.Output("grad")[i], 1e-6)
	}
}

func TestAssignmentsSeeOldValues(t *testing.T) {
	s := NewStore()
	v := s.New("v", F32, Persistent, 3000)
	w := s.New("w", F32, Persistent, 3000)
	for i := range v.F32 {
		v.F32[i], w.F32[i] = float32(i), float32(-i)
	}
	b := NewBuilder()
	rv, rw := b.Read(v), b.Read(w)
	sum := b.Add(rv, b.Const(1))
	b.Assign(v, sum)             // v+1, while v is still read below
	b.Assign(w, b.Mul(rv, rw))   // old v · old w
	b.Output("total", b.Sum(rv)) // old v
	b.Output("old", rv)
	p := b.Compile()
	p.Run(0)
	for i := range v.F32 {
		require.Equal(t, float32(i+1), v.F32[i])
		require.Equal(t, float32(i)*float32(-i), w.F32[i])
		require.Equal(t, float32(i), p.Output("old")[i])
	}
	require.InEpsilon(t, 2999*3000/2, float64(p.Output("total")[0]), 1e-5)
}

func TestSwapOfVariables(t *testing.T) {
	s := NewStore()
	v, w := s.New("v", F32, Persistent, 2), s.New("w", F32, Persistent, 2)
	copy(v.F32, []float32{1, 2})
	copy(w.F32, []float32{3, 4})
	b := NewBuilder()
	b.Assign(v, b.Read(w))
	b.Assign(w, b.Read(v))
	b.Compile().Run(0)
	require.Equal(t, []float32{3, 4}, v.F32)
	require.Equal(t, []float32{1, 2}, w.F32)
}

func TestStopGradient(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", 1)
	y := b.Mul(b.StopGradient(x), x)
	b.Output("dx", b.Gradients(y, x)[0])
	p := b.Compile()
	p.Input("x")[0] = 3
	p.Run(0)
	require.Equal(t, float32(3), p.Output("dx")[0])
}

func TestNoiseDependsOnKeyAndStepOnly(t *testing.T) {
	b := NewBuilder()
	b.Output("a", b.Normal(rng.New(1, "a"), 5))
	b.Output("b", b.Normal(rng.New(1, "b"), 5))
	p := b.Compile()
	p.Run(7)
	first := append([]float32(nil), p.Output("a")...)
	require.NotEqual(t, first, p.Output("b"))
	p.Run(8)
	require.NotEqual(t, first, p.Output("a"))
	p.Run(7)
	require.Equal(t, first, p.Output("a"))
}

func TestRunDoesNotAllocate(t *testing.T) {
	s := NewStore()
	w := s.New("w", F32, Persistent, 40, 50)
	b := NewBuilder()
	x := b.Input("x", 1, 40)
	y := b.Tanh(b.MatMul(x, b.Read(w)))
	loss := b.Mean(b.Square(y))
	g := b.Gradients(loss, b.Read(w))[0]
	b.Assign(w, b.Sub(b.Read(w), b.Scale(0.1, g)))
	b.Output("loss", loss)
	p := b.Compile()
	require.Zero(t, testing.AllocsPerRun(10, func() { p.Run(1) }))
}

func TestMistakesPanicWithError(t *testing.T) {
	for name, f := range map[string]func(*Builder){
		"matmul":    func(b *Builder) { b.MatMul(b.Input("x", 2, 3), b.Input("z", 2, 3)) },
		"broadcast": func(b *Builder) { b.Add(b.Input("x", 2, 3), b.Input("z", 2)) },
		"twice":     func(b *Builder) { b.Input("x", 1); b.Input("x", 1) },
		"overflow":  func(b *Builder) { b.Fill(1, tensor.Shape{1 << 40, 1 << 40}) },
		"foreign":   func(b *Builder) { b.Add(b.Const(1), NewBuilder().Const(1)) },
		"store":     func(*Builder) { NewStore().New("v", F32, Persistent, 1<<20, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			err := func() (err error) {
				defer Catch(&err)
				f(NewBuilder())
				return nil
			}()
			require.Error(t, err)
		})
	}
}
