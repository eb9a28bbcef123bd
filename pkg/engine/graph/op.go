package graph

import (
	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// op is one operation. All of it stands in one block of one file: its type with what
// it is parametrised by, the method of [Builder] that checks operands and gives it a
// shape, its derivative, its form with the kernel that computes it, its meaning in
// float64, and which of the capabilities below it has. The compiler asks for forms and
// capabilities and knows no operation, so that a new one is a new file and its test.
type op interface {
	name() string
	// grad returns the gradient contribution to each input, given the node's
	// own value and the gradient dy of the node. The zero Node stands for none.
	grad(b *Builder, y, dy Node, in []Node) []Node
}

// Forms: an operation has one of them.
type (
	// computed is an operation that an instruction computes.
	computed interface {
		op
		meaning
		// emit returns the instruction that computes the node's value at its place in a
		// program. It allocates what it needs; the instruction must not.
		emit(s *site) func(step uint64)
	}
	// elementwise is an operation on elements of the same index, of which one program
	// of the kernel computes many. An operand of one element stands for all.
	elementwise interface {
		op
		meaning
		primitive() kernel.Op
	}
	// source is a value that is there before the program runs.
	source interface {
		op
		// place gives the value its storage and content.
		place(p *placing)
		// value64 returns its n elements in a [Twin], numbers or labels.
		value64(t *Twin, n int) ([]float64, []int32)
	}
	// alias is another name for its first operand's value.
	alias interface {
		op
		alias()
	}
)

// meaning computes a node's value in float64, plainly: what [Twin] runs.
type meaning interface{ twin(s *site64) }

// Capabilities: an operation may have any of them.
type (
	// constant is a source whose elements are one number, known when it is traced.
	constant interface {
		source
		constant() float32
	}
	// spreading repeats its operand along axes; element-wise operations see through
	// it to a single number.
	spreading interface {
		op
		spreads()
	}
	// stopping lets no gradient through.
	stopping interface {
		op
		stops()
	}
	// instructed has an instruction of its own kind, which can be joined across lanes
	// or does more than a function can; it returns nil where emit will do.
	instructed interface {
		computed
		instruction(s *site) instruction
	}
	// ranger can compute any stretch of its value, and so beside what consumes it.
	ranger interface {
		computed
		// stretches reports whether it can at all.
		stretches() bool
		// width returns the length of a row if stretches must be of whole rows,
		// else 0.
		width(shape tensor.Shape) int
		// emitRange returns the instruction for the elements [lo, hi).
		emitRange(s *site) func(step uint64, dst []float32, lo, hi int)
	}
	// weightGradient is a ranger that is the gradient of a weight matrix [in][out] from
	// its operands x [n][in] and dy [n][out].
	weightGradient interface {
		ranger
		// outer reports whether x, of the given shape, is one example: the gradient is
		// an outer product, and cheap in any number of rows.
		outer(x tensor.Shape) bool
	}
	// carrying takes its operand dy [n][out] back through its second one, weights
	// [in][out], row by row of the weights: before they are updated.
	carrying interface {
		computed
		// carries reports whether it does, and not the product the other way round.
		carries() bool
		// emitRows returns the instruction for columns [lo, hi) of the value from
		// those rows of the weights.
		emitRows(s *site) func(lo, hi int)
	}
	// working counts the multiply-adds of its value, from the shapes of the value and
	// of the operands.
	working interface {
		op
		multiplyAdds(shape tensor.Shape, in []tensor.Shape) int64
	}
	// partial knows which stretch of a vector of its is zero, or another node's.
	partial interface {
		op
		// part returns elements [from, to) of node n, the zero Node if they are known
		// to be zero; false where it does not know.
		part(b *Builder, n node, from, to int) (Node, bool)
	}
)

// site is where an operation finds its operands and puts its value.
type site struct {
	shape  tensor.Shape   // of the value
	in     []tensor.Shape // of the operands
	y      []float32      // nil for a ranger that computes stretches
	x      [][]float32
	labels [][]int32 // of operands that are labels
}
