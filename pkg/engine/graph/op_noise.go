package graph

import (
	"math"

	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/tensor"
)

type normalOp struct{ key rng.Key }

// Normal returns standard normal noise, a function of the key and of the step
// that [Program.Run] is given; it has no gradient.
func (b *Builder) Normal(key rng.Key, shape ...int) Node {
	return b.add(normalOp{key}, shape)
}

func (normalOp) name() string { return "normal" }

func (normalOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o normalOp) emit(s *site) func(uint64) {
	y := s.y
	return func(step uint64) { o.key.FillNormal(y, step) }
}

// stretches implements [ranger]: noise is drawn where it is used.
func (normalOp) stretches() bool { return true }

func (normalOp) width(tensor.Shape) int { return 0 }

func (o normalOp) emitRange(*site) func(step uint64, dst []float32, lo, hi int) {
	return func(step uint64, dst []float32, lo, hi int) {
		// Draws come in groups of 64; the group that lo is in may begin earlier.
		if over := lo % 64; over > 0 {
			var group [64]float32
			o.key.FillNormalAt(group[:], step, lo-over)
			n := copy(dst, group[over:])
			dst, lo = dst[n:], lo+n
		}
		if len(dst) > 0 {
			o.key.FillNormalAt(dst, step, lo)
		}
	}
}

func (o normalOp) twin(s *site64) {
	noise := make([]float32, len(s.y))
	o.key.FillNormal(noise, s.step)
	widen(s.y, noise)
}

type uniformOp struct {
	key    rng.Key
	lo, hi float32
}

// Uniform returns noise that is uniform in [lo, hi), a function of the key and
// of the step that [Program.Run] is given; it has no gradient.
func (b *Builder) Uniform(key rng.Key, lo, hi float32, shape ...int) Node {
	if w := hi - lo; !(w >= 0 && w <= math.MaxFloat32) {
		panic(errorf("uniform: from %v to %v", lo, hi))
	}
	return b.add(uniformOp{key, lo, hi}, shape)
}

func (uniformOp) name() string { return "uniform" }

func (uniformOp) grad(*Builder, Node, Node, []Node) []Node { return nil }

func (o uniformOp) emit(s *site) func(uint64) {
	y := s.y
	return func(step uint64) { o.key.FillUniform(y, o.lo, o.hi, step) }
}

func (o uniformOp) twin(s *site64) {
	noise := make([]float32, len(s.y))
	o.key.FillUniform(noise, o.lo, o.hi, s.step)
	widen(s.y, noise)
}
