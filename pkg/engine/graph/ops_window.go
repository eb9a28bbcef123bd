package graph

import (
	"unsafe"

	"neoteny/pkg/engine/kernel"
	"neoteny/pkg/engine/tensor"
)

// Window says how a convolution or a pool moves over an image, rows first.
type Window struct {
	Size    [2]int
	Stride  [2]int // 0 stands for 1
	Padding [2]int // on both sides
}

// SquareWindow returns the window of size×size with one stride and padding for
// both axes.
func SquareWindow(size, stride, padding int) Window {
	return Window{Size: [2]int{size, size}, Stride: [2]int{stride, stride}, Padding: [2]int{padding, padding}}
}

// Of returns the number of places that the window takes along each axis of an
// image with that many rows and columns. A window that does not fit, or whose
// padding is not less than its size, panics with an *[Error].
func (w Window) Of(rows, cols int) [2]int {
	var out [2]int
	for i, n := range [2]int{rows, cols} {
		k, s, p := w.Size[i], max(w.Stride[i], 1), w.Padding[i]
		if k < 1 || k > tensor.MaxElems || p < 0 || p >= k || w.Stride[i] < 0 || n+2*p < k {
			panic(errorf("window: size %d, stride %d and padding %d over %d", k, w.Stride[i], p, n))
		}
		out[i] = (n+2*p-k)/s + 1
	}
	return out
}

// windowing is a window over n images: what the operations share.
type windowing struct {
	n int
	w kernel.Window
}

func (b *Builder) windowing(what string, x Node, w Window) windowing {
	s := x.Shape()
	if len(s) != 4 {
		panic(errorf("%s: %s is not [n h w c]", what, s))
	}
	w.Of(s[1], s[2])
	return windowing{s[0], kernel.Window{
		Height: s[1], Width: s[2], Channels: s[3],
		KernelH: w.Size[0], KernelW: w.Size[1],
		StrideH: max(w.Stride[0], 1), StrideW: max(w.Stride[1], 1),
		PadH: w.Padding[0], PadW: w.Padding[1],
	}}
}

func (g *windowing) image() tensor.Shape {
	return tensor.Shape{g.n, g.w.Height, g.w.Width, g.w.Channels}
}

func (g *windowing) pooled() tensor.Shape {
	return tensor.Shape{g.n, g.w.OutH(), g.w.OutW(), g.w.Channels}
}

func (g *windowing) area() int { return g.w.KernelH * g.w.KernelW }

func (g *windowing) columns() tensor.Shape {
	return tensor.Shape{g.n * g.w.OutH() * g.w.OutW(), g.area() * g.w.Channels}
}

type im2colOp struct{ windowing }
type col2imOp struct{ windowing }
type avgPoolOp struct{ windowing }
type avgSpreadOp struct{ windowing }
type maxIndexOp struct{ windowing }
type maxPickOp struct{ windowing }
type maxSpreadOp struct{ windowing }

func (im2colOp) name() string    { return "im2col" }
func (col2imOp) name() string    { return "col2im" }
func (avgPoolOp) name() string   { return "average-pool" }
func (avgSpreadOp) name() string { return "average-spread" }
func (maxIndexOp) name() string  { return "max-pool" }
func (maxPickOp) name() string   { return "max-pick" }
func (maxSpreadOp) name() string { return "max-spread" }

func (o im2colOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(col2imOp(o), o.image(), dy)}
}

func (o col2imOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(im2colOp(o), o.columns(), dy)}
}

func (o avgPoolOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(avgSpreadOp(o), o.image(), dy)}
}

func (o avgSpreadOp) grad(b *Builder, _, dy Node, _ []Node) []Node {
	return []Node{b.add(avgPoolOp(o), o.pooled(), dy)}
}

// Which pixel is the largest is constant for differentiation.

func (maxIndexOp) grad(*Builder, Node, Node, []Node) []Node { return []Node{{}} }

func (o maxPickOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(maxSpreadOp(o), o.image(), dy, in[1]), {}}
}

func (o maxSpreadOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(maxPickOp(o), o.pooled(), dy, in[1]), {}}
}

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

// MaxPool2D returns the largest element in each place of a window, for every
// channel: [n][oh][ow][c] from x [n][h][w][c]. What lies beyond the edge does
// not count. The gradient goes to the first of equals, row by row. NaN counts as
// largest, of several the last.
func (b *Builder) MaxPool2D(x Node, w Window) Node {
	g := b.windowing("max-pool", x, w)
	return b.add(maxPickOp{g}, g.pooled(), x, b.add(maxIndexOp{g}, g.pooled(), x))
}

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

func (o im2colOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.Im2Col(y, x, o.n, o.w) }
}

func (o col2imOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.Col2Im(y, x, o.n, o.w) }
}

func (o avgPoolOp) emit(s *site) func(uint64) {
	y, x := s.y, s.x[0]
	return func(uint64) { kernel.AvgPool(y, x, o.n, o.w) }
}

func (o avgSpreadOp) emit(s *site) func(uint64) {
	y, dy := s.y, s.x[0]
	return func(uint64) { kernel.AvgPoolBackward(y, dy, o.n, o.w) }
}

// integers returns the memory of a value that holds element numbers. No other
// operation looks at one as at floating-point numbers.
func integers(y []float32) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(y))), len(y))
}

func (o maxIndexOp) emit(s *site) func(uint64) {
	index, x := integers(s.y), s.x[0]
	largest := tensor.Float32s(len(index))
	return func(uint64) { kernel.MaxPool(largest, index, x, o.n, o.w) }
}

func (o maxPickOp) emit(s *site) func(uint64) {
	y, x, index := s.y, s.x[0], integers(s.x[1])
	return func(uint64) {
		for i, j := range index {
			y[i] = x[j]
		}
	}
}

func (o maxSpreadOp) emit(s *site) func(uint64) {
	y, dy, index := s.y, s.x[0], integers(s.x[1])
	return func(uint64) { kernel.MaxPoolBackward(y, dy, index) }
}

// seen calls f for every window, pixel of it and channel: the elements of the
// pooled value, of the window's row in the matrix of columns, and of the image,
// -1 beyond the edge.
func (g *windowing) seen(f func(pooled, column, image int)) {
	w := &g.w
	for i := range g.pooled().Elems() {
		at := indexOf(g.pooled(), i)
		n, oy, ox, c := at[0], at[1], at[2], at[3]
		for ky := range w.KernelH {
			for kx := range w.KernelW {
				y, x := oy*w.StrideH-w.PadH+ky, ox*w.StrideW-w.PadW+kx
				image := -1
				if y >= 0 && y < w.Height && x >= 0 && x < w.Width {
					image = ((n*w.Height+y)*w.Width+x)*w.Channels + c
				}
				f(i, ((i/w.Channels*w.KernelH+ky)*w.KernelW+kx)*w.Channels+c, image)
			}
		}
	}
}

func (o im2colOp) twin(s *site64) {
	o.seen(func(_, column, image int) {
		if image >= 0 {
			s.y[column] = s.x[0][image]
		}
	})
}

func (o col2imOp) twin(s *site64) {
	o.seen(func(_, column, image int) {
		if image >= 0 {
			s.y[image] += s.x[0][column]
		}
	})
}

func (o avgPoolOp) twin(s *site64) {
	o.seen(func(pooled, _, image int) {
		if image >= 0 {
			s.y[pooled] += s.x[0][image] / float64(o.area())
		}
	})
}

func (o avgSpreadOp) twin(s *site64) {
	o.seen(func(pooled, _, image int) {
		if image >= 0 {
			s.y[image] += s.x[0][pooled] / float64(o.area())
		}
	})
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

func (o maxPickOp) twin(s *site64) {
	for i, j := range s.x[1] {
		s.y[i] = s.x[0][int(j)]
	}
}

func (o maxSpreadOp) twin(s *site64) {
	for i, j := range s.x[1] {
		s.y[int(j)] += s.x[0][i]
	}
}
