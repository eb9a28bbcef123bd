package asmgen

// Block is one step of a Stream: Len vectors of consecutive elements, or, in
// the last step, one vector of which only some elements exist.
type Block struct {
	*Func
	Len int // vectors in this block

	partial bool
	tail    Tail
	index   Reg // amd64: elements before this block
}

// Partial says whether this is the tail, where only Load, LoadMem and Store may
// touch memory.
func (b *Block) Partial() bool { return b.partial }

// At is the memory of vector i of the array at base. Not in a partial block.
func (b *Block) At(base Reg, i int) Mem {
	if b.partial {
		panic("asmgen: At in the tail of a stream of " + b.Name)
	}
	return b.at(base, i)
}

func (b *Block) at(base Reg, i int) Mem {
	if b.ISA == NEON {
		return Mem{Base: base, Off: 16 * i}
	}
	return Mem{Base: base, Index: b.index, Scale: 4, Off: 4 * b.Lanes * i}
}

// Load sets d to vector i of the array at base.
func (b *Block) Load(d Vec, base Reg, i int) {
	if b.partial {
		b.LoadTail(d, b.at(base, i), b.tail)
		return
	}
	b.Func.Load(d, b.at(base, i))
}

// Operand returns vector i of the array at base as an operand: its memory, or
// in the tail t after loading it there.
func (b *Block) Operand(t Vec, base Reg, i int) Src {
	if b.partial {
		b.Load(t, base, i)
		return t
	}
	return b.at(base, i)
}

// Store writes v to vector i of the array at base.
func (b *Block) Store(base Reg, i int, v Vec) {
	if b.partial {
		b.StoreTail(b.at(base, i), v, b.tail)
		return
	}
	b.Func.Store(b.at(base, i), v)
}

// Stream runs body over n elements of the arrays that begin at the registers
// bases: in blocks of unroll vectors, then of one, then the tail. The body is
// written once for each, must free what it takes, and must address arrays by
// the Block only. Stream uses up n and, on NEON, moves the bases; n may be 0.
func (f *Func) Stream(n Reg, bases []Reg, unroll int, body func(b *Block)) {
	b := &Block{Func: f}
	if f.ISA != NEON {
		b.index = f.Reg()
		f.Emit("XORL %s, %s", b.index, b.index)
	}
	advance := func(elements int) {
		f.SubReg(n, elements)
		if f.ISA != NEON {
			f.AddReg(b.index, elements)
			return
		}
		for _, p := range bases {
			f.AddReg(p, 4*elements)
		}
	}
	loop := func(vectors int) {
		top, end := f.NewLabel("loop"), f.NewLabel("end")
		f.JumpIf(n, "<", vectors*f.Lanes, end)
		f.Label(top)
		b.Len = vectors
		body(b)
		advance(vectors * f.Lanes)
		f.JumpIf(n, ">=", vectors*f.Lanes, top)
		f.Label(end)
	}
	if unroll > 1 {
		loop(unroll)
	}
	loop(1)
	end := f.NewLabel("end")
	f.JumpIf(n, "==", 0, end)
	b.Len, b.partial, b.tail = 1, true, f.Tail(n)
	body(b)
	f.FreeTail(b.tail)
	f.Label(end)
	if b.index != "" {
		f.FreeReg(b.index)
	}
}

// Fold64 adds up 64 lanes, held by 64/Lanes accumulators in order: t[l] +=
// t[l+32], t[l+16], t[l+8], t[l+4], then (t0+t1)+(t2+t3). The sum is lane 0 of
// acc[0]; the accumulators are used up.
func (f *Func) Fold64(acc []Vec) {
	if len(acc) != 64/f.Lanes {
		panic("asmgen: Fold64 wants 64 lanes")
	}
	for n := len(acc) / 2; n > 0; n /= 2 {
		for i := range n {
			f.Add(acc[i], acc[i], acc[i+n])
		}
	}
	d, t := acc[0], acc[1]
	switch f.ISA {
	case NEON:
		f.neon3(opFaddp, d, d, d)
		f.neon3(opFaddp, d, d, d)
		return
	case AVX512:
		f.Emit("VEXTRACTF64X4 $1, Z%d, Y%d", d, t)
		f.Emit("VADDPS Y%d, Y%d, Y%d", t, d, d)
		f.Emit("VEXTRACTF32X4 $1, Y%d, X%d", d, t)
	case AVX2:
		f.Emit("VEXTRACTF128 $1, Y%d, X%d", d, t)
	}
	f.Emit("VADDPS X%d, X%d, X%d", t, d, d)
	f.Emit("VPERMILPS $0xB1, X%d, X%d", d, t) // t1 t0 t3 t2
	f.Emit("VADDPS X%d, X%d, X%d", t, d, d)
	f.Emit("VPERMILPS $0x4E, X%d, X%d", d, t)
	f.Emit("VADDPS X%d, X%d, X%d", t, d, d)
}
