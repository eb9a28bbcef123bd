package asmgen

// narrowRows is how many rows the kernels of this file take at a time.
var narrowRows = [...]int{AVX512: 8, AVX2: 4, NEON: 4}

// narrow has the backward pass through matrices of 1 to Lanes columns, where a
// row is one partial vector: dx, and the update of W. Rows are loaded in groups
// before any of them is stored: a load that overlaps a partial store has to wait
// for it.
func narrow(a *Asm, name string, update bool) {
	params := "dx, w, dy *float32, rows, cols int"
	if update {
		params = "dx, w, x, dy, lr *float32, rows, cols, gated, lanes, rates int"
	}
	f := a.Func(name, params, "")
	dx, w, dy, rows, stride := f.Arg("dx"), f.Arg("w"), f.Arg("dy"), f.Arg("rows"), f.Arg("cols")
	last := f.Reg()
	f.MovReg(last, stride)
	f.ShlReg(stride, 2)
	tail := f.Tail(last)
	dyv, xv, t, zero := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.Zero(zero)
	var x, rate, lanes Reg
	var lr Vec
	if update {
		f.Doc = lanesDoc
		x, rate, lanes, lr = f.Arg("x"), f.Arg("lr"), f.Arg("lanes"), f.Vec()
	}
	size := narrowRows[f.ISA]
	p := f.Reg()
	group := func(n Reg, partial bool) {
		each := func(row func(i int)) {
			end := f.NewLabel("rows")
			f.MovReg(p, w)
			for i := range size {
				if partial && i > 0 {
					f.JumpIf(n, "==", i, end)
				}
				row(i)
				f.AddReg(p, stride)
			}
			f.Label(end)
		}
		var v []Vec
		products := f.Vecs(size)
		if update {
			v = f.Vecs(size)
		}
		each(func(i int) {
			u := t
			if update {
				u = v[i]
			}
			f.LoadTail(u, Mem{Base: p}, tail)
			f.Mul(products[i], u, dyv)
			if update {
				f.Broadcast(xv, Mem{Base: x, Off: 4 * i})
				f.descend(u, xv, dyv, lr, zero, t)
			}
		})
		if update {
			each(func(i int) { f.StoreTail(Mem{Base: p}, v[i], tail) })
			f.Free(v...)
		}
		f.MovReg(w, p)
		sum := f.foldRows(products)
		f.Add(sum, sum, zero) // no −0
		k := f.Tail(n)
		if update {
			all := f.NewLabel("all")
			f.ReloadArg(p, "gated")
			f.JumpIf(p, "==", 0, all)
			f.LoadTail(t, Mem{Base: x}, k)
			c := f.Cmp(NE, t, zero)
			f.Keep(sum, c, sum)
			f.FreeCond(c)
			f.Label(all)
			f.Lea(x, Mem{Base: x, Index: n, Scale: 4})
		}
		f.StoreTail(Mem{Base: dx}, sum, k)
		f.FreeTail(k)
		f.Lea(dx, Mem{Base: dx, Index: n, Scale: 4})
		f.Free(products...)
	}
	lane, top, rest, done := f.NewLabel("lane"), f.NewLabel("group"), f.NewLabel("rest"), f.NewLabel("done")
	n := f.Reg()
	f.MovReg(n, size)
	if update {
		f.Label(lane)
		f.Broadcast(lr, Mem{Base: rate})
	}
	f.LoadTail(dyv, Mem{Base: dy}, tail)
	f.JumpIf(rows, "<", size, rest)
	f.Label(top)
	group(n, false)
	f.SubReg(rows, size)
	f.JumpIf(rows, ">=", size, top)
	f.Label(rest)
	f.JumpIf(rows, "==", 0, done)
	group(rows, true)
	f.Label(done)
	if update {
		f.ReloadArg(rows, "rows")
		f.AddReg(dy, stride)
		f.nextLane(lane, lanes, rate, p)
	}
	f.Ret()
}

const lanesDoc = "takes the step of BackwardSGD on lanes matrices of rows × cols that follow\neach other, as do the vectors; matrix l has the step size lr[l·rates]."

// nextLane ends a loop over lanes: it moves to the next step size and goes on at
// lane while there are any left. t is scratch.
func (f *Func) nextLane(lane Label, lanes, rate, t Reg) {
	f.ReloadArg(t, "rates")
	f.Lea(rate, Mem{Base: rate, Index: t, Scale: 4})
	f.SubReg(lanes, 1)
	f.JumpIf(lanes, ">", 0, lane)
}

// descend sets w = w − lr·(x·dy) where x is not zero, every operation rounded; t
// is scratch and may be dy.
func (f *Func) descend(w, x, dy, lr, zero, t Vec) {
	c := f.Cmp(NE, x, zero)
	f.Mul(t, x, dy)
	f.Mul(t, lr, t)
	f.Sub(t, w, t)
	f.Select(w, c, t, w)
	f.FreeCond(c)
}

// updateNarrow is the update alone. A vector covers several rows: indices say
// which x and which dy each of its elements takes, for Lanes rows, after which
// they are the same again. It stores no part of a vector but the last.
func updateNarrow(a *Asm) {
	f := a.Func("updateNarrow", "w, x, dy, lr *float32, spread *uint32, rows, cols, lanes, rates int", "")
	f.Doc = lanesDoc + "\nThere is no dx; spread is spreads(cols)."
	w, x, dy, rate, cols, lanes := f.Arg("w"), f.Arg("x"), f.Arg("dy"), f.Arg("lr"), f.Arg("cols"), f.Arg("lanes")
	rows, n, table := f.Reg(), f.Reg(), f.Reg()
	tail := f.Tail(cols)
	lr, dyv, xv, zero := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	xi, dyi, v, index := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.Zero(zero)
	vector := func(load func(), store func()) {
		f.Load(index, Mem{Base: table})
		f.Permute(xi, xv, index)
		f.Load(index, Mem{Base: table, Off: 4 * f.Lanes})
		f.Permute(dyi, dyv, index)
		load()
		f.descend(v, xi, dyi, lr, zero, dyi)
		store()
	}
	lane, group, few := f.NewLabel("lane"), f.NewLabel("group"), f.NewLabel("few")
	top, part, next := f.NewLabel("vector"), f.NewLabel("part"), f.NewLabel("next")
	f.Label(lane)
	f.Broadcast(lr, Mem{Base: rate})
	f.LoadTail(dyv, Mem{Base: dy}, tail)
	f.ReloadArg(rows, "rows")
	f.Label(group)
	f.MovReg(n, rows)
	f.JumpIf(n, "<=", f.Lanes, few)
	f.MovReg(n, f.Lanes)
	f.Label(few)
	k := f.Tail(n)
	f.LoadTail(xv, Mem{Base: x}, k)
	f.FreeTail(k)
	f.Lea(x, Mem{Base: x, Index: n, Scale: 4})
	f.SubReg(rows, n)
	f.MulReg(n, cols)
	f.ReloadArg(table, "spread")
	f.JumpIf(n, "<", f.Lanes, part)
	f.Label(top)
	vector(func() { f.Load(v, Mem{Base: w}) }, func() { f.Store(Mem{Base: w}, v) })
	f.AddReg(w, 4*f.Lanes)
	f.AddReg(table, 8*f.Lanes)
	f.SubReg(n, f.Lanes)
	f.JumpIf(n, ">=", f.Lanes, top)
	f.Label(part)
	f.JumpIf(n, "==", 0, next)
	k = f.Tail(n)
	vector(func() { f.LoadTail(v, Mem{Base: w}, k) }, func() { f.StoreTail(Mem{Base: w}, v, k) })
	f.FreeTail(k)
	f.Lea(w, Mem{Base: w, Index: n, Scale: 4})
	f.Label(next)
	f.JumpIf(rows, ">", 0, group)
	f.Lea(dy, Mem{Base: dy, Index: cols, Scale: 4})
	f.nextLane(lane, lanes, rate, n)
	f.Ret()
}

// gemvLanes is gemvTile for matrices of 1 to Lanes columns that follow each
// other, as do the vectors. A row is skipped by a mask: a jump would cost more
// than it saves.
func gemvLanes(a *Asm) {
	f := a.Func("gemvLanes", "y, x, w *float32, rows, cols, lanes int", "")
	f.Doc = "computes the products of Gemv for lanes matrices of rows × cols that\nfollow each other, as do the vectors."
	y, x, w, stride, lanes := f.Arg("y"), f.Arg("x"), f.Arg("w"), f.Arg("cols"), f.Arg("lanes")
	last, n := f.Reg(), f.Reg()
	f.MovReg(last, stride)
	f.ShlReg(stride, 2)
	tail := f.Tail(last)
	acc, xv, wv, zero := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.Zero(zero)
	rows := func(count int) {
		for i := range count {
			f.Broadcast(xv, Mem{Base: x, Off: 4 * i})
			c := f.Cmp(NE, xv, zero)
			f.LoadTail(wv, Mem{Base: w}, tail)
			f.FmaIf(acc, c, xv, wv)
			f.FreeCond(c)
			f.AddReg(w, stride)
		}
		f.AddReg(x, 4*count)
		f.SubReg(n, count)
	}
	const group = 4
	lane, top, rest, done := f.NewLabel("lane"), f.NewLabel("group"), f.NewLabel("rest"), f.NewLabel("done")
	f.Label(lane)
	f.ReloadArg(n, "rows")
	f.Zero(acc)
	f.JumpIf(n, "<", group, rest)
	f.Label(top)
	rows(group)
	f.JumpIf(n, ">=", group, top)
	f.Label(rest)
	f.JumpIf(n, "==", 0, done)
	rows(1)
	f.Jump(rest)
	f.Label(done)
	f.StoreTail(Mem{Base: y}, acc, tail)
	f.AddReg(y, stride)
	f.SubReg(lanes, 1)
	f.JumpIf(lanes, ">", 0, lane)
	f.Ret()
}

// foldRows adds up each of narrowRows vectors, lanes 8, 4 apart, and then
// (t0+t1)+(t2+t3). The sum of v[i] is lane i of the result, which is one of v.
func (f *Func) foldRows(v []Vec) Vec {
	if f.ISA == NEON {
		f.neon3(opFaddp, v[0], v[0], v[1])
		f.neon3(opFaddp, v[2], v[2], v[3])
		f.neon3(opFaddp, v[0], v[0], v[2])
		return v[0]
	}
	t := f.Vec()
	defer f.Free(t)
	add := func(lo, hi string, a, b Vec) { // a = lo(a, b) + hi(a, b)
		f.Emit("%s, %s, %s, %s", lo, f.v(b), f.v(a), f.v(t))
		f.Emit("%s, %s, %s, %s", hi, f.v(b), f.v(a), f.v(a))
		f.Add(a, a, t)
	}
	if f.ISA == AVX2 {
		add("VPERM2F128 $0x20", "VPERM2F128 $0x31", v[0], v[1]) // 0 | 1
		add("VPERM2F128 $0x20", "VPERM2F128 $0x31", v[2], v[3]) // 2 | 3
		add("VSHUFPS $0x88", "VSHUFPS $0xDD", v[0], v[2])
		add("VSHUFPS $0x88", "VSHUFPS $0xDD", v[0], v[0]) // 0 2 0 2 | 1 3 1 3
		f.Emit("VEXTRACTF128 $1, Y%d, X%d", v[0], t)
		f.Emit("VUNPCKLPS X%d, X%d, X%d", t, v[0], v[0])
		return v[0]
	}
	for i := 0; i < 8; i += 2 {
		add("VSHUFF32X4 $0x44", "VSHUFF32X4 $0xEE", v[i], v[i+1])
	}
	for i := 0; i < 8; i += 4 {
		add("VSHUFF32X4 $0x88", "VSHUFF32X4 $0xDD", v[i], v[i+2])
	}
	add("VSHUFPS $0x88", "VSHUFPS $0xDD", v[0], v[4])
	add("VSHUFPS $0x88", "VSHUFPS $0xDD", v[0], v[0]) // 0 4 0 4 | 1 5 1 5 | …
	f.Load(t, Const{[]uint32{0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0}})
	f.Emit("VPERMPS Z%d, Z%d, Z%d", v[0], t, v[0])
	return v[0]
}
