// Package data holds the real datasets of the engine: a static catalogue, a strict reader of their files, and
// sources that hand out decoded copies shared by every run of a process.
//
// Files are only read here. Filling a data folder (downloads, imports) is not the engine's affair; what a folder
// holds is never trusted: every byte is checked against the catalogue's SHA-256 before a run sees it.
package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Meta describes one dataset: what it is, its sizes, and the files it is made of.
type Meta struct {
	Name    string // name in specs, kebab-case
	Title   string // name for people
	Source  string // citation
	Shape   []int  // shape of one example, for example [28 28]
	Classes int    // labels are 0..Classes-1; 0 for regression
	Train   int    // examples of the training split
	Test    int    // examples of the test split
	Floats  bool   // the features are float32; bytes otherwise
	Targets int    // numbers to regress on; 0 for classification
	Fewest  int    // training examples of the smallest class; 0 where that is not known beforehand
	Format  Format // how the files hold the examples
	Files   []File // for IDX training images, training labels, test images, test labels; else one archive
	Archive Archive
}

// File is one file of a dataset: gzip-compressed, or an archive or container that is kept as it is.
//
// Size and digest of a compressed file are those of the uncompressed content, not of the gzip stream: distributions recompress the
// same content (Debian strips names and times from gzip headers), and what a run depends on is the content.
type File struct {
	Name   string // file name: an archive's ends in .tar.gz or .zip, all others in .gz
	SHA256 string // SHA-256 of the uncompressed content, or of the archive itself, lower-case hex
	Bytes  int64  // length of the same; of a container the most that it can have
}

// Archive reports whether the file is an archive or a container, which is kept as it is.
func (f File) Archive() bool {
	return strings.HasSuffix(f.Name, ".tar.gz") || strings.HasSuffix(f.Name, ".zip") || strings.HasSuffix(f.Name, ".safetensors")
}

// container reports whether the file is a container, whose Bytes may be more than it has.
func (f File) container() bool { return strings.HasSuffix(f.Name, ".safetensors") }

// Size returns the number of values of one example, the product of Shape.
func (m Meta) Size() int {
	n := 1
	for _, d := range m.Shape {
		n *= d
	}
	return n
}

// Digest identifies the dataset's content in run keys: SHA-256, in hex, over the files' digests in order, each
// followed by a newline. A dataset in a container is identified by the container's SHA-256.
func (m Meta) Digest() string {
	if m.Format == Container {
		return m.Files[0].SHA256
	}
	h := sha256.New()
	for _, f := range m.Files {
		fmt.Fprintln(h, f.SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Split is one part of a dataset, row by row. Features are in X or, of a dataset of floats, in F; Y has the labels
// or, for regression, T the targets.
type Split struct {
	N int       // examples
	X []uint8   // N × Meta.Size() values, example after example
	F []float32 // the same
	Y []uint8   // N labels, each below Meta.Classes
	T []float32 // N × Meta.Targets values, example after example
}

// Dataset is a decoded dataset. It is shared by all runs of a process: treat it as read-only.
type Dataset struct {
	Meta
	TrainSplit, TestSplit Split
}

// Source hands out datasets by name. Load is safe for concurrent use, and what it returns is read-only.
type Source interface {
	Load(name string) (*Dataset, error)
}

// ErrUnknown is what Load's error wraps when no dataset has the name asked for.
var ErrUnknown = errors.New("unknown dataset")

// Unknown returns an error that wraps ErrUnknown and lists the names there are.
func Unknown(name string, catalogue []Meta) error {
	names := make([]string, len(catalogue))
	for i, m := range catalogue {
		names[i] = m.Name
	}
	slices.Sort(names)
	return fmt.Errorf("%w %.80q: choose one of %s", ErrUnknown, name, strings.Join(names, ", "))
}

// MissingError says that a data folder lacks a dataset, and how to fix that.
type MissingError struct {
	Name string // the dataset
	Dir  string // the data folder looked in
}

// Error names the dataset, the folder and the command that fixes it.
func (e *MissingError) Error() string {
	if m, err := ParseRef(e.Name); err == nil {
		return fmt.Sprintf("%s is missing from data folder %s: run `neoteny data add NAME PATH` with the file that it was made of", m.Title, e.Dir)
	}
	return fmt.Sprintf("dataset %s is missing from data folder %s: run `%s`", e.Name, e.Dir, importCommand(e.Name))
}

// CorruptError says that a file of a dataset is not what the catalogue says it is, and how to fix that.
type CorruptError struct {
	Name    string // the dataset
	File    string // the file's path, or its name where the dataset did not come from a folder
	Problem string // what is wrong with it
}

// Error names the dataset, the file, what is wrong and the command that fixes it.
func (e *CorruptError) Error() string {
	if m, err := ParseRef(e.Name); err == nil {
		return fmt.Sprintf("%s is corrupt: %s: %s: remove that file and add the dataset again with `neoteny data add NAME PATH`", m.Title, e.File, e.Problem)
	}
	return fmt.Sprintf("dataset %s is corrupt: %s: %s: run `%s` to replace it", e.Name, e.File, e.Problem, importCommand(e.Name))
}

func importCommand(name string) string {
	return "neoteny data import " + name
}

// Static is a Source of datasets already in memory, for programs with data of their own and for tests.
type Static map[string]*Dataset

// Load returns the dataset of that name or an error that wraps ErrUnknown.
func (s Static) Load(name string) (*Dataset, error) {
	if d, ok := s[name]; ok {
		return d, nil
	}
	var metas []Meta
	for n := range s {
		metas = append(metas, Meta{Name: n})
	}
	return nil, Unknown(name, metas)
}
