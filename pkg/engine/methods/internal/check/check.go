// Package check has the bounds of settings that many methods have in common.
package check

import "neoteny/pkg/engine/component"

// Range reports a parameter outside [lo, hi], NaN included.
func Range(name string, v, lo, hi float64) error {
	if !(v >= lo && v <= hi) {
		return component.Fieldf(name, "must be between %v and %v, is %v", lo, hi, v)
	}
	return nil
}

// Decay reports a decay factor outside [0, 1).
func Decay(name string, v float64) error {
	if !(v >= 0 && v < 1) {
		return component.Fieldf(name, "must be in [0, 1), is %v", v)
	}
	return nil
}

// Count reports a number of examples that is out of range.
func Count(name string, n, most int) error {
	if n < 1 || n > most {
		return component.Fieldf(name, "must be between 1 and %d examples, is %d", most, n)
	}
	return nil
}

// Between reports a whole number that is out of range.
func Between(name string, n, lo, hi int) error {
	if n < lo || n > hi {
		return component.Fieldf(name, "must be between %d and %d, is %d", lo, hi, n)
	}
	return nil
}

// MostExamples bounds memories and their batches.
const MostExamples = 1 << 20
