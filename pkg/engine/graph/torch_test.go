package graph

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/tensor"
)

// golden is a case of testdata/torch/goldens.json; make_goldens.py beside it
// describes what it holds.
type golden struct {
	In      []goldenArray
	Weights goldenArray
	Labels  []int32
	Y       goldenArray
	Grads   []goldenArray
	More    map[string]goldenArray
}

type goldenArray struct {
	Shape tensor.Shape
	Data  []float64
}

func (a goldenArray) variable(s *Store, name string) *Var {
	v := s.New(name, F32, Persistent, a.Shape...)
	for i, x := range a.Data {
		v.F32[i] = float32(x)
	}
	return v
}

func lstmCell(b *Builder, x, h, c, w, u, bw, bu Node) (newH, newC Node) {
	n := h.Shape()[1]
	gates := b.Add(b.Add(b.MatMul(x, w), bw), b.Add(b.MatMul(h, u), bu))
	gate := func(i int) Node { return b.Slice(gates, i*n, (i+1)*n) }
	newC = b.Add(b.Mul(b.Sigmoid(gate(1)), c), b.Mul(b.Sigmoid(gate(0)), b.Tanh(gate(2))))
	return b.Mul(b.Sigmoid(gate(3)), b.Tanh(newC)), newC
}

// torchCases are the cases of make_goldens.py in our words.
var torchCases = map[string]func(b *Builder, v []Node) Node{
	"conv":                      convolution(SquareWindow(3, 1, 0), 1),
	"conv-rectangular":          convolution(Window{Size: [2]int{2, 3}}, 1),
	"conv-stride":               convolution(SquareWindow(3, 2, 0), 1),
	"conv-padding":              convolution(SquareWindow(3, 1, 1), 1),
	"conv-stride-padding":       convolution(SquareWindow(3, 2, 1), 1),
	"conv-groups":               convolution(SquareWindow(3, 1, 1), 2),
	"conv-depthwise":            convolution(SquareWindow(3, 1, 1), 3),
	"conv-depthwise-multiplier": convolution(SquareWindow(3, 2, 1), 3),
	"max-pool":                  func(b *Builder, v []Node) Node { return b.MaxPool2D(v[0], SquareWindow(2, 2, 0)) },
	"max-pool-overlapping":      func(b *Builder, v []Node) Node { return b.MaxPool2D(v[0], SquareWindow(3, 2, 1)) },
	"average-pool":              func(b *Builder, v []Node) Node { return b.AvgPool2D(v[0], SquareWindow(2, 2, 0)) },
	"average-pool-padding":      func(b *Builder, v []Node) Node { return b.AvgPool2D(v[0], SquareWindow(3, 2, 1)) },
	"global-average-pool":       func(b *Builder, v []Node) Node { return b.GlobalAvgPool(v[0]) },
	"batch-norm":                func(b *Builder, v []Node) Node { return b.BatchNorm(v[0], v[1], v[2], 1e-5, nil) },
	"batch-norm-evaluation": func(b *Builder, v []Node) Node {
		return b.BatchNormEvaluation(v[0], v[1], v[2], b.StopGradient(v[3]), b.StopGradient(v[4]), 1e-5)
	},
	"layer-norm": func(b *Builder, v []Node) Node { return b.LayerNorm(v[0], v[1], v[2], 1e-5) },
	"group-norm": func(b *Builder, v []Node) Node { return b.GroupNorm(v[0], 2, v[1], v[2], 1e-5) },
	"embedding":  func(b *Builder, v []Node) Node { return b.Gather(v[0], b.Indices("labels", 2, 3)) },
	"mse":        func(b *Builder, v []Node) Node { return b.MSE(v[0], v[1]) },
	"huber":      func(b *Builder, v []Node) Node { return b.Huber(v[0], v[1], 0.75) },
	"binary-cross-entropy": func(b *Builder, v []Node) Node {
		return b.BinaryCrossEntropy(v[0], v[1])
	},
	"cosine":           func(b *Builder, v []Node) Node { return b.CosineSimilarity(v[0], v[1], 1e-8) },
	"log-softmax":      func(b *Builder, v []Node) Node { return b.LogSoftmax(v[0]) },
	"kl":               func(b *Builder, v []Node) Node { return b.KL(b.LogSoftmax(v[0]), b.LogSoftmax(v[1])) },
	"cross-entropy":    func(b *Builder, v []Node) Node { return b.CrossEntropy(v[0], b.Labels("labels", 4)) },
	"softplus":         func(b *Builder, v []Node) Node { return b.Softplus(v[0]) },
	"batch-matmul":     func(b *Builder, v []Node) Node { return b.BatchMatMul(v[0], v[1]) },
	"attention":        func(b *Builder, v []Node) Node { return b.Attention(v[0], v[1], v[2], Node{}) },
	"attention-causal": func(b *Builder, v []Node) Node { return b.Attention(v[0], v[1], v[2], b.CausalMask(4)) },
	"lstm-cell": func(b *Builder, v []Node) Node {
		return b.Concat(pair2(lstmCell(b, v[0], v[1], v[2], v[3], v[4], v[5], v[6]))...)
	},
	"gru-cell": func(b *Builder, v []Node) Node {
		x, h := v[0], v[1]
		n := h.Shape()[1]
		fromX, fromH := b.Add(b.MatMul(x, v[2]), v[4]), b.Add(b.MatMul(h, v[3]), v[5])
		gate := func(from Node, i int) Node { return b.Slice(from, i*n, (i+1)*n) }
		r := b.Sigmoid(b.Add(gate(fromX, 0), gate(fromH, 0)))
		z := b.Sigmoid(b.Add(gate(fromX, 1), gate(fromH, 1)))
		c := b.Tanh(b.Add(gate(fromX, 2), b.Mul(r, gate(fromH, 2))))
		return b.Add(c, b.Mul(z, b.Sub(h, c)))
	},
	"lstm-sequence": func(b *Builder, v []Node) Node {
		final, outs := b.Scan(Loop{Steps: 5, Each: v[:1], Carry: v[1:3], Shared: v[3:],
			Body: func(b *Builder, s, x, w []Node) (next, out []Node) {
				h, c := lstmCell(b, x[0], s[0], s[1], w[0], w[1], w[2], w[3])
				return []Node{h, c}, []Node{h}
			}})
		return b.Concat(b.Reshape(outs[0], 30), b.Reshape(final[1], 6))
	},
}

func convolution(w Window, groups int) func(b *Builder, v []Node) Node {
	return func(b *Builder, v []Node) Node { return b.Conv2D(v[0], v[1], w, groups) }
}

func pair2(x, z Node) []Node { return []Node{x, z} }

func readGoldens(t *testing.T) map[string]golden {
	t.Helper()
	f, err := os.ReadFile("testdata/torch/goldens.json")
	require.NoError(t, err)
	var g map[string]golden
	require.NoError(t, json.Unmarshal(f, &g))
	return g
}

// Values and gradients are those that PyTorch computes in float64: the twin to
// the accuracy of float64, the program to that of float32.
func TestOpsAgainstPyTorch(t *testing.T) {
	goldens := readGoldens(t)
	require.Len(t, goldens, len(torchCases))
	for name, g := range goldens {
		t.Run(name, func(t *testing.T) {
			s, b := NewStore(), NewBuilder()
			var v []Node
			for i, a := range g.In {
				v = append(v, b.Read(a.variable(s, string(rune('a'+i)))))
			}
			y := torchCases[name](b, v)
			require.Equal(t, g.Y.Shape, y.Shape())
			b.Output("y", y)
			for i, d := range b.Gradients(b.Sum(b.Mul(y, b.Read(g.Weights.variable(s, "weights")))), v...) {
				b.Output(string(rune('a'+i)), d)
			}
			p, tw := b.Compile(), NewTwin(b)
			copy(p.Labels("labels"), g.Labels)
			copy(tw.Labels("labels"), g.Labels)
			p.Run(0)
			tw.Run(0)
			compare := func(output string, want []float64) {
				largest := math.Max(slices.Max(want), -slices.Min(want))
				require.Len(t, p.Output(output), len(want))
				for i, w := range want {
					require.InDelta(t, w, tw.Output(output)[i], 1e-12*math.Max(1, largest), "%s[%d]", output, i)
					require.InDelta(t, w, p.Output(output)[i], 4e-6*math.Max(1, largest), "%s[%d]", output, i)
				}
			}
			compare("y", g.Y.Data)
			for i, a := range g.Grads {
				compare(string(rune('a'+i)), a.Data)
			}
		})
	}
}

func TestRunningStatisticsAgainstPyTorch(t *testing.T) {
	g := readGoldens(t)["batch-norm"]
	s, b := NewStore(), NewBuilder()
	stats := &BatchStatistics{Mean: g.More["mean"].variable(s, "mean"), Variance: g.More["variance"].variable(s, "variance"), Momentum: 0.25}
	b.Output("y", b.BatchNorm(b.Read(g.In[0].variable(s, "x")), Node{}, Node{}, 1e-5, stats))
	tw := NewTwin(b)
	tw.Run(0)
	b.Compile().Run(0)
	for v, name := range map[*Var]string{stats.Mean: "new-mean", stats.Variance: "new-variance"} {
		for i, w := range g.More[name].Data {
			require.InDelta(t, w, v.F32[i], 1e-6)
			require.InDelta(t, w, tw.Var(v)[i], 1e-12)
		}
	}
}
