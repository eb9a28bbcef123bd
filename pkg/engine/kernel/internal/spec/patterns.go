package spec

// Pattern is an element-wise program that gets assembly of its own.
type Pattern struct {
	Name string // of the functions, after "map"
	Map
}

// Patterns are the updates of the optimisers, alone and with a penalty in the
// gradient, and what layers do element by element. Each output that is written
// over an array here is usually so in programs, too, but need not be.
var Patterns = patterns()

// What patterns have at most: arrays and outputs together, and scalars.
const (
	MaxArrays  = 9
	MaxScalars = 8
)

// program builds a Map; numbers stand for values.
type program struct {
	m       *Map
	scalars int
}

// newProgram begins a program of the given arrays, whose scalars are numbered
// when they are first needed.
func newProgram(arrays, scalars int) *program {
	return &program{m: &Map{Arrays: arrays, Scalars: scalars}}
}

func (p *program) scalar() int {
	p.scalars++
	return p.m.Arrays + p.scalars - 1
}

func (p *program) op(op Op, args ...int) int {
	args = append(args, 0, 0)
	p.m.Code = append(p.m.Code, MapOp{op, args[0], args[1], args[2]})
	return p.m.Arrays + p.m.Scalars + len(p.m.Code) - 1
}

func (p *program) add(a, b int) int { return p.op(Add, a, b) }
func (p *program) sub(a, b int) int { return p.op(Sub, a, b) }
func (p *program) mul(a, b int) int { return p.op(Mul, a, b) }

func (p *program) output(v, alias int) {
	p.m.Outputs = append(p.m.Outputs, v)
	p.m.Alias = append(p.m.Alias, alias)
}

// A rule writes the update of the weight w (array 0) by a gradient; its own
// state is in the arrays from 2 on.
type rule struct {
	name            string
	states, scalars int
	penalties       bool // with the penalties, too
	write           func(p *program, w, g int)
}

// average sets the array state to its moving average with v, where that is not
// tiny: β·state + c·v.
func average(p *program, state, v int) int {
	return p.op(Flush, p.add(p.mul(p.scalar(), state), p.mul(p.scalar(), v)))
}

// adam is Adam with decoupled decay of the weights and AMSGrad as options, and
// without its first moment's memory (β₁ = 0), which is then only written.
func adam(p *program, w, g int, momentum, decay, largest bool) {
	m, v, mt := -1, 2, 0
	if momentum {
		m, v = 2, 3
		mt = average(p, m, g)
	} else {
		mt = p.op(Flush, g)
	}
	vt := average(p, v, p.mul(g, g))
	p.output(mt, m)
	p.output(vt, v)
	if largest {
		vt = p.op(Max, 4, vt)
		p.output(vt, 4)
	}
	step := p.mul(p.scalar(), mt)
	root := p.add(p.mul(p.op(Sqrt, vt), p.scalar()), p.scalar())
	if decay {
		w = p.mul(p.scalar(), w)
	}
	p.output(p.sub(w, p.op(Div, step, root)), 0)
}

// scaled is w − lr·g/(√s + ε).
func scaled(p *program, w, g, s int) {
	step := p.mul(p.scalar(), g)
	p.output(p.sub(w, p.op(Div, step, p.add(p.op(Sqrt, s), p.scalar()))), 0)
}

var rules = []rule{
	{"SGD", 0, 1, true, func(p *program, w, g int) { p.output(p.sub(w, p.mul(p.scalar(), g)), 0) }},
	{"Momentum", 1, 2, true, func(p *program, w, g int) {
		v := p.op(Flush, p.add(p.mul(p.scalar(), 2), g))
		p.output(v, 2)
		p.output(p.sub(w, p.mul(p.scalar(), v)), 0)
	}},
	{"RMSProp", 1, 4, false, func(p *program, w, g int) {
		v := average(p, 2, p.mul(g, g))
		p.output(v, 2)
		scaled(p, w, g, v)
	}},
	{"Adagrad", 1, 2, false, func(p *program, w, g int) {
		s := p.add(2, p.mul(g, g))
		p.output(s, 2)
		scaled(p, w, g, s)
	}},
	{"Adam", 2, 7, true, func(p *program, w, g int) { adam(p, w, g, true, false, false) }},
	{"AdamW", 2, 8, false, func(p *program, w, g int) { adam(p, w, g, true, true, false) }},
	{"AdamMemoryless", 1, 5, false, func(p *program, w, g int) { adam(p, w, g, false, false, false) }},
	{"AdamWMemoryless", 1, 6, false, func(p *program, w, g int) { adam(p, w, g, false, true, false) }},
	{"AMSGrad", 3, 7, false, func(p *program, w, g int) { adam(p, w, g, true, false, true) }},
}

func patterns() []Pattern {
	var all []Pattern
	add := func(name string, p *program) {
		if p.m.Arrays+len(p.m.Outputs) > MaxArrays || p.m.Scalars > MaxScalars || p.scalars != p.m.Scalars {
			panic("spec: size of the pattern " + name)
		}
		all = append(all, Pattern{name, *p.m})
	}
	const w, g = 0, 1
	for _, r := range rules {
		p := newProgram(2+r.states, r.scalars)
		r.write(p, w, g)
		add(r.name, p)
		if !r.penalties {
			continue
		}
		p = newProgram(2+r.states, r.scalars+1)
		r.write(p, w, p.add(g, p.mul(p.scalar(), w)))
		add(r.name+"L2", p)
		p = newProgram(2+r.states+1, r.scalars+1)
		r.write(p, w, p.add(g, p.mul(p.scalar(), p.sub(w, 2+r.states))))
		add(r.name+"L2Init", p)
	}

	// Shrink and perturb: L2 and noise, array 2, after the step.
	p := newProgram(3, 3)
	penalised := p.add(g, p.mul(p.scalar(), w))
	p.output(p.add(p.sub(w, p.mul(p.scalar(), penalised)), p.mul(p.scalar(), 2)), 0)
	add("SGDL2Noise", p)

	// UPGD: the running utility of array 2 by the gradient and the weight, with
	// noise, array 3, in the gradient on the way or without; then the gated step
	// along array 1 or that with noise, array 3, with or without decay.
	utility := func(p *program) {
		u := p.op(Flush, p.sub(p.mul(p.scalar(), 2), p.mul(p.scalar(), p.mul(g, w))))
		p.output(u, -1)
		p.output(u, 2)
	}
	p = newProgram(3, 2)
	utility(p)
	add("UPGDUtility", p)
	p = newProgram(4, 3)
	utility(p)
	p.output(p.add(g, p.mul(p.scalar(), 3)), -1)
	add("UPGDUtilityNoise", p)
	for _, decay := range []int{1, 0} {
		name := []string{"UPGD", "UPGDDecay"}[decay]
		gated := func(d int) {
			d = p.mul(d, p.op(Sigmoid, p.mul(2, p.scalar())))
			old := w
			if decay > 0 {
				old = p.mul(p.scalar(), w)
			}
			p.output(p.sub(old, p.mul(p.scalar(), d)), 0)
		}
		p = newProgram(3, 2+decay)
		gated(1)
		add(name, p)
		p = newProgram(4, 3+decay)
		gated(p.add(g, p.mul(p.scalar(), 3)))
		add(name+"Noise", p)
	}

	p = newProgram(2, 0)
	p.output(p.op(ReLU, p.add(0, 1)), -1)
	add("AddReLU", p)
	p = newProgram(2, 0)
	sum := p.add(0, 1)
	p.output(sum, -1)
	p.output(p.op(ReLU, sum), -1)
	add("AddReLUBoth", p)
	p = newProgram(2, 1)
	p.output(p.op(Select, p.op(Step, 0), 1, p.scalar()), -1)
	add("Gate", p)
	p = newProgram(2, 1)
	p.output(p.add(0, p.mul(p.scalar(), 1)), 0)
	add("Axpy", p)

	// The sizes of four rows of a matrix, added to one row of sums.
	size := func(a int) int { return p.op(Abs, a) }
	p = newProgram(5, 0)
	p.output(p.add(0, p.add(p.add(size(1), size(2)), p.add(size(3), size(4)))), 0)
	add("AddAbs4", p)
	return all
}
