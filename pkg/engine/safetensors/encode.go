package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// Encode writes f to w. Equal content gives equal bytes, whatever the order of f.Tensors: the header lists
// metadata and tensors sorted by name, the data lie in an order that keeps each tensor aligned to its element
// size, and they begin at a multiple of 64 bytes. An error about f comes before the first byte is written.
func Encode(w io.Writer, f *File) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("encode safetensors: %w", err)
	}
	ordered := slices.SortedFunc(slices.Values(f.Tensors), layout)
	offsets := make(map[string]int, len(ordered))
	end := 0
	for _, t := range ordered {
		offsets[t.Name] = end
		end += len(t.Data)
	}

	header := f.header(offsets)
	if pad := len(header) % dataAlign; pad != 0 {
		header = append(header, bytes.Repeat([]byte(" "), dataAlign-pad)...)
	}
	if len(header)-8 > MaxHeader {
		return fmt.Errorf("encode safetensors: header of %d bytes is above the format's limit of %d", len(header)-8, MaxHeader)
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	if _, err := w.Write(header); err != nil {
		return fmt.Errorf("encode safetensors: %w", err)
	}
	for _, t := range ordered {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("encode safetensors: tensor %.80q: %w", t.Name, err)
		}
	}
	return nil
}

// header returns eight bytes for the length and the JSON header without padding.
func (f *File) header(offsets map[string]int) []byte {
	b := append(make([]byte, 8), '{')
	if len(f.Metadata) > 0 {
		b = appendString(b, metadataKey)
		b = append(b, ":{"...)
		for i, k := range slices.Sorted(maps.Keys(f.Metadata)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, k)
			b = append(b, ':')
			b = appendString(b, f.Metadata[k])
		}
		b = append(b, '}')
	}
	for i, t := range byName(f.Tensors) {
		if i > 0 || len(f.Metadata) > 0 {
			b = append(b, ',')
		}
		b = appendString(b, t.Name)
		b = append(b, `:{"dtype":"`...)
		b = append(b, t.DType...)
		b = append(b, `","shape":[`...)
		for j, d := range t.Shape {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(d), 10)
		}
		b = append(b, `],"data_offsets":[`...)
		b = strconv.AppendInt(b, int64(offsets[t.Name]), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(offsets[t.Name]+len(t.Data)), 10)
		b = append(b, "]}"...)
	}
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return append(b, q...)
}
