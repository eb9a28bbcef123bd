// Package rng is the engine's only source of randomness: stateless, counter-based draws.
//
// A draw is a pure function of a [Key] (made of the run's seed and a purpose such as "init/w1") and of two
// 64-bit indices chosen by the caller (a task, a step, an example, …). There is no stream position, so nothing
// about randomness is ever stored in a checkpoint, draws can be made in any order and by any number of
// goroutines, and a longer run draws the same values as a shorter one where both draw.
//
// The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011): a bijection of 128-bit counters under a 64-bit key, which passes BigCrush. It is not cryptographic.
//
// All functions of one Key read the same blocks of bits: give every purpose its own Key rather than mixing,
// say, FillNormal and Perm with equal indices under one Key.
//
// Results are the same bits on every architecture and instruction set: integers are exact, and the floating-point
// code (in package kernel) uses only correctly rounded operations in a fixed order. Changing any output here changes results
// of runs and needs a new numerics version.
package rng

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"neoteny/pkg/engine/kernel"
)

// Key selects one of 2^64 independent random functions. The zero Key is valid; New is the normal way to get one.
// Keys are small values: copy them freely.
type Key struct {
	lo, hi uint32
}

// New derives the Key of one purpose in a run from the first eight bytes of SHA-256 over the seed
// (8 bytes, little endian) followed by the purpose.
func New(seed uint64, purpose string) Key {
	var buf [128]byte // keeps short purposes off the heap
	b := binary.LittleEndian.AppendUint64(buf[:0], seed)
	b = append(b, purpose...)
	sum := sha256.Sum256(b)
	return Key{
		lo: binary.LittleEndian.Uint32(sum[0:4]),
		hi: binary.LittleEndian.Uint32(sum[4:8]),
	}
}

// Block returns 128 random bits: Philox4x32-10 of the counter words lo(a), hi(a), lo(b), hi(b).
func (k Key) Block(a, b uint64) [4]uint32 {
	return kernel.Philox(k.lo, k.hi, a, b)
}

// Uint32 returns 32 random bits: word 0 of Block(a, b).
func (k Key) Uint32(a, b uint64) uint32 {
	return k.Block(a, b)[0]
}

// Uint64 returns 64 random bits: words 0 (low half) and 1 (high half) of Block(a, b).
func (k Key) Uint64(a, b uint64) uint64 {
	w := k.Block(a, b)
	return uint64(w[1])<<32 | uint64(w[0])
}

// Intn returns an integer that is exactly uniform over 0..n-1. It panics if n <= 0.
//
// It is Lemire's multiply-shift with rejection ("Fast random integer generation in an interval", ACM TOMACS
// 2019) on the words of Block(a, b), 32 bits at a time up to n = 2^32 and 64 bits above. When every word of the
// block is rejected it goes on with the block of the same counter under a derived key, so that it never reads
// the bits of other indices.
func (k Key) Intn(n int, a, b uint64) int {
	if n <= 0 {
		panic("rng: Intn needs n > 0")
	}
	for retry := uint32(0); ; retry++ {
		w := k.derived(retry).Block(a, b)
		if uint64(n) <= 1<<32 {
			for _, x := range w {
				if v, ok := scale32(x, uint64(n)); ok {
					return int(v)
				}
			}
			continue
		}
		for i := 0; i < 4; i += 2 {
			if v, ok := scale64(uint64(w[i+1])<<32|uint64(w[i]), uint64(n)); ok {
				return int(v)
			}
		}
	}
}

// Perm fills dst with a permutation of 0..len(dst)-1, all permutations being equally likely (up to the 2^64 keys
// and 2^64 values of a). Fisher–Yates, from the last element down; the exchange of element i is drawn from
// Block(a, i/4)[i%4].
func (k Key) Perm(dst []int32, a uint64) {
	for i := range dst {
		dst[i] = int32(i)
	}
	var w [4]uint32
	have := ^uint64(0) // block held in w
	for i := len(dst) - 1; i > 0; i-- {
		if block := uint64(i) / 4; block != have {
			w, have = k.Block(a, block), block
		}
		j, ok := scale32(w[i%4], uint64(i)+1)
		for retry := uint32(1); !ok; retry++ {
			// Rare, with probability below (i+1)/2^32. A derived key leaves the other elements' words alone.
			j, ok = scale32(k.derived(retry).Block(a, uint64(i))[0], uint64(i)+1)
		}
		dst[i], dst[j] = dst[j], dst[i]
	}
}

// derived returns the key of the given rejection retry; retry 0 is k itself. It must not follow the Weyl
// sequence of the round keys, which would make blocks of k and of the derived key share rounds.
func (k Key) derived(retry uint32) Key {
	return Key{lo: k.lo, hi: k.hi ^ retry}
}

// scale32 maps a uniform 32-bit x to 0..n-1 for 1 <= n <= 2^32. It reports false for the 2^32 mod n values of x
// that would make the result uneven.
func scale32(x uint32, n uint64) (uint64, bool) {
	p := uint64(x) * n
	low := uint64(uint32(p))
	if low < n && low < (1<<32)%n { // low >= n implies low >= 2^32 mod n: no division on the usual path
		return 0, false
	}
	return p >> 32, true
}

// scale64 is scale32 for a uniform 64-bit x and any n >= 1.
func scale64(x, n uint64) (uint64, bool) {
	hi, lo := bits.Mul64(x, n)
	if lo < n && lo < -n%n { // -n mod n = (2^64 - n) mod n = 2^64 mod n
		return 0, false
	}
	return hi, true
}
