// Package safetensors reads and writes the safetensors file format, in which checkpoints and artifacts are kept,
// so that Python and other tools can open them too.
//
// The format (https://huggingface.co/docs/safetensors): eight bytes, the little-endian length of the header; the
// header, a JSON object that maps each tensor's name to {"dtype", "shape", "data_offsets": [begin, end]}, with an
// optional "__metadata__" object of strings, padded with spaces; then the data, which the offsets cover without
// gaps or overlap.
//
// Decode treats its input as hostile. It is stricter than the format in two ways: it knows only the element types
// of the engine, and it refuses keys that the format does not define.
package safetensors

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxHeader is the longest header that Encode writes and Decode reads, in bytes: the limit of the reference
// implementation.
const MaxHeader = 100_000_000

// metadataKey is the one name a tensor cannot have.
const metadataKey = "__metadata__"

// dataAlign is what the start of the data is aligned to in files written by Encode.
const dataAlign = 64

// Tensor is one named array.
type Tensor struct {
	Name  string // any UTF-8 but "__metadata__"
	DType string // F32, F64, I32, I64 or U8
	Shape []int  // empty for a scalar; a zero among the dimensions makes an empty tensor
	Data  []byte // the elements in row-major order, little endian
}

// File is the content of one safetensors file.
type File struct {
	Tensors  []Tensor
	Metadata map[string]string
}

// ByName returns the tensors by their names.
func (f *File) ByName() map[string]Tensor {
	all := make(map[string]Tensor, len(f.Tensors))
	for _, t := range f.Tensors {
		all[t.Name] = t
	}
	return all
}

// elementSize returns the bytes of one element of a dtype.
func elementSize(dtype string) (int, bool) {
	switch dtype {
	case "F64", "I64":
		return 8, true
	case "F32", "I32":
		return 4, true
	case "U8":
		return 1, true
	}
	return 0, false
}

// dataSize returns the bytes of a tensor's data, or what is wrong with dtype or shape.
func dataSize(dtype string, shape []int) (uint64, error) {
	element, ok := elementSize(dtype)
	if !ok {
		return 0, fmt.Errorf("dtype %.20q is not one of F32, F64, I32, I64, U8", dtype)
	}
	size := uint64(element)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("dimension %d is negative", d)
		}
		hi, lo := bits.Mul64(size, uint64(d))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("shape overflows 64 bits")
		}
		size = lo
	}
	return size, nil
}

// layout orders tensors as Encode lays out their data: by element size, the largest first, then by name. Since the
// format leaves no gaps, this is what keeps every tensor aligned to its element size.
func layout(a, b Tensor) int {
	sa, _ := elementSize(a.DType)
	sb, _ := elementSize(b.DType)
	if sa != sb {
		return sb - sa
	}
	return strings.Compare(a.Name, b.Name)
}

// check says what makes a set of tensors and metadata impossible to write.
func (f *File) check() error {
	seen := make(map[string]bool, len(f.Tensors))
	for _, t := range f.Tensors {
		if t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return fmt.Errorf("tensor name %.80q is reserved or not UTF-8", t.Name)
		}
		if seen[t.Name] {
			return fmt.Errorf("tensor %.80q occurs twice", t.Name)
		}
		seen[t.Name] = true
		size, err := dataSize(t.DType, t.Shape)
		if err != nil {
			return fmt.Errorf("tensor %.80q: %w", t.Name, err)
		}
		if uint64(len(t.Data)) != size {
			return fmt.Errorf("tensor %.80q: %d bytes of data, want %d for %s %v", t.Name, len(t.Data), size, t.DType, t.Shape)
		}
	}
	for k, v := range f.Metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("metadata %.80q is not UTF-8", k)
		}
	}
	return nil
}

// byName returns the tensors sorted by name.
func byName(tensors []Tensor) []Tensor {
	return slices.SortedFunc(slices.Values(tensors), func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
}
