package render

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Curve is one line of a plot with a band around it. Mean[i] stands at X[i];
// NaN leaves a gap. Low and High are the ends of the band, NaN or nil where
// there is none.
type Curve struct {
	Name            string
	X               []float64
	Mean, Low, High []float64
}

// Panel is one pair of axes of a figure.
type Panel struct {
	Title  string
	Curves []Curve
}

// Figure is an SVG of one or more panels that share their axes' names and
// their legend. A curve has the same colour in every panel where a curve of
// its name stands.
type Figure struct {
	Title  string
	X, Y   string // names of the axes
	Note   string // said under the title, for example what the band is
	Panels []Panel
}

const (
	panelWidth  = 6.4 * vg.Inch
	panelHeight = 3.6 * vg.Inch
	margin      = 0.12 * vg.Inch
	// maxPoints is how many points of a curve are drawn; longer ones are
	// averaged in buckets, since a screen has no more columns to show.
	maxPoints = 1000
	// maxLegend is how many names the legend takes before it says "and n more".
	maxLegend = 40
)

// palette is Okabe and Ito's, which colour-blind people can tell apart, with
// the yellow left out (unreadable on white). Past its end dashes tell curves
// of one colour apart.
var palette = []color.NRGBA{
	{R: 0x00, G: 0x72, B: 0xb2, A: 0xff},
	{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
	{R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
	{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
	{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
	{R: 0x33, G: 0x33, B: 0x33, A: 0xff},
}

var dashes = [][]vg.Length{nil, {vg.Points(6), vg.Points(3)}, {vg.Points(1.5), vg.Points(2)}, {vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}}

// WriteSVG draws the figure. It returns an error if no curve has a finite
// value.
func (f *Figure) WriteSVG(w io.Writer) error {
	names := f.names()
	if len(names) == 0 {
		return fmt.Errorf("plot %q: no curve has a value", f.Title)
	}
	styles := map[string]draw.LineStyle{}
	legend := plot.NewLegend()
	legend.TextStyle.Font = sans(9)
	legend.Top, legend.Left = true, true
	legend.Padding = vg.Points(3)
	for i, name := range names {
		st := draw.LineStyle{Color: palette[i%len(palette)], Width: vg.Points(1.4), Dashes: dashes[i/len(palette)%len(dashes)]}
		styles[name] = st
		switch {
		case i < maxLegend:
			legend.Add(name, &plotter.Line{LineStyle: st})
		case i == maxLegend:
			legend.Add(fmt.Sprintf("and %d more", len(names)-maxLegend))
		}
	}

	cols := 1
	if len(f.Panels) > 2 {
		cols = 2
	}
	rows := (len(f.Panels) + cols - 1) / cols
	plots := make([][]*plot.Plot, rows)
	for r := range plots {
		plots[r] = make([]*plot.Plot, cols)
		for c := range cols {
			if i := r*cols + c; i < len(f.Panels) {
				p, err := f.panel(f.Panels[i], styles)
				if err != nil {
					return err
				}
				plots[r][c] = p
			}
		}
	}

	legendSize := legendExtent(&legend)
	head := vg.Points(34)
	width := panelWidth*vg.Length(cols) + legendSize.X + 3*margin
	height := max(panelHeight*vg.Length(rows), legendSize.Y) + head + 2*margin
	canvas := vgsvg.New(width, height)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())

	title := draw.TextStyle{Color: color.Black, Font: sans(12), XAlign: draw.XLeft, YAlign: draw.YTop, Handler: plot.DefaultTextHandler}
	all.FillText(title, vg.Point{X: margin, Y: height - margin}, f.Title)
	title.Font, title.Color = sans(8.5), color.NRGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff}
	all.FillText(title, vg.Point{X: margin, Y: height - margin - vg.Points(16)}, f.Note)

	body := draw.Crop(all, margin, -(legendSize.X + 2*margin), margin, -(head + margin))
	tiles := draw.Tiles{Rows: rows, Cols: cols, PadX: margin, PadY: margin}
	canvases := plot.Align(plots, tiles, body)
	for r := range plots {
		for c, p := range plots[r] {
			if p != nil {
				p.Draw(canvases[r][c])
			}
		}
	}
	legend.Draw(draw.Crop(all, width-legendSize.X-margin, -margin, margin, -(head + margin)))

	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return fmt.Errorf("plot %q: %w", f.Title, err)
	}
	// The family alone would fall back to a serif face where it is not installed.
	svg := bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans, Arial, Helvetica, sans-serif"))
	if _, err := w.Write(svg); err != nil {
		return fmt.Errorf("plot %q: %w", f.Title, err)
	}
	return nil
}

// names lists the curves that have something to draw, in order of appearance.
func (f *Figure) names() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range f.Panels {
		for _, c := range p.Curves {
			if !seen[c.Name] && len(pieces(c)) > 0 {
				seen[c.Name] = true
				names = append(names, c.Name)
			}
		}
	}
	return names
}

func (f *Figure) panel(panel Panel, styles map[string]draw.LineStyle) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = panel.Title
	p.Title.TextStyle.Font = sans(10)
	p.X.Label.Text, p.Y.Label.Text = f.X, f.Y
	p.X.Tick.Marker = wholeTicks{}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font = sans(10)
		a.Tick.Label.Font = sans(8.5)
		a.LineStyle.Width = vg.Points(0.7)
		a.Tick.LineStyle.Width = vg.Points(0.7)
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color = color.NRGBA{R: 0xdd, G: 0xdd, B: 0xdd, A: 0xff}
	grid.Horizontal.Width = vg.Points(0.5)
	grid.Vertical.Color = nil
	p.Add(grid)

	var lines []plot.Plotter // above all bands
	for _, c := range panel.Curves {
		style := styles[c.Name]
		for _, piece := range pieces(thin(c, maxPoints)) {
			if err := addBand(p, piece, style.Color); err != nil {
				return nil, fmt.Errorf("plot %q: %s: %w", f.Title, c.Name, err)
			}
			pts := make(plotter.XYs, len(piece.X))
			for i := range pts {
				pts[i] = plotter.XY{X: piece.X[i], Y: piece.Mean[i]}
			}
			if len(pts) == 1 {
				// A line needs two points; a lone task is shown as a dot.
				s, err := plotter.NewScatter(pts)
				if err != nil {
					return nil, fmt.Errorf("plot %q: %s: %w", f.Title, c.Name, err)
				}
				s.GlyphStyle = draw.GlyphStyle{Color: style.Color, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
				lines = append(lines, s)
				continue
			}
			l, err := plotter.NewLine(pts)
			if err != nil {
				return nil, fmt.Errorf("plot %q: %s: %w", f.Title, c.Name, err)
			}
			l.LineStyle = style
			lines = append(lines, l)
		}
	}
	p.Add(lines...)
	widen(&p.X)
	widen(&p.Y)
	return p, nil
}

// wholeTicks marks whole numbers only: there is no task 2.5.
type wholeTicks struct{}

// Ticks returns at most nine labelled marks.
func (wholeTicks) Ticks(low, high float64) []plot.Tick {
	step := 1.0
	for i := 0; (high-low)/step > 8; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10, …
	}
	var ticks []plot.Tick // "+ 0" makes a zero of a minus zero
	for v := math.Ceil(low/step)*step + 0; v <= high; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.0f", v)})
	}
	return ticks
}

// widen gives an axis with a single value, or none, some room.
func widen(a *plot.Axis) {
	if a.Min > a.Max {
		a.Min, a.Max = 0, 1
	}
	if a.Min == a.Max {
		d := max(math.Abs(a.Min)*0.05, 0.5)
		a.Min, a.Max = a.Min-d, a.Max+d
	}
}

// addBand fills the area between Low and High, in pieces where it has gaps.
func addBand(p *plot.Plot, c Curve, col color.Color) error {
	nc := col.(color.NRGBA)
	nc.A = 0x38
	for start := 0; start < len(c.X); {
		if !finite(c.Low, start) || !finite(c.High, start) {
			start++
			continue
		}
		end := start
		for end < len(c.X) && finite(c.Low, end) && finite(c.High, end) {
			end++
		}
		if end-start > 1 {
			var ring plotter.XYs
			for i := start; i < end; i++ {
				ring = append(ring, plotter.XY{X: c.X[i], Y: c.High[i]})
			}
			for i := end - 1; i >= start; i-- {
				ring = append(ring, plotter.XY{X: c.X[i], Y: c.Low[i]})
			}
			poly, err := plotter.NewPolygon(ring)
			if err != nil {
				return err
			}
			poly.Color = nc
			poly.LineStyle.Width = 0
			p.Add(poly)
		}
		start = end
	}
	return nil
}

// pieces cuts a curve at the values that cannot be drawn.
func pieces(c Curve) []Curve {
	var out []Curve
	for start := 0; start < len(c.X); {
		if !finite(c.Mean, start) {
			start++
			continue
		}
		end := start
		for end < len(c.X) && finite(c.Mean, end) {
			end++
		}
		p := Curve{Name: c.Name, X: c.X[start:end], Mean: c.Mean[start:end]}
		if len(c.Low) >= end && len(c.High) >= end {
			p.Low, p.High = c.Low[start:end], c.High[start:end]
		}
		out = append(out, p)
		start = end
	}
	return out
}

// thin averages neighbouring points until at most n are left. A bucket is the
// mean of its finite values.
func thin(c Curve, n int) Curve {
	if len(c.X) <= n {
		return c
	}
	size := (len(c.X) + n - 1) / n
	t := Curve{Name: c.Name}
	for start := 0; start < len(c.X); start += size {
		end := min(start+size, len(c.X))
		t.X = append(t.X, mean(c.X, start, end))
		t.Mean = append(t.Mean, mean(c.Mean, start, end))
		t.Low = append(t.Low, mean(c.Low, start, end))
		t.High = append(t.High, mean(c.High, start, end))
	}
	return t
}

func mean(v []float64, start, end int) float64 {
	sum, n := 0.0, 0
	for i := start; i < end; i++ {
		if finite(v, i) {
			sum += v[i]
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// finite reports whether v has a value at i that can be drawn.
func finite(v []float64, i int) bool {
	// Coordinates beyond this overflow the arithmetic of axes.
	return i < len(v) && math.Abs(v[i]) < 1e300
}

func sans(size vg.Length) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
}

// legendExtent measures a legend; its Rectangle method needs a canvas only for
// its position.
func legendExtent(l *plot.Legend) vg.Point {
	r := l.Rectangle(draw.Canvas{})
	size := r.Size()
	size.X += vg.Points(8)
	return size
}
