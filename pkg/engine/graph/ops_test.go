package graph

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

// opCase is a function of some variables, drawn from [lo, hi); [0, 1) if both
// are 0. Kinks are so unlikely to be within a step of the finite differences
// that a fixed seed avoids them.
type opCase struct {
	name   string
	vars   []tensor.Shape
	lo, hi float32
	f      func(b *Builder, v []Node) Node
	labels []int32 // of the input "labels", if f declares it
	noDiff bool    // the derivative is by design not that of the value
	ulps   float64 // float32 against float64, of the largest value; 0: 32
}

func shapes(s ...tensor.Shape) []tensor.Shape { return s }

func unaryCase(name string, lo, hi float32, f func(b *Builder, x Node) Node) opCase {
	return opCase{name: name, vars: shapes(tensor.Shape{3, 5}), lo: lo, hi: hi, f: func(b *Builder, v []Node) Node { return f(b, v[0]) }}
}

func binaryCase(name string, x, z tensor.Shape, lo, hi float32, f func(b *Builder, x, z Node) Node) opCase {
	return opCase{name: name, vars: shapes(x, z), lo: lo, hi: hi, f: func(b *Builder, v []Node) Node { return f(b, v[0], v[1]) }}
}

var (
	key3x4  = tensor.Shape{3, 4}
	image   = tensor.Shape{2, 5, 4, 3}
	testKey = rng.New(5, "noise")
)

// opCases is the table of everything that a builder can trace: one line each.
// TestEveryOpHasACase fails if an operation is missing.
var opCases = []opCase{
	unaryCase("copy", -1, 1, func(b *Builder, x Node) Node { return b.unary(kernel.Copy, b.Square(x)) }),
	unaryCase("neg", -1, 1, func(b *Builder, x Node) Node { return b.Neg(b.Square(x)) }),
	unaryCase("abs", -1, 1, func(b *Builder, x Node) Node { return b.Mul(b.Abs(x), x) }),
	unaryCase("sign", -1, 1, func(b *Builder, x Node) Node { return b.Mul(b.Sign(x), b.Square(x)) }),
	unaryCase("step", -1, 1, func(b *Builder, x Node) Node { return b.Mul(b.Step(x), b.Square(x)) }),
	unaryCase("flush", -1, 1, func(b *Builder, x Node) Node { return b.Flush(b.Mul(b.Step(x), x)) }),
	unaryCase("relu", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.ReLU(x)) }),
	unaryCase("leaky-relu", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.LeakyReLU(x, 0.1)) }),
	unaryCase("square", -1, 1, (*Builder).Square),
	unaryCase("sqrt", 0.5, 2, (*Builder).Sqrt),
	unaryCase("recip", 0.5, 2, (*Builder).Recip),
	unaryCase("exp", -1, 1, (*Builder).Exp),
	unaryCase("log", 0.5, 2, (*Builder).Log),
	unaryCase("tanh", -1, 1, (*Builder).Tanh),
	unaryCase("sigmoid", -1, 1, (*Builder).Sigmoid),
	unaryCase("sin", -1, 1, (*Builder).Sin),
	unaryCase("cos", -1, 1, (*Builder).Cos),
	unaryCase("erf", -1, 1, (*Builder).Erf),
	unaryCase("floor", -1.9, 1.9, func(b *Builder, x Node) Node { return b.Mul(b.Floor(x), b.Square(x)) }),
	unaryCase("log1p", -0.5, 2, (*Builder).Log1p),
	unaryCase("expm1", -1, 1, (*Builder).Expm1),
	unaryCase("clip", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Clip(x, -0.3, 0.6)) }),
	unaryCase("pow 3", -1, 1, func(b *Builder, x Node) Node { return b.Pow(x, 3) }),
	unaryCase("pow -5", 0.5, 2, func(b *Builder, x Node) Node { return b.Pow(x, -5) }),
	unaryCase("pow 2.5", 0.5, 2, func(b *Builder, x Node) Node { return b.Pow(x, 2.5) }),
	unaryCase("pow -0.5", 0.5, 2, func(b *Builder, x Node) Node { return b.Pow(x, -0.5) }),
	unaryCase("pow 0.3", 0.5, 2, func(b *Builder, x Node) Node { return b.Pow(x, 0.3) }),
	unaryCase("pow 0", 0.5, 2, func(b *Builder, x Node) Node { return b.Mul(x, b.Pow(x, 0)) }),
	unaryCase("softplus", -3, 3, (*Builder).Softplus),
	unaryCase("log-sigmoid", -3, 3, (*Builder).LogSigmoid),
	unaryCase("stop-gradient", 1, 2, func(b *Builder, x Node) Node { return b.Mul(b.StopGradient(b.Fill(3, x.Shape())), b.Square(x)) }),

	binaryCase("add", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Add(x, z)) }),
	binaryCase("add row", key3x4, tensor.Shape{4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Add(x, z)) }),
	binaryCase("sub column", key3x4, tensor.Shape{3, 1}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Sub(x, z)) }),
	binaryCase("sub outer", tensor.Shape{4}, tensor.Shape{3, 1}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Sub(x, z)) }),
	binaryCase("mul scalar", key3x4, tensor.Shape{}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Square(x), z) }),
	binaryCase("mul middle axis", tensor.Shape{2, 3, 4}, tensor.Shape{2, 1, 4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Square(x), z) }),
	binaryCase("mul outer axes", tensor.Shape{2, 3, 4}, tensor.Shape{1, 3, 1}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Square(x), z) }),
	binaryCase("div", tensor.Shape{5}, tensor.Shape{5}, 0.5, 2, (*Builder).Div),
	binaryCase("max", tensor.Shape{8}, tensor.Shape{8}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Max(x, z)) }),
	binaryCase("min", tensor.Shape{8}, tensor.Shape{8}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.Min(x, z)) }),
	binaryCase("greater", tensor.Shape{8}, tensor.Shape{8}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Greater(x, z), b.Square(x)) }),
	binaryCase("greater-equal", tensor.Shape{8}, tensor.Shape{8}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.GreaterEqual(x, z), b.Square(x)) }),
	binaryCase("equal", tensor.Shape{8}, tensor.Shape{8}, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Equal(b.Step(x), b.Step(z)), b.Square(x)) }),
	{name: "fma", vars: shapes(key3x4, tensor.Shape{4}, tensor.Shape{3, 1}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Fma(v[0], v[1], v[2])) }},
	{name: "select", vars: shapes(key3x4, key3x4, tensor.Shape{4}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node {
		return b.Square(b.Select(b.Step(v[0]), b.Mul(v[0], v[1]), v[2]))
	}},

	unaryCase("sum", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Sum(x)) }),
	unaryCase("mean", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Mean(x)) }),
	unaryCase("sum rows", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.SumRows(x)) }),
	unaryCase("max rows", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.MaxRows(x)) }),
	unaryCase("array", -1, 1, func(b *Builder, x Node) Node { return b.Mul(b.Square(x), b.Array([]float32{1, 2, 3, 4, 5}, 1, 5)) }),
	{name: "sum leading axes", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.SumAxes(v[0], 0, 1, 2)) }},
	{name: "sum middle axes", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.SumAxes(v[0], 1, 2)) }},
	{name: "sum outer axes", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.SumAxes(v[0], 0, -1)) }},
	{name: "mean alternate axes", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.MeanAxes(v[0], 1, 3)) }},
	{name: "squeeze", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Squeeze(b.SumAxes(v[0], 1), 1)) }},
	{name: "transpose", vars: shapes(key3x4, tensor.Shape{4, 3}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Mul(b.Transpose(v[0]), b.Square(v[1])) }},
	{name: "permute", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Permute(b.Square(v[0]), 3, 0, 2, 1)) }},
	{name: "permute rows", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Permute(b.Square(v[0]), 1, 0, 2, 3)) }},
	{name: "reshape", vars: shapes(tensor.Shape{2, 3}, tensor.Shape{3, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Mul(b.Reshape(b.Square(v[0]), 3, 2), v[1]) }},
	{name: "concat and slice", vars: shapes(tensor.Shape{2, 3}, tensor.Shape{2, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Slice(b.Concat(v...), 1, 4)) }},
	{name: "concat axis 1", vars: shapes(image, tensor.Shape{2, 2, 4, 3}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.SliceAxis(b.ConcatAxis(1, v...), 1, 3, 6)) }},
	{name: "stack", vars: shapes(key3x4, key3x4), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Concat(b.Stack(1, v...), b.Stack(1, v[1], v[0]))) }},
	{name: "pad", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node {
		return b.Square(b.PadAxis(b.PadAxis(b.Square(v[0]), 2, 1, 2), 0, 1, 0))
	}},

	binaryCase("matmul gemv", tensor.Shape{1, 4}, tensor.Shape{4, 3}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.MatMul(x, z)) }),
	binaryCase("matmul", tensor.Shape{2, 4}, tensor.Shape{4, 3}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.MatMul(x, z)) }),
	binaryCase("matmul nt", tensor.Shape{2, 4}, tensor.Shape{3, 4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.MatMulNT(x, z)) }),
	binaryCase("matmul tn", tensor.Shape{4, 2}, tensor.Shape{4, 3}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.MatMulTN(x, z)) }),
	binaryCase("matmul tt", tensor.Shape{4, 2}, tensor.Shape{3, 4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.matmul(x, z, true, true)) }),
	binaryCase("batch matmul", tensor.Shape{2, 2, 3, 4}, tensor.Shape{2, 2, 4, 2}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.BatchMatMul(x, z)) }),
	binaryCase("batch matmul nt", tensor.Shape{2, 3, 4}, tensor.Shape{2, 2, 4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.BatchMatMulNT(x, z)) }),
	binaryCase("batch matmul tn", tensor.Shape{2, 4, 3}, tensor.Shape{2, 4, 2}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.BatchMatMulTN(x, z)) }),
	binaryCase("batch matmul tt", tensor.Shape{2, 4, 3}, tensor.Shape{2, 2, 4}, -1, 1, func(b *Builder, x, z Node) Node { return b.Square(b.batchMatmul(x, z, true, true)) }),
	{name: "attention", vars: shapes(tensor.Shape{2, 3, 4}, tensor.Shape{2, 3, 4}, tensor.Shape{2, 3, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Attention(v[0], v[1], v[2], b.CausalMask(3))) }},

	{name: "conv", vars: shapes(image, tensor.Shape{3 * 2 * 3, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Conv2D(v[0], v[1], Window{Size: [2]int{3, 2}}, 1)) }},
	{name: "conv stride and padding", vars: shapes(image, tensor.Shape{3 * 3 * 3, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Conv2D(v[0], v[1], SquareWindow(3, 2, 1), 1)) }},
	{name: "conv pointwise", vars: shapes(image, tensor.Shape{3, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Conv2D(v[0], v[1], SquareWindow(1, 1, 0), 1)) }},
	{name: "conv groups", vars: shapes(tensor.Shape{2, 3, 3, 4}, tensor.Shape{2 * 2 * 2, 6}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Conv2D(v[0], v[1], SquareWindow(2, 1, 1), 2)) }},
	{name: "conv depthwise", vars: shapes(image, tensor.Shape{3 * 3, 6}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.Conv2D(v[0], v[1], SquareWindow(3, 1, 1), 3)) }},
	{name: "max pool", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.MaxPool2D(v[0], SquareWindow(2, 2, 0))) }},
	{name: "max pool overlapping", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.MaxPool2D(v[0], SquareWindow(3, 2, 1))) }},
	{name: "max pool once more", vars: shapes(tensor.Shape{2, 6, 6, 2}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node {
		return b.Square(b.MaxPool2D(b.Square(b.MaxPool2D(v[0], SquareWindow(2, 1, 0))), SquareWindow(2, 2, 0)))
	}},
	{name: "average pool", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.AvgPool2D(v[0], SquareWindow(3, 2, 1))) }},
	{name: "global average pool", vars: shapes(image), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.GlobalAvgPool(v[0])) }},

	{name: "layer norm", vars: shapes(tensor.Shape{3, 6}, tensor.Shape{6}, tensor.Shape{6}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.LayerNorm(v[0], v[1], v[2], 1e-5)) }, ulps: 128},
	{name: "group norm", vars: shapes(tensor.Shape{2, 3, 2, 4}, tensor.Shape{4}, tensor.Shape{4}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.GroupNorm(v[0], 2, v[1], v[2], 1e-5)) }, ulps: 128},
	{name: "batch norm", vars: shapes(tensor.Shape{3, 2, 2, 3}, tensor.Shape{3}, tensor.Shape{3}), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.BatchNorm(v[0], v[1], v[2], 1e-5, nil)) }, ulps: 128},
	{name: "batch norm evaluation", vars: shapes(tensor.Shape{3, 2, 2, 3}, tensor.Shape{3}, tensor.Shape{3}, tensor.Shape{3}, tensor.Shape{3}), lo: 0.5, hi: 1, f: func(b *Builder, v []Node) Node {
		return b.Square(b.BatchNormEvaluation(v[0], v[1], v[2], v[3], v[4], 1e-5))
	}},

	binaryCase("softmax", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.Softmax(x), z) }),
	binaryCase("log-softmax", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.Mul(b.LogSoftmax(x), z) }),
	unaryCase("log-sum-exp", -1, 1, (*Builder).LogSumExp),
	{name: "cross-entropy", vars: shapes(key3x4), lo: -1, hi: 1, labels: []int32{1, 3, 0}, f: func(b *Builder, v []Node) Node { return b.Square(b.CrossEntropy(v[0], b.Labels("labels", 3))) }},
	{name: "correct", vars: shapes(key3x4), lo: -1, hi: 1, labels: []int32{1, 3, 0}, f: func(b *Builder, v []Node) Node {
		return b.Add(b.Sum(b.Square(v[0])), b.Correct(v[0], b.Labels("labels", 3)))
	}},
	{name: "one-hot", vars: shapes(key3x4), lo: -1, hi: 1, labels: []int32{1, 3, 0}, f: func(b *Builder, v []Node) Node { return b.Mul(b.Square(v[0]), b.OneHot(b.Labels("labels", 3), 4)) }},
	binaryCase("mse", key3x4, key3x4, -1, 1, (*Builder).MSE),
	binaryCase("huber", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.Huber(x, z, 0.4) }),
	binaryCase("binary cross-entropy", key3x4, key3x4, 0, 1, (*Builder).BinaryCrossEntropy),
	binaryCase("kl", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.KL(b.LogSoftmax(x), b.LogSoftmax(z)) }),
	binaryCase("cosine similarity", key3x4, key3x4, -1, 1, func(b *Builder, x, z Node) Node { return b.CosineSimilarity(x, z, 1e-8) }),

	{name: "gather", vars: shapes(tensor.Shape{4, 3}), lo: -1, hi: 1, labels: []int32{2, 0, 2, 3, 0, 0}, f: func(b *Builder, v []Node) Node { return b.Square(b.Gather(b.Square(v[0]), b.Indices("labels", 3, 2))) }},
	{name: "scatter-add", vars: shapes(tensor.Shape{4, 3}), lo: -1, hi: 1, labels: []int32{2, 0, 2, 3}, f: func(b *Builder, v []Node) Node {
		return b.Square(b.ScatterAdd(b.Square(v[0]), b.Labels("labels", 4), 5))
	}},
	unaryCase("top-k", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Mul(x, b.TopK(x, 2))) }),
	unaryCase("arg-max", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Mul(x, b.ArgMax(x))) }),
	unaryCase("normal", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Add(x, b.Normal(testKey, 3, 5))) }),
	unaryCase("uniform", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Add(x, b.Uniform(testKey, -1, 1, 3, 5))) }),
	unaryCase("bernoulli", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Add(x, b.Bernoulli(testKey, 0.5, 3, 5))) }),
	unaryCase("dropout", -1, 1, func(b *Builder, x Node) Node { return b.Square(b.Dropout(x, 0.3, testKey)) }),

	{name: "straight-through", noDiff: true, vars: shapes(key3x4), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Square(b.StraightThrough(b.Sign(v[0]), b.Tanh(v[0]))) }},
	{name: "spike fast-sigmoid", noDiff: true, vars: shapes(key3x4), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Mul(v[0], b.Spike(v[0], FastSigmoid(5))) }},
	{name: "spike triangle", noDiff: true, vars: shapes(key3x4), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Mul(v[0], b.Spike(v[0], Triangle(0.3, 1))) }},
	{name: "spike arc-tangent", noDiff: true, vars: shapes(key3x4), lo: -1, hi: 1, f: func(b *Builder, v []Node) Node { return b.Mul(v[0], b.Spike(v[0], ArcTangent(2))) }},

	{name: "scan", vars: shapes(tensor.Shape{2, 3}, tensor.Shape{4, 2, 2}, tensor.Shape{3, 3}, tensor.Shape{2, 3}), lo: -1, hi: 1, f: scanCase(false)},
	{name: "scan counted", vars: shapes(tensor.Shape{2, 3}, tensor.Shape{4, 2, 2}, tensor.Shape{3, 3}, tensor.Shape{2, 3}), lo: -1, hi: 1, labels: []int32{3}, f: scanCase(true)},
	{name: "scan of a scan", vars: shapes(tensor.Shape{3}, tensor.Shape{3}), lo: -1, hi: 1, f: nestedScanCase},
}

// scanCase is a recurrent network with noise, over every kind of operand.
func scanCase(counted bool) func(b *Builder, v []Node) Node {
	return func(b *Builder, v []Node) Node {
		l := Loop{
			Steps: 4, Carry: v[:1], Each: v[1:2], Shared: v[2:4],
			Body: func(b *Builder, carry, each, shared []Node) (next, out []Node) {
				h := b.Tanh(b.Add(b.MatMul(carry[0], shared[0]), b.MatMul(each[0], shared[1])))
				h = b.Add(h, b.Scale(0.1, b.Normal(testKey, 2, 3)))
				return []Node{h}, []Node{b.Square(b.SumRows(h)), b.Mul(h, carry[0])}
			},
		}
		if counted {
			l.Count = b.Labels("labels", 1)
		}
		final, outs := b.Scan(l)
		return b.Concat(b.Reshape(final[0], 6), b.Reshape(outs[0], 8), b.Reshape(outs[1], 24))
	}
}

func nestedScanCase(b *Builder, v []Node) Node {
	final, _ := b.Scan(Loop{Steps: 3, Carry: v[:1], Shared: v[1:], Body: func(b *Builder, carry, _, shared []Node) (next, out []Node) {
		next, _ = b.Scan(Loop{Steps: 2, Carry: carry, Shared: shared, Body: func(b *Builder, carry, _, shared []Node) (next, out []Node) {
			return []Node{b.Sin(b.Mul(carry[0], shared[0]))}, nil
		}})
		return []Node{b.Add(next[0], carry[0])}, nil
	}})
	return final[0]
}

// traced is a case as a program: its value, a weighted sum of it called loss,
// and the gradient of that; of order 2, the loss is a sum of squares of the
// gradient of order 1.
type traced struct {
	b       *Builder
	vars    []*Var
	weights []float32
}

func (c *opCase) trace(order int) *traced { return c.traceIn(NewStore(), 7, order) }

func (c *opCase) traceIn(s *Store, seed uint64, order int) *traced {
	tr := &traced{b: s.Builder()}
	var nodes []Node
	lo, hi := c.lo, c.hi
	if lo == hi {
		hi = lo + 1
	}
	for i, shape := range c.vars {
		v := s.New(fmt.Sprint("v", i), F32, Persistent, shape...)
		rng.New(seed, c.name).FillUniform(v.F32, lo, hi, uint64(i))
		tr.vars = append(tr.vars, v)
		nodes = append(nodes, tr.b.Read(v))
	}
	b := tr.b
	y := c.f(b, nodes)
	b.Output("y", y)
	tr.weights = make([]float32, y.Shape().Elems())
	rng.New(8, "weights").FillUniform(tr.weights, 0.5, 1.5, 0)
	loss := b.Sum(b.Mul(y, b.Input("weights", y.Shape()...)))
	if order == 2 {
		var sum Node
		for _, g := range b.Gradients(loss, nodes...) {
			s := b.Sum(b.Square(b.Add(g, b.Const(0.3))))
			if sum.Valid() {
				s = b.Add(sum, s)
			}
			sum = s
		}
		loss = sum
	}
	b.Output("loss", loss)
	for i, g := range b.Gradients(loss, nodes...) {
		b.Output(tr.vars[i].Name, g)
	}
	return tr
}

func (c *opCase) twin(tr *traced) *Twin {
	t := NewTwin(tr.b)
	widen(t.Input("weights"), tr.weights)
	copy(t.Labels("labels"), c.labels)
	t.Run(3)
	return t
}

func eachCase(t *testing.T, f func(t *testing.T, c *opCase, order int)) {
	for i := range opCases {
		c := &opCases[i]
		for order := 1; order <= 2; order++ {
			t.Run(fmt.Sprintf("%s order %d", c.name, order), func(t *testing.T) { f(t, c, order) })
		}
	}
}

// The gradient of every operation, and the gradient of that, are those of the
// value: in float64, to the accuracy of central differences.
func TestGradientsAgainstDifferences(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase, order int) {
		if c.noDiff {
			t.Skip("by design")
		}
		tr := c.trace(order)
		tw := c.twin(tr)
		for _, v := range tr.vars {
			tw.Run(3)
			got := tw.Output(v.Name)
			var largest float64
			for _, g := range got {
				largest = math.Max(largest, math.Abs(g))
			}
			x := tw.Var(v)
			for i := range x {
				const h = 1e-5
				old := x[i]
				at := func(d float64) float64 {
					x[i] = old + d
					tw.Run(3)
					x[i] = old
					return tw.Output("loss")[0]
				}
				want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
				require.InDelta(t, want, got[i], 1e-6*math.Max(1, largest), "∂/∂%s[%d]", v.Name, i)
			}
		}
	})
}

// A float32 program computes what its twin does, up to rounding, and allocates
// nothing.
func TestProgramsAgainstTwins(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase, order int) {
		tr := c.trace(order)
		p := tr.b.Compile()
		copy(p.Input("weights"), tr.weights)
		copy(p.Labels("labels"), c.labels)
		p.Run(3)
		tw := c.twin(tr)
		ulps := c.ulps
		if ulps == 0 {
			ulps = 32
		}
		for _, o := range tr.b.outputs {
			want := tw.Output(o.name)
			got := p.Output(o.name)
			require.Len(t, got, len(want))
			largest := 1e-30
			for _, w := range want {
				largest = math.Max(largest, math.Abs(w))
			}
			for i, w := range want {
				require.InDelta(t, 0, (float64(got[i])-w)/largest*(1<<24), ulps, "%s[%d]: %v, not %v", o.name, i, got[i], w)
			}
		}
		require.Zero(t, testing.AllocsPerRun(2, func() { p.Run(3) }))
	})
}

// Lanes compute what each computes alone, bit for bit.
func TestLanesAgainstSinglePrograms(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase, order int) {
		const n = 3
		compile := func(s *Store, lane int) *Program {
			tr := c.traceIn(s, uint64(lane), order)
			p := tr.b.Compile()
			copy(p.Input("weights"), tr.weights)
			copy(p.Labels("labels"), c.labels)
			return p
		}
		var lanes []*Program
		for lane, s := range NewLanes(n) {
			lanes = append(lanes, compile(s, lane))
		}
		joint, err := Join(lanes)
		require.NoError(t, err)
		joint.Run(3)
		for lane, p := range lanes {
			alone := compile(NewStore(), lane)
			alone.Run(3)
			for name, want := range alone.outputs {
				require.Equal(t, want, p.Output(name), "lane %d: %s", lane, name)
			}
		}
	})
}

// Every instruction set gives the same bits.
func TestOpsAreEqualOnEveryInstructionSet(t *testing.T) {
	eachCase(t, func(t *testing.T, c *opCase, order int) {
		var want map[string][]float32
		for _, isa := range kernel.Available() {
			restore := kernel.ForceISA(isa)
			tr := c.trace(order)
			p := tr.b.Compile()
			copy(p.Input("weights"), tr.weights)
			copy(p.Labels("labels"), c.labels)
			p.Run(3)
			restore()
			if want == nil {
				want = p.outputs
			}
			for name, w := range want {
				require.Equal(t, w, p.Output(name), "%s on %s", name, isa)
			}
		}
	})
}

// operations collects the types of operations and the element-wise functions
// in a program and in the loops of it.
func operations(b *Builder, types map[string]bool, functions map[string]bool) {
	for _, n := range b.nodes {
		types[reflect.TypeOf(n.op).Name()] = true
		switch o := n.op.(type) {
		case scanOp:
			operations(o.body.b, types, functions)
		case elementwise:
			functions[o.primitive().String()] = true
		}
	}
}

func TestEveryOpHasACase(t *testing.T) {
	types, functions := map[string]bool{}, map[string]bool{}
	for i := range opCases {
		operations(opCases[i].trace(2).b, types, functions)
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "grad" {
				continue
			}
			typ := f.Recv.List[0].Type
			if p, ok := typ.(*ast.StarExpr); ok {
				typ = p.X
			}
			name := typ.(*ast.Ident).Name
			require.True(t, types[name], "opCases has no line for %s", name)
			found++
		}
	}
	require.Greater(t, found, 20)
	for op := kernel.Copy; op <= kernel.Select; op++ {
		require.True(t, functions[op.String()], "opCases has no line for the function %s", op)
	}
}
