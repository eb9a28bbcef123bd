package asmgen

import (
	"bytes"
	"regexp"
)

func init() { Register("gemm", gemm) }

// The register tiles of the matrix product: rows × vectors, wide and narrow.
var (
	gemmRows    = [...]int{AVX512: 14, AVX2: 6, NEON: 8}
	gemmVectors = [...]int{AVX512: 2, AVX2: 2, NEON: 3}
)

// gemm has the matrix product's inner loops and the transposition.
func gemm(a *Asm) {
	gemmTiles(a, "gemmWide", gemmVectors[a.ISA])
	gemmTiles(a, "gemmNarrow", 1)
	transpose(a)
	pack(a)
}

// gemmTiles computes tiles of C below each other. Strides are in bytes, A has
// one for rows and one for columns. The last vector of a row has last elements.
func gemmTiles(asm *Asm, name string, vectors int) {
	f := asm.Func(name, "tiles, rows, k int, a *float32, ars, acs int, b *float32, ldb int, c *float32, ldc, last, more int", "")
	f.Doc = "computes tiles of rows of C, which has one register tile of columns,\nthe last vector of which has last elements. Strides are in bytes. More adds to C."
	tiles := func() {
		rows := f.Reg()
		f.ReloadArg(rows, "rows")
		f.SubReg(rows, 1)
		labels := make([]Label, gemmRows[f.ISA])
		for i := range labels {
			labels[i] = f.NewLabel("rows")
		}
		f.choose(rows, labels)
		f.FreeReg(rows)
		for i, l := range labels {
			f.Label(l)
			f.gemmTile(i+1, vectors)
		}
	}
	if f.ISA == AVX512 && vectors == 1 { // up to 8 columns take half the time on machines that do 512 bits in two halves
		whole, r := f.NewLabel("whole"), f.Reg()
		f.ReloadArg(r, "last")
		f.JumpIf(r, ">", 8, whole)
		f.FreeReg(r)
		f.halved(tiles)
		f.Label(whole)
	}
	tiles()
}

var zmm = regexp.MustCompile(`\bZ(\d+)\b`)

// halved writes AVX-512 code for vectors of 8 lanes.
func (f *Func) halved(write func()) {
	start := f.body.Len()
	f.Lanes /= 2
	write()
	f.Lanes *= 2
	half := zmm.ReplaceAll(bytes.Clone(f.body.Bytes()[start:]), []byte("Y$1"))
	f.body.Truncate(start)
	f.body.Write(half)
}

func (f *Func) gemmTile(rows, vectors int) {
	size := 4 * f.Lanes
	k, ars, acs, b, ldb := f.Reg(), f.Reg(), f.Reg(), f.Reg(), f.Reg()
	a := f.aOperand(rows)
	f.ReloadArg(a.ptrs[0], "a")
	f.ReloadArg(ars, "ars")
	f.ReloadArg(acs, "acs")
	f.ReloadArg(ldb, "ldb")
	a.stride(ars)
	last := f.Reg()
	f.ReloadArg(last, "last")
	tail := f.Tail(last)
	if f.ISA != NEON {
		f.FreeReg(last)
	}
	acc := make([][]Vec, rows)
	for i := range acc {
		acc[i] = f.Vecs(vectors)
	}
	tile, zero, begin := f.NewLabel("tile"), f.NewLabel("zero"), f.NewLabel("begin")
	whole, done, next := f.NewLabel("whole"), f.NewLabel("done"), f.NewLabel("next")

	// each visits the elements of C.
	each := func(visit func(v Vec, m Mem, partial bool), full bool) {
		p, ldc := f.Reg(), f.Reg()
		f.ReloadArg(p, "c")
		f.ReloadArg(ldc, "ldc")
		for i := range acc {
			for j, v := range acc[i] {
				visit(v, Mem{Base: p, Off: j * size}, j == vectors-1 && !full)
			}
			if i < rows-1 {
				f.AddReg(p, ldc)
			}
		}
		f.FreeReg(p, ldc)
	}

	f.Label(tile)
	f.ReloadArg(k, "more")
	f.JumpIf(k, "==", 0, zero)
	each(func(v Vec, m Mem, partial bool) {
		if partial {
			f.LoadTail(v, m, tail)
		} else {
			f.Load(v, m)
		}
	}, false)
	f.Jump(begin)
	f.Label(zero)
	for i := range acc {
		for _, v := range acc[i] {
			f.Zero(v)
		}
	}
	f.Label(begin)
	a.begin(ars)
	f.ReloadArg(b, "b")
	f.ReloadArg(k, "k")

	loop := func(full bool, end Label) {
		top := f.NewLabel("k")
		f.JumpIf(k, "<=", 0, end)
		f.Label(top)
		bs, x := f.Vecs(vectors), f.Vec()
		for j, v := range bs {
			m := Mem{Base: b, Off: j * size}
			if j == vectors-1 && !full {
				f.LoadTail(v, m, tail)
			} else {
				f.Load(v, m)
			}
		}
		f.AddReg(b, ldb)
		for i := range acc {
			if f.ISA == AVX512 && vectors == 1 { // used once, the broadcast is cheaper as an operand
				f.Emit("VFMADD231PS.BCST %s, %s, %s", f.mem(a.row(i, ars)), f.v(bs[0]), f.v(acc[i][0]))
				continue
			}
			f.Broadcast(x, a.row(i, ars))
			for j, v := range acc[i] {
				f.Fma(v, x, bs[j])
			}
		}
		for _, p := range a.ptrs {
			f.AddReg(p, acs)
		}
		f.Emit(map[bool]string{true: "SUB $1, %s, %[1]s", false: "DECQ %s"}[f.ISA == NEON], k)
		if f.ISA == NEON {
			f.Emit("CBNZ %s, %s", k, top)
		} else {
			f.Emit("JNE %s", top)
		}
		f.Free(bs...)
		f.Free(x)
	}
	lastIs := func(l Label) {
		r := f.Reg()
		f.ReloadArg(r, "last")
		f.JumpIf(r, "==", f.Lanes, l)
		f.FreeReg(r)
	}
	if f.ISA == NEON { // a partial vector takes jumps to load
		partial := f.NewLabel("partial")
		lastIs(whole)
		f.Label(partial)
		loop(false, done)
		f.Jump(done)
		f.Label(whole)
		loop(true, done)
	} else {
		loop(false, done)
	}
	f.Label(done)
	t := f.Vec()
	f.Zero(t)
	for i := range acc {
		for _, v := range acc[i] {
			f.Add(v, v, t) // −0, the trace of an underflow, becomes +0
		}
	}
	f.Free(t)
	storeWhole := f.NewLabel("store")
	lastIs(storeWhole)
	store := func(v Vec, m Mem, partial bool) {
		if partial {
			f.StoreTail(m, v, tail)
		} else {
			f.Store(m, v)
		}
	}
	each(store, false)
	f.Jump(next)
	f.Label(storeWhole)
	each(store, true)
	f.Label(next)
	for i := range acc {
		f.Free(acc[i]...)
	}

	// The next tile.
	t0, t1 := f.Reg(), f.Reg()
	ret := f.NewLabel("return")
	f.ReloadArg(t0, "tiles")
	f.SubReg(t0, 1)
	f.JumpIf(t0, "==", 0, ret)
	f.StoreArg("tiles", t0)
	f.ReloadArg(t0, "c")
	f.ReloadArg(t1, "ldc")
	f.addMultiple(t0, t1, rows)
	f.StoreArg("c", t0)
	f.ReloadArg(a.ptrs[0], "a")
	f.ReloadArg(t1, "ars")
	f.addMultiple(a.ptrs[0], t1, rows)
	f.StoreArg("a", a.ptrs[0])
	f.Jump(tile)
	f.Label(ret)
	f.Ret()
	f.FreeReg(t0, t1)
	f.FreeReg(k, ars, acs, b, ldb)
	a.free()
	f.FreeTail(tail)
	if f.ISA == NEON {
		f.FreeReg(last)
	}
}

// aOperand addresses the rows of A: with an index register for the stride and
// one for three strides, three pointers reach 15 rows on amd64. On arm64 each
// row has its pointer.
type aOperand struct {
	f    *Func
	rows int
	ptrs []Reg // ptrs[0] is row 0
	ars3 Reg
}

func (f *Func) aOperand(rows int) *aOperand {
	a := &aOperand{f: f, rows: rows}
	n := (rows + 4) / 5
	if f.ISA == NEON {
		n = rows
	}
	for range n {
		a.ptrs = append(a.ptrs, f.Reg())
	}
	if f.ISA != NEON {
		a.ars3 = f.Reg()
	}
	return a
}

func (a *aOperand) free() {
	a.f.FreeReg(a.ptrs...)
	if a.ars3 != "" {
		a.f.FreeReg(a.ars3)
	}
}

// stride sets the distance of rows.
func (a *aOperand) stride(ars Reg) {
	if a.ars3 != "" {
		a.f.Lea(a.ars3, Mem{Base: ars, Index: ars, Scale: 2})
	}
}

// begin derives the pointers from the first.
func (a *aOperand) begin(ars Reg) {
	for i := 1; i < len(a.ptrs); i++ {
		if a.f.ISA == NEON {
			a.f.Lea(a.ptrs[i], Mem{Base: a.ptrs[i-1], Index: ars, Scale: 1})
			continue
		}
		a.f.Lea(a.ptrs[i], Mem{Base: a.ptrs[i-1], Index: ars, Scale: 4})
		a.f.AddReg(a.ptrs[i], ars)
	}
}

func (a *aOperand) row(i int, ars Reg) Mem {
	if a.f.ISA == NEON {
		return Mem{Base: a.ptrs[i]}
	}
	m := Mem{Base: a.ptrs[i/5]}
	switch i % 5 {
	case 1, 2, 4:
		m.Index, m.Scale = ars, i%5
	case 3:
		m.Index, m.Scale = a.ars3, 1
	}
	return m
}

// StoreArg overwrites a 64-bit parameter.
func (f *Func) StoreArg(name string, r Reg) {
	op := "MOVQ"
	if f.ISA == NEON {
		op = "MOVD"
	}
	f.Emit("%s %s, %s+%d(FP)", op, r, name, f.param(name).off)
}

// addMultiple adds n·stride to p; it uses up stride.
func (f *Func) addMultiple(p, stride Reg, n int) {
	if f.ISA == NEON {
		f.Emit("MOVD $%d, R25", n)
		f.Emit("MADD R25, %s, %s, %s", p, stride, p)
		return
	}
	f.Emit("IMUL3Q $%d, %s, %s", n, stride, stride)
	f.AddReg(p, stride)
}

// pack copies rows of a register tile's width, side by side.
func pack(asm *Asm) {
	f := asm.Func("packRows", "dst *float32, lddst int, src *float32, ldsrc, rows int", "")
	f.Doc = "copies rows as wide as the register tile. Strides are in bytes."
	dst, lddst, src, ldsrc, rows := f.Arg("dst"), f.Arg("lddst"), f.Arg("src"), f.Arg("ldsrc"), f.Arg("rows")
	v := f.Vecs(gemmVectors[f.ISA])
	top := f.NewLabel("row")
	f.Label(top)
	for i, v := range v {
		f.Load(v, Mem{Base: src, Off: 4 * f.Lanes * i})
	}
	for i, v := range v {
		f.Store(Mem{Base: dst, Off: 4 * f.Lanes * i}, v)
	}
	f.AddReg(src, ldsrc)
	f.AddReg(dst, lddst)
	f.SubReg(rows, 1)
	f.JumpIf(rows, ">", 0, top)
	f.Ret()
}

// transpose writes the transpose of src, rows ≤ Lanes rows of cols elements.
func transpose(asm *Asm) {
	f := asm.Func("transposeRows", "dst *float32, lddst int, src *float32, ldsrc, rows, cols int", "")
	f.Doc = "transposes at most gemmLanes rows of src. Strides are in bytes."
	dst, lddst, src, ldsrc, rows, cols := f.Arg("dst"), f.Arg("lddst"), f.Arg("src"), f.Arg("ldsrc"), f.Arg("rows"), f.Arg("cols")
	p, n := f.Reg(), f.Reg()
	rowTail := f.Tail(rows)
	v := f.Vecs(f.Lanes)
	block, partial, done := f.NewLabel("block"), f.NewLabel("partial"), f.NewLabel("done")

	load := func(load func(v Vec, m Mem)) {
		loaded := f.NewLabel("loaded")
		f.MovReg(p, src)
		for i := range v {
			if i > 0 {
				f.JumpIf(rows, "==", i, loaded)
				f.AddReg(p, ldsrc)
			}
			load(v[i], Mem{Base: p})
		}
		f.Label(loaded)
	}
	store := func(n Reg) {
		stored := f.NewLabel("stored")
		order := f.transposeBlock(v)
		f.MovReg(p, dst)
		for i := range v {
			if i > 0 {
				if n != "" {
					f.JumpIf(n, "==", i, stored)
				}
				f.AddReg(p, lddst)
			}
			f.StoreTail(Mem{Base: p}, order[i], rowTail)
		}
		f.Label(stored)
	}
	f.JumpIf(cols, "<", f.Lanes, partial)
	f.Label(block)
	load(func(v Vec, m Mem) { f.Load(v, m) })
	store("")
	f.AddReg(src, 4*f.Lanes)
	f.MovReg(n, lddst)
	f.ShlReg(n, log2(f.Lanes/2)+1)
	f.AddReg(dst, n)
	f.SubReg(cols, f.Lanes)
	f.JumpIf(cols, ">=", f.Lanes, block)
	f.Label(partial)
	f.JumpIf(cols, "==", 0, done)
	tail := f.Tail(cols)
	load(func(v Vec, m Mem) { f.LoadTail(v, m, tail) })
	store(cols)
	f.FreeTail(tail)
	f.Label(done)
	f.Ret()
}

// transposeBlock transposes Lanes × Lanes elements in registers and returns the
// registers of the rows of the result, of which some are new.
func (f *Func) transposeBlock(v []Vec) []Vec {
	n := len(v)
	t := make([]Vec, n)
	if f.ISA != AVX2 {
		spare := f.Vecs(n)
		defer f.Free(spare...)
		copy(t, spare)
	}
	switch f.ISA {
	case NEON:
		for i := 0; i < 4; i += 2 {
			f.neon3(op3{"", 0x4E802800, "TRN1"}, t[i], v[i], v[i+1])
			f.neon3(op3{"", 0x4E806800, "TRN2"}, t[i+1], v[i], v[i+1])
		}
		for i := range 2 {
			f.word(0x4EC02800|uint32(t[i+2])<<16|uint32(t[i])<<5|uint32(v[i]), "TRN1 V%d.2D, V%d.2D, V%d.2D", v[i], t[i], t[i+2])
			f.word(0x4EC06800|uint32(t[i+2])<<16|uint32(t[i])<<5|uint32(v[i+2]), "TRN2 V%d.2D, V%d.2D, V%d.2D", v[i+2], t[i], t[i+2])
		}
		return v
	case AVX512:
		x := func(op string, d, a, b Vec) { f.Emit("%s Z%d, Z%d, Z%d", op, b, a, d) }
		for i := 0; i < 16; i += 2 { // pairs of lanes
			x("VUNPCKLPS", t[i], v[i], v[i+1])
			x("VUNPCKHPS", t[i+1], v[i], v[i+1])
		}
		for i := 0; i < 16; i += 4 { // v[i+c] has column c of each quarter for rows i…i+3
			x("VUNPCKLPD", v[i], t[i], t[i+2])
			x("VUNPCKHPD", v[i+1], t[i], t[i+2])
			x("VUNPCKLPD", v[i+2], t[i+1], t[i+3])
			x("VUNPCKHPD", v[i+3], t[i+1], t[i+3])
		}
		for c := range 4 {
			x("VSHUFF32X4 $0x44,", t[c], v[c], v[c+4]) // quarters 0, 1 of rows 0–7
			x("VSHUFF32X4 $0xEE,", t[c+4], v[c], v[c+4])
			x("VSHUFF32X4 $0x44,", t[c+8], v[c+8], v[c+12])
			x("VSHUFF32X4 $0xEE,", t[c+12], v[c+8], v[c+12])
		}
		for c := range 4 {
			x("VSHUFF32X4 $0x88,", v[c], t[c], t[c+8])
			x("VSHUFF32X4 $0xDD,", v[c+4], t[c], t[c+8])
			x("VSHUFF32X4 $0x88,", v[c+8], t[c+4], t[c+12])
			x("VSHUFF32X4 $0xDD,", v[c+12], t[c+4], t[c+12])
		}
		return v
	}
	// AVX2: 8 rows and as few registers as are left beside two masks.
	x := func(op string, d, a, b Vec) { f.Emit("%s Y%d, Y%d, Y%d", op, b, a, d) }
	s := f.Vec()
	defer f.Free(s)
	pair := func(lo, hi string, a, b Vec) { // a, b = lo(a, b), hi(a, b)
		x(lo, s, a, b)
		x(hi, b, a, b)
		f.Mov(a, s)
	}
	for i := 0; i < 8; i += 2 {
		pair("VUNPCKLPS", "VUNPCKHPS", v[i], v[i+1])
	}
	for i := 0; i < 8; i += 4 { // columns 0, 2, 1, 3 of each half for rows i…i+3 in v[i…]
		pair("VUNPCKLPD", "VUNPCKHPD", v[i], v[i+2])
		pair("VUNPCKLPD", "VUNPCKHPD", v[i+1], v[i+3])
	}
	for i := range 4 {
		pair("VPERM2F128 $0x20,", "VPERM2F128 $0x31,", v[i], v[i+4])
	}
	return []Vec{v[0], v[2], v[1], v[3], v[4], v[6], v[5], v[7]}
}
