package datatest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The real files: sizes by class and a few pixels that are known to anybody who has looked at MNIST.
func TestMNIST(t *testing.T) {
	src := MNIST(t)
	d, err := src.Load("mnist")
	require.NoError(t, err)
	require.Equal(t, 60000, d.TrainSplit.N)
	require.Len(t, d.TrainSplit.X, 60000*784)
	require.Equal(t, 10000, d.TestSplit.N)
	require.Equal(t, []uint8{5, 0, 4, 1, 9, 2, 1, 3, 1, 4}, d.TrainSplit.Y[:10])
	require.Equal(t, []uint8{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}, d.TestSplit.Y[:10])

	classes := make([]int, 10)
	for _, y := range d.TrainSplit.Y {
		classes[y]++
	}
	require.Equal(t, []int{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}, classes)
	sum := 0
	for _, x := range d.TrainSplit.X {
		sum += int(x)
	}
	require.InDelta(t, 0.1307, float64(sum)/255/float64(len(d.TrainSplit.X)), 5e-5, "the mean everybody normalises with")

	require.Same(t, src, MNIST(t))
}
