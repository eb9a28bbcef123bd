package chart

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// palette is Okabe and Ito's, which colour-blind people can tell apart, with wine in
// the place of yellow, which cannot be read on white. Black comes first: it is the
// baseline's.
var palette = []color.NRGBA{
	{R: 0x1a, G: 0x1a, B: 0x1a, A: 0xff},
	{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
	{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
	{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
	{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	{R: 0x88, G: 0x22, B: 0x55, A: 0xff},
}

// dashes tell curves of one colour apart.
var dashes = [][]vg.Length{
	nil,
	{vg.Points(5), vg.Points(2.5)},
	{vg.Points(1.4), vg.Points(1.8)},
	{vg.Points(7), vg.Points(2), vg.Points(1.5), vg.Points(2)},
}

// Colours of what is no data.
var (
	ink     = color.NRGBA{R: 0x22, G: 0x22, B: 0x22, A: 0xff}
	grey    = color.NRGBA{R: 0x60, G: 0x60, B: 0x60, A: 0xff}
	gridInk = color.NRGBA{R: 0xe2, G: 0xe2, B: 0xe2, A: 0xff}
	lacking = color.NRGBA{R: 0xee, G: 0xee, B: 0xee, A: 0xff}
)

func colour(entry int) color.NRGBA { return palette[entry%len(palette)] }

func dash(entry int) []vg.Length { return dashes[entry/len(palette)%len(dashes)] }

// stroke is the line of an entry of the legend.
func stroke(entry int, width float64) draw.LineStyle {
	return draw.LineStyle{Color: colour(entry), Width: vg.Points(width), Dashes: dash(entry)}
}

// faded is a colour that one sees through.
func faded(c color.NRGBA, alpha float64) color.NRGBA {
	c.A = uint8(alpha * 255)
	return c
}

// legible is a colour dark enough for text on white.
func legible(c color.NRGBA) color.NRGBA {
	for luminance(c) > 0.45 {
		c.R, c.G, c.B = uint8(float64(c.R)*0.85), uint8(float64(c.G)*0.85), uint8(float64(c.B)*0.85)
	}
	return c
}

func luminance(c color.NRGBA) float64 {
	return (0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)) / 255
}

// viridis gets brighter all the way, so it reads in grey, too.
var viridis = []color.NRGBA{
	{R: 0x44, G: 0x01, B: 0x54, A: 0xff}, {R: 0x48, G: 0x28, B: 0x78, A: 0xff}, {R: 0x3e, G: 0x49, B: 0x89, A: 0xff},
	{R: 0x31, G: 0x68, B: 0x8e, A: 0xff}, {R: 0x26, G: 0x82, B: 0x8e, A: 0xff}, {R: 0x1f, G: 0x9e, B: 0x89, A: 0xff},
	{R: 0x35, G: 0xb7, B: 0x79, A: 0xff}, {R: 0x6e, G: 0xce, B: 0x58, A: 0xff}, {R: 0xb5, G: 0xde, B: 0x2b, A: 0xff},
	{R: 0xfd, G: 0xe7, B: 0x25, A: 0xff},
}

// place is where a value is on the scale, from 0 to 1.
func (r Ramp) place(v float64) float64 {
	if r.Log {
		return math.Log(v/r.Low) / math.Log(r.High/r.Low)
	}
	return (v - r.Low) / (r.High - r.Low)
}

// at is the value at a place.
func (r Ramp) at(f float64) float64 {
	if r.Log {
		return r.Low * math.Pow(r.High/r.Low, f)
	}
	return r.Low + (r.High-r.Low)*f
}

// colour returns that of a value; grey for one that was not measured.
func (r Ramp) colour(v float64) color.NRGBA {
	f := r.place(v)
	if !drawable(v) || math.IsNaN(f) {
		return lacking
	}
	f = min(max(f, 0), 1) * float64(len(viridis)-1)
	i := min(int(f), len(viridis)-2)
	a, b, t := viridis[i], viridis[i+1], f-float64(i)
	mix := func(x, y uint8) uint8 { return uint8(math.Round(float64(x)*(1-t) + float64(y)*t)) }
	return color.NRGBA{R: mix(a.R, b.R), G: mix(a.G, b.G), B: mix(a.B, b.B), A: 0xff}
}
