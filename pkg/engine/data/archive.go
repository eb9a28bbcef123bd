package data

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// Format says how the files of a dataset hold its examples.
type Format string

const (
	// IDX is four gzip-compressed IDX files: training images, training labels, test images, test labels.
	IDX Format = ""
	// CIFAR is one tar.gz of the binary version (Krizhevsky 2009): records of the label bytes, of which the last
	// one counts (CIFAR-100 has the superclass before), then 3·32·32 bytes, plane by plane.
	CIFAR Format = "cifar"
	// EMNIST is NIST's one zip of gzip-compressed IDX files. Its images are stored column by column, and come out
	// upright.
	EMNIST Format = "emnist"
)

// Archive says where in an archive the parts of a dataset are.
type Archive struct {
	// Train and Test are members: for CIFAR files of records, an equal number in each; for EMNIST the images' and
	// the labels'.
	Train, Test []string
	// Labels is how many bytes a record of CIFAR begins with.
	Labels int
}

// decodeArchive reads a dataset that is one archive. The archive's digest is compared before anything in it is
// looked at.
func decodeArchive(fsys fs.FS, meta Meta) (*Dataset, error) {
	if len(meta.Files) != 1 || len(meta.Shape) < 2 {
		return nil, fmt.Errorf("decode dataset %s: want one archive of images, the catalogue lists %d files", meta.Name, len(meta.Files))
	}
	file := meta.Files[0]
	f, err := fsys.Open(file.Name)
	if err != nil {
		return nil, fmt.Errorf("decode dataset %s: %w", meta.Name, err)
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("decode dataset %s: %s cannot be read at random", meta.Name, file.Name)
	}
	whole := func() io.Reader { return io.NewSectionReader(at, 0, file.Bytes+1) }
	corrupt := func(err error) error {
		if bad := (*contentError)(nil); errors.As(err, &bad) {
			return &CorruptError{meta.Name, file.Name, bad.problem}
		}
		return fmt.Errorf("decode dataset %s: read %s: %w", meta.Name, file.Name, err)
	}
	if err := file.Verify(whole()); err != nil {
		return nil, corrupt(err)
	}
	d := &Dataset{Meta: meta, TrainSplit: Split{N: meta.Train}, TestSplit: Split{N: meta.Test}}
	if meta.Format == CIFAR {
		err = d.readCIFAR(whole())
	} else {
		err = d.readEMNIST(at, file.Bytes)
	}
	if err == nil {
		err = d.checkLabels()
	}
	if err != nil {
		return nil, corrupt(err)
	}
	return d, nil
}

func (d *Dataset) checkLabels() error {
	for _, split := range []*Split{&d.TrainSplit, &d.TestSplit} {
		for i, y := range split.Y {
			if int(y) >= d.Classes {
				return badContent("label %d of example %d is not below %d", y, i, d.Classes)
			}
		}
	}
	return nil
}

// readCIFAR takes the records out of a tar.gz.
func (d *Dataset) readCIFAR(r io.Reader) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return badContent("not an intact gzip stream: %v", err)
	}
	members := map[string][]byte{}
	record := d.Archive.Labels + d.Size()
	size := map[string]int{}
	for split, names := range map[*Split][]string{&d.TrainSplit: d.Archive.Train, &d.TestSplit: d.Archive.Test} {
		for _, name := range names {
			size[name] = split.N / len(names) * record
		}
	}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return badContent("not an intact tar archive: %v", err)
		}
		want, ok := size[h.Name]
		if !ok {
			continue
		}
		if h.Size != int64(want) {
			return badContent("%s holds %d bytes, want %d", h.Name, h.Size, want)
		}
		b := make([]byte, want)
		if _, err := io.ReadFull(t, b); err != nil {
			return badContent("%s: %v", h.Name, err)
		}
		members[h.Name] = b
	}
	for _, part := range []struct {
		split *Split
		names []string
	}{{&d.TrainSplit, d.Archive.Train}, {&d.TestSplit, d.Archive.Test}} {
		for _, name := range part.names {
			b, ok := members[name]
			if !ok {
				return badContent("has no member %s", name)
			}
			for ; len(b) > 0; b = b[record:] {
				part.split.Y = append(part.split.Y, b[d.Archive.Labels-1])
				part.split.X = append(part.split.X, b[d.Archive.Labels:record]...)
			}
		}
	}
	return nil
}

// readEMNIST takes the IDX files out of a zip.
func (d *Dataset) readEMNIST(at io.ReaderAt, size int64) error {
	z, err := zip.NewReader(at, size)
	if err != nil {
		return badContent("not an intact zip archive: %v", err)
	}
	for _, part := range []struct {
		split *Split
		names []string
	}{{&d.TrainSplit, d.Archive.Train}, {&d.TestSplit, d.Archive.Test}} {
		if len(part.names) != 2 {
			return fmt.Errorf("the catalogue lists %d members of a split, want images and labels", len(part.names))
		}
		images, err := idxMember(z, part.names[0], append([]int{part.split.N}, d.Shape...))
		if err != nil {
			return err
		}
		if part.split.Y, err = idxMember(z, part.names[1], []int{part.split.N}); err != nil {
			return err
		}
		part.split.X = make([]uint8, len(images))
		height, width := d.Shape[0], d.Shape[1]
		for first := 0; first < len(images); first += height * width {
			for r := range height {
				for c := range width {
					part.split.X[first+r*width+c] = images[first+c*height+r]
				}
			}
		}
	}
	return nil
}

// idxMember returns the values of a gzip-compressed IDX file in a zip.
func idxMember(z *zip.Reader, name string, dims []int) ([]uint8, error) {
	f, err := z.Open(name)
	if err != nil {
		return nil, badContent("has no member %s", name)
	}
	defer f.Close()
	g, err := gzip.NewReader(f)
	if err != nil {
		return nil, badContent("%s: not an intact gzip stream: %v", name, err)
	}
	size := int64(4 + 4*len(dims))
	values := int64(1)
	for _, n := range dims {
		values *= int64(n)
	}
	var b bytes.Buffer
	b.Grow(int(size+values) + bytes.MinRead)
	if _, err := io.Copy(&b, io.LimitReader(g, size+values+1)); err != nil {
		return nil, badContent("%s: not an intact gzip stream: %v", name, err)
	}
	out, err := ParseIDX(b.Bytes(), dims)
	if err != nil {
		return nil, badContent("%s: %v", name, err)
	}
	return out, nil
}

// verifyArchive is Verify for a file that is kept as it is.
func (f File) verifyArchive(r io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, f.Bytes+1))
	switch {
	case err != nil:
		return err
	case n < f.Bytes && !f.container():
		return badContent("ends after %d of %d bytes", n, f.Bytes)
	case n > f.Bytes:
		return badContent("holds more than %d bytes", f.Bytes)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return badContent("SHA-256 is %s, want %s", got, f.SHA256)
	}
	return nil
}
