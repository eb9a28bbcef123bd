package main

import "neoteny/pkg/engine/kernel"

//go:noescape
func peakAVX512(n int)

//go:noescape
func peakAVX2(n int)

// peakLoop returns a loop of fused multiply-adds of an instruction set, and
// how many floating-point operations each of its rounds has; nil for none.
func peakLoop(isa kernel.ISA) (loop func(n int), flops float64) {
	switch isa {
	case kernel.AVX512:
		return peakAVX512, 24 * 16 * 2
	case kernel.AVX2:
		return peakAVX2, 12 * 8 * 2
	}
	return nil, 0
}
