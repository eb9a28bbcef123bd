package asmgen

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Func is a function being written for one instruction set. Its methods append
// instructions.
type Func struct {
	*Asm
	Name   string // without the suffix of the instruction set
	Params string // as in Go
	Result string // "" or " (r float32)"
	Doc    string // rest of the sentence "<name>ASM …" in the doc comment of the dispatcher
	Lanes  int    // float32 lanes of a vector

	params   []param
	argSize  int
	body     bytes.Buffer
	labels   int
	usesPool bool
	done     bool
	member   bool // of a family: no dispatcher of its own

	regs  []Reg // free general registers
	vecs  []Vec // free vector registers
	conds []int // free mask registers of AVX-512
}

// Reg is a general register of 64 bits.
type Reg string

// Vec is a vector register.
type Vec int

// Label is a place in the code.
type Label string

// Mem is the memory at Base + Index·Scale + Off (bytes). Index may be empty.
type Mem struct {
	Base  Reg
	Index Reg
	Scale int // 1, 2, 4 or 8
	Off   int
}

var lanes = [...]int{16, 8, 4}

type param struct {
	name, typ string
	off       int
}

func parseParams(s string) []param {
	var ps []param
	for _, f := range strings.Split(s, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(f), " ")
		ps = append(ps, param{name: name, typ: typ})
	}
	for i := len(ps) - 2; i >= 0; i-- {
		if ps[i].typ == "" {
			ps[i].typ = ps[i+1].typ
		}
	}
	return ps
}

func size(typ string) int {
	switch typ {
	case "float32", "uint32", "int32":
		return 4
	case "int", "uint", "uint64", "int64", "float64":
		return 8
	}
	if strings.HasPrefix(typ, "*") {
		return 8
	}
	panic("asmgen: parameter of type " + typ)
}

// Func starts a function. Params is a Go parameter list of pointers, integers
// and float32 (no slices: wrappers check lengths and pass &x[0]; no parameter
// named g). Result is "" or the type of the only result.
func (a *Asm) Func(name, params, result string) *Func {
	f := &Func{Asm: a, Name: name, Params: params, Lanes: lanes[a.ISA]}
	f.params = parseParams(params)
	off := 0
	place := func(p *param) {
		if p.name == "g" {
			panic("asmgen: parameter named g in " + name)
		}
		n := size(p.typ)
		off = (off + n - 1) / n * n
		p.off = off
		off += n
	}
	for i := range f.params {
		place(&f.params[i])
	}
	if result != "" {
		f.Result = fmt.Sprintf(" (ret %s)", result)
		off = (off + 7) / 8 * 8
		p := param{name: "ret", typ: result}
		place(&p)
		f.params = append(f.params, p)
	}
	f.argSize = off
	switch a.ISA {
	case NEON:
		for _, r := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24} { // R25 scratch, R26 pool
			f.regs = append(f.regs, Reg(fmt.Sprintf("R%d", r)))
		}
		for v := range 30 { // V30, V31 scratch
			f.vecs = append(f.vecs, Vec(v))
		}
	default:
		f.regs = []Reg{"AX", "BX", "CX", "DX", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "R15"}
		for v := range []int{32, 16}[a.ISA] {
			f.vecs = append(f.vecs, Vec(v))
		}
		f.conds = []int{1, 2, 3, 4, 5, 6, 7}
	}
	a.funcs = append(a.funcs, f)
	return f
}

// InFamily makes f a member of the last declared family, chosen for the
// operation that the Go expression label names, instead of giving it a
// dispatcher.
func (f *Func) InFamily(label string) {
	f.member = true
	f.Case(label, f.Name)
}

// String returns the name of the function with the suffix of its instruction
// set.
func (f *Func) String() string { return f.Name + f.ISA.String() }

func (f *Func) argNames() string { return argNames(f.Params) }

func (f *Func) resultType() string { return f.params[len(f.params)-1].typ }

func (f *Func) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n// func %s(%s)%s\n", f, f.Params, f.Result)
	fmt.Fprintf(&b, "TEXT ·%s(SB), NOSPLIT, $0-%d\n", f, f.argSize)
	if f.usesPool && f.ISA == NEON {
		fmt.Fprintf(&b, "\tMOVD $%sConsts<>(SB), R26\n", f.Group)
	}
	b.Write(f.body.Bytes())
	return b.Bytes()
}

// Emit writes one line of assembly: for what the vocabulary lacks.
func (f *Func) Emit(format string, args ...any) {
	fmt.Fprintf(&f.body, "\t"+format+"\n", args...)
}

// Comment writes a comment line.
func (f *Func) Comment(format string, args ...any) {
	fmt.Fprintf(&f.body, "\t// "+format+"\n", args...)
}

// Ret returns from the function. The last Ret ends it.
func (f *Func) Ret() {
	if f.ISA != NEON {
		f.Emit("VZEROUPPER")
	}
	f.Emit("RET")
	f.done = true
}

// Reg hands out a general register.
func (f *Func) Reg() Reg {
	if len(f.regs) == 0 {
		panic(fmt.Sprintf("asmgen: %s: out of general registers", f))
	}
	r := f.regs[0]
	f.regs = f.regs[1:]
	return r
}

// FreeReg gives general registers back.
func (f *Func) FreeReg(rs ...Reg) {
	for _, r := range rs {
		if slices.Contains(f.regs, r) {
			panic(fmt.Sprintf("asmgen: %s: %s freed twice", f, r))
		}
		f.regs = append([]Reg{r}, f.regs...)
	}
}

func (f *Func) param(name string) param {
	for _, p := range f.params {
		if p.name == name {
			return p
		}
	}
	panic(fmt.Sprintf("asmgen: %s has no parameter %s", f, name))
}

// Arg loads a pointer or 64-bit integer parameter into a new register.
func (f *Func) Arg(name string) Reg {
	r, p := f.Reg(), f.param(name)
	op := "MOVQ"
	if f.ISA == NEON {
		op = "MOVD"
	}
	if size(p.typ) != 8 {
		op = "MOVL"
		if f.ISA == NEON {
			op = "MOVWU"
		}
	}
	f.Emit("%s %s+%d(FP), %s", op, name, p.off, r)
	return r
}

// Args is Arg for several parameters.
func (f *Func) Args(names ...string) []Reg {
	var rs []Reg
	for _, n := range names {
		rs = append(rs, f.Arg(n))
	}
	return rs
}

// NewLabel returns a label that is not placed yet.
func (f *Func) NewLabel(hint string) Label {
	f.labels++
	return Label(fmt.Sprintf("%s%d", hint, f.labels))
}

// Label places a label here.
func (f *Func) Label(l Label) { fmt.Fprintf(&f.body, "\n%s:\n", l) }

// Jump continues at l.
func (f *Func) Jump(l Label) { f.Emit("JMP %s", l) }

var conditions = map[string][2]string{
	"<": {"JLT", "BLT"}, "<=": {"JLE", "BLE"}, ">": {"JGT", "BGT"}, ">=": {"JGE", "BGE"}, "==": {"JEQ", "BEQ"}, "!=": {"JNE", "BNE"},
}

// JumpIf continues at l if the signed comparison "a rel b" holds; b is a Reg or
// an int.
func (f *Func) JumpIf(a Reg, rel string, b any, l Label) {
	c, ok := conditions[rel]
	if !ok {
		panic("asmgen: comparison " + rel)
	}
	if f.ISA == NEON {
		f.Emit("CMP %s, %s", operand(b), a)
		f.Emit("%s %s", c[1], l)
		return
	}
	f.Emit("CMPQ %s, %s", a, operand(b))
	f.Emit("%s %s", c[0], l)
}

func operand(b any) string {
	switch b := b.(type) {
	case Reg:
		return string(b)
	case int:
		return fmt.Sprintf("$%d", b)
	}
	panic(fmt.Sprintf("asmgen: operand %v", b))
}

func (f *Func) gp(amd64, arm64 string, d Reg, b any) {
	if f.ISA == NEON {
		f.Emit("%s %s, %s", arm64, operand(b), d)
		return
	}
	f.Emit("%s %s, %s", amd64, operand(b), d)
}

// MovReg sets d to a Reg or an int.
func (f *Func) MovReg(d Reg, b any) { f.gp("MOVQ", "MOVD", d, b) }

// AddReg adds a Reg or an int to d.
func (f *Func) AddReg(d Reg, b any) { f.gp("ADDQ", "ADD", d, b) }

// SubReg subtracts a Reg or an int from d.
func (f *Func) SubReg(d Reg, b any) { f.gp("SUBQ", "SUB", d, b) }

// MulReg multiplies d by a Reg.
func (f *Func) MulReg(d, b Reg) { f.gp("IMULQ", "MUL", d, b) }

// AndReg masks d with a Reg or an int.
func (f *Func) AndReg(d Reg, b any) { f.gp("ANDQ", "AND", d, b) }

// ShlReg shifts d left by a constant.
func (f *Func) ShlReg(d Reg, n int) { f.gp("SHLQ", "LSL", d, n) }

// ShrReg shifts d right, filling with zeros.
func (f *Func) ShrReg(d Reg, n int) { f.gp("SHRQ", "LSR", d, n) }

// LoadReg loads 64 bits.
func (f *Func) LoadReg(d Reg, m Mem) { f.gp64("MOVQ", "MOVD", d, m) }

// LoadReg32 loads 32 bits, zero-extended.
func (f *Func) LoadReg32(d Reg, m Mem) { f.gp64("MOVL", "MOVWU", d, m) }

func (f *Func) gp64(amd64, arm64 string, d Reg, m Mem) {
	if f.ISA == NEON {
		f.Emit("%s %s, %s", arm64, f.mem(m), d)
		return
	}
	f.Emit("%s %s, %s", amd64, f.mem(m), d)
}

// StoreReg stores 64 bits.
func (f *Func) StoreReg(m Mem, r Reg) {
	if f.ISA == NEON {
		f.Emit("MOVD %s, %s", r, f.mem(m))
		return
	}
	f.Emit("MOVQ %s, %s", r, f.mem(m))
}

// Lea sets d to the address of m.
func (f *Func) Lea(d Reg, m Mem) {
	if f.ISA != NEON {
		f.Emit("LEAQ %s, %s", f.mem(m), d)
		return
	}
	base := m.Base
	if m.Index != "" {
		f.Emit("ADD %s<<%d, %s, %s", m.Index, log2(m.Scale), m.Base, d)
		base = d
	}
	if m.Off != 0 || m.Index == "" {
		f.Emit("ADD $%d, %s, %s", m.Off, base, d)
	}
}

func log2(n int) int {
	switch n {
	case 1:
		return 0
	case 2:
		return 1
	case 4:
		return 2
	case 8:
		return 3
	}
	panic(fmt.Sprintf("asmgen: scale %d", n))
}

// mem returns the text of a memory operand. On arm64 an index is first added
// into the scratch register R25.
func (f *Func) mem(m Mem) string {
	if f.ISA == NEON {
		base := m.Base
		if m.Index != "" {
			f.Emit("ADD %s<<%d, %s, R25", m.Index, log2(m.Scale), m.Base)
			base = "R25"
		}
		if m.Off == 0 {
			return fmt.Sprintf("(%s)", base)
		}
		return fmt.Sprintf("%d(%s)", m.Off, base)
	}
	s := fmt.Sprintf("(%s)", m.Base)
	if m.Off != 0 {
		s = fmt.Sprintf("%d(%s)", m.Off, m.Base)
	}
	if m.Index != "" {
		s += fmt.Sprintf("(%s*%d)", m.Index, m.Scale)
	}
	return s
}

// address returns a register that holds the address of m; R25 on arm64 if one
// has to be computed. Only for arm64.
func (f *Func) address(m Mem) Reg {
	if m.Index == "" && m.Off == 0 {
		return m.Base
	}
	f.Lea("R25", m)
	return "R25"
}
