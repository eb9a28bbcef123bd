package graph

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// TestScheduleAgainstPlainEvaluation compiles random programs over variables,
// scalars and long vectors, and holds every output and every assigned variable
// against an evaluation of the same operations one after the other, each into
// an array of its own.
func TestScheduleAgainstPlainEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewStore()
		b := NewBuilder()
		want := map[int][]float32{} // by node id
		var nodes []Node
		var vars []*Var
		old := map[*Var][]float32{}
		for i := range rapid.IntRange(1, 4).Draw(t, "vars") {
			n := rapid.SampledFrom([]int{1, 7, stretch + 5, 3*stretch - 1}).Draw(t, "n")
			v := s.New(fmt.Sprint("v", i), F32, Persistent, n)
			for k := range v.F32 {
				v.F32[k] = float32((k+i)%11) - 4
			}
			old[v] = append([]float32(nil), v.F32...)
			vars = append(vars, v)
			x := b.Read(v)
			nodes = append(nodes, x)
			want[x.id] = old[v]
		}
		for range rapid.IntRange(1, 25).Draw(t, "ops") {
			x := rapid.SampledFrom(nodes).Draw(t, "x")
			var y Node
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0, 1:
				f := rapid.SampledFrom([]kernel.UnaryOp{kernel.Neg, kernel.ReLU, kernel.Tanh, kernel.Step}).Draw(t, "f")
				y = b.unary(f, x)
				want[y.id] = make([]float32, len(want[x.id]))
				kernel.Unary(f, want[y.id], want[x.id])
			case 2, 3:
				z := rapid.SampledFrom(nodes).Draw(t, "z")
				n := max(len(want[x.id]), len(want[z.id]))
				if len(want[z.id]) != 1 && len(want[x.id]) != 1 && len(want[x.id]) != len(want[z.id]) {
					continue
				}
				f := rapid.SampledFrom([]kernel.BinaryOp{kernel.Add, kernel.Sub, kernel.Mul, kernel.Max}).Draw(t, "g")
				y = b.binary(f, x, z)
				want[y.id] = make([]float32, n)
				kernel.Binary(f, want[y.id], want[x.id], want[z.id])
			case 4:
				y = b.Reshape(b.Sum(b.Tanh(x)), 1)
				full := make([]float32, len(want[x.id]))
				kernel.Unary(kernel.Tanh, full, want[x.id])
				want[y.id] = []float32{kernel.Sum(full)}
			case 5:
				n := len(want[x.id])
				y = b.Mul(b.StopGradient(b.Reshape(x, n)), b.Fill(2, tensor.Shape{n}))
				want[y.id] = make([]float32, n)
				kernel.Binary(kernel.Mul, want[y.id], want[x.id], []float32{2})
			}
			nodes = append(nodes, y)
		}
		expect := map[*Var][]float32{}
		for _, v := range vars {
			expect[v] = old[v]
			var fits []Node
			for _, n := range nodes {
				if n.Shape().Equal(v.Shape) {
					fits = append(fits, n)
				}
			}
			if rapid.Bool().Draw(t, "assign") {
				n := rapid.SampledFrom(fits).Draw(t, "value")
				b.Assign(v, n)
				expect[v] = want[n.id]
			}
		}
		outputs := map[string][]float32{}
		for i := range rapid.IntRange(0, 3).Draw(t, "outputs") {
			n := rapid.SampledFrom(nodes).Draw(t, "output")
			name := fmt.Sprint(i)
			b.Output(name, n)
			outputs[name] = want[n.id]
		}
		p := b.Compile()
		p.Run(0)
		for name, w := range outputs {
			require.Equal(t, w, p.Output(name), "output %s", name)
		}
		for v, w := range expect {
			require.Equal(t, w, v.F32, "variable %s", v.Name)
		}
	})
}

// The order of passes is checked: one that reads what is not there yet is refused.
func TestPassesAreInOrder(t *testing.T) {
	require.NotPanics(t, func() { checkPasses(passes) })
	swapped := slices.Clone(passes)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	require.PanicsWithValue(t, `graph: pass "schedule" must run after "form runs"`, func() { checkPasses(swapped) })
	require.PanicsWithValue(t, `graph: two passes are called "own sources"`, func() { checkPasses(append(passes[:1:1], passes[0])) })
}

// Every operation has one form, and every primitive of the kernel its meaning.
func TestEveryOperationHasOneForm(t *testing.T) {
	seen := map[string]bool{}
	for i := range opCases {
		for _, n := range opCases[i].trace(2).b.nodes {
			forms := 0
			for _, has := range []bool{is[computed](n.op), is[elementwise](n.op), is[source](n.op), is[alias](n.op)} {
				if has {
					forms++
				}
			}
			require.Equal(t, 1, forms, "%T", n.op)
			seen[n.op.name()] = true
		}
	}
	require.Greater(t, len(seen), 40)
}

func is[T any](o op) bool {
	_, ok := o.(T)
	return ok
}
