// Package resets has methods that make parts of a network new while it learns: units
// that are of little use, layers, or all weights a little.
package resets
