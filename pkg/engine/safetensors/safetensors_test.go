package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// raw builds a file from a header and its data, right or wrong.
func raw(header, data string) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// The bytes are spelled out after the format's description, so that encoder and decoder cannot agree on a mistake.
func TestEncodeBytes(t *testing.T) {
	f := &File{
		Tensors: []Tensor{
			{Name: "y", DType: "U8", Shape: []int{3}, Data: []byte{7, 8, 9}},
			{Name: "w", DType: "F32", Shape: []int{1, 2}, Data: []byte{0, 0, 128, 63, 0, 0, 0, 64}},
			{Name: "a", DType: "U8", Shape: []int{}, Data: []byte{6}},
			{Name: "z", DType: "I64", Shape: nil, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}},
		},
		Metadata: map[string]string{"step": "5", "format": "neoteny"},
	}
	header := `{"__metadata__":{"format":"neoteny","step":"5"},` +
		`"a":{"dtype":"U8","shape":[],"data_offsets":[16,17]},` +
		`"w":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]},` +
		`"y":{"dtype":"U8","shape":[3],"data_offsets":[17,20]},` +
		`"z":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}`
	for (8+len(header))%64 != 0 {
		header += " "
	}
	want := raw(header, "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40\x06\x07\x08\x09")
	var got bytes.Buffer
	require.NoError(t, Encode(&got, f))
	require.Equal(t, string(want), got.String())

	slices.Reverse(f.Tensors)
	got.Reset()
	require.NoError(t, Encode(&got, f))
	require.Equal(t, string(want), got.String(), "order of tensors must not matter")
}

func TestEncodeEmptyFile(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Encode(&b, &File{}))
	f, err := Decode(b.Bytes())
	require.NoError(t, err)
	require.Empty(t, f.Tensors)
	require.Empty(t, f.Metadata)
}

func TestRoundTrip(t *testing.T) {
	text := rapid.StringOf(rapid.Rune()).Filter(func(s string) bool { return s != metadataKey })
	tensor := rapid.Custom(func(t *rapid.T) Tensor {
		x := Tensor{
			Name:  text.Draw(t, "name"),
			DType: rapid.SampledFrom([]string{"F32", "F64", "I32", "I64", "U8"}).Draw(t, "dtype"),
			Shape: rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(t, "shape"),
		}
		n, err := dataSize(x.DType, x.Shape)
		require.NoError(t, err)
		x.Data = rapid.SliceOfN(rapid.Byte(), int(n), int(n)).Draw(t, "data")
		return x
	})
	rapid.Check(t, func(t *rapid.T) {
		f := &File{
			Tensors:  rapid.SliceOfNDistinct(tensor, 0, 8, func(x Tensor) string { return x.Name }).Draw(t, "tensors"),
			Metadata: rapid.MapOf(text, text).Draw(t, "metadata"),
		}
		var b bytes.Buffer
		require.NoError(t, Encode(&b, f))
		headerEnd := 8 + binary.LittleEndian.Uint64(b.Bytes())
		require.Zero(t, headerEnd%64, "data must begin at a multiple of 64")
		got, err := Decode(b.Bytes())
		require.NoError(t, err)
		require.True(t, same(f, got), "%v\n%v", f, got)

		// Whatever is cut off is noticed.
		cut := rapid.IntRange(0, b.Len()-1).Draw(t, "cut")
		_, err = Decode(b.Bytes()[:cut])
		require.Error(t, err)
		_, err = Decode(append(bytes.Clone(b.Bytes()), 0))
		require.Error(t, err)
	})
}

// same compares files up to the order of tensors and nil against empty.
func same(a, b *File) bool {
	if len(a.Tensors) != len(b.Tensors) || len(a.Metadata) != len(b.Metadata) {
		return false
	}
	for k, v := range a.Metadata {
		if w, ok := b.Metadata[k]; !ok || v != w {
			return false
		}
	}
	x, y := byName(a.Tensors), byName(b.Tensors)
	for i := range x {
		if x[i].Name != y[i].Name || x[i].DType != y[i].DType || !slices.Equal(x[i].Shape, y[i].Shape) || !bytes.Equal(x[i].Data, y[i].Data) {
			return false
		}
	}
	return true
}

func TestEncodeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		f    File
		want string
	}{
		"reserved name":     {File{Tensors: []Tensor{{Name: metadataKey, DType: "U8", Data: []byte{1}}}}, "reserved"},
		"name not UTF-8":    {File{Tensors: []Tensor{{Name: "\xff", DType: "U8", Data: []byte{1}}}}, "not UTF-8"},
		"duplicate":         {File{Tensors: []Tensor{{Name: "a", DType: "U8", Data: []byte{1}}, {Name: "a", DType: "U8", Data: []byte{1}}}}, "twice"},
		"dtype":             {File{Tensors: []Tensor{{Name: "a", DType: "F16", Data: []byte{1, 2}}}}, "dtype"},
		"data too short":    {File{Tensors: []Tensor{{Name: "a", DType: "F32", Shape: []int{2}, Data: make([]byte, 4)}}}, "4 bytes of data, want 8"},
		"negative":          {File{Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []int{-1}}}}, "negative"},
		"overflow":          {File{Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []int{math.MaxInt, 3}}}}, "overflow"},
		"metadata not text": {File{Metadata: map[string]string{"a": "\xff"}}, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.ErrorContains(t, Encode(&b, &c.f), c.want)
			require.Zero(t, b.Len())
		})
	}
}

// limited fails once it has taken n bytes.
type limited struct{ n int }

var errFull = errors.New("disk full")

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		return l.n, errFull
	}
	l.n -= len(p)
	return len(p), nil
}

func TestEncodeReportsWriteErrors(t *testing.T) {
	f := &File{Tensors: []Tensor{{Name: "a", DType: "U8", Shape: []int{100}, Data: make([]byte, 100)}}}
	require.ErrorIs(t, Encode(&limited{0}, f), errFull)
	require.ErrorIs(t, Encode(&limited{128}, f), errFull)
	require.NoError(t, Encode(&limited{1000}, f))
}

// A file written out by hand after the format's description, in the order in which Python's package lays tensors
// out and padded to 8 bytes as it does.
const handmade = "\x58\x01\x00\x00\x00\x00\x00\x00" +
	`{"__metadata__":{"format":"np","k":"v é \"q\""},"d64":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"scalar":{"dtype":"I64","shape":[],"data_offsets":[16,24]},"b/weight":{"dtype":"F32","shape":[2,3],"data_offsets":[24,48]},"empty":{"dtype":"I32","shape":[0,4],"data_offsets":[48,48]},"a":{"dtype":"U8","shape":[3],"data_offsets":[48,51]}} ` +
	"\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00\x00\x00\x04\xc0" +
	"\x07\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x00\x00\xa0\x40" +
	"\x01\x02\x03"

func TestDecodeHandmade(t *testing.T) {
	f, err := Decode([]byte(handmade))
	require.NoError(t, err)
	require.Equal(t, &File{
		Metadata: map[string]string{"format": "np", "k": "v é \"q\""},
		Tensors: []Tensor{
			{Name: "a", DType: "U8", Shape: []int{3}, Data: []byte{1, 2, 3}},
			{Name: "b/weight", DType: "F32", Shape: []int{2, 3}, Data: []byte("\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x00\x00\xa0\x40")},
			{Name: "d64", DType: "F64", Shape: []int{2}, Data: []byte("\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00\x00\x00\x04\xc0")},
			{Name: "empty", DType: "I32", Shape: []int{0, 4}, Data: []byte{}},
			{Name: "scalar", DType: "I64", Shape: []int{}, Data: []byte{7, 0, 0, 0, 0, 0, 0, 0}},
		},
	}, f)
}

// bad is a corpus of files that must be refused, with a part of the message.
var bad = []struct {
	name string
	file []byte
	want string
}{
	{"nothing", nil, "cut short: 0 bytes"},
	{"length cut short", []byte{1, 0, 0}, "cut short: 3 bytes"},
	{"header missing", raw("", "")[:8], "does not begin with {"},
	{"header longer than file", []byte{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, "header length is 3, 2 bytes follow"},
	{"header above limit", []byte{1, 0xe1, 0xf5, 5, 0, 0, 0, 0, '{', '}'}, "above the format's limit"},
	{"header of 2^64-1", []byte{255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}, "above the format's limit"},
	{"not an object", raw(`[]`, ""), "does not begin with {"},
	{"leading space", raw(` {}`, ""), "does not begin with {"},
	{"not UTF-8", raw("{\"\xff\":{}}", ""), "not UTF-8"},
	{"object cut short", raw(`{"a":{"dtype":"U8"`, ""), "header at byte"},
	{"trailing comma", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}`, "x"), "header at byte"},
	{"trailing comma in shape", raw(`{"a":{"dtype":"U8","shape":[1,],"data_offsets":[0,1]}}`, "x"), "header at byte"},
	{"bytes behind object", raw(`{}x`, ""), "bytes follow the JSON object"},
	{"two objects", raw(`{}{}`, ""), "bytes follow the JSON object"},
	{"NUL padding", raw("{}\x00", ""), "bytes follow the JSON object"},
	{"deep nesting", raw(`{"a":`+strings.Repeat("[", 100_000), ""), "want {"},
	{"deep nesting in shape", raw(`{"a":{"shape":`+strings.Repeat("[", 100_000), ""), "want a number"},
	{"tensor is null", raw(`{"a":null}`, ""), "want {"},
	{"duplicate tensor", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xy"), `key "a" occurs twice`},
	{"duplicate tensor by escape", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xy"), `key "a" occurs twice`},
	{"duplicate metadata", raw(`{"__metadata__":{},"__metadata__":{}}`, ""), "occurs twice"},
	{"duplicate metadata key", raw(`{"__metadata__":{"a":"1","a":"2"}}`, ""), `key "a" occurs twice`},
	{"duplicate field", raw(`{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,1]}}`, "x"), `key "shape" occurs twice`},
	{"unknown field", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]}}`, "x"), `unknown key "strides"`},
	{"field in other case", raw(`{"a":{"DType":"U8","shape":[1],"data_offsets":[0,1]}}`, "x"), `unknown key "DType"`},
	{"dtype missing", raw(`{"a":{"shape":[1],"data_offsets":[0,1]}}`, "x"), "all needed"},
	{"offsets missing", raw(`{"a":{"dtype":"U8","shape":[1]}}`, "x"), "all needed"},
	{"dtype unknown", raw(`{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}`, "xy"), `dtype "F16"`},
	{"dtype a number", raw(`{"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}}`, "x"), "want a string"},
	{"metadata not an object", raw(`{"__metadata__":"a"}`, ""), "want {"},
	{"metadata value a number", raw(`{"__metadata__":{"a":1}}`, ""), "want a string"},
	{"shape negative", raw(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, "x"), `"-1" is not an integer in range`},
	{"shape fraction", raw(`{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, "x"), `"1.0" is not an integer`},
	{"shape exponent", raw(`{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, "x"), `"1e0" is not an integer`},
	{"shape string", raw(`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, "x"), "want a number"},
	{"shape a number", raw(`{"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}`, "x"), "want ["},
	{"shape overflow", raw(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, ""), "overflows"},
	{"shape above int64", raw(`{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0]}}`, ""), "not an integer in range"},
	{"shape times element overflow", raw(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`, ""), "overflows"},
	{"size against shape", raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, "abcd"), "want 8 bytes"},
	{"offsets reversed", raw(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[1,0]}}`, "x"), "gap or overlap"},
	{"offsets reversed at the start", raw(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, "x"), "want 1 bytes"},
	{"one offset", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, "x"), "needs two"},
	{"three offsets", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, "x"), "more than two"},
	{"data cut short", raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, "xyz"), "the file holds 3"},
	{"data too long", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, "xyz"), "1 bytes follow the last tensor"},
	{"data without tensors", raw(`{}`, "xyz"), "3 bytes follow"},
	{"gap at the start", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "xy"), "begin at 1, want 0"},
	{"gap between", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, "xyz"), "begin at 2, want 1"},
	{"overlap", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, "xyz"), "begin at 1, want 2"},
	{"same bytes twice", raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, "xy"), "begin at 0, want 2"},
	{"offset above int64", raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775808,9223372036854775809]}}`, "x"), "not an integer in range"},
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			f, err := Decode(c.file)
			require.Nil(t, f)
			require.ErrorContains(t, err, c.want)
			require.Less(t, len(err.Error()), 1000)
		})
	}
}

func TestDecodeMessagesStayShort(t *testing.T) {
	long := strings.Repeat("n", 1<<20)
	for _, header := range []string{
		`{"` + long + `":1}`,
		`{"a":{"` + long + `":1}}`,
		`{"a":{"dtype":"` + long + `","shape":[],"data_offsets":[0,0]}}`,
		`{"a":{"dtype":"U8","shape":[` + strings.Repeat("1,", 1<<18) + `1],"data_offsets":[0,0]}}`,
		`{"a":{"dtype":"U8","shape":[` + strings.Repeat("1", 1<<18) + `],"data_offsets":[0,0]}}`,
		`{"__metadata__":{"` + long + `":1}}`,
	} {
		_, err := Decode(raw(header, ""))
		require.Error(t, err)
		require.Less(t, len(err.Error()), 1000)
	}
}

// Valid by the format although Encode would not write it so.
func TestDecodeAccepts(t *testing.T) {
	for name, b := range map[string][]byte{
		"data not in order of names":    raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "ba"),
		"no alignment":                  raw(`{"a":{"data_offsets":[0,1],"shape":[1],"dtype":"U8"},"b":{"dtype":"F32","shape":[],"data_offsets":[1,5]}}`, "axxxx"),
		"white space":                   raw("{ \"__metadata__\" : { } }\n\t\r  ", ""),
		"empty tensors share an offset": raw(`{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"z":{"dtype":"F64","shape":[0],"data_offsets":[0,0]},"c":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]}}`, "x"),
		"empty name":                    raw(`{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Decode(b)
			require.NoError(t, err)
			require.True(t, slices.IsSortedFunc(f.Tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) }))
		})
	}
	f, err := Decode(raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "ba"))
	require.NoError(t, err)
	require.Equal(t, []byte("a"), f.Tensors[0].Data)
	require.Equal(t, 1, cap(f.Tensors[0].Data), "appending to one tensor must not reach the next")
}

// A checkpoint in which any one byte changed decodes to an error or to something else, and never panics.
func TestDecodeEveryByteChanged(t *testing.T) {
	f := &File{Metadata: map[string]string{"step": "12"}}
	for i := range 5 {
		f.Tensors = append(f.Tensors, Tensor{Name: fmt.Sprint("w", i), DType: "F32", Shape: []int{i, 2}, Data: make([]byte, 8*i)})
	}
	var b bytes.Buffer
	require.NoError(t, Encode(&b, f))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range b.Len() {
		for range 8 {
			changed := bytes.Clone(b.Bytes())
			changed[i] ^= byte(1 + random.IntN(255))
			if got, err := Decode(changed); err == nil {
				checkDecoded(t, changed, got)
			}
		}
	}
}

// checkDecoded holds what must be true of every file that Decode takes.
func checkDecoded(t *testing.T, b []byte, f *File) {
	t.Helper()
	total := 0
	for _, x := range f.Tensors {
		n, err := dataSize(x.DType, x.Shape)
		require.NoError(t, err)
		require.Len(t, x.Data, int(n))
		total += len(x.Data)
	}
	require.Equal(t, len(b)-8-int(binary.LittleEndian.Uint64(b)), total)
	var out bytes.Buffer
	require.NoError(t, Encode(&out, f))
	again, err := Decode(out.Bytes())
	require.NoError(t, err)
	require.True(t, same(f, again))
}

func FuzzDecode(f *testing.F) {
	for _, c := range bad {
		f.Add(c.file)
	}
	f.Add([]byte(handmade))
	f.Add(raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, "ba"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := Decode(b); err == nil {
			checkDecoded(t, b, got)
		}
	})
}
