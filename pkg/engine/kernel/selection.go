package kernel

import "math"

// float is what can be selected by: float32 of tensors, float64 of statistics.
type float interface{ float32 | float64 }

// TopK fills indices with those of the len(indices) largest elements of x, from
// the largest down. Of equals, zeros of both signs among them, the lower index
// comes first. NaN is larger than all. It panics if x has fewer elements.
func TopK[T float](indices []int32, x []T) { selectFirst(indices, x, true) }

// BottomK fills indices with those of the len(indices) smallest elements of x,
// from the smallest up. Of equals, the lower index comes first. NaN is larger
// than all. It panics if x has fewer elements.
func BottomK[T float](indices []int32, x []T) { selectFirst(indices, x, false) }

// ArgPartition fills indices with 0…len(x)−1 so that the first k are those of
// the k smallest elements, as of [BottomK]; both parts ascend. indices has one
// place per element.
func ArgPartition[T float](indices []int32, x []T, k int) {
	if len(indices) != len(x) {
		panic("kernel: ArgPartition needs a place per element")
	}
	first, rest := indices[:k], indices[k:]
	last := int32(-1)
	if k > 0 {
		BottomK(first, x)
		last = first[k-1]
	}
	a, b := 0, 0
	for i := range int32(len(x)) {
		if last >= 0 && (i == last || before(x, i, last, false)) {
			first[a] = i
			a++
		} else {
			rest[b] = i
			b++
		}
	}
}

// exceeds says whether a is larger than b, as NaN is than all others.
func exceeds[T float](a, b T) bool { return a > b || a != a && b == b }

// before is the order of a selection: by descending or ascending elements, then
// by index.
func before[T float](x []T, i, j int32, descending bool) bool {
	a, b := x[i], x[j]
	if !descending {
		a, b = b, a
	}
	return exceeds(a, b) || !exceeds(b, a) && i < j
}

// selectFirst keeps the first elements in the order of before in a heap, whose
// root is the last of them, and sorts it in the end.
func selectFirst[T float](indices []int32, x []T, descending bool) {
	k := len(indices)
	if k > len(x) || len(x) > math.MaxInt32 {
		panic("kernel: more is to be selected than there is")
	}
	if k == 0 {
		return
	}
	for i := range indices {
		indices[i] = int32(i)
	}
	for i := k/2 - 1; i >= 0; i-- {
		sift(indices, i, x, descending)
	}
	for i := k; i < len(x); i++ {
		// Equals of the root do not displace it: their index is higher.
		worst := x[indices[0]]
		if descending && exceeds(x[i], worst) || !descending && exceeds(worst, x[i]) {
			indices[0] = int32(i)
			sift(indices, 0, x, descending)
		}
	}
	for n := k - 1; n > 0; n-- {
		indices[0], indices[n] = indices[n], indices[0]
		sift(indices[:n], 0, x, descending)
	}
}

// sift moves element i of the heap down to its place.
func sift[T float](heap []int32, i int, x []T, descending bool) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && before(x, heap[child], heap[child+1], descending) {
			child++
		}
		if !before(x, heap[i], heap[child], descending) {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// GatherRows copies rows of cols elements: row i of dst is row indices[i] of
// src. dst and src do not overlap.
func GatherRows(dst, src []float32, indices []int32, cols int) {
	dst, src = dst[:len(indices)*cols], src[:len(src):len(src)] // so that a row beyond the end panics
	for i, j := range indices {
		copy(dst[i*cols:(i+1)*cols], src[int(j)*cols:(int(j)+1)*cols])
	}
}

// ScatterAddRows adds rows of cols elements: row i of src to row indices[i] of
// dst, one after the other. dst and src do not overlap.
func ScatterAddRows(dst, src []float32, indices []int32, cols int) {
	dst, src = dst[:len(dst):len(dst)], src[:len(indices)*cols]
	for i, j := range indices {
		to := dst[int(j)*cols : (int(j)+1)*cols]
		Binary(Add, to, to, src[i*cols:(i+1)*cols])
	}
}
