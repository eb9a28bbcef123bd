package chart

import (
	"cmp"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Parallel are parallel coordinates: an upright axis for each quantity, and a line
// through them for each combination, in the colour that the ramp gives its Value.
type Parallel struct {
	Axes  []Axis
	Lines []Combination
}

// Combination is one line of [Parallel], with a place on each axis.
type Combination struct {
	At    []float64
	Value float64
}

func (c Parallel) extent(bool, bool) (x, y span) {
	if len(c.Lines) == 0 || len(c.Axes) < 2 {
		return nothing, nothing
	}
	return span{0, float64(len(c.Axes) - 1)}, span{0, 1}
}

func (c Parallel) size(int) (width, height float64) {
	return max(110*float64(len(c.Axes)), 380), 240
}

func (c Parallel) entries() []int { return nil }

// draw draws axes of its own; they share the panel's width.
func (c Parallel) draw(p *pane) {
	scales := make([]scale, len(c.Axes))
	for i, a := range c.Axes {
		s := nothing
		for _, line := range c.Lines {
			s = s.with(at(line.At, i), a.Log)
		}
		scales[i] = newScale(a, s, 0.03)
	}
	names, foot := make([]block, len(c.Axes)), 0.0
	for i, a := range c.Axes {
		names[i] = wrap(a.Label, smallSize, math.Max((p.right-p.left)/float64(len(c.Axes))-8, 40))
		foot = max(foot, names[i].height()+8)
	}
	inset := (p.right - p.left) / float64(2*len(c.Axes))
	step := (p.right - p.left - 2*inset) / float64(len(c.Axes)-1)
	x := func(i int) float64 { return p.left + inset + float64(i)*step }
	y := func(i int, v float64) float64 {
		return p.low + foot + min(max(scales[i].place(scales[i].clamp(v)), 0), 1)*(p.top-p.low-foot)
	}
	// What is largest lies on top.
	lines := slices.SortedStableFunc(slices.Values(c.Lines), func(a, b Combination) int { return cmp.Compare(a.Value, b.Value) })
	for _, line := range lines {
		var points []vg.Point
		for i := range c.Axes {
			if v := at(line.At, i); drawable(v) && !(c.Axes[i].Log && v <= 0) {
				points = append(points, pt(x(i), y(i, v)))
			}
		}
		if len(points) > 1 {
			p.line(draw.LineStyle{Color: faded(p.fig.Ramp.colour(line.Value), 0.85), Width: vg.Points(1)}, points...)
		}
	}
	axis := draw.LineStyle{Color: ink, Width: vg.Points(0.8)}
	for i, s := range scales {
		p.line(axis, pt(x(i), p.low+foot), pt(x(i), p.top))
		for _, t := range s.ticks {
			if t.label == "" {
				continue
			}
			at := y(i, t.value)
			p.line(axis, pt(x(i)-3, at), pt(x(i), at))
			w := width(t.label, tickSize)
			p.rectangle(faded(color.NRGBA{R: 0xff, G: 0xff, B: 0xff}, 0.75), x(i)-6-w, at-tickSize/2-1, x(i)-4, at+tickSize/2+1)
			p.text(t.label, x(i)-5, at, tickSize, ink, anchor{draw.XRight, draw.XCenter}, 0)
		}
		p.centred(names[i], x(i), p.low+foot-6, ink)
	}
}
