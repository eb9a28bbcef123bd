package asmgen

import (
	"fmt"
	"strings"

	"neoteny/pkg/engine/kernel/internal/spec"
)

func init() { Register("elementwise", elementwise) }

// elementwise has the primitives on whole arrays. An operand is an array or a
// single number: the bits of the number that follows a function's name say
// which of its operands are single, the first being bit 0.
func elementwise(a *Asm) {
	a.Family("unary", "Op", "y, x *float32, n int")
	for op := spec.Neg; op < spec.Add; op++ {
		emit, ok := unaryOps[op]
		if !ok {
			continue
		}
		unroll := 4
		switch op {
		case spec.Exp, spec.Log, spec.Tanh, spec.Sigmoid, spec.Erf, spec.Log1p, spec.Expm1:
			unroll = 1 // the processor overlaps the rounds itself
		}
		f := a.Func(op.String(), "y, x *float32, n int", "")
		f.InFamily(goName(op))
		y, x, n := f.Arg("y"), f.Arg("x"), f.Arg("n")
		f.Stream(n, []Reg{y, x}, unroll, func(b *Block) {
			v := f.Vecs(b.Len)
			for i := range v {
				b.Load(v[i], x, i)
			}
			for i := range v {
				emit(f, v[i], v[i])
			}
			for i := range v {
				b.Store(y, i, v[i])
			}
			f.Free(v...)
		})
		f.Ret()
	}

	a.Family("binary", "int", "y, x, z *float32, n int")
	for op := spec.Add; op < spec.Fma; op++ {
		for single := range 3 {
			several(a, op, single, []string{"x", "z"}, "y, x, z *float32, n int", 4, func(f *Func, d Vec, args []Src) {
				if x, ok := args[0].(Vec); ok {
					binaryOps[op](f, d, x, args[1])
					return
				}
				f.Load(d, args[0])
				binaryOps[op](f, d, d, args[1])
			})
		}
	}

	a.Family("ternary", "int", "y, x, z, w *float32, n int")
	for op := spec.Fma; op < spec.Ops; op++ {
		for single := range 7 {
			several(a, op, single, []string{"x", "z", "w"}, "y, x, z, w *float32, n int", 2, func(f *Func, d Vec, args []Src) {
				v := make([]Vec, 3)
				for i, s := range args {
					var ok bool
					if v[i], ok = s.(Vec); !ok {
						v[i] = f.Vec()
						f.Load(v[i], s)
					}
				}
				ternaryOps[op](f, d, v[0], v[1], v[2])
				for i, s := range args {
					if _, ok := s.(Vec); !ok {
						f.Free(v[i])
					}
				}
			})
		}
	}

	for quarters, name := range []string{"sin", "cos"} {
		f := a.Func(name, "y, x *float32, n int", "int")
		f.Doc = "computes the " + name + " of |x| ≤ TrigMax and leaves other numbers as they are; it returns whether there are such."
		y, x, n := f.Arg("y"), f.Arg("x"), f.Arg("n")
		all := f.Vec()
		f.Load(all, Bits(1<<32-1))
		f.Stream(n, []Reg{y, x}, 1, func(b *Block) {
			v := f.Vec()
			b.Load(v, x, 0)
			trig(f, v, v, all, uint32(quarters))
			b.Store(y, 0, v)
			f.Free(v)
		})
		f.Xor(all, all, Bits(1<<32-1))
		f.StoreResultReg(f.AnyNegative(all))
		f.Ret()
	}
}

// several writes a function of several operands, of which those in the bits of
// single are single numbers.
func several(a *Asm, op spec.Op, single int, names []string, params string, unroll int, emit func(f *Func, d Vec, args []Src)) {
	f := a.Func(fmt.Sprintf("%s%d", identifier(op), single), params, "")
	f.InFamily(fmt.Sprintf("int(%s)<<3 + %d", goName(op), single))
	y := f.Arg("y")
	arrays := []Reg{y}
	bases := make([]Reg, len(names))
	fixed := make([]Vec, len(names))
	for i, name := range names {
		bases[i] = f.Arg(name)
		if single>>i&1 != 0 {
			fixed[i] = f.Vec()
			f.Broadcast(fixed[i], Mem{Base: bases[i]})
		} else {
			arrays = append(arrays, bases[i])
		}
	}
	n := f.Arg("n")
	f.Stream(n, arrays, unroll, func(b *Block) {
		d, t := f.Vecs(b.Len), f.Vecs(len(names))
		for k := range d {
			args := make([]Src, len(names))
			for i := range args {
				if single>>i&1 != 0 {
					args[i] = fixed[i]
				} else {
					args[i] = b.Operand(t[i], bases[i], k)
				}
			}
			emit(f, d[k], args)
		}
		for k := range d {
			b.Store(y, k, d[k])
		}
		f.Free(append(d, t...)...)
	})
	f.Ret()
}

// goName is the name of the op's constant in package kernel.
func goName(op spec.Op) string {
	if op == spec.ReLU {
		return "ReLU"
	}
	var name string
	for _, word := range strings.Split(op.String(), "-") {
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

// identifier is the op's name as in the name of a function.
func identifier(op spec.Op) string {
	name := goName(op)
	return strings.ToLower(name[:1]) + name[1:]
}
