package graph

import (
	"math"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type softmaxOp struct{}

// Softmax returns the softmax along the last axis.
func (b *Builder) Softmax(x Node) Node {
	s := x.Shape()
	m := s[axisOf("softmax", s, -1)]
	rows := tensor.Shape{s.Elems() / m, m}
	return b.Reshape(b.add(softmaxOp{}, rows, b.Reshape(x, rows...)), s...)
}

func (softmaxOp) name() string { return "softmax" }

func (softmaxOp) grad(b *Builder, y, dy Node, _ []Node) []Node {
	// dx = y ∘ (dy − Σ dy∘y)
	return []Node{b.Mul(y, b.Sub(dy, b.SumRows(b.Mul(dy, y))))}
}

func (softmaxOp) emit(s *site) func(uint64) {
	y, x, m := s.y, s.x[0], s.shape[len(s.shape)-1]
	rows := len(y) / m
	return func(uint64) { kernel.SoftmaxRows(y, x, rows, m) }
}

func (softmaxOp) twin(s *site64) {
	m := s.shape[1]
	for i := 0; i < len(s.y); i += m {
		lse := logSumExp64(s.x[0][i : i+m])
		for j, v := range s.x[0][i : i+m] {
			s.y[i+j] = math.Exp(v - lse)
		}
	}
}

func logSumExp64(x []float64) float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, v)
	}
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

type crossEntropyOp struct{}

// CrossEntropy returns −ln softmax(logits)[label] for each row: [n] from
// logits [n][m] and n labels.
func (b *Builder) CrossEntropy(logits, labels Node) Node {
	b.checkLabels("cross-entropy", logits, labels)
	return b.add(crossEntropyOp{}, tensor.Shape{logits.Shape()[0]}, logits, labels)
}

func (crossEntropyOp) name() string { return "cross-entropy" }

func (crossEntropyOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	logits, labels := in[0], in[1]
	s := logits.Shape()
	d := b.Sub(b.Softmax(logits), b.OneHot(labels, s[1]))
	return []Node{b.Mul(d, b.Reshape(dy, s[0], 1)), {}}
}

func (crossEntropyOp) emit(s *site) func(uint64) {
	y, x, labels, m := s.y, s.x[0], s.labels[1], s.in[0][1]
	return func(uint64) { kernel.CrossEntropyRows(y, x, labels, len(y), m) }
}

func (crossEntropyOp) twin(s *site64) {
	m := s.in[0][1]
	for i, l := range s.labels[1] {
		row := s.x[0][i*m : (i+1)*m]
		s.y[i] = logSumExp64(row) - row[l]
	}
}

type oneHotOp struct{}

// OneHot returns rows with a 1 at the label: [n][classes]. A number that is no
// class has a row of zeros.
func (b *Builder) OneHot(labels Node, classes int) Node {
	if !b.nodes[labels.id].label {
		panic(errorf("one-hot: operand holds no labels"))
	}
	return b.add(oneHotOp{}, tensor.Shape{labels.Shape()[0], classes}, labels)
}

func (oneHotOp) name() string { return "one-hot" }

func (oneHotOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}} }

func (oneHotOp) emit(s *site) func(uint64) {
	y, labels, m := s.y, s.labels[0], s.shape[1]
	return func(uint64) {
		clear(y)
		for i, l := range labels {
			if l >= 0 && int(l) < m {
				y[i*m+int(l)] = 1
			}
		}
	}
}

func (oneHotOp) twin(s *site64) {
	for i, l := range s.labels[0] {
		if l >= 0 && int(l) < s.shape[1] {
			s.y[i*s.shape[1]+int(l)] = 1
		}
	}
}

type correctOp struct{}

// Correct returns 1 for each row whose largest logit is at the label, the
// first of equals counting as largest, else 0: [n].
func (b *Builder) Correct(logits, labels Node) Node {
	b.checkLabels("correct", logits, labels)
	return b.add(correctOp{}, tensor.Shape{logits.Shape()[0]}, logits, labels)
}

func (correctOp) name() string { return "correct" }

func (correctOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}, {}} }

func (correctOp) emit(s *site) func(uint64) {
	y, x, labels, m := s.y, s.x[0], s.labels[1], s.in[0][1]
	return func(uint64) {
		for i, l := range labels {
			y[i] = 0
			if kernel.ArgMax(x[i*m:(i+1)*m]) == int(l) {
				y[i] = 1
			}
		}
	}
}

func (correctOp) twin(s *site64) {
	m := s.in[0][1]
	for i, l := range s.labels[1] {
		row := s.x[0][i*m : (i+1)*m]
		best := 0
		for j, v := range row {
			if v > row[best] {
				best = j
			}
		}
		s.y[i] = truth64(best == int(l))
	}
}

func (b *Builder) checkLabels(what string, logits, labels Node) {
	s := logits.Shape()
	if len(s) != 2 || !b.nodes[labels.id].label || labels.Shape()[0] != s[0] {
		panic(errorf("%s: logits %s and labels %s", what, s, labels.Shape()))
	}
}
