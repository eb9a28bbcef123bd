package asmgen

func init() { Register("elementwise", elementwise) }

// elementwise has the primitives on whole arrays.
func elementwise(a *Asm) {
	a.Family("binary", "y, x, z *float32, n int")
	for _, op := range []struct {
		label, name string
		emit        func(f *Func, d, a Vec, b Src)
	}{
		{"Add", "add", (*Func).Add},
	} {
		f := a.Func(op.name, "y, x, z *float32, n int", "")
		f.InFamily(op.label)
		y, x, z, n := f.Arg("y"), f.Arg("x"), f.Arg("z"), f.Arg("n")
		f.Stream(n, []Reg{y, x, z}, 4, func(b *Block) {
			v, t := f.Vecs(b.Len), f.Vec()
			for i := range v {
				b.Load(v[i], x, i)
			}
			for i := range v {
				op.emit(f, v[i], v[i], b.Operand(t, z, i))
			}
			for i := range v {
				b.Store(y, i, v[i])
			}
			f.Free(v...)
			f.Free(t)
		})
		f.Ret()
	}
}
