// Package contrast has the supervised contrastive loss, for methods that compare the
// features of examples.
package contrast

import "neoteny/pkg/engine/graph"

// Loss traces the supervised contrastive loss of features [n][width]. of
// [n][classes] is 1 at an example's class; rows of zeros are no examples
// (Khosla et al. 2020, L_out).
func Loss(b *graph.Builder, f, of graph.Node, temperature float64) graph.Node {
	n := f.Shape()[0]
	others := make([]float32, n*n)
	for i := range others {
		others[i] = 1
	}
	for i := range n {
		others[i*n+i] = 0
	}
	z := b.Mul(f, b.Recip(b.Sqrt(b.Add(b.SumAxes(b.Square(f), -1), b.Const(1e-12)))))
	s := b.Scale(float32(1/temperature), b.MatMulNT(z, z))
	is := b.SumAxes(of, -1)                                              // [n][1]
	other := b.Mul(b.Array(others, n, n), b.Reshape(is, 1, n))           // [n][n]
	all := b.LogSumExp(b.Add(s, b.Scale(1e9, b.Sub(other, b.Const(1))))) // [n][1]
	same := b.Mul(b.MatMulNT(of, of), other)
	count := b.SumAxes(same, -1)
	has := b.Min(count, b.Const(1))
	each := b.Sub(all, b.Div(b.SumAxes(b.Mul(same, s), -1), b.Max(count, b.Const(1))))
	return b.Div(b.Sum(b.Mul(has, each)), b.Max(b.Sum(has), b.Const(1)))
}
