package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A sight is a pixel that the window sees: out is the window's place over all
// images, k its pixel in the window, at the pixel's index in the images.
type sight struct{ out, k, at int }

// sights lists them in the order (image, y, x, ky, kx), from the definition.
func sights(n int, w Window) (all []sight) {
	for i := range n {
		for oy := range w.OutH() {
			for ox := range w.OutW() {
				for ky := range w.KernelH {
					for kx := range w.KernelW {
						y, x := oy*w.StrideH-w.PadH+ky, ox*w.StrideW-w.PadW+kx
						if y >= 0 && y < w.Height && x >= 0 && x < w.Width {
							all = append(all, sight{
								out: (i*w.OutH()+oy)*w.OutW() + ox,
								k:   ky*w.KernelW + kx,
								at:  ((i*w.Height+y)*w.Width + x) * w.Channels,
							})
						}
					}
				}
			}
		}
	}
	return all
}

func someWindows() []Window {
	ws := []Window{
		{Height: 1, Width: 1, Channels: 1, KernelH: 1, KernelW: 1, StrideH: 1, StrideW: 1},
		{Height: 6, Width: 7, Channels: 1, KernelH: 5, KernelW: 5, StrideH: 1, StrideW: 1},
		{Height: 6, Width: 7, Channels: 3, KernelH: 2, KernelW: 2, StrideH: 2, StrideW: 2},
		{Height: 5, Width: 5, Channels: 16, KernelH: 3, KernelW: 3, StrideH: 1, StrideW: 1, PadH: 1, PadW: 1},
		{Height: 3, Width: 2, Channels: 33, KernelH: 3, KernelW: 5, StrideH: 3, StrideW: 1, PadH: 2, PadW: 4},
		{Height: 2, Width: 2, Channels: 8, KernelH: 4, KernelW: 4, StrideH: 5, StrideW: 4, PadH: 3, PadW: 2},
	}
	r := rand.New(rand.NewPCG(3, 4))
	for len(ws) < 60 {
		w := Window{
			Height: 1 + r.IntN(7), Width: 1 + r.IntN(7), Channels: 1 + r.IntN(40),
			KernelH: 1 + r.IntN(5), KernelW: 1 + r.IntN(5), StrideH: 1 + r.IntN(4), StrideW: 1 + r.IntN(4),
		}
		w.PadH, w.PadW = r.IntN(w.KernelH), r.IntN(w.KernelW)
		if w.Height+2*w.PadH >= w.KernelH && w.Width+2*w.PadW >= w.KernelW && w.OutH()*w.OutW()*w.Columns() < 8000 {
			ws = append(ws, w)
		}
	}
	return ws
}

// images yields pairs of arrays of the given lengths, of normal numbers and
// specials, misaligned and at guard pages.
func images(t *testing.T, a, b int) func(yield func(a, b []float32) bool) {
	return func(yield func(a, b []float32) bool) {
		for in := range inputs(t, max(a, b), 2) {
			if !yield(in[0][len(in[0])-a:], in[1][len(in[1])-b:]) {
				return
			}
		}
	}
}

func TestWindows(t *testing.T) {
	const n = 2
	for _, w := range someWindows() {
		in, out, c := n*w.image(), n*w.OutH()*w.OutW()*w.Channels, w.Channels
		columns := n * w.OutH() * w.OutW() * w.Columns()
		seen := sights(n, w)
		eachISA(t, func(t *testing.T) {
			for dst, src := range images(t, columns, in) {
				want := make([]float32, columns)
				for _, s := range seen {
					copy(want[s.out*w.Columns()+s.k*c:][:c], src[s.at:])
				}
				Im2Col(dst, src, n, w)
				requireBits(t, want, dst, "Im2Col %+v", w)
			}
			for dst, src := range images(t, in, columns) {
				want := make([]float32, in)
				for _, s := range seen {
					for i := range c {
						want[s.at+i] += src[s.out*w.Columns()+s.k*c+i]
					}
				}
				Col2Im(dst, src, n, w)
				requireBits(t, want, dst, "Col2Im %+v", w)
			}
			area := float32(w.KernelH * w.KernelW)
			for y, x := range images(t, out, in) {
				want := make([]float32, out)
				for _, s := range seen {
					for i := range c {
						want[s.out*c+i] += x[s.at+i]
					}
				}
				for i := range want {
					want[i] /= area
				}
				AvgPool(y, x, n, w)
				requireBits(t, want, y, "AvgPool %+v", w)
			}
			for dx, dy := range images(t, in, out) {
				want := make([]float32, in)
				for _, s := range seen {
					for i := range c {
						want[s.at+i] += dy[s.out*c+i]
					}
				}
				for i := range want {
					want[i] /= area
				}
				AvgPoolBackward(dx, dy, n, w)
				requireBits(t, want, dx, "AvgPoolBackward %+v", w)
			}
			indices, at := make([]int32, out+1), make([]int32, out)
			for y, x := range images(t, out, in) {
				want := make([]float32, out)
				for i := range at {
					at[i] = -1
				}
				for _, s := range seen {
					for i := range c {
						o, v := s.out*c+i, x[s.at+i]
						if at[o] < 0 || v > want[o] || v != v {
							want[o], at[o] = v, int32(s.at+i)
						}
					}
				}
				indices[out] = -7
				MaxPool(y, indices[:out], x, n, w)
				requireBits(t, want, y, "MaxPool %+v", w)
				require.Equal(t, at, indices[:out], "MaxPool %+v", w)
				require.Equal(t, int32(-7), indices[out])

				dx := random(in, 5)
				wantDx := make([]float32, in)
				for i, j := range at {
					wantDx[j] += y[i]
				}
				MaxPoolBackward(dx, y, indices[:out])
				requireBits(t, wantDx, dx, "MaxPoolBackward %+v", w)
			}
		})
	}
}

// Windows whose calls of assembly are several.
func TestLargeWindows(t *testing.T) {
	w := Window{Height: 40, Width: 90, Channels: 48, KernelH: 5, KernelW: 6, StrideH: 20, StrideW: 1}
	x := random(w.image(), 1)
	y, columns := make([]float32, w.OutH()*w.OutW()*w.Channels), make([]float32, w.OutH()*w.OutW()*w.Columns())
	indices, dx := make([]int32, len(y)), make([]float32, len(x))
	type result struct {
		columns, y, dx []float32
		indices        []int32
	}
	var want result
	eachISA(t, func(t *testing.T) {
		Im2Col(columns, x, 1, w)
		MaxPool(y, indices, x, 1, w)
		Col2Im(dx, columns, 1, w)
		if want.y == nil {
			want = result{clone(columns), clone(y), clone(dx), append([]int32(nil), indices...)}
		}
		requireBits(t, want.columns, columns, "Im2Col")
		requireBits(t, want.dx, dx, "Col2Im")
		requireBits(t, want.y, y, "MaxPool")
		require.Equal(t, want.indices, indices)
	})
}

func TestWindowsThatDoNotFit(t *testing.T) {
	good := Window{Height: 3, Width: 3, Channels: 1, KernelH: 2, KernelW: 2, StrideH: 1, StrideW: 1}
	x, y := make([]float32, 100), make([]float32, 100)
	indices := make([]int32, 100)
	all := func(w Window, n int, x, y []float32) {
		t.Helper()
		require.Panics(t, func() { Im2Col(y, x, n, w) })
		require.Panics(t, func() { Col2Im(x, y, n, w) })
		require.Panics(t, func() { AvgPool(y, x, n, w) })
		require.Panics(t, func() { AvgPoolBackward(x, y, n, w) })
		require.Panics(t, func() { MaxPool(y, indices, x, n, w) })
	}
	for _, change := range []func(w *Window){
		func(w *Window) { w.KernelH = 4 }, func(w *Window) { w.KernelW = 4 }, func(w *Window) { w.PadH = 2 }, func(w *Window) { w.PadW = -1 },
		func(w *Window) { w.StrideH = 0 }, func(w *Window) { w.StrideW = -1 }, func(w *Window) { w.Channels = 0 }, func(w *Window) { w.KernelW = 0 },
	} {
		w := good
		change(&w)
		all(w, 1, x, y)
	}
	all(good, 1, x[:8:8], y)
	all(good, 1, x, y[:3:3])
	require.Panics(t, func() { MaxPoolBackward(x[:2:2], y[:1], []int32{2}) })
}

func TestWindowsAllocateNothing(t *testing.T) {
	w := Window{Height: 8, Width: 8, Channels: 3, KernelH: 3, KernelW: 3, StrideH: 1, StrideW: 1, PadH: 1, PadW: 1}
	x, y, columns := make([]float32, w.image()), make([]float32, 64*3), make([]float32, 64*w.Columns())
	indices := make([]int32, len(y))
	require.Zero(t, testing.AllocsPerRun(10, func() {
		Im2Col(columns, x, 1, w)
		Col2Im(x, columns, 1, w)
		MaxPool(y, indices, x, 1, w)
		MaxPoolBackward(x, y, indices)
		AvgPool(y, x, 1, w)
		AvgPoolBackward(x, y, 1, w)
	}))
}

// Convolution's products and its transpose fit together: ⟨Im2Col x, z⟩ = ⟨x, Col2Im z⟩.
func FuzzCol2ImIsTheTransposeOfIm2Col(f *testing.F) {
	f.Add(uint8(5), uint8(6), uint8(3), uint8(3), uint8(2), uint8(1), uint8(2), uint8(1), uint8(0))
	f.Fuzz(func(t *testing.T, h, wd, c, kh, kw, sh, sw, ph, pw uint8) {
		w := Window{
			Height: 1 + int(h)%12, Width: 1 + int(wd)%12, Channels: 1 + int(c)%20, KernelH: 1 + int(kh)%6, KernelW: 1 + int(kw)%6,
			StrideH: 1 + int(sh)%4, StrideW: 1 + int(sw)%4,
		}
		w.PadH, w.PadW = int(ph)%w.KernelH, int(pw)%w.KernelW
		if w.Height+2*w.PadH < w.KernelH || w.Width+2*w.PadW < w.KernelW {
			return
		}
		x, z := noise(w.image(), 1), noise(w.OutH()*w.OutW()*w.Columns(), 2)
		columns, back := make([]float32, len(z)), make([]float32, len(x))
		Im2Col(columns, x, 1, w)
		Col2Im(back, z, 1, w)
		var left, right float64
		for i := range z {
			left += float64(columns[i]) * float64(z[i])
		}
		for i := range x {
			right += float64(x[i]) * float64(back[i])
		}
		require.Equal(t, left, right, "%+v", w)
	})
}

func BenchmarkImages(b *testing.B) {
	for _, w := range []Window{
		{Height: 28, Width: 28, Channels: 1, KernelH: 5, KernelW: 5, StrideH: 1, StrideW: 1},
		{Height: 12, Width: 12, Channels: 16, KernelH: 5, KernelW: 5, StrideH: 1, StrideW: 1},
		{Height: 14, Width: 14, Channels: 32, KernelH: 3, KernelW: 3, StrideH: 1, StrideW: 1, PadH: 1, PadW: 1},
	} {
		src := random(32*w.image(), 1)
		dst := make([]float32, 32*w.OutH()*w.OutW()*w.Columns())
		name := fmt.Sprintf("%dx%dx%d kernel %dx%d", w.Height, w.Width, w.Channels, w.KernelH, w.KernelW)
		b.Run("im2col/"+name, func(b *testing.B) { benchISA(b, len(dst), func() { Im2Col(dst, src, 32, w) }) })
		b.Run("col2im/"+name, func(b *testing.B) { benchISA(b, len(dst), func() { Col2Im(src, dst, 32, w) }) })
	}
	for _, c := range []int{1, 16} {
		w := Window{Height: 24, Width: 24, Channels: c, KernelH: 2, KernelW: 2, StrideH: 2, StrideW: 2}
		x, y := random(32*w.image(), 1), make([]float32, 32*w.image()/4)
		indices := make([]int32, len(y))
		name := fmt.Sprintf("24x24x%d 2x2", c)
		b.Run("max/"+name, func(b *testing.B) { benchISA(b, len(x), func() { MaxPool(y, indices, x, 32, w) }) })
		b.Run("max backward/"+name, func(b *testing.B) { benchISA(b, len(x), func() { MaxPoolBackward(x, y, indices) }) })
		b.Run("avg/"+name, func(b *testing.B) { benchISA(b, len(x), func() { AvgPool(y, x, 32, w) }) })
		b.Run("avg backward/"+name, func(b *testing.B) { benchISA(b, len(x), func() { AvgPoolBackward(x, y, 32, w) }) })
	}
}
