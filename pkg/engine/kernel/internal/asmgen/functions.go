package asmgen

import (
	"math"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// Emitters of the element-wise functions, step for step as package kernel's
// pure Go defines them. d may be one of the operands.

// unaryOps sets d = op(x).
var unaryOps = map[spec.Op]func(f *Func, d, x Vec){
	spec.Neg:     func(f *Func, d, x Vec) { f.Xor(d, x, Bits(1<<31)) },
	spec.Abs:     func(f *Func, d, x Vec) { f.And(d, x, Bits(1<<31-1)) },
	spec.Sign:    sign,
	spec.Step:    func(f *Func, d, x Vec) { f.indicate(d, f.Cmp(GT, x, f.zero())) },
	spec.ReLU:    relu,
	spec.Square:  func(f *Func, d, x Vec) { f.Mul(d, x, x) },
	spec.Sqrt:    (*Func).Sqrt,
	spec.Recip:   recip,
	spec.Exp:     exp,
	spec.Log:     log,
	spec.Tanh:    tanh,
	spec.Sigmoid: sigmoid,
	spec.Erf:     erf,
	spec.Floor:   (*Func).Floor,
	spec.Log1p:   log1p,
	spec.Expm1:   expm1,
	spec.Flush:   flush,
}

// binaryOps sets d = op(a, b).
var binaryOps = map[spec.Op]func(f *Func, d, a Vec, b Src){
	spec.Add:          (*Func).Add,
	spec.Sub:          (*Func).Sub,
	spec.Mul:          (*Func).Mul,
	spec.Div:          (*Func).Div,
	spec.Max:          func(f *Func, d, a Vec, b Src) { extreme(f, GE, d, a, b) },
	spec.Min:          func(f *Func, d, a Vec, b Src) { extreme(f, LE, d, a, b) },
	spec.Greater:      func(f *Func, d, a Vec, b Src) { f.indicate(d, f.Cmp(GT, a, b)) },
	spec.GreaterEqual: func(f *Func, d, a Vec, b Src) { f.indicate(d, f.Cmp(GE, a, b)) },
	spec.Equal:        func(f *Func, d, a Vec, b Src) { f.indicate(d, f.Cmp(EQ, a, b)) },
}

// ternaryOps sets d = op(a, b, c); d is none of the operands.
var ternaryOps = map[spec.Op]func(f *Func, d, a, b, c Vec){
	spec.Fma: func(f *Func, d, a, b, c Vec) {
		f.Mov(d, c)
		f.Fma(d, a, b)
	},
	spec.Select: func(f *Func, d, c, a, b Vec) {
		nonzero := f.Cmp(NE, c, f.zero())
		f.Select(d, nonzero, a, b)
		f.FreeCond(nonzero)
	},
}

// zero is a source of +0.
func (f *Func) zero() Const { return F32(0) }

// indicate sets d = c ? 1 : 0 and frees c.
func (f *Func) indicate(d Vec, c Cond) {
	f.Keep(d, c, F32(1))
	f.FreeCond(c)
}

func sign(f *Func, d, x Vec) {
	up, down := f.Cmp(GT, x, f.zero()), f.Cmp(LT, x, f.zero())
	f.Select(d, up, F32(1), x)
	f.Select(d, down, F32(-1), d)
	f.FreeCond(up, down)
}

func relu(f *Func, d, x Vec) {
	off, t := f.Cmp(LE, x, f.zero()), f.Vec()
	f.Zero(t)
	f.Select(d, off, t, x)
	f.FreeCond(off)
	f.Free(t)
}

func flush(f *Func, d, x Vec) {
	t := f.Vec()
	f.And(t, x, Bits(1<<31-1))
	off := f.Cmp(LT, t, F32(spec.Tiny))
	f.Zero(t)
	f.Select(d, off, t, x)
	f.FreeCond(off)
	f.Free(t)
}

func recip(f *Func, d, x Vec) {
	t := f.Vec()
	f.Load(t, F32(1))
	f.Div(d, t, x)
	f.Free(t)
}

func extreme(f *Func, rel Rel, d, a Vec, b Src) {
	t := f.Vec()
	f.Load(t, b)
	is, nan := f.Cmp(rel, a, t), f.Cmp(NE, a, a)
	f.Select(t, is, a, t)
	f.Select(d, nan, a, t)
	f.FreeCond(is, nan)
	f.Free(t)
}

// atMost sets d = x > limit ? limit : x.
func atMost(f *Func, d, x Vec, limit float32) {
	c := f.Cmp(GT, x, F32(limit))
	f.Select(d, c, F32(limit), x)
	f.FreeCond(c)
}

// atLeast sets d = x < limit ? limit : x.
func atLeast(f *Func, d, x Vec, limit float32) {
	c := f.Cmp(LT, x, F32(limit))
	f.Select(d, c, F32(limit), x)
	f.FreeCond(c)
}

// reduceExp sets r and n with x = n·ln 2 + r, and t, the sum whose low bits are
// n. x may be r.
func reduceExp(f *Func, r, n, t, x Vec) {
	f.Load(t, F32(spec.Log2E))
	f.Mad(t, x, F32(spec.Magic))
	f.Sub(n, t, F32(spec.Magic))
	f.Mov(r, x)
	f.Fnma(r, n, F32(spec.Ln2Hi))
	f.Fnma(r, n, F32(spec.Ln2Lo))
}

// expReduced sets y, t and n with eˣ = y·2ⁿ; y may be x.
func expReduced(f *Func, y, t, n, x Vec) {
	reduceExp(f, y, n, t, x)
	p, z := f.Vec(), f.Vec()
	f.Mul(z, y, y)
	f.Horner(p, y, spec.ExpP...)
	f.Mad(p, z, y)
	f.Add(y, p, F32(1))
	f.Free(p, z)
}

// pow2 sets d = 2ⁿ from t = Magic + n, times 2^shift.
func pow2(f *Func, d, t Vec, shift int) {
	magic := math.Float32bits(spec.Magic)
	f.IAdd(d, t, Bits(uint32(127+shift)-magic))
	f.Shl(d, d, 23)
}

func exp(f *Func, d, x Vec) {
	y, t, n := f.Vec(), f.Vec(), f.Vec()
	atMost(f, y, x, spec.ExpMax)
	atLeast(f, y, y, spec.ExpMin)
	expReduced(f, y, t, n, y)
	if f.ISA == AVX512 {
		// y·2ⁿ rounded once, as are the two products below.
		f.Emit("VSCALEFPS %s, %s, %s", f.v(n), f.v(y), f.v(d))
	} else {
		f.ISub(t, t, Bits(math.Float32bits(spec.Magic)))
		f.Sar(n, t, 1)
		f.ISub(t, t, n)
		for _, k := range []Vec{n, t} {
			f.IAdd(k, k, Bits(127))
			f.Shl(k, k, 23)
			f.Mul(y, y, k)
		}
		f.Mov(d, y)
	}
	f.Free(y, t, n)
}

// signOf sets d's sign to x's; s is scratch and may be x.
func signOf(f *Func, d, x, s Vec) {
	f.And(s, x, Bits(1<<31))
	f.Or(d, d, s)
}

func expm1(f *Func, d, x Vec) {
	r, t, n := f.Vec(), f.Vec(), f.Vec()
	atMost(f, r, x, spec.ExpMax)
	atLeast(f, r, r, -18)
	reduceExp(f, r, n, t, r)
	q, z := f.Vec(), f.Vec()
	f.Mul(z, r, r)
	f.Horner(q, r, spec.Expm1P...)
	f.Mad(q, z, r)
	pow2(f, t, t, -1)
	f.Sub(r, t, F32(0.5))
	f.Mov(z, q)
	f.Mad(z, t, r)
	f.Add(z, z, z)
	small := f.Cmp(EQ, n, f.zero())
	f.Select(z, small, q, z)
	f.FreeCond(small)
	signOf(f, z, x, r)
	f.Mov(d, z)
	f.Free(r, t, n, q, z)
}

// logReduced sets y = ln(x·2^e0 + c); e0 and c are optional. x is used up.
func logReduced(f *Func, y, x Vec, e0, c *Vec) {
	e, z, t := f.Vec(), f.Vec(), f.Vec()
	f.ISub(x, x, Bits(spec.SqrtHalfBits))
	f.Sar(e, x, 23)
	f.ToFloat(e, e)
	if e0 != nil {
		f.Add(e, e, *e0)
	}
	f.And(x, x, Bits(1<<23-1))
	f.IAdd(x, x, Bits(spec.SqrtHalfBits))
	f.Sub(x, x, F32(1))
	f.Mul(z, x, x)
	f.Horner(y, x, spec.LogP...)
	f.Mul(t, x, z)
	f.Mul(y, y, t)
	f.Fma(y, e, F32(spec.Ln2Lo))
	f.Fma(y, z, F32(-0.5))
	if c != nil { // else it is 0, and y is never −0
		f.Add(y, y, *c)
	}
	f.Add(y, x, y)
	f.Fma(y, e, F32(spec.Ln2Hi))
	f.Free(e, z, t)
}

func logEdges(f *Func, y, u, x Vec) {
	t := f.Vec()
	inf := f.Cmp(EQ, x, F32(float32(math.Inf(1))))
	f.Select(y, inf, x, y)
	f.FreeCond(inf)
	zero := f.Cmp(EQ, u, f.zero())
	f.Load(t, Bits(0x7FC00000))
	f.Select(t, zero, F32(float32(math.Inf(-1))), t)
	f.FreeCond(zero)
	positive := f.Cmp(GT, u, f.zero())
	f.Select(y, positive, y, t)
	f.FreeCond(positive)
	f.Free(t)
}

func log(f *Func, d, x Vec) {
	s, e, y := f.Vec(), f.Vec(), f.Vec()
	tiny := f.Cmp(LT, x, F32(0x1p-126))
	f.Mul(s, x, F32(0x1p23))
	f.Select(s, tiny, s, x)
	f.Keep(e, tiny, F32(-23))
	f.FreeCond(tiny)
	logReduced(f, y, s, &e, nil)
	f.Free(s, e)
	logEdges(f, y, x, x)
	f.Mov(d, y)
	f.Free(y)
}

func log1p(f *Func, d, x Vec) {
	u, c, t := f.Vec(), f.Vec(), f.Vec()
	f.Add(u, x, F32(1))
	f.Sub(c, u, F32(1))
	f.Sub(c, x, c)
	f.Sub(t, u, x)
	f.Xor(t, t, Bits(1<<31))
	f.Add(t, t, F32(1))
	large := f.Cmp(GT, x, F32(1))
	f.Select(c, large, t, c)
	f.FreeCond(large)
	f.Div(c, c, u)
	f.Free(t)
	y, v := f.Vec(), f.Vec()
	f.Mov(v, u)
	logReduced(f, y, v, nil, &c)
	f.Free(v, c)
	logEdges(f, y, u, x)
	signOf(f, y, x, u)
	f.Mov(d, y)
	f.Free(u, y)
}

func tanh(f *Func, d, x Vec) {
	a, y, t, n := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.And(a, x, Bits(1<<31-1))
	atMost(f, a, a, spec.TanhMax)
	f.Add(y, a, a)
	expReduced(f, y, t, n, y)
	pow2(f, t, t, 0)
	f.Mad(y, t, F32(1))
	f.Load(t, F32(2))
	f.Div(y, t, y)
	f.Load(t, F32(1))
	f.Sub(y, t, y)
	f.Mul(n, a, a)
	f.Horner(t, n, spec.TanhP...)
	f.Mul(t, t, n)
	f.Mad(t, a, a)
	small := f.Cmp(LT, a, F32(spec.TanhSmall))
	f.Select(y, small, t, y)
	f.FreeCond(small)
	signOf(f, y, x, t)
	f.Mov(d, y)
	f.Free(a, y, t, n)
}

func sigmoid(f *Func, d, x Vec) {
	y, t := f.Vec(), f.Vec()
	f.Xor(y, x, Bits(1<<31))
	exp(f, y, y)
	f.Load(t, F32(1))
	f.Add(y, t, y)
	f.Div(d, t, y)
	f.Free(y, t)
}

func erf(f *Func, d, x Vec) {
	a, c, y, t, n := f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.And(a, x, Bits(1<<31-1))
	atMost(f, c, a, spec.ErfMax)
	f.Horner(y, c, spec.ErfcLogP...)
	expReduced(f, y, t, n, y)
	pow2(f, t, t, 0)
	f.Nmad(y, t, F32(1))
	f.Mul(n, a, a)
	f.Horner(t, n, spec.ErfP...)
	f.Mad(t, a, a)
	small := f.Cmp(LT, a, F32(spec.ErfSmall))
	f.Select(y, small, t, y)
	f.FreeCond(small)
	signOf(f, y, x, t)
	f.Mov(d, y)
	f.Free(a, c, y, t, n)
}

// trig sets d = sin(x) (quarters 0) or cos(x) (quarters 1) where |x| ≤ TrigMax,
// else d = x, and clears the lanes of all there.
func trig(f *Func, d, x, all Vec, quarters uint32) {
	a, t, n, r, z, p := f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.And(a, x, Bits(1<<31-1))
	f.Load(t, F32(spec.TwoOverPi))
	f.Mad(t, a, F32(spec.Magic))
	f.Sub(n, t, F32(spec.Magic))
	f.Mov(r, a)
	f.Fnma(r, n, F32(spec.HalfPi1))
	f.Fnma(r, n, F32(spec.HalfPi2))
	f.Fnma(r, n, F32(spec.HalfPi3))
	if quarters != 0 {
		f.IAdd(t, t, Bits(quarters))
	}
	f.Mul(z, r, r)
	f.Horner(p, z, spec.SinP...)
	f.Mul(p, p, z)
	f.Mad(p, r, r) // the sine of r
	f.Horner(n, z, spec.CosP...)
	f.Mad(n, z, F32(-0.5))
	f.Mad(n, z, F32(1)) // the cosine of r
	f.And(r, t, Bits(1))
	odd := f.ICmp(EQ, r, Bits(1))
	f.Select(p, odd, n, p)
	f.FreeCond(odd)
	f.And(t, t, Bits(2))
	f.Shl(t, t, 30)
	f.Xor(p, p, t)
	if quarters == 0 {
		f.And(t, x, Bits(1<<31))
		f.Xor(p, p, t)
	}
	reduced := f.Cmp(LE, a, F32(spec.TrigMax))
	f.Keep(t, reduced, Bits(1<<32-1))
	f.And(all, all, t)
	f.Select(d, reduced, p, x)
	f.FreeCond(reduced)
	f.Free(a, t, n, r, z, p)
}
