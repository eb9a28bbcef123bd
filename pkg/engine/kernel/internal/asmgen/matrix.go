package asmgen

func init() {
	Register("reduce", reductions)
	Register("gemv", gemv)
}

// reductions has the sums over one array, in 64 lanes: whole, and of a part of
// a long array, whose lanes are kept in memory.
func reductions(a *Asm) {
	for _, r := range []struct {
		name, params string
		accumulate   func(b *Block, acc, t Vec, arrays []Reg, i int)
	}{
		{"dot", "x, y", func(b *Block, acc, t Vec, arrays []Reg, i int) {
			b.Load(t, arrays[0], i)
			if b.Partial() {
				u := b.Vec()
				b.Load(u, arrays[1], i)
				b.Fma(acc, t, u)
				b.Free(u)
				return
			}
			b.Fma(acc, t, b.At(arrays[1], i))
		}},
		{"sum", "x", func(b *Block, acc, t Vec, arrays []Reg, i int) {
			b.Add(acc, acc, b.Operand(t, arrays[0], i))
		}},
		{"sumAbs", "x", func(b *Block, acc, t Vec, arrays []Reg, i int) {
			b.Load(t, arrays[0], i)
			b.And(t, t, Bits(1<<31-1))
			b.Add(acc, acc, t)
		}},
	} {
		f := a.Func(r.name, r.params+" *float32, n int", "float32")
		arrays, n, t := f.args(r.params), f.Arg("n"), f.Vec()
		f.reduce(n, arrays, func(b *Block, acc Vec, i int) { r.accumulate(b, acc, t, arrays, i) })

		f = a.Func(r.name+"Lanes", "acc, "+r.params+" *float32, n int", "")
		f.Doc = "adds n elements, a multiple of 64 and not 0, to 64 lanes."
		lanes, arrays, n, t := f.Arg("acc"), f.args(r.params), f.Arg("n"), f.Vec()
		acc := f.Vecs(64 / f.Lanes)
		for i, v := range acc {
			f.Load(v, Mem{Base: lanes, Off: 4 * f.Lanes * i})
		}
		f.blocks(n, arrays, func(b *Block) {
			for i, v := range acc {
				r.accumulate(b, v, t, arrays, i)
			}
		})
		for i, v := range acc {
			f.Store(Mem{Base: lanes, Off: 4 * f.Lanes * i}, v)
		}
		f.Ret()
	}
}

// args loads parameters whose names are a list.
func (f *Func) args(names string) []Reg {
	var rs []Reg
	for _, p := range parseParams(names) {
		rs = append(rs, f.Arg(p.name))
	}
	return rs
}

// blocks runs body over blocks of 64 elements, while there are any left.
func (f *Func) blocks(n Reg, bases []Reg, body func(b *Block)) (b *Block, advance func(elements int)) {
	b = &Block{Func: f, Len: 64 / f.Lanes}
	if f.ISA != NEON {
		b.index = f.Reg()
		f.MovReg(b.index, 0)
	}
	advance = func(elements int) {
		f.SubReg(n, elements)
		if f.ISA != NEON {
			f.AddReg(b.index, elements)
			return
		}
		for _, p := range bases {
			f.AddReg(p, 4*elements)
		}
	}
	top, rest := f.NewLabel("blocks"), f.NewLabel("rest")
	f.JumpIf(n, "<", 64, rest)
	f.Label(top)
	body(b)
	advance(64)
	f.JumpIf(n, ">=", 64, top)
	f.Label(rest)
	return b, advance
}

// reduce writes the rest of a function that returns a sum over n elements:
// accumulate adds vector i of the block to its lanes.
func (f *Func) reduce(n Reg, bases []Reg, accumulate func(b *Block, acc Vec, i int)) {
	vectors := 64 / f.Lanes
	acc := f.Vecs(vectors)
	for _, v := range acc {
		f.Zero(v)
	}
	b, advance := f.blocks(n, bases, func(b *Block) {
		for i := range acc {
			accumulate(b, acc[i], i)
		}
	})
	sum := f.NewLabel("sum")
	tails := make([]Label, vectors)
	b.Len = 1
	for i := range acc {
		tails[i] = f.NewLabel("tail")
		f.JumpIf(n, "<", f.Lanes, tails[i])
		if i == vectors-1 {
			break // never reached: fewer than 64 elements are left
		}
		accumulate(b, acc[i], 0)
		advance(f.Lanes)
	}
	b.partial = true
	for i := range acc {
		f.Label(tails[i])
		f.JumpIf(n, "==", 0, sum)
		b.tail = f.Tail(n)
		accumulate(b, acc[i], 0)
		f.FreeTail(b.tail)
		f.Jump(sum)
	}
	f.Label(sum)
	f.Fold64(acc)
	f.positiveZero(acc[0], acc[1])
	f.StoreResult(acc[0])
	f.Ret()
}

// positiveZero makes a −0 in v a +0; t is used up.
func (f *Func) positiveZero(v, t Vec) {
	f.Zero(t)
	f.Add(v, v, t)
}

// ReloadArg loads a 64-bit parameter into a register that is at hand.
func (f *Func) ReloadArg(d Reg, name string) {
	op := "MOVQ"
	if f.ISA == NEON {
		op = "MOVD"
	}
	f.Emit("%s %s+%d(FP), %s", op, name, f.param(name).off, d)
}

// FmaTail sets d = a·m + d in the lanes of the tail. The others are undefined;
// t is scratch.
func (f *Func) FmaTail(d, a Vec, m Mem, tail Tail, t Vec) {
	if f.ISA == AVX512 {
		f.Emit("VFMADD231PS %s, %s, K%d, %s", f.mem(m), f.v(a), tail.k, f.v(d))
		return
	}
	f.LoadTail(t, m, tail)
	f.Fma(d, a, t)
}

// choose jumps to labels[r]; r is in range. A tree of comparisons.
func (f *Func) choose(r Reg, labels []Label) {
	var tree func(lo, hi int)
	tree = func(lo, hi int) {
		if hi-lo == 1 {
			f.Jump(labels[lo])
			return
		}
		mid := (lo + hi) / 2
		right := f.NewLabel("from")
		f.JumpIf(r, ">=", mid, right)
		tree(lo, mid)
		f.Label(right)
		tree(mid, hi)
	}
	tree(0, len(labels))
}

// activeRows runs body for each of the rows whose x is not zero, in order. Row
// i begins at w + i·stride bytes; body gets its address in row, x in every lane
// of v, and at(p), the memory of element i of another array, and may change
// row. activeRows uses up x, w, rows and the others.
func (f *Func) activeRows(x, w, rows, stride Reg, others []Reg, body func(row Reg, v Vec, at func(p Reg) Mem)) {
	done := f.NewLabel("done")
	f.JumpIf(rows, "<=", 0, done)
	if f.ISA == NEON {
		row, v := f.Reg(), f.Vec()
		top, skip := f.NewLabel("row"), f.NewLabel("skip")
		f.Label(top)
		f.LoadReg32(row, Mem{Base: x})
		f.Emit("LSL $33, %s, %s", row, row) // without the sign
		f.Emit("CBZ %s, %s", row, skip)
		f.Broadcast(v, Mem{Base: x})
		f.MovReg(row, w)
		body(row, v, func(p Reg) Mem { return Mem{Base: p} })
		f.Label(skip)
		for _, p := range append([]Reg{x}, others...) {
			f.AddReg(p, 4)
		}
		f.AddReg(w, stride)
		f.SubReg(rows, 1)
		f.JumpIf(rows, ">", 0, top)
		f.Label(done)
		f.FreeReg(row)
		f.Free(v)
		return
	}

	// One bit of mask for each of the next 64 rows: then the jumps do not
	// depend on which rows are active, only on how many there are.
	head, next := f.NewLabel("rows"), f.NewLabel("next")
	mask := f.Reg()
	f.Label(head)
	n, t, bits := f.Reg(), f.Reg(), f.Reg()
	zero, u := f.Vec(), f.Vec()
	collect := func() {
		c := f.Cmp(NE, u, zero)
		if f.ISA == AVX512 {
			f.Emit("KMOVW K%d, %s", c.n, bits)
		} else {
			f.Emit("VMOVMSKPS Y%d, %s", c.n, bits)
		}
		f.FreeCond(c)
		f.Emit("SHLXQ %s, %s, %s", t, bits, bits)
		f.Emit("ORQ %s, %s", bits, mask)
	}
	count, vectors, partial, ready := f.NewLabel("count"), f.NewLabel("vector"), f.NewLabel("partial"), f.NewLabel("ready")
	f.MovReg(n, rows)
	f.JumpIf(n, "<=", 64, count)
	f.MovReg(n, 64)
	f.Label(count)
	f.Emit("XORL %s, %s", mask, mask)
	f.Emit("XORL %s, %s", t, t)
	f.Zero(zero)
	f.JumpIf(n, "<", f.Lanes, partial)
	f.Label(vectors)
	f.Load(u, Mem{Base: x, Index: t, Scale: 4})
	collect()
	f.AddReg(t, f.Lanes)
	f.SubReg(n, f.Lanes)
	f.JumpIf(n, ">=", f.Lanes, vectors)
	f.Label(partial)
	f.JumpIf(n, "==", 0, ready)
	if f.ISA == AVX512 {
		tail := f.Tail(n)
		f.LoadTail(u, Mem{Base: x, Index: t, Scale: 4}, tail)
		f.FreeTail(tail)
	} else { // its mask goes where the comparison will: 12 accumulators leave no more
		f.tailmask = true
		m := f.Vec()
		f.Emit("LEAQ %sMasks<>+32(SB), %s", f.Group, bits)
		f.Emit("NEGQ %s", n)
		f.Emit("VMOVUPS (%s)(%s*4), Y%d", bits, n, m)
		f.LoadTail(u, Mem{Base: x, Index: t, Scale: 4}, Tail{v: m})
		f.Free(m)
	}
	collect()
	f.Label(ready)
	f.Free(zero, u)
	f.FreeReg(bits, t, n)
	f.Emit("TESTQ %s, %s", mask, mask)
	f.Emit("JEQ %s", next)

	top := f.NewLabel("row")
	i, row, v := f.Reg(), f.Reg(), f.Vec()
	f.Label(top)
	f.Emit("TZCNTQ %s, %s", mask, i)
	f.Emit("BLSRQ %s, %s", mask, mask)
	f.MovReg(row, stride)
	f.MulReg(row, i)
	f.AddReg(row, w)
	f.Broadcast(v, Mem{Base: x, Index: i, Scale: 4})
	body(row, v, func(p Reg) Mem { return Mem{Base: p, Index: i, Scale: 4} })
	f.Emit("TESTQ %s, %s", mask, mask)
	f.Emit("JNE %s", top)
	f.Label(next)
	for _, p := range append([]Reg{x}, others...) {
		f.AddReg(p, 256)
	}
	f.MovReg(row, stride)
	f.ShlReg(row, 6)
	f.AddReg(w, row)
	f.SubReg(rows, 64)
	f.JumpIf(rows, ">", 0, head)
	f.Label(done)
	f.FreeReg(row, i, mask)
	f.Free(v)
}

// columns runs body over the elements of one row: blocks of unroll vectors,
// then single vectors and the tail, numbered from 0 again. n, which it uses up,
// is their number and tail the mask for n%Lanes; the pointers move along. With
// past, they end behind the row, else before the tail.
func (f *Func) columns(n Reg, tail Tail, ptrs []Reg, unroll int, past bool, body func(load func(Vec, Reg), store func(Reg, Vec), i int)) {
	off := 0
	load := func(d Vec, p Reg) { f.Load(d, Mem{Base: p, Off: off}) }
	store := func(p Reg, v Vec) { f.Store(Mem{Base: p, Off: off}, v) }
	advance := func(vectors int) {
		for _, p := range ptrs {
			f.AddReg(p, 4*vectors*f.Lanes)
		}
		f.SubReg(n, vectors*f.Lanes)
	}
	top, rest, end := f.NewLabel("block"), f.NewLabel("rest"), f.NewLabel("rowend")
	f.JumpIf(n, "<", unroll*f.Lanes, rest)
	f.Label(top)
	for i := range unroll {
		off = 4 * i * f.Lanes
		body(load, store, i)
	}
	off = 0
	advance(unroll)
	f.JumpIf(n, ">=", unroll*f.Lanes, top)
	f.Label(rest)
	tails := make([]Label, unroll)
	for i := range unroll {
		tails[i] = f.NewLabel("tail")
		f.JumpIf(n, "<", f.Lanes, tails[i])
		if i < unroll-1 {
			body(load, store, i)
			advance(1)
		}
	}
	for i := range unroll {
		f.Label(tails[i])
		f.JumpIf(n, "==", 0, end)
		body(func(d Vec, p Reg) { f.LoadTail(d, Mem{Base: p}, tail) }, func(p Reg, v Vec) { f.StoreTail(Mem{Base: p}, v, tail) }, i)
		if i < unroll-1 {
			f.Jump(end)
		}
	}
	f.Label(end)
	if past {
		for _, p := range ptrs {
			f.Lea(p, Mem{Base: p, Index: n, Scale: 4})
		}
	}
}

// rowTail returns the tail of rows of n elements, and for NEON the register
// that it needs.
func (f *Func) rowTail(n string) Tail {
	r := f.Reg()
	f.ReloadArg(r, n)
	f.AndReg(r, f.Lanes-1)
	tail := f.Tail(r)
	if f.ISA != NEON {
		f.FreeReg(r)
	}
	return tail
}

// GemvVectors is how many vectors of columns one call of gemvTile covers.
var GemvVectors = [...]int{AVX512: 16, AVX2: 12, NEON: 16}

// gemv has the products of batch 1. Strides are in bytes.
func gemv(a *Asm) {
	axpy(a)
	gemvTile(a)
	gemvRows(a)
	outer(a)
	backward(a, "backwardRows", true)
	backward(a, "updateRows", false)
	narrow(a, "backwardNarrow", true)
	narrow(a, "gemvNarrow", false)
	updateNarrow(a)
	gemvLanes(a)
}

// gemvTile keeps the outputs in registers over all rows.
func gemvTile(a *Asm) {
	f := a.Func("gemvTile", "y, x, w *float32, rows, stride, cols, more int", "")
	f.Doc = "adds the products of the active rows to cols outputs, or stores\nthem there unless more; cols is at most gemvColumns of the instruction set."
	x, w, rows, stride, last := f.Arg("x"), f.Arg("w"), f.Arg("rows"), f.Arg("stride"), f.Arg("cols")
	r := f.Reg()
	f.SubReg(last, 1)
	f.MovReg(r, last)
	f.ShrReg(r, log2(f.Lanes/2)+1)
	f.AndReg(last, f.Lanes-1)
	f.AddReg(last, 1)
	tail := f.Tail(last)
	labels := make([]Label, GemvVectors[f.ISA])
	for i := range labels {
		labels[i] = f.NewLabel("cols")
	}
	f.choose(r, labels)
	f.FreeReg(r)
	if f.ISA != NEON {
		f.FreeReg(last)
	}
	for i, label := range labels {
		f.Label(label)
		acc := f.Vecs(i + 1)
		at := func(p Reg, j int) Mem { return Mem{Base: p, Off: 4 * f.Lanes * j} }
		p := f.Reg()
		f.ReloadArg(p, "more")
		zero, begin := f.NewLabel("zero"), f.NewLabel("begin")
		f.JumpIf(p, "==", 0, zero)
		f.ReloadArg(p, "y")
		for j := range i {
			f.Load(acc[j], at(p, j))
		}
		f.LoadTail(acc[i], at(p, i), tail)
		f.Jump(begin)
		f.Label(zero)
		for _, v := range acc {
			f.Zero(v)
		}
		f.Label(begin)
		f.FreeReg(p)
		f.activeRows(x, w, rows, stride, nil, func(row Reg, v Vec, _ func(Reg) Mem) {
			t := f.Vec()
			for j := range i {
				f.Fma(acc[j], v, at(row, j))
			}
			f.FmaTail(acc[i], v, at(row, i), tail, t)
			f.Free(t)
		})
		p = f.Reg()
		f.ReloadArg(p, "y")
		for j := range i {
			f.Store(at(p, j), acc[j])
		}
		f.StoreTail(at(p, i), acc[i], tail)
		f.FreeReg(p)
		f.Ret()
		f.Free(acc...)
	}
}

// gemvRows sets dx_i to the dot product of row i and dy.
func gemvRows(a *Asm) {
	f := a.Func("gemvRows", "dx, w, dy *float32, rows, cols int", "")
	dx, w, dy, rows := f.Arg("dx"), f.Arg("w"), f.Arg("dy"), f.Arg("rows")
	tail := f.rowTail("cols")
	n, q := f.Reg(), f.Reg()
	acc := f.Vecs(64 / f.Lanes)
	top := f.NewLabel("row")
	f.Label(top)
	f.ReloadArg(n, "cols")
	f.MovReg(q, dy)
	for _, v := range acc {
		f.Zero(v)
	}
	f.columns(n, tail, []Reg{w, q}, len(acc), true, func(load func(Vec, Reg), _ func(Reg, Vec), i int) {
		t, u := f.Vec(), f.Vec()
		load(t, w)
		load(u, q)
		f.Fma(acc[i], t, u)
		f.Free(t, u)
	})
	f.Fold64(acc)
	f.positiveZero(acc[0], acc[1])
	f.StoreScalar(Mem{Base: dx}, acc[0])
	f.AddReg(dx, 4)
	f.SubReg(rows, 1)
	f.JumpIf(rows, ">", 0, top)
	f.Ret()
}

// outer writes x_i·dy into row i, or +0 where x_i is zero.
func outer(a *Asm) {
	f := a.Func("outerRows", "dst, x, dy *float32, rows, cols int", "")
	dst, x, dy, rows := f.Arg("dst"), f.Arg("x"), f.Arg("dy"), f.Arg("rows")
	tail := f.rowTail("cols")
	n, q := f.Reg(), f.Reg()
	v, zero := f.Vec(), f.Vec()
	f.Zero(zero)
	top := f.NewLabel("row")
	f.Label(top)
	f.Broadcast(v, Mem{Base: x})
	c := f.Cmp(NE, v, zero)
	f.ReloadArg(n, "cols")
	f.MovReg(q, dy)
	f.columns(n, tail, []Reg{dst, q}, 4, true, func(load func(Vec, Reg), store func(Reg, Vec), _ int) {
		t := f.Vec()
		load(t, q)
		f.Mul(t, t, v)
		f.Keep(t, c, t)
		store(dst, t)
		f.Free(t)
	})
	f.FreeCond(c)
	f.AddReg(x, 4)
	f.SubReg(rows, 1)
	f.JumpIf(rows, ">", 0, top)
	f.Ret()
}

// backward takes a step of plain gradient descent on the active rows, and with
// dot sets their dx to the product of the old row and dy.
func backward(a *Asm, name string, dot bool) {
	params := "w, x, dy *float32, rows, cols int, lr float32"
	if dot {
		params = "dx, " + params
	}
	f := a.Func(name, params, "")
	w, x, dy, rows, stride := f.Arg("w"), f.Arg("x"), f.Arg("dy"), f.Arg("rows"), f.Arg("cols")
	var others []Reg
	unroll := 4
	if dot {
		others = []Reg{f.Arg("dx")}
		unroll = 64 / f.Lanes
	}
	f.ShlReg(stride, 2)
	tail := f.rowTail("cols")
	lr := f.Vec()
	f.BroadcastArg(lr, "lr")
	f.activeRows(x, w, rows, stride, others, func(row Reg, v Vec, at func(Reg) Mem) {
		n, q := f.Reg(), f.Reg()
		f.ReloadArg(n, "cols")
		f.MovReg(q, dy)
		var acc []Vec
		if dot {
			acc = f.Vecs(64 / f.Lanes)
			for _, v := range acc {
				f.Zero(v)
			}
		}
		f.columns(n, tail, []Reg{row, q}, unroll, false, func(load func(Vec, Reg), store func(Reg, Vec), i int) {
			t, u := f.Vec(), f.Vec()
			load(t, q)
			load(u, row)
			if dot {
				f.Fma(acc[i], u, t)
			}
			f.Mul(t, v, t)
			f.Mul(t, lr, t)
			f.Sub(u, u, t)
			store(row, u)
			f.Free(t, u)
		})
		if dot {
			f.Fold64(acc)
			f.positiveZero(acc[0], acc[1])
			f.StoreScalar(at(others[0]), acc[0])
			f.Free(acc...)
		}
		f.FreeReg(n, q)
	})
	f.Ret()
}

// axpy has the updates of one array by a scaled other.
func axpy(a *Asm) {
	f := a.Func("axpy", "y, x *float32, n int, s float32", "")
	y, x, n := f.Arg("y"), f.Arg("x"), f.Arg("n")
	s := f.Vec()
	f.BroadcastArg(s, "s")
	f.Stream(n, []Reg{y, x}, 4, func(b *Block) {
		for i := range b.Len {
			t, u := b.Vec(), b.Vec()
			b.Load(t, x, i)
			b.Mul(t, s, t)
			b.Add(t, t, b.Operand(u, y, i))
			b.Store(y, i, t)
			b.Free(t, u)
		}
	})
	f.Ret()

	f = a.Func("scale", "y, x *float32, n int, s float32", "")
	y, x, n = f.Arg("y"), f.Arg("x"), f.Arg("n")
	s = f.Vec()
	f.BroadcastArg(s, "s")
	f.Stream(n, []Reg{y, x}, 4, func(b *Block) {
		for i := range b.Len {
			t := b.Vec()
			b.Load(t, x, i)
			b.Mul(t, s, t)
			b.Store(y, i, t)
			b.Free(t)
		}
	})
	f.Ret()
}
