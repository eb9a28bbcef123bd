package kernel

import (
	"fmt"
	"math"
)

// Window is how a window of KernelH × KernelW pixels slides over images of
// Height × Width pixels with Channels numbers each. Images lie in memory as
// [n][Height][Width][Channels], what the window yields as [n][OutH()][OutW()].
type Window struct {
	Height, Width, Channels int
	KernelH, KernelW        int
	StrideH, StrideW        int // at least 1
	PadH, PadW              int // pixels outside of the image at both sides, smaller than the kernel
}

// OutH is the number of the window's positions from top to bottom.
func (w Window) OutH() int { return (w.Height+2*w.PadH-w.KernelH)/w.StrideH + 1 }

// OutW is the number of the window's positions from left to right.
func (w Window) OutW() int { return (w.Width+2*w.PadW-w.KernelW)/w.StrideW + 1 }

// Columns is how many numbers a window holds.
func (w Window) Columns() int { return w.KernelH * w.KernelW * w.Channels }

// image is how many numbers an image has.
func (w Window) image() int { return w.Height * w.Width * w.Channels }

// check panics where a window can nowhere be placed.
func (w Window) check() {
	if w.Height < 1 || w.Width < 1 || w.Channels < 1 || w.KernelH < 1 || w.KernelW < 1 || w.StrideH < 1 || w.StrideW < 1 ||
		w.PadH < 0 || w.PadW < 0 || w.PadH >= w.KernelH || w.PadW >= w.KernelW ||
		w.Height+2*w.PadH < w.KernelH || w.Width+2*w.PadW < w.KernelW {
		panic(fmt.Sprintf("kernel: a window %+v", w))
	}
}

// cut returns the part [lo, hi) of 0…kernel that lies inside of 0…size when the
// window begins at start.
func cut(start, kernel, size int) (lo, hi int) {
	return min(max(0, -start), kernel), max(0, min(kernel, size-start))
}

// A place is a position of the window, or several side by side that see equal
// parts of it.
type place struct {
	out, count  int // index of the first of them in the output of one image, and how many
	top, bottom int // rows of the window inside of the image
	left, right int // columns
	at          int // number of the image under the window's corner (top, left)
}

// whole says whether the window lies inside of the image.
func (p place) whole(w *Window) bool {
	return p.top == 0 && p.left == 0 && p.bottom == w.KernelH && p.right == w.KernelW
}

// places yields the places of an image, row by row from left to right, but only
// those of which some pixel is inside.
func (w *Window) places(visit func(p place)) {
	outH, outW := w.OutH(), w.OutW()
	// Positions [from, to) of a row see all columns of the window.
	from := (w.PadW + w.StrideW - 1) / w.StrideW
	to := (w.Width+w.PadW-w.KernelW)/w.StrideW + 1
	var p place
	for oy := range outH {
		y := oy*w.StrideH - w.PadH
		p.top, p.bottom = cut(y, w.KernelH, w.Height)
		for ox := 0; ox < outW; ox += p.count {
			x := ox*w.StrideW - w.PadW
			p.left, p.right = cut(x, w.KernelW, w.Width)
			p.out, p.count = oy*outW+ox, 1
			if ox == from && to > from {
				p.count = to - from
			}
			p.at = ((y+p.top)*w.Width + x + p.left) * w.Channels
			visit(p)
		}
	}
}

// Im2Col copies what the window sees of n images at each of its places into a
// row of dst: rows (image, y, x) and columns (ky, kx, channel), with zeros
// outside of the image. A convolution is the product of dst and the weights
// [Columns()][filters].
func Im2Col(dst, src []float32, n int, w Window) {
	w.check()
	columns, places := w.Columns(), w.OutH()*w.OutW()
	dst, src = dst[:n*places*columns], src[:n*w.image()]
	kc := w.KernelW * w.Channels
	for ; n > 0; n-- {
		w.places(func(p place) {
			if !p.whole(&w) {
				clear(dst[p.out*columns : (p.out+p.count)*columns])
			}
			blocks{
				n1: p.count, d1: columns, s1: w.StrideW * w.Channels,
				n2: p.bottom - p.top, d2: kc, s2: w.Width * w.Channels,
				length: (p.right - p.left) * w.Channels,
			}.copy(dst[p.out*columns+p.top*kc+p.left*w.Channels:], src[p.at:])
		})
		dst, src = dst[places*columns:], src[w.image():]
	}
}

// Col2Im is the transpose of Im2Col: dst, n images, is the sum of what the
// windows in src have seen there. Each element is +0 to which the places (y, x)
// are added in ascending order.
func Col2Im(dst, src []float32, n int, w Window) {
	w.check()
	columns, places := w.Columns(), w.OutH()*w.OutW()
	dst, src = dst[:n*w.image()], src[:n*places*columns]
	kc := w.KernelW * w.Channels
	clear(dst)
	for ; n > 0; n-- {
		w.places(func(p place) {
			blocks{
				n1: p.count, d1: w.StrideW * w.Channels, s1: columns,
				n2: p.bottom - p.top, d2: w.Width * w.Channels, s2: kc,
				length: (p.right - p.left) * w.Channels,
			}.add(dst[p.at:], src[p.out*columns+p.top*kc+p.left*w.Channels:])
		})
		dst, src = dst[w.image():], src[places*columns:]
	}
}

// AvgPool computes y, [n][OutH()][OutW()][Channels], as the mean of each window
// by channel: +0 plus the pixels in the order (ky, kx), divided by the area of
// the kernel, so pixels outside of the image count as zeros.
func AvgPool(y, x []float32, n int, w Window) {
	w.check()
	out, outW, c := w.OutH()*w.OutW()*w.Channels, w.OutW(), w.Channels
	y, x = y[:n*out], x[:n*w.image()]
	clear(y)
	for i := range n {
		y, x := y[i*out:(i+1)*out], x[i*w.image():(i+1)*w.image()]
		for oy := range w.OutH() {
			top, bottom := cut(oy*w.StrideH-w.PadH, w.KernelH, w.Height)
			for ky := top; ky < bottom; ky++ {
				row := (oy*w.StrideH - w.PadH + ky) * w.Width
				for kx := range w.KernelW {
					from, to := w.inside(kx)
					if from < to {
						blocks{n1: to - from, d1: c, s1: w.StrideW * c, n2: 1, length: c}.
							add(y[(oy*outW+from)*c:], x[(row+from*w.StrideW-w.PadW+kx)*c:])
					}
				}
			}
		}
	}
	divide(y, w.KernelH*w.KernelW)
}

// AvgPoolBackward computes dx from dy: each element is the sum of the dy of the
// windows that see it, +0 plus the places (y, x) in ascending order, divided by
// the area of the kernel.
func AvgPoolBackward(dx, dy []float32, n int, w Window) {
	w.check()
	out, outW, c := w.OutH()*w.OutW()*w.Channels, w.OutW(), w.Channels
	dx, dy = dx[:n*w.image()], dy[:n*out]
	clear(dx)
	for i := range n {
		dx, dy := dx[i*w.image():(i+1)*w.image()], dy[i*out:(i+1)*out]
		for oy := range w.OutH() {
			top, bottom := cut(oy*w.StrideH-w.PadH, w.KernelH, w.Height)
			for ky := top; ky < bottom; ky++ {
				row := (oy*w.StrideH - w.PadH + ky) * w.Width
				for kx := w.KernelW - 1; kx >= 0; kx-- { // so that a pixel meets its windows from left to right
					from, to := w.inside(kx)
					if from < to {
						blocks{n1: to - from, d1: w.StrideW * c, s1: c, n2: 1, length: c}.
							add(dx[(row+from*w.StrideW-w.PadW+kx)*c:], dy[(oy*outW+from)*c:])
					}
				}
			}
		}
	}
	divide(dx, w.KernelH*w.KernelW)
}

// inside returns the positions [from, to) of a row at which column kx of the
// window is inside of the image.
func (w *Window) inside(kx int) (from, to int) {
	from = (max(0, w.PadW-kx) + w.StrideW - 1) / w.StrideW
	last := w.Width - 1 + w.PadW - kx
	if last < 0 {
		return 0, 0
	}
	return from, min(w.OutW(), last/w.StrideW+1)
}

func divide(x []float32, by int) {
	if by > 1 {
		area := [1]float32{float32(by)}
		Binary(Div, x, x, area[:])
	}
}

// MaxPool computes y, [n][OutH()][OutW()][Channels], as the largest pixel of
// each window by channel, and its index in x: the first of equals in the order
// (ky, kx). NaN is larger than all, the last NaN the largest. Pixels outside of
// the image do not count.
func MaxPool(y []float32, indices []int32, x []float32, n int, w Window) {
	w.check()
	places, c := w.OutH()*w.OutW(), w.Channels
	y, indices, x = y[:n*places*c], indices[:n*places*c], x[:n*w.image()]
	if len(x) > math.MaxInt32 {
		panic(fmt.Sprintf("kernel: %d numbers to pool", len(x)))
	}
	for i := range n {
		w.places(func(p place) {
			out := (i*places + p.out) * c
			maxPool(y[out:out+p.count*c], indices[out:out+p.count*c], x, i*w.image()+p.at, p, &w)
		})
	}
}

// maxPool does the windows of a place, the first of which begins at x[at].
func maxPool(y []float32, indices []int32, x []float32, at int, p place, w *Window) {
	c, rows, columns := w.Channels, p.bottom-p.top, p.right-p.left
	_ = x[at+(p.count-1)*w.StrideW*c+((rows-1)*w.Width+columns)*c-1]
	for n := p.count; n > 0; {
		k := min(n, 1+stretch/(rows*columns*c))
		if !maxPoolASM(&y[0], &indices[0], &x[at], at, k, rows, columns, c, 4*w.StrideW*c, w.StrideW*c, (w.Width-columns)*c) {
			k = 1
			maxPoolGeneric(y[:c], indices[:c], x, at, rows, columns, w.Width*c)
		}
		n -= k
		y, indices, at = y[k*c:], indices[k*c:], at+k*w.StrideW*c
	}
}

func maxPoolGeneric(y []float32, indices []int32, x []float32, at, rows, columns, stride int) {
	for i := range y {
		best := at + i
		for ky := range rows {
			for kx := range columns {
				j := at + ky*stride + kx*len(y) + i
				if v := x[j]; v > x[best] || v != v {
					best = j
				}
			}
		}
		y[i], indices[i] = x[best], int32(best)
	}
}

// MaxPoolBackward computes dx from dy and the indices of MaxPool: +0 plus the dy
// whose window's largest pixel it is, in their order.
func MaxPoolBackward(dx, dy []float32, indices []int32) {
	clear(dx)
	indices = indices[:len(dy)]
	for i, v := range dy {
		dx[indices[i]] += v
	}
}

// blocks is n1 blocks of n2 pieces of some length: piece q of block p begins at
// p·d1 + q·d2 of a destination and p·s1 + q·s2 of a source. All numbers but
// steps are positive.
type blocks struct {
	n1, d1, s1 int
	n2, d2, s2 int
	length     int
}

// copy copies the pieces.
func (b blocks) copy(dst, src []float32) { b.run(dst, src, false) }

// add adds the pieces to the destination, one after the other.
func (b blocks) add(dst, src []float32) { b.run(dst, src, true) }

func (b *blocks) run(dst, src []float32, add bool) {
	_ = dst[(b.n1-1)*b.d1+(b.n2-1)*b.d2+b.length-1]
	_ = src[(b.n1-1)*b.s1+(b.n2-1)*b.s2+b.length-1]
	if b.length == 1 && b.n2 == 1 && add {
		for p := range b.n1 { // vectors of one element wait for each other's stores
			dst[p*b.d1] += src[p*b.s1]
		}
		return
	}
	for p := 0; p < b.n1; {
		k := min(b.n1-p, 1+stretch/(b.n2*b.length))
		d, s := &dst[p*b.d1], &src[p*b.s1]
		var done bool
		if add {
			done = addBlocksASM(d, s, k, b.n2, b.length, 4*b.d1, 4*b.d2, 4*b.s1, 4*b.s2)
		} else {
			done = copyBlocksASM(d, s, k, b.n2, b.length, 4*b.d1, 4*b.d2, 4*b.s1, 4*b.s2)
		}
		if !done {
			b.generic(dst, src, add)
			return
		}
		p += k
	}
}

func (b *blocks) generic(dst, src []float32, add bool) {
	for p := range b.n1 {
		for q := range b.n2 {
			d, s := dst[p*b.d1+q*b.d2:][:b.length], src[p*b.s1+q*b.s2:][:b.length]
			switch {
			case add:
				for i, v := range s {
					d[i] += v
				}
			case len(d) > 16:
				copy(d, s)
			default:
				for i, v := range s { //nolint:staticcheck // a call of copy costs more than a few numbers
					d[i] = v
				}
			}
		}
	}
}
