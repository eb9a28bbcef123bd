package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/recorder"
	"pgregory.net/rapid"
)

var nan = math.NaN()

func twoArms() *Figure {
	x := []float64{0, 1, 2, 3}
	return &Figure{
		Title: "Online accuracy of <quickstart>", X: Axis{Label: "Task", Whole: true},
		Y: Axis{Label: "Online accuracy (share of examples)", Low: 0, High: 1}, Notes: []string{"Mean over each task & 95 % interval."},
		Legend: []Entry{{Name: "backprop"}, {Name: "continual-backprop"}, {Name: "empty"}, {Name: "λ-rule", Note: "all 5 seeds diverged"}},
		Panels: []Panel{{Content: Lines{Curves: []Curve{
			{Entry: 0, X: x, Mean: []float64{.9, .8, nan, .7}, Low: []float64{.89, .78, nan, .6}, High: []float64{.91, .82, nan, .8}},
			{Entry: 1, X: x, Mean: []float64{.9, .91, .92, .93}},
			{Entry: 2, X: x, Mean: []float64{nan, nan, nan, nan}},
		}}}},
	}
}

func TestSVG(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, twoArms().Write(&b, SVG))
	doc := parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{
		"backprop", "continual-backprop", "Task", "Online accuracy of <quickstart>", "Online accuracy (share of examples)",
		"Mean over each task & 95 % interval.", "λ-rule (all 5 seeds diverged)",
	})
	require.NotContains(t, doc.texts, "empty", "a curve without values has no place in the legend")
	// backprop: one piece of a line, the legend's sample, the way to its name, and three dots.
	require.Equal(t, 3, doc.strokes["#1A1A1A"])
	require.Equal(t, 3, doc.strokes["#0072B2"])
	require.Equal(t, 3, doc.fills["#1A1A1A"], "dots, one of them alone after the gap")
	require.Equal(t, 1, doc.bands, "only the first arm has an interval, and a lone task has no area")
	require.Contains(t, b.String(), "sans-serif")
}

func TestEveryFormatIsDeterministic(t *testing.T) {
	for _, format := range []Format{SVG, PDF, PNG} {
		var a, b bytes.Buffer
		require.NoError(t, twoArms().Write(&a, format))
		require.NoError(t, twoArms().Write(&b, format))
		require.True(t, bytes.Equal(a.Bytes(), b.Bytes()), format)
		switch format {
		case PDF:
			require.True(t, bytes.HasPrefix(a.Bytes(), []byte("%PDF-")))
			require.Contains(t, a.String(), "/FontFile2", "the letters are embedded")
		case PNG:
			img, err := png.Decode(&a)
			require.NoError(t, err)
			require.Greater(t, img.Bounds().Dx(), 1500)
		}
	}
	require.ErrorContains(t, twoArms().Write(io.Discard, "gif"), `there is no format "gif" (have: svg, pdf, png)`)
}

func TestPanelsShareColoursAndAxes(t *testing.T) {
	x := []float64{0, 1}
	f := &Figure{Title: "Dormant units", X: Axis{Label: "Task", Whole: true}, Y: Axis{Label: "Dormant units"}, Legend: []Entry{{Name: "a"}, {Name: "b"}}}
	for i, layer := range []string{"hidden0", "hidden1", "hidden2"} {
		up := float64(10 * i)
		f.Panels = append(f.Panels, Panel{Title: layer, Content: Lines{Curves: []Curve{
			{Entry: 0, X: x, Mean: []float64{1 + up, 2 + up}},
			{Entry: 1, X: x, Mean: []float64{2 + up, 3 + up}, Low: []float64{1 + up, 2 + up}, High: []float64{3 + up, 4 + up}},
		}}})
	}
	var b bytes.Buffer
	require.NoError(t, f.WriteSVG(&b))
	doc := parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{"hidden0", "hidden1", "hidden2", "a", "b"})
	require.Equal(t, 1+2*3, doc.strokes["#1A1A1A"])
	require.Equal(t, 1+2*3, doc.strokes["#0072B2"])
	require.Equal(t, 3, doc.bands)
	l, err := arrange(f)
	require.NoError(t, err)
	panes := l.panes(nil)
	require.Len(t, panes, 3)
	for _, p := range panes {
		require.Equal(t, panes[0].y, p.y)
		require.Equal(t, panes[0].x, p.x)
		require.LessOrEqual(t, p.y.min, 1.0)
		require.GreaterOrEqual(t, p.y.max, 23.0)
	}
}

func TestExtremes(t *testing.T) {
	long := make([]float64, 12_345)
	for i := range long {
		long[i] = float64(i)
	}
	var many []Curve
	var names []Entry
	for i := range 60 {
		many = append(many, Curve{Entry: i, X: []float64{1, 2}, Mean: []float64{float64(i), 1}})
		names = append(names, Entry{Name: strings.Repeat("n", i+1)})
	}
	averaged, size := Curve{X: long, Mean: long, Low: long, High: long}.Averaged(1000)
	require.Equal(t, 13, size)
	for name, curves := range map[string][]Curve{
		"one task":   {{X: []float64{0}, Mean: []float64{3}, Low: []float64{2}, High: []float64{4}}},
		"constant":   {{X: []float64{0, 1}, Mean: []float64{0, 0}}},
		"infinities": {{X: []float64{0, 1, 2}, Mean: []float64{1, math.Inf(1), 2}}},
		"huge":       {{X: []float64{0, 1}, Mean: []float64{math.MaxFloat64, 1}}},
		"large":      {{X: []float64{0, 1}, Mean: []float64{1e290, -1e290}}},
		"long":       {averaged},
		"many":       many,
	} {
		for _, log := range []bool{false, true} {
			t.Run(fmt.Sprint(name, log), func(t *testing.T) {
				var b bytes.Buffer
				err := (&Figure{Title: "m", X: Axis{Label: "Task", Whole: true}, Y: Axis{Label: "m", Log: log}, Legend: names, Panels: []Panel{{Content: Lines{Curves: curves}}}}).WriteSVG(&b)
				if log && name == "constant" {
					require.ErrorContains(t, err, "there is no value to draw")
					return
				}
				require.NoError(t, err)
				parseSVG(t, b.Bytes())
				require.NotContains(t, b.String(), "NaN")
				require.NotContains(t, b.String(), "Inf")
				require.Less(t, b.Len(), 400_000)
			})
		}
	}
}

func TestWithoutValues(t *testing.T) {
	f := &Figure{Title: "loss", Panels: []Panel{{Content: Lines{Curves: []Curve{{X: []float64{0}, Mean: []float64{nan}}}}}}}
	require.ErrorContains(t, f.WriteSVG(io.Discard), "there is no value to draw")
}

func TestTicks(t *testing.T) {
	labels := func(ticks []tick) (out []string) {
		for _, k := range ticks {
			if k.label != "" {
				out = append(out, k.label)
			}
		}
		return out
	}
	for want, got := range map[string][]tick{
		"0 1 2 3":                       linearTicks(0, 3, true),
		"0":                             linearTicks(-.5, .5, true),
		"0 50 100":                      linearTicks(0, 149, true),
		"0 500 1000 1500 2000":          linearTicks(0, 2049, true),
		"0.85 0.90 0.95 1.00":           linearTicks(.834, 1, false),
		"0 2M 4M 6M":                    linearTicks(0, 7.5e6, true),
		"100k 150k 200k 250k 300k 350k": linearTicks(9e4, 3.5e5, true),
		"0.003 0.01 0.1 30":             newScale(Axis{Log: true, Marks: []float64{30, .1, .01, .003}}, span{.003, 30}, .1).ticks,
		"1 100":                         newScale(Axis{Marks: []float64{1, 2, 3, 100}}, span{1, 100}, .1).ticks,
		"0.001 0.01 0.1 1":              logTicks(.0005, 3),
		"1 2 5 10 20":                   logTicks(.9, 30),
		"0.80 0.82 0.84 0.86 0.88 0.90": logTicks(.8, .9),
	} {
		require.Equal(t, want, strings.Join(labels(got), " "))
	}
	for _, high := range []float64{1e-9, 1e-4, .3, 7, 1e15, 1e290} {
		ticks := labels(linearTicks(0, high, false))
		require.LessOrEqual(t, len(ticks), maxTicks+1)
		require.GreaterOrEqual(t, len(ticks), 3)
		seen := map[string]bool{}
		for _, k := range ticks {
			require.False(t, seen[k], "%v: %v", high, ticks)
			seen[k] = true
		}
	}
	require.LessOrEqual(t, len(labels(logTicks(1e-30, 1))), maxTicks+1)
}

// The axis follows means, a band that is wider is cut off, and bounds are never passed.
func TestAxisFollowsMeansWithinBounds(t *testing.T) {
	f := &Figure{Title: "m", Y: Axis{Low: 0, High: 1}, Legend: []Entry{{Name: "a"}}, Panels: []Panel{{Content: Lines{Curves: []Curve{
		{X: []float64{0, 1}, Mean: []float64{.97, .99}, Low: []float64{-3, .2}, High: []float64{5, 1.4}},
	}}}}}
	l, err := arrange(f)
	require.NoError(t, err)
	require.InDelta(t, .97, l.y.min, .02*.35+.005)
	require.Less(t, l.y.min, .965, "some of the band is seen")
	require.LessOrEqual(t, l.y.max, 1.0)
	f.Panels[0].Content = Lines{Curves: []Curve{{X: []float64{0, 1}, Mean: []float64{.97, 1.0000001}}}}
	l, err = arrange(f)
	require.NoError(t, err)
	require.Equal(t, 1.0, l.y.max, "rounding leaves no room above the range")
}

func TestAveragedKeepsMeans(t *testing.T) {
	c := Curve{X: []float64{0, 1, 2, 3, 4}, Mean: []float64{1, 3, nan, 5, 7}}
	got, size := c.Averaged(3)
	require.Equal(t, 2, size)
	require.Equal(t, []float64{.5, 2.5, 4}, got.X)
	require.Equal(t, []float64{2, 5, 7}, got.Mean)
	same, size := c.Averaged(5)
	require.Equal(t, 1, size)
	require.Equal(t, c, same)
}

func TestSpread(t *testing.T) {
	require.Equal(t, []float64{5, 20}, spread([]float64{5, 20}, []float64{10, 10}, 0, 30), "what fits stays")
	require.Equal(t, []float64{15, 5}, spread([]float64{10, 10}, []float64{10, 10}, 0, 30), "equals part evenly, the first on top")
	require.Equal(t, []float64{25, 15, 5}, spread([]float64{40, 29, 28}, []float64{10, 10, 10}, 0, 30), "within the ends")
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "n")
		wanted, heights, total := make([]float64, n), make([]float64, n), 0.0
		for i := range n {
			wanted[i] = rapid.Float64Range(-50, 350).Draw(t, "wanted")
			heights[i] = rapid.Float64Range(1, 30).Draw(t, "height")
			total += heights[i]
		}
		high := total + rapid.Float64Range(0, 200).Draw(t, "room")
		got := spread(wanted, heights, 0, high)
		for i := range n {
			require.GreaterOrEqual(t, got[i]-heights[i]/2, -1e-6)
			require.LessOrEqual(t, got[i]+heights[i]/2, high+1e-6)
			for k := range i {
				require.GreaterOrEqual(t, math.Abs(got[i]-got[k]), (heights[i]+heights[k])/2-1e-6)
			}
		}
	})
}

func TestWrapLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[a-zA-Z0-9 λ=._,\[\]/-]{1,80}`).Draw(t, "text")
		room := rapid.Float64Range(4, 200).Draw(t, "room")
		b := wrap(s, smallSize, room)
		plain := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		require.Equal(t, plain(s), plain(strings.Join(b.lines, "")))
		for _, l := range b.lines {
			if len([]rune(l)) > 1 {
				require.LessOrEqual(t, width(l, smallSize), room)
			}
		}
	})
	require.Equal(t, []string{"continual-", "backprop"}, wrap("continual-backprop", smallSize, 50).lines)
	require.Equal(t, []string{"lr=0.1,", "width=64"}, wrap("lr=0.1, width=64", smallSize, 45).lines)
}

// Sixteen arms have sixteen looks.
func TestLooksDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 32 {
		s := stroke(i, 1)
		look := fmt.Sprint(s.Color, s.Dashes)
		require.False(t, seen[look], "entry %d", i)
		seen[look] = true
		require.LessOrEqual(t, luminance(legible(colour(i))), 0.45, "text of entry %d on white", i)
	}
}

// box is a text on the page.
type box struct {
	text                   string
	left, low, right, high float64
}

// drawing is what was put on a page: texts that are not turned, and the points of paths
// in the colours of curves.
type drawing struct {
	texts []box
	data  []vg.Point
}

func record(t require.TestingT, f *Figure) (*layout, drawing) {
	l, err := arrange(f)
	require.NoError(t, err)
	var rec recorder.Canvas
	l.draw(&rec)
	var d drawing
	turned, depth := 0, 0
	data := false
	add := func(p vg.Path) {
		for _, e := range p {
			if data && e.Type != vg.CloseComp {
				d.data = append(d.data, e.Pos)
			}
		}
	}
	for _, a := range rec.Actions {
		switch a := a.(type) {
		case *recorder.Push:
			depth++
		case *recorder.Pop:
			if depth--; depth < turned {
				turned = 0
			}
		case *recorder.Rotate:
			turned = depth
		case *recorder.SetColor:
			c := color.NRGBAModel.Convert(a.Color).(color.NRGBA)
			c.A = 0xff
			data = false
			for _, p := range palette {
				near := func(a, b uint8) bool { return max(a, b)-min(a, b) <= 6 } // a faded colour is rounded
				data = data || near(p.R, c.R) && near(p.G, c.G) && near(p.B, c.B)
			}
		case *recorder.Stroke:
			add(a.Path)
		case *recorder.Fill:
			add(a.Path)
		case *recorder.FillString:
			if turned > 0 {
				continue
			}
			size := a.Size.Points()
			x, y := a.Point.X.Points(), a.Point.Y.Points()
			d.texts = append(d.texts, box{a.String, x, y - 0.15*size, x + width(a.String, size)/1.02, y + 0.7*size})
		}
	}
	return l, d
}

// Whatever the arms are called and however their values lie: no text lies on another or
// leaves the page, no data leave the panel, and axes keep to their bounds.
func TestNothingOverlapsOrLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		arms := rapid.IntRange(1, 20).Draw(t, "arms")
		panels := rapid.IntRange(1, 6).Draw(t, "panels")
		points := rapid.IntRange(1, 30).Draw(t, "points")
		bounded, log := rapid.Bool().Draw(t, "bounded"), rapid.Bool().Draw(t, "log")
		scale := math.Pow(10, rapid.Float64Range(-6, 9).Draw(t, "scale"))
		f := &Figure{Title: rapid.StringMatching(`[a-zλ ]{1,150}`).Draw(t, "title"), Notes: []string{"A note."}, X: Axis{Label: "Task", Whole: true}, Y: Axis{Label: "Accuracy (share of examples)", Log: log}}
		if bounded {
			f.Y.Low, f.Y.High, scale = 0, 1, 1
		}
		for range arms {
			f.Legend = append(f.Legend, Entry{Name: rapid.StringMatching(`[a-z]{1,20}(-[a-z0-9=.]{1,20}){0,5}`).Draw(t, "name")})
		}
		value := rapid.Float64Range(0.01, 1)
		for p := range panels {
			var lines Lines
			for a := range arms {
				c := Curve{Entry: a}
				for x := range points {
					v, wide := value.Draw(t, "value"), value.Draw(t, "wide")
					c.X, c.Mean = append(c.X, float64(x)), append(c.Mean, v*scale)
					c.Low, c.High = append(c.Low, (v-wide)*scale), append(c.High, (v+wide)*scale)
				}
				if rapid.Bool().Draw(t, "seeds") {
					c.Low, c.High, c.Seeds = nil, nil, [][]float64{c.Mean, c.Mean}
				}
				lines.Curves = append(lines.Curves, c)
			}
			f.Panels = append(f.Panels, Panel{Title: fmt.Sprintf("hidden%d", p), Content: lines})
		}
		l, d := record(t, f)
		for i, a := range d.texts {
			require.GreaterOrEqual(t, a.left, 0.0, a.text)
			require.LessOrEqual(t, a.right, l.width, a.text)
			require.GreaterOrEqual(t, a.low, 0.0, a.text)
			require.LessOrEqual(t, a.high, l.height, a.text)
			for _, b := range d.texts[:i] {
				apart := a.right <= b.left || b.right <= a.left || a.high <= b.low || b.high <= a.low
				require.True(t, apart, "%v lies on %v", a, b)
			}
		}
		panes := l.panes(nil)
		require.LessOrEqual(t, len(d.texts), 20_000)
		for _, at := range d.data {
			x, y := at.X.Points(), at.Y.Points()
			ok := y > panes[0].top+l.heads[0] // the legend
			for _, p := range panes {
				ok = ok || x >= p.left-1e-6 && x <= p.right+l.gutter && y >= p.low-1e-6 && y <= p.top+1e-6
			}
			require.True(t, ok, "(%v, %v) is outside of all panels", x, y)
		}
		if bounded {
			require.GreaterOrEqual(t, l.y.min, 0.0)
			require.LessOrEqual(t, l.y.max, 1.0)
		}
	})
}

func TestHeatPointsAndParallel(t *testing.T) {
	heat := &Figure{Title: "Accuracy", X: Axis{Label: "Task", Whole: true}, Y: Axis{Label: "After", Whole: true, Down: true}, Ramp: &Ramp{Label: "Accuracy", Low: 0, High: 1}}
	var h Heat
	h.Set(0, 0, .25)
	h.Set(1, 1, .75)
	heat.Panels = []Panel{{Title: "a", Content: h}, {Title: "b", Content: h}}
	var b bytes.Buffer
	require.NoError(t, heat.WriteSVG(&b))
	doc := parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{"0.25", "0.75", "a", "b", "Accuracy"})
	require.Equal(t, 4, doc.fills["#EEEEEE"], "what was not measured is grey")
	l, err := arrange(heat)
	require.NoError(t, err)
	p := l.panes(nil)[0]
	require.Greater(t, p.point(0, 0).Y, p.point(0, 1).Y, "the first row is on top")

	x := Axis{Label: "learner.optimizer.lr", Log: true}
	points := &Figure{Title: "m", Y: Axis{Label: "m"}, Legend: []Entry{{Name: "a"}, {Name: "b"}}, Panels: []Panel{{X: &x, Content: Points{[]Group{
		{Entry: 0, X: .1, Values: []float64{1, 2, nan}}, {Entry: 0, X: .01, Values: []float64{3}}, {Entry: 1, X: .1, Values: []float64{math.Inf(1)}},
	}}}}}
	b.Reset()
	require.NoError(t, points.WriteSVG(&b))
	doc = parseSVG(t, b.Bytes())
	require.Equal(t, 3, doc.bands, "every value is a point, which one sees through")
	require.Subset(t, doc.texts, []string{"learner.optimizer.lr", "0.01", "0.1"})

	parallel := &Figure{Title: "m", Ramp: &Ramp{Label: "m", Low: 0, High: 1}, Panels: []Panel{{Content: Parallel{
		Axes:  []Axis{{Label: "lr", Log: true}, {Label: "activation", Names: []string{"relu", "tanh"}}, {Label: "m", Low: 0, High: 1}},
		Lines: []Combination{{At: []float64{.1, 0, .9}, Value: .9}, {At: []float64{.01, 1, .5}, Value: .5}},
	}}}}
	b.Reset()
	require.NoError(t, parallel.WriteSVG(&b))
	doc = parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{"lr", "activation", "relu", "tanh"})
}

type svgDoc struct {
	texts          []string
	strokes, fills map[string]int
	bands          int // fills that one can see through
}

// parseSVG reads the whole document as XML, counting paths by colour.
func parseSVG(t *testing.T, b []byte) svgDoc {
	t.Helper()
	doc := svgDoc{strokes: map[string]int{}, fills: map[string]int{}}
	dec := xml.NewDecoder(bytes.NewReader(b))
	inText := false
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return doc
		}
		require.NoError(t, err)
		switch e := tok.(type) {
		case xml.StartElement:
			inText = e.Name.Local == "text"
			if e.Name.Local != "path" {
				continue
			}
			for _, a := range e.Attr {
				if a.Name.Local != "style" {
					continue
				}
				for part := range strings.SplitSeq(a.Value, ";") {
					k, v, _ := strings.Cut(strings.TrimSpace(part), ":")
					switch {
					case k == "stroke" && v != "none":
						doc.strokes[v]++
					case k == "fill" && v != "none":
						doc.fills[v]++
					case k == "fill-opacity":
						doc.bands++
					}
				}
			}
		case xml.CharData:
			if inText {
				doc.texts = append(doc.texts, string(e))
			}
		case xml.EndElement:
			inText = false
		}
	}
}
