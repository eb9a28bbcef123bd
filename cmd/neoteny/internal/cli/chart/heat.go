package chart

import (
	"math"
	"strconv"

	"gonum.org/v1/plot/vg/draw"
)

// Heat is a matrix in the colours of the figure's ramp: Values[i][j] at X = j, Y = i;
// NaN where nothing was measured.
type Heat struct{ Values [][]float64 }

// Set puts a value in its place.
func (h *Heat) Set(i, j int, v float64) {
	for len(h.Values) <= i {
		h.Values = append(h.Values, nil)
	}
	for len(h.Values[i]) <= j {
		h.Values[i] = append(h.Values[i], math.NaN())
	}
	h.Values[i][j] = v
}

func (h Heat) columns() int {
	n := 0
	for _, row := range h.Values {
		n = max(n, len(row))
	}
	return n
}

func (h Heat) extent(bool, bool) (x, y span) {
	if len(h.Values) == 0 || h.columns() == 0 {
		return nothing, nothing
	}
	return span{-0.5, float64(h.columns()) - 0.5}, span{-0.5, float64(len(h.Values)) - 0.5}
}

func (h Heat) size(panels int) (width, height float64) {
	switch {
	case panels == 1:
		return 300, 300
	case panels <= 4:
		return 240, 240
	}
	return 170, 170
}

func (h Heat) entries() []int { return nil }

func (h Heat) draw(p *pane) {
	cellW := (p.right - p.left) / (p.x.max - p.x.min)
	cellH := (p.top - p.low) / (p.y.max - p.y.min)
	for i, row := range h.Values {
		for j := range h.columns() {
			v := at(row, j)
			a, b := p.point(float64(j)-0.5, float64(i)-0.5), p.point(float64(j)+0.5, float64(i)+0.5)
			x0, x1 := a.X.Points(), b.X.Points()
			y0, y1 := min(a.Y, b.Y).Points(), max(a.Y, b.Y).Points()
			// A little over the next cell, so that no light shines through between them.
			c := p.fig.Ramp.colour(v)
			p.rectangle(c, x0, max(y0-0.3, p.low), min(x1+0.3, p.right), y1)
			if drawable(v) && cellW >= 19 && cellH >= 11 {
				ink := palette[0]
				if luminance(c) < 0.5 {
					ink.R, ink.G, ink.B = 0xff, 0xff, 0xff
				}
				p.text(strconv.FormatFloat(v, 'f', 2, 64), (x0+x1)/2, (y0+y1)/2, min(7.5, cellW/2.7), ink, anchor{draw.XCenter, draw.XCenter}, 0)
			}
		}
	}
}
