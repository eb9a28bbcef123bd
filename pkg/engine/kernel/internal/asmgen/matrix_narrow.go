package asmgen

// narrowRows is how many rows the kernels of this file take at a time.
var narrowRows = [...]int{AVX512: 8, AVX2: 4, NEON: 4}

// narrow has the backward pass through matrices of 1 to Lanes columns, where a
// row is one partial vector. Rows are loaded in groups before any of them is
// stored: a load that overlaps a partial store has to wait for it.
func narrow(a *Asm, name string, dot, update bool) {
	params := "w, x, dy *float32, rows, cols int, lr float32"
	switch {
	case dot && update:
		params = "dx, w, x, dy *float32, rows, cols, gated int, lr float32"
	case dot:
		params = "dx, w, dy *float32, rows, cols int"
	}
	f := a.Func(name, params, "")
	w, dy, rows, stride := f.Arg("w"), f.Arg("dy"), f.Arg("rows"), f.Arg("cols")
	var dx, x Reg
	if dot {
		dx = f.Arg("dx")
	}
	last := f.Reg()
	f.MovReg(last, stride)
	f.ShlReg(stride, 2)
	tail := f.Tail(last)
	dyv, xv, t, zero := f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.LoadTail(dyv, Mem{Base: dy}, tail)
	f.Zero(zero)
	var lr Vec
	if update {
		lr = f.Vec()
		f.BroadcastArg(lr, "lr")
		x = f.Arg("x")
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
		var v, products []Vec
		if dot {
			products = f.Vecs(size)
		}
		if update {
			v = f.Vecs(size)
		}
		each(func(i int) {
			u := t
			if update {
				u = v[i]
			}
			f.LoadTail(u, Mem{Base: p}, tail)
			if dot {
				f.Mul(products[i], u, dyv)
			}
			if update {
				f.Broadcast(xv, Mem{Base: x, Off: 4 * i})
				c := f.Cmp(NE, xv, zero)
				f.Mul(t, xv, dyv)
				f.Mul(t, lr, t)
				f.Sub(t, u, t)
				f.Select(u, c, t, u)
				f.FreeCond(c)
			}
		})
		if update {
			each(func(i int) { f.StoreTail(Mem{Base: p}, v[i], tail) })
			f.Free(v...)
		}
		f.MovReg(w, p)
		if dot {
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
			}
			f.StoreTail(Mem{Base: dx}, sum, k)
			f.FreeTail(k)
			f.AddReg(dx, 4*size)
			f.Free(products...)
		}
		if update {
			f.AddReg(x, 4*size)
		}
	}
	top, rest, done := f.NewLabel("group"), f.NewLabel("rest"), f.NewLabel("done")
	f.JumpIf(rows, "<", size, rest)
	n := f.Reg()
	f.MovReg(n, size)
	f.Label(top)
	group(n, false)
	f.SubReg(rows, size)
	f.JumpIf(rows, ">=", size, top)
	f.Label(rest)
	f.JumpIf(rows, "==", 0, done)
	group(rows, true)
	f.Label(done)
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
