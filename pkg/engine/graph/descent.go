package graph

import "neoteny/pkg/engine/kernel"

// descent is the one pass of plain SGD at batch 1: dx, the gradient and the
// update of a row of weights while the row is at hand, and only of rows whose
// input is not zero.
type descent struct {
	dx, w, x, dy, lr []float32 // dx is nil where it is not needed
	gated            bool      // dx is not looked at where x is 0
}

func (d *descent) exec(uint64) { kernel.BackwardSGD(d.dx, d.w, d.x, d.dy, d.lr[0], d.gated) }

// descent returns the instruction for a run that is w ← w − lr·xᵀdy of one
// example and nothing else, nil for any other. Rows with x = 0 may be left
// alone: their gradient is +0 by definition, and w − lr·0 = w.
func (c *compiler) descent(it *item, e *runBuilder, r *run) instruction {
	s := r.spec
	if len(it.made) != 1 || len(s.Code) != 2 || s.Arrays != 2 || s.Scalars != 1 || len(s.Outputs) != 1 || s.Outputs[0] != 4 || s.Alias[0] < 0 {
		return nil
	}
	g := it.made[0]
	o, ok := c.b.nodes[g].op.(weightGradient)
	if !ok || !o.outer(c.b.nodes[c.b.nodes[g].in[0]].shape) {
		return nil
	}
	const lr, scaled = 2, 3
	w, gradient := s.Alias[0], e.number[g]
	mul, sub := s.Code[0], s.Code[1]
	if gradient == w || mul.Op != kernel.Mul || !(mul.A == lr && mul.B == gradient || mul.A == gradient && mul.B == lr) ||
		sub.Op != kernel.Sub || sub.A != w || sub.B != scaled {
		return nil
	}
	in := c.operands(g)
	d := &descent{w: r.arrays[w], x: c.values[in[0]], dy: c.values[in[1]], lr: e.singles[0]}
	if it.reader >= 0 {
		d.dx = c.values[it.reader]
		d.gated = c.gatedBy(it.reader, in[0])
	}
	return d
}

// gatedBy reports whether every reader of a value looks at it only where
// another value is not zero: the gradient of a ReLU whose output it is.
func (c *compiler) gatedBy(id, gate int) bool {
	if c.escapes[id] {
		return false
	}
	for _, u := range c.users[id] {
		if f, ok := c.primitive(u); !ok || f != kernel.Select {
			return false
		}
		in := c.operands(u)
		if f, ok := c.primitive(in[0]); !ok || f != kernel.Step || c.operands(in[0])[0] != gate || in[1] != id || in[2] == id {
			return false
		}
	}
	return true
}
