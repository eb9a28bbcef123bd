package activation

import "neoteny/pkg/engine/graph"

// Until the graph has these operations.
func (f form) Select(c, a, z graph.Node) graph.Node {
	return f.Add(f.Mul(c, a), f.Mul(f.Sub(f.Const(1), c), z))
}
func (f form) Log1p(x graph.Node) graph.Node { return f.Log(f.plus(x, 1)) }
func (f form) Expm1(x graph.Node) graph.Node {
	return f.Mul(f.Tanh(f.times(0.5, x)), f.plus(f.Exp(x), 1))
}
func (f form) Erf(x graph.Node) graph.Node {
	a := f.Abs(x)
	t := f.Recip(f.plus(f.times(0.3275911, a), 1))
	p := f.c(1.061405429)
	for _, c := range []float64{-1.453152027, 1.421413741, -0.284496736, 0.254829592} {
		p = f.plus(f.Mul(p, t), c)
	}
	return f.Mul(f.Sign(x), f.minus(1, f.Mul(f.Mul(p, t), f.Exp(f.Neg(f.Square(f.below(a, 9)))))))
}
