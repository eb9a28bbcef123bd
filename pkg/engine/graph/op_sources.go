package graph

// inputOp is an input of the program.
type inputOp struct {
	key   string
	label bool
}

func (o inputOp) name() string                           { return "input " + o.key }
func (inputOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o inputOp) place(p *placing) {
	if o.label {
		p.c.labels[p.id] = make([]int32, p.n)
		p.c.p.labels[o.key] = p.c.labels[p.id]
		return
	}
	p.c.values[p.id] = p.c.b.memory.alloc(p.n)
	p.c.p.inputs[o.key] = p.c.values[p.id]
}

func (o inputOp) value64(t *Twin, _ int) ([]float64, []int32) {
	return t.inputs[o.key], t.labels[o.key]
}

// constOp is one number.
type constOp struct{ value float32 }

func (constOp) name() string                             { return "const" }
func (constOp) grad(*Builder, Node, Node, []Node) []Node { return nil }
func (o constOp) constant() float32                      { return o.value }

func (o constOp) place(p *placing) {
	p.c.values[p.id] = p.c.b.memory.alloc(1)
	p.c.values[p.id][0] = o.value
}

func (o constOp) value64(*Twin, int) ([]float64, []int32) { return []float64{float64(o.value)}, nil }

// Const returns a scalar constant; arithmetic broadcasts it.
func (b *Builder) Const(x float32) Node { return b.add(constOp{x}, nil) }

// readOp is the value of a variable when the run begins.
type readOp struct{ v *Var }

func (o readOp) name() string                           { return "read " + o.v.Name }
func (readOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o readOp) place(p *placing)                            { p.c.values[p.id] = o.v.F32 }
func (o readOp) value64(t *Twin, _ int) ([]float64, []int32) { return t.Var(o.v), nil }

// reads returns the variable that a node is the value of, nil for other nodes.
func (n node) reads() *Var {
	if o, ok := n.op.(readOp); ok {
		return o.v
	}
	return nil
}

// stopOp is its operand as a constant for differentiation.
type stopOp struct{}

func (stopOp) name() string                                 { return "stop-gradient" }
func (stopOp) grad(_ *Builder, _, _ Node, in []Node) []Node { return make([]Node, len(in)) }
func (stopOp) alias()                                       {}
func (stopOp) stops()                                       {}

// StopGradient returns x as a constant for differentiation.
func (b *Builder) StopGradient(x Node) Node { return b.add(stopOp{}, x.Shape(), x) }
