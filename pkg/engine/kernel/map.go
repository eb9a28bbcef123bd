package kernel

import (
	"fmt"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// MapOp is one operation of an element-wise program; operands are numbers of
// values.
type MapOp = spec.MapOp

// MapSpec is an element-wise program: straight-line code over arrays of one
// length and single numbers. Values are numbered: arrays, then single numbers,
// then one per operation. An output is written to an array, which may be that
// of an input (Alias names it, -1 for none) and overlaps no other.
type MapSpec = spec.Map

// Map runs an element-wise program. The updates of the common optimisers have
// assembly of their own that passes over memory once; any other program is run
// operation by operation on blocks that stay in the first-level cache. The bits
// are the same.
//
// A Map is for one goroutine.
type Map struct {
	spec    MapSpec
	pattern int // in spec.Patterns, or -1

	// Of a pattern: which array and which number is which, and the addresses.
	arrays, scalars []int
	fresh           []int // outputs that are written to arrays of their own
	pointers        []*float32
	numbers         []float32

	// Of any other program.
	direct []int // by operation: the output that it writes to, or -1
	copies [][2]int
	local  [][]float32 // by operation: where its value is
	values [][]float32
}

// mapBlock is how many elements a program without assembly does at a time.
const mapBlock = 512

// NewMap prepares a program. One that refers to a value before it is made
// panics.
func NewMap(s MapSpec) *Map {
	check(s)
	m := &Map{spec: s, pattern: -1}
	canonical, arrays, scalars := s.Canonical()
	key := fmt.Sprint(canonical)
	for i, p := range spec.Patterns {
		if fmt.Sprint(p.Map) == key {
			m.pattern, m.arrays, m.scalars = i, arrays, scalars
		}
	}
	for i, a := range s.Alias {
		if a < 0 {
			m.fresh = append(m.fresh, i)
		}
	}
	m.pointers = make([]*float32, len(m.arrays)+len(m.fresh))
	m.numbers = make([]float32, max(1, len(m.scalars)))
	m.prepare()
	return m
}

func check(s MapSpec) {
	first := s.Arrays + s.Scalars
	for i, o := range s.Code {
		for _, v := range o.Args() {
			if v < 0 || v >= first+i {
				panic(fmt.Sprintf("kernel: operation %d (%s) reads value %d", i, o.Op, v))
			}
		}
	}
	for i, v := range s.Outputs {
		if v < first || v >= first+len(s.Code) || s.Alias[i] >= s.Arrays {
			panic(fmt.Sprintf("kernel: output %d is value %d in place of array %d", i, v, s.Alias[i]))
		}
	}
}

// prepare finds a place for the value of every operation: straight in an
// output's array if no later operation reads the input that it is written over,
// else in a block that is free again after its last reader.
func (m *Map) prepare() {
	s := &m.spec
	first := s.Arrays + s.Scalars
	last := make([]int, first+len(s.Code))
	for i, o := range s.Code {
		for _, v := range o.Args() {
			last[v] = i
		}
	}
	m.direct = make([]int, len(s.Code))
	m.local = make([][]float32, len(s.Code))
	m.values = make([][]float32, first+len(s.Code))
	for i := range m.direct {
		m.direct[i] = -1
	}
	for i, v := range s.Outputs {
		op := v - first
		a := s.Alias[i]
		if m.direct[op] < 0 && (a < 0 || last[a] <= op) {
			m.direct[op] = i
		} else {
			m.copies = append(m.copies, [2]int{i, v})
			last[v] = len(s.Code)
		}
	}
	var free [][]float32
	for i, o := range s.Code {
		if m.direct[i] < 0 {
			if len(free) == 0 {
				free = append(free, make([]float32, mapBlock))
			}
			m.local[i] = free[len(free)-1]
			free = free[:len(free)-1]
		}
		seen := -1
		for _, v := range o.Args() {
			if v >= first && last[v] == i && m.local[v-first] != nil && v != seen {
				free = append(free, m.local[v-first])
				seen = v
			}
		}
	}
}

// Fused reports whether the program has assembly of its own on the active
// instruction set.
func (m *Map) Fused() bool { return m.pattern >= 0 && active != Generic }

// Run runs the program over n elements of its arrays, and writes its outputs to
// outs. It does not allocate.
func (m *Map) Run(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	if n == 0 {
		return
	}
	for _, a := range arrays {
		_ = a[n-1]
	}
	for _, o := range outs {
		_ = o[n-1]
	}
	if m.Fused() {
		m.fused(n, arrays, scalars, outs)
		return
	}
	s := &m.spec
	for i := range scalars {
		m.values[s.Arrays+i] = scalars[i : i+1]
	}
	for lo := 0; lo < n; lo += mapBlock {
		m.block(lo, min(lo+mapBlock, n), arrays, outs)
	}
}

func (m *Map) block(lo, hi int, arrays, outs [][]float32) {
	s := &m.spec
	for i, a := range arrays {
		m.values[i] = a[lo:hi]
	}
	first := s.Arrays + s.Scalars
	for i := range s.Code {
		o := &s.Code[i]
		var y []float32
		if d := m.direct[i]; d >= 0 {
			y = outs[d][lo:hi]
		} else {
			y = m.local[i][:hi-lo]
		}
		switch {
		case o.Op < Add:
			x := m.values[o.A]
			if len(x) < len(y) {
				fill(y, x[0])
				x = y
			}
			unary(o.Op, y, x)
		case o.Op < Fma:
			Binary(o.Op, y, m.values[o.A], m.values[o.B])
		default:
			Ternary(o.Op, y, m.values[o.A], m.values[o.B], m.values[o.C])
		}
		m.values[first+i] = y
	}
	for _, c := range m.copies {
		copy(outs[c[0]][lo:hi], m.values[c[1]])
	}
}

// fused runs the program's assembly, at most [stretch] elements a call.
func (m *Map) fused(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	for i, j := range m.scalars {
		m.numbers[i] = scalars[j]
	}
	for lo := 0; lo < n; lo += stretch {
		for i, j := range m.arrays {
			m.pointers[i] = &arrays[j][lo]
		}
		for i, j := range m.fresh {
			m.pointers[len(m.arrays)+i] = &outs[j][lo]
		}
		mapASM(m.pattern, &m.pointers[0], &m.numbers[0], min(stretch, n-lo))
	}
}
