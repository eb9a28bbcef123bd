package graph

import (
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

func (b *Builder) addScan(o *scan, in []Node) Node {
	return b.add(scanOp{o}, tensor.Shape{o.parts().size}, in...)
}

// multiplyAdds implements [working]: the body's, for every step that there may be.
func (o scanOp) multiplyAdds(tensor.Shape, []tensor.Shape) int64 {
	var total int64
	for _, n := range o.body.b.nodes {
		total += o.body.b.multiplyAdds(n)
	}
	return int64(o.steps) * total
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
