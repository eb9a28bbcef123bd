package spec

// MapOp is one operation of an element-wise program; operands are numbers of
// values.
type MapOp struct {
	Op      Op
	A, B, C int
}

// Map is an element-wise program: straight-line code over arrays of one length
// and single numbers. Values are numbered: arrays, then single numbers, then
// one per operation.
type Map struct {
	Arrays, Scalars int
	Code            []MapOp
	Outputs         []int // values that are written to arrays
	Alias           []int // per output, the array input in whose place it is written, or -1
}

// Args returns the operands of an operation.
func (o MapOp) Args() []int { return []int{o.A, o.B, o.C}[:o.Op.Arity()] }

// Pattern is a program that gets assembly of its own.
type Pattern struct {
	Name string
	Map
}

// Patterns are the updates that are worth it: what optimisers trace, and the
// gates around them. An update is found by its exact code, so a change of an
// optimiser's formula needs a change here to stay fast.
var Patterns = []Pattern{
	// w − lr·g
	pattern("sgd", 2, 1, func(t *tracer) {
		w, g, lr := t.array(0), t.array(1), t.scalar(0)
		t.out(t.op(Sub, w, t.op(Mul, lr, g)), 0)
	}),
	// w − lr·(g + λ·w)
	pattern("sgd with l2", 2, 2, func(t *tracer) {
		w, g, lr, lambda := t.array(0), t.array(1), t.scalar(0), t.scalar(1)
		t.out(t.op(Sub, w, t.op(Mul, lr, t.op(Add, g, t.op(Mul, lambda, w)))), 0)
	}),
	// w − lr·(g + λ·(w − w₀))
	pattern("sgd with l2-init", 3, 2, func(t *tracer) {
		w, g, w0, lr, lambda := t.array(0), t.array(1), t.array(2), t.scalar(0), t.scalar(1)
		t.out(t.op(Sub, w, t.op(Mul, lr, t.op(Add, g, t.op(Mul, lambda, t.op(Sub, w, w0))))), 0)
	}),
	// v ← µ·v + g, w − lr·v
	pattern("momentum", 3, 2, func(t *tracer) {
		w, g, v0, mu, lr := t.array(0), t.array(1), t.array(2), t.scalar(0), t.scalar(1)
		v := t.op(Add, t.op(Mul, mu, v0), g)
		t.out(v, 2)
		t.out(t.op(Sub, w, t.op(Mul, lr, v)), 0)
	}),
	pattern("adam", 4, 7, func(t *tracer) { t.adam(t.array(0), 7) }),
	pattern("adamw", 4, 8, func(t *tracer) { t.adam(t.op(Mul, t.scalar(7), t.array(0)), 8) }),
	pattern("amsgrad", 5, 7, func(t *tracer) {
		g, m0, v0, vmax := t.array(1), t.array(2), t.array(3), t.array(4)
		m, v := t.moments(g, m0, v0)
		largest := t.op(Max, vmax, v)
		t.out(m, 2)
		t.out(v, 3)
		t.out(largest, 4)
		t.out(t.descend(t.array(0), m, largest), 0)
	}),
	// v ← α·v + (1−α)·g², w − lr·g/(√v + ε)
	pattern("rmsprop", 3, 4, func(t *tracer) {
		w, g, v0, alpha, rest, lr, eps := t.array(0), t.array(1), t.array(2), t.scalar(0), t.scalar(1), t.scalar(2), t.scalar(3)
		v := t.op(Add, t.op(Mul, alpha, v0), t.op(Mul, rest, t.op(Mul, g, g)))
		t.out(v, 2)
		t.out(t.op(Sub, w, t.op(Div, t.op(Mul, lr, g), t.op(Add, t.op(Sqrt, v), eps))), 0)
	}),
	// s ← s + g², w − lr·g/(√s + ε)
	pattern("adagrad", 3, 2, func(t *tracer) {
		w, g, s0, lr, eps := t.array(0), t.array(1), t.array(2), t.scalar(0), t.scalar(1)
		s := t.op(Add, s0, t.op(Mul, g, g))
		t.out(s, 2)
		t.out(t.op(Sub, w, t.op(Div, t.op(Mul, lr, g), t.op(Add, t.op(Sqrt, s), eps))), 0)
	}),
	// max(a + b, 0)
	pattern("relu of sum", 2, 0, func(t *tracer) { t.out(t.op(ReLU, t.op(Add, t.array(0), t.array(1))), -1) }),
	// dy where y > 0, else 0
	pattern("relu gate", 2, 1, func(t *tracer) {
		t.out(t.op(Select, t.op(Step, t.array(0)), t.array(1), t.scalar(0)), -1)
	}),
}

// moments are those of Adam, with scalars β₁, 1−β₁, β₂, 1−β₂.
func (t *tracer) moments(g, m0, v0 int) (m, v int) {
	m = t.op(Add, t.op(Mul, t.scalar(0), m0), t.op(Mul, t.scalar(1), g))
	v = t.op(Add, t.op(Mul, t.scalar(2), v0), t.op(Mul, t.scalar(3), t.op(Mul, g, g)))
	return m, v
}

// descend is w − (a·m)/(√v·r + ε), with scalars a, r, ε.
func (t *tracer) descend(w, m, v int) int {
	return t.op(Sub, w, t.op(Div, t.op(Mul, t.scalar(4), m), t.op(Add, t.op(Mul, t.op(Sqrt, v), t.scalar(5)), t.scalar(6))))
}

// adam is Adam's update of w, which is array 0 or decayed from it.
func (t *tracer) adam(w, _ int) {
	m, v := t.moments(t.array(1), t.array(2), t.array(3))
	t.out(m, 2)
	t.out(v, 3)
	t.out(t.descend(w, m, v), 0)
}

// tracer writes a pattern down.
type tracer struct{ m Map }

func pattern(name string, arrays, scalars int, trace func(*tracer)) Pattern {
	t := &tracer{Map{Arrays: arrays, Scalars: scalars}}
	trace(t)
	canonical, _, _ := t.m.Canonical()
	return Pattern{name, canonical}
}

func (t *tracer) array(i int) int  { return i }
func (t *tracer) scalar(i int) int { return t.m.Arrays + i }

func (t *tracer) op(op Op, args ...int) int {
	args = append(args, 0, 0)
	t.m.Code = append(t.m.Code, MapOp{op, args[0], args[1], args[2]})
	return t.m.Arrays + t.m.Scalars + len(t.m.Code) - 1
}

func (t *tracer) out(v, alias int) {
	t.m.Outputs = append(t.m.Outputs, v)
	t.m.Alias = append(t.m.Alias, alias)
}

// Canonical returns the program with its values numbered in the order in which
// the outputs need them, so that two that compute the same in the same way are
// equal; what no output needs is left out. Array i of the result is array
// arrays[i] of m, likewise the scalars.
func (m Map) Canonical() (c Map, arrays, scalars []int) {
	number := make([]int, m.Arrays+m.Scalars+len(m.Code)) // of inputs
	var order []int                                       // of operations
	seen := make([]bool, len(number))
	var visit func(v int)
	visit = func(v int) {
		if seen[v] {
			return
		}
		seen[v] = true
		switch op := v - m.Arrays - m.Scalars; {
		case v < m.Arrays:
			number[v] = len(arrays)
			arrays = append(arrays, v)
		case op < 0:
			number[v] = len(scalars)
			scalars = append(scalars, v-m.Arrays)
		default:
			for _, a := range m.Code[op].Args() {
				visit(a)
			}
			number[v] = len(order)
			order = append(order, op)
		}
	}
	for i, v := range m.Outputs {
		visit(v)
		if a := m.Alias[i]; a >= 0 {
			visit(a)
		}
	}
	c = Map{Arrays: len(arrays), Scalars: len(scalars)}
	renumber := func(v int) int {
		switch {
		case v < m.Arrays:
			return number[v]
		case v < m.Arrays+m.Scalars:
			return c.Arrays + number[v]
		}
		return c.Arrays + c.Scalars + number[v]
	}
	for _, op := range order {
		o := MapOp{Op: m.Code[op].Op}
		for i, to := range []*int{&o.A, &o.B, &o.C}[:o.Op.Arity()] {
			*to = renumber(m.Code[op].Args()[i])
		}
		c.Code = append(c.Code, o)
	}
	for i, v := range m.Outputs {
		c.Outputs = append(c.Outputs, renumber(v))
		alias := -1
		if m.Alias[i] >= 0 {
			alias = number[m.Alias[i]]
		}
		c.Alias = append(c.Alias, alias)
	}
	return c, arrays, scalars
}
