package render

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Number formats a measured value with four significant digits.
func Number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case v == 0:
		return "0"
	}
	if a := math.Abs(v); a >= 1e6 || a < 1e-3 {
		return strconv.FormatFloat(v, 'e', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', decimals(v, 4), 64)
}

// Interval formats a mean with the ends of its confidence interval: as
// "0.931 ± 0.004" when the interval is symmetric to the digits shown, as
// "0.931 +0.004 −0.006" when it is not, and as the mean alone when there is no
// interval (one seed). The interval is shown to two significant digits.
func Interval(mean, low, high float64) string {
	if math.IsNaN(mean) {
		return "-"
	}
	if math.IsNaN(low) || math.IsNaN(high) || math.IsInf(low, 0) || math.IsInf(high, 0) || math.IsInf(mean, 0) {
		return Number(mean)
	}
	up, down := high-mean, mean-low
	wide := max(math.Abs(up), math.Abs(down))
	if wide <= 1e-12*math.Abs(mean) { // nothing but rounding
		return Number(mean) + " ± 0"
	}
	if a := max(math.Abs(mean), wide); a >= 1e6 || wide < 1e-9 {
		return fmt.Sprintf("%.4g [%.4g, %.4g]", mean, low, high)
	}
	d := decimals(wide, 2)
	num := func(v float64) string { return strconv.FormatFloat(v, 'f', d, 64) }
	if num(up) == num(down) {
		return num(mean) + " ± " + num(up)
	}
	// An interval made by resampling need not be symmetric.
	return num(mean) + signed(up, num) + signed(-down, num)
}

// Span is a mean with the ends of its confidence interval.
type Span struct{ Mean, Low, High float64 }

// Intervals formats the intervals of one table alike: all as [Interval] does where
// that is the mean ± one number, else all as "0.931 [0.925, 0.935]".
func Intervals(spans []Span) []string {
	out := make([]string, len(spans))
	alike := true
	for i, s := range spans {
		out[i] = Interval(s.Mean, s.Low, s.High)
		_, ends, _ := strings.Cut(out[i], " ")
		alike = alike && (ends == "" || strings.HasPrefix(ends, "±"))
	}
	if alike {
		return out
	}
	for i, s := range spans {
		wide := max(math.Abs(s.High-s.Mean), math.Abs(s.Mean-s.Low))
		switch a := max(math.Abs(s.Mean), wide); {
		case !strings.Contains(out[i], " "): // a mean alone, or none
		case wide <= 1e-12*math.Abs(s.Mean):
			out[i] = fmt.Sprintf("%s [%[1]s, %[1]s]", Number(s.Mean))
		case a >= 1e6 || wide < 1e-9:
			out[i] = fmt.Sprintf("%.4g [%.4g, %.4g]", s.Mean, s.Low, s.High)
		default:
			d := decimals(wide, 2)
			num := func(v float64) string { return strconv.FormatFloat(v, 'f', d, 64) }
			out[i] = fmt.Sprintf("%s [%s, %s]", num(s.Mean), num(s.Low), num(s.High))
		}
	}
	return out
}

func signed(v float64, num func(float64) string) string {
	if v < 0 {
		return " −" + num(-v)
	}
	return " +" + num(v)
}

// decimals is the number of digits after the point that show v with the given
// number of significant digits.
func decimals(v float64, significant int) int {
	return min(max(significant-1-int(math.Floor(math.Log10(math.Abs(v)))), 0), 12)
}

// Count formats a number of things: whole below 10 000, then with a suffix,
// as 12.3k, 4.56M, 7.89G.
func Count(n int64) string {
	if n < 10_000 {
		return strconv.FormatInt(n, 10)
	}
	v, suffix := float64(n)/1e3, "k"
	for _, s := range []string{"M", "G", "T", "P"} {
		if v < 999.5 {
			break
		}
		v, suffix = v/1e3, s
	}
	digits := 0
	switch { // by what rounding leaves, so that 9.996 is 10.0 and not 10.00
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + suffix
}

// Rate formats a number per second, with the digits that a small rate needs.
func Rate(v float64) string {
	switch {
	case math.IsNaN(v) || v <= 0:
		return "-"
	case v >= 10_000:
		return Count(int64(min(v, 1e18)))
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', min(decimals(v, 2), 4), 64)
}

// Duration formats a time span to two units: 850ms, 42s, 3m05s, 2h40m, 3d04h.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// Bytes formats a size in binary units.
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v /= 1024; v < 1024 {
			return fmt.Sprintf("%.1f %s", v, u)
		}
	}
	return fmt.Sprintf("%.1f PiB", v/1024)
}
