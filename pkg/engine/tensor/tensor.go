// Package tensor has shapes and aligned storage.
package tensor

import (
	"fmt"
	"strings"
	"unsafe"
)

// MaxElems is the most elements that one tensor may have (4 GiB of float32).
const MaxElems = 1 << 30

// Shape is the extent of each axis, outermost first. The empty shape is a
// scalar.
type Shape []int

// Elems returns the number of elements of a checked shape.
func (s Shape) Elems() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Check reports axes below 1 and more than MaxElems elements, before anything
// is allocated.
func (s Shape) Check() error {
	n := 1
	for _, d := range s {
		if d < 1 {
			return fmt.Errorf("shape %s: every axis must be at least 1", s)
		}
		if d > MaxElems/n {
			return fmt.Errorf("shape %s has more than %d elements", s, MaxElems)
		}
		n *= d
	}
	return nil
}

// Equal reports whether two shapes have the same axes.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// String formats a shape as [3 4].
func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = fmt.Sprint(d)
	}
	return "[" + strings.Join(parts, " ") + "]"
}

const align = 64 // bytes; a cache line and the widest vector

// Float32s returns n zeroed float32 that start on a cache line.
func Float32s(n int) []float32 {
	if n == 0 {
		return nil
	}
	buf := make([]float32, n+align/4-1)
	off := 0
	if r := uintptr(unsafe.Pointer(&buf[0])) % align; r != 0 {
		off = int(align-r) / 4
	}
	return buf[off : off+n : off+n]
}
