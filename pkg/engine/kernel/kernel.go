// Package kernel has the arithmetic inner loops on float32 slices: pure Go that
// defines every result bit for bit, and generated assembly for AVX-512, AVX2
// and NEON that yields the same bits.
//
// Slices that a function reads together have equal lengths; a mismatch panics.
// Matrices are row-major.
package kernel
