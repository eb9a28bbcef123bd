package asmgen

import (
	"fmt"

	"neoteny/pkg/engine/kernel/internal/spec"
)

func init() { Register("maps", patterns) }

// patterns has one function for each pattern of element-wise programs. It reads and
// writes a vector of every array before it goes on to the next, so an output
// may be written over an input. Its parameters are the addresses of the arrays
// and then of the outputs, the scalars, and the number of elements.
func patterns(a *Asm) {
	const params = "x **float32, s *float32, n int"
	a.Family("map", "int", params)
	for i := range spec.Patterns {
		p := &spec.Patterns[i]
		f := a.Func("map"+p.Name, params, "")
		f.InFamily(fmt.Sprint(i))
		fused(f, &p.Map)
	}
}

func fused(f *Func, m *spec.Map) {
	table := f.Arg("x")
	regs := make([]Reg, m.Arrays+len(m.Outputs))
	for i := range regs {
		regs[i] = f.Reg()
		f.LoadReg(regs[i], Mem{Base: table, Off: 8 * i})
	}
	f.FreeReg(table)
	arrays, outs := regs[:m.Arrays], regs[m.Arrays:]
	values := make([]Vec, m.Arrays+m.Scalars+len(m.Code))
	if m.Scalars > 0 {
		base := f.Arg("s")
		for i := range m.Scalars {
			values[m.Arrays+i] = f.Vec()
			f.Broadcast(values[m.Arrays+i], Mem{Base: base, Off: 4 * i})
		}
		f.FreeReg(base)
	}
	n := f.Arg("n")

	// The instruction after which a value is not needed any more.
	last := make([]int, len(values))
	for i := range m.Code {
		for _, v := range m.Code[i].Args() {
			last[v] = i
		}
	}
	for _, v := range m.Outputs {
		last[v] = len(m.Code)
	}
	isScalar := func(v int) bool { return v >= m.Arrays && v < m.Arrays+m.Scalars }

	f.Stream(n, regs, 1, func(b *Block) {
		have := make([]bool, len(values))
		get := func(v int) Vec {
			if v < m.Arrays && !have[v] {
				have[v] = true
				values[v] = f.Vec()
				b.Load(values[v], arrays[v], 0)
			}
			return values[v]
		}
		for i := range m.Code {
			o := &m.Code[i]
			var args []Vec
			for _, v := range o.Args() {
				args = append(args, get(v))
			}
			d := f.Vec()
			values[m.Arrays+m.Scalars+i] = d
			switch o.Op.Arity() {
			case 1:
				unaryOps[o.Op](f, d, args[0])
			case 2:
				binaryOps[o.Op](f, d, args[0], args[1])
			default:
				ternaryOps[o.Op](f, d, args[0], args[1], args[2])
			}
			freed := map[int]bool{}
			for _, v := range o.Args() {
				if last[v] == i && !isScalar(v) && !freed[v] {
					freed[v] = true
					f.Free(values[v])
				}
			}
		}
		for i, v := range m.Outputs {
			b.Store(outs[i], 0, get(v))
		}
		freed := map[int]bool{}
		for _, v := range m.Outputs {
			if !isScalar(v) && !freed[v] {
				freed[v] = true
				f.Free(values[v])
			}
		}
	})
	f.Ret()
}
