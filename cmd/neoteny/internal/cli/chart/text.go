package chart

import (
	"cmp"
	"image/color"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of texts, in points.
const (
	titleSize = 12
	labelSize = 9.5
	smallSize = 8.5
	tickSize  = 8
	leading   = 1.22 // from line to line, in sizes
)

func face(size float64) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, vg.Points(size))
}

// width measures a text of one line. Viewers that lack the typeface take another of
// the same widths, or a slightly wider one.
func width(s string, size float64) float64 {
	w, _, _ := plot.DefaultTextHandler.Box(s, face(size))
	return w.Points() * 1.02
}

// block is a text cut into lines that are at most so wide.
type block struct {
	lines []string
	size  float64
}

func wrap(s string, size, room float64) block {
	b := block{size: size}
	line := ""
	for _, word := range words(s) {
		if line != "" && width(strings.TrimRight(line+word, " "), size) > room {
			b.lines = append(b.lines, strings.TrimRight(line, " "))
			line = ""
		}
		line += word
		for width(strings.TrimRight(line, " "), size) > room {
			cut := fitting(line, size, room)
			b.lines = append(b.lines, line[:cut])
			line = line[cut:]
		}
	}
	if line = strings.TrimRight(line, " "); line != "" || len(b.lines) == 0 {
		b.lines = append(b.lines, line)
	}
	return b
}

// words cuts a text behind spaces, and behind the signs that names are joined with.
func words(s string) []string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
	var out []string
	start := 0
	for i, r := range s {
		end := i + len(string(r))
		next, _ := utf8.DecodeRuneInString(s[end:])
		joint := strings.ContainsRune(" -_/,;", r) || r == '.' && unicode.IsLetter(next)
		if joint && i > start && next != ' ' {
			out = append(out, s[start:end])
			start = end
		}
	}
	return append(out, s[start:])
}

// fitting returns how many bytes of a line have room, at least one character.
func fitting(line string, size, room float64) int {
	last := 0
	for i := range line {
		if i > 0 && width(line[:i], size) > room {
			break
		}
		last = i
	}
	if last == 0 {
		return len(string([]rune(line)[0]))
	}
	return last
}

func (b block) width() float64 {
	w := 0.0
	for _, l := range b.lines {
		w = max(w, width(l, b.size))
	}
	return w
}

func (b block) height() float64 { return float64(len(b.lines)) * b.size * leading }

// spread moves labels of the given heights as little as it can so that none overlaps
// another and all are within [low, high]: what overlaps becomes a stack around the mean
// of the places that it wants. It returns the centres.
func spread(wanted, heights []float64, low, high float64) []float64 {
	order := make([]int, len(wanted))
	for i := range order {
		order[i] = i
	}
	// Of equals the first is on top.
	slices.SortFunc(order, func(a, b int) int { return cmp.Or(cmp.Compare(wanted[a], wanted[b]), cmp.Compare(b, a)) })
	type stack struct {
		members     []int
		height, sum float64 // sum of where its lower end would be if each member had its way
		low         float64
	}
	var stacks []stack
	settle := func(s *stack) {
		s.low = min(max(s.sum/float64(len(s.members)), low), max(high-s.height, low))
	}
	for _, i := range order {
		s := stack{members: []int{i}, height: heights[i], sum: wanted[i] - heights[i]/2}
		settle(&s)
		for len(stacks) > 0 && stacks[len(stacks)-1].low+stacks[len(stacks)-1].height > s.low {
			below := stacks[len(stacks)-1]
			stacks = stacks[:len(stacks)-1]
			s.sum = below.sum + s.sum - below.height*float64(len(s.members))
			s.members = append(below.members, s.members...)
			s.height += below.height
			settle(&s)
		}
		stacks = append(stacks, s)
	}
	centres := make([]float64, len(wanted))
	for _, s := range stacks {
		y := s.low
		for _, i := range s.members {
			centres[i] = y + heights[i]/2
			y += heights[i]
		}
	}
	return centres
}

// Ways to put a text at a point.
type anchor struct {
	x, y draw.XAlignment
}

// write draws the lines of a text, left-aligned, with its upper left corner at (x, y).
func (p *page) write(b block, x, y float64, c color.Color) {
	for i, l := range b.lines {
		p.text(l, x, y-(float64(i)+0.5)*b.size*leading, b.size, c, anchor{draw.XLeft, draw.XCenter}, 0)
	}
}

// centred draws the lines of a text one below the other, their middle at x, from y down.
func (p *page) centred(b block, x, y float64, c color.Color) {
	for i, l := range b.lines {
		p.text(l, x, y-(float64(i)+0.5)*b.size*leading, b.size, c, anchor{draw.XCenter, draw.XCenter}, 0)
	}
}

// text draws one line of text at a point.
func (p *page) text(s string, x, y, size float64, c color.Color, a anchor, rotation float64) {
	if strings.TrimSpace(s) == "" {
		return
	}
	style := draw.TextStyle{Color: c, Font: face(size), Rotation: rotation, XAlign: a.x, YAlign: draw.YAlignment(a.y), Handler: plot.DefaultTextHandler}
	if a.y == draw.XCenter { // the middle of small letters and digits, not of the whole line
		x, y = x-math.Sin(rotation)*size*0.09, y+math.Cos(rotation)*size*0.09
	}
	p.FillText(style, vg.Point{X: vg.Points(x), Y: vg.Points(y)}, s)
}
