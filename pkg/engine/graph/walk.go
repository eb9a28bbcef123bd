package graph

import (
	"slices"

	"neoteny/pkg/engine/tensor"
)

// axisOf returns an axis counted from the front.
func axisOf(what string, s tensor.Shape, axis int) int {
	a := axis
	if a < 0 {
		a += len(s)
	}
	if a < 0 || a >= len(s) {
		panic(errorf("%s: %s has no axis %d", what, s, axis))
	}
	return a
}

// span is a group of neighbouring axes of one array, taken as one axis, with
// what a step along it means in another array.
type span struct{ n, stride int }

// spread returns the spans of a shape against those of a shape that broadcasts
// to it; the stride is 0 where the latter is repeated, and the last span has
// stride 0 or 1.
func spread(large, small tensor.Shape) []span {
	off := len(large) - len(small)
	spans := []span{}
	stride := 1
	for d := len(large) - 1; d >= 0; d-- {
		s := span{n: large[d]}
		if s.n == 1 {
			continue
		}
		if d >= off && small[d-off] > 1 {
			s.stride = stride
			stride *= s.n
		}
		spans = append(spans, s)
	}
	return merged(spans)
}

// permuted returns the spans of the result of a permutation of axes.
func permuted(from tensor.Shape, axes []int) []span {
	strides := make([]int, len(from))
	stride := 1
	for d := len(from) - 1; d >= 0; d-- {
		strides[d] = stride
		stride *= from[d]
	}
	spans := []span{}
	for i := len(axes) - 1; i >= 0; i-- {
		if a := axes[i]; from[a] > 1 {
			spans = append(spans, span{from[a], strides[a]})
		}
	}
	return merged(spans)
}

// merged takes spans from the last axis to the first and returns them from the
// first to the last, neighbours joined where a step along the outer one is one
// past the end of the inner one. There is at least one.
func merged(spans []span) []span {
	out := []span{}
	for _, s := range spans {
		if k := len(out) - 1; k >= 0 && s.stride == out[k].stride*out[k].n {
			out[k].n *= s.n
		} else {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		out = append(out, span{1, 1})
	}
	slices.Reverse(out)
	return out
}

// walk goes through the indices of some spans in order and keeps the place in
// the other array; after the last it is at the first again.
type walk struct {
	spans []span
	index []int
	at    int
}

func newWalk(spans []span) *walk { return &walk{spans: spans, index: make([]int, len(spans))} }

func (w *walk) next() {
	for d := len(w.spans) - 1; d >= 0; d-- {
		w.at += w.spans[d].stride
		if w.index[d]++; w.index[d] < w.spans[d].n {
			return
		}
		w.at -= w.spans[d].n * w.spans[d].stride
		w.index[d] = 0
	}
}

// indexOf returns the index along each axis of element i.
func indexOf(s tensor.Shape, i int) []int {
	index := make([]int, len(s))
	for d := len(s) - 1; d >= 0; d-- {
		index[d] = i % s[d]
		i /= s[d]
	}
	return index
}

// broadcastFrom returns which element of the small shape element i of the large
// one is a copy of.
func broadcastFrom(large, small tensor.Shape, i int) int {
	index := indexOf(large, i)[len(large)-len(small):]
	j := 0
	for d, k := range index {
		j = j*small[d] + min(k, small[d]-1)
	}
	return j
}
