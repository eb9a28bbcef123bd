package spec

import (
	"fmt"
	"slices"
)

// MapOp is an instruction of a Map: Op of the values A, B and C, as many as it
// takes.
type MapOp struct {
	Op      Op
	A, B, C int
}

// Map is an element-wise program. Its values are numbered: the arrays 0 …
// Arrays−1, then the scalars, then one per instruction.
type Map struct {
	Arrays, Scalars int
	Code            []MapOp
	Outputs         []int // values
	Alias           []int // per output: the array that it is written over, or −1
}

// Args returns the operands of an instruction.
func (o *MapOp) Args() []int { return []int{o.A, o.B, o.C}[:o.Op.Arity()] }

// Check says what is wrong with a program.
func (m *Map) Check() error {
	inputs := m.Arrays + m.Scalars
	if m.Arrays < 0 || m.Scalars < 0 {
		return fmt.Errorf("%d arrays and %d scalars", m.Arrays, m.Scalars)
	}
	for i := range m.Code {
		if m.Code[i].Op >= Ops {
			return fmt.Errorf("instruction %d has no operation", i)
		}
		for _, v := range m.Code[i].Args() {
			if v < 0 || v >= inputs+i {
				return fmt.Errorf("instruction %d, %s, reads value %d of %d", i, m.Code[i].Op, v, inputs+i)
			}
		}
	}
	if len(m.Alias) != len(m.Outputs) {
		return fmt.Errorf("%d outputs with %d aliases", len(m.Outputs), len(m.Alias))
	}
	for i, v := range m.Outputs {
		if v < 0 || v >= inputs+len(m.Code) {
			return fmt.Errorf("output %d is value %d of %d", i, v, inputs+len(m.Code))
		}
		a := m.Alias[i]
		if a < -1 || a >= m.Arrays {
			return fmt.Errorf("output %d over array %d of %d", i, a, m.Arrays)
		}
		if a >= 0 && slices.Contains(m.Alias[:i], a) {
			return fmt.Errorf("two outputs over array %d", a)
		}
	}
	return nil
}

// Match finds how the program q is the program m under other numbers: for each
// of m's arrays, scalars and outputs the one of q. The operands of Add and Mul
// may be the other way round. Several scalars of m may be one of q.
func (m *Map) Match(q *Map) (arrays, scalars, outputs []int, ok bool) {
	if m.Arrays != q.Arrays || m.Scalars < q.Scalars || len(m.Code) < len(q.Code) || len(m.Outputs) != len(q.Outputs) {
		return nil, nil, nil, false
	}
	u := &unifier{p: m, m: q, of: make([]int, m.Arrays+m.Scalars+len(m.Code))}
	for i := range u.of {
		u.of[i] = -1
	}
	outputs, ok = u.outputs(nil)
	if !ok {
		return nil, nil, nil, false
	}
	arrays = u.of[:m.Arrays]
	for _, v := range u.of[m.Arrays : m.Arrays+m.Scalars] {
		scalars = append(scalars, v-q.Arrays)
	}
	return arrays, scalars, outputs, true
}

// unifier maps the values of p to values of m, with backtracking.
type unifier struct {
	p, m *Map
	of   []int // value of m, or −1
}

// outputs assigns the outputs of m to those of p that follow the first ones.
func (u *unifier) outputs(first []int) ([]int, bool) {
	if len(first) == len(u.p.Outputs) {
		for i := range u.p.Arrays { // a bijection: every array of m is read
			if u.of[i] < 0 || slices.Contains(u.of[:i], u.of[i]) {
				return nil, false
			}
		}
		for _, v := range u.of[u.p.Arrays : u.p.Arrays+u.p.Scalars] {
			if v < 0 {
				return nil, false
			}
		}
		return first, true
	}
	for i, v := range u.m.Outputs {
		if slices.Contains(first, i) {
			continue
		}
		save := slices.Clone(u.of)
		var found []int
		if u.unify(u.p.Outputs[len(first)], v, func() bool {
			var ok bool
			found, ok = u.outputs(append(slices.Clone(first), i))
			return ok
		}) {
			return found, true
		}
		u.of = save
	}
	return nil, false
}

// unify maps the value a of p to b of m such that then succeeds.
func (u *unifier) unify(a, b int, then func() bool) bool {
	if u.of[a] >= 0 {
		return u.of[a] == b && then()
	}
	p, m := u.p, u.m
	u.of[a] = b
	ok := false
	switch {
	case a < p.Arrays:
		ok = b < m.Arrays && then()
	case a < p.Arrays+p.Scalars:
		ok = b >= m.Arrays && b < m.Arrays+m.Scalars && then()
	case b >= m.Arrays+m.Scalars:
		x, y := &p.Code[a-p.Arrays-p.Scalars], &m.Code[b-m.Arrays-m.Scalars]
		if x.Op != y.Op {
			break
		}
		ok = u.all(x.Args(), y.Args(), then)
		if !ok && (x.Op == Add || x.Op == Mul) {
			ok = u.all(x.Args(), []int{y.B, y.A}, then)
		}
	}
	if !ok {
		u.of[a] = -1
	}
	return ok
}

func (u *unifier) all(as, bs []int, then func() bool) bool {
	if len(as) == 0 {
		return then()
	}
	return u.unify(as[0], bs[0], func() bool { return u.all(as[1:], bs[1:], then) })
}
