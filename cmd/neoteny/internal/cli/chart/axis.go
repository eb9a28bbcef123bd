package chart

import (
	"math"
	"slices"
	"strconv"
)

// scale is an axis with its ends: it gives values their place.
type scale struct {
	Axis
	min, max float64
	ticks    []tick
}

type tick struct {
	value float64
	label string // "" for a small mark without one
}

// newScale chooses the ends of an axis that shows a span: with a little room on both
// sides, but never past the bounds of the axis.
func newScale(a Axis, s span, room float64) scale {
	low, high := s.low, s.high
	switch {
	case len(a.Names) > 0:
		low, high = -0.5, float64(len(a.Names))-0.5
	case s.empty() && a.Log:
		low, high = 1, 10
	case s.empty() && a.bounded() && !math.IsInf(a.High-a.Low, 0):
		low, high = a.Low, a.High
	case s.empty():
		low, high = 0, 1
	case a.Log && low == high:
		low, high = low/2, high*2
	case a.Log:
		r := math.Pow(high/low, room)
		low, high = low/r, high*r
	case low == high:
		d := max(math.Abs(low)*0.05, 0.5)
		if w := a.High - a.Low; a.bounded() && !math.IsInf(w, 0) {
			d = w / 20
		}
		low, high = low-d, high+d
	default:
		d := (high - low) * room
		low, high = low-d, high+d
	}
	if a.bounded() && len(a.Names) == 0 {
		if high = min(high, a.High); !a.Log {
			low = max(low, a.Low)
		}
	}
	sc := scale{Axis: a, min: low, max: high}
	switch {
	case len(a.Names) > 0:
		sc.ticks = nameTicks(a.Names)
	case len(a.Marks) > 0:
		sc.ticks = sc.marks()
	case a.Log:
		sc.ticks = logTicks(low, high)
	default:
		sc.ticks = linearTicks(low, high, a.Whole)
	}
	return sc
}

// place returns where a value is between the ends, from 0 to 1; it is outside of that
// where the value is.
func (s scale) place(v float64) float64 {
	f := 0.0
	switch {
	case !s.Log:
		f = (v - s.min) / (s.max - s.min)
	case v <= 0:
		f = -1 // below every end
	default:
		f = math.Log(v/s.min) / math.Log(s.max/s.min)
	}
	if s.Down {
		f = 1 - f
	}
	// Not further away than what can be clipped without losing digits.
	return min(max(f, -1e3), 1e3)
}

// marks are the values that are to be marked; one too close to the last has no label.
func (s scale) marks() (ticks []tick) {
	last := math.Inf(-1)
	for _, v := range slices.Sorted(slices.Values(s.Marks)) {
		t := tick{value: v}
		if at := s.place(v); at-last > 0.1 {
			t.label, last = valueLabel(v), at
		}
		ticks = append(ticks, t)
	}
	return ticks
}

const maxTicks = 7

// linearTicks marks multiples of 1, 2 or 5 times a power of ten.
func linearTicks(low, high float64, whole bool) []tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/maxTicks)))
	if whole {
		step = max(step, 1)
	}
	for i := 0; (high-low)/step > maxTicks; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10, …
	}
	var ticks []tick
	// "+ 0" makes a zero of a minus zero.
	for k := math.Ceil(low/step - 1e-9); k*step <= high+step*1e-9; k++ {
		ticks = append(ticks, tick{k*step + 0, tickLabel(k*step+0, step, max(math.Abs(low), math.Abs(high)))})
	}
	return ticks
}

// tickLabel writes the value of a mark with as many digits as distinguish it from the
// next.
func tickLabel(v, step, largest float64) string {
	switch {
	case v == 0:
		return "0"
	case largest >= 1e5 && largest < 1e12 && step >= 1e3:
		return suffixed(v, step)
	case largest >= 1e6, largest < 1e-3:
		digits := int(math.Floor(math.Log10(math.Abs(v)))) - int(math.Floor(math.Log10(step)+1e-9))
		return trimExponent(strconv.FormatFloat(v, 'e', min(max(digits, 0), 8), 64))
	}
	return strconv.FormatFloat(v, 'f', max(0, -int(math.Floor(math.Log10(step)+1e-9))), 64)
}

// suffixed writes a large value as 1.5M or 20k.
func suffixed(v, step float64) string {
	unit, suffix := 1e3, "k"
	switch a := math.Abs(v); {
	case a >= 1e9:
		unit, suffix = 1e9, "G"
	case a >= 1e6:
		unit, suffix = 1e6, "M"
	}
	digits := max(0, -int(math.Floor(math.Log10(step/unit)+1e-9)))
	return strconv.FormatFloat(v/unit, 'f', digits, 64) + suffix
}

// trimExponent writes 2e-05 as 2e-5.
func trimExponent(s string) string {
	for i := range len(s) - 1 {
		if s[i] != 'e' {
			continue
		}
		sign, digits := s[i+1:i+2], s[i+2:]
		for len(digits) > 1 && digits[0] == '0' {
			digits = digits[1:]
		}
		if sign == "+" {
			sign = ""
		}
		return s[:i+1] + sign + digits
	}
	return s
}

// logTicks marks powers of ten, and where there are few of them what lies between.
func logTicks(low, high float64) []tick {
	first, last := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	decades := math.Log10(high / low)
	every := math.Ceil(decades / maxTicks)
	labelled := map[float64]bool{1: true}
	if decades < 2 {
		labelled[2], labelled[5] = true, true
	}
	if decades < 0.7 { // too short for powers of ten
		if ticks := linearTicks(low, high, false); len(ticks) > 1 {
			return ticks
		}
	}
	var ticks []tick
	for e := first; e <= last; e++ {
		for _, m := range []float64{1, 2, 3, 4, 5, 6, 7, 8, 9} {
			v := m * math.Pow(10, e)
			if v < low*(1-1e-9) || v > high*(1+1e-9) || m > 1 && every > 1 {
				continue
			}
			t := tick{value: v}
			if labelled[m] && math.Mod(e, every) == 0 {
				t.label = valueLabel(v)
			}
			ticks = append(ticks, t)
		}
	}
	return ticks
}

// valueLabel writes a value by itself.
func valueLabel(v float64) string {
	if a := math.Abs(v); v == 0 || a >= 1e-3 && a < 1e4 {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return trimExponent(strconv.FormatFloat(v, 'e', -1, 64))
}

func nameTicks(names []string) []tick {
	ticks := make([]tick, len(names))
	for i, n := range names {
		ticks[i] = tick{float64(i), n}
	}
	return ticks
}
