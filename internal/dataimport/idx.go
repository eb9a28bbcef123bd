package dataimport

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// openIDX reads an IDX array: two zero bytes, the type, the number of dimensions, each dimension as a big-endian
// uint32, the values.
func openIDX(path string, check func(*array) error) (*array, error) {
	in, err := open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	bad := func(format string, args ...any) (*array, error) {
		return nil, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
	}
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return bad("its IDX header is cut short: %v", short(err))
	}
	a := &array{name: path, order: binary.BigEndian}
	switch head[2] {
	case 0x08:
		a.kind, a.size = 'u', 1
	case 0x09:
		a.kind, a.size = 'i', 1
	case 0x0b:
		a.kind, a.size = 'i', 2
	case 0x0c:
		a.kind, a.size = 'i', 4
	case 0x0d:
		a.kind, a.size = 'f', 4
	case 0x0e:
		a.kind, a.size = 'f', 8
	}
	if head[0] != 0 || head[1] != 0 || a.size == 0 {
		return bad("it is not an IDX file: it begins with %x", head[:3])
	}
	dims := make([]byte, 4*int(head[3]))
	if _, err := io.ReadFull(in, dims); err != nil {
		return bad("its IDX header is cut short: %v", short(err))
	}
	for ; len(dims) > 0; dims = dims[4:] {
		a.dims = append(a.dims, int(binary.BigEndian.Uint32(dims)))
	}
	count, err := elems(a.dims, a.size)
	if err != nil {
		return bad("%v", err)
	}
	if err := check(a); err != nil {
		return nil, err
	}
	if a.raw, err = take(in, int64(count)*int64(a.size)); err != nil {
		return bad("%v", err)
	}
	if err := atEnd(in); err != nil {
		return bad("%v", err)
	}
	return a, nil
}

// readIDX reads a file of features, and the target from another one.
func readIDX(path string, o Options) (*found, error) {
	if o.Target == "" {
		return nil, fmt.Errorf("%s: an IDX file holds one array: say with --target which file holds the labels, or give the folder that has them all", path)
	}
	f := &found{format: "IDX"}
	return f, f.idx(&f.train, path, o.Target)
}

func (f *found) idx(p *part, features, target string) error {
	a, err := openIDX(features, (*array).checkFeatures)
	if err != nil {
		return err
	}
	note, err := a.features(p)
	if err != nil {
		return err
	}
	if note != "" {
		f.notes = append(f.notes, note)
	}
	if a, err = openIDX(target, (*array).checkTarget); err != nil {
		return err
	}
	p.y, err = a.answers()
	return err
}

// idxFolder reads a folder with the four files of MNIST, or the two of training.
func idxFolder(folder string, entries []os.DirEntry) (*found, error) {
	pick := func(splits []string, what string) (string, error) {
		var found []string
		for _, e := range entries {
			name := strings.ToLower(e.Name())
			if strings.Contains(name, what) && slices.ContainsFunc(splits, func(s string) bool { return strings.Contains(name, s) }) && isIDX(name) {
				found = append(found, e.Name())
			}
		}
		switch len(found) {
		case 0:
			return "", nil
		case 1:
			return filepath.Join(folder, found[0]), nil
		}
		return "", fmt.Errorf("%s: %s could all be the %s %s: keep one of them", folder, brief(found), splits[0], what)
	}
	f := &found{format: "IDX"}
	for _, splits := range [][]string{{"train"}, {"test", "t10k"}} {
		images, err := pick(splits, "images")
		if err != nil {
			return nil, err
		}
		labels, err := pick(splits, "labels")
		if err != nil {
			return nil, err
		}
		if images == "" && splits[0] == "test" && labels == "" {
			break
		}
		if images == "" || labels == "" {
			return nil, fmt.Errorf("%s: one IDX file of %s images and one of their labels are wanted: %s-images-idx3-ubyte, %s-labels-idx1-ubyte", folder, splits[0], splits[0], splits[0])
		}
		p := &f.train
		if splits[0] == "test" {
			f.test = &part{}
			p = f.test
		}
		if err := f.idx(p, images, labels); err != nil {
			return nil, err
		}
	}
	return f, nil
}
