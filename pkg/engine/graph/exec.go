package graph

import (
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Program is a compiled program. It runs on one goroutine at a time and
// allocates nothing after compilation.
type Program struct {
	code    []func(step uint64)
	inputs  map[string][]float32
	labels  map[string][]int32
	outputs map[string][]float32
}

// Run executes the program once. Random operations are functions of step.
func (p *Program) Run(step uint64) {
	for _, f := range p.code {
		f(step)
	}
}

// Input returns the storage of a float32 input, to be filled before a run; nil
// if there is none of that name.
func (p *Program) Input(name string) []float32 { return p.inputs[name] }

// Labels returns the storage of a label input, to be filled before a run; nil
// if there is none of that name.
func (p *Program) Labels(name string) []int32 { return p.labels[name] }

// Output returns the storage of an output, valid after a run until the next;
// nil if there is none of that name.
func (p *Program) Output(name string) []float32 { return p.outputs[name] }

// block is how many elements a run of element-wise operations handles at a
// time: a few arrays of it stay in the first-level cache.
const block = 1024

// site is where an operation finds its operands and puts its value.
type site struct {
	shape  tensor.Shape   // of the value
	in     []tensor.Shape // of the operands
	y      []float32
	x      [][]float32
	labels [][]int32 // of operands that are labels
}

type operand struct {
	data   []float32
	local  bool // data is one block
	single bool // one value for all elements
}

func (o *operand) at(lo, hi int) []float32 {
	switch {
	case o.single:
		return o.data
	case o.local:
		return o.data[:hi-lo]
	}
	return o.data[lo:hi]
}

type elementwiseOp struct {
	unary   bool
	u       kernel.UnaryOp
	b       kernel.BinaryOp
	y, a, z operand
}

type elementwiseRun struct {
	n   int
	ops []elementwiseOp
}

func (r *elementwiseRun) run() {
	for lo := 0; lo < r.n; lo += block {
		hi := min(lo+block, r.n)
		for i := range r.ops {
			o := &r.ops[i]
			if o.unary {
				kernel.Unary(o.u, o.y.at(lo, hi), o.a.at(lo, hi))
			} else {
				kernel.Binary(o.b, o.y.at(lo, hi), o.a.at(lo, hi), o.z.at(lo, hi))
			}
		}
	}
}
