package asmgen

import (
	"strconv"
	"strings"

	"neoteny/pkg/engine/kernel/internal/spec"
)

func init() { Register("maps", programs) }

// programs has the element-wise programs that get code of their own. A function
// takes the addresses of its arrays, then of those outputs that are not written
// in place of an array, and the single numbers.
func programs(a *Asm) {
	const params = "x **float32, s *float32, n int"
	a.Family("map", "int", params)
	for i, p := range spec.Patterns {
		words := strings.FieldsFunc(p.Name, func(r rune) bool { return r == ' ' || r == '-' })
		for k, w := range words {
			words[k] = strings.ToUpper(w[:1]) + w[1:]
		}
		f := a.Func("map"+strings.Join(words, ""), params, "")
		f.Doc = "is the pattern " + p.Name + "."
		f.InFamily(strconv.Itoa(i))
		mapping(f, p.Map)
	}
}

func mapping(f *Func, m spec.Map) {
	table, singles := f.Arg("x"), f.Arg("s")
	fixed := make([]Vec, m.Scalars)
	for i := range fixed {
		fixed[i] = f.Vec()
		f.Broadcast(fixed[i], Mem{Base: singles, Off: 4 * i})
	}
	f.FreeReg(singles)
	var arrays []Reg
	for range m.Arrays {
		arrays = append(arrays, f.Reg())
	}
	outs := make([]Reg, len(m.Outputs))
	bases := arrays
	for i, alias := range m.Alias {
		if alias >= 0 {
			outs[i] = arrays[alias]
			continue
		}
		outs[i] = f.Reg()
		bases = append(bases[:len(bases):len(bases)], outs[i])
	}
	for i, r := range bases {
		f.LoadReg(r, Mem{Base: table, Off: 8 * i})
	}
	f.FreeReg(table)
	n := f.Arg("n")

	first := m.Arrays + m.Scalars
	last := make([]int, first+len(m.Code)) // the operation that is the last to read a value
	for i, o := range m.Code {
		for _, v := range o.Args() {
			last[v] = i
		}
	}
	for _, v := range m.Outputs {
		last[v] = len(m.Code)
	}
	f.Stream(n, bases, 1, func(b *Block) {
		vals := make([]Vec, len(last))
		loaded := make([]bool, m.Arrays)
		value := func(v int) Vec {
			if v < m.Arrays && !loaded[v] {
				vals[v], loaded[v] = f.Vec(), true
				b.Load(vals[v], arrays[v], 0)
			}
			return vals[v]
		}
		for i, s := range fixed {
			vals[m.Arrays+i] = s
		}
		for i, o := range m.Code {
			var in []Vec
			for _, v := range o.Args() {
				in = append(in, value(v))
			}
			d := f.Vec()
			switch o.Op.Arity() {
			case 1:
				unaryOps[o.Op](f, d, in[0])
			case 2:
				binaryOps[o.Op](f, d, in[0], in[1])
			default:
				ternaryOps[o.Op](f, d, in[0], in[1], in[2])
			}
			vals[first+i] = d
			freed := map[int]bool{}
			for _, v := range o.Args() {
				if last[v] == i && !freed[v] && (v < m.Arrays || v >= first) {
					f.Free(vals[v])
					freed[v] = true
				}
			}
		}
		done := map[int]bool{}
		for i, v := range m.Outputs {
			b.Store(outs[i], 0, vals[v])
			if !done[v] {
				defer f.Free(vals[v])
				done[v] = true
			}
		}
	})
	f.Ret()
}
