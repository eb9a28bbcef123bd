package main

import "neoteny/pkg/engine/kernel"

//go:noescape
func peakNEON(n int)

// peakLoop returns a loop of fused multiply-adds of an instruction set, and
// how many floating-point operations each of its rounds has; nil for none.
func peakLoop(isa kernel.ISA) (loop func(n int), flops float64) {
	if isa == kernel.NEON {
		return peakNEON, 24 * 4 * 2
	}
	return nil, 0
}
