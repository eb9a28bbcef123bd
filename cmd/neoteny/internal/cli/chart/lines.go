package chart

import (
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Lines are curves with bands, or with thin lines for single seeds in their place.
type Lines struct {
	Curves []Curve
	Marks  []float64 // X of light upright lines: where tasks begin
}

// Curve is one line. Mean[i] stands at X[i]; NaN leaves a gap.
type Curve struct {
	Entry     int // in the figure's legend
	X, Mean   []float64
	Low, High []float64   // the ends of the band, NaN or nil where there is none
	Seeds     [][]float64 // thin lines, as long as X
}

const (
	// dots is how many points a curve has at most for each to get a dot.
	dots      = 15
	seedAlpha = 0.55
	// bandRoom is how far beyond its lines a panel reaches for the bands around them, in
	// heights of the lines.
	bandRoom = 0.35
	// dense is from how many points on lines are thin.
	dense = 120
)

// Measured reports whether there is anything to draw.
func (c Curve) Measured() bool {
	return slices.ContainsFunc(c.Mean, drawable)
}

// Only returns the curve with the points at some X.
func (c Curve) Only(keep func(x float64) bool) Curve {
	some := func(v []float64) (out []float64) {
		for i := range v {
			if keep(c.X[i]) {
				out = append(out, v[i])
			}
		}
		return out
	}
	o := Curve{Entry: c.Entry, X: some(c.X), Mean: some(c.Mean), Low: some(c.Low), High: some(c.High)}
	for _, s := range c.Seeds {
		o.Seeds = append(o.Seeds, some(s))
	}
	return o
}

// Averaged returns the curve with at most n points, each the mean of as many neighbours
// as it says; what was not measured is left out of them.
func (c Curve) Averaged(n int) (Curve, int) {
	if len(c.X) <= n {
		return c, 1
	}
	size := (len(c.X) + n - 1) / n
	means := func(v []float64) (out []float64) {
		for start := 0; v != nil && start < len(c.X); start += size {
			out = append(out, mean(v, start, min(start+size, len(c.X))))
		}
		return out
	}
	t := Curve{Entry: c.Entry, X: means(c.X), Mean: means(c.Mean), Low: means(c.Low), High: means(c.High)}
	for _, s := range c.Seeds {
		t.Seeds = append(t.Seeds, means(s))
	}
	return t, size
}

func mean(v []float64, start, end int) float64 {
	sum, n := 0.0, 0.0
	for i := start; i < end; i++ {
		if x := at(v, i); drawable(x) {
			sum, n = sum+x, n+1
		}
	}
	return sum / n // NaN without any
}

// extent follows means and single seeds: a wide band does not flatten the lines.
func (l Lines) extent(logX, logY bool) (x, y span) {
	x, y = nothing, nothing
	for _, c := range l.Curves {
		for i := range c.X {
			before := y
			y = y.with(at(c.Mean, i), logY)
			for _, s := range c.Seeds {
				y = y.with(at(s, i), logY)
			}
			if y != before || drawable(at(c.Mean, i)) {
				x = x.with(c.X[i], logX)
			}
		}
	}
	if y.empty() || logY {
		return x, y
	}
	// Of the bands, as much as leaves the lines most of the height.
	room, means := (y.high-y.low)*bandRoom, y
	for _, c := range l.Curves {
		for i := range c.X {
			if low, high := at(c.Low, i), at(c.High, i); room > 0 && drawable(low) && drawable(high) {
				y = span{min(y.low, max(low, means.low-room)), max(y.high, min(high, means.high+room))}
			}
		}
	}
	return x, y
}

func (l Lines) size(panels int) (w, h float64) {
	if panels == 1 {
		return 400, 250
	}
	return 250, 160
}

func (l Lines) entries() []int {
	var out []int
	for _, c := range l.Curves {
		if c.Measured() {
			out = append(out, c.Entry)
		}
	}
	return entriesOf(out)
}

// ends returns where each curve ends.
func (l Lines) ends(logX, logY bool) []label {
	var out []label
	for _, c := range l.Curves {
		for i := len(c.X) - 1; i >= 0; i-- {
			if x, v := c.X[i], at(c.Mean, i); !nothing.with(v, logY).empty() && !nothing.with(x, logX).empty() {
				out = append(out, label{entry: c.Entry, value: v, x: x})
				break
			}
		}
	}
	return out
}

func (l Lines) draw(p *pane) {
	clip := p.clipped()
	for _, x := range l.Marks {
		if f := p.x.place(x); f > 0 && f < 1 {
			at := float64(p.point(x, p.y.min).X)
			p.line(draw.LineStyle{Color: gridInk, Width: vg.Points(0.5)}, pt(at, p.low), pt(at, p.top))
		}
	}
	alpha, thick := 0.2, 1.4
	if len(l.Curves) > 5 {
		alpha, thick = 0.11, 1.1
	}
	for _, c := range l.Curves {
		if len(c.X) >= dense {
			alpha, thick = 0.11, 0.9
		}
	}
	for _, c := range l.Curves {
		for _, ring := range c.rings(p) {
			if ring = clip.ClipPolygonXY(ring); len(ring) > 2 {
				p.FillPolygon(faded(colour(c.Entry), alpha), ring)
			}
		}
	}
	for _, c := range l.Curves {
		for _, s := range c.Seeds {
			style := stroke(c.Entry, 0.6)
			style.Color, style.Dashes = faded(colour(c.Entry), seedAlpha), nil
			drawLine(p, clip, style, c.X, s, 1.2)
		}
	}
	for _, c := range slices.Backward(l.Curves) { // the first, the baseline, lies on top
		drawLine(p, clip, stroke(c.Entry, thick), c.X, c.Mean, 1.7)
	}
	l.drawLabels(p)
}

// drawLine draws the pieces of a line between its gaps; a point alone is a dot, as
// each is where there are few.
func drawLine(p *pane, clip draw.Canvas, style draw.LineStyle, x, y []float64, radius float64) {
	var piece []vg.Point
	few := len(x) <= dots
	flush := func() {
		if len(piece) > 1 {
			p.StrokeLines(style, clip.ClipLinesXY(piece)...)
		}
		for _, at := range piece {
			if (few || len(piece) == 1) && clip.Contains(at) {
				p.disc(style, at, radius)
			}
		}
		piece = piece[:0]
	}
	for i := range x {
		v := at(y, i)
		if !drawable(v) || p.y.Log && v <= 0 || p.x.Log && x[i] <= 0 {
			flush()
			continue
		}
		piece = append(piece, p.point(x[i], p.y.clamp(v)))
	}
	flush()
}

func (p *page) disc(style draw.LineStyle, at vg.Point, radius float64) {
	p.SetColor(style.Color)
	p.Fill(circle(at, radius))
}

func circle(at vg.Point, radius float64) (path vg.Path) {
	r := vg.Points(radius)
	path.Move(vg.Point{X: at.X + r, Y: at.Y})
	path.Arc(at, r, 0, 2*math.Pi)
	path.Close()
	return path
}

// rings are the outlines of a curve's band, one between two gaps.
func (c Curve) rings(p *pane) (rings [][]vg.Point) {
	has := func(i int) bool {
		low, high := at(c.Low, i), at(c.High, i)
		return drawable(low) && drawable(high) && drawable(at(c.Mean, i)) && !(p.y.Log && high <= 0)
	}
	for start := 0; start < len(c.X); start++ {
		end := start
		for end < len(c.X) && has(end) {
			end++
		}
		if end-start > 1 {
			var ring []vg.Point
			for i := start; i < end; i++ {
				ring = append(ring, p.point(c.X[i], p.y.clamp(c.High[i])))
			}
			for i := end - 1; i >= start; i-- {
				ring = append(ring, p.point(c.X[i], p.y.clamp(c.Low[i])))
			}
			rings = append(rings, ring)
		}
		start = max(start, end)
	}
	return rings
}

// drawLabels names the lines at their ends. A line that ends before the others is led
// to its name.
func (l Lines) drawLabels(p *pane) {
	for _, b := range p.fig.labels[p.panel] {
		lead := stroke(b.entry, 0.6)
		lead.Dashes = nil
		end := p.point(b.x, p.y.clamp(b.value))
		y := min(max(end.Y.Points(), p.low), p.top)
		if x := end.X.Points(); x < p.right-2 {
			faint := lead
			faint.Color, faint.Dashes = faded(colour(b.entry), seedAlpha), []vg.Length{vg.Points(1), vg.Points(2)}
			p.line(faint, pt(x, y), pt(p.right, y))
		}
		p.line(lead, pt(p.right+1.5, y), pt(p.right+11, p.low+b.centre))
		p.write(b.text, p.right+14, p.low+b.centre+b.text.height()/2, legible(colour(b.entry)))
	}
}
