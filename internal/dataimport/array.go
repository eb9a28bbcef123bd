package dataimport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"

	"neoteny/pkg/engine/data"
)

// array is an array of numbers or texts as a file holds it.
type array struct {
	name    string // for messages
	dims    []int
	kind    byte // u, i, f or b (bool); U (UTF-32) or S (bytes) for texts
	size    int  // bytes of an element
	order   binary.ByteOrder
	fortran bool // the first dimension runs fastest
	raw     []byte
}

// elems returns the product of dimensions, which must be such that elements of that size can be read.
func elems(dims []int, size int) (int, error) {
	n := uint64(size)
	for _, d := range dims {
		if d < 0 {
			return 0, fmt.Errorf("dimension %d is negative", d)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > MaxInput {
			return 0, fmt.Errorf("its shape %s holds more than the %d bytes that are read: take fewer examples, or a smaller type", shapeText(dims), int64(MaxInput))
		}
		n = lo
	}
	if size == 0 {
		return 0, errors.New("its elements have no bytes")
	}
	return int(n) / size, nil
}

func shapeText(dims []int) string {
	if len(dims) > 8 {
		return fmt.Sprintf("%v…", dims[:8])
	}
	return fmt.Sprint(dims)
}

// checkFeatures checks, before it is read, that an array may hold features.
func (a *array) checkFeatures() error {
	if len(a.dims) == 0 {
		return fmt.Errorf("%s is a single number: features are an array of examples", a.name)
	}
	if a.kind == 'U' || a.kind == 'S' {
		return fmt.Errorf("%s holds texts: features are numbers", a.name)
	}
	if len(a.dims)-1 > data.MaxDims {
		return fmt.Errorf("%s has %d dimensions, more than %d for an example", a.name, len(a.dims), data.MaxDims)
	}
	n, err := elems(a.dims, a.size)
	if err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	width := 4
	if a.kind == 'u' && a.size == 1 {
		width = 1
	}
	if int64(n)*int64(width) > data.MaxBytes {
		return fmt.Errorf("%s: its shape %s makes %d bytes of features, more than the %d of a dataset", a.name, shapeText(a.dims), int64(n)*int64(width), int64(data.MaxBytes))
	}
	return nil
}

// checkTarget checks, before it is read, that an array may hold a target.
func (a *array) checkTarget() error {
	if n, err := elems(a.dims, max(a.size, 8)); err != nil || int64(n)*8 > data.MaxBytes {
		return fmt.Errorf("%s: its shape %s has more numbers than the targets of a dataset may have", a.name, shapeText(a.dims))
	}
	return nil
}

// at returns an element of an array of numbers, by its place in the file.
func (a *array) at(i int) float64 {
	b := a.raw[i*a.size:]
	switch a.kind {
	case 'u', 'b':
		switch a.size {
		case 1:
			return float64(b[0])
		case 2:
			return float64(a.order.Uint16(b))
		case 4:
			return float64(a.order.Uint32(b))
		}
		return float64(a.order.Uint64(b))
	case 'i':
		switch a.size {
		case 1:
			return float64(int8(b[0]))
		case 2:
			return float64(int16(a.order.Uint16(b)))
		case 4:
			return float64(int32(a.order.Uint32(b)))
		}
		return float64(int64(a.order.Uint64(b)))
	}
	switch a.size {
	case 2:
		return half(a.order.Uint16(b))
	case 4:
		return float64(math.Float32frombits(a.order.Uint32(b)))
	}
	return math.Float64frombits(a.order.Uint64(b))
}

// half returns the value of a float16.
func half(b uint16) float64 {
	exp, frac := int(b>>10&0x1f), float64(b&0x3ff)
	v := math.Ldexp(frac/1024, -14)
	switch {
	case exp == 31 && frac == 0:
		v = math.Inf(1)
	case exp == 31:
		v = math.NaN()
	case exp > 0:
		v = math.Ldexp(1+frac/1024, exp-15)
	}
	if b>>15 == 1 {
		v = -v
	}
	return v
}

// places calls do with the place in the file of each element, in row-major order of the given dimensions.
func (a *array) places(do func(to, from int)) {
	n := len(a.raw) / a.size
	if !a.fortran || len(a.dims) < 2 {
		for i := range n {
			do(i, i)
		}
		return
	}
	index := make([]int, len(a.dims))
	stride := make([]int, len(a.dims))
	step := 1
	for k, d := range a.dims {
		stride[k] = step
		step *= d
	}
	from := 0
	for to := range n {
		do(to, from)
		for k := len(index) - 1; k >= 0; k-- {
			index[k]++
			from += stride[k]
			if index[k] < a.dims[k] {
				break
			}
			from -= index[k] * stride[k]
			index[k] = 0
		}
	}
}

// features makes features of an array. Images whose channels come last are turned to have them first.
func (a *array) features(p *part) (note string, err error) {
	if err := a.checkFeatures(); err != nil {
		return "", err
	}
	p.name, p.n, p.shape = a.name, a.dims[0], append([]int(nil), a.dims[1:]...)
	if len(p.shape) == 0 {
		p.shape = []int{1}
	}
	size := 1
	for _, d := range p.shape {
		if d == 0 {
			return "", fmt.Errorf("%s: examples of shape %v are empty", a.name, p.shape)
		}
		if size *= d; size > data.MaxFeatures {
			return "", fmt.Errorf("%s: an example of shape %v has more than %d values", a.name, p.shape, data.MaxFeatures)
		}
	}
	turn := func(i int) int { return i }
	if s := p.shape; len(s) == 3 && (s[2] == 1 || s[2] == 3) && s[0] != 1 && s[0] != 3 {
		h, w, c := s[0], s[1], s[2]
		p.shape = []int{c, h, w}
		turn = func(i int) int {
			example, rest := i/size*size, i%size
			return example + rest%c*h*w + rest/c
		}
		note = fmt.Sprintf("%s: channels come last, and are put first: %v", a.name, p.shape)
	}
	if a.kind == 'u' && a.size == 1 {
		p.bytes = make([]uint8, len(a.raw))
		a.places(func(to, from int) { p.bytes[turn(to)] = a.raw[from] })
		return note, nil
	}
	p.floats = make([]float32, len(a.raw)/a.size)
	a.places(func(to, from int) { p.floats[turn(to)] = float32(a.at(from)) })
	return note, nil
}

// answers makes answers of an array: [examples], or [examples, numbers].
func (a *array) answers() (y answers, err error) {
	y.name = a.name
	switch {
	case len(a.dims) < 1 || len(a.dims) > 2:
		return y, fmt.Errorf("%s is of shape %s: a target is [examples] or [examples, numbers]", a.name, shapeText(a.dims))
	case len(a.dims) == 1 || a.dims[1] == 1:
		y.width = 1
	default:
		y.width = a.dims[1]
	}
	if y.width < 1 || y.width > data.MaxTargets {
		return y, fmt.Errorf("%s has %d numbers for each example: there must be between 1 and %d", a.name, y.width, data.MaxTargets)
	}
	y.n = a.dims[0]
	y.whole = a.kind == 'u' || a.kind == 'i' || a.kind == 'b'
	y.bytes = a.kind == 'u' && a.size == 1
	if a.kind == 'U' || a.kind == 'S' {
		if y.width != 1 {
			return y, fmt.Errorf("%s has %d texts for each example: a class is one", a.name, y.width)
		}
		y.text = make([]string, y.n)
		for i := range y.text {
			y.text[i] = a.text(i)
		}
		return y, nil
	}
	y.numbers = make([]float64, y.n*y.width)
	a.places(func(to, from int) { y.numbers[to] = a.at(from) })
	for i, v := range y.numbers {
		if v-v != 0 {
			return y, fmt.Errorf("%s: target of example %d is %v: every target must be a finite number", a.name, i/y.width, v)
		}
	}
	return y, nil
}

// text returns an element of an array of texts.
func (a *array) text(i int) string {
	b := a.raw[i*a.size : (i+1)*a.size]
	if a.kind == 'S' {
		return strings.ToValidUTF8(strings.TrimRight(string(b), "\x00"), "\ufffd")
	}
	var s strings.Builder
	for ; len(b) >= 4; b = b[4:] {
		if r := a.order.Uint32(b); r != 0 {
			if r > utf8.MaxRune {
				r = utf8.RuneError
			}
			s.WriteRune(rune(r))
		}
	}
	return s.String()
}
