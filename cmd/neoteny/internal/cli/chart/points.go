package chart

import (
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Points are single values with the mean of those at the same X.
type Points struct{ Groups []Group }

// Group is the values of one entry of the legend at one X. Those of an entry come in
// the order of X: their means are joined by a line.
type Group struct {
	Entry  int
	X      float64
	Values []float64
}

func (g Points) extent(logX, logY bool) (x, y span) {
	x, y = nothing, nothing
	for _, one := range g.Groups {
		for _, v := range one.Values {
			if s := y.with(v, logY); s != y || !nothing.with(v, logY).empty() {
				x, y = x.with(one.X, logX), s
			}
		}
	}
	return x, y
}

func (g Points) size(panels int) (w, h float64) { return Lines{}.size(panels) }

func (g Points) entries() []int {
	var out []int
	for _, one := range g.Groups {
		out = append(out, one.Entry)
	}
	return entriesOf(out)
}

func (g Points) draw(p *pane) {
	clip := p.clipped()
	entries := g.entries()
	means := map[int][]vg.Point{}
	for _, one := range g.Groups {
		// Beside each other, so that none hides another.
		aside := min(6, 36/float64(len(entries))) * (float64(slices.Index(entries, one.Entry)) - float64(len(entries)-1)/2)

		sum, n := 0.0, 0.0
		for _, v := range one.Values {
			if !drawable(v) || p.y.Log && v <= 0 {
				continue
			}
			sum, n = sum+v, n+1
			at := p.point(one.X, p.y.clamp(v))
			if at.X += vg.Points(aside); clip.Contains(at) {
				p.dot(one.Entry, at)
			}
		}
		if n == 0 {
			continue
		}
		mean := p.point(one.X, p.y.clamp(sum/n))
		mean.X += vg.Points(aside)
		means[one.Entry] = append(means[one.Entry], mean)
		if x, y := mean.X.Points(), mean.Y.Points(); n > 1 && clip.Contains(mean) {
			p.line(draw.LineStyle{Color: colour(one.Entry), Width: vg.Points(1.6)}, pt(max(x-4, p.left), y), pt(min(x+4, p.right), y))
		}
	}
	for _, e := range entries {
		style := stroke(e, 0.8)
		style.Color = faded(colour(e), 0.7)
		if len(means[e]) > 1 {
			p.StrokeLines(style, clip.ClipLinesXY(means[e])...)
		}
	}
}

// dot is the point of an entry: a ring where another entry has a disc of the colour.
func (p *page) dot(entry int, at vg.Point) {
	style := draw.LineStyle{Color: faded(colour(entry), 0.6), Width: vg.Points(0.9)}
	if dash(entry) == nil {
		p.disc(style, at, 1.9)
		return
	}
	p.SetLineStyle(style)
	p.Stroke(circle(at, 1.6))
}
