package kernel

import "testing"

func TestAddOnEveryISA(t *testing.T) {
	eachISA(t, func(t *testing.T) {
		for _, n := range lengths(257) {
			for in := range inputs(t, n, 3) {
				y, a, b := in[0], in[1], in[2]
				want := make([]float32, n)
				addSlices(want, a, b)
				Binary(Add, y, a, b)
				requireBits(t, want, y, "n=%d", n)
				Binary(Add, a, a, b) // in place
				requireBits(t, want, a, "in place, n=%d", n)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	y, x, z := random(1024, 1), random(1024, 2), random(1024, 3)
	benchISA(b, 1024, func() { Binary(Add, y, x, z) })
}
