package graph

import (
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Compile turns what was traced into a program. Nodes that neither an output
// nor an assignment depends on are left out.
func (b *Builder) Compile() *Program {
	c := &compiler{
		b:      b,
		values: make([][]float32, len(b.nodes)),
		labels: make([][]int32, len(b.nodes)),
		group:  make([]int, len(b.nodes)),
		p:      &Program{inputs: map[string][]float32{}, labels: map[string][]int32{}, outputs: map[string][]float32{}},
	}
	c.ownSources()
	c.markNeeded()
	c.schedule()
	c.placeAssigns()
	c.placeValues()
	c.emit()
	return c.p
}

// compiler holds what one compilation knows.
type compiler struct {
	b      *Builder
	needed []bool
	uses   [][]int // by root: positions of the items that read it
	items  []*item // the schedule
	group  []int   // by node: position of its item, -1 if it has none
	local  []bool  // by node: lives in a block buffer of its group
	late   []assign
	values [][]float32
	labels [][]int32
	p      *Program
}

// item is one entry of the schedule: a single operation, or a run of
// element-wise operations over the same number of elements.
type item struct {
	nodes   []int
	n       int // elements of an element-wise run; 0 for a single operation
	assigns []assign
}

// ownSources gives outputs and assignments that name a variable's or input's
// value directly a node of their own, so that neither sees a later change.
func (c *compiler) ownSources() {
	own := func(id int) int {
		switch c.b.nodes[c.root(id)].op.(type) {
		case readOp, inputOp, constOp, fillOp:
			return c.b.unary(kernel.Copy, Node{c.b, id}).id
		}
		return id
	}
	for i := range c.b.outputs {
		c.b.outputs[i].id = own(c.b.outputs[i].id)
	}
	for i := range c.b.assigns {
		c.b.assigns[i].id = own(c.b.assigns[i].id)
	}
	n := len(c.b.nodes)
	c.values, c.labels, c.group = make([][]float32, n), make([][]int32, n), make([]int, n)
}

// root follows nodes that are only another name for their operand's value.
func (c *compiler) root(id int) int {
	for {
		switch c.b.nodes[id].op.(type) {
		case reshapeOp, stopOp:
			id = c.b.nodes[id].in[0]
		default:
			return id
		}
	}
}

func (c *compiler) markNeeded() {
	c.needed = make([]bool, len(c.b.nodes))
	for _, o := range c.b.outputs {
		c.needed[o.id] = true
	}
	for _, a := range c.b.assigns {
		c.needed[a.id] = true
	}
	for _, id := range c.b.inputs {
		c.needed[id] = true // callers fill declared inputs, used or not
	}
	for id := len(c.b.nodes) - 1; id >= 0; id-- {
		if c.needed[id] {
			for _, in := range c.b.nodes[id].in {
				c.needed[in] = true
			}
		}
	}
}

// computed reports whether a node needs an instruction of its own.
func (c *compiler) computed(id int) bool {
	switch c.b.nodes[id].op.(type) {
	case readOp, inputOp, constOp, fillOp, reshapeOp, stopOp:
		return false
	}
	return true
}

func (c *compiler) elementwise(id int) bool {
	switch c.b.nodes[id].op.(type) {
	case unaryOp, binaryOp:
		return true
	}
	return false
}

// schedule puts the operations in order. Element-wise operations over the same
// number of elements that follow each other form one run; a single operation
// that does not depend on the open run goes before it.
func (c *compiler) schedule() {
	var open *item
	inOpen := map[int]bool{}
	for id := range c.b.nodes {
		c.group[id] = -1
		if !c.needed[id] || !c.computed(id) {
			continue
		}
		nd := c.b.nodes[id]
		n := nd.shape.Elems()
		if c.elementwise(id) && open != nil && open.n == n {
			open.nodes = append(open.nodes, id)
			inOpen[id] = true
			continue
		}
		depends := false
		for _, in := range nd.in {
			depends = depends || inOpen[c.root(in)]
		}
		it := &item{nodes: []int{id}}
		if c.elementwise(id) {
			it.n = n
		}
		switch {
		case open == nil || depends || (it.n > 1):
			c.items = append(c.items, it)
			open = nil
			clear(inOpen)
			if it.n > 1 {
				open = it
				inOpen[id] = true
			}
		default:
			c.items = append(c.items[:len(c.items)-1], it, open)
		}
	}
	c.uses = make([][]int, len(c.b.nodes))
	for pos, it := range c.items {
		for _, id := range it.nodes {
			c.group[id] = pos
			for _, in := range c.b.nodes[id].in {
				r := c.root(in)
				c.uses[r] = append(c.uses[r], pos)
			}
		}
	}
}

// placeAssigns runs an assignment inside the element-wise run that makes its
// value, where nothing after that run reads the variable's old value; else at
// the end of the program.
func (c *compiler) placeAssigns() {
	for _, a := range c.b.assigns {
		pos := c.group[c.root(a.id)]
		early := c.root(a.id) == a.id && c.items[pos].n > 0
		if read, ok := c.b.reads[a.v]; ok && early {
			for _, use := range c.uses[read] {
				early = early && use <= pos
			}
		}
		if early {
			c.items[pos].assigns = append(c.items[pos].assigns, a)
		} else {
			c.late = append(c.late, a)
		}
	}
}

// placeValues gives every node its storage. A value that lives only inside one
// element-wise run gets a block, reused for each stretch of the run.
func (c *compiler) placeValues() {
	b := c.b
	c.local = make([]bool, len(b.nodes))
	escapes := make([]bool, len(b.nodes))
	for _, o := range b.outputs {
		escapes[c.root(o.id)] = true
	}
	for _, a := range c.late {
		escapes[c.root(a.id)] = true
	}
	for id, nd := range b.nodes {
		if !c.needed[id] {
			continue
		}
		n := nd.shape.Elems()
		switch o := nd.op.(type) {
		case readOp:
			c.values[id] = o.v.F32
		case inputOp:
			if nd.label {
				c.labels[id] = make([]int32, n)
				c.p.labels[o.key] = c.labels[id]
			} else {
				c.values[id] = tensor.Float32s(n)
				c.p.inputs[o.key] = c.values[id]
			}
		case constOp:
			c.values[id] = []float32{o.value}
		case fillOp:
			c.values[id] = tensor.Float32s(n)
			for i := range c.values[id] {
				c.values[id][i] = o.value
			}
		case reshapeOp, stopOp:
			c.values[id], c.labels[id] = c.values[nd.in[0]], c.labels[nd.in[0]]
			c.local[id] = c.local[nd.in[0]]
		default:
			pos := c.group[id]
			local := c.items[pos].n > block && !escapes[id]
			for _, use := range c.uses[id] {
				local = local && use == pos
			}
			if local {
				n = block
				c.local[id] = true
			}
			c.values[id] = tensor.Float32s(n)
		}
	}
	for _, o := range b.outputs {
		c.p.outputs[o.name] = c.values[o.id]
	}
}

func (c *compiler) emit() {
	for _, it := range c.items {
		if it.n > 0 {
			c.p.code = append(c.p.code, c.emitRun(it))
		} else {
			c.p.code = append(c.p.code, c.b.nodes[it.nodes[0]].op.emit(c.site(it.nodes[0])))
		}
	}
	for _, a := range c.late {
		dst, src := a.v.F32, c.values[a.id]
		c.p.code = append(c.p.code, func(uint64) { copy(dst, src) })
	}
}

func (c *compiler) site(id int) *site {
	nd := c.b.nodes[id]
	s := &site{shape: nd.shape, y: c.values[id]}
	for _, in := range nd.in {
		s.in = append(s.in, c.b.nodes[in].shape)
		s.x = append(s.x, c.values[in])
		s.labels = append(s.labels, c.labels[in])
	}
	return s
}

// emitRun makes the instruction of an element-wise run.
func (c *compiler) emitRun(it *item) func(uint64) {
	r := &elementwiseRun{n: it.n}
	for _, id := range it.nodes {
		nd := c.b.nodes[id]
		y := operand{data: c.values[id], local: c.local[id]}
		switch o := nd.op.(type) {
		case unaryOp:
			r.ops = append(r.ops, elementwiseOp{unary: true, u: o.f, y: y, a: c.operand(nd.in[0], it.n, false)})
		case binaryOp:
			a := c.operand(nd.in[0], it.n, true)
			z := c.operand(nd.in[1], it.n, !a.single)
			if a.single && z.single { // a fill beside a scalar: one of them must be spread out
				a = c.operand(nd.in[0], it.n, false)
			}
			r.ops = append(r.ops, elementwiseOp{b: o.f, y: y, a: a, z: z})
		}
	}
	for _, a := range it.assigns {
		dst := operand{data: a.v.F32}
		r.ops = append(r.ops, elementwiseOp{unary: true, u: kernel.Copy, y: dst, a: operand{data: c.values[a.id], local: c.local[a.id]}})
	}
	return func(uint64) { r.run() }
}

// operand says where an element-wise operation over n elements finds a value.
func (c *compiler) operand(id, n int, maySingle bool) operand {
	o := operand{data: c.values[id], local: c.local[id]}
	_, fill := c.b.nodes[c.root(id)].op.(fillOp)
	if n > 1 && (len(o.data) == 1 || fill && maySingle) {
		return operand{data: o.data[:1], single: true}
	}
	return o
}
