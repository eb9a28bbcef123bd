package graph

import (
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
// image with that many rows and columns. A window that does not fit panics with
// an *[Error].
func (w Window) Of(rows, cols int) [2]int {
	var out [2]int
	for i, n := range [2]int{rows, cols} {
		k, s, p := w.Size[i], max(w.Stride[i], 1), w.Padding[i]
		if k < 1 || p < 0 || k > tensor.MaxElems || p > tensor.MaxElems || w.Stride[i] < 0 || n+2*p < k {
			panic(errorf("window: size %d, stride %d and padding %d over %d", k, s, p, n))
		}
		out[i] = (n+2*p-k)/s + 1
	}
	return out
}

// windowing is a window over images of known size: what the ops share.
type windowing struct {
	Window
	n, h, w, c int // of the images
	oh, ow     int
}

func (b *Builder) windowing(what string, x Node, w Window) windowing {
	s := x.Shape()
	if len(s) != 4 {
		panic(errorf("%s: %s is not [n h w c]", what, s))
	}
	o := w.Of(s[1], s[2])
	for i := range w.Stride {
		w.Stride[i] = max(w.Stride[i], 1)
	}
	return windowing{w, s[0], s[1], s[2], s[3], o[0], o[1]}
}

func (g *windowing) image() tensor.Shape { return tensor.Shape{g.n, g.h, g.w, g.c} }
func (g *windowing) pooled() tensor.Shape {
	return tensor.Shape{g.n, g.oh, g.ow, g.c}
}
func (g *windowing) columns() tensor.Shape {
	return tensor.Shape{g.n * g.oh * g.ow, g.Size[0] * g.Size[1] * g.c}
}

// runs is a row of windows next to each other, cut where they lie inside the
// image, as far as one row of each window is concerned: n pieces of length
// elements, at place win of the windows and at image in the image.
type runs struct {
	n      int
	win    int // number of the first window
	at     int // first element of a piece within its window
	image  int // first element of the first piece
	length int
}

// each calls f for all that every window sees of an image. The pieces of a
// window come in the order of its rows; windows that see the same element come
// in their own order.
func (g *windowing) each(f func(r runs)) {
	k, s, p := g.Size[1], g.Stride[1], g.Padding[1]
	// Windows [first, past) lie inside the image as far as columns go.
	first := min((p+s-1)/s, g.ow)
	past := max(first, min((g.w+p-k)/s+1, g.ow))
	if g.w+p < k {
		past = first
	}
	for n := range g.n {
		for oy := range g.oh {
			y0 := oy*g.Stride[0] - g.Padding[0]
			win := (n*g.oh + oy) * g.ow
			for ky := max(0, -y0); ky < min(g.Size[0], g.h-y0); ky++ {
				row := (n*g.h + y0 + ky) * g.w
				edge := func(ox int) {
					x0 := ox*s - p
					lo, hi := max(0, -x0), min(k, g.w-x0)
					if lo < hi {
						f(runs{1, win + ox, (ky*k + lo) * g.c, (row + x0 + lo) * g.c, (hi - lo) * g.c})
					}
				}
				for ox := range first {
					edge(ox)
				}
				if first < past {
					f(runs{past - first, win + first, ky * k * g.c, (row + first*s - p) * g.c, k * g.c})
				}
				for ox := past; ox < g.ow; ox++ {
					edge(ox)
				}
			}
		}
	}
}

type im2colOp struct{ windowing }
type col2imOp struct{ windowing }
type avgPoolOp struct{ windowing }
type avgSpreadOp struct{ windowing }
type maxPoolOp struct{ windowing }
type maxSpreadOp struct{ windowing }
type maxPickOp struct{ windowing }

func (im2colOp) name() string    { return "im2col" }
func (col2imOp) name() string    { return "col2im" }
func (avgPoolOp) name() string   { return "average-pool" }
func (avgSpreadOp) name() string { return "average-spread" }
func (maxPoolOp) name() string   { return "max-pool" }
func (maxSpreadOp) name() string { return "max-spread" }
func (maxPickOp) name() string   { return "max-pick" }

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

// The place of the maximum is constant for differentiation.

func (o maxPoolOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{b.add(maxSpreadOp(o), o.image(), in[0], dy)}
}

func (o maxSpreadOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{{}, b.add(maxPickOp(o), o.pooled(), in[0], dy)}
}

func (o maxPickOp) grad(b *Builder, _, dy Node, in []Node) []Node {
	return []Node{{}, b.add(maxSpreadOp(o), o.image(), in[0], dy)}
}

// Im2Col lays out what a window over x [n][h][w][c] sees at each place, zeros
// where it lies beyond the edge: a row [rows][columns][c] of the window for each
// of n·oh·ow places, as a matrix.
func (b *Builder) Im2Col(x Node, w Window) Node {
	g := b.windowing("im2col", x, w)
	if g.Size == [2]int{1, 1} && g.Stride == [2]int{1, 1} && g.Padding == [2]int{} {
		return b.Reshape(x, g.n*g.h*g.w, g.c)
	}
	return b.add(im2colOp{g}, g.columns(), x)
}

// MaxPool2D returns the largest element in each place of a window, for every
// channel: [n][oh][ow][c] from x [n][h][w][c]. What lies beyond the edge does
// not count; the padding must be less than the size. The gradient goes to the
// first of equals, row by row. NaN counts as largest.
func (b *Builder) MaxPool2D(x Node, w Window) Node {
	g := b.windowing("max-pool", x, w)
	g.checkPool("max-pool")
	return b.add(maxPoolOp{g}, g.pooled(), x)
}

// AvgPool2D returns the mean over each place of a window, for every channel:
// [n][oh][ow][c] from x [n][h][w][c]. What lies beyond the edge counts as zero,
// as in PyTorch; the padding must be less than the size.
func (b *Builder) AvgPool2D(x Node, w Window) Node {
	g := b.windowing("average-pool", x, w)
	g.checkPool("average-pool")
	return b.add(avgPoolOp{g}, g.pooled(), x)
}

func (g *windowing) checkPool(what string) {
	if g.Padding[0] >= g.Size[0] || g.Padding[1] >= g.Size[1] {
		panic(errorf("%s: padding %v with a window of %v", what, g.Padding, g.Size))
	}
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
	if groups < 1 || g.c%groups != 0 || len(s) != 2 || s[0] != g.Size[0]*g.Size[1]*g.c/groups || s[1]%groups != 0 {
		panic(errorf("conv: weights %s for a window of %v over %d channels in %d groups", s, g.Size, g.c, groups))
	}
	k, places, area, out := s[0], g.n*g.oh*g.ow, g.Size[0]*g.Size[1], s[1]
	cols := b.Im2Col(x, win)
	var y Node
	switch groups {
	case 1:
		y = b.MatMul(cols, w)
	case g.c: // one sum of `area` products per channel: better done along the channels
		m := out / g.c
		y = b.Mul(b.Reshape(cols, places, area, g.c, 1), b.Reshape(w, area, g.c, m))
		y = b.SumAxes(y, 1)
	default:
		// Each group is a matrix product of its own.
		cols = b.Permute(b.Reshape(cols, places, area, groups, g.c/groups), 2, 0, 1, 3)
		w = b.Permute(b.Reshape(w, k, groups, out/groups), 1, 0, 2)
		y = b.BatchMatMul(b.Reshape(cols, groups, places, k), w)
		y = b.Permute(y, 1, 0, 2)
	}
	return b.Reshape(y, g.n, g.oh, g.ow, out)
}

func (o im2colOp) emit(s *site) func(uint64) {
	y, x, g, k := s.y, s.x[0], o.windowing, s.shape[1]
	padded := g.Padding != [2]int{}
	step := g.Stride[1] * g.c
	pieces := func(r runs) {
		dst, src := r.win*k+r.at, r.image
		for range r.n {
			if r.length < 16 {
				to, from := y[dst:dst+r.length], x[src:src+r.length]
				for i := range to {
					to[i] = from[i]
				}
			} else {
				copy(y[dst:dst+r.length], x[src:src+r.length])
			}
			dst += k
			src += step
		}
	}
	return func(uint64) {
		if padded {
			clear(y)
		}
		g.each(pieces)
	}
}

// The instruction adds to every element of the image what windows have there,
// in their order.
func (o col2imOp) emit(s *site) func(uint64) {
	y, x, g, k := s.y, s.x[0], o.windowing, s.in[0][1]
	step := g.Stride[1] * g.c
	pieces := func(r runs) {
		src, dst := r.win*k+r.at, r.image
		for range r.n {
			if r.length < 16 {
				to, from := y[dst:dst+r.length], x[src:src+r.length]
				for i := range to {
					to[i] += from[i]
				}
			} else {
				kernel.Axpy(y[dst:dst+r.length], 1, x[src:src+r.length])
			}
			src += k
			dst += step
		}
	}
	return func(uint64) {
		clear(y)
		g.each(pieces)
	}
}

// pixels calls f for each pixel of each piece: the first element of its
// window's channels in the pooled value, and its first element in the image.
func (g *windowing) pixels(f func(pooled, image int)) func() {
	c := g.c
	pieces := func(r runs) {
		for i := range r.n {
			at := r.image + i*g.Stride[1]*c
			for p := at; p < at+r.length; p += c {
				f((r.win+i)*c, p)
			}
		}
	}
	return func() { g.each(pieces) }
}

// The instruction adds the pixels of a window in order, then multiplies by the
// inverse of their number.
func (o avgPoolOp) emit(s *site) func(uint64) {
	y, x, g := s.y, s.x[0], o.windowing
	scale := 1 / float32(g.Size[0]*g.Size[1])
	add := g.pixels(func(pooled, image int) {
		dst := y[pooled : pooled+g.c]
		for i, v := range x[image : image+g.c] {
			dst[i] += v
		}
	})
	return func(uint64) {
		clear(y)
		add()
		kernel.Scale(y, scale, y)
	}
}

func (o avgSpreadOp) emit(s *site) func(uint64) {
	y, dy, g := s.y, s.x[0], o.windowing
	scale := 1 / float32(g.Size[0]*g.Size[1])
	add := g.pixels(func(pooled, image int) {
		dst := y[image : image+g.c]
		for i, v := range dy[pooled : pooled+g.c] {
			dst[i] += v
		}
	})
	return func(uint64) {
		clear(y)
		add()
		kernel.Scale(y, scale, y)
	}
}

func (o maxPoolOp) emit(s *site) func(uint64) {
	y, x, g := s.y, s.x[0], o.windowing
	find := g.pixels(func(pooled, image int) {
		dst := y[pooled : pooled+g.c]
		for i, v := range x[image : image+g.c] {
			if v > dst[i] || v != v {
				dst[i] = v
			}
		}
	})
	return func(uint64) {
		fill(y, lowest)
		find()
	}
}

// places returns an instruction that finds, for every window and channel, which
// element of the image is its first maximum.
func (g *windowing) places(x []float32, place []int32) func() {
	find := g.pixels(func(pooled, image int) {
		for i := range g.c {
			at := &place[pooled+i]
			v := x[image+i]
			if *at < 0 {
				*at = int32(image + i)
			} else if best := x[*at]; v > best || v != v && best == best {
				*at = int32(image + i)
			}
		}
	})
	return func() {
		for i := range place {
			place[i] = -1
		}
		find()
	}
}

func (o maxSpreadOp) emit(s *site) func(uint64) {
	y, dy := s.y, s.x[1]
	place := make([]int32, len(dy))
	find := o.places(s.x[0], place)
	return func(uint64) {
		find()
		clear(y)
		for i, p := range place {
			y[p] += dy[i]
		}
	}
}

func (o maxPickOp) emit(s *site) func(uint64) {
	y, dy := s.y, s.x[1]
	place := make([]int32, len(y))
	find := o.places(s.x[0], place)
	return func(uint64) {
		find()
		for i, p := range place {
			y[i] = dy[p]
		}
	}
}

// seen calls f for every window, pixel of it and channel: the elements of the
// pooled value, of the window's row in the matrix of columns, and of the image,
// -1 beyond the edge.
func (g windowing) seen(f func(pooled, column, image int)) {
	for i := range g.pooled().Elems() {
		at := indexOf(g.pooled(), i)
		n, oy, ox, c := at[0], at[1], at[2], at[3]
		for ky := range g.Size[0] {
			for kx := range g.Size[1] {
				y, x := oy*g.Stride[0]-g.Padding[0]+ky, ox*g.Stride[1]-g.Padding[1]+kx
				image := -1
				if y >= 0 && y < g.h && x >= 0 && x < g.w {
					image = ((n*g.h+y)*g.w+x)*g.c + c
				}
				f(i, ((i/g.c*g.Size[0]+ky)*g.Size[1]+kx)*g.c+c, image)
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
			s.y[pooled] += s.x[0][image] / float64(o.Size[0]*o.Size[1])
		}
	})
}

func (o avgSpreadOp) twin(s *site64) {
	o.seen(func(pooled, _, image int) {
		if image >= 0 {
			s.y[image] += s.x[0][pooled] / float64(o.Size[0]*o.Size[1])
		}
	})
}

// maxima returns the element of the image that is the first maximum of each
// window and channel.
func (g windowing) maxima(x []float64) []int {
	place := make([]int, g.pooled().Elems())
	for i := range place {
		place[i] = -1
	}
	g.seen(func(pooled, _, image int) {
		if image >= 0 && (place[pooled] < 0 || x[image] > x[place[pooled]]) {
			place[pooled] = image
		}
	})
	return place
}

func (o maxPoolOp) twin(s *site64) {
	for i, p := range o.maxima(s.x[0]) {
		s.y[i] = s.x[0][p]
	}
}

func (o maxSpreadOp) twin(s *site64) {
	for i, p := range o.maxima(s.x[0]) {
		s.y[p] += s.x[1][i]
	}
}

func (o maxPickOp) twin(s *site64) {
	for i, p := range o.maxima(s.x[0]) {
		s.y[i] = s.x[1][p]
	}
}
