// Package chart draws figures for papers: lines with bands over tasks or steps, heat
// maps, points and parallel coordinates, in panels that share their axes, as SVG, PDF
// or PNG. It knows nothing of experiments: it gets names and numbers.
package chart

import "math"

// Figure is one or more panels under a title and a legend. All panels have the same Y
// axis, and the same X axis unless a panel has its own.
type Figure struct {
	Title  string
	Notes  []string // said under the title, each a paragraph: what a band is, what is left out
	X, Y   Axis
	Legend []Entry // in order; its number decides an entry's colour and dashes
	Ramp   *Ramp   // what the colours of heat maps and parallel coordinates mean
	Panels []Panel
}

// Entry is a name in the legend.
type Entry struct {
	Name string
	// Note is put behind the name in the legend: "all 5 seeds diverged".
	Note string
}

func (e Entry) text() string {
	if e.Note == "" {
		return e.Name
	}
	return e.Name + " (" + e.Note + ")"
}

// Panel is one pair of axes.
type Panel struct {
	Title string
	X     *Axis // its own in place of the figure's
	Content
}

// Content is what a panel shows: [Lines], [Heat], [Points] or [Parallel].
type Content interface {
	// extent is what the axes have to show; log says which of them are logarithmic.
	extent(logX, logY bool) (x, y span)
	// size is that of the plot area in a figure of so many panels.
	size(panels int) (width, height float64)
	draw(p *pane)
	// entries are those of the legend that something is drawn of.
	entries() []int
}

// Axis describes an axis before its ends are known.
type Axis struct {
	Label string
	// Low and High are ends that the axis never passes, as a share stays in [0, 1];
	// both 0 where there are none.
	Low, High float64
	Log       bool
	Whole     bool      // marks at whole numbers only: there is no task 2.5
	Marks     []float64 // the values that are marked, where there are few; else round ones
	Names     []string  // in place of the numbers 0, 1, 2, …
	Down      bool      // from the top to the bottom
}

// bounded reports whether the axis has ends that it never passes.
func (a Axis) bounded() bool { return a.Low != 0 || a.High != 0 }

// clamp brings a value, which may have left the range by rounding, back to it.
func (a Axis) clamp(v float64) float64 {
	if !a.bounded() {
		return v
	}
	return min(max(v, a.Low), a.High)
}

// Ramp is a scale of colours.
type Ramp struct {
	Label     string
	Low, High float64
	Log       bool
}

// span is a range of values; the empty one has low above high.
type span struct{ low, high float64 }

var nothing = span{math.Inf(1), math.Inf(-1)}

func (s span) empty() bool { return s.low > s.high }

// with returns the span with a value in it. What cannot be drawn is left out.
func (s span) with(v float64, log bool) span {
	if !drawable(v) || log && v <= 0 {
		return s
	}
	return span{min(s.low, v), max(s.high, v)}
}

func (s span) union(other span) span { return span{min(s.low, other.low), max(s.high, other.high)} }

// drawable reports whether a value has a place: coordinates beyond this overflow the
// arithmetic of axes.
func drawable(v float64) bool { return math.Abs(v) < 1e300 }

// at returns the i-th value, NaN where there is none.
func at(v []float64, i int) float64 {
	if i < len(v) {
		return v[i]
	}
	return math.NaN()
}
