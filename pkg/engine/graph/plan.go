package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

// plan gives every value its storage. What lives only inside one run has none,
// and what a run computes stretch by stretch is placed when the run is emitted.
// Other values share one arena: a place is free again after the last item that
// reads it, unless the value is to be read after the program.
func (c *compiler) plan() {
	c.values = make([][]float32, len(c.b.nodes))
	c.labels = make([][]int32, len(c.b.nodes))
	for _, a := range c.late {
		c.escapes[c.root(a.id)] = true
	}
	c.placeSources()
	c.placeDirect()

	var arena arena
	offsets := map[int]int{}
	c.offsets = offsets
	var live []int // placed values that are still to be read
	for _, it := range c.items {
		live = slices.DeleteFunc(live, func(id int) bool {
			if c.escapes[id] || c.lastRead(id) >= it.pos {
				return false
			}
			arena.free(offsets[id], c.elems(id))
			return true
		})
		for _, id := range it.stored() {
			if c.values[id] == nil && !c.local(id, it) {
				offsets[id] = arena.place(c.elems(id))
				live = append(live, id)
			}
		}
	}
	c.arenaSize = arena.size
	memory := c.b.memory.arena(arena.size)
	for id, at := range offsets {
		c.values[id] = memory(at, c.elems(id))
	}
	for id, nd := range c.b.nodes {
		if _, ok := nd.op.(alias); ok {
			c.values[id], c.labels[id] = c.values[c.root(id)], c.labels[c.root(id)]
		}
	}
	for _, o := range c.b.outputs {
		c.p.outputs[o.name] = c.values[o.id]
	}
}

// placeSources places what needs no instruction.
func (c *compiler) placeSources() {
	for id, nd := range c.b.nodes {
		if o, ok := nd.op.(source); ok && c.needed[id] {
			o.place(&placing{c: c, id: id, n: nd.shape.Elems()})
		}
	}
}

// placing is a source that is being placed.
type placing struct {
	c  *compiler
	id int // of its node
	n  int // elements
}

// whole reports whether the value is read as an array: runs take one number for
// all elements.
func (p *placing) whole() bool {
	return slices.ContainsFunc(p.c.users[p.id], func(u int) bool { return !isElementwise(p.c.b.nodes[u].op) })
}

// placeDirect lets a single operation write its value straight into the
// variable that it is assigned to, if nothing in the program reads the
// variable.
func (c *compiler) placeDirect() {
	output := map[int]bool{}
	for _, o := range c.b.outputs {
		output[c.root(o.id)] = true
	}
	c.late = slices.DeleteFunc(c.late, func(a assign) bool {
		r := c.root(a.id)
		_, read := c.b.reads[a.v]
		if read || c.run[r] != nil || c.values[r] != nil || output[r] {
			return false
		}
		c.values[r] = a.v.F32
		return true
	})
}

// stored returns the operations of an item whose value is written as a whole.
func (it *item) stored() []int {
	if it.reader >= 0 {
		return append(slices.Clone(it.nodes), it.reader)
	}
	return it.nodes
}

// local reports whether a value is read only inside the run that makes it.
func (c *compiler) local(id int, it *item) bool {
	return c.run[id] != nil && !c.escapes[id] && c.onlyIn(id, it)
}

// lastRead returns the position of the last item that reads a value, or of the
// one that makes it.
func (c *compiler) lastRead(id int) int {
	last := -1
	for _, u := range c.users[id] {
		if it := c.itemOf[u]; it != nil {
			last = max(last, it.pos)
		}
	}
	return last
}

// arena finds places for values; offsets are multiples of 16 elements.
type arena struct {
	size int
	gaps []gap // in order, never adjacent
}

type gap struct{ at, n int }

func align(n int) int { return (n + 15) &^ 15 }

func (a *arena) place(n int) int {
	n = align(n)
	best := -1
	for i, g := range a.gaps {
		if g.n >= n && (best < 0 || g.n < a.gaps[best].n) {
			best = i
		}
	}
	if best < 0 {
		at := a.size
		a.size += n
		return at
	}
	at := a.gaps[best].at
	a.gaps[best].at += n
	if a.gaps[best].n -= n; a.gaps[best].n == 0 {
		a.gaps = slices.Delete(a.gaps, best, best+1)
	}
	return at
}

func (a *arena) free(at, n int) {
	n = align(n)
	i, _ := slices.BinarySearchFunc(a.gaps, at, func(g gap, at int) int { return g.at - at })
	a.gaps = slices.Insert(a.gaps, i, gap{at, n})
	if i+1 < len(a.gaps) && at+n == a.gaps[i+1].at {
		a.gaps[i].n += a.gaps[i+1].n
		a.gaps = slices.Delete(a.gaps, i+1, i+2)
	}
	if i > 0 && a.gaps[i-1].at+a.gaps[i-1].n == at {
		a.gaps[i-1].n += a.gaps[i].n
		a.gaps = slices.Delete(a.gaps, i, i+1)
	}
}

// memory is where values live. With lanes, one block holds a value of every
// lane side by side, so that what is done to one can be done to all at once.
type memory struct {
	lane  int
	lanes *laneMemory // nil for a single network
	next  int         // the number of blocks taken so far
}

// laneMemory is shared by the lanes of a pack: the first lane to ask
// allocates for all.
type laneMemory struct {
	n      int
	blocks [][]float32
}

// alloc returns n zeroed elements.
func (m *memory) alloc(n int) []float32 { return m.arena(n)(0, n) }

// arena returns places in a new arena of size elements.
func (m *memory) arena(size int) func(at, n int) []float32 {
	if m.lanes == nil {
		block := tensor.Float32s(size)
		return func(at, n int) []float32 { return block[at : at+n : at+n] }
	}
	l := m.lanes
	if m.next == len(l.blocks) {
		l.blocks = append(l.blocks, tensor.Float32s(size*l.n))
	}
	block := l.blocks[m.next]
	m.next++
	if len(block) != size*l.n {
		panic(errorf("lanes differ: a value has %d elements in lane %d and %d in the first", size, m.lane, len(block)/l.n))
	}
	return func(at, n int) []float32 {
		from := at*l.n + m.lane*n
		return block[from : from+n : from+n]
	}
}
