package graph

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Loop is a recurrence for [Builder.Scan].
type Loop struct {
	Steps int  // how many there are at most
	Count Node // optional: an input of one label that says how many to run, in [0, Steps]

	Carry  []Node // what the first step begins with
	Each   []Node // [Steps][...]: a step sees its own row [...]
	Shared []Node // what every step sees

	// Body traces one step, in a builder of its own: it returns the carry of the
	// next step, in the shapes of this one's, and any results of the step. It
	// may read variables, and draw noise, which differs from step to step; other
	// values of the program come through Shared. Inputs, outputs and assignments
	// are for the program itself.
	Body func(b *Builder, carry, each, shared []Node) (next, out []Node)
}

// Scan runs a loop: it returns the carry after the last step, and each of the
// results of the steps, stacked, [Steps][...], with zeros for steps that are
// not run. However many steps there are, the program holds the body once.
//
// It is differentiable to any order; the gradient runs the steps backwards from
// the carries, which it stores, and adds up the gradients of what is shared in
// that order. Noise in the step t of a run with number s is that of run
// s·Steps + t: give it keys that nothing else uses.
func (b *Builder) Scan(l Loop) (final, outs []Node) {
	o := &scan{steps: l.Steps, trace: true, counted: l.Count.Valid()}
	o.body = traceBody(shapesOf(l.Carry), rowsOf(l.Each, l.Steps), shapesOf(l.Shared),
		func(inner *Builder, carry, each, shared []Node) (next, outs, sums []Node) {
			next, outs = l.Body(inner, carry, each, shared)
			return next, outs, nil
		})
	in := slices.Concat(l.Carry, l.Each, l.Shared)
	for _, v := range o.body.shared[len(l.Shared):] {
		in = append(in, b.Read(v))
	}
	for _, n := range in {
		if b.nodes[n.id].label {
			panic(errorf("scan: an operand holds labels"))
		}
	}
	if o.counted {
		if !b.nodes[l.Count.id].label || l.Count.Shape().Elems() != 1 {
			panic(errorf("scan: the count is not one label"))
		}
		in = append(in, l.Count)
	}
	p := o.parts()
	y := b.addScan(o, in)
	return p.final.of(b, y), p.outs.of(b, y)
}

func shapesOf(nodes []Node) []tensor.Shape {
	var s []tensor.Shape
	for _, n := range nodes {
		s = append(s, n.Shape())
	}
	return s
}

func rowsOf(nodes []Node, steps int) []tensor.Shape {
	var rows []tensor.Shape
	for _, n := range nodes {
		s := n.Shape()
		if len(s) == 0 || s[0] != steps {
			panic(errorf("scan: %s has no row for each of %d steps", s, steps))
		}
		rows = append(rows, s[1:])
	}
	return rows
}

// scan is a loop as an operation. Its operands are the initial carry, what has
// a row for each step, what is shared, and the count if there is one. Its value
// holds its parts one after the other.
type scan struct {
	steps   int
	reverse bool // from the last step to the first
	trace   bool // the value has the carry that each step began with
	counted bool
	body    *body
}

type scanOp struct{ *scan }

// body is a traced step. Its operands are placeholders, or variables, that it
// reads; results are nodes.
type body struct {
	b                   *Builder
	carry, each, shared []*Var
	next, outs, sums    []int // sums are added up over the steps
}

func traceBody(carry, each, shared []tensor.Shape, f func(b *Builder, carry, each, shared []Node) (next, outs, sums []Node)) *body {
	inner := NewBuilder()
	var nodes [3][]Node
	var vars [3][]*Var
	for i, shapes := range [3][]tensor.Shape{carry, each, shared} {
		for _, s := range shapes {
			v := &Var{Name: "operand of a scan", Type: F32, Shape: s}
			vars[i] = append(vars[i], v)
			nodes[i] = append(nodes[i], inner.Read(v))
		}
	}
	own := len(inner.nodes)
	next, outs, sums := f(inner, nodes[0], nodes[1], nodes[2])
	if len(inner.inputs)+len(inner.outputs)+len(inner.assigns) > 0 {
		panic(errorf("scan: its body has inputs, outputs or assignments"))
	}
	if len(next) != len(carry) {
		panic(errorf("scan: its body takes a carry of %d values and returns %d", len(carry), len(next)))
	}
	bd := &body{b: inner, carry: vars[0], each: vars[1], shared: vars[2]}
	for i, n := range next {
		if n.b != inner || !n.Shape().Equal(carry[i]) {
			panic(errorf("scan: value %d of the carry is %s, and %s after a step", i, carry[i], n.Shape()))
		}
		bd.next = append(bd.next, n.id)
	}
	for _, n := range slices.Concat(outs, sums) {
		if n.b != inner {
			panic(errorf("scan: its body returns a value that is not its own"))
		}
	}
	for _, n := range outs {
		bd.outs = append(bd.outs, n.id)
	}
	for _, n := range sums {
		bd.sums = append(bd.sums, n.id)
	}
	for _, n := range inner.nodes[own:] {
		if r, ok := n.op.(readOp); ok {
			bd.shared = append(bd.shared, r.v)
		}
	}
	return bd
}

// operands returns the placeholders in the order of the operation's operands.
func (bd *body) operands() []*Var { return slices.Concat(bd.carry, bd.each, bd.shared) }

// inline traces the body into a builder with values for its placeholders, and
// returns its nodes there.
func (bd *body) inline(b *Builder, values map[*Var]Node) []Node {
	nodes := make([]Node, len(bd.b.nodes))
	for id, n := range bd.b.nodes {
		if r, ok := n.op.(readOp); ok {
			nodes[id] = values[r.v]
			continue
		}
		in := make([]Node, len(n.in))
		for i, j := range n.in {
			in[i] = nodes[j]
		}
		nodes[id] = b.add(n.op, n.shape, in...)
	}
	return nodes
}

func pick(nodes []Node, ids []int) []Node {
	out := make([]Node, len(ids))
	for i, id := range ids {
		out[i] = nodes[id]
	}
	return out
}

// part is one of the things that a scan's value holds.
type part struct {
	at    int
	shape tensor.Shape
}

type parts []part

type layout struct {
	final, outs, sums, trace parts
	size                     int
}

func (o *scan) parts() layout {
	var l layout
	add := func(to *parts, s tensor.Shape, rows bool) {
		if rows {
			s = append(tensor.Shape{o.steps}, s...)
		}
		if err := s.Check(); err != nil {
			panic(errorf("scan: %v", err))
		}
		*to = append(*to, part{l.size, s})
		if l.size += s.Elems(); l.size > tensor.MaxElems {
			panic(errorf("scan: its results have more than %d elements", tensor.MaxElems))
		}
	}
	for _, v := range o.body.carry {
		add(&l.final, v.Shape, false)
	}
	for _, id := range o.body.outs {
		add(&l.outs, o.body.b.nodes[id].shape, true)
	}
	for _, id := range o.body.sums {
		add(&l.sums, o.body.b.nodes[id].shape, false)
	}
	if o.trace {
		for _, v := range o.body.carry {
			add(&l.trace, v.Shape, true)
		}
	}
	if l.size == 0 {
		panic(errorf("scan: its body returns nothing"))
	}
	return l
}

// of returns the parts of a scan's value.
func (ps parts) of(b *Builder, y Node) []Node {
	out := make([]Node, len(ps))
	for i, p := range ps {
		out[i] = b.Reshape(b.SliceAxis(y, 0, p.at, p.at+p.shape.Elems()), p.shape...)
	}
	return out
}

// gradients returns the parts of the gradient of a scan's value; those that are
// known to be zero are the zero Node.
func (ps parts) gradients(b *Builder, dy Node) []Node {
	out := make([]Node, len(ps))
	for i, p := range ps {
		if n := b.stretchOf(dy, p.at, p.at+p.shape.Elems()); n.Valid() {
			out[i] = b.Reshape(n, p.shape...)
		}
	}
	return out
}

// stretchOf returns elements [from, to) of a vector, the zero Node if they are
// known to be zero: gradients of a scan's value are sums of its parts' gradients,
// each padded with zeros.
func (b *Builder) stretchOf(x Node, from, to int) Node {
	n := b.nodes[x.id]
	switch o := n.op.(type) {
	case binaryOp:
		if o.f != kernel.Add || !b.nodes[n.in[0]].shape.Equal(n.shape) || !b.nodes[n.in[1]].shape.Equal(n.shape) {
			break
		}
		u, v := b.stretchOf(Node{b, n.in[0]}, from, to), b.stretchOf(Node{b, n.in[1]}, from, to)
		switch {
		case !u.Valid():
			return v
		case !v.Valid():
			return u
		}
		return b.Add(u, v)
	case padOp:
		width := b.nodes[n.in[0]].shape[0]
		switch {
		case to <= o.from || from >= o.from+width:
			return Node{}
		case from >= o.from && to <= o.from+width:
			return b.stretchOf(Node{b, n.in[0]}, from-o.from, to-o.from)
		}
	}
	return b.SliceAxis(x, 0, from, to)
}

func (b *Builder) addScan(o *scan, in []Node) Node {
	return b.add(scanOp{o}, tensor.Shape{o.parts().size}, in...)
}

func (scanOp) name() string { return "scan" }

// grad runs a scan in the other direction whose carry is the gradient of the
// carry. Its body is the vector-Jacobian product of one step, computed from
// what the step began with.
func (o scanOp) grad(b *Builder, y, dy Node, in []Node) []Node {
	bd, l := o.body, o.parts()
	dFinal, dOuts, dSums, dTrace := l.final.gradients(b, dy), l.outs.gradients(b, dy), l.sums.gradients(b, dy), l.trace.gradients(b, dy)
	if !o.trace { // this is a gradient that is differentiated again
		traced := *o.scan
		traced.trace = true
		y = b.addScan(&traced, in)
		l = traced.parts()
	}
	began := l.trace.of(b, y)
	nc, ne, ns := len(bd.carry), len(bd.each), len(bd.shared)
	for i, d := range dFinal {
		if !d.Valid() {
			dFinal[i] = b.Fill(0, bd.carry[i].Shape)
		}
	}
	// The operands whose gradients anyone asks for.
	asked := func(from, n int) []int {
		var at []int
		for i := range n {
			if b.wanted[in[from+i].id] {
				at = append(at, i)
			}
		}
		return at
	}
	askedEach, askedShared := asked(nc, ne), asked(nc+ne, ns)
	valid := func(nodes []Node) []Node {
		return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return !n.Valid() })
	}
	each := slices.Concat(began, in[nc:nc+ne], valid(dOuts), valid(dTrace))
	shared := slices.Concat(in[nc+ne:nc+ne+ns], valid(dSums))

	back := &scan{steps: o.steps, reverse: !o.reverse, counted: o.counted}
	back.body = traceBody(shapesOf(dFinal), rowsOf(each, o.steps), shapesOf(shared),
		func(inner *Builder, dNext, each, shared []Node) (next, outs, sums []Node) {
			values := map[*Var]Node{}
			operands := slices.Concat(each[:nc+ne], shared[:ns])
			for i, v := range bd.operands() {
				values[v] = operands[i]
			}
			nodes := bd.inline(inner, values)
			ys, dys := pick(nodes, bd.next), slices.Clone(dNext)
			each, shared = each[nc+ne:], shared[ns:]
			take := func(from *[]Node, results, gradients []Node) {
				for i, d := range gradients {
					if d.Valid() {
						ys, dys = append(ys, results[i]), append(dys, (*from)[0])
						*from = (*from)[1:]
					}
				}
			}
			take(&each, pick(nodes, bd.outs), dOuts)
			take(&each, operands[:nc], dTrace)
			take(&shared, pick(nodes, bd.sums), dSums)
			xs := operands[:nc:nc]
			for _, i := range askedEach {
				xs = append(xs, operands[nc+i])
			}
			for _, i := range askedShared {
				xs = append(xs, operands[nc+ne+i])
			}
			gs := inner.VJP(ys, dys, xs...)
			return gs[:nc], gs[nc : nc+len(askedEach)], gs[nc+len(askedEach):]
		})
	operands := slices.Concat(dFinal, each, shared)
	if o.counted {
		operands = append(operands, in[len(in)-1])
	}
	p := back.parts()
	g := b.addScan(back, operands)
	out := make([]Node, len(in))
	copy(out, p.final.of(b, g))
	for k, n := range p.outs.of(b, g) {
		out[nc+askedEach[k]] = n
	}
	for k, n := range p.sums.of(b, g) {
		out[nc+ne+askedShared[k]] = n
	}
	return out
}

// instance is a body in a builder whose operands are variables of its own, to
// be executed.
type instance struct {
	b        *Builder
	operands []*Var
	results  []string // outputs: next, outs, sums
}

func (bd *body) instance(storage func(i int, placeholder *Var) []float32) *instance {
	in := &instance{b: NewBuilder()}
	values := map[*Var]Node{}
	for i, p := range bd.operands() {
		v := &Var{Name: p.Name, Type: F32, Shape: p.Shape, F32: storage(i, p)}
		in.operands = append(in.operands, v)
		values[p] = in.b.Read(v)
	}
	nodes := bd.inline(in.b, values)
	for i, id := range slices.Concat(bd.next, bd.outs, bd.sums) {
		in.results = append(in.results, fmt.Sprint(i))
		in.b.Output(in.results[i], nodes[id])
	}
	return in
}

func (o scanOp) emit(s *site) func(uint64) {
	bd, l := o.body, o.parts()
	nc, ne := len(bd.carry), len(bd.each)
	in := bd.instance(func(i int, p *Var) []float32 {
		if i >= nc+ne {
			return s.x[i]
		}
		return tensor.Float32s(p.Shape.Elems())
	})
	program := in.b.Compile()
	var results [][]float32
	for _, name := range in.results {
		results = append(results, program.Output(name))
	}
	next, outs, sums := results[:nc], results[nc:nc+len(bd.outs)], results[nc+len(bd.outs):]
	carry, each := in.operands[:nc], in.operands[nc:nc+ne]
	y, x, steps := s.y, s.x, o.steps
	place := func(ps parts) [][]float32 {
		var out [][]float32
		for _, p := range ps {
			out = append(out, y[p.at:p.at+p.shape.Elems()])
		}
		return out
	}
	yFinal, yOuts, ySums, yTrace := place(l.final), place(l.outs), place(l.sums), place(l.trace)
	count := func() int { return steps }
	if o.counted {
		label := s.labels[len(s.labels)-1]
		count = func() int { return o.checkCount(label[0]) }
	}
	return func(step uint64) {
		n := count()
		for i, v := range carry {
			copy(v.F32, x[i])
		}
		for _, sum := range ySums {
			clear(sum)
		}
		for i, rows := range yOuts {
			clear(rows[n*len(outs[i]):])
		}
		for i, rows := range yTrace {
			clear(rows[n*len(carry[i].F32):])
		}
		for k := range n {
			t := k
			if o.reverse {
				t = n - 1 - k
			}
			for i, rows := range yTrace {
				copy(row(rows, t, len(carry[i].F32)), carry[i].F32)
			}
			for i, v := range each {
				copy(v.F32, row(x[nc+i], t, len(v.F32)))
			}
			program.Run(step*uint64(steps) + uint64(t))
			for i, out := range outs {
				copy(row(yOuts[i], t, len(out)), out)
			}
			for i, sum := range sums {
				kernel.Axpy(ySums[i], 1, sum)
			}
			for i, v := range carry {
				copy(v.F32, next[i])
			}
		}
		for i, v := range carry {
			copy(yFinal[i], v.F32)
		}
	}
}

func (o *scan) checkCount(n int32) int {
	if n < 0 || int(n) > o.steps {
		panic(errorf("scan: %d steps asked for, there are at most %d", n, o.steps))
	}
	return int(n)
}

func row[T float32 | float64](rows []T, t, n int) []T { return rows[t*n : (t+1)*n] }

func (o scanOp) twin(s *site64) {
	bd, l := o.body, o.parts()
	nc, ne := len(bd.carry), len(bd.each)
	in := bd.instance(func(int, *Var) []float32 { return nil })
	t := NewTwin(in.b)
	for i, v := range in.operands {
		t.vars[v] = s.x[i]
		if i < nc {
			t.vars[v] = slices.Clone(s.x[i])
		}
	}
	n := o.steps
	if o.counted {
		n = o.checkCount(s.labels[len(s.labels)-1][0])
	}
	for k := range n {
		at := k
		if o.reverse {
			at = n - 1 - k
		}
		for i, p := range l.trace {
			copy(s.y[p.at+at*bd.carry[i].Shape.Elems():], t.vars[in.operands[i]])
		}
		for i, v := range in.operands[nc : nc+ne] {
			t.vars[v] = row(s.x[nc+i], at, v.Shape.Elems())
		}
		t.Run(s.step*uint64(o.steps) + uint64(at))
		for i, p := range l.outs {
			y := t.Output(in.results[nc+i])
			copy(s.y[p.at+at*len(y):], y)
		}
		for i, p := range l.sums {
			for j, v := range t.Output(in.results[nc+len(bd.outs)+i]) {
				s.y[p.at+j] += v
			}
		}
		for i, v := range in.operands[:nc] {
			t.vars[v] = t.Output(in.results[i])
		}
	}
	for i, p := range l.final {
		copy(s.y[p.at:], t.vars[in.operands[i]])
	}
}
