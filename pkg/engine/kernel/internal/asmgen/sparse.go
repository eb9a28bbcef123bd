package asmgen

func init() { Register("sparse", sparse) }

// SparseVectors is how many vectors of columns one call of sparseRows covers.
var SparseVectors = [...]int{AVX512: 8, AVX2: 8, NEON: 16}

// sparse has the matrix product for a first operand that has many zeros.
func sparse(a *Asm) {
	maskRows(a)
	maskColumns(a)
	sparseRows(a)
}

// maskRows finds the elements of each row that are not zero.
func maskRows(a *Asm) {
	f := a.Func("maskRows", "masks, x *float32, stride, rows, cols int", "")
	f.Doc = "sets bit j of masks[i] if x[i][j] is not zero; cols ≤ 32. The stride\nof x is in bytes."
	masks, x, stride, rows, cols := f.Arg("masks"), f.Arg("x"), f.Arg("stride"), f.Arg("rows"), f.Arg("cols")
	zero, v := f.Vec(), f.Vec()
	f.Zero(zero)
	loop := func(load func(m Mem, i int)) {
		top := f.NewLabel("row")
		f.Label(top)
		bits, t := f.Reg(), f.Reg()
		sum := f.Vec()
		for i := range 32 / f.Lanes {
			load(Mem{Base: x, Off: 4 * f.Lanes * i}, i)
			c := f.Cmp(NE, v, zero)
			r := t
			if i == 0 {
				r = bits
			}
			switch f.ISA {
			case AVX512:
				f.Emit("KMOVW K%d, %s", c.n, r)
			case AVX2:
				f.Emit("VMOVMSKPS Y%d, %s", c.n, r)
			default:
				f.Keep(v, c, Const{[]uint32{1 << (4 * i), 2 << (4 * i), 4 << (4 * i), 8 << (4 * i)}})
				if i == 0 {
					f.Mov(sum, v)
				} else {
					f.Or(sum, sum, v)
				}
			}
			if i > 0 && f.ISA != NEON {
				f.ShlReg(t, f.Lanes*i)
				f.Emit("ORL %s, %s", t, bits)
			}
			f.FreeCond(c)
		}
		if f.ISA == NEON {
			f.word(0x4EB1B800|uint32(sum)<<5|uint32(sum), "ADDV S%d, V%d.4S", sum, sum)
			f.StoreScalar(Mem{Base: masks}, sum)
		} else {
			f.Emit("MOVL %s, %s", bits, f.mem(Mem{Base: masks}))
		}
		f.AddReg(masks, 4)
		f.AddReg(x, stride)
		f.SubReg(rows, 1)
		f.JumpIf(rows, ">", 0, top)
		f.Ret()
		f.Free(sum)
		f.FreeReg(bits, t)
	}
	if f.ISA == NEON { // a partial vector takes jumps to load
		partial := f.NewLabel("partial")
		f.JumpIf(cols, "<", 32, partial)
		loop(func(m Mem, _ int) { f.Load(v, m) })
		f.Label(partial)
	}
	tails, lengths := make([]Tail, 32/f.Lanes), make([]Reg, 32/f.Lanes)
	for i := range tails {
		n := f.Reg()
		f.MovReg(n, cols)
		low, high := f.NewLabel("low"), f.NewLabel("high")
		f.JumpIf(n, ">=", 0, low)
		f.MovReg(n, 0)
		f.Label(low)
		f.JumpIf(n, "<=", f.Lanes, high)
		f.MovReg(n, f.Lanes)
		f.Label(high)
		f.SubReg(cols, f.Lanes)
		tails[i], lengths[i] = f.Tail(n), n
		if f.ISA != NEON {
			f.FreeReg(n)
		}
	}
	loop(func(m Mem, i int) { f.LoadTail(v, m, tails[i]) })
}

// maskColumns finds the elements of each column that are not zero.
func maskColumns(a *Asm) {
	f := a.Func("maskColumns", "masks, x *float32, stride, rows, cols int", "")
	f.Doc = "sets bit i of masks[j] if x[i][j] is not zero; rows ≤ 32. The stride\nof x is in bytes."
	masks, x, stride, cols := f.Arg("masks"), f.Arg("x"), f.Arg("stride"), f.Arg("cols")
	p, n := f.Reg(), f.Reg()
	zero, v, bit := f.Vec(), f.Vec(), f.Vec()
	f.Zero(zero)
	block := func(vectors int, load func(d Vec, m Mem), store func(m Mem, d Vec)) {
		top, end := f.NewLabel("row"), f.NewLabel("column")
		sum := f.Vecs(vectors)
		for _, s := range sum {
			f.Zero(s)
		}
		f.Load(bit, Bits(1))
		f.MovReg(p, x)
		f.ReloadArg(n, "rows")
		f.JumpIf(n, "<=", 0, end)
		f.Label(top)
		for i, s := range sum {
			load(v, Mem{Base: p, Off: 4 * f.Lanes * i})
			c := f.Cmp(NE, v, zero)
			if f.ISA == AVX512 {
				f.Emit("VPORD %s, %s, K%d, %s", f.v(bit), f.v(s), c.n, f.v(s))
			} else {
				f.Keep(v, c, bit)
				f.Or(s, s, v)
			}
			f.FreeCond(c)
		}
		f.Shl(bit, bit, 1)
		f.AddReg(p, stride)
		f.SubReg(n, 1)
		f.JumpIf(n, ">", 0, top)
		f.Label(end)
		for i, s := range sum {
			store(Mem{Base: masks, Off: 4 * f.Lanes * i}, s)
		}
		f.AddReg(x, 4*vectors*f.Lanes)
		f.AddReg(masks, 4*vectors*f.Lanes)
		f.SubReg(cols, vectors*f.Lanes)
		f.Free(sum...)
	}
	four, one, last, done := f.NewLabel("four"), f.NewLabel("one"), f.NewLabel("last"), f.NewLabel("done")
	f.JumpIf(cols, "<", 4*f.Lanes, one)
	f.Label(four)
	block(4, func(d Vec, m Mem) { f.Load(d, m) }, f.Store)
	f.JumpIf(cols, ">=", 4*f.Lanes, four)
	f.Label(one)
	f.JumpIf(cols, "<", f.Lanes, last)
	block(1, func(d Vec, m Mem) { f.Load(d, m) }, f.Store)
	f.Jump(one)
	f.Label(last)
	f.JumpIf(cols, "==", 0, done)
	tail := f.Tail(cols)
	saved := f.Reg() // block changes cols, which NEON's tail is
	f.MovReg(saved, cols)
	if f.ISA == NEON {
		tail.n = saved
	}
	block(1, func(d Vec, m Mem) { f.LoadTail(d, m, tail) }, func(m Mem, v Vec) { f.StoreTail(m, v, tail) })
	f.Label(done)
	f.Ret()
}

// sparseRows computes rows of C, whose columns are in registers, from the
// elements of A that are not zero.
func sparseRows(a *Asm) {
	f := a.Func("sparseRows", "masks *float32, plane, rows int, a *float32, ars, acs int, b *float32, ldb int, c *float32, ldc, cols, more int", "")
	f.Doc = "computes cols columns of rows of C from the elements of A that the\nmasks have bits for: the low halves in masks, the high ones plane bytes on. Strides\nare in bytes. More adds to C. Cols is at most sparseColumns of the instruction set."
	last := f.Arg("cols")
	r := f.Reg()
	f.SubReg(last, 1)
	f.MovReg(r, last)
	f.ShrReg(r, log2(f.Lanes/2)+1)
	f.AndReg(last, f.Lanes-1)
	f.AddReg(last, 1)
	tail := f.Tail(last)
	labels := make([]Label, SparseVectors[f.ISA])
	for i := range labels {
		labels[i] = f.NewLabel("cols")
	}
	f.choose(r, labels)
	f.FreeReg(r)
	if f.ISA != NEON {
		f.FreeReg(last)
	}
	masks, rows, x, acs, b, ldb, c := f.Reg(), f.Reg(), f.Reg(), f.Reg(), f.Reg(), f.Reg(), f.Reg()
	mask, i, t := f.Reg(), f.Reg(), f.Reg()
	zero, v, u := f.Vec(), f.Vec(), f.Vec()
	for n, label := range labels {
		f.Label(label)
		for _, p := range []struct {
			r    Reg
			name string
		}{{masks, "masks"}, {rows, "rows"}, {x, "a"}, {acs, "acs"}, {b, "b"}, {ldb, "ldb"}, {c, "c"}} {
			f.ReloadArg(p.r, p.name)
		}
		f.Zero(zero)
		acc := f.Vecs(n + 1)
		at := func(p Reg, j int) Mem { return Mem{Base: p, Off: 4 * f.Lanes * j} }
		row, fresh, begin, top, end := f.NewLabel("row"), f.NewLabel("clear"), f.NewLabel("begin"), f.NewLabel("active"), f.NewLabel("end")
		f.Label(row)
		f.ReloadArg(t, "plane")
		f.LoadReg32(mask, Mem{Base: masks})
		f.LoadReg32(t, Mem{Base: masks, Index: t, Scale: 1})
		f.ShlReg(t, 32)
		f.orReg(mask, t)
		f.ReloadArg(t, "more")
		f.JumpIf(t, "==", 0, fresh)
		for j := range n {
			f.Load(acc[j], at(c, j))
		}
		f.LoadTail(acc[n], at(c, n), tail)
		f.Jump(begin)
		f.Label(fresh)
		for _, v := range acc {
			f.Zero(v)
		}
		f.Label(begin)
		f.JumpIf(mask, "==", 0, end)
		f.Label(top)
		if f.ISA == NEON {
			f.Emit("RBIT %s, %s", mask, i)
			f.Emit("CLZ %s, %s", i, i)
			f.Emit("SUB $1, %s, %s", mask, t)
			f.Emit("AND %s, %s, %[2]s", t, mask)
			f.Emit("MADD %s, %s, %s, %s", acs, x, i, t)
			f.Broadcast(v, Mem{Base: t})
			f.Emit("MADD %s, %s, %s, %s", ldb, b, i, t)
		} else {
			f.Emit("TZCNTQ %s, %s", mask, i)
			f.Emit("BLSRQ %s, %[1]s", mask)
			f.MovReg(t, acs)
			f.MulReg(t, i)
			f.Broadcast(v, Mem{Base: x, Index: t, Scale: 1})
			f.MulReg(i, ldb)
			f.Lea(t, Mem{Base: b, Index: i, Scale: 1})
		}
		for j := range n {
			f.Fma(acc[j], v, at(t, j))
		}
		f.FmaTail(acc[n], v, at(t, n), tail, u)
		if f.ISA == NEON {
			f.Emit("CBNZ %s, %s", mask, top)
		} else {
			f.Emit("TESTQ %s, %[1]s", mask)
			f.Emit("JNE %s", top)
		}
		f.Label(end)
		for _, v := range acc {
			f.Add(v, v, zero) // −0, the trace of an underflow, becomes +0
		}
		for j := range n {
			f.Store(at(c, j), acc[j])
		}
		f.StoreTail(at(c, n), acc[n], tail)
		f.AddReg(masks, 4)
		f.ReloadArg(t, "ars")
		f.AddReg(x, t)
		f.ReloadArg(t, "ldc")
		f.AddReg(c, t)
		f.SubReg(rows, 1)
		f.JumpIf(rows, ">", 0, row)
		f.Ret()
		f.Free(acc...)
	}
}

// orReg sets bits of d.
func (f *Func) orReg(d, b Reg) {
	f.gp("ORQ", "ORR", d, b)
}
