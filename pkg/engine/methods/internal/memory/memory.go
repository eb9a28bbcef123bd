// Package methods has the interventions that come with neoteny, one file each.
package memory

import (
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// Ways in which a memory chooses what it holds.
const (
	// reservoir: every example so far is held with the same probability (Vitter
	// 1985, algorithm R).
	Reservoir = "reservoir"
	// classBalanced: as many of each class as can be, and of each class every
	// example so far with the same probability (Chrysakis & Moens 2020).
	ClassBalanced = "class-balanced"
)

// Memory holds examples of the stream.
type Memory struct {
	selection         string
	inputs, outputs   int
	capacity, classes int
	key               rng.Key

	X       []float32 // [capacity][inputs]
	Labels  []int32   // [capacity]; classification
	targets []float32 // [capacity][outputs]; regression
	extra   []float32 // [capacity][outputs], what the network gave; nil where it is not needed
	task    []int32   // [capacity], where an example is from
	seen    []float64 // one number: examples so far
	held    []int32   // [1 + classes]: examples held; of each class
	ofClass []float64 // [classes]: examples so far
	full    []uint8   // [classes]: whether it has been the largest of a full memory

	pool []int32
}

// New makes a memory's variables; withOutput says whether the network's
// outputs are kept, too.
func New(env method.Env, name, selection string, capacity int, withOutput bool) *Memory {
	state := func(what string, t graph.DType, shape ...int) *graph.Var {
		return env.State(name+"/"+what, t, shape...)
	}
	m := &Memory{
		selection: selection, inputs: env.Inputs, outputs: env.Outputs, capacity: capacity, classes: env.Classes,
		key: env.Key(name), pool: make([]int32, capacity),
		X:    state("x", graph.F32, capacity, env.Inputs).F32,
		task: state("task", graph.I32, capacity).I32,
		seen: state("seen", graph.F64).F64,
		held: state("held", graph.I32, 1+env.Classes).I32,
	}
	if env.Classes > 0 {
		m.Labels = state("labels", graph.I32, capacity).I32
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

// Len returns how many examples are held.
func (m *Memory) Len() int { return int(m.held[0]) }

// Forget empties the memory; what is drawn stays random.
func (m *Memory) Forget() {
	clear(m.held)
	clear(m.full)
	clear(m.ofClass)
	m.seen[0] = 0
}

// Add shows the memory the examples of a step, with the outputs if it keeps
// them.
func (m *Memory) Add(b *stream.Batch, task int, output []float32) {
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
			if slot < m.Len() {
				m.held[1+m.Labels[slot]]--
			}
			m.Labels[slot] = int32(class)
			m.held[1+class]++
		} else {
			copy(m.targets[slot*m.outputs:(slot+1)*m.outputs], b.Targets[r*m.outputs:])
		}
		if slot == m.Len() {
			m.held[0]++
		}
		m.task[slot] = int32(task)
		copy(m.X[slot*m.inputs:(slot+1)*m.inputs], b.X[r*m.inputs:])
		if m.extra != nil {
			copy(m.extra[slot*m.outputs:(slot+1)*m.outputs], output[r*m.outputs:])
		}
	}
}

// slot returns where the example that was just seen goes, −1 for nowhere.
func (m *Memory) slot(class, task int) int {
	if m.Len() < m.capacity {
		return m.Len()
	}
	n, draw := uint64(m.seen[0]), uint64(task)
	if m.selection == Reservoir || class < 0 {
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
	for i, c := range m.Labels {
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
func (m *Memory) intn(n float64, a, b uint64) int { return m.key.Intn(int(n), a, b) }

// Draw fills rows [from, to) of a batch with different examples, of tasks below
// the given one only; extra, if not nil, is filled with their outputs. It
// reports false where there are not as many. Draws of different numbers are
// independent.
func (m *Memory) Draw(b *stream.Batch, from, to, below int, number uint64, extra []float32) bool {
	pool := m.pool[:0]
	for i, t := range m.task[:m.Len()] {
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
		m.One(b, r, i)
		if extra != nil {
			copy(extra[k*m.outputs:(k+1)*m.outputs], m.extra[i*m.outputs:])
		}
	}
	return true
}

// One fills row r of a batch with example i.
func (m *Memory) One(b *stream.Batch, r, i int) {
	copy(b.X[r*m.inputs:(r+1)*m.inputs], m.X[i*m.inputs:])
	if m.classes > 0 {
		b.Labels[r] = m.Labels[i]
	} else {
		copy(b.Targets[r*m.outputs:(r+1)*m.outputs], m.targets[i*m.outputs:])
	}
}

// Take fills a batch with the examples from the given one on, in their order.
func (m *Memory) Take(b *stream.Batch, from int) {
	copy(b.X, m.X[from*m.inputs:(from+b.N)*m.inputs])
	if m.classes > 0 {
		copy(b.Labels, m.Labels[from:from+b.N])
	} else {
		copy(b.Targets, m.targets[from*m.outputs:(from+b.N)*m.outputs])
	}
}

// BatchOf returns room for n examples of a method's stream.
func BatchOf(env method.Env, n int) *stream.Batch {
	b := &stream.Batch{N: n, X: make([]float32, n*env.Inputs)}
	if env.Classes > 0 {
		b.Labels = make([]int32, n)
	} else {
		b.Targets = make([]float32, n*env.Outputs)
	}
	return b
}

// EveryTask is a bound above all tasks.
const EveryTask = 1 << 30
