package render

import (
	"bytes"
	"math"
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
