package graph

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// gradientCases are functions of one or two variables, one per operation, whose
// gradients are held against finite differences. Values are kept away from
// kinks by the offsets of the inputs.
var gradientCases = map[string]struct {
	x, z   tensor.Shape
	lo, hi float32
	f      func(b *Builder, x, z Node) Node
}{
	"add":              {x: tensor.Shape{3, 4}, z: tensor.Shape{3, 4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.Add(x, z)) }},
	"add row":          {x: tensor.Shape{3, 4}, z: tensor.Shape{4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.Add(x, z)) }},
	"sub column":       {x: tensor.Shape{3, 4}, z: tensor.Shape{3, 1}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.Sub(x, z)) }},
	"mul scalar":       {x: tensor.Shape{3, 4}, z: tensor.Shape{}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Mul(b.Square(x), z) }},
	"mul middle axis":  {x: tensor.Shape{2, 3, 4}, z: tensor.Shape{2, 1, 4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Mul(b.Square(x), z) }},
	"div":              {x: tensor.Shape{5}, z: tensor.Shape{5}, lo: 0.5, hi: 2, f: func(b *Builder, x, z Node) Node { return b.Div(x, z) }},
	"max":              {x: tensor.Shape{8}, z: tensor.Shape{8}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Max(x, z) }},
	"min":              {x: tensor.Shape{8}, z: tensor.Shape{8}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Min(x, z) }},
	"neg":              {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Neg(x) }},
	"abs":              {x: tensor.Shape{5}, lo: 0.2, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Abs(b.Neg(x)) }},
	"relu":             {x: tensor.Shape{5}, lo: 0.2, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Add(b.ReLU(x), b.ReLU(b.Neg(x))) }},
	"leaky-relu":       {x: tensor.Shape{5}, lo: -1, hi: -0.1, f: func(b *Builder, x, _ Node) Node { return b.LeakyReLU(x, 0.1) }},
	"sqrt":             {x: tensor.Shape{5}, lo: 0.5, hi: 2, f: func(b *Builder, x, _ Node) Node { return b.Sqrt(x) }},
	"recip":            {x: tensor.Shape{5}, lo: 0.5, hi: 2, f: func(b *Builder, x, _ Node) Node { return b.Recip(x) }},
	"exp":              {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Exp(x) }},
	"log":              {x: tensor.Shape{5}, lo: 0.5, hi: 2, f: func(b *Builder, x, _ Node) Node { return b.Log(x) }},
	"tanh":             {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Tanh(x) }},
	"sigmoid":          {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Sigmoid(x) }},
	"sin":              {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Sin(x) }},
	"cos":              {x: tensor.Shape{5}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Cos(x) }},
	"matmul gemv":      {x: tensor.Shape{1, 4}, z: tensor.Shape{4, 3}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.MatMul(x, z)) }},
	"matmul":           {x: tensor.Shape{2, 4}, z: tensor.Shape{4, 3}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.MatMul(x, z)) }},
	"matmul nt":        {x: tensor.Shape{2, 4}, z: tensor.Shape{3, 4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.MatMulNT(x, z)) }},
	"matmul tn":        {x: tensor.Shape{4, 2}, z: tensor.Shape{4, 3}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.MatMulTN(x, z)) }},
	"matmul tt":        {x: tensor.Shape{4, 2}, z: tensor.Shape{3, 4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.matmul(x, z, true, true)) }},
	"softmax":          {x: tensor.Shape{2, 4}, z: tensor.Shape{2, 4}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Mul(b.Softmax(x), z) }},
	"sum rows":         {x: tensor.Shape{2, 4}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Square(b.SumRows(x)) }},
	"mean":             {x: tensor.Shape{2, 4}, lo: -1, hi: 1, f: func(b *Builder, x, _ Node) Node { return b.Square(b.Mean(x)) }},
	"transpose":        {x: tensor.Shape{2, 4}, z: tensor.Shape{4, 2}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Mul(b.Transpose(x), b.Square(z)) }},
	"concat and slice": {x: tensor.Shape{2, 3}, z: tensor.Shape{2, 2}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Square(b.Slice(b.Concat(x, z), 1, 4)) }},
	"reshape":          {x: tensor.Shape{2, 3}, z: tensor.Shape{3, 2}, lo: -1, hi: 1, f: func(b *Builder, x, z Node) Node { return b.Mul(b.Reshape(b.Square(x), 3, 2), z) }},
}

// gradientOrder 1 checks ∂Σf, order 2 checks ∂Σ(∂Σf)², whose derivative rules
// are those of the operations that order 1 emitted.
func TestGradientsAgainstFiniteDifferences(t *testing.T) {
	for name, tc := range gradientCases {
		for order := 1; order <= 2; order++ {
			t.Run(name+[]string{"", "", " second order"}[order], func(t *testing.T) {
				s := NewStore()
				x := s.New("x", F32, Persistent, tc.x...)
				vars := []*Var{x}
				b := NewBuilder()
				nodes := []Node{b.Read(x)}
				var zn Node
				if tc.z != nil {
					z := s.New("z", F32, Persistent, tc.z...)
					vars = append(vars, z)
					zn = b.Read(z)
					nodes = append(nodes, zn)
				}
				for i, v := range vars {
					rng.New(7, "test").FillUniform(v.F32, tc.lo, tc.hi, uint64(i))
				}
				y := tc.f(b, nodes[0], zn)
				weights := b.Input("weights", y.Shape()...)
				loss := b.Sum(b.Mul(y, weights))
				if order == 2 {
					var sq Node
					for _, g := range b.Gradients(loss, nodes...) {
						s := b.Sum(b.Square(b.Add(g, b.Const(0.3))))
						if sq.Valid() {
							s = b.Add(sq, s)
						}
						sq = s
					}
					loss = sq
				}
				b.Output("loss", loss)
				for i, g := range b.Gradients(loss, nodes...) {
					b.Output(vars[i].Name, g)
				}
				p := b.Compile()
				rng.New(8, "weights").FillUniform(p.Input("weights"), 0.5, 1.5, 0)
				for _, v := range vars {
					p.Run(0) // at the unmoved point
					got := append([]float32(nil), p.Output(v.Name)...)
					for i := range v.F32 {
						const h = 1.0 / 256
						old := v.F32[i]
						v.F32[i] = old + h
						p.Run(0)
						up := float64(p.Output("loss")[0])
						v.F32[i] = old - h
						p.Run(0)
						down := float64(p.Output("loss")[0])
						v.F32[i] = old
						want := (up - down) / (2 * h)
						require.InDelta(t, want, float64(got[i]), 2e-2*math.Max(1, math.Abs(want)), "∂/∂%s[%d]", v.Name, i)
					}
				}
			})
		}
	}
}

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
