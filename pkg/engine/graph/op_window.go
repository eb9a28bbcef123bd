package graph

import (
	"unsafe"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

type im2colOp struct{ windowing }

// Im2Col lays out what a window over x [n][h][w][c] sees at each place, zeros
// where it lies beyond the edge: a row [rows][columns][c] of the window for each
// of n·oh·ow places, as a matrix.
func (b *Builder) Im2Col(x Node, w Window) Node {
	g := b.windowing("im2col", x, w)
	if g.area() == 1 && g.w.StrideH == 1 && g.w.StrideW == 1 {
		return b.Reshape(x, g.columns()...)
	}
	return b.add(im2colOp{g}, g.columns(), x)
}

func (im2colOp) name() string { return "im2col" }

func (o im2colOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(col2imOp(o), o.image(), dy)}
}

func (o im2colOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.Im2Col(y, x, o.n, o.w) }
}

func (o im2colOp) twin(s *site64) {
	o.seen(func(_, column, image int) {
		if image >= 0 {
			s.y[column] = s.x[0][image]
		}
	})
}

type col2imOp struct{ windowing }

func (col2imOp) name() string { return "col2im" }

func (o col2imOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(im2colOp(o), o.columns(), dy)}
}

func (o col2imOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.Col2Im(y, x, o.n, o.w) }
}

func (o col2imOp) twin(s *site64) {
	o.seen(func(_, column, image int) {
		if image >= 0 {
			s.y[image] += s.x[0][column]
		}
	})
}

// Conv2D returns the cross-correlation of x [n][h][w][c] with filters:
// [n][oh][ow][out]. The weights are [rows·columns·c/groups][out] for a window
// of rows×columns, input-major like those of a dense layer, the window's
// columns and then the channels running fastest. With groups, output channels
// come in as many equal groups, each of which sees only its own group of input
// channels; groups equal to c is a depthwise convolution.
func (b *Builder) Conv2D(x, w Node, win Window, groups int) Node {
	g := b.windowing("conv", x, win)
	s := w.Shape()
	c := g.w.Channels
	if groups < 1 || c%groups != 0 || len(s) != 2 || s[0] != g.area()*c/groups || s[1]%groups != 0 {
		panic(errorf("conv: weights %s for a window of %v over %d channels in %d groups", s, win.Size, c, groups))
	}
	k, places, area, out := s[0], g.columns()[0], g.area(), s[1]
	cols := b.Im2Col(x, win)
	var y Node
	switch groups {
	case 1:
		y = b.MatMul(cols, w)
	case c: // one sum of `area` products per channel: better done along the channels
		m := out / c
		y = b.Mul(b.Reshape(cols, places, area, c, 1), b.Reshape(w, area, c, m))
		y = b.SumAxes(y, 1)
	default:
		// Each group is a matrix product of its own.
		cols = b.Permute(b.Reshape(cols, places, area, groups, c/groups), 2, 0, 1, 3)
		w = b.Permute(b.Reshape(w, k, groups, out/groups), 1, 0, 2)
		y = b.BatchMatMul(b.Reshape(cols, groups, places, k), w)
		y = b.Permute(y, 1, 0, 2)
	}
	return b.Reshape(y, g.n, g.w.OutH(), g.w.OutW(), out)
}

type avgPoolOp struct{ windowing }

// AvgPool2D returns the mean over each place of a window, for every channel:
// [n][oh][ow][c] from x [n][h][w][c]. What lies beyond the edge counts as zero,
// as in PyTorch.
func (b *Builder) AvgPool2D(x Node, w Window) Node {
	g := b.windowing("average-pool", x, w)
	return b.add(avgPoolOp{g}, g.pooled(), x)
}

// GlobalAvgPool returns the mean over rows and columns for every channel:
// [n][c] from x [n][h][w][c].
func (b *Builder) GlobalAvgPool(x Node) Node {
	if len(x.Shape()) != 4 {
		panic(errorf("global average-pool: %s is not [n h w c]", x.Shape()))
	}
	return b.Squeeze(b.MeanAxes(x, 1, 2), 1, 2)
}

func (avgPoolOp) name() string { return "average-pool" }

func (o avgPoolOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(avgSpreadOp(o), o.image(), dy)}
}

func (o avgPoolOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.AvgPool(y, x, o.n, o.w) }
}

func (o avgPoolOp) twin(s *site64) {
	o.seen(func(pooled, _, image int) {
		if image >= 0 {
			s.y[pooled] += s.x[0][image] / float64(o.area())
		}
	})
}

type avgSpreadOp struct{ windowing }

func (avgSpreadOp) name() string { return "average-spread" }

func (o avgSpreadOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(avgPoolOp(o), o.pooled(), dy)}
}

func (o avgSpreadOp) emit(s *site) func(uint64) {
	y, dy := s.y, s.x[0]
	return func(uint64) { kernel.AvgPoolBackward(y, dy, o.n, o.w) }
}

func (o avgSpreadOp) twin(s *site64) {
	o.seen(func(pooled, _, image int) {
		if image >= 0 {
			s.y[image] += s.x[0][pooled] / float64(o.area())
		}
	})
}

type maxIndexOp struct{ windowing }

// MaxPool2D returns the largest element in each place of a window, for every
// channel: [n][oh][ow][c] from x [n][h][w][c]. What lies beyond the edge does
// not count. The gradient goes to the first of equals, row by row. NaN counts as
// largest, of several the last.
func (b *Builder) MaxPool2D(x Node, w Window) Node {
	g := b.windowing("max-pool", x, w)
	return b.add(maxPickOp{g}, g.pooled(), x, b.add(maxIndexOp{g}, g.pooled(), x))
}

func (maxIndexOp) name() string { return "max-pool" }

// Which pixel is the largest is constant for differentiation.

func (maxIndexOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}} }

func (o maxIndexOp) emit(s *site) func(uint64) {
	index, x := integers(s.y), s.x[0]
	largest := tensor.Float32s(len(index))
	return func(uint64) { kernel.MaxPool(largest, index, x, o.n, o.w) }
}

func (o maxIndexOp) twin(s *site64) {
	for i := range s.y {
		s.y[i] = -1
	}
	o.seen(func(pooled, _, image int) {
		if x, best := s.x[0], s.y[pooled]; image >= 0 && (best < 0 || x[image] > x[int(best)]) {
			s.y[pooled] = float64(image)
		}
	})
}

type maxPickOp struct{ windowing }

func (maxPickOp) name() string { return "max-pick" }

func (o maxPickOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(maxSpreadOp(o), o.image(), dy, in[1]), {}}
}

func (o maxPickOp) emit(s *site) func(uint64) {
	y, x, index := s.y, s.x[0], integers(s.x[1])
	return func(uint64) {
		for i, j := range index {
			y[i] = x[j]
		}
	}
}

func (o maxPickOp) twin(s *site64) {
	for i, j := range s.x[1] {
		s.y[i] = s.x[0][int(j)]
	}
}

type maxSpreadOp struct{ windowing }

func (maxSpreadOp) name() string { return "max-spread" }

func (o maxSpreadOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(maxPickOp(o), o.pooled(), dy, in[1]), {}}
}

func (o maxSpreadOp) emit(s *site) func(uint64) {
	y, dy, index := s.y, s.x[0], integers(s.x[1])
	return func(uint64) { kernel.MaxPoolBackward(y, dy, index) }
}

func (o maxSpreadOp) twin(s *site64) {
	for i, j := range s.x[1] {
		s.y[int(j)] += s.x[0][i]
	}
}

// integers returns the memory of a value that holds element numbers. No other
// operation looks at one as at floating-point numbers.
func integers(y []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(y))), len(y))
}
