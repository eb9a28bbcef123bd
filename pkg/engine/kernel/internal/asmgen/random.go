package asmgen

import "math"

func init() { Register("random", random) }

// random has Philox4x32-10 by groups of 64 elements: 16 blocks side by side.
func random(a *Asm) {
	f := a.Func("philoxUniform", "dst *float32, groups int, keys *uint32, a, block uint64, lo, width, top float32", "")
	lo, width, top := f.Vec(), f.Vec(), f.Vec()
	f.BroadcastArg(lo, "lo")
	f.BroadcastArg(width, "width")
	f.BroadcastArg(top, "top")
	f.philoxGroups(func(store func(word int, v Vec), words [4]Vec) {
		for i, v := range words {
			f.Shr(v, v, 8)
			f.ToFloat(v, v)
			f.Mul(v, v, F32(1.0/(1<<24)))
			f.Mul(v, v, width)
			f.Add(v, v, lo)
			below := f.Cmp(LT, v, top)
			f.Select(v, below, v, top)
			f.FreeCond(below)
			store(i, v)
		}
	})
	f.Ret()

	f = a.Func("philoxNormal", "dst *float32, groups int, keys *uint32, a, block uint64", "")
	f.philoxGroups(func(store func(word int, v Vec), words [4]Vec) {
		for i := 0; i < 4; i += 2 {
			f.boxMuller(words[i], words[i+1])
			store(i, words[i])
			store(i+1, words[i+1])
		}
	})
	f.Ret()
}

// philoxGroups loops over groups. Body gets the same word of f.Lanes blocks in
// each of words, of which it may use up all, and store puts a vector to the
// elements of a word.
func (f *Func) philoxGroups(body func(store func(word int, v Vec), words [4]Vec)) {
	dst, groups := f.Arg("dst"), f.Arg("groups")
	p := &philox{Func: f, keys: f.Arg("keys"), block: f.Arg("block"), mul0: f.Vec(), mul1: f.Vec()}
	p.Load(p.mul0, Bits(0xD2511F53))
	p.Load(p.mul1, Bits(0xCD9E8D57))
	if f.ISA == AVX512 {
		t := f.Reg()
		p.odd = f.newCond()
		f.Emit("MOVL $0xAAAA, %s", t)
		f.Emit("KMOVW %s, K%d", t, p.odd.n)
		f.FreeReg(t)
	}
	top := f.NewLabel("group")
	f.Label(top)
	for first := 0; first < 16; first += f.Lanes {
		words := p.words(first)
		body(func(word int, v Vec) {
			f.Store(Mem{Base: dst, Off: 4 * (16*word + first)}, v)
		}, words)
		f.Free(words[:]...)
	}
	f.AddReg(dst, 4*64)
	f.AddReg(p.block, 16)
	f.SubReg(groups, 1)
	f.JumpIf(groups, "!=", 0, top)
}

// philox is the generator: the round keys are 10 pairs of words in memory.
type philox struct {
	*Func
	keys, block Reg
	mul0, mul1  Vec
	odd         Cond // the odd lanes (AVX-512)
}

// words returns the four words of the blocks first…first+Lanes−1 after block,
// which is a multiple of 16.
func (f *philox) words(first int) [4]Vec {
	if f.ISA == NEON {
		return f.neonWords(first)
	}
	// A lane of 64 bits is a block, since that is what VPMULUDQ multiplies; the
	// high halves are never looked at. Even and odd blocks are kept apart, so that
	// joining them in the end moves no lane.
	var even, odd Const
	for i := range f.Lanes / 2 {
		even.words = append(even.words, uint32(first+2*i), 0)
		odd.words = append(odd.words, uint32(first+2*i+1), 0)
	}
	x, y := f.wide(even), f.wide(odd)
	for i := range x {
		if f.ISA == AVX2 {
			f.Emit("VPSLLQ $32, %s, %s", f.v(y[i]), f.v(y[i]))
			f.Emit("VPBLENDD $0xAA, %s, %s, %s", f.v(y[i]), f.v(x[i]), f.v(x[i]))
		} else {
			f.Emit("VMOVSLDUP %s, K%d, %s", f.v(y[i]), f.odd.n, f.v(x[i]))
		}
	}
	f.Free(y[:]...)
	return x
}

// wide returns the words of as many blocks as there are lanes of 64 bits; index
// has their numbers after block.
func (f *philox) wide(index Const) [4]Vec {
	c0, c1, c2, c3, p0, p1 := f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.Emit("VPBROADCASTQ a+%d(FP), %s", f.param("a").off, f.v(c0))
	if f.ISA == AVX2 {
		f.Emit("VMOVQ %s, X%d", f.block, c2)
		f.Emit("VPBROADCASTQ X%d, Y%d", c2, c2)
	} else {
		f.Emit("VPBROADCASTQ %s, Z%d", f.block, c2)
	}
	i, _ := f.x86(index)
	f.Emit("VPADDQ %s, %s, %s", i, f.v(c2), f.v(c2))
	f.Emit("VPSRLQ $32, %s, %s", f.v(c0), f.v(c1))
	f.Emit("VPSRLQ $32, %s, %s", f.v(c2), f.v(c3))
	for round := range 10 {
		f.Emit("VPMULUDQ %s, %s, %s", f.v(f.mul0), f.v(c0), f.v(p0))
		f.Emit("VPMULUDQ %s, %s, %s", f.v(f.mul1), f.v(c2), f.v(p1))
		f.Emit("VPSRLQ $32, %s, %s", f.v(p1), f.v(c0))
		f.Emit("VPSRLQ $32, %s, %s", f.v(p0), f.v(c2))
		for i, x := range [2][2]Vec{{c0, c1}, {c2, c3}} { // x[0] ^= x[1] ^ key
			key := f.mem(Mem{Base: f.keys, Off: 8*round + 4*i})
			if f.ISA == AVX2 {
				f.Emit("VPXOR %s, %s, %s", f.v(x[1]), f.v(x[0]), f.v(x[0]))
				f.Emit("VPBROADCASTD %s, %s", key, f.v(x[1]))
				f.Emit("VPXOR %s, %s, %s", f.v(x[1]), f.v(x[0]), f.v(x[0]))
			} else {
				f.Emit("VPTERNLOGD.BCST $0x96, %s, %s, %s", key, f.v(x[1]), f.v(x[0]))
			}
		}
		c1, p1 = p1, c1
		c3, p0 = p0, c3
	}
	f.Free(p0, p1)
	return [4]Vec{c0, c1, c2, c3}
}

func (f *philox) neonWords(first int) [4]Vec {
	c0, c1, c2, c3, p, q := f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec(), f.Vec()
	a := f.Arg("a")
	f.BroadcastReg(c0, a)
	f.ShrReg(a, 32)
	f.BroadcastReg(c1, a)
	f.MovReg(a, f.block)
	f.BroadcastReg(c2, a)
	f.IAdd(c2, c2, Const{[]uint32{uint32(first), uint32(first + 1), uint32(first + 2), uint32(first + 3)}}) // no carry
	f.ShrReg(a, 32)
	f.BroadcastReg(c3, a)
	f.FreeReg(a)
	for round := range 10 {
		f.UMulHi(p, c2, f.mul1)
		f.UMulHi(q, c0, f.mul0)
		f.Xor(p, p, c1)
		f.Xor(q, q, c3)
		f.IMul(c1, c2, f.mul1)
		f.IMul(c3, c0, f.mul0)
		f.Broadcast(c0, Mem{Base: f.keys, Off: 8 * round})
		f.Broadcast(c2, Mem{Base: f.keys, Off: 8*round + 4})
		f.Xor(c0, c0, p)
		f.Xor(c2, c2, q)
	}
	f.Free(p, q)
	return [4]Vec{c0, c1, c2, c3}
}

// The constants of kernel's random.go.
var (
	radiusPoly = []float32{-0.17444699, 0.2873369, -0.2990454, 0.33124787, -0.39913666, 0.5000415, -0.66668373, 0.99999976, -2}
	circleSin  = []float32{-0.004601658, 0.07968003, -0.6459635, 1.5707964}
	circleCos  = []float32{0.0009040217, -0.020860288, 0.25366923, -1.2337005, 1}
)

const (
	radiusSplit  = 0x3f3504f3
	radiusOffset = radiusSplit + 31<<23
)

// boxMuller replaces random words by normal values: r by the cosine, t by the
// sine of a pair.
func (f *Func) boxMuller(r, t Vec) {
	m, p, s := f.Vec(), f.Vec(), f.Vec()
	f.Shr(r, r, 1)
	f.ToFloat(r, r)
	f.Add(r, r, F32(0.5))
	f.ISub(r, r, Bits(radiusOffset))
	f.And(m, r, Bits(1<<23-1))
	f.IAdd(m, m, Bits(radiusSplit))
	f.Sub(m, m, F32(1))
	f.Sar(r, r, 23)
	f.ToFloat(r, r)
	f.Horner(p, m, radiusPoly...)
	f.Mul(p, p, m)
	f.Fma(p, r, F32(-2*math.Ln2))
	f.Sqrt(p, p)

	y, z, c := r, m, f.Vec()
	f.Shl(y, t, 2)
	f.ToFloat(y, y)
	f.Mul(y, y, F32(1.0/(1<<32)))
	f.Mul(z, y, y)
	f.Horner(s, z, circleSin...)
	f.Mul(s, s, y)
	f.Horner(c, z, circleCos...)
	f.Shl(y, t, 1)
	f.Zero(z)
	odd := f.ICmp(GT, z, y)
	f.Xor(y, y, t)
	f.And(y, y, Bits(1<<31)) // sign of the cosine
	f.And(t, t, Bits(1<<31)) // of the sine
	f.Select(z, odd, s, c)
	f.Xor(y, y, z)
	f.Select(z, odd, c, s)
	f.Xor(t, t, z)
	f.FreeCond(odd)
	f.Mul(r, y, p)
	f.Mul(t, t, p)
	f.Free(m, p, s, c)
}
