package kernel

import "math"

// Zeros in A add nothing to a product, so a product whose A has many, such as
// images, is computed from the other elements only, with the same bits.

// sparseVectors is how many vectors of columns one call of sparseRowsASM may
// cover.
var sparseVectors = [...]int{NEON: 16, AVX2: 8, AVX512: 8}

const (
	sparseDepth = 64  // bits of a mask
	sparseRows  = 512 // of A, to have masks at a time
)

// manyZeros says whether enough of A is zero, judging by a sample. The result
// of the product does not depend on it.
func manyZeros(m, n, k int, a []float32, ars, acs int) bool {
	if k < 16 || n < 48 || m*n*k < 1<<17 {
		return false
	}
	samples := uint32(min(256, m*n*k>>13))
	active := uint32(0)
	var i, p uint32 // fractions of m and k, a sequence that covers both evenly
	for taken := range samples {
		if taken == 8 && active >= 7 { // hardly ever so where many are zero: enough is seen
			return false
		}
		x := math.Float32bits(a[int(uint64(i)*uint64(m)>>32)*ars+int(uint64(p)*uint64(k)>>32)*acs]) << 1
		active += (x | -x) >> 31
		i += 0xC13FA9A9
		p += 0x91E10DA5
	}
	return active*100 <= samples*45
}

// gemmSparse computes C from the elements of A that are not zero. Of B, it has
// as many rows and columns at a time as stay in the cache.
func gemmSparse(m, n, k int, a []float32, ars, acs int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	lanes := tilings[active].lanes
	vectors := (n + lanes - 1) / lanes
	tiles := (vectors + sparseVectors[active] - 1) / sparseVectors[active]
	vectors = (vectors + tiles - 1) / tiles
	width := vectors * lanes
	blocks := (k + sparseDepth - 1) / sparseDepth
	depth := (k + blocks - 1) / blocks
	half := min(sparseRows, len(scratch)/2)
	low, high := scratch[:half], scratch[half:2*half]
	most := 2 * stretch / (vectors * depth)
	for i := 0; i < m; i += half {
		rows := min(half, m-i)
		for p := 0; p < k; p += depth {
			depth := min(depth, k-p)
			maskHalf(low, a[i*ars+p*acs:], ars, acs, rows, min(depth, 32))
			if depth > 32 {
				maskHalf(high, a[i*ars+(p+32)*acs:], ars, acs, rows, depth-32)
			} else {
				clear(high[:rows])
			}
			for j := 0; j < n; j += width {
				for l := 0; l < rows; l += most {
					sparseRowsASM(&low[l], 4*half, min(most, rows-l), &a[(i+l)*ars+p*acs], 4*ars, 4*acs,
						&b[p*ldb+j], 4*ldb, &c[(i+l)*ldc+j], 4*ldc, min(width, n-j), min(p, 1))
				}
			}
		}
	}
}

// maskHalf finds which of at most 32 elements of each row of A are not zero.
func maskHalf(masks, a []float32, ars, acs, rows, depth int) {
	if acs == 1 {
		maskRowsASM(&masks[0], &a[0], 4*ars, rows, depth)
	} else {
		maskColumnsASM(&masks[0], &a[0], 4*acs, depth, rows)
	}
}
