package asmgen

func init() { Register("image", image) }

// image has what windows that slide over images need.
func image(a *Asm) {
	a.blocks("copyBlocks", false)
	a.blocks("addBlocks", true)
	a.maxPool()
}

// blocks writes a function of n1 blocks of n2 pieces of length ≥ 1: element i of
// piece q of block p is at dst + p·d1 + q·d2 + 4i and src + p·s1 + q·s2 + 4i,
// where the steps are in bytes. src is
// copied or added to dst, piece after piece.
func (a *Asm) blocks(name string, add bool) {
	f := a.Func(name, "dst, src *float32, n1, n2, length, d1, d2, s1, s2 int", "")
	full, rest := f.Arg("length"), f.Reg()
	f.MovReg(rest, full)
	f.SubReg(full, 1)
	f.AndReg(full, -f.Lanes)
	f.SubReg(rest, full) // 1…Lanes
	tail := f.Tail(rest)
	if f.ISA != NEON {
		f.FreeReg(rest)
	}
	dst, src, n1, d1, d2, s1, s2 := f.Arg("dst"), f.Arg("src"), f.Arg("n1"), f.Arg("d1"), f.Arg("d2"), f.Arg("s1"), f.Arg("s2")
	n2, p, q := f.Reg(), f.Reg(), f.Reg()
	block, piece, vector, last := f.NewLabel("block"), f.NewLabel("piece"), f.NewLabel("vector"), f.NewLabel("last")
	v, t := f.Vec(), f.Vec()
	f.Label(block)
	f.ReloadArg(n2, "n2")
	f.MovReg(p, dst)
	f.MovReg(q, src)
	f.Label(piece)
	i := f.Reg()
	f.MovReg(i, 0)
	f.JumpIf(full, "==", 0, last)
	f.Label(vector)
	f.Load(v, Mem{Base: q, Index: i, Scale: 4})
	if add {
		f.Add(v, v, Mem{Base: p, Index: i, Scale: 4})
	}
	f.Store(Mem{Base: p, Index: i, Scale: 4}, v)
	f.AddReg(i, f.Lanes)
	f.JumpIf(i, "<", full, vector)
	f.Label(last)
	f.LoadTail(v, Mem{Base: q, Index: i, Scale: 4}, tail)
	if add {
		f.LoadTail(t, Mem{Base: p, Index: i, Scale: 4}, tail)
		f.Add(v, v, t)
	}
	f.StoreTail(Mem{Base: p, Index: i, Scale: 4}, v, tail)
	f.AddReg(p, d2)
	f.AddReg(q, s2)
	f.SubReg(n2, 1)
	f.JumpIf(n2, ">", 0, piece)
	f.AddReg(dst, d1)
	f.AddReg(src, s1)
	f.SubReg(n1, 1)
	f.JumpIf(n1, ">", 0, block)
	f.Ret()
}

// maxPool writes a function that finds the largest of rows × columns pixels of
// channels numbers, by channel, and its index, for n windows: the first has the
// index at and is at x, the next ones are step elements, or stepBytes, further
// on, and skip elements lie between the rows of a window.
func (a *Asm) maxPool() {
	f := a.Func("maxPool", "y *float32, indices *int32, x *float32, at, n, rows, columns, channels, stepBytes, step, skip int", "")
	full, rest := f.Arg("channels"), f.Reg()
	f.MovReg(rest, full)
	pixel, skip := f.Vec(), f.Vec() // steps of the index
	f.BroadcastReg(pixel, full)
	f.SubReg(full, 1)
	f.AndReg(full, -f.Lanes)
	f.SubReg(rest, full)
	tail := f.Tail(rest)
	if f.ISA != NEON {
		f.FreeReg(rest)
	}
	iota := Const{}
	for i := range f.Lanes {
		iota.words = append(iota.words, uint32(i))
	}
	y, indices, x, at, n := f.Arg("y"), f.Arg("indices"), f.Arg("x"), f.Arg("at"), f.Arg("n")
	t := f.Reg()
	f.ReloadArg(t, "skip")
	f.BroadcastReg(skip, t)
	f.FreeReg(t)
	best, bestAt, v, vAt := f.Vec(), f.Vec(), f.Vec(), f.Vec()

	i := f.Reg() // the first channel
	window := f.NewLabel("window")
	f.Label(window)
	f.MovReg(i, 0)
	channels := func(load func(v Vec, m Mem), store func(m Mem, v Vec)) {
		p, rows, columns, step := f.Reg(), f.Reg(), f.Reg(), f.Reg()
		row, column := f.NewLabel("row"), f.NewLabel("column")
		f.Lea(p, Mem{Base: x, Index: i, Scale: 4})
		f.MovReg(step, at)
		f.AddReg(step, i)
		f.BroadcastReg(vAt, step)
		f.IAdd(vAt, vAt, iota)
		load(best, Mem{Base: p})
		f.Mov(bestAt, vAt)
		f.ReloadArg(rows, "rows")
		f.ReloadArg(step, "channels")
		f.ShlReg(step, 2)
		f.Label(row)
		f.ReloadArg(columns, "columns")
		f.Label(column)
		load(v, Mem{Base: p})
		larger := f.Cmp(GT, v, best)
		f.Select(best, larger, v, best)
		f.Select(bestAt, larger, vAt, bestAt)
		f.FreeCond(larger)
		nan := f.Cmp(NE, v, v)
		f.Select(best, nan, v, best)
		f.Select(bestAt, nan, vAt, bestAt)
		f.FreeCond(nan)
		f.IAdd(vAt, vAt, pixel)
		f.AddReg(p, step)
		f.SubReg(columns, 1)
		f.JumpIf(columns, ">", 0, column)
		f.IAdd(vAt, vAt, skip)
		f.ReloadArg(columns, "skip")
		f.ShlReg(columns, 2)
		f.AddReg(p, columns)
		f.SubReg(rows, 1)
		f.JumpIf(rows, ">", 0, row)
		store(Mem{Base: y, Index: i, Scale: 4}, best)
		store(Mem{Base: indices, Index: i, Scale: 4}, bestAt)
		f.FreeReg(p, rows, columns, step)
	}
	vector, last := f.NewLabel("vector"), f.NewLabel("last")
	f.JumpIf(full, "==", 0, last)
	f.Label(vector)
	channels(func(v Vec, m Mem) { f.Load(v, m) }, f.Store)
	f.AddReg(i, f.Lanes)
	f.JumpIf(i, "<", full, vector)
	f.Label(last)
	channels(func(v Vec, m Mem) { f.LoadTail(v, m, tail) }, func(m Mem, v Vec) { f.StoreTail(m, v, tail) })
	t = f.Reg()
	f.ReloadArg(t, "channels")
	f.ShlReg(t, 2)
	f.AddReg(y, t)
	f.AddReg(indices, t)
	f.ReloadArg(t, "stepBytes")
	f.AddReg(x, t)
	f.ReloadArg(t, "step")
	f.AddReg(at, t)
	f.FreeReg(t)
	f.SubReg(n, 1)
	f.JumpIf(n, ">", 0, window)
	f.Ret()
}
