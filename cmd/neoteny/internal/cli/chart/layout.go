package chart

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	margin = 10.0
	gap    = 16.0 // between columns and rows of panels
	sample = 22.0 // of a line in the legend
	// maxLegend is how many names the legend takes before it says "and n more".
	maxLegend = 48
	// maxLabels is how many lines of a panel are named at their ends.
	maxLabels = 24
)

// page is a figure being drawn: a canvas in points, from the lower left corner.
type page struct{ draw.Canvas }

// pane is the plot area of a panel.
type pane struct {
	*page
	x, y       scale
	left, low  float64 // its corners
	right, top float64
	fig        *layout
	panel      int
}

// point is the place of a pair of values.
func (p *pane) point(x, y float64) vg.Point {
	return vg.Point{
		X: vg.Points(p.left + p.x.place(x)*(p.right-p.left)),
		Y: vg.Points(p.low + p.y.place(y)*(p.top-p.low)),
	}
}

// clipped is a canvas whose edges are those of the plot area.
func (p *pane) clipped() draw.Canvas {
	return draw.Canvas{Canvas: p.Canvas.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: vg.Points(p.left), Y: vg.Points(p.low)}, Max: vg.Point{X: vg.Points(p.right), Y: vg.Points(p.top)},
	}}
}

func (p *page) line(style draw.LineStyle, points ...vg.Point) { p.StrokeLines(style, points) }

func pt(x, y float64) vg.Point { return vg.Point{X: vg.Points(x), Y: vg.Points(y)} }

// layout is a figure with everything measured.
type layout struct {
	*Figure
	columns, rows int
	x             []scale // by panel
	y             scale
	plotW, plotH  float64
	left          float64   // from the page's edge to the first column's plot area
	gutter        float64   // right of every plot area, for the names of lines
	heads, feet   []float64 // by row: above and below the plot areas
	labels        [][]label // by panel
	keys          bool      // lines are named by their number in the legend
	legend        []placed
	ramp          bool
	legendH       float64
	title         block
	notes         []block
	yLabel        block
	width, height float64
}

// label is the name of a line at its end.
type label struct {
	entry  int
	value  float64 // of the line at its end
	x      float64 // where it ends
	text   block
	centre float64 // above the lower edge of the plot area
}

// placed is an entry of the legend with its place in it, from its upper left corner.
type placed struct {
	x, y  float64
	entry int // -1 for none: a text alone
	drawn bool
	text  block
}

// arrange measures a figure.
func arrange(f *Figure) (*layout, error) {
	l := &layout{Figure: f}
	any := false
	for _, p := range f.Panels {
		x, y := p.extent(f.X.Log, f.Y.Log)
		any = any || !x.empty() && !y.empty()
		w, h := p.size(len(f.Panels))
		l.plotW, l.plotH = max(l.plotW, w), max(l.plotH, h)
	}
	if !any {
		return nil, fmt.Errorf("draw %q: there is no value to draw", f.Title)
	}
	l.columns = columns(len(f.Panels))
	l.rows = (len(f.Panels) + l.columns - 1) / l.columns
	l.axes()
	l.nameLines()
	l.frame()
	return l, nil
}

func columns(panels int) int {
	switch {
	case panels <= 1:
		return 1
	case panels <= 4:
		return 2
	case panels <= 9:
		return 3
	}
	return 4
}

// axes chooses the ends of the axes.
func (l *layout) axes() {
	sharedX, sharedY := nothing, nothing
	for _, p := range l.Panels {
		x, y := p.extent(l.xAxis(p).Log, l.Y.Log)
		if p.X == nil {
			sharedX = sharedX.union(x)
		}
		sharedY = sharedY.union(y)
	}
	room := 0.04
	if _, heat := l.Panels[0].Content.(Heat); heat {
		room = 0
	}
	l.y = newScale(l.Y, sharedY, room)
	for _, p := range l.Panels {
		room, s := 0.0, sharedX
		if p.X != nil {
			room = 0.1
			s, _ = p.extent(p.X.Log, l.Y.Log)
		}
		l.x = append(l.x, newScale(l.xAxis(p), s, room))
	}
}

func (l *layout) xAxis(p Panel) Axis {
	if p.X != nil {
		return *p.X
	}
	return l.X
}

// nameLines decides how lines are named at their ends, and how high panels must be for
// the names not to overlap: by name, or where that would take too much room, by the
// number in the legend.
func (l *layout) nameLines() {
	room := 150.0
	if l.columns > 1 {
		room = 96
	}
	l.labels = make([][]label, len(l.Panels))
	need := l.measureLabels(func(e int) block { return wrap(l.Legend[e].Name, smallSize, room) })
	if need > max(1.5*l.plotH, 300) || l.columns > 2 && len(l.Legend) > 3 {
		l.keys = true
		need = l.measureLabels(func(e int) block { return wrap(fmt.Sprint(e+1), smallSize, room) })
	}
	l.plotH = max(l.plotH, need)
	for i, labels := range l.labels {
		wanted, heights := make([]float64, len(labels)), make([]float64, len(labels))
		for k, b := range labels {
			wanted[k], heights[k] = min(max(l.y.place(b.value), 0), 1)*l.plotH, b.text.height()+1
			l.gutter = max(l.gutter, b.text.width()+18)
		}
		for k, c := range spread(wanted, heights, 0, l.plotH) {
			l.labels[i][k].centre = c
		}
	}
}

func (l *layout) measureLabels(text func(entry int) block) (need float64) {
	for i, p := range l.Panels {
		lines, ok := p.Content.(Lines)
		if !ok {
			continue
		}
		ends := lines.ends(l.X.Log, l.Y.Log)
		if len(ends) > maxLabels {
			continue
		}
		total := 0.0
		for k := range ends {
			ends[k].text = text(ends[k].entry)
			total += ends[k].text.height() + 1
		}
		l.labels[i], need = ends, max(need, total)
	}
	return need
}

// frame places everything around the plot areas.
func (l *layout) frame() {
	tickW := 0.0
	for _, t := range l.y.ticks {
		tickW = max(tickW, width(t.label, tickSize))
	}
	l.yLabel = wrap(l.Y.Label, labelSize, max(l.plotH, 60))
	l.left = margin + l.yLabel.height() + 8 + tickW + 8
	if l.bare(0) {
		l.left = margin
	}
	l.heads, l.feet = make([]float64, l.rows), make([]float64, l.rows)
	for i, p := range l.Panels {
		r := i / l.columns
		if p.Title != "" {
			l.heads[r] = max(l.heads[r], l.panelTitle(i).height()+4)
		}
		if l.footed(i) {
			l.feet[r] = max(l.feet[r], 5+l.tickHeight(i)+3+l.xLabel(i).height())
		}
	}
	l.width = l.left + float64(l.columns)*(l.plotW+l.gutter) + float64(l.columns-1)*gap + margin
	text := l.width - 2*margin
	l.title = wrap(l.Title, titleSize, text)
	for _, n := range l.Notes {
		l.notes = append(l.notes, wrap(n, smallSize, text))
	}
	l.placeLegend(text)
	l.height = margin + l.title.height() + 2
	for _, n := range l.notes {
		l.height += n.height() + 1
	}
	l.height += 6 + l.legendH
	for r := range l.rows {
		l.height += l.heads[r] + l.plotH + l.feet[r]
	}
	l.height += gap*0.6*float64(l.rows-1) + margin
}

// bare reports whether a panel has no axes of the figure's.
func (l *layout) bare(i int) bool { _, ok := l.Panels[i].Content.(Parallel); return ok }

// footed reports whether a panel has its X axis written under it: where it is its own,
// and where no panel is below.
func (l *layout) footed(i int) bool {
	return !l.bare(i) && (l.Panels[i].X != nil || i+l.columns >= len(l.Panels))
}

func (l *layout) xLabel(i int) block { return wrap(l.x[i].Label, labelSize, l.plotW+l.gutter) }

func (l *layout) panelTitle(i int) block {
	return wrap(l.Panels[i].Title, labelSize, l.plotW+l.gutter-4)
}

// tickHeight is the room for what is written at the marks of an X axis. Names that do
// not fit beside each other are wrapped.
func (l *layout) tickHeight(i int) float64 {
	h := tickSize * leading
	for _, b := range l.tickBlocks(i) {
		h = max(h, b.height())
	}
	return h
}

func (l *layout) tickBlocks(i int) []block {
	s := l.x[i]
	room := math.Inf(1)
	if len(s.Names) > 0 {
		room = max(l.plotW/float64(len(s.Names))-3, 18)
	}
	out := make([]block, len(s.ticks))
	for k, t := range s.ticks {
		out[k] = wrap(t.label, tickSize, room)
	}
	return out
}

// placeLegend flows the entries into rows. A single line is named at its end and needs
// no legend.
func (l *layout) placeLegend(room float64) {
	if l.Ramp != nil {
		l.ramp, l.legendH = true, 2*tickSize*leading+22
		return
	}
	drawn := map[int]bool{}
	for _, p := range l.Panels {
		for _, e := range p.Content.entries() {
			drawn[e] = true
		}
	}
	if len(l.Legend) == 1 && drawn[0] && l.Legend[0].Note == "" && len(l.labels[0]) > 0 {
		return
	}
	x, y, rowH := 0.0, 0.0, 0.0
	place := func(p placed, head float64) {
		w := head + p.text.width()
		if x > 0 && x+w > room {
			x, y, rowH = 0, y+rowH+2, 0
		}
		p.x, p.y = x, y
		l.legend = append(l.legend, p)
		x += w + 16
		rowH = max(rowH, p.text.height())
	}
	n := 0
	for i, e := range l.Legend {
		if !drawn[i] && e.Note == "" {
			continue // nothing of it is here, and there is nothing to say why
		}
		if n++; n > maxLegend {
			continue
		}
		name := e.text()
		if l.keys {
			name = fmt.Sprintf("%d  %s", i+1, name)
		}
		place(placed{entry: i, drawn: drawn[i], text: wrap(name, smallSize, room-sample-5)}, sample+5)
	}
	if n > maxLegend {
		place(placed{entry: -1, text: wrap(fmt.Sprintf("and %d more", n-maxLegend), smallSize, room)}, 0)
	}
	if len(l.legend) > 0 {
		l.legendH = y + rowH + 8
	}
}

// draw draws the figure.
func (l *layout) draw(c vg.Canvas) {
	p := &page{draw.NewCanvas(c, vg.Points(l.width), vg.Points(l.height))}
	p.SetColor(color.White)
	p.Fill(p.Rectangle.Path())
	y := l.height - margin
	p.write(l.title, margin, y, ink)
	y -= l.title.height() + 2
	for _, n := range l.notes {
		p.write(n, margin, y, grey)
		y -= n.height() + 1
	}
	y -= 6
	l.drawLegend(p, y)
	for _, one := range l.panes(p) {
		l.drawPanel(one)
	}
}

// panes are the plot areas, from the upper left to the lower right.
func (l *layout) panes(p *page) (all []*pane) {
	low := margin
	for r := l.rows - 1; r >= 0; r-- {
		low += l.feet[r]
		for i := r * l.columns; i < min((r+1)*l.columns, len(l.Panels)); i++ {
			left := l.left + float64(i%l.columns)*(l.plotW+l.gutter+gap)
			all = append(all, &pane{
				page: p, fig: l, panel: i, x: l.x[i], y: l.y,
				left: left, right: left + l.plotW, low: low, top: low + l.plotH,
			})
		}
		low += l.plotH + l.heads[r] + gap*0.6
	}
	slices.SortFunc(all, func(a, b *pane) int { return a.panel - b.panel })
	return all
}

func (l *layout) drawLegend(p *page, top float64) {
	if l.ramp {
		l.drawRamp(p, top)
		return
	}
	for _, e := range l.legend {
		x, y := margin+e.x, top-e.y
		middle := y - smallSize*leading/2
		switch {
		case e.entry >= 0 && e.drawn:
			p.line(stroke(e.entry, 1.8), pt(x, middle), pt(x+sample, middle))
		case e.entry >= 0: // nothing of it is drawn
			p.text("–", x+sample/2, middle, smallSize, grey, anchor{draw.XCenter, draw.XCenter}, 0)
		}
		if e.entry >= 0 {
			x += sample + 5
		}
		p.write(e.text, x, y, ink)
	}
}

// drawRamp draws the scale of colours.
func (l *layout) drawRamp(p *page, top float64) {
	const w, h, parts, left = 160.0, 8.0, 64, margin + 10
	p.text(l.Ramp.Label, margin, top-tickSize*leading/2, smallSize, ink, anchor{draw.XLeft, draw.XCenter}, 0)
	y := top - tickSize*leading - 3 - h
	for i := range parts {
		x := left + w*float64(i)/parts
		c := l.Ramp.colour(l.Ramp.at((float64(i) + 0.5) / parts))
		p.rectangle(c, x, y, min(x+w/parts+0.3, left+w), y+h)
	}
	ticks := linearTicks(l.Ramp.Low, l.Ramp.High, false)
	if l.Ramp.Log {
		ticks = logTicks(l.Ramp.Low, l.Ramp.High)
	}
	for _, t := range ticks {
		if t.label == "" {
			continue
		}
		x := left + w*l.Ramp.place(t.value)
		p.line(draw.LineStyle{Color: ink, Width: vg.Points(0.6)}, pt(x, y), pt(x, y-2.5))
		p.text(t.label, x, y-3.5, tickSize, ink, anchor{draw.XCenter, draw.XRight}, 0)
	}
}

func (p *page) rectangle(c color.Color, x0, y0, x1, y1 float64) {
	p.FillPolygon(c, []vg.Point{pt(x0, y0), pt(x1, y0), pt(x1, y1), pt(x0, y1)})
}

// drawPanel draws the axes of a panel and what is between them.
func (l *layout) drawPanel(p *pane) {
	if title := l.Panels[p.panel].Title; title != "" {
		b := l.panelTitle(p.panel)
		p.write(b, p.left, p.top+4+b.height(), ink)
	}
	if l.bare(p.panel) {
		l.Panels[p.panel].draw(p)
		return
	}
	if _, heat := l.Panels[p.panel].Content.(Heat); !heat {
		for _, t := range p.y.ticks {
			if y := float64(p.point(p.x.min, t.value).Y); t.label != "" {
				p.line(draw.LineStyle{Color: gridInk, Width: vg.Points(0.5)}, pt(p.left, y), pt(p.right, y))
			}
		}
	}
	l.Panels[p.panel].draw(p)
	axis := draw.LineStyle{Color: ink, Width: vg.Points(0.7)}
	p.line(axis, pt(p.left, p.top), pt(p.left, p.low), pt(p.right, p.low))
	for _, t := range p.y.ticks {
		y := float64(p.point(p.x.min, t.value).Y)
		p.line(axis, pt(p.left-markLength(t), y), pt(p.left, y))
		if p.panel%l.columns == 0 {
			p.text(t.label, p.left-5, y, tickSize, ink, anchor{draw.XRight, draw.XCenter}, 0)
		}
	}
	blocks := l.tickBlocks(p.panel)
	for k, t := range p.x.ticks {
		x := float64(p.point(t.value, p.y.min).X)
		p.line(axis, pt(x, p.low), pt(x, p.low-markLength(t)))
		if l.footed(p.panel) {
			p.centred(blocks[k], x, p.low-5, ink)
		}
	}
	if p.panel%l.columns == 0 {
		for n, s := range l.yLabel.lines {
			p.text(s, margin+(float64(n)+0.5)*labelSize*leading, (p.low+p.top)/2, labelSize, ink, anchor{draw.XCenter, draw.XCenter}, math.Pi/2)
		}
	}
	if l.footed(p.panel) {
		p.centred(l.xLabel(p.panel), (p.left+p.right)/2, p.low-5-l.tickHeight(p.panel)-3, ink)
	}
}

func markLength(t tick) float64 {
	if t.label == "" {
		return 2
	}
	return 3
}

// entriesOf lists the entries of the legend that something is drawn of, each once.
func entriesOf(all []int) []int {
	slices.Sort(all)
	return slices.Compact(all)
}
