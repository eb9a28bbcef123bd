package graph

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

// evaluate returns the values of functions of x.
func evaluate(x []float32, shape tensor.Shape, fs ...func(b *Builder, x Node) Node) [][]float32 {
	b := NewBuilder()
	in := b.Input("x", shape...)
	for i, f := range fs {
		b.Output(string(rune('a'+i)), f(b, in))
	}
	p := b.Compile()
	copy(p.Input("x"), x)
	p.Run(0)
	var out [][]float32
	for i := range fs {
		out = append(out, slices.Clone(p.Output(string(rune('a'+i)))))
	}
	return out
}

func gradientOf(f func(b *Builder, x Node) Node) func(b *Builder, x Node) Node {
	return func(b *Builder, x Node) Node { return b.Gradients(f(b, x), x)[0] }
}

func TestTopKTakesTheFirstOfEquals(t *testing.T) {
	for _, tc := range []struct {
		x    []float32
		k    int
		want []float32
	}{
		{[]float32{1, 3, 2, 3, 3}, 1, []float32{0, 1, 0, 0, 0}},
		{[]float32{1, 3, 2, 3, 3}, 2, []float32{0, 1, 0, 1, 0}},
		{[]float32{1, 3, 2, 3, 3}, 4, []float32{0, 1, 1, 1, 1}},
		{[]float32{1, 3, 2, 3, 3}, 5, []float32{1, 1, 1, 1, 1}},
		{[]float32{0, 0, 0}, 2, []float32{1, 1, 0}},
		{[]float32{1, nan, inf, nan}, 1, []float32{0, 1, 0, 0}},
		{[]float32{1, nan, inf, nan}, 3, []float32{0, 1, 1, 1}},
		{[]float32{nan, nan}, 1, []float32{1, 0}},
		{[]float32{-inf, inf, 5}, 2, []float32{0, 1, 1}},
	} {
		got := evaluate(tc.x, tensor.Shape{1, len(tc.x)}, func(b *Builder, x Node) Node { return b.TopK(x, tc.k) })
		require.Equal(t, tc.want, got[0], "%v of %v", tc.k, tc.x)
	}
}

func TestTopKAgainstSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 { return float32(rapid.IntRange(-9, 9).Draw(t, "x")) }), 1, 50).Draw(t, "row")
		k := rapid.IntRange(1, len(x)).Draw(t, "k")
		order := make([]int, len(x))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return int(x[j] - x[i]) })
		want := make([]float32, len(x))
		for _, i := range order[:k] {
			want[i] = 1
		}
		require.Equal(t, want, evaluate(x, tensor.Shape{len(x)}, func(b *Builder, x Node) Node { return b.TopK(x, k) })[0])
	})
}

func TestMaxPoolOfEqualsAndNaN(t *testing.T) {
	pool := func(b *Builder, x Node) Node { return b.MaxPool2D(x, SquareWindow(2, 2, 0)) }
	got := evaluate([]float32{2, 2, 1, nan, 2, 2, nan, 5}, tensor.Shape{1, 2, 4, 1}, pool, gradientOf(pool))
	require.Equal(t, float32(2), got[0][0])
	require.True(t, got[0][1] != got[0][1], "NaN is largest")
	require.Equal(t, []float32{1, 0, 0, 0, 0, 0, 1, 0}, got[1], "the last NaN")

	padded := func(b *Builder, x Node) Node { return b.MaxPool2D(x, SquareWindow(2, 1, 1)) }
	got = evaluate([]float32{-3}, tensor.Shape{1, 1, 1, 1}, padded, gradientOf(padded))
	require.Equal(t, []float32{-3, -3, -3, -3}, got[0], "what lies beyond the edge is not zero")
	require.Equal(t, []float32{4}, got[1])
}

func TestStraightThroughAndSurrogates(t *testing.T) {
	x := []float32{-2, -0.5, 0, 0.5, 2}
	shape := tensor.Shape{5}
	ste := func(b *Builder, x Node) Node { return b.StraightThrough(b.Sign(x), b.Mul(x, b.Const(1.1))) }
	got := evaluate(x, shape, ste, gradientOf(ste))
	require.Equal(t, []float32{-1, -1, 0, 1, 1}, got[0])
	require.Equal(t, []float32{1.1, 1.1, 1.1, 1.1, 1.1}, got[1])

	for _, tc := range []struct {
		derivative func(b *Builder, x Node) Node
		want       func(x float64) float64
		second     func(x float64) float64
	}{
		{FastSigmoid(2), func(x float64) float64 { return 1 / math.Pow(1+2*math.Abs(x), 2) }, func(x float64) float64 { return -4 * sign(x) / math.Pow(1+2*math.Abs(x), 3) }},
		{Triangle(0.5, 1.5), func(x float64) float64 { return 0.5 * math.Max(0, 1-math.Abs(x)/1.5) }, func(x float64) float64 {
			if math.Abs(x) > 1.5 {
				return 0
			}
			return -0.5 / 1.5 * sign(x)
		}},
		{ArcTangent(2), func(x float64) float64 { return 1 / (1 + math.Pi*math.Pi*x*x) }, func(x float64) float64 {
			d := 1 + math.Pi*math.Pi*x*x
			return -2 * math.Pi * math.Pi * x / (d * d)
		}},
	} {
		spike := func(b *Builder, x Node) Node { return b.Spike(x, tc.derivative) }
		got := evaluate(x, shape, spike, gradientOf(spike), gradientOf(gradientOf(spike)))
		require.Equal(t, []float32{0, 0, 0, 1, 1}, got[0])
		for i, v := range x {
			require.InDelta(t, tc.want(float64(v)), got[1][i], 1e-6)
			require.InDelta(t, tc.second(float64(v)), got[2][i], 1e-6)
		}
	}
}

func sign(x float64) float64 { return truth64(x > 0) - truth64(x < 0) }

func TestStableForms(t *testing.T) {
	x := []float32{-200, -20, 0, 20, 200}
	shape := tensor.Shape{5}
	got := evaluate(x, shape, (*Builder).Softplus, gradientOf((*Builder).Softplus), (*Builder).LogSigmoid, gradientOf((*Builder).LogSigmoid),
		(*Builder).LogSoftmax, (*Builder).LogSumExp)
	for i, v := range x {
		e := math.Exp(-math.Abs(float64(v)))
		require.InDelta(t, math.Max(float64(v), 0)+math.Log1p(e), got[0][i], 1e-6)
		require.InDelta(t, 1/(1+math.Exp(-float64(v))), got[1][i], 1e-6, "also at 0")
		require.InDelta(t, math.Min(float64(v), 0)-math.Log1p(e), got[2][i], 1e-6)
		require.InDelta(t, 1/(1+math.Exp(float64(v))), got[3][i], 1e-6)
		require.InDelta(t, v-200, got[4][i], 1e-4)
	}
	require.InDelta(t, 200, got[5][0], 1e-4)

	clip := func(b *Builder, x Node) Node { return b.Clip(x, -20, 20) }
	got = evaluate(x, shape, clip, gradientOf(clip))
	require.Equal(t, []float32{-20, -20, 0, 20, 20}, got[0])
	require.Equal(t, []float32{0, 1, 1, 1, 0}, got[1], "1 on the limits")

	huber := func(b *Builder, x Node) Node { return b.Huber(x, b.Fill(0, shape), 20) }
	got = evaluate(x, shape, huber, gradientOf(huber), gradientOf(gradientOf(huber)))
	require.Equal(t, []float32{3800, 200, 0, 200, 3800}, got[0])
	require.Equal(t, []float32{-20, -20, 0, 20, 20}, got[1])
	require.Equal(t, []float32{0, 1, 1, 1, 0}, got[2], "1 at 0 too")
}

func TestCosineSimilarityOfZero(t *testing.T) {
	f := func(b *Builder, x Node) Node { return b.CosineSimilarity(x, b.Fill(1, tensor.Shape{2, 3}), 1e-8) }
	got := evaluate([]float32{0, 0, 0, 1, 1, 1}, tensor.Shape{2, 3}, f, gradientOf(f))
	require.Equal(t, float32(0), got[0][0])
	require.InDelta(t, 1, got[0][1], 1e-6)
	require.NotContains(t, got[1], nan)
}

func TestMasksAreDraws(t *testing.T) {
	const n = 1 << 16
	x := make([]float32, n)
	for i := range x {
		x[i] = 3
	}
	got := evaluate(x, tensor.Shape{n},
		func(b *Builder, x Node) Node { return b.Dropout(x, 0.25, rng.New(1, "a")) },
		func(b *Builder, x Node) Node { return b.Bernoulli(rng.New(1, "b"), 0.1, n) },
		func(b *Builder, x Node) Node { return b.Uniform(rng.New(1, "c"), -2, 4, n) },
		func(b *Builder, x Node) Node { return b.Dropout(x, 0, rng.New(1, "d")) },
		func(b *Builder, x Node) Node { return b.Bernoulli(rng.New(1, "b"), 1, n) },
		func(b *Builder, x Node) Node { return b.Bernoulli(rng.New(1, "b"), 0, n) })
	sum := func(x []float32) (s float64) {
		for _, v := range x {
			s += float64(v)
		}
		return s
	}
	for _, v := range got[0] {
		require.Contains(t, []float32{0, 4}, v)
	}
	// Each within five standard deviations of a mean of n draws.
	require.InDelta(t, 3, sum(got[0])/n, 5*4*math.Sqrt(0.25*0.75/n))
	require.InDelta(t, 0.1, sum(got[1])/n, 5*math.Sqrt(0.1*0.9/n))
	require.InDelta(t, 1, sum(got[2])/n, 5*6/math.Sqrt(12*n))
	require.GreaterOrEqual(t, slices.Min(got[2]), float32(-2))
	require.Less(t, slices.Max(got[2]), float32(4))
	require.Equal(t, x, got[3])
	require.Equal(t, float64(n), sum(got[4]))
	require.Zero(t, sum(got[5]))
}

// A convolution of one position is a dense layer, and one with groups is one
// convolution for each.
func TestConvolutionOfGroupsIsManyConvolutions(t *testing.T) {
	b := NewBuilder()
	x, w := b.Input("x", 2, 5, 5, 6), b.Input("w", 9*2, 12)
	win := SquareWindow(3, 2, 1)
	b.Output("groups", b.Conv2D(x, w, win, 3))
	var parts []Node
	for g := range 3 {
		parts = append(parts, b.Conv2D(b.Slice(x, 2*g, 2*g+2), b.Slice(w, 4*g, 4*g+4), win, 1))
	}
	b.Output("parts", b.Concat(parts...))
	v := b.Input("v", 25*6, 7)
	b.Output("whole", b.Conv2D(x, v, SquareWindow(5, 1, 0), 1))
	b.Output("dense", b.MatMul(b.Reshape(x, 2, 150), v))
	p := b.Compile()
	for i, name := range []string{"x", "w", "v"} {
		rng.New(1, "conv").FillUniform(p.Input(name), -1, 1, uint64(i))
	}
	p.Run(0)
	require.Equal(t, p.Output("parts"), p.Output("groups"))
	require.Equal(t, p.Output("dense"), p.Output("whole"))
}

func TestPowers(t *testing.T) {
	got := evaluate([]float32{-2, 0, 3}, tensor.Shape{3},
		func(b *Builder, x Node) Node { return b.Pow(x, 3) },
		func(b *Builder, x Node) Node { return b.Pow(x, 4) },
		func(b *Builder, x Node) Node { return b.Pow(x, 0) },
		gradientOf(func(b *Builder, x Node) Node { return b.Pow(x, 2) }))
	require.Equal(t, []float32{-8, 0, 27}, got[0])
	require.Equal(t, []float32{16, 0, 81}, got[1])
	require.Equal(t, []float32{1, 1, 1}, got[2])
	require.Equal(t, []float32{-4, 0, 6}, got[3])
}

func TestMistakesInOps(t *testing.T) {
	m := func(b *Builder, shape ...int) Node { return b.Fill(0, shape) }
	for name, f := range map[string]func(b *Builder){
		"window too large":     func(b *Builder) { b.Im2Col(m(b, 1, 2, 2, 1), SquareWindow(3, 1, 0)) },
		"window of nothing":    func(b *Builder) { b.Im2Col(m(b, 1, 2, 2, 1), Window{}) },
		"window's stride":      func(b *Builder) { b.Im2Col(m(b, 1, 2, 2, 1), SquareWindow(1, -1, 0)) },
		"window's padding":     func(b *Builder) { b.Im2Col(m(b, 1, 2, 2, 1), SquareWindow(1, 1, -1)) },
		"window's overflow":    func(b *Builder) { b.Im2Col(m(b, 1, 2, 2, 1), SquareWindow(1<<20, 1, 1<<20)) },
		"no image":             func(b *Builder) { b.Im2Col(m(b, 2, 2, 1), SquareWindow(1, 1, 0)) },
		"pool's padding":       func(b *Builder) { b.MaxPool2D(m(b, 1, 4, 4, 1), SquareWindow(2, 1, 2)) },
		"global pool":          func(b *Builder) { b.GlobalAvgPool(m(b, 4, 4)) },
		"conv's weights":       func(b *Builder) { b.Conv2D(m(b, 1, 4, 4, 2), m(b, 9, 3), SquareWindow(3, 1, 0), 1) },
		"conv's groups":        func(b *Builder) { b.Conv2D(m(b, 1, 4, 4, 3), m(b, 9, 3), SquareWindow(3, 1, 0), 2) },
		"no axis":              func(b *Builder) { b.SumAxes(m(b, 2, 3), 2) },
		"mean over no axis":    func(b *Builder) { b.MeanAxes(m(b, 2, 3), -3) },
		"squeeze":              func(b *Builder) { b.Squeeze(m(b, 2, 3), 0) },
		"permute":              func(b *Builder) { b.Permute(m(b, 2, 3), 0, 0) },
		"permute's rank":       func(b *Builder) { b.Permute(m(b, 2, 3), 0) },
		"transpose":            func(b *Builder) { b.Transpose(m(b, 2, 3, 4)) },
		"reshape":              func(b *Builder) { b.Reshape(m(b, 2, 3), 5) },
		"reshape to overflow":  func(b *Builder) { b.Reshape(m(b, 2, 3), 1<<33, 1<<33) },
		"concat of nothing":    func(b *Builder) { b.Concat() },
		"concat":               func(b *Builder) { b.Concat(m(b, 2, 3), m(b, 3, 3)) },
		"concat's rank":        func(b *Builder) { b.Concat(m(b, 2, 3), m(b, 3)) },
		"stack":                func(b *Builder) { b.Stack(3, m(b, 2, 3)) },
		"slice":                func(b *Builder) { b.Slice(m(b, 2, 3), 2, 4) },
		"pad":                  func(b *Builder) { b.PadAxis(m(b, 2, 3), 0, -1, 0) },
		"pad's overflow":       func(b *Builder) { b.PadAxis(m(b, 2, 3), 0, 1<<29, 1<<29) },
		"array":                func(b *Builder) { b.Array([]float32{1}, 2) },
		"array's shape":        func(b *Builder) { b.Array(nil, 0) },
		"batch matmul":         func(b *Builder) { b.BatchMatMul(m(b, 2, 3, 4), m(b, 2, 3, 4)) },
		"batch matmul's items": func(b *Builder) { b.BatchMatMul(m(b, 2, 3, 4), m(b, 3, 4, 3)) },
		"batch matmul's rank":  func(b *Builder) { b.BatchMatMul(m(b, 3), m(b, 3)) },
		"gather":               func(b *Builder) { b.Gather(m(b, 2, 3), m(b, 2)) },
		"gather of a number":   func(b *Builder) { b.Gather(b.Const(1), b.Labels("l", 2)) },
		"scatter":              func(b *Builder) { b.ScatterAdd(m(b, 3, 3), b.Labels("l", 2), 4) },
		"top-k":                func(b *Builder) { b.TopK(m(b, 3, 3), 4) },
		"softmax of a number":  func(b *Builder) { b.Softmax(b.Const(1)) },
		"top-k of a number":    func(b *Builder) { b.TopK(b.Const(1), 1) },
		"max of a number":      func(b *Builder) { b.MaxRows(b.Const(1)) },
		"uniform":              func(b *Builder) { b.Uniform(testKey, 1, 0, 3) },
		"bernoulli":            func(b *Builder) { b.Bernoulli(testKey, 1.5, 3) },
		"dropout":              func(b *Builder) { b.Dropout(m(b, 3), 1, testKey) },
		"clip":                 func(b *Builder) { b.Clip(m(b, 3), 1, 0) },
		"straight-through":     func(b *Builder) { b.StraightThrough(m(b, 3), m(b, 4)) },
		"surrogate":            func(b *Builder) { b.Surrogate(m(b, 3), (*Builder).Sum, (*Builder).Sum) },
		"mse":                  func(b *Builder) { b.MSE(m(b, 3, 4), m(b, 4)) },
		"mse of a number":      func(b *Builder) { b.MSE(b.Const(1), b.Const(2)) },
		"huber":                func(b *Builder) { b.Huber(m(b, 3), m(b, 3), 0) },
		"group norm":           func(b *Builder) { b.GroupNorm(m(b, 2, 4), 3, Node{}, Node{}, 0) },
		"batch norm":           func(b *Builder) { b.BatchNorm(m(b, 4), Node{}, Node{}, 0, nil) },
		"batch norm of one":    func(b *Builder) { b.BatchNorm(m(b, 1, 4), Node{}, Node{}, 0, nil) },
		"attention":            func(b *Builder) { b.Attention(m(b, 3), m(b, 3), m(b, 3), Node{}) },
		"causal mask":          func(b *Builder) { b.CausalMask(1 << 20) },
		"gradient's shape":     func(b *Builder) { x := b.Input("x", 3); b.VJP([]Node{x}, []Node{m(b, 2)}, x) },
	} {
		t.Run(name, func(t *testing.T) { requireMistake(t, f) })
	}
}

func TestIndicesOutOfRangePanic(t *testing.T) {
	b := NewBuilder()
	b.Output("y", b.Gather(b.Input("x", 3, 2), b.Labels("i", 1)))
	p := b.Compile()
	for _, i := range []int32{-1, 3} {
		p.Labels("i")[0] = i
		require.Panics(t, func() { p.Run(0) })
	}
}

// Whatever else a program computes and assigns, and however its operations are
// scheduled, taken together and placed, a value has the bits that it has in a
// program of its own.
func TestValuesDoNotDependOnTheRestOfTheProgram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type draw struct {
			kind, x, z int
		}
		ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) draw {
			return draw{rapid.IntRange(0, 15).Draw(t, "kind"), rapid.IntRange(0, 99).Draw(t, "x"), rapid.IntRange(0, 99).Draw(t, "z")}
		}), 1, 15).Draw(t, "ops")
		const rows, cols = 4, 6
		// trace makes every value [rows][cols].
		trace := func() (b *Builder, vars []*Var, nodes []Node) {
			b = NewBuilder()
			s := NewStore()
			for i := range 3 {
				v := s.New(string(rune('a'+i)), F32, Persistent, rows, cols)
				rng.New(3, "values").FillUniform(v.F32, -1, 1, uint64(i))
				vars = append(vars, v)
				nodes = append(nodes, b.Read(v))
			}
			for _, o := range ops {
				x, z := nodes[o.x%len(nodes)], nodes[o.z%len(nodes)]
				var y Node
				switch o.kind {
				case 0:
					y = b.Add(x, z)
				case 1:
					y = b.Mul(x, z)
				case 2:
					y = b.Tanh(x)
				case 3:
					y = b.Sub(x, b.MeanAxes(z, 0))
				case 4:
					y = b.Mul(x, b.SumAxes(z, 1))
				case 5:
					y = b.Max(x, b.Mean(z))
				case 6:
					y = b.MatMul(b.MatMulNT(x, z), x)
				case 7:
					y = b.MatMulTN(b.MatMulNT(x, x), z)
				case 8:
					y = b.Transpose(b.Reshape(b.Permute(b.Reshape(x, 2, 2, 6), 1, 0, 2), cols, rows))
				case 9:
					y = b.Concat(b.Slice(x, 2, cols), b.Slice(z, 0, 2))
				case 10:
					y = b.PadAxis(b.SliceAxis(x, 0, 1, 3), 0, 1, 1)
				case 11:
					y = b.Softmax(x)
				case 12:
					y = b.TopK(x, 2)
				case 13:
					y = b.Reshape(b.Conv2D(b.Reshape(x, 1, rows, cols, 1), b.Reshape(b.Slice(z, 0, 1), rows, 1), SquareWindow(2, 1, 0), 1), 15)
					y = b.Reshape(b.PadAxis(y, 0, 4, 5), rows, cols)
				case 14:
					y = b.Gradients(b.Sum(b.Square(nodes[len(nodes)-1])), x)[0]
				case 15:
					f, _ := b.Scan(Loop{Steps: 2, Carry: []Node{x}, Shared: []Node{z}, Body: func(b *Builder, c, _, w []Node) (next, out []Node) {
						return []Node{b.Sin(b.Add(c[0], w[0]))}, nil
					}})
					y = f[0]
				}
				nodes = append(nodes, y)
			}
			return b, vars, nodes
		}
		b, vars, nodes := trace()
		outputs := rapid.SliceOfNDistinct(rapid.IntRange(0, len(nodes)-1), 1, 4, rapid.ID).Draw(t, "outputs")
		assigned := rapid.SliceOfN(rapid.IntRange(-1, len(nodes)-1), 3, 3).Draw(t, "assigned")
		for i, id := range assigned {
			if id >= 0 {
				b.Assign(vars[i], nodes[id])
			}
		}
		for _, id := range outputs {
			b.Output(string(rune('A'+id)), nodes[id])
		}
		p := b.Compile()
		p.Run(0)
		alone := func(id int) []float32 {
			b, _, nodes := trace()
			b.Output("y", nodes[id])
			p := b.Compile()
			p.Run(0)
			return p.Output("y")
		}
		equal := func(want, got []float32, what string) {
			for i := range want {
				if want[i] != want[i] && got[i] != got[i] {
					continue
				}
				require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "%s, element %d: %v and %v", what, i, want[i], got[i])
			}
		}
		for _, id := range outputs {
			equal(alone(id), p.Output(string(rune('A'+id))), "output")
		}
		for i, id := range assigned {
			if id >= 0 {
				equal(alone(id), vars[i].F32, "variable")
			}
		}
	})
}
