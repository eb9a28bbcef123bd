package graph

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMaxAllIsAScalarAndItsGradientGoesToTheFirst(t *testing.T) {
	b := NewBuilder()
	x := b.Input("x", 2, 3)
	y := b.MaxAll(x)
	require.Empty(t, y.Shape())
	b.Output("y", y)
	b.Output("dx", b.Gradients(y, x)[0])
	p := b.Compile()
	copy(p.Input("x"), []float32{-3, 2, 1, 2, -5, 0})
	p.Run(0)
	require.Equal(t, []float32{2}, p.Output("y"))
	require.Equal(t, []float32{0, 1, 0, 0, 0, 0}, p.Output("dx"))
}
