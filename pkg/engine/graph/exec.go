package graph

import (
	"math"

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

// emitOp makes the instruction of a single operation.
func (c *compiler) emitOp(id int) func(uint64) {
	nd := c.b.nodes[id]
	y := c.values[id]
	in := make([][]float32, len(nd.in))
	for i, j := range nd.in {
		in[i] = c.values[j]
	}
	shapeOf := func(i int) tensor.Shape { return c.b.nodes[nd.in[i]].shape }
	switch o := nd.op.(type) {
	case matmulOp:
		return matmul(o, y, in[0], in[1], shapeOf(0), nd.shape)
	case broadcastOp:
		return spread(y, in[0], nd.shape, shapeOf(0))
	case sumOp:
		return sumTo(y, in[0], nd.shape, shapeOf(0))
	case transposeOp:
		x, rows, cols := in[0], shapeOf(0)[0], shapeOf(0)[1]
		return func(uint64) {
			for i := range rows {
				for j := range cols {
					y[j*rows+i] = x[i*cols+j]
				}
			}
		}
	case concatOp:
		rows, total := nd.shape[0], nd.shape[1]
		return func(uint64) {
			at := 0
			for k, w := range o.widths {
				for i := range rows {
					copy(y[i*total+at:i*total+at+w], in[k][i*w:(i+1)*w])
				}
				at += w
			}
		}
	case sliceOp:
		x, rows, w := in[0], nd.shape[0], o.to-o.from
		return func(uint64) {
			for i := range rows {
				copy(y[i*w:(i+1)*w], x[i*o.width+o.from:])
			}
		}
	case padOp:
		dy, rows, total, w := in[0], nd.shape[0], nd.shape[1], o.to-o.from
		return func(uint64) {
			for i := range rows { // what lies outside stays zero from the start
				copy(y[i*total+o.from:i*total+o.to], dy[i*w:(i+1)*w])
			}
		}
	case softmaxOp:
		x, m := in[0], nd.shape[1]
		return func(uint64) {
			for i := 0; i < len(y); i += m {
				kernel.Softmax(y[i:i+m], x[i:i+m])
			}
		}
	case crossEntropyOp:
		x, labels, m := in[0], c.labels[nd.in[1]], shapeOf(0)[1]
		return func(uint64) {
			for i, l := range labels {
				y[i] = kernel.CrossEntropy(x[i*m:(i+1)*m], int(l))
			}
		}
	case correctOp:
		x, labels, m := in[0], c.labels[nd.in[1]], shapeOf(0)[1]
		return func(uint64) {
			for i, l := range labels {
				y[i] = 0
				if kernel.ArgMax(x[i*m:(i+1)*m]) == int(l) {
					y[i] = 1
				}
			}
		}
	case oneHotOp:
		labels, m := c.labels[nd.in[0]], nd.shape[1]
		return func(uint64) {
			clear(y)
			for i, l := range labels {
				y[i*m+int(l)] = 1
			}
		}
	case normalOp:
		return func(step uint64) { o.key.FillNormal(y, step) }
	}
	panic(errorf("%s: no instruction", nd.op.name()))
}

func matmul(o matmulOp, y, x, w []float32, xs, out tensor.Shape) func(uint64) {
	n, m := out[0], out[1]
	k := xs[1]
	if o.ta {
		k = xs[0]
	}
	switch {
	case !o.ta && !o.tb && n == 1:
		return func(uint64) { kernel.Gemv(y, x, w) }
	case !o.ta && !o.tb:
		return func(uint64) { kernel.GemmNN(y, x, w, n, m, k) }
	case o.ta && !o.tb:
		return func(uint64) { kernel.GemmTN(y, x, w, n, m, k) }
	case !o.ta && o.tb:
		return func(uint64) { kernel.GemmNT(y, x, w, n, m, k) }
	}
	return func(uint64) { kernel.GemmTT(y, x, w, n, m, k) }
}

// spread fills y of shape ys from x by broadcasting.
func spread(y, x []float32, ys, xs tensor.Shape) func(uint64) {
	rowLen := ys[len(ys)-1]
	switch {
	case len(x) == 1:
		return func(uint64) {
			for i := range y {
				y[i] = x[0]
			}
		}
	case len(x) == rowLen && xs[len(xs)-1] == rowLen:
		return func(uint64) {
			for i := 0; i < len(y); i += rowLen {
				copy(y[i:i+rowLen], x)
			}
		}
	}
	from := broadcastIndex(ys, xs)
	return func(uint64) {
		for i, j := range from {
			y[i] = x[j]
		}
	}
}

// sumTo sums x of shape xs down to y of shape ys, in ascending order of x's
// elements for each sum but for the sum of everything, which is kernel.Sum.
func sumTo(y, x []float32, ys, xs tensor.Shape) func(uint64) {
	rowLen := xs[len(xs)-1]
	switch {
	case len(y) == 1:
		return func(uint64) { y[0] = kernel.Sum(x) }
	case len(y) == rowLen && ys[len(ys)-1] == rowLen:
		return func(uint64) {
			clear(y)
			for i := 0; i < len(x); i += rowLen {
				kernel.Axpy(y, 1, x[i:i+rowLen])
			}
		}
	}
	to := broadcastIndex(xs, ys)
	return func(uint64) {
		clear(y)
		for i, j := range to {
			y[j] += x[i]
		}
	}
}

// broadcastIndex maps each element of the large shape to the element of the
// small shape that broadcasts to it.
func broadcastIndex(large, small tensor.Shape) []int32 {
	n := large.Elems()
	if n > math.MaxInt32 {
		panic(errorf("broadcast: %s is too large", large))
	}
	strides := make([]int, len(large))
	stride := 1
	for i := len(small) - 1; i >= 0; i-- {
		if small[i] > 1 {
			strides[len(large)-len(small)+i] = stride
		}
		stride *= small[i]
	}
	index := make([]int32, n)
	for i := range index {
		rest, at := i, 0
		for d := len(large) - 1; d >= 0; d-- {
			at += rest % large[d] * strides[d]
			rest /= large[d]
		}
		index[i] = int32(at)
	}
	return index
}
