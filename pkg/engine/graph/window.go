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
