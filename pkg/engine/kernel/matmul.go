package kernel

import "fmt"

// Form says which operands of a matrix product are stored transposed.
type Form uint8

// The forms of C = A·B with C [m][n].
const (
	NN Form = iota // A [m][k], B [k][n]
	TN             // A [k][m], B [k][n]
	NT             // A [m][k], B [n][k]
	TT             // A [k][m], B [n][k]
)

var formNames = [...]string{"NN", "TN", "NT", "TT"}

// String returns two letters, T for a transposed operand.
func (f Form) String() string { return formNames[f] }

// MatMulNN computes C = A·B for A [m][k], B [k][n], C [m][n], whose rows are
// lda, ldb and ldc elements apart. Every element of C is one chain of fused
// multiply-adds over ascending k from +0, in every form; a result of zero is +0.
// Zeros in A times values that are not finite may count as zero or as NaN.
// C overlaps neither A nor B. Scratch has at least [MatMulScratch] elements.
func MatMulNN(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	MatMul(NN, m, n, k, a, lda, b, ldb, c, ldc, scratch)
}

// MatMulTN is [MatMulNN] for A [k][m].
func MatMulTN(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	MatMul(TN, m, n, k, a, lda, b, ldb, c, ldc, scratch)
}

// MatMulNT is [MatMulNN] for B [n][k].
func MatMulNT(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	MatMul(NT, m, n, k, a, lda, b, ldb, c, ldc, scratch)
}

// MatMulTT is [MatMulNN] for A [k][m] and B [n][k].
func MatMulTT(m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	MatMul(TT, m, n, k, a, lda, b, ldb, c, ldc, scratch)
}

// The blocks of a product. A panel is as many columns of B as the registers
// hold, at most panelColumns, times at most panelRows.
const (
	panelColumns = 32
	panelRows    = 512
	swapRows     = 168 // rows of a block of a product that is computed transposed
)

// tiling is the register tile of an instruction set: at most so many rows, and
// vectors in each; few rows have as many chains as keep the processor busy.
type tiling struct{ lanes, rows, few, vectors int }

var tilings = [...]tiling{NEON: {4, 8, 8, 3}, AVX2: {8, 6, 6, 2}, AVX512: {16, 14, 8, 2}}

func (t *tiling) columns() int { return t.lanes * t.vectors }

// height returns the rows of tiles for a panel of depth k and rows of A that are
// ars elements apart. The more, the less often the panel is read; the fewer, the
// sooner a tile has started and ended, and the fewer ways of a cache rows need
// that are pages apart.
func (t *tiling) height(k, ars int) int {
	if k*t.columns() <= 8<<10 || ars%1024 == 0 {
		return t.few
	}
	return t.rows
}

// MatMulScratch returns how many elements of scratch a product needs.
func MatMulScratch(form Form, m, n, k int) int {
	if (form == NT || form == TT) && swapped(form, m, n, k) {
		return (k + swapRows) * panelColumns
	}
	return min(k, panelRows) * panelColumns
}

// swapped says whether Cᵀ = B·Aᵀ is cheaper, which transposes A and C instead of
// B.
func swapped(form Form, m, n, k int) bool {
	if form == TT {
		return m < k
	}
	return m*(n+k) < n*k
}

// packed says whether the columns of B are worth copying into a panel: if that is
// read often, or if B comes from memory.
func packed(m, n, k, ldb int) bool {
	return k >= 64 && ldb >= 256 && (m >= 64 && k*ldb >= 1<<16 || m >= 24 && k*ldb >= 1<<21)
}

// MatMul computes a product in the given form: see [MatMulNN].
func MatMul(form Form, m, n, k int, a []float32, lda int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	ars, acs := lda, 1
	if form == TN || form == TT {
		ars, acs = 1, lda
	}
	brs, bcs := ldb, 1
	if form == NT || form == TT {
		brs, bcs = 1, ldb
	}
	if m <= 0 || n <= 0 || k < 0 {
		if m < 0 || n < 0 || k < 0 {
			panic(fmt.Sprintf("kernel: product of %d×%d×%d", m, n, k))
		}
		return
	}
	c = c[:(m-1)*ldc+n]
	if k > 0 {
		a = a[:(m-1)*ars+(k-1)*acs+1]
		b = b[:(k-1)*brs+(n-1)*bcs+1]
	}
	switch {
	case active == Generic:
		gemmGeneric(m, n, k, a, ars, acs, b, brs, bcs, c, ldc)
	case k == 0:
		for i := range m {
			clear(c[i*ldc : i*ldc+n])
		}
	case bcs != 1 && swapped(form, m, n, k):
		gemmSwapped(m, n, k, a, ars, acs, b, ldb, c, ldc, scratch)
	case bcs == 1 && manyZeros(m, n, k, a, ars, acs):
		gemmSparse(m, n, k, a, ars, acs, b, ldb, c, ldc, scratch)
	case bcs == 1 && n <= tilings[active].columns() && k <= panelRows && !packed(m, n, k, ldb): // one panel, in place
		gemmPanel(&tilings[active], m, n, k, a, ars, acs, b, ldb, c, ldc, 0)
	default:
		gemmPanels(m, n, k, a, ars, acs, b, ldb, bcs != 1, c, ldc, scratch)
	}
}

// gemmPanels computes C one panel of B after the other. B is transposed into
// the panel, copied or read in place.
func gemmPanels(m, n, k int, a []float32, ars, acs int, b []float32, ldb int, transposed bool, c []float32, ldc int, scratch []float32) {
	t := &tilings[active]
	width := t.columns()
	pack := !transposed && packed(m, n, k, ldb)
	depth := panelDepth(k)
	for p := 0; p < k; p += depth {
		depth := min(depth, k-p)
		more := min(p, 1)
		for j := 0; j < n; j += width {
			columns := min(width, n-j)
			panel, ld := scratch, width
			switch {
			case transposed:
				transposeInto(t, panel, width, b[j*ldb+p:], ldb, columns, depth)
			case pack:
				packPanel(panel, width, b[p*ldb+j:], ldb, depth, columns, columns == width)
			default:
				panel, ld = b[p*ldb+j:], ldb
			}
			gemmPanel(t, m, columns, depth, a[p*acs:], ars, acs, panel, ld, c[j:], ldc, more)
		}
	}
}

// panelDepth returns how many rows of B a panel has, so that all have as many.
func panelDepth(k int) int {
	if k <= panelRows {
		return k
	}
	blocks := (k + panelRows - 1) / panelRows
	return (k + blocks - 1) / blocks
}

// gemmSwapped computes Cᵀ = B·Aᵀ for B [n][k] in blocks of rows of B.
func gemmSwapped(m, n, k int, a []float32, ars, acs int, b []float32, ldb int, c []float32, ldc int, scratch []float32) {
	t := &tilings[active]
	width := t.columns()
	depth := panelDepth(k)
	out := scratch[k*panelColumns:]
	for i := 0; i < m; i += width {
		columns := min(width, m-i)
		panel, ld := scratch, width
		if ars == 1 {
			panel, ld = a[i:], acs // Aᵀ is what is stored
		} else {
			transposeInto(t, panel, width, a[i*ars:], ars, columns, k)
		}
		for j := 0; j < n; j += swapRows {
			rows := min(swapRows, n-j)
			for p := 0; p < k; p += depth {
				gemmPanel(t, rows, columns, min(depth, k-p), b[j*ldb+p:], ldb, 1, panel[p*ld:], ld, out, width, min(p, 1))
			}
			transposeInto(t, c[i*ldc+j:], ldc, out, width, rows, columns)
		}
	}
}

// gemmPanel computes the columns of C that belong to one panel.
func gemmPanel(t *tiling, m, n, k int, a []float32, ars, acs int, b []float32, ldb int, c []float32, ldc int, more int) {
	if n > (t.vectors-1)*t.lanes {
		height := t.height(k, ars)
		for i := 0; i < m; {
			tiles, rows := t.next(m-i, k, height)
			gemmWideASM(tiles, rows, k, &a[i*ars], 4*ars, 4*acs, ptr(b), 4*ldb, &c[i*ldc], 4*ldc, n-(t.vectors-1)*t.lanes, more)
			i += tiles * rows
		}
		return
	}
	for j := 0; j < n; j += t.lanes {
		for i := 0; i < m; {
			tiles, rows := t.next(m-i, k, t.rows)
			gemmNarrowASM(tiles, rows, k, &a[i*ars], 4*ars, 4*acs, &b[j], 4*ldb, &c[i*ldc+j], 4*ldc, min(t.lanes, n-j), more)
			i += tiles * rows
		}
	}
}

// next returns how many tiles of how many rows to compute when m rows are left:
// as much as a call may take. Odd rows at the end join a tile if that can have
// them; else a few share with a whole tile, so that there are always enough
// independent chains.
func (t *tiling) next(m, k, height int) (tiles, rows int) {
	m = min(m, 1<<30)                        // more than a call may take
	whole := int(uint32(m) / uint32(height)) // 64 bits would take twice as long, of a product of fifty nanoseconds
	left := m - whole*height
	tiles = whole
	if m*t.vectors*k > stretch*2 {
		tiles = min(whole, max(1, stretch*2/(height*t.vectors*k)))
	}
	if left > 0 && tiles == whole && tiles > 0 {
		joins := height+left <= t.rows
		if joins || left < 4 {
			tiles--
		}
		switch {
		case tiles > 0:
		case joins:
			return 1, m
		case m%2 == 0:
			return 2, m / 2
		default:
			return 1, (m + 1) / 2
		}
	}
	if tiles <= 0 {
		return 1, min(m, t.rows)
	}
	return tiles, height
}

// packPanel copies rows of B side by side.
func packPanel(dst []float32, lddst int, src []float32, ldsrc, rows, cols int, whole bool) {
	if whole {
		packRowsASM(&dst[0], 4*lddst, &src[0], 4*ldsrc, rows)
		return
	}
	for i := range rows {
		copy(dst[i*lddst:i*lddst+cols], src[i*ldsrc:])
	}
}

// Transpose writes the transpose of src [rows][cols] to dst [cols][rows]; rows
// of src are ldsrc elements apart, those of dst lddst.
func Transpose(dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	if rows == 0 || cols == 0 {
		return
	}
	dst, src = dst[:(cols-1)*lddst+rows], src[:(rows-1)*ldsrc+cols]
	if active == Generic {
		transposeGeneric(dst, lddst, src, ldsrc, rows, cols)
		return
	}
	transposeInto(&tilings[active], dst, lddst, src, ldsrc, rows, cols)
}

func transposeInto(t *tiling, dst []float32, lddst int, src []float32, ldsrc, rows, cols int) {
	for i := 0; i < rows; i += t.lanes {
		for j := 0; j < cols; j += 2048 {
			transposeRowsASM(&dst[j*lddst+i], 4*lddst, &src[i*ldsrc+j], 4*ldsrc, min(t.lanes, rows-i), min(2048, cols-j))
		}
	}
}
