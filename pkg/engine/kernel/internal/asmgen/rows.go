package asmgen

import "math"

func init() { Register("rows", rows) }

// rows has what is done to each row of a matrix by itself.
func rows(a *Asm) {
	// Rows that fit into one vector, whose maximum and sum never leave it.
	f := a.Func("softmaxRows", "y, losses, x *float32, labels *int32, rows, cols int", "")
	losses, labels := f.Arg("losses"), f.Arg("labels")
	f.shortRows(func(r *shortRow) {
		noY, noLoss := f.NewLabel("noY"), f.NewLabel("noLoss")
		p, t := f.Vec(), f.Vec()
		f.Div(p, r.exp, r.sum)
		f.JumpIf(losses, "==", 0, noLoss)
		label := f.Reg()
		f.LoadReg32(label, Mem{Base: labels})
		f.LoadScalar(t, Mem{Base: r.x, Index: label, Scale: 4})
		f.FreeReg(label)
		f.Sub(t, t, r.max)
		log(f, r.sum, r.sum)
		f.Sub(t, r.sum, t)
		f.StoreScalar(Mem{Base: losses}, t)
		f.AddReg(labels, 4)
		f.AddReg(losses, 4)
		f.Label(noLoss)
		f.JumpIf(r.y, "==", 0, noY)
		f.StoreTail(Mem{Base: r.y}, p, r.tail)
		f.AddReg(r.y, r.stride)
		f.Label(noY)
		f.Free(p, t)
	})
	f.FreeReg(losses, labels)

	f = a.Func("logSoftmaxRows", "y, x *float32, rows, cols int", "")
	f.shortRows(func(r *shortRow) {
		log(f, r.sum, r.sum)
		f.Sub(r.shifted, r.shifted, r.sum)
		f.StoreTail(Mem{Base: r.y}, r.shifted, r.tail)
		f.AddReg(r.y, r.stride)
	})

	f = a.Func("expShifted", "y, x *float32, n int, shift float32", "")
	y, x, n, shift := f.Arg("y"), f.Arg("x"), f.Arg("n"), f.Vec()
	f.BroadcastArg(shift, "shift")
	f.Stream(n, []Reg{y, x}, 2, func(b *Block) {
		v := f.Vecs(b.Len)
		for i := range v {
			b.Load(v[i], x, i)
			b.Sub(v[i], v[i], shift)
			exp(f, v[i], v[i])
			b.Store(y, i, v[i])
		}
		f.Free(v...)
	})
	f.Ret()

	a.rowMax()

	f = a.Func("sumSquaredDeviations", "x *float32, n int, mean float32", "float32")
	x, n = f.Arg("x"), f.Arg("n")
	mean, t := f.Vec(), f.Vec()
	f.BroadcastArg(mean, "mean")
	f.reduce(n, []Reg{x}, func(b *Block, acc Vec, i int) {
		b.Load(t, x, i)
		b.Sub(t, t, mean)
		if b.Partial() {
			inside := f.firstLanes(n)
			f.Keep(t, inside, t)
			f.FreeCond(inside)
		}
		b.Fma(acc, t, t)
	})
}

// rowMax writes a function that returns the largest of n ≥ 1 elements, or NaN.
func (a *Asm) rowMax() {
	f := a.Func("rowMax", "x *float32, n int", "float32")
	x, n := f.Arg("x"), f.Arg("n")
	acc, lowest, t := f.Vecs(4), f.Vec(), f.Vec()
	f.Load(lowest, F32(float32(math.Inf(-1))))
	for _, v := range acc {
		f.Mov(v, lowest)
	}
	// larger sets v = t > v or t is NaN ? t : v.
	larger := func(v, t Vec) {
		more, nan := f.Cmp(GT, t, v), f.Cmp(NE, t, t)
		f.Select(v, more, t, v)
		f.Select(v, nan, t, v)
		f.FreeCond(more, nan)
	}
	f.Stream(n, []Reg{x}, len(acc), func(b *Block) {
		for i := range b.Len {
			b.Load(t, x, i)
			if b.Partial() {
				inside := f.firstLanes(n)
				f.Select(t, inside, t, lowest)
				f.FreeCond(inside)
			}
			larger(acc[i], t)
		}
	})
	for _, v := range acc[1:] {
		larger(acc[0], v)
	}
	f.swaps(acc[0], t, func() { larger(acc[0], t) })
	f.positiveZero(acc[0], t)
	f.StoreResult(acc[0])
	f.Ret()
}

// firstLanes returns the condition that holds in the first n lanes.
func (f *Func) firstLanes(n Reg) Cond {
	iota := Const{}
	for i := range f.Lanes {
		iota.words = append(iota.words, uint32(i))
	}
	v := f.Vec()
	f.BroadcastReg(v, n)
	c := f.ICmp(GT, v, iota)
	f.Free(v)
	return c
}

// A shortRow is a row of no more than Lanes elements whose exponentials have
// been summed.
type shortRow struct {
	y, x, stride Reg // y is for the body to move on
	tail         Tail
	max, sum     Vec // in every lane
	shifted, exp Vec // the elements minus max, and their exponentials, which are 0 beyond the row
}

// shortRows loops over the rows of the parameters y, x, rows and cols; the body
// may use up the vectors of its shortRow.
func (f *Func) shortRows(body func(r *shortRow)) {
	r := &shortRow{y: f.Arg("y"), x: f.Arg("x"), stride: f.Arg("cols")}
	rows := f.Arg("rows")
	cols := r.stride
	if f.ISA == NEON { // whose Tail is the register
		cols = f.Reg()
		f.MovReg(cols, r.stride)
	}
	r.tail = f.Tail(cols)
	inside := f.firstLanes(cols)
	f.ShlReg(r.stride, 2)
	top := f.NewLabel("row")
	f.Label(top)
	r.max, r.sum, r.shifted, r.exp = f.Vec(), f.Vec(), f.Vec(), f.Vec()
	f.LoadTail(r.shifted, Mem{Base: r.x}, r.tail)
	f.Load(r.sum, F32(float32(math.Inf(-1))))
	f.Select(r.max, inside, r.shifted, r.sum)
	f.maxLanes(r.max, r.sum)
	f.Sub(r.shifted, r.shifted, r.max)
	exp(f, r.exp, r.shifted)
	f.Keep(r.exp, inside, r.exp)
	f.Mov(r.sum, r.exp)
	t := f.Vec()
	f.sumLanes(r.sum, t)
	f.Free(t)
	body(r)
	f.Free(r.max, r.sum, r.shifted, r.exp)
	f.AddReg(r.x, r.stride)
	f.SubReg(rows, 1)
	f.JumpIf(rows, ">", 0, top)
	f.Ret()
}

// swaps are the exchanges of halves, quarters, … by which every lane meets every
// other, in the order of Fold64.
func (f *Func) swaps(v, t Vec, meet func()) {
	switch f.ISA {
	case NEON:
		f.word(0x4EA00800|uint32(v)<<5|uint32(t), "REV64 V%d.4S, V%d.4S", t, v)
		meet()
		f.word(0x6E004000|uint32(v)<<16|uint32(v)<<5|uint32(t), "EXT V%d.16B, V%d.16B, V%d.16B, #8", t, v, v)
		meet()
		return
	case AVX512:
		f.Emit("VSHUFF64X2 $0x4E, Z%d, Z%d, Z%d", v, v, t)
		meet()
		f.Emit("VSHUFF64X2 $0xB1, Z%d, Z%d, Z%d", v, v, t)
		meet()
	case AVX2:
		f.Emit("VPERM2F128 $1, Y%d, Y%d, Y%d", v, v, t)
		meet()
	}
	f.Emit("VPERMILPS $0xB1, %s, %s", f.v(v), f.v(t))
	meet()
	f.Emit("VPERMILPS $0x4E, %s, %s", f.v(v), f.v(t))
	meet()
}

// sumLanes sets every lane of v to their sum, added up as by Fold64 of lanes
// whose others are zero.
func (f *Func) sumLanes(v, t Vec) {
	if f.ISA == NEON {
		f.neon3(opFaddp, v, v, v)
		f.neon3(opFaddp, v, v, v)
		return
	}
	f.swaps(v, t, func() { f.Add(v, v, t) })
}

// maxLanes sets every lane of v to the largest of them, a zero being +0. What it
// makes of NaN is undefined, and may differ from lane to lane: this is for
// computations that carry a NaN on by themselves.
func (f *Func) maxLanes(v, t Vec) {
	if f.ISA == NEON {
		f.word(0x6E30F800|uint32(v)<<5|uint32(v), "FMAXV S%d, V%d.4S", v, v)
		f.Emit("VDUP V%d.S[0], V%d.S4", v, v)
	} else {
		f.swaps(v, t, func() { f.Emit("VMAXPS %s, %s, %s", f.v(t), f.v(v), f.v(v)) })
	}
	f.Zero(t)
	f.Add(v, v, t)
}
