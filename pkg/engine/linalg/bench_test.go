package linalg

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkSingularValues(b *testing.B) {
	for _, size := range [][2]int{{2000, 100}, {2000, 500}, {256, 2000}, {2000, 2000}} {
		b.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(b *testing.B) {
			r := rand.New(rand.NewPCG(5, 6))
			x := make([]float32, size[0]*size[1])
			for i := range x {
				x[i] = max(0, float32(r.NormFloat64()))
			}
			var s SVD
			for b.Loop() {
				if _, err := s.Values(x, size[0], size[1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecompose784x300(b *testing.B) {
	r := rand.New(rand.NewPCG(7, 8))
	x := make([]float64, 784*300)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	var s SVD
	for b.Loop() {
		if _, _, _, err := s.Decompose(x, 784, 300); err != nil {
			b.Fatal(err)
		}
	}
}
