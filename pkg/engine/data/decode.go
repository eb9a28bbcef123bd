package data

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
)

// Decode reads a dataset from the files of meta in the root of fsys and checks everything about them: sizes,
// SHA-256, headers, label range. A file that is absent gives an error that wraps fs.ErrNotExist, one that
// is not what meta says a *CorruptError. Memory is bounded by meta's sizes, whatever the files hold.
func Decode(fsys fs.FS, meta Meta) (*Dataset, error) {
	switch meta.Format {
	case IDX:
	case Container:
		return decodeOwn(fsys, meta)
	default:
		return decodeArchive(fsys, meta)
	}
	if len(meta.Files) != 4 {
		return nil, fmt.Errorf("decode dataset %s: want 4 files, the catalogue lists %d", meta.Name, len(meta.Files))
	}
	d := &Dataset{Meta: meta, TrainSplit: Split{N: meta.Train}, TestSplit: Split{N: meta.Test}}
	for i, split := range []*Split{&d.TrainSplit, &d.TestSplit} {
		images, labels := meta.Files[2*i], meta.Files[2*i+1]
		var err error
		if split.X, err = decodeFile(fsys, meta, images, append([]int{split.N}, meta.Shape...)); err != nil {
			return nil, err
		}
		if split.Y, err = decodeFile(fsys, meta, labels, []int{split.N}); err != nil {
			return nil, err
		}
		for j, y := range split.Y {
			if int(y) >= meta.Classes {
				return nil, &CorruptError{meta.Name, labels.Name, fmt.Sprintf("label %d of example %d is not below %d", y, j, meta.Classes)}
			}
		}
	}
	return d, nil
}

// decodeOwn reads a dataset that is one container.
func decodeOwn(fsys fs.FS, meta Meta) (*Dataset, error) {
	file := meta.Files[0]
	f, err := fsys.Open(file.Name)
	if err != nil {
		return nil, fmt.Errorf("decode dataset %s: %w", meta.Label(), err)
	}
	defer f.Close()
	d, err := decodeContainer(f, meta)
	if bad := (*contentError)(nil); errors.As(err, &bad) {
		return nil, &CorruptError{meta.Name, file.Name, bad.problem}
	}
	if err != nil {
		return nil, fmt.Errorf("decode dataset %s: read %s: %w", meta.Label(), file.Name, err)
	}
	return d, nil
}

// decodeFile returns the values of one file of meta, which must hold an array of the given dimensions.
func decodeFile(fsys fs.FS, meta Meta, file File, dims []int) ([]uint8, error) {
	f, err := fsys.Open(file.Name)
	if err != nil {
		return nil, fmt.Errorf("decode dataset %s: %w", meta.Name, err)
	}
	defer f.Close()
	content, err := file.read(f)
	if err != nil {
		if bad := (*contentError)(nil); errors.As(err, &bad) {
			return nil, &CorruptError{meta.Name, file.Name, bad.problem}
		}
		return nil, fmt.Errorf("decode dataset %s: read %s: %w", meta.Name, file.Name, err)
	}
	values, err := ParseIDX(content, dims)
	if err != nil {
		return nil, &CorruptError{meta.Name, file.Name, err.Error()}
	}
	return values, nil
}

// Verify reads a gzip stream to its end and reports how its content differs from what f says; nil if it does not.
// Errors of r itself come back wrapped. It needs no more memory than a read buffer.
func (f File) Verify(r io.Reader) error {
	if f.Archive() {
		return f.verifyArchive(r)
	}
	h := sha256.New()
	return f.unpack(r, h, h.Sum)
}

// IsContentError reports whether err, of Verify, is about the content (true) or about reading it (false).
func IsContentError(err error) bool {
	var bad *contentError
	return errors.As(err, &bad)
}

// MaxPacked is the largest gzip stream that can be an honest f: its content stored without compression, and room
// for headers. Readers stop there.
func (f File) MaxPacked() int64 {
	if f.Archive() {
		return f.Bytes
	}
	return f.Bytes + f.Bytes/256 + 4096
}

// read is Verify that returns the content.
func (f File) read(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(f.Bytes) + bytes.MinRead)
	sum := func([]byte) []byte {
		s := sha256.Sum256(b.Bytes())
		return s[:]
	}
	if err := f.unpack(r, &b, sum); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpack decompresses r into w, never more than f.Bytes, and compares length and digest.
func (f File) unpack(r io.Reader, w io.Writer, sum func([]byte) []byte) error {
	src := &source{r: r, left: f.MaxPacked()}
	z, err := gzip.NewReader(src)
	if err != nil {
		return src.explain(err)
	}
	n, err := io.Copy(w, io.LimitReader(z, f.Bytes))
	if err != nil {
		return src.explain(fmt.Errorf("after %d of %d bytes: %w", n, f.Bytes, err))
	}
	if n < f.Bytes {
		return badContent("ends after %d of %d bytes", n, f.Bytes)
	}
	// Reading on also makes gzip check its own checksum and finds bytes behind the stream.
	var one [1]byte
	switch n, err := io.ReadFull(z, one[:]); {
	case n > 0:
		return badContent("holds more than %d bytes", f.Bytes)
	case err != io.EOF:
		return src.explain(err)
	}
	if got := hex.EncodeToString(sum(nil)); got != f.SHA256 {
		return badContent("SHA-256 of the content is %s, want %s", got, f.SHA256)
	}
	return nil
}

// source limits a reader and remembers its own errors, which are not the content's.
type source struct {
	r    io.Reader
	left int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		// One byte more distinguishes a stream that ends here from one that is too long.
		if n, err := io.ReadFull(s.r, make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, errTooLong
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.r.Read(p)
	s.left -= int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// explain sorts an error of decompression: the reader's own error stays, anything else is about the content.
func (s *source) explain(err error) error {
	if s.err != nil {
		return s.err
	}
	if errors.Is(err, io.EOF) { // an early end further on is io.ErrUnexpectedEOF
		return badContent("the file is empty")
	}
	return badContent("not an intact gzip stream: %v", err)
}

var errTooLong = errors.New("the stream is too long")

// contentError is a difference between a file's content and the catalogue.
type contentError struct{ problem string }

func (e *contentError) Error() string { return e.problem }

func badContent(format string, args ...any) error {
	return &contentError{fmt.Sprintf(format, args...)}
}

// ParseIDX returns the values of an IDX array of unsigned bytes, which must have exactly the dimensions dims.
// The result aliases b. The format: two zero bytes, type 0x08, the number of dimensions, each dimension as a
// big-endian uint32, the values in row-major order.
func ParseIDX(b []byte, dims []int) ([]uint8, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("IDX header is cut short: %d bytes", len(b))
	}
	if b[0] != 0 || b[1] != 0 || b[2] != 8 {
		return nil, fmt.Errorf("not an IDX file of bytes: it begins with %x, want 000008", b[:3])
	}
	if int(b[3]) != len(dims) {
		return nil, fmt.Errorf("IDX array has %d dimensions, want %d", b[3], len(dims))
	}
	head := 4 + 4*len(dims)
	if len(b) < head {
		return nil, fmt.Errorf("IDX header is cut short: %d of %d bytes", len(b), head)
	}
	size := 1
	for i, want := range dims {
		if got := binary.BigEndian.Uint32(b[4+4*i:]); int64(got) != int64(want) {
			return nil, fmt.Errorf("IDX dimension %d is %d, want %d", i, got, want)
		}
		size *= want
	}
	if len(b)-head != size {
		return nil, fmt.Errorf("IDX array holds %d values, want %d", len(b)-head, size)
	}
	return b[head:], nil
}

// AppendIDX appends an IDX array of unsigned bytes to b: what ParseIDX reads. It panics unless len(values) is the
// product of dims and there are at most 255 dimensions, each of which fits 32 bits.
func AppendIDX(b []byte, dims []int, values []uint8) []byte {
	size := 1
	for _, d := range dims {
		if d < 0 || int64(d) > math.MaxUint32 {
			panic("data: AppendIDX: dimension out of range")
		}
		size *= d
	}
	if size != len(values) || len(dims) > 255 {
		panic("data: AppendIDX: dimensions do not fit the values")
	}
	b = append(b, 0, 0, 8, byte(len(dims)))
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, values...)
}
