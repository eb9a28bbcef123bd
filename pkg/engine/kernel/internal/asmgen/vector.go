package asmgen

import (
	"fmt"
	"slices"
)

// Src is an operand: a Vec, a Mem (a full vector) or a Const.
type Src interface{ src() }

func (Vec) src()   {}
func (Mem) src()   {}
func (Const) src() {}

// Vec hands out a vector register.
func (f *Func) Vec() Vec {
	if len(f.vecs) == 0 {
		panic(fmt.Sprintf("asmgen: %s: out of vector registers", f))
	}
	v := f.vecs[0]
	f.vecs = f.vecs[1:]
	return v
}

// Vecs hands out n vector registers.
func (f *Func) Vecs(n int) []Vec {
	vs := make([]Vec, n)
	for i := range vs {
		vs[i] = f.Vec()
	}
	return vs
}

// FreeVecs is the number of vector registers that are left.
func (f *Func) FreeVecs() int { return len(f.vecs) }

// Free gives vector registers back.
func (f *Func) Free(vs ...Vec) {
	for _, v := range vs {
		if slices.Contains(f.vecs, v) {
			panic(fmt.Sprintf("asmgen: %s: vector %d freed twice", f, v))
		}
		f.vecs = append(f.vecs, v)
	}
	slices.Sort(f.vecs)
}

// v is the text of a vector register.
func (f *Func) v(v Vec) string { return fmt.Sprintf("%s%d", [...]string{"Z", "Y", "V"}[f.ISA], v) }

// word writes an arm64 instruction that Go's assembler has no name for.
func (f *Func) word(code uint32, comment string, args ...any) {
	f.Emit("WORD $0x%08X // %s", code, fmt.Sprintf(comment, args...))
}

// x86 returns the text of an operand of an instruction and the suffix that the
// instruction then needs.
func (f *Func) x86(s Src) (text, suffix string) {
	switch s := s.(type) {
	case Vec:
		return f.v(s), ""
	case Mem:
		return f.mem(s), ""
	case Const:
		text = fmt.Sprintf("%sConsts<>+%d(SB)", f.Group, f.constant(s.words, len(s.words) > 1))
		if f.ISA == AVX512 && len(s.words) == 1 {
			suffix = ".BCST"
		}
		return text, suffix
	}
	panic("asmgen: operand")
}

// neon returns a register that holds the operand: scratch if it is not in one
// already.
func (f *Func) neon(s Src, scratch Vec) Vec {
	if v, ok := s.(Vec); ok {
		return v
	}
	f.Load(scratch, s)
	return scratch
}

const scratch, scratch2 = Vec(31), Vec(30) // of NEON

// op3 is an instruction d = a op b.
type op3 struct {
	x86  string
	neon uint32
	name string // of the NEON instruction
}

var (
	opAdd   = op3{"VADDPS", 0x4E20D400, "FADD"}
	opSub   = op3{"VSUBPS", 0x4EA0D400, "FSUB"}
	opMul   = op3{"VMULPS", 0x6E20DC00, "FMUL"}
	opDiv   = op3{"VDIVPS", 0x6E20FC00, "FDIV"}
	opFma   = op3{"VFMADD231PS", 0x4E20CC00, "FMLA"}
	opFnma  = op3{"VFNMADD231PS", 0x4EA0CC00, "FMLS"}
	opAnd   = op3{"VANDPS", 0x4E201C00, "AND"}
	opOr    = op3{"VORPS", 0x4EA01C00, "ORR"}
	opXor   = op3{"VXORPS", 0x6E201C00, "EOR"}
	opIAdd  = op3{"VPADDD", 0x4EA08400, "ADD"}
	opISub  = op3{"VPSUBD", 0x6EA08400, "SUB"}
	opIMul  = op3{"VPMULLD", 0x4EA09C00, "MUL"}
	opBic   = op3{"VANDNPS", 0x4E601C00, "BIC"}
	opFaddp = op3{"", 0x6E20D400, "FADDP"}
)

func (f *Func) three(op op3, d, a Vec, b Src) {
	if f.ISA == NEON {
		f.neon3(op, d, a, f.neon(b, scratch))
		return
	}
	text, suffix := f.x86(b)
	f.Emit("%s%s %s, %s, %s", op.x86, suffix, text, f.v(a), f.v(d))
}

func (f *Func) neon3(op op3, d, a, b Vec) {
	f.word(op.neon|uint32(b)<<16|uint32(a)<<5|uint32(d), "%s V%d.4S, V%d.4S, V%d.4S", op.name, d, a, b)
}

func (f *Func) neon2(code uint32, name string, d, a Vec) {
	f.word(code|uint32(a)<<5|uint32(d), "%s V%d.4S, V%d.4S", name, d, a)
}

// Add sets d = a + b.
func (f *Func) Add(d, a Vec, b Src) { f.three(opAdd, d, a, b) }

// Sub sets d = a − b.
func (f *Func) Sub(d, a Vec, b Src) { f.three(opSub, d, a, b) }

// Mul sets d = a·b.
func (f *Func) Mul(d, a Vec, b Src) { f.three(opMul, d, a, b) }

// Div sets d = a/b.
func (f *Func) Div(d, a Vec, b Src) { f.three(opDiv, d, a, b) }

// Fma sets d = a·b + d, rounded once.
func (f *Func) Fma(d, a Vec, b Src) { f.three(opFma, d, a, b) }

// FmaIf is Fma in the lanes where c holds.
func (f *Func) FmaIf(d Vec, c Cond, a, b Vec) {
	if f.ISA == AVX512 {
		f.Emit("VFMADD231PS %s, %s, K%d, %s", f.v(b), f.v(a), c.n, f.v(d))
		return
	}
	t := f.Vec()
	f.Mov(t, d)
	f.Fma(t, a, b)
	f.Select(d, c, t, d)
	f.Free(t)
}

// Permute sets lane i of d to lane index[i] of a, for an index as the kernel
// package's laneIndex returns it. d is none of the others.
func (f *Func) Permute(d, a, index Vec) {
	if f.ISA == NEON {
		f.Emit("VTBL V%d.B16, [V%d.B16], V%d.B16", index, a, d)
		return
	}
	f.Emit("VPERMPS %s, %s, %s", f.v(a), f.v(index), f.v(d))
}

// Fnma sets d = d − a·b, rounded once.
func (f *Func) Fnma(d, a Vec, b Src) { f.three(opFnma, d, a, b) }

// Mad sets p = p·x + c, rounded once: a step of Horner's scheme.
func (f *Func) Mad(p, x Vec, c Src) { f.mad("VFMADD213PS", opFma, p, x, c) }

// Nmad sets p = c − p·x, rounded once.
func (f *Func) Nmad(p, x Vec, c Src) { f.mad("VFNMADD213PS", opFnma, p, x, c) }

func (f *Func) mad(x86 string, op op3, p, x Vec, c Src) {
	if f.ISA == NEON {
		f.Load(scratch, c)
		f.neon3(op, scratch, p, x)
		f.Mov(p, scratch)
		return
	}
	text, suffix := f.x86(c)
	f.Emit("%s%s %s, %s, %s", x86, suffix, text, f.v(x), f.v(p))
}

// Horner sets p = ((…(c0·x + c1)·x + …)·x + cn); p and x differ.
func (f *Func) Horner(p, x Vec, coefficients ...float32) {
	f.Load(p, F32(coefficients[0]))
	for _, c := range coefficients[1:] {
		f.Mad(p, x, F32(c))
	}
}

// And sets d = a & b.
func (f *Func) And(d, a Vec, b Src) { f.three(opAnd, d, a, b) }

// Or sets d = a | b.
func (f *Func) Or(d, a Vec, b Src) { f.three(opOr, d, a, b) }

// Xor sets d = a ^ b.
func (f *Func) Xor(d, a Vec, b Src) { f.three(opXor, d, a, b) }

// AndNot sets d = a &^ b.
func (f *Func) AndNot(d, a, b Vec) {
	if f.ISA == NEON {
		f.neon3(opBic, d, a, b)
		return
	}
	f.three(opBic, d, b, a) // x86 complements the first operand
}

// IAdd sets d = a + b of 32-bit integers.
func (f *Func) IAdd(d, a Vec, b Src) { f.three(opIAdd, d, a, b) }

// ISub sets d = a − b of 32-bit integers.
func (f *Func) ISub(d, a Vec, b Src) { f.three(opISub, d, a, b) }

// IMul sets d to the low 32 bits of the products of a and b.
func (f *Func) IMul(d, a Vec, b Src) { f.three(opIMul, d, a, b) }

// UMulHi sets d to the high 32 bits of the unsigned 64-bit products of a and b.
// d is none of a and b.
func (f *Func) UMulHi(d, a, b Vec) {
	if f.ISA == NEON {
		f.word(0x2EA0C000|uint32(b)<<16|uint32(a)<<5|uint32(scratch), "UMULL V%d.2D, V%d.2S, V%d.2S", scratch, a, b)
		f.word(0x6EA0C000|uint32(b)<<16|uint32(a)<<5|uint32(scratch2), "UMULL2 V%d.2D, V%d.4S, V%d.4S", scratch2, a, b)
		f.neon3(op3{"", 0x4E805800, "UZP2"}, d, scratch, scratch2)
		return
	}
	t := f.Vec()
	f.Emit("VPSRLQ $32, %s, %s", f.v(a), f.v(d))
	f.Emit("VPSRLQ $32, %s, %s", f.v(b), f.v(t))
	f.Emit("VPMULUDQ %s, %s, %s", f.v(t), f.v(d), f.v(d)) // products of the odd lanes
	f.Emit("VPMULUDQ %s, %s, %s", f.v(b), f.v(a), f.v(t)) // of the even lanes
	f.Emit("VPSRLQ $32, %s, %s", f.v(t), f.v(t))
	if f.ISA == AVX2 {
		f.Emit("VPBLENDD $0xAA, %s, %s, %s", f.v(d), f.v(t), f.v(d))
	} else {
		odd, _ := f.x86(Const{[]uint32{0, 0xFFFFFFFF}})
		f.Emit("VPTERNLOGD $0xE4, %s, %s, %s", odd, f.v(t), f.v(d)) // odd ? d : t
	}
	f.Free(t)
}

// Shl shifts 32-bit lanes left.
func (f *Func) Shl(d, a Vec, n int) { f.shift("VPSLLD", 0x4F005400, "SHL", 32+n, d, a, n) }

// Shr shifts 32-bit lanes right, filling with zeros.
func (f *Func) Shr(d, a Vec, n int) { f.shift("VPSRLD", 0x6F000400, "USHR", 64-n, d, a, n) }

// Sar shifts 32-bit lanes right, filling with the sign.
func (f *Func) Sar(d, a Vec, n int) { f.shift("VPSRAD", 0x4F000400, "SSHR", 64-n, d, a, n) }

func (f *Func) shift(x86 string, code uint32, name string, imm int, d, a Vec, n int) {
	if f.ISA == NEON {
		f.word(code|uint32(imm)<<16|uint32(a)<<5|uint32(d), "%s V%d.4S, V%d.4S, #%d", name, d, a, n)
		return
	}
	f.Emit("%s $%d, %s, %s", x86, n, f.v(a), f.v(d))
}

func (f *Func) two(x86 string, code uint32, name string, d, a Vec) {
	if f.ISA == NEON {
		f.neon2(code, name, d, a)
		return
	}
	f.Emit("%s %s, %s", x86, f.v(a), f.v(d))
}

// Sqrt sets d = √a.
func (f *Func) Sqrt(d, a Vec) { f.two("VSQRTPS", 0x6EA1F800, "FSQRT", d, a) }

// Round sets d to a rounded to an integer, ties to even.
func (f *Func) Round(d, a Vec) { f.two(f.rounding()+" $8,", 0x4E218800, "FRINTN", d, a) }

// Floor sets d to a rounded toward −∞.
func (f *Func) Floor(d, a Vec) { f.two(f.rounding()+" $9,", 0x4E219800, "FRINTM", d, a) }

func (f *Func) rounding() string {
	if f.ISA == AVX512 {
		return "VRNDSCALEPS"
	}
	return "VROUNDPS"
}

// ToInt converts to int32, rounding to nearest even. Defined for values in the
// range of int32 only.
func (f *Func) ToInt(d, a Vec) { f.two("VCVTPS2DQ", 0x4E21A800, "FCVTNS", d, a) }

// TruncToInt converts to int32, rounding toward zero. Defined for values in the
// range of int32 only.
func (f *Func) TruncToInt(d, a Vec) { f.two("VCVTTPS2DQ", 0x4EA1B800, "FCVTZS", d, a) }

// ToFloat converts from int32.
func (f *Func) ToFloat(d, a Vec) { f.two("VCVTDQ2PS", 0x4E21D800, "SCVTF", d, a) }

// Mov sets d = a.
func (f *Func) Mov(d, a Vec) {
	switch {
	case d == a:
	case f.ISA == NEON:
		f.Emit("VMOV V%d.B16, V%d.B16", a, d)
	default:
		f.Emit("VMOVAPS %s, %s", f.v(a), f.v(d))
	}
}

// Zero sets d = +0.
func (f *Func) Zero(d Vec) {
	switch f.ISA {
	case NEON:
		f.Emit("VEOR V%d.B16, V%d.B16, V%d.B16", d, d, d)
	case AVX2:
		f.Emit("VXORPS %s, %s, %s", f.v(d), f.v(d), f.v(d))
	default:
		f.Emit("VPXORD %s, %s, %s", f.v(d), f.v(d), f.v(d))
	}
}

// Load sets d to a Src: a register, a constant or the Lanes elements at a Mem.
func (f *Func) Load(d Vec, s Src) {
	switch s := s.(type) {
	case Vec:
		f.Mov(d, s)
	case Mem:
		if f.ISA == NEON {
			f.Emit("FMOVQ %s, F%d", f.mem(s), d)
			return
		}
		f.Emit("VMOVUPS %s, %s", f.mem(s), f.v(d))
	case Const:
		if len(s.words) == 1 && s.words[0] == 0 {
			f.Zero(d)
			return
		}
		if f.ISA == NEON {
			f.usesPool = true
			f.Emit("FMOVQ %d(R26), F%d", f.constant(s.words, true), d)
			return
		}
		text, suffix := f.x86(s)
		if suffix != "" {
			f.Emit("VBROADCASTSS %s, %s", text, f.v(d))
			return
		}
		f.Emit("VMOVUPS %s, %s", text, f.v(d))
	}
}

// Store writes the Lanes elements of v to m.
func (f *Func) Store(m Mem, v Vec) {
	if f.ISA == NEON {
		f.Emit("FMOVQ F%d, %s", v, f.mem(m))
		return
	}
	f.Emit("VMOVUPS %s, %s", f.v(v), f.mem(m))
}

// Broadcast sets every lane of d to the float32 at m.
func (f *Func) Broadcast(d Vec, m Mem) {
	if f.ISA == NEON {
		f.Emit("VLD1R (%s), [V%d.S4]", f.address(m), d)
		return
	}
	f.Emit("VBROADCASTSS %s, %s", f.mem(m), f.v(d))
}

// BroadcastArg sets every lane of d to a float32 or uint32 parameter.
func (f *Func) BroadcastArg(d Vec, name string) {
	p := f.param(name)
	if f.ISA == NEON {
		if p.typ == "float32" {
			f.Emit("FMOVS %s+%d(FP), F%d", name, p.off, d)
			f.Emit("VDUP V%d.S[0], V%d.S4", d, d)
			return
		}
		f.Emit("MOVWU %s+%d(FP), R25", name, p.off)
		f.Emit("VDUP R25, V%d.S4", d)
		return
	}
	f.Emit("VBROADCASTSS %s+%d(FP), %s", name, p.off, f.v(d))
}

// BroadcastReg sets every lane of d to the low 32 bits of r.
func (f *Func) BroadcastReg(d Vec, r Reg) {
	switch f.ISA {
	case NEON:
		f.Emit("VDUP %s, V%d.S4", r, d)
	case AVX2:
		f.Emit("VMOVD %s, X%d", r, d)
		f.Emit("VPBROADCASTD X%d, Y%d", d, d)
	default:
		f.Emit("VPBROADCASTD %s, Z%d", r, d)
	}
}

// StoreScalar writes lane 0 of v to m.
func (f *Func) StoreScalar(m Mem, v Vec) {
	if f.ISA == NEON {
		f.Emit("FMOVS F%d, %s", v, f.mem(m))
		return
	}
	f.Emit("VMOVSS X%d, %s", v, f.mem(m))
}

// LoadScalar sets lane 0 of d to the float32 at m and the others to +0.
func (f *Func) LoadScalar(d Vec, m Mem) {
	if f.ISA == NEON {
		f.Emit("FMOVS %s, F%d", f.mem(m), d)
		return
	}
	f.Emit("VMOVSS %s, X%d", f.mem(m), d)
}

// StoreResult makes lane 0 of v the float32 result of the function.
func (f *Func) StoreResult(v Vec) {
	p := f.param("ret")
	if f.ISA == NEON {
		f.Emit("FMOVS F%d, ret+%d(FP)", v, p.off)
		return
	}
	f.Emit("VMOVSS X%d, ret+%d(FP)", v, p.off)
}

// AnyNegative returns a new register that is nonzero if the sign bit of any lane
// of v is set. v is used up.
func (f *Func) AnyNegative(v Vec) Reg {
	r := f.Reg()
	switch f.ISA {
	case AVX512:
		c := f.newCond()
		f.Emit("VPMOVD2M %s, K%d", f.v(v), c.n)
		f.Emit("KMOVW K%d, %s", c.n, r)
		f.FreeCond(c)
	case AVX2:
		f.Emit("VMOVMSKPS %s, %s", f.v(v), r)
	default:
		f.word(0x6EB0A800|uint32(v)<<5|uint32(v), "UMAXV S%d, V%d.4S", v, v)
		f.Emit("FMOVS F%d, %s", v, r)
		f.Emit("LSR $31, %s, %s", r, r)
		f.AndReg(r, 1)
	}
	return r
}

// StoreResultReg makes r the integer result of the function.
func (f *Func) StoreResultReg(r Reg) {
	p := f.param("ret")
	if f.ISA == NEON {
		f.Emit("MOVD %s, ret+%d(FP)", r, p.off)
		return
	}
	f.Emit("MOVQ %s, ret+%d(FP)", r, p.off)
}

// Cond is a condition per lane.
type Cond struct{ n int } // a mask register on AVX-512, else a vector of all-zero or all-one lanes

// Rel is a relation of two float32 lanes; each but NE is false where either
// operand is NaN.
type Rel int

// The relations.
const (
	GT Rel = iota
	GE
	EQ
	LT
	LE
	NE
)

var predicates = [...]int{GT: 0x1E, GE: 0x1D, EQ: 0x00, LT: 0x11, LE: 0x12, NE: 0x04}

// Cmp returns where a rel b. Give it back with FreeCond.
func (f *Func) Cmp(rel Rel, a Vec, b Src) Cond {
	if f.ISA == AVX512 {
		c := f.newCond()
		text, suffix := f.x86(b)
		f.Emit("VCMPPS%s $%d, %s, %s, K%d", suffix, predicates[rel], text, f.v(a), c.n)
		return c
	}
	d := f.Vec()
	if f.ISA == AVX2 {
		text, _ := f.x86(b)
		f.Emit("VCMPPS $%d, %s, %s, %s", predicates[rel], text, f.v(a), f.v(d))
		return Cond{int(d)}
	}
	x, y := a, f.neon(b, scratch)
	if rel == LT || rel == LE {
		x, y = y, x
	}
	switch rel {
	case GT, LT:
		f.neon3(op3{"", 0x6EA0E400, "FCMGT"}, d, x, y)
	case GE, LE:
		f.neon3(op3{"", 0x6E20E400, "FCMGE"}, d, x, y)
	default:
		f.neon3(op3{"", 0x4E20E400, "FCMEQ"}, d, x, y)
	}
	if rel == NE {
		f.word(0x6E205800|uint32(d)<<5|uint32(d), "MVN V%d.16B, V%d.16B", d, d)
	}
	return Cond{int(d)}
}

// ICmp returns where a rel b as int32; rel is GT or EQ.
func (f *Func) ICmp(rel Rel, a Vec, b Src) Cond {
	if rel != GT && rel != EQ {
		panic("asmgen: integer comparison")
	}
	switch f.ISA {
	case AVX512:
		c := f.newCond()
		text, suffix := f.x86(b)
		f.Emit("VPCMPD%s $%d, %s, %s, K%d", suffix, map[Rel]int{GT: 6, EQ: 0}[rel], text, f.v(a), c.n)
		return c
	case AVX2:
		d := f.Vec()
		text, _ := f.x86(b)
		f.Emit("%s %s, %s, %s", map[Rel]string{GT: "VPCMPGTD", EQ: "VPCMPEQD"}[rel], text, f.v(a), f.v(d))
		return Cond{int(d)}
	}
	d := f.Vec()
	if rel == GT {
		f.neon3(op3{"", 0x4EA03400, "CMGT"}, d, a, f.neon(b, scratch))
	} else {
		f.neon3(op3{"", 0x6EA08C00, "CMEQ"}, d, a, f.neon(b, scratch))
	}
	return Cond{int(d)}
}

func (f *Func) newCond() Cond {
	if len(f.conds) == 0 {
		panic(fmt.Sprintf("asmgen: %s: out of mask registers", f))
	}
	c := f.conds[0]
	f.conds = f.conds[1:]
	return Cond{c}
}

// FreeCond gives conditions back.
func (f *Func) FreeCond(cs ...Cond) {
	for _, c := range cs {
		if f.ISA == AVX512 {
			f.conds = append(f.conds, c.n)
		} else {
			f.Free(Vec(c.n))
		}
	}
}

// Select sets d = c ? a : b.
func (f *Func) Select(d Vec, c Cond, a Src, b Vec) {
	switch f.ISA {
	case AVX512:
		text, suffix := f.x86(a)
		f.Emit("VBLENDMPS%s %s, %s, K%d, %s", suffix, text, f.v(b), c.n, f.v(d))
	case AVX2:
		text, _ := f.x86(a)
		f.Emit("VBLENDVPS Y%d, %s, %s, %s", c.n, text, f.v(b), f.v(d))
	default:
		x := f.neon(a, scratch)
		switch d {
		case x:
			f.neon3(op3{"", 0x6EE01C00, "BIF"}, d, b, Vec(c.n))
		case b:
			f.neon3(op3{"", 0x6EA01C00, "BIT"}, d, x, Vec(c.n))
		default:
			f.Mov(d, Vec(c.n))
			f.neon3(op3{"", 0x6E601C00, "BSL"}, d, x, b)
		}
	}
}

// Keep sets d = c ? a : +0.
func (f *Func) Keep(d Vec, c Cond, a Src) {
	if f.ISA != AVX512 {
		f.And(d, Vec(c.n), a)
		return
	}
	text, suffix := f.x86(a)
	op := "VMOVUPS.Z"
	if suffix != "" {
		op = "VBROADCASTSS.Z"
	}
	f.Emit("%s %s, K%d, %s", op, text, c.n, f.v(d))
}

// Tail selects the first n lanes of a vector in memory.
type Tail struct {
	k int // AVX-512
	v Vec // AVX2
	n Reg // NEON
}

// Tail makes a Tail of n elements, 0 ≤ n ≤ Lanes. Keep n unchanged while it is
// in use; give it back with FreeTail.
func (f *Func) Tail(n Reg) Tail {
	switch f.ISA {
	case AVX512:
		t, c := f.Reg(), f.newCond()
		f.Emit("MOVL $-1, %s", t)
		f.Emit("BZHIL %s, %s, %s", n, t, t)
		f.Emit("KMOVW %s, K%d", t, c.n)
		f.FreeReg(t)
		return Tail{k: c.n}
	case AVX2:
		f.tailmask = true
		t, u, v := f.Reg(), f.Reg(), f.Vec()
		f.Emit("LEAQ %sMasks<>+32(SB), %s", f.Group, t)
		f.Emit("MOVQ %s, %s", n, u)
		f.Emit("NEGQ %s", u)
		f.Emit("VMOVUPS (%s)(%s*4), %s", t, u, f.v(v))
		f.FreeReg(t, u)
		return Tail{v: v}
	}
	return Tail{n: n}
}

// FreeTail gives a Tail back.
func (f *Func) FreeTail(t Tail) {
	switch f.ISA {
	case AVX512:
		f.conds = append(f.conds, t.k)
	case AVX2:
		f.Free(t.v)
	}
}

// LoadTail loads the elements that t selects and sets the other lanes to +0.
func (f *Func) LoadTail(d Vec, m Mem, t Tail) {
	switch f.ISA {
	case AVX512:
		f.Emit("VMOVUPS.Z %s, K%d, %s", f.mem(m), t.k, f.v(d))
	case AVX2:
		f.Emit("VMASKMOVPS %s, %s, %s", f.mem(m), f.v(t.v), f.v(d))
	default:
		f.neonTail(m, t, func(op string, p string) { f.Emit("%s %s, F%d", op, p, d) },
			func() { f.Emit("VLD1 (R25), V%d.S[2]", d) }, func() { f.Zero(d) })
	}
}

// StoreTail stores the elements that t selects.
func (f *Func) StoreTail(m Mem, v Vec, t Tail) {
	switch f.ISA {
	case AVX512:
		f.Emit("VMOVUPS %s, K%d, %s", f.v(v), t.k, f.mem(m))
	case AVX2:
		f.Emit("VMASKMOVPS %s, %s, %s", f.v(v), f.v(t.v), f.mem(m))
	default:
		f.neonTail(m, t, func(op string, p string) { f.Emit("%s F%d, %s", op, v, p) },
			func() { f.Emit("VST1 V%d.S[2], (R25)", v) }, func() {})
	}
}

// neonTail moves 0 to 4 elements: by the bits of their number.
func (f *Func) neonTail(m Mem, t Tail, move func(op, p string), third func(), none func()) {
	f.Lea("R25", m)
	two, one, empty, end := f.NewLabel("two"), f.NewLabel("one"), f.NewLabel("none"), f.NewLabel("moved")
	f.Emit("TBZ $2, %s, %s", t.n, two)
	move("FMOVQ", "(R25)")
	f.Jump(end)
	f.Label(two)
	f.Emit("TBZ $1, %s, %s", t.n, one)
	move("FMOVD", "(R25)")
	f.Emit("TBZ $0, %s, %s", t.n, end)
	f.Emit("ADD $8, R25, R25")
	third()
	f.Jump(end)
	f.Label(one)
	f.Emit("TBZ $0, %s, %s", t.n, empty)
	move("FMOVS", "(R25)")
	f.Jump(end)
	f.Label(empty)
	none()
	f.Label(end)
}
