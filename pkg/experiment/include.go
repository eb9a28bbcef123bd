package experiment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Limits of the files that an experiment includes. [MaxFileBytes] and the limits of
// values hold for all of its files together.
const (
	maxIncludes     = 64 // files
	maxIncludeDepth = 8  // files that include each other
)

// includer reads the files that a document includes, and those that they include.
type includer struct {
	*reader
	bytes int // read so far
	files int
	open  []os.FileInfo // the files that are being read, the outermost first
}

// resolve puts what root includes below it: root is a patch over those files, and
// each of them one over the files before it. Paths are relative to dir, the folder of
// the file that root is.
func (in *includer) resolve(root *node, dir string) (*node, error) {
	field := root.take("include")
	if field == nil {
		return root, nil
	}
	list := field.list
	if field.kind != listNode {
		list = []*node{field}
	}
	var base *node
	for i, n := range list {
		at := "include"
		if field.kind == listNode {
			at = indexed(at, i)
		}
		if n.kind != textNode || n.text == "" {
			return nil, lineError(at, n.line, "must be the path of a file, relative to this one, or a list of them")
		}
		if dir == "" {
			return nil, lineError(at, n.line, "an experiment that is no file of its own includes none")
		}
		one, err := in.file(n.text, dir)
		if err != nil {
			return nil, lineError(at, n.line, "%v", err)
		}
		if base, err = over(base, one); err != nil {
			return nil, err
		}
	}
	return over(base, root)
}

// over applies a document as a patch to another one.
func over(base, patch *node) (*node, error) {
	if base == nil {
		return patch, nil
	}
	var errs []error
	merged := mergeNodes(base, patch, "", 0, &errs)
	if len(errs) > 0 {
		return nil, join(errs)
	}
	return merged, nil
}

// file reads one file with what it includes itself.
func (in *includer) file(path, dir string) (*node, error) {
	name := path
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if in.files++; in.files > maxIncludes {
		return nil, fmt.Errorf("more than %d files are included", maxIncludes)
	}
	if len(in.open) > maxIncludeDepth {
		return nil, fmt.Errorf("%s: more than %d files include each other", name, maxIncludeDepth)
	}
	b, info, err := in.read(path)
	if err != nil {
		return nil, err
	}
	for _, outer := range in.open {
		if os.SameFile(outer, info) {
			return nil, fmt.Errorf("%s includes itself", name)
		}
	}
	before := in.reader.file
	in.reader.file = name
	root, err := in.document(b)
	in.reader.file = before
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	in.open = append(in.open, info)
	root, err = in.resolve(root, filepath.Dir(path))
	in.open = in.open[:len(in.open)-1]
	return root, err
}

func (in *includer) read(path string) ([]byte, os.FileInfo, error) {
	// Before it is opened: to open a pipe waits for who writes to it.
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, reason(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, reason(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(MaxFileBytes-in.bytes)+1))
	if err != nil {
		return nil, nil, reason(path, err)
	}
	if in.bytes += len(b); in.bytes > MaxFileBytes {
		return nil, nil, fmt.Errorf("with %s the files of the experiment are larger than the %d bytes that they may have", path, MaxFileBytes)
	}
	return b, info, nil
}

// reason says what is wrong with a file, once.
func reason(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Errorf("%s: %s", path, strings.TrimSpace(err.Error()))
}
