package graph

import (
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// stretch bounds how many elements of a weight matrix are updated at a time, so
// that their gradient is still in the cache when it is consumed.
const stretch = 16 << 10

// blockRows is how many rows a stretch has at least, unless that makes it eight
// times as long: with fewer, the products of a batch with the rows of a wide
// matrix cannot fill the registers, and read the batch again for every few.
const blockRows = 32

// small is the same where what is computed beside the update costs little for
// any number of rows: noise, the gradient of one example.
const small = 4 << 10

func (c *compiler) emit() {
	for _, it := range c.items {
		if it.n > 0 {
			c.p.code = append(c.p.code, c.emitRun(it))
		} else {
			c.p.code = append(c.p.code, c.emitSingle(it.nodes[0]))
		}
	}
	for _, a := range c.late {
		dst, src := a.v.F32, c.values[c.root(a.id)]
		c.p.code = append(c.p.code, single(func(uint64) { copy(dst, src) }))
	}
}

func (c *compiler) emitSingle(id int) instruction {
	s := c.site(id)
	if o, ok := c.b.nodes[id].op.(instructed); ok {
		if i := o.instruction(s); i != nil {
			return i
		}
	}
	return single(c.b.nodes[id].op.(computed).emit(s))
}

func (c *compiler) site(id int) *site {
	nd := c.b.nodes[id]
	s := &site{shape: nd.shape, y: c.values[id]}
	for _, in := range nd.in {
		r := c.root(in)
		s.in = append(s.in, c.b.nodes[in].shape)
		s.x = append(s.x, c.values[r])
		s.labels = append(s.labels, c.labels[r])
	}
	return s
}

// emitRun makes the instruction of a run.
func (c *compiler) emitRun(it *item) instruction {
	e := &runBuilder{c: c, it: it, number: map[int]int{}}
	e.collect()
	r := &run{n: it.n, arrays: e.arrays, singles: e.singles, scalars: make([]float32, len(e.singles))}
	r.spec = e.spec(r)
	r.m = kernel.NewMap(r.spec)
	if len(it.made) == 0 && it.reader < 0 {
		return r
	}
	if d := c.descent(it, e, r); d != nil {
		return d
	}
	return c.emitStretched(it, e, r)
}

// runBuilder numbers the values of a run.
type runBuilder struct {
	c       *compiler
	it      *item
	number  map[int]int // of roots: arrays, then single numbers, then operations
	roots   []int       // of the arrays
	arrays  [][]float32
	singles [][]float32
}

// collect finds the arrays and the single numbers that the run reads.
func (e *runBuilder) collect() {
	var singles []int
	for _, id := range e.it.nodes {
		for _, in := range e.c.operands(id) {
			if e.c.run[in] == e.it || slices.Contains(e.roots, in) || slices.Contains(singles, in) {
				continue
			}
			if e.single(in) {
				singles = append(singles, in)
				e.singles = append(e.singles, e.c.values[in][:1])
			} else {
				e.roots = append(e.roots, in)
				e.arrays = append(e.arrays, e.c.values[in])
			}
		}
	}
	for i, id := range e.roots {
		e.number[id] = i
	}
	for i, id := range singles {
		e.number[id] = len(e.roots) + i
	}
	for i, id := range e.it.nodes {
		e.number[id] = len(e.roots) + len(singles) + i
	}
}

// single reports whether a run takes a value for one number.
func (e *runBuilder) single(id int) bool {
	if _, ok := e.c.b.nodes[id].op.(constant); ok {
		return true
	}
	return e.it.n > 1 && e.c.elems(id) == 1
}

// spec writes the run down, and sets where r puts its results.
func (e *runBuilder) spec(r *run) kernel.MapSpec {
	s := kernel.MapSpec{Arrays: len(e.arrays), Scalars: len(e.singles)}
	out := func(id int, to []float32, alias int) {
		s.Outputs = append(s.Outputs, e.number[id])
		s.Alias = append(s.Alias, alias)
		r.outs = append(r.outs, to)
	}
	for _, id := range e.it.nodes {
		in := e.c.operands(id)
		f, _ := e.c.primitive(id)
		o := kernel.MapOp{Op: f}
		for i, arg := range []*int{&o.A, &o.B, &o.C} {
			if i < len(in) {
				*arg = e.number[in[i]]
			}
		}
		s.Code = append(s.Code, o)
		if v := e.c.values[id]; v != nil {
			out(id, v, -1)
		}
	}
	for _, a := range e.it.assigns {
		alias := -1
		if read, ok := e.c.b.reads[a.v]; ok {
			alias = slices.Index(e.roots, read)
		}
		out(e.c.root(a.id), a.v.F32, alias)
	}
	return s
}

// emitStretched makes the instruction of a run that computes some of its
// operands itself.
func (c *compiler) emitStretched(it *item, e *runBuilder, r *run) instruction {
	s := &stretched{run: r, size: it.n, width: max(it.width, 1)}
	length := small
	for _, id := range it.made {
		if o, ok := c.b.nodes[id].op.(weightGradient); ok && !o.outer(c.b.nodes[c.b.nodes[id].in[0]].shape) {
			length = stretch
		}
	}
	if it.n > length {
		rows := length / s.width
		if length == stretch {
			rows = max(rows, min(blockRows, 8*stretch/s.width))
		}
		switch { // the row blocks of matrix products
		case it.width == 0:
		case rows >= blockRows:
			rows -= rows % blockRows
		case rows >= 8:
			rows -= rows % 8
		}
		s.size = max(1, rows) * s.width
	}
	for _, id := range it.made {
		buf := tensor.Float32s(s.size)
		i := slices.Index(e.roots, id)
		s.made = append(s.made, making{c.b.nodes[id].op.(ranger).emitRange(c.site(id)), buf, i})
		r.arrays[i] = nil
	}
	if it.reader >= 0 {
		s.read = c.b.nodes[it.reader].op.(carrying).emitRows(c.site(it.reader))
	}
	s.window = make([][]float32, len(r.arrays))
	s.outs = make([][]float32, len(r.outs))
	return s
}
