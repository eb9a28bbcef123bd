// Package methods has the interventions that come with neoteny, one file each.
package methods

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
)

// checkRange reports a parameter outside [lo, hi], NaN included.
func checkRange(name string, v, lo, hi float64) error {
	if !(v >= lo && v <= hi) {
		return component.Fieldf(name, "must be between %v and %v, is %v", lo, hi, v)
	}
	return nil
}

// checkDecay reports a decay factor outside [0, 1).
func checkDecay(name string, v float64) error {
	if !(v >= 0 && v < 1) {
		return component.Fieldf(name, "must be in [0, 1), is %v", v)
	}
	return nil
}

// recycler makes hidden units of one layer new: incoming weights drawn afresh
// from the distribution that the network started from, bias 0, scale of a
// normalisation 1, outgoing weights 0, and what the optimiser and other methods remember of all these
// weights back at its start.
type recycler struct {
	units  *nn.Units
	states *optim.States
	keys   []rng.Key // of the draws, parallel to units.In
	drawn  []float32
}

func newRecycler(env method.Env, u *nn.Units) *recycler {
	r := &recycler{units: u, states: env.States}
	for i, s := range u.In {
		r.keys = append(r.keys, env.Key(fmt.Sprintf("incoming/%s/%d", u.Layer, i)))
		if n := s.Len(); n > len(r.drawn) {
			r.drawn = make([]float32, n)
		}
	}
	return r
}

// recycle makes a unit new. The draw is a function of step and unit, so that a
// unit that is recycled again gets other weights.
func (r *recycler) recycle(step int64, unit int) {
	draw := uint64(step)*uint64(r.units.N) + uint64(unit)
	for i, s := range r.units.In {
		fresh := r.drawn[:s.Len()]
		s.Param.Init.Fill(fresh, r.keys[i], draw)
		r.write(s, unit, fresh)
	}
	for _, s := range r.units.Gain {
		fresh := r.drawn[:s.Len()]
		s.Param.Init.Fill(fresh, rng.Key{}, 0) // a constant
		r.write(s, unit, fresh)
	}
	for _, s := range r.units.Bias {
		r.write(s, unit, nil)
	}
	for _, s := range r.units.Out {
		r.write(s, unit, nil)
	}
}

// write sets the elements of a unit, to 0 where values is nil, and resets
// their states.
func (r *recycler) write(s nn.Slice, unit int, values []float32) {
	offset, length, stride, count := s.Span(unit)
	for c := range count {
		from := offset + c*stride
		run := s.Param.Var.F32[from : from+length]
		if values == nil {
			clear(run)
		} else {
			copy(run, values[c*length:])
		}
		r.states.Reset(s.Param, from, from+length)
	}
}

// Ways in which a memory chooses what it holds.
const (
	// reservoir: every example so far is held with the same probability (Vitter
	// 1985, algorithm R).
	reservoir = "reservoir"
	// classBalanced: as many of each class as can be, and of each class every
	// example so far with the same probability (Chrysakis & Moens 2020).
	classBalanced = "class-balanced"
)

// memory holds examples of the stream.
type memory struct {
	selection         string
	inputs, outputs   int
	capacity, classes int
	key               rng.Key

	x       []float32 // [capacity][inputs]
	labels  []int32   // [capacity]; classification
	targets []float32 // [capacity][outputs]; regression
	extra   []float32 // [capacity][outputs], what the network gave; nil where nobody wants it
	task    []int32   // [capacity], where an example is from
	seen    []float64 // one number: examples so far
	held    []int32   // [1 + classes]: examples held; of each class
	ofClass []float64 // [classes]: examples so far
	full    []uint8   // [classes]: whether it has been the largest of a full memory

	pool []int32
}

// newMemory makes a memory's variables; withOutput says whether the network's
// outputs are kept, too.
func newMemory(env method.Env, name, selection string, capacity int, withOutput bool) *memory {
	state := func(what string, t graph.DType, shape ...int) *graph.Var {
		return env.State(name+"/"+what, t, shape...)
	}
	m := &memory{
		selection: selection, inputs: env.Inputs, outputs: env.Outputs, capacity: capacity, classes: env.Classes,
		key: env.Key(name), pool: make([]int32, capacity),
		x:    state("x", graph.F32, capacity, env.Inputs).F32,
		task: state("task", graph.I32, capacity).I32,
		seen: state("seen", graph.F64).F64,
		held: state("held", graph.I32, 1+env.Classes).I32,
	}
	if env.Classes > 0 {
		m.labels = state("labels", graph.I32, capacity).I32
		m.ofClass = state("of_class", graph.F64, env.Classes).F64
		m.full = state("full", graph.U8, env.Classes).U8
	} else {
		m.targets = state("targets", graph.F32, capacity, env.Outputs).F32
	}
	if withOutput {
		m.extra = state("output", graph.F32, capacity, env.Outputs).F32
	}
	return m
}

// len returns how many examples are held.
func (m *memory) len() int { return int(m.held[0]) }

// forget empties the memory; what is drawn stays random.
func (m *memory) forget() {
	clear(m.held)
	clear(m.full)
	clear(m.ofClass)
	m.seen[0] = 0
}

// add shows the memory the examples of a step, with the outputs if it keeps
// them.
func (m *memory) add(b *stream.Batch, task int, output []float32) {
	for r := range b.N {
		class := -1
		if m.classes > 0 {
			class = int(b.Labels[r])
			m.ofClass[class]++
		}
		m.seen[0]++
		slot := m.slot(class, task)
		if slot < 0 {
			continue
		}
		if class >= 0 {
			if slot < m.len() {
				m.held[1+m.labels[slot]]--
			}
			m.labels[slot] = int32(class)
			m.held[1+class]++
		} else {
			copy(m.targets[slot*m.outputs:(slot+1)*m.outputs], b.Targets[r*m.outputs:])
		}
		if slot == m.len() {
			m.held[0]++
		}
		m.task[slot] = int32(task)
		copy(m.x[slot*m.inputs:(slot+1)*m.inputs], b.X[r*m.inputs:])
		if m.extra != nil {
			copy(m.extra[slot*m.outputs:(slot+1)*m.outputs], output[r*m.outputs:])
		}
	}
}

// slot returns where the example that was just seen goes, −1 for nowhere.
func (m *memory) slot(class, task int) int {
	if m.len() < m.capacity {
		return m.len()
	}
	n, draw := uint64(m.seen[0]), uint64(task)
	if m.selection == reservoir || class < 0 {
		if i := m.intn(m.seen[0], n, draw); i < m.capacity {
			return i
		}
		return -1
	}
	largest := 0
	for c, held := range m.held[1:] {
		if held > m.held[1+largest] {
			largest = c
		}
	}
	for c, held := range m.held[1:] {
		if held == m.held[1+largest] {
			m.full[c] = 1
		}
	}
	from := class
	if m.full[class] == 0 {
		from = largest
	} else if m.intn(m.ofClass[class], n, draw) >= int(m.held[1+class]) {
		return -1
	}
	// One of the class's examples makes room.
	k := m.key.Intn(int(m.held[1+from]), n, 1<<32+draw)
	for i, c := range m.labels {
		if int(c) == from {
			if k == 0 {
				return i
			}
			k--
		}
	}
	return -1
}

// intn draws from [0, n), n being a count.
func (m *memory) intn(n float64, a, b uint64) int { return m.key.Intn(int(n), a, b) }

// draw fills rows [from, to) of a batch with different examples, of tasks below
// the given one only; extra, if not nil, is filled with their outputs. It
// reports false where there are not as many. Draws of different numbers are
// independent.
func (m *memory) draw(b *stream.Batch, from, to, below int, number uint64, extra []float32) bool {
	pool := m.pool[:0]
	for i, t := range m.task[:m.len()] {
		if int(t) < below {
			pool = append(pool, int32(i))
		}
	}
	if len(pool) < to-from {
		return false
	}
	for r := from; r < to; r++ {
		k := r - from
		j := k + m.key.Intn(len(pool)-k, number, 1<<40+uint64(k))
		pool[k], pool[j] = pool[j], pool[k]
		i := int(pool[k])
		m.one(b, r, i)
		if extra != nil {
			copy(extra[k*m.outputs:(k+1)*m.outputs], m.extra[i*m.outputs:])
		}
	}
	return true
}

// one fills row r of a batch with example i.
func (m *memory) one(b *stream.Batch, r, i int) {
	copy(b.X[r*m.inputs:(r+1)*m.inputs], m.x[i*m.inputs:])
	if m.classes > 0 {
		b.Labels[r] = m.labels[i]
	} else {
		copy(b.Targets[r*m.outputs:(r+1)*m.outputs], m.targets[i*m.outputs:])
	}
}

// take fills a batch with the examples from the given one on, in their order.
func (m *memory) take(b *stream.Batch, from int) {
	copy(b.X, m.x[from*m.inputs:(from+b.N)*m.inputs])
	if m.classes > 0 {
		copy(b.Labels, m.labels[from:from+b.N])
	} else {
		copy(b.Targets, m.targets[from*m.outputs:(from+b.N)*m.outputs])
	}
}

// batchOf returns room for n examples of a method's stream.
func batchOf(env method.Env, n int) *stream.Batch {
	b := &stream.Batch{N: n, X: make([]float32, n*env.Inputs)}
	if env.Classes > 0 {
		b.Labels = make([]int32, n)
	} else {
		b.Targets = make([]float32, n*env.Outputs)
	}
	return b
}

// everyTask is a bound above all tasks.
const everyTask = 1 << 30

// checkCount reports a number of examples that is out of range.
func checkCount(name string, n, most int) error {
	if n < 1 || n > most {
		return component.Fieldf(name, "must be between 1 and %d examples, is %d", most, n)
	}
	return nil
}

// mostExamples bounds memories and their batches.
const mostExamples = 1 << 20

// affine is a dense layer: a map of its inputs, and of a constant 1 if it has
// biases.
type affine struct {
	weight, bias int // among the network's parameters; bias −1 without
	in, out      int // in counts the constant
	w            *nn.Param
}

// affines returns the dense layers of a network, and what computes their inputs
// on n examples. Networks of other layers are refused.
func affines(env method.Env, n int) ([]affine, *layerInputs, error) {
	b := graph.NewBuilder()
	x := b.Input("x", n, env.Inputs)
	net := env.Network.Forward(b, x, nn.Evaluation)
	params := env.Network.Params()
	var layers []affine
	for i, p := range params {
		if p.Role != nn.Weight {
			continue
		}
		l := affine{weight: i, bias: -1, in: p.Var.Shape[0], out: p.Var.Shape[1], w: p}
		read := graph.Node{}
		if i == 0 && l.in == env.Inputs {
			read = x
		}
		for k, u := range env.Network.Units() {
			for _, s := range u.Out {
				if s.Param == p && u.Places == 1 && l.in == u.N*u.Outputs {
					read = b.Reshape(net.Features[k], n, l.in)
				}
			}
		}
		if !read.Valid() {
			return nil, nil, component.Fieldf("", "goes with networks of dense layers one behind the other only; the %s of layer %s is another", p.Role, p.Layer)
		}
		if i+1 < len(params) && params[i+1].Role == nn.Bias && params[i+1].Layer == p.Layer {
			l.bias = i + 1
			l.in++
			read = b.Concat(read, b.Fill(1, tensor.Shape{n, 1}))
		}
		b.Output(fmt.Sprintf("input/%d", len(layers)), read)
		layers = append(layers, l)
	}
	return layers, &layerInputs{b.Compile()}, nil
}

// gradient copies a layer's gradient to dst, [in][out], or back from it.
func (l affine) gradient(dst []float32, gradients [][]float32, back bool) {
	split := l.w.Var.Len()
	if back {
		copy(gradients[l.weight], dst)
	} else {
		copy(dst, gradients[l.weight])
	}
	switch {
	case l.bias < 0:
	case back:
		copy(gradients[l.bias], dst[split:])
	default:
		copy(dst[split:], gradients[l.bias])
	}
}

// layerInputs computes what the dense layers of a network are given.
type layerInputs struct{ program *graph.Program }

// of runs the network on a batch. Input k [n][in] is valid until the next call.
func (l *layerInputs) of(b *stream.Batch) (input func(k int) []float32) {
	copy(l.program.Input("x"), b.X)
	if task := l.program.Labels("task"); task != nil {
		task[0] = int32(b.Task)
	}
	l.program.Run(0)
	return func(k int) []float32 { return l.program.Output(fmt.Sprintf("input/%d", k)) }
}
