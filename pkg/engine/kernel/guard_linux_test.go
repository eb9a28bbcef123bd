package kernel

import (
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// Each slot is 16 pages between two that must not be touched, kept for the
// whole test binary.
var guardSlots [][]byte

func guarded(t *testing.T, slot int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	for len(guardSlots) <= slot {
		b, err := syscall.Mmap(-1, 0, 18*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		require.NoError(t, err)
		require.NoError(t, syscall.Mprotect(b[:page], syscall.PROT_NONE))
		require.NoError(t, syscall.Mprotect(b[17*page:], syscall.PROT_NONE))
		guardSlots = append(guardSlots, b[page:17*page])
	}
	return guardSlots[slot]
}

// beforeGuard returns n elements that end where a forbidden page begins. Equal
// slots share memory.
func beforeGuard(t *testing.T, slot, n int) []float32 {
	t.Helper()
	b := guarded(t, slot)
	if n == 0 {
		return []float32{}
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[len(b)-4*n])), n)
}

// afterGuard returns n elements that begin where a forbidden page ends.
func afterGuard(t *testing.T, slot, n int) []float32 {
	t.Helper()
	return unsafe.Slice((*float32)(unsafe.Pointer(&guarded(t, slot)[0])), n)
}
