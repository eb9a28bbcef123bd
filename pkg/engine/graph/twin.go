package graph

import "neoteny/pkg/engine/tensor"

// Twin runs a traced program in float64, one operation after the other, each
// into an array of its own: the program's meaning without its rounding. It is
// slow and allocates; it is for checks of gradients and of kernels, and for the
// few results that need it.
//
// Variables begin with the values in the store, converted; what the twin
// assigns stays in the twin. Noise is the float32 program's, bit for bit.
type Twin struct {
	b       *Builder
	inputs  map[string][]float64
	labels  map[string][]int32
	vars    map[*Var][]float64
	outputs map[string][]float64
}

// site64 is where an operation of a [Twin] finds its operands and puts its
// value, which begins as zeros.
type site64 struct {
	shape  tensor.Shape   // of the value
	in     []tensor.Shape // of the operands
	y      []float64
	x      [][]float64
	labels [][]int32 // of operands that are labels
	step   uint64
}

// NewTwin returns the twin of what was traced so far.
func NewTwin(b *Builder) *Twin {
	t := &Twin{b: b, inputs: map[string][]float64{}, labels: map[string][]int32{}, vars: map[*Var][]float64{}, outputs: map[string][]float64{}}
	for name, id := range b.inputs {
		if n := b.nodes[id].shape.Elems(); b.nodes[id].label {
			t.labels[name] = make([]int32, n)
		} else {
			t.inputs[name] = make([]float64, n)
		}
	}
	for v := range b.reads {
		t.Var(v)
	}
	for _, a := range b.assigns {
		t.Var(a.v)
	}
	return t
}

// Var returns the twin's value of a float32 variable, which may be changed.
func (t *Twin) Var(v *Var) []float64 {
	if _, ok := t.vars[v]; !ok {
		t.vars[v] = make([]float64, len(v.F32))
		widen(t.vars[v], v.F32)
	}
	return t.vars[v]
}

// Input returns the storage of a float32 input, to be filled before a run; nil
// if there is none of that name.
func (t *Twin) Input(name string) []float64 { return t.inputs[name] }

// Labels returns the storage of a label input, to be filled before a run; nil
// if there is none of that name.
func (t *Twin) Labels(name string) []int32 { return t.labels[name] }

// Output returns the value of an output in the last run; nil if there is none
// of that name.
func (t *Twin) Output(name string) []float64 { return t.outputs[name] }

// Run executes the program once.
func (t *Twin) Run(step uint64) {
	values := t.evaluate(step)
	for _, o := range t.b.outputs {
		t.outputs[o.name] = append([]float64(nil), values[o.id]...)
	}
	for _, a := range t.b.assigns {
		values[a.id] = append([]float64(nil), values[a.id]...) // it may be a variable's own array
	}
	for _, a := range t.b.assigns {
		copy(t.Var(a.v), values[a.id])
	}
}

// evaluate returns the value of every node.
func (t *Twin) evaluate(step uint64) [][]float64 {
	nodes := t.b.nodes
	values, labels := make([][]float64, len(nodes)), make([][]int32, len(nodes))
	for id, n := range nodes {
		switch o := n.op.(type) {
		case source:
			values[id], labels[id] = o.value64(t, n.shape.Elems())
		case alias:
			values[id], labels[id] = values[n.in[0]], labels[n.in[0]]
		case meaning:
			s := &site64{shape: n.shape, y: make([]float64, n.shape.Elems()), step: step}
			for _, in := range n.in {
				s.in = append(s.in, nodes[in].shape)
				s.x = append(s.x, values[in])
				s.labels = append(s.labels, labels[in])
			}
			o.twin(s)
			values[id] = s.y
		}
	}
	return values
}

// widen converts exactly.
func widen(y []float64, x []float32) {
	for i, v := range x {
		y[i] = float64(v)
	}
}
