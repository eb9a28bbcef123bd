package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Decode reads a whole file. Tensors come back sorted by name, their Data aliasing b (and not necessarily aligned
// in memory). Any violation of the format is an error: Decode never panics, reads outside b, or allocates more
// than a small multiple of the header's length.
func Decode(b []byte) (*File, error) {
	f, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("decode safetensors: %w", err)
	}
	return f, nil
}

// span is a tensor with its place in the data.
type span struct {
	Tensor
	begin, end uint64
}

func decode(b []byte) (*File, error) {
	if len(b) < 8 {
		return nil, fmt.Errorf("cut short: %d bytes, the header's length alone takes 8", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	b = b[8:]
	if n > MaxHeader {
		return nil, fmt.Errorf("header length %d is above the format's limit of %d", n, MaxHeader)
	}
	if n > uint64(len(b)) {
		return nil, fmt.Errorf("cut short: header length is %d, %d bytes follow", n, len(b))
	}
	header, data := b[:n], b[n:]
	if len(header) == 0 || header[0] != '{' {
		return nil, errors.New("header does not begin with {")
	}
	if !utf8.Valid(header) { // encoding/json would replace what is invalid
		return nil, errors.New("header is not UTF-8")
	}
	p := parser{d: json.NewDecoder(bytes.NewReader(header))}
	p.d.UseNumber()
	spans, metadata, err := p.header()
	if err != nil {
		return nil, fmt.Errorf("header at byte %d: %w", 8+p.d.InputOffset(), err)
	}
	if rest := bytes.TrimRight(header[p.d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("header at byte %d: bytes follow the JSON object", 8+p.d.InputOffset())
	}

	// In the order of their offsets, tensors must cover the data from first to last byte. Empty tensors share
	// their offset with the next one, so they sort by end as well.
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.Name, b.Name))
	})
	at := uint64(0)
	f := &File{Tensors: make([]Tensor, len(spans)), Metadata: metadata}
	for i, s := range spans {
		size, err := dataSize(s.DType, s.Shape)
		switch {
		case err != nil:
			return nil, fmt.Errorf("tensor %.80q: %w", s.Name, err)
		case s.begin != at:
			return nil, fmt.Errorf("tensor %.80q: data begin at %d, want %d: gap or overlap", s.Name, s.begin, at)
		case s.end > uint64(len(data)):
			return nil, fmt.Errorf("tensor %.80q: data end at %d, the file holds %d: cut short", s.Name, s.end, len(data))
		case s.end < s.begin || s.end-s.begin != size:
			return nil, fmt.Errorf("tensor %.80q: data offsets %d to %d, want %d bytes for %s %v", s.Name, s.begin, s.end, size, s.DType, shorten(s.Shape))
		}
		s.Data = data[s.begin:s.end:s.end]
		f.Tensors[i] = s.Tensor
		at = s.end
	}
	if at != uint64(len(data)) {
		return nil, fmt.Errorf("%d bytes follow the last tensor", uint64(len(data))-at)
	}
	f.Tensors = byName(f.Tensors)
	return f, nil
}

// shorten keeps error messages short however many dimensions a hostile header lists.
func shorten(shape []int) []int {
	return shape[:min(len(shape), 8)]
}

// parser walks the header token by token, since decoding into Go values would let duplicate keys pass.
type parser struct {
	d *json.Decoder
}

func (p parser) header() ([]span, map[string]string, error) {
	var spans []span
	var metadata map[string]string
	err := p.object(func(name string) error {
		var err error
		if name == metadataKey {
			metadata, err = p.metadata()
			return err
		}
		s := span{Tensor: Tensor{Name: name}}
		if err = p.tensor(&s); err != nil {
			return fmt.Errorf("tensor %.80q: %w", name, err)
		}
		spans = append(spans, s)
		return nil
	})
	return spans, metadata, err
}

func (p parser) metadata() (map[string]string, error) {
	m := map[string]string{}
	err := p.object(func(key string) error {
		v, err := p.text()
		if err != nil {
			return fmt.Errorf("metadata %.80q: %w", key, err)
		}
		m[key] = v
		return nil
	})
	return m, err
}

func (p parser) tensor(s *span) error {
	fields := 0
	err := p.object(func(key string) error {
		fields++
		switch key {
		case "dtype":
			var err error
			s.DType, err = p.text()
			return err
		case "shape":
			s.Shape = []int{}
			return p.array(func(n uint64) error {
				s.Shape = append(s.Shape, int(n))
				return nil
			})
		case "data_offsets":
			var ends []uint64
			err := p.array(func(n uint64) error {
				if ends = append(ends, n); len(ends) > 2 {
					return errors.New("data_offsets has more than two numbers")
				}
				return nil
			})
			if err != nil {
				return err
			}
			if len(ends) != 2 {
				return errors.New("data_offsets needs two numbers")
			}
			s.begin, s.end = ends[0], ends[1]
			return nil
		}
		return fmt.Errorf("unknown key %.80q", key)
	})
	if err == nil && fields != 3 {
		err = errors.New("dtype, shape and data_offsets are all needed")
	}
	return err
}

// object reads an object and calls value with every key, to read what belongs to it. Keys must differ.
func (p parser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.d.More() {
		key, err := p.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %.80q occurs twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}')
}

// array reads an array of integers in [0, 2^63).
func (p parser) array(element func(uint64) error) error {
	if err := p.delim('['); err != nil {
		return err
	}
	for p.d.More() {
		token, err := p.d.Token()
		if err != nil {
			return err
		}
		number, ok := token.(json.Number)
		if !ok {
			return errors.New("want a number")
		}
		n, err := strconv.ParseUint(number.String(), 10, strconv.IntSize-1)
		if err != nil {
			return fmt.Errorf("number %.30q is not an integer in range", number)
		}
		if err := element(n); err != nil {
			return err
		}
	}
	return p.delim(']')
}

func (p parser) text() (string, error) {
	token, err := p.d.Token()
	if err != nil {
		return "", err
	}
	s, ok := token.(string)
	if !ok {
		return "", errors.New("want a string")
	}
	return s, nil
}

func (p parser) delim(want json.Delim) error {
	token, err := p.d.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("want %v", want)
	}
	return nil
}
