package render

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTable(t *testing.T) {
	tab := Table{Columns: []Column{{Title: "ARM"}, {Title: "STEPS", Align: Right}, {Title: "WHY"}}}
	tab.Add("backprop", "12", "no worker\nis free")
	tab.Add("λ-rule", "1200")
	tab.Add("esc\x1b[31m", "3", "")
	var b bytes.Buffer
	require.NoError(t, tab.Write(&b))
	require.Equal(t, ""+
		"ARM       STEPS  WHY\n"+
		"backprop     12  no worker is free\n"+
		"λ-rule     1200\n"+
		"esc[31m       3\n", b.String())
}

func TestTableWithoutRowsShowsTitles(t *testing.T) {
	tab := Table{Columns: []Column{{Title: "ID"}, {Title: "STATE"}}}
	var b bytes.Buffer
	require.NoError(t, tab.Write(&b))
	require.Equal(t, "ID  STATE\n", b.String())
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "0.9312": 0.93123, "12.35": 12.345678, "1235": 1234.5678, "-0.05000": -0.05,
		"1.000e-05": 1e-5, "1.234e+07": 1.2344e7, "-": math.NaN(), "+Inf": math.Inf(1), "123457": 123456.7,
	} {
		require.Equal(t, want, Number(v))
	}
}

func TestInterval(t *testing.T) {
	nan := math.NaN()
	require.Equal(t, "0.9312 ± 0.0041", Interval(0.93123, 0.92713, 0.93533))
	require.Equal(t, "0.9312 +0.0020 −0.0041", Interval(0.93123, 0.92713, 0.93323))
	require.Equal(t, "0.9312", Interval(0.93123, nan, nan))
	require.Equal(t, "0.9312 ± 0", Interval(0.93123, 0.93123, 0.93123))
	require.Equal(t, "12 ± 30", Interval(12, -18, 42))
	require.Equal(t, "-", Interval(nan, 1, 2))
	require.Equal(t, "1.5e+09 [1.4e+09, 1.6e+09]", Interval(1.5e9, 1.4e9, 1.6e9))
}

func TestIntervalsOfOneTableAreAlike(t *testing.T) {
	nan := math.NaN()
	symmetric := []Span{{0.93123, 0.92713, 0.93533}, {12, -18, 42}, {0.5, nan, nan}, {nan, nan, nan}, {3, 3, 3}, {math.Inf(1), nan, nan}, {-2, -3, -1}}
	require.Equal(t, []string{"0.9312 ± 0.0041", "12 ± 30", "0.5000", "-", "3.000 ± 0", "+Inf", "-2.0 ± 1.0"}, Intervals(symmetric))
	require.Equal(t, []string{
		"0.9312 [0.9271, 0.9353]", "12 [-18, 42]", "0.5000", "-", "3.000 [3.000, 3.000]", "+Inf", "-2.0 [-3.0, -1.0]",
		"0.9312 [0.9271, 0.9332]", "1.5e+09 [1.4e+09, 1.6e+09]",
	}, Intervals(append(symmetric, Span{0.93123, 0.92713, 0.93323}, Span{1.5e9, 1.4e9, 1.6e9})))
	require.Empty(t, Intervals(nil))
}

func TestCountRateDurationBytes(t *testing.T) {
	for want, n := range map[string]int64{"0": 0, "9999": 9999, "10.0k": 10_000, "123k": 123_456, "1.00M": 999_700, "1.23G": 1_234_567_890} {
		require.Equal(t, want, Count(n))
	}
	for want, v := range map[string]float64{"-": 0, "0.0012": 0.00123, "3.1": 3.14, "42": 42.4, "235": 234.6, "12.3k": 12345} {
		require.Equal(t, want, Rate(v))
	}
	for want, d := range map[string]time.Duration{"850ms": 850 * time.Millisecond, "42s": 42 * time.Second, "3m05s": 185 * time.Second, "2h40m": 160 * time.Minute, "3d04h": 76 * time.Hour} {
		require.Equal(t, want, Duration(d))
	}
	for want, n := range map[string]int64{"12 B": 12, "1.5 KiB": 1536, "3.0 GiB": 3 << 30} {
		require.Equal(t, want, Bytes(n))
	}
}

func TestFormatsNeverPanic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := rapid.Float64().Draw(t, "a"), rapid.Float64().Draw(t, "b"), rapid.Float64().Draw(t, "c")
		require.NotEmpty(t, Number(a))
		require.NotEmpty(t, Interval(a, b, c))
		require.NotEmpty(t, Rate(a))
		require.NotEmpty(t, Count(rapid.Int64().Draw(t, "n")))
	})
}

func twoArms() *Figure {
	x := []float64{0, 1, 2, 3}
	nan := math.NaN()
	return &Figure{
		Title: "online_accuracy <quickstart>", X: "task", Y: "online_accuracy", Note: "mean over seeds & 95 % interval",
		Panels: []Panel{{Curves: []Curve{
			{Name: "backprop", X: x, Mean: []float64{.9, .8, nan, .7}, Low: []float64{.89, .78, nan, .6}, High: []float64{.91, .82, nan, .8}},
			{Name: "continual-backprop", X: x, Mean: []float64{.9, .91, .92, .93}},
			{Name: "empty", X: x, Mean: []float64{nan, nan, nan, nan}},
		}}},
	}
}

func TestSVG(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, twoArms().WriteSVG(&b))
	doc := parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{"backprop", "continual-backprop", "task", "online_accuracy <quickstart>", "mean over seeds & 95 % interval"})
	require.NotContains(t, doc.texts, "empty", "a curve without values has no place in the legend")
	// backprop: one piece of a line, the legend's sample, and a dot after the gap.
	require.Equal(t, 2, doc.strokes["#0072B2"])
	require.Equal(t, 2, doc.strokes["#D55E00"])
	require.Equal(t, 1, doc.fills["#0072B2"], "the dot")
	require.Equal(t, 1, doc.bands, "only the first arm has an interval, and a lone task has no area")
	require.Contains(t, b.String(), "sans-serif")
}

func TestSVGIsDeterministic(t *testing.T) {
	var a, b bytes.Buffer
	require.NoError(t, twoArms().WriteSVG(&a))
	require.NoError(t, twoArms().WriteSVG(&b))
	require.Equal(t, a.String(), b.String())
}

func TestSVGPanelsShareColours(t *testing.T) {
	x := []float64{0, 1}
	f := &Figure{Title: "dormant_units", X: "task", Y: "dormant_units"}
	for _, layer := range []string{"hidden0", "hidden1", "hidden2"} {
		f.Panels = append(f.Panels, Panel{Title: layer, Curves: []Curve{
			{Name: "a", X: x, Mean: []float64{1, 2}},
			{Name: "b", X: x, Mean: []float64{2, 3}, Low: []float64{1, 2}, High: []float64{3, 4}},
		}})
	}
	var b bytes.Buffer
	require.NoError(t, f.WriteSVG(&b))
	doc := parseSVG(t, b.Bytes())
	require.Subset(t, doc.texts, []string{"hidden0", "hidden1", "hidden2", "a", "b"})
	require.Equal(t, 4, doc.strokes["#0072B2"])
	require.Equal(t, 4, doc.strokes["#D55E00"])
	require.Equal(t, 3, doc.bands)
}

func TestSVGExtremes(t *testing.T) {
	long := make([]float64, 12_345)
	for i := range long {
		long[i] = float64(i)
	}
	var many []Curve
	for i := range 60 {
		many = append(many, Curve{Name: strings.Repeat("n", i+1), X: []float64{1, 2}, Mean: []float64{float64(i), 1}})
	}
	for name, curves := range map[string][]Curve{
		"one task":   {{Name: "a", X: []float64{0}, Mean: []float64{3}, Low: []float64{2}, High: []float64{4}}},
		"constant":   {{Name: "a", X: []float64{0, 1}, Mean: []float64{0, 0}}},
		"infinities": {{Name: "a", X: []float64{0, 1, 2}, Mean: []float64{1, math.Inf(1), 2}}},
		"huge":       {{Name: "a", X: []float64{0, 1}, Mean: []float64{math.MaxFloat64, 1}}},
		"long":       {{Name: "a", X: long, Mean: long, Low: long, High: long}},
		"many":       many,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, (&Figure{Title: "m", X: "task", Y: "m", Panels: []Panel{{Curves: curves}}}).WriteSVG(&b))
			parseSVG(t, b.Bytes())
			require.NotContains(t, b.String(), "NaN")
			require.NotContains(t, b.String(), "Inf")
			require.Less(t, b.Len(), 400_000)
		})
	}
}

func TestSVGWithoutValues(t *testing.T) {
	f := &Figure{Title: "loss", Panels: []Panel{{Curves: []Curve{{Name: "a", X: []float64{0}, Mean: []float64{math.NaN()}}}}}}
	require.ErrorContains(t, f.WriteSVG(io.Discard), "no curve has a value")
}

func TestWholeTicks(t *testing.T) {
	labels := func(low, high float64) (out []string) {
		for _, k := range (wholeTicks{}).Ticks(low, high) {
			out = append(out, k.Label)
		}
		return out
	}
	require.Equal(t, []string{"0", "1", "2", "3"}, labels(0, 3))
	require.Equal(t, []string{"0", "20", "40", "60", "80", "100", "120", "140"}, labels(0, 149))
	require.Equal(t, []string{"0"}, labels(-.5, .5))
	require.Equal(t, []string{"0", "500", "1000", "1500", "2000"}, labels(0, 2049))
	require.LessOrEqual(t, len(labels(0, 1e15)), 9)
}

func TestThinKeepsMeans(t *testing.T) {
	c := Curve{X: []float64{0, 1, 2, 3, 4}, Mean: []float64{1, 3, math.NaN(), 5, 7}}
	got := thin(c, 3)
	require.Equal(t, []float64{.5, 2.5, 4}, got.X)
	require.Equal(t, []float64{2, 5, 7}, got.Mean)
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
