package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/kernel/internal/spec"
)

// plainMap computes a program element by element.
func plainMap(s MapSpec, n int, arrays [][]float32, scalars []float32) [][]float32 {
	outs := make([][]float32, len(s.Outputs))
	for e := range n {
		var v []float32
		for _, a := range arrays {
			v = append(v, a[e])
		}
		v = append(v, scalars...)
		for _, o := range s.Code {
			y := make([]float32, 1)
			in := o.Args()
			switch len(in) {
			case 1:
				Unary(o.Op, y, []float32{v[in[0]]})
			case 2:
				Binary(o.Op, y, []float32{v[in[0]]}, []float32{v[in[1]]})
			default:
				Ternary(o.Op, y, []float32{v[in[0]]}, []float32{v[in[1]]}, []float32{v[in[2]]})
			}
			v = append(v, y[0])
		}
		for i, o := range s.Outputs {
			outs[i] = append(outs[i], v[o])
		}
	}
	return outs
}

// runMap runs a program as its aliases say, on copies of the arrays, which
// begin at an odd place and are followed by a mark.
func runMap(t require.TestingT, m *Map, n int, arrays [][]float32, scalars []float32) [][]float32 {
	const mark = 12345
	place := func(a []float32) []float32 {
		b := make([]float32, n+4)
		copy(b[3:], a)
		b[n+3] = mark
		return b[3 : n+3 : n+4]
	}
	var in, outs [][]float32
	for _, a := range arrays {
		in = append(in, place(a))
	}
	for _, a := range m.spec.Alias {
		if a >= 0 {
			outs = append(outs, in[a])
		} else {
			outs = append(outs, place(make([]float32, n)))
		}
	}
	m.Run(n, in, scalars, outs)
	for _, o := range append(in, outs...) {
		require.Equal(t, float32(mark), o[:n+1][n], "wrote beyond the end")
	}
	return outs
}

func requireSameFloats(t require.TestingT, want, got [][]float32, what string) {
	require.Equal(t, len(want), len(got))
	for i := range want {
		for e := range want[i] {
			w, g := want[i][e], got[i][e]
			if math.Float32bits(w) != math.Float32bits(g) && (w == w || g == g) {
				require.Failf(t, what, "output %d, element %d: %x, want %x", i, e, g, w)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, p := range spec.Patterns {
		for _, isa := range Available() {
			t.Run(fmt.Sprintf("%s %s", p.Name, isa), func(t *testing.T) {
				defer ForceISA(isa)()
				m := NewMap(p.Map)
				require.Equal(t, isa != Generic, m.Fused())
				for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257, 1000} {
					arrays := make([][]float32, p.Arrays)
					for i := range arrays {
						arrays[i] = make([]float32, n)
						for e := range arrays[i] {
							arrays[i][e] = float32(int32(Philox(1, 2, uint64(i), uint64(e))[0])) / (1 << 30)
							if e%7 == 3 {
								arrays[i][e] = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.NaN()), 1e-42, -3e38}[(e/7+i)%6]
							}
						}
					}
					scalars := []float32{0.9, 0.1, 0.99, 0.01, 1e-3, 1.5, 1e-8, 0.999}[:p.Scalars]
					requireSameFloats(t, plainMap(p.Map, n, arrays, scalars), runMap(t, m, n, arrays, scalars), fmt.Sprint(n))
				}
			})
		}
	}
}

// TestMapsOfAnyKind holds random programs, with values read often and outputs in
// place of inputs, against the plain evaluation.
func TestMapsOfAnyKind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := MapSpec{Arrays: rapid.IntRange(1, 4).Draw(t, "arrays"), Scalars: rapid.IntRange(0, 3).Draw(t, "scalars")}
		first := s.Arrays + s.Scalars
		for i := range rapid.IntRange(1, 12).Draw(t, "operations") {
			op := Op(rapid.IntRange(int(Neg), int(Select)).Draw(t, "op"))
			v := func() int { return rapid.IntRange(0, first+i-1).Draw(t, "value") }
			s.Code = append(s.Code, MapOp{Op: op, A: v(), B: v(), C: v()})
		}
		taken := map[int]bool{}
		for range rapid.IntRange(1, 3).Draw(t, "outputs") {
			alias := rapid.IntRange(-1, s.Arrays-1).Draw(t, "alias")
			if taken[alias] {
				alias = -1
			}
			taken[alias] = true
			s.Outputs = append(s.Outputs, first+rapid.IntRange(0, len(s.Code)-1).Draw(t, "output"))
			s.Alias = append(s.Alias, alias)
		}
		n := rapid.SampledFrom([]int{1, 5, 16, mapBlock - 1, mapBlock, mapBlock + 1, 3*mapBlock + 7}).Draw(t, "n")
		arrays := make([][]float32, s.Arrays)
		for i := range arrays {
			for e := range n {
				arrays[i] = append(arrays[i], float32(int32(Philox(3, 4, uint64(i), uint64(e))[0]))/(1<<30))
			}
		}
		scalars := []float32{0.5, -1.25, 3}[:s.Scalars]
		requireSameFloats(t, plainMap(s, n, arrays, scalars), runMap(t, NewMap(s), n, arrays, scalars), "random program")
	})
}

func TestMapsThatMakeNoSensePanic(t *testing.T) {
	for _, s := range []MapSpec{
		{Arrays: 1, Code: []MapOp{{Op: Neg, A: 1}}, Outputs: []int{1}, Alias: []int{-1}},
		{Arrays: 1, Code: []MapOp{{Op: Neg, A: 0}}, Outputs: []int{0}, Alias: []int{-1}},
		{Arrays: 1, Code: []MapOp{{Op: Neg, A: 0}}, Outputs: []int{1}, Alias: []int{1}},
	} {
		require.Panics(t, func() { NewMap(s) })
	}
}

func BenchmarkMap(b *testing.B) {
	for _, p := range spec.Patterns {
		for _, n := range []int{5, 4096} {
			b.Run(fmt.Sprintf("%s/%d", p.Name, n), func(b *testing.B) {
				m := NewMap(p.Map)
				arrays := make([][]float32, p.Arrays)
				for i := range arrays {
					arrays[i] = make([]float32, n)
				}
				var outs [][]float32
				for _, a := range p.Alias {
					if a >= 0 {
						outs = append(outs, arrays[a])
					} else {
						outs = append(outs, make([]float32, n))
					}
				}
				scalars := []float32{0.9, 0.1, 0.99, 0.01, 1e-3, 1.5, 1e-8, 0.999}[:p.Scalars]
				for b.Loop() {
					m.Run(n, arrays, scalars, outs)
				}
			})
		}
	}
}
