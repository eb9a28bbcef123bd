package dataimport

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// plain makes an error of the file system one line that begins with the path.
func plain(err error) error {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such file or folder", pe.Path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied", pe.Path)
	}
	return fmt.Errorf("%s: %w", pe.Path, pe.Err)
}

// input is an open file, unpacked where its name ends in .gz.
type input struct {
	io.Reader
	path  string
	file  *os.File
	limit *limited
}

// open opens a regular file; anything else (a pipe, a device) could block for ever.
func open(path string) (*input, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > MaxInput:
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are read", path, info.Size(), int64(MaxInput))
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	in := &input{path: path, file: f}
	var r io.Reader = bufio.NewReaderSize(f, 1<<16)
	if strings.HasSuffix(strings.ToLower(path), ".gz") {
		z, err := gzip.NewReader(r)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s is not an intact gzip file: %w", path, short(err))
		}
		r = z
	}
	in.limit = &limited{r: r, left: MaxInput}
	in.Reader = in.limit
	return in, nil
}

func (in *input) Close() error { return in.file.Close() }

// errTooMuch says that a stream unpacks to more than is read.
var errTooMuch = fmt.Errorf("unpacks to more than the %d bytes that are read", int64(MaxInput))

// limited is a reader that fails, not ends, behind so many bytes.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := io.ReadFull(l.r, make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, errTooMuch
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}

// short names the kind of an early end of a file.
func short(err error) error {
	// image/png loses the error in its text.
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.HasSuffix(err.Error(), "unexpected EOF") {
		return errors.New("it ends too early")
	}
	return err
}

// oneLine makes the error of a library, which may quote what a hostile file holds, one line of some length.
func oneLine(err error) error {
	err = short(err)
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// take reads exactly n bytes. Memory grows with what there is, not with what a header promises.
func take(r io.Reader, n int64) ([]byte, error) {
	var b bytes.Buffer
	if n <= 1<<20 {
		b.Grow(int(n))
	}
	got, err := io.CopyN(&b, r, n)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("it ends after %d of %d bytes of values", got, n)
		}
		return nil, short(err)
	}
	return b.Bytes(), nil
}

// atEnd checks that nothing follows; of a compressed stream it also makes the checksum be compared.
func atEnd(r io.Reader) error {
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return errors.New("it holds more bytes than its header says")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return short(err)
	}
}
