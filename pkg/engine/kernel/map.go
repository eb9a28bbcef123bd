package kernel

import (
	"fmt"
	"slices"
	"unsafe"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// MapOp is an instruction of a [MapSpec]: Op of the values A, B and C, as many
// as it takes.
type MapOp = spec.MapOp

// MapSpec is an element-wise program. Its values are numbered: the arrays 0 …
// Arrays−1, then the scalars, then one per instruction of Code. Outputs are the
// values that are written. Alias says per output which array it is written
// over: the same memory from the same element on, or −1 for memory that is
// none of the arrays'.
type MapSpec = spec.Map

// Map is an element-wise program, ready to run. It runs on one goroutine at a
// time.
type Map struct {
	spec    MapSpec
	pattern int // its number in spec.Patterns, or −1
	// For a pattern: where its arrays, scalars and outputs are in those of Run.
	arrays, scalars, outputs []int

	block  int // elements at a time
	code   []mapInstruction
	at     []*float32 // of every place: arrays, outputs, buffers, single numbers
	single []float32  // the scalars, then results of instructions on scalars
	before []mapInstruction
	copies []mapCopy
}

// mapInstruction is an instruction on places.
type mapInstruction struct {
	op      Op
	arity   uint8
	single  uint8 // operands that are one number, the first in bit 0
	y       int32
	a, b, c int32
}

// mapCopy is an output that no instruction has written: a copy of another
// place, or one number.
type mapCopy struct {
	output, from int
	single       bool
}

// NewMap prepares a program. It panics if the program makes no sense: that is a
// mistake in the caller.
func NewMap(s MapSpec) *Map {
	if err := s.Check(); err != nil {
		panic("kernel: map: " + err.Error())
	}
	m := &Map{spec: s, pattern: -1}
	for i := range spec.Patterns {
		p := &spec.Patterns[i]
		arrays, scalars, outputs, ok := p.Match(&s)
		if ok { // whatever the aliases: a pattern reads a vector of every array before it writes
			m.pattern, m.arrays, m.scalars, m.outputs = i, arrays, scalars, outputs
			break
		}
	}
	m.plan()
	return m
}

// Fused reports whether the program has code of its own on the active
// instruction set.
func (m *Map) Fused() bool { return m.pattern >= 0 && active != Generic }

// plan assigns a place to every value: arrays and outputs are in the caller's
// memory, other values in buffers that are used again when their value is dead,
// and values that depend on scalars only are single numbers.
func (m *Map) plan() {
	s := &m.spec
	inputs := s.Arrays + s.Scalars
	values := inputs + len(s.Code)

	// What is one number, and when is a value read last?
	one := make([]bool, values)
	last := make([]int, values)
	for v := s.Arrays; v < inputs; v++ {
		one[v] = true
	}
	for i := range s.Code {
		one[inputs+i] = true
		for _, v := range s.Code[i].Args() {
			one[inputs+i] = one[inputs+i] && one[v]
			last[v] = i
		}
	}
	for _, v := range s.Outputs {
		last[v] = len(s.Code)
	}

	// An output that is an array as it was, while another output is written
	// over that array, needs a copy taken first.
	saved := map[int]bool{}
	for i, v := range s.Outputs {
		if v < s.Arrays && s.Alias[i] != v && slices.Contains(s.Alias, v) {
			saved[v] = true
		}
	}

	// An instruction writes its output at once, unless that would overwrite an
	// array that is read later.
	direct := map[int]int{} // value → output
	for i, v := range s.Outputs {
		if _, taken := direct[v]; v < inputs || one[v] || taken {
			continue
		}
		if a := s.Alias[i]; a < 0 || last[a] <= v-inputs {
			direct[v] = i
		}
	}

	place := make([]int, values)
	buffers, free := 0, []int(nil)
	base := s.Arrays + len(s.Outputs)
	buffer := func() int {
		if len(free) == 0 {
			buffers++
			return base + buffers - 1
		}
		p := free[len(free)-1]
		free = free[:len(free)-1]
		return p
	}
	for v := range s.Arrays {
		place[v] = v
	}
	kept := map[int]int{}
	for v := range s.Arrays {
		if saved[v] {
			kept[v] = buffer()
			m.code = append(m.code, mapInstruction{op: Copy, arity: 1, y: int32(kept[v]), a: int32(v)})
		}
	}
	singles := 0
	for v := s.Arrays; v < values; v++ { // single numbers come after the buffers: −1−n for now
		if one[v] {
			singles++
			place[v] = -singles
		}
	}
	for i := range s.Code {
		o := &s.Code[i]
		v := inputs + i
		c := mapInstruction{op: o.Op, arity: uint8(o.Op.Arity())}
		for k, a := range o.Args() {
			*[]*int32{&c.a, &c.b, &c.c}[k] = int32(place[a])
			if one[a] {
				c.single |= 1 << k
			}
		}
		if one[v] {
			c.single, c.y = 0, int32(place[v])
			m.before = append(m.before, c)
			continue
		}
		for k, a := range o.Args() {
			if a >= inputs && last[a] == i && place[a] >= base && !slices.Contains(o.Args()[:k], a) {
				free = append(free, place[a])
			}
		}
		if out, ok := direct[v]; ok {
			place[v] = s.Arrays + out
		} else {
			place[v] = buffer()
			if last[v] == 0 { // it is never read
				free = append(free, place[v])
			}
		}
		c.y = int32(place[v])
		m.code = append(m.code, c)
	}
	for i, v := range s.Outputs {
		if out, ok := direct[v]; ok && out == i {
			continue
		}
		if v == s.Alias[i] {
			continue // is there already
		}
		from := place[v]
		if k, ok := kept[v]; ok {
			from = k
		}
		m.copies = append(m.copies, mapCopy{output: i, from: from, single: one[v]})
	}

	// Everything of one block should stay in the first cache.
	m.block = 1024
	for m.block > 256 && (base+buffers)*m.block*4 > 24<<10 {
		m.block /= 2
	}
	firstSingle := base + buffers
	fix := func(p int32) int32 {
		if p < 0 {
			return int32(firstSingle) - p - 1
		}
		return p
	}
	for _, code := range [][]mapInstruction{m.code, m.before} {
		for i := range code {
			c := &code[i]
			c.y, c.a, c.b, c.c = fix(c.y), fix(c.a), fix(c.b), fix(c.c)
		}
	}
	for i := range m.copies {
		m.copies[i].from = int(fix(int32(m.copies[i].from)))
	}
	m.at = make([]*float32, firstSingle+singles)
	memory := make([]float32, buffers*m.block+16)
	for uintptr(unsafe.Pointer(&memory[0]))%64 != 0 {
		memory = memory[1:]
	}
	for i := range buffers {
		m.at[base+i] = &memory[i*m.block]
	}
	m.single = make([]float32, singles)
	for i := range m.single {
		m.at[firstSingle+i] = &m.single[i]
	}
}

// Run executes the program on the first n elements of the arrays and outputs.
// An output that the program writes over an array is the same memory. Nothing
// is allocated.
func (m *Map) Run(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	s := &m.spec
	if len(arrays) != s.Arrays || len(scalars) != s.Scalars || len(outs) != len(s.Outputs) {
		panic(fmt.Sprintf("kernel: map of %d arrays, %d scalars, %d outputs runs on %d, %d, %d",
			s.Arrays, s.Scalars, len(s.Outputs), len(arrays), len(scalars), len(outs)))
	}
	for i := range arrays {
		if len(arrays[i]) < n {
			panic(fmt.Sprintf("kernel: map over %d elements with an array of %d", n, len(arrays[i])))
		}
	}
	for i := range outs {
		if len(outs[i]) < n {
			panic(fmt.Sprintf("kernel: map over %d elements with an output of %d", n, len(outs[i])))
		}
	}
	if n <= 0 {
		return
	}
	if m.Fused() {
		m.runFused(n, arrays, scalars, outs)
		return
	}
	m.interpret(n, arrays, scalars, outs)
}

// runFused runs the pattern's assembly, at most mapStretch elements a call.
func (m *Map) runFused(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	var x [spec.MaxArrays]*float32
	var s [spec.MaxScalars]float32
	for i, v := range m.scalars {
		s[i] = scalars[v]
	}
	for lo := 0; lo < n; lo += mapStretch {
		for i, v := range m.arrays {
			x[i] = &arrays[v][lo]
		}
		for i, v := range m.outputs {
			x[len(m.arrays)+i] = &outs[v][lo]
		}
		mapASM(m.pattern, &x[0], &s[0], min(mapStretch, n-lo))
	}
}

func (m *Map) interpret(n int, arrays [][]float32, scalars []float32, outs [][]float32) {
	copy(m.single, scalars)
	m.exec(m.before, 1)
	at := m.at
	for lo := 0; lo < n; lo += m.block {
		for i, x := range arrays {
			at[i] = &x[lo]
		}
		for i, y := range outs {
			at[len(arrays)+i] = &y[lo]
		}
		k := min(m.block, n-lo)
		m.exec(m.code, k)
		for i := range m.copies {
			c := &m.copies[i]
			if c.single {
				fill(outs[c.output][lo:lo+k], *at[c.from])
			} else {
				copy(outs[c.output][lo:lo+k], unsafe.Slice(at[c.from], k))
			}
		}
	}
}

// exec runs instructions on n elements, n > 0.
func (m *Map) exec(code []mapInstruction, n int) {
	at := m.at
	for i := range code {
		c := &code[i]
		y, a := at[c.y], at[c.a]
		switch c.arity {
		case 1:
			if !unaryASM(c.op, y, a, n) {
				unary(c.op, unsafe.Slice(y, n), unsafe.Slice(a, n))
			}
		case 2:
			b := at[c.b]
			if !binaryASM(int(c.op)<<3+int(c.single), y, a, b, n) {
				binaryGo(c.op, int(c.single), unsafe.Slice(y, n), unsafe.Slice(a, length(c.single, 0, n)), unsafe.Slice(b, length(c.single, 1, n)))
			}
		default:
			b, d := at[c.b], at[c.c]
			if !ternaryASM(int(c.op)<<3+int(c.single), y, a, b, d, n) {
				ternaryGo(c.op, int(c.single), unsafe.Slice(y, n), unsafe.Slice(a, length(c.single, 0, n)), unsafe.Slice(b, length(c.single, 1, n)), unsafe.Slice(d, length(c.single, 2, n)))
			}
		}
	}
}

// length of operand k among n elements.
func length(single uint8, k, n int) int {
	if single>>k&1 != 0 {
		return 1
	}
	return n
}
