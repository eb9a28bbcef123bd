package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

// fillOp is an array of one number.
type fillOp struct{ value float32 }

// Fill returns an array of one value.
func (b *Builder) Fill(value float32, shape tensor.Shape) Node {
	return b.add(fillOp{value}, shape)
}

func (fillOp) name() string { return "fill" }

func (fillOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o fillOp) constant() float32 { return o.value }

func (o fillOp) place(p *placing) {
	size := 1 // a run takes it for a single number
	if p.whole() {
		size = p.n
	}
	p.c.values[p.id] = p.c.b.memory.alloc(size)
	fill(p.c.values[p.id], o.value)
}

func (o fillOp) value64(_ *Twin, n int) ([]float64, []int32) {
	y := make([]float64, n)
	for i := range y {
		y[i] = float64(o.value)
	}
	return y, nil
}

// arrayOp is constant values.
type arrayOp struct{ values []float32 }

// Array returns constant values.
func (b *Builder) Array(values []float32, shape ...int) Node {
	if err := tensor.Shape(shape).Check(); err != nil {
		panic(errorf("array: %v", err))
	}
	if n := tensor.Shape(shape).Elems(); n != len(values) {
		panic(errorf("array: %d values for %s", len(values), tensor.Shape(shape)))
	}
	return b.add(arrayOp{slices.Clone(values)}, shape)
}

func (arrayOp) name() string { return "array" }

func (arrayOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o arrayOp) emit(s *site) func(uint64) {
	y := s.y
	return func(uint64) { copy(y, o.values) }
}

func (o arrayOp) twin(s *site64) { widen(s.y, o.values) }

func fill(y []float32, v float32) {
	for i := range y {
		y[i] = v
	}
}
