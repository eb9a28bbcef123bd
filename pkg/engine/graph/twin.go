package graph

import (
	"math"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

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
		case readOp:
			values[id] = t.Var(o.v)
		case inputOp:
			values[id], labels[id] = t.inputs[o.key], t.labels[o.key]
		case reshapeOp, stopOp:
			values[id], labels[id] = values[n.in[0]], labels[n.in[0]]
		case constOp:
			values[id] = []float64{float64(o.value)}
		default:
			s := &site64{shape: n.shape, y: make([]float64, n.shape.Elems()), step: step}
			for _, in := range n.in {
				s.in = append(s.in, nodes[in].shape)
				s.x = append(s.x, values[in])
				s.labels = append(s.labels, labels[in])
			}
			n.op.twin(s)
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

// at returns element i of an operand that may be one value for all.
func at(x []float64, i int) float64 {
	if len(x) == 1 {
		return x[0]
	}
	return x[i]
}

func (o unaryOp) twin(s *site64) {
	for i := range s.y {
		x := at(s.x[0], i)
		var y float64
		switch o.f {
		case kernel.Copy:
			y = x
		case kernel.Neg:
			y = -x
		case kernel.Abs:
			y = math.Abs(x)
		case kernel.Sign:
			y = truth64(x > 0) - truth64(x < 0)
		case kernel.Step:
			y = truth64(x > 0)
		case kernel.Flush:
			y = x * truth64(math.Abs(x) >= kernel.Tiny)
		case kernel.ReLU:
			y = max(x, 0)
		case kernel.Square:
			y = x * x
		case kernel.Sqrt:
			y = math.Sqrt(x)
		case kernel.Recip:
			y = 1 / x
		case kernel.Exp:
			y = math.Exp(x)
		case kernel.Log:
			y = math.Log(x)
		case kernel.Tanh:
			y = math.Tanh(x)
		case kernel.Sigmoid:
			y = 1 / (1 + math.Exp(-x))
		case kernel.Sin:
			y = math.Sin(x)
		case kernel.Cos:
			y = math.Cos(x)
		case kernel.Erf:
			y = math.Erf(x)
		case kernel.Floor:
			y = math.Floor(x)
		case kernel.Log1p:
			y = math.Log1p(x)
		case kernel.Expm1:
			y = math.Expm1(x)
		default:
			panic(errorf("%s has no float64 twin", o.f))
		}
		s.y[i] = y
	}
}

func (o binaryOp) twin(s *site64) {
	for i := range s.y {
		a, b := at(s.x[0], i), at(s.x[1], i)
		var y float64
		switch o.f {
		case kernel.Add:
			y = a + b
		case kernel.Sub:
			y = a - b
		case kernel.Mul:
			y = a * b
		case kernel.Div:
			y = a / b
		case kernel.Max:
			y = max(a, b)
		case kernel.Min:
			y = min(a, b)
		case kernel.Greater:
			y = truth64(a > b)
		case kernel.GreaterEqual:
			y = truth64(a >= b)
		case kernel.Equal:
			y = truth64(a == b)
		default:
			panic(errorf("%s has no float64 twin", o.f))
		}
		s.y[i] = y
	}
}

func (o ternaryOp) twin(s *site64) {
	for i := range s.y {
		a, b, c := at(s.x[0], i), at(s.x[1], i), at(s.x[2], i)
		switch {
		case o.f == kernel.Fma:
			s.y[i] = math.FMA(a, b, c)
		case a != 0:
			s.y[i] = b
		default:
			s.y[i] = c
		}
	}
}

func truth64(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (o matmulOp) twin(s *site64) {
	k := s.in[0][1]
	if o.ta {
		k = s.in[0][0]
	}
	gemm64(s.y, s.x[0], s.x[1], s.shape[0], s.shape[1], k, o.ta, o.tb)
}

// gemm64 computes y [n][m] from x [n][k] and w [k][m], either of which may be
// stored transposed.
func gemm64(y, x, w []float64, n, m, k int, ta, tb bool) {
	for i := range n {
		for j := range m {
			var sum float64
			for p := range k {
				ix, iw := i*k+p, p*m+j
				if ta {
					ix = p*n + i
				}
				if tb {
					iw = j*k + p
				}
				sum += float64(x[ix] * w[iw])
			}
			y[i*m+j] = sum
		}
	}
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

func (crossEntropyOp) twin(s *site64) {
	m := s.in[0][1]
	for i, l := range s.labels[1] {
		row := s.x[0][i*m : (i+1)*m]
		s.y[i] = logSumExp64(row) - row[l]
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

func (oneHotOp) twin(s *site64) {
	for i, l := range s.labels[0] {
		if l >= 0 && int(l) < s.shape[1] {
			s.y[i*s.shape[1]+int(l)] = 1
		}
	}
}

func (o normalOp) twin(s *site64) {
	noise := make([]float32, len(s.y))
	o.key.FillNormal(noise, s.step)
	widen(s.y, noise)
}
