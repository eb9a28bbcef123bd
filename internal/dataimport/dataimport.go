// Package dataimport reads a user's files into own datasets: NPY and NPZ of NumPy, CSV and TSV, Parquet, IDX,
// safetensors, folders of images.
//
// Files are taken for hostile. What a header promises is compared with the limits before anything is allocated for
// it; nothing in a file is run, and no name in it becomes a path. Every mistake is one line that names the file and the
// place in it.
package dataimport

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"neoteny/pkg/engine/data"
)

// Limits of what is read.
const (
	// MaxInput bounds the bytes of a file, and of what a compressed one unpacks to: twice what an own dataset may
	// have, since float64 becomes float32.
	MaxInput = 2 * data.MaxBytes
	// maxMembers bounds the members of an NPZ file or safetensors file: each costs an entry in memory, and none of
	// more than ten is used.
	maxMembers = 4096
	// maxColumns bounds the columns of a table, and maxRow the bytes of one row, which is held in memory.
	maxColumns = 1 << 17
	maxRow     = 16 << 20
	// maxImages bounds the files of a folder of images, each of which costs an entry in memory.
	maxImages = 1 << 22
	// maxNPYHeader bounds the text that describes an array; NumPy writes about 100 bytes, and reads 10,000.
	maxNPYHeader = 10_000
)

// Kind is what a target is taken for.
type Kind string

// The kinds.
const (
	Guess      Kind = ""           // text and whole numbers 0, 1, 2, … are classes, other numbers are regressed on
	Classes    Kind = "classes"    // each different value is a class
	Regression Kind = "regression" // numbers
)

// Options say how to read a file.
type Options struct {
	// Target names what is to be learnt: columns of a table, separated by commas; the array in an NPZ or safetensors
	// file; a file beside an NPY or IDX file, or a column of the former by its number.
	Target string
	// Test is the share of the examples to hold back, above 0 and below 1, or a file or folder of the same kind that
	// holds them; "" where the file itself has them, or there are none.
	Test string
	// TestTarget is the target of Test where that is a file of its own.
	TestTarget string
	Kind       Kind
	// Drop names columns of a table that are no features.
	Drop []string
}

// Result is what was read.
type Result struct {
	*data.Dataset
	ClassNames   []string // by label
	FeatureNames []string // of a table
	TargetNames  []string
	Format       string
	SHA256       string   // of the file; "" of a folder
	Notes        []string // what a user may want to know
}

// Read reads a file or folder.
func Read(path string, o Options) (*Result, error) {
	f, err := read(path, o)
	if err != nil {
		return nil, err
	}
	share, isShare := 0.0, false
	if o.Test != "" {
		if share, err = strconv.ParseFloat(o.Test, 64); err == nil {
			isShare = true
			if !(share > 0 && share < 1) {
				return nil, fmt.Errorf("%s: the share of test examples must be above 0 and below 1, is %s: give for example 0.2", path, o.Test)
			}
		}
	}
	switch {
	case isShare && f.test != nil:
		return nil, fmt.Errorf("%s has test examples of its own (%s): leave out --test %s", path, f.test.name, o.Test)
	case o.Test != "" && !isShare:
		if f.test != nil {
			return nil, fmt.Errorf("%s has test examples of its own (%s): leave out --test %s", path, f.test.name, o.Test)
		}
		other := o
		if o.TestTarget != "" {
			other.Target = o.TestTarget
		}
		t, err := read(o.Test, other)
		if err != nil {
			return nil, err
		}
		if t.format != f.format {
			return nil, fmt.Errorf("%s is %s, %s is %s: give both in one format", path, f.format, o.Test, t.format)
		}
		if !slices.Equal(t.features, f.features) {
			return nil, fmt.Errorf("%s has other columns (%s) than %s (%s)", o.Test, brief(t.features), path, brief(f.features))
		}
		t.train.name = o.Test
		f.test = &t.train
	}
	r, err := f.dataset(o)
	if err != nil {
		return nil, err
	}
	if isShare {
		if err := HoldOut(r.Dataset, share); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if r.TestSplit.N == 0 {
		r.Notes = append(r.Notes, "no examples are held back: --test 0.2 holds back a fifth of them, and test metrics are then those of unseen examples")
	}
	if err := r.WriteContainer(io.Discard); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		if r.SHA256, err = fileSHA256(path); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// found is what a file holds.
type found struct {
	format   string
	train    part
	test     *part
	features []string // names of columns
	targets  []string
	classes  []string // names where the file lists them
	notes    []string
}

// part is the examples of one split as a file has them.
type part struct {
	name  string // for messages
	n     int
	shape []int
	// The features, example after example: one of the two.
	bytes  []uint8
	floats []float32
	y      answers
}

// answers are what is to be learnt: numbers or text.
type answers struct {
	name    string // for messages
	n       int
	width   int       // numbers of an example
	numbers []float64 // n × width
	text    []string  // n
	whole   bool      // they were written as whole numbers
	bytes   bool      // they are of the type that labels mostly have
}

// formats are the names by which files end.
const formats = "an .npz, .npy, .csv, .tsv, .parquet, .safetensors or IDX file (.csv, .tsv, .npy and IDX also with .gz), or a folder of images by class"

// read reads one file or folder.
func read(path string, o Options) (*found, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, plain(err)
	}
	if info.IsDir() {
		return readFolder(path, o)
	}
	name := strings.ToLower(filepath.Base(path))
	bare := strings.TrimSuffix(name, ".gz")
	switch ext := filepath.Ext(bare); {
	case ext == ".npz":
		return readNPZ(path, o)
	case ext == ".npy":
		return readNPY(path, o)
	case ext == ".csv", ext == ".tsv":
		return readCSV(path, o)
	case ext == ".parquet":
		return readParquet(path, o)
	case ext == ".safetensors":
		return readTensors(path, o)
	case isIDX(path):
		return readIDX(path, o)
	case ext == ".pkl", ext == ".pickle", ext == ".pt", ext == ".pth", ext == ".joblib":
		return nil, fmt.Errorf("%s is a pickle by its name, and reading one runs the code in it: save the arrays with numpy.savez or as safetensors", path)
	}
	return nil, fmt.Errorf("%s: unknown format: give %s", path, formats)
}

// dataset makes a dataset of what was found.
func (f *found) dataset(o Options) (*Result, error) {
	r := &Result{Dataset: &data.Dataset{}, FeatureNames: f.features, TargetNames: f.targets, Format: f.format, Notes: f.notes}
	parts := []*part{&f.train}
	if f.test != nil {
		parts = append(parts, f.test)
	}
	for _, p := range parts {
		switch {
		case p.n == 0:
			return nil, fmt.Errorf("%s has no examples", p.name)
		case p.y.n != p.n:
			return nil, fmt.Errorf("%s has %d examples, but %s has %d: give one answer for each example", p.name, p.n, p.y.name, p.y.n)
		case !slices.Equal(p.shape, f.train.shape):
			return nil, fmt.Errorf("examples of %s are of shape %v, those of %s of %v", p.name, p.shape, f.train.name, f.train.shape)
		case (p.bytes == nil) != (f.train.bytes == nil):
			return nil, fmt.Errorf("only one of %s and %s holds bytes: save both in one type", f.train.name, p.name)
		}
		if err := p.finite(); err != nil {
			return nil, err
		}
	}
	r.Shape, r.Floats = f.train.shape, f.train.bytes == nil
	label, err := f.labels(r, o.Kind)
	if err != nil {
		return nil, err
	}
	for i, s := range []*data.Split{&r.TrainSplit, &r.TestSplit} {
		if i == len(parts) {
			break
		}
		p := parts[i]
		s.N, s.X, s.F = p.n, p.bytes, p.floats
		if label == nil {
			if s.T, err = p.y.targets(r.Dataset); err != nil {
				return nil, err
			}
			continue
		}
		if s.Y, err = label(p.y); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// finite looks for values that are no numbers to learn from.
func (p *part) finite() error {
	size := 1
	for _, d := range p.shape {
		size *= d
	}
	for i, v := range p.floats {
		if v-v != 0 { // NaN or infinite
			return fmt.Errorf("%s: value %d of example %d is %v, or beyond float32: every value must be a finite number", p.name, i%size, i/size, v)
		}
	}
	return nil
}

// labels decides what the answers are. It returns what makes labels of them, nil for regression.
func (f *found) labels(r *Result, kind Kind) (func(answers) ([]uint8, error), error) {
	y := f.train.y
	if y.text != nil {
		if kind == Regression {
			return nil, fmt.Errorf("%s: %q is not a number to regress on: leave out --regression to take the values as classes", y.name, y.text[0])
		}
		return f.textLabels(r, y)
	}
	if kind == Classes && y.width > 1 {
		if _, ok := y.oneHot(); !ok {
			return nil, fmt.Errorf("%s has %d numbers for each example and is not one-hot: classes are one value", y.name, y.width)
		}
		width := y.width
		r.Classes = width
		f.nameClasses(r, nil)
		return func(y answers) ([]uint8, error) {
			labels, ok := y.oneHot()
			if !ok || y.width != width {
				return nil, fmt.Errorf("%s is not one-hot with %d classes", y.name, width)
			}
			return labels, nil
		}, f.checkClassCount(r, y)
	}
	values := y.distinct()
	dense := len(values) >= 2 && values[0] == 0 && values[len(values)-1] == float64(len(values)-1)
	if kind == Guess && y.bytes && y.width == 1 && !dense && len(values) > 1 {
		k := 0
		for k < len(values) && values[k] == float64(k) {
			k++
		}
		return nil, fmt.Errorf("%s: label %v of example %d leaves a gap: labels are 0, 1, 2, … (--classes takes each different value for a class, --regression for a number)",
			y.name, values[k], slices.Index(y.numbers, values[k]))
	}
	if kind == Regression || kind == Guess && !(y.whole && y.width == 1 && dense && len(values) <= data.MaxClasses) {
		if kind == Guess && y.width == 1 && len(values) <= data.MaxClasses && len(values) < y.n/2 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s is taken for numbers to regress on; --classes takes its %d different values for classes", y.name, len(values)))
		}
		r.Targets = y.width
		return nil, nil
	}
	r.Classes = len(values)
	f.nameClasses(r, values)
	if err := f.checkClassCount(r, y); err != nil {
		return nil, err
	}
	return func(y answers) ([]uint8, error) {
		out := make([]uint8, y.n)
		for i, v := range y.numbers {
			k, ok := slices.BinarySearch(values, v)
			if !ok || y.width != 1 {
				return nil, fmt.Errorf("%s: label %v of example %d is none of the %d classes of the training examples", y.name, v, i, len(values))
			}
			out[i] = uint8(k)
		}
		return out, nil
	}, nil
}

func (f *found) checkClassCount(r *Result, y answers) error {
	switch {
	case r.Classes < 2:
		return fmt.Errorf("%s has only one class: there is nothing to tell apart", y.name)
	case r.Classes > data.MaxClasses:
		return fmt.Errorf("%s has %d different values, more than the %d classes that there may be: --regression takes them for numbers", y.name, r.Classes, data.MaxClasses)
	}
	return nil
}

// textLabels makes a class of every different text, in the order of the file's own list or else of the alphabet.
func (f *found) textLabels(r *Result, y answers) (func(answers) ([]uint8, error), error) {
	names := f.classes
	if names == nil {
		names = slices.Compact(slices.Sorted(slices.Values(y.text)))
	}
	r.Classes, r.ClassNames = len(names), names
	if r.Classes > data.MaxClasses {
		return nil, fmt.Errorf("%s has %d different texts, more than the %d classes that there may be; they begin with %s", y.name, r.Classes, data.MaxClasses, brief(names))
	}
	if err := f.checkClassCount(r, y); err != nil {
		return nil, err
	}
	return func(y answers) ([]uint8, error) {
		if y.text == nil {
			return nil, fmt.Errorf("%s has numbers, the training examples' classes are texts", y.name)
		}
		out := make([]uint8, y.n)
		for i, v := range y.text {
			k := slices.Index(names, v)
			if k < 0 {
				return nil, fmt.Errorf("%s: class %.60q of example %d is none of the training examples' (%s)", y.name, v, i, brief(names))
			}
			out[i] = uint8(k)
		}
		return out, nil
	}, nil
}

func (f *found) nameClasses(r *Result, values []float64) {
	for k := range r.Classes {
		name := strconv.Itoa(k)
		if values != nil {
			name = strconv.FormatFloat(values[k], 'g', -1, 64)
		}
		r.ClassNames = append(r.ClassNames, name)
		if len(r.ClassNames) == data.MaxClasses {
			return
		}
	}
}

// distinct returns the different numbers in ascending order.
func (y answers) distinct() []float64 {
	return slices.Compact(slices.Sorted(slices.Values(y.numbers)))
}

// oneHot returns the place of the 1 in every example's numbers; false where they are anything else.
func (y answers) oneHot() ([]uint8, bool) {
	out := make([]uint8, y.n)
	for i := range out {
		row := y.numbers[i*y.width : (i+1)*y.width]
		k := slices.Index(row, 1)
		if k < 0 || k >= data.MaxClasses {
			return nil, false
		}
		for j, v := range row {
			if j != k && v != 0 {
				return nil, false
			}
		}
		out[i] = uint8(k)
	}
	return out, true
}

// targets returns the numbers to regress on.
func (y answers) targets(d *data.Dataset) ([]float32, error) {
	if y.text != nil || y.width != d.Targets {
		return nil, fmt.Errorf("%s does not have %d numbers for each example, as the training examples have", y.name, d.Targets)
	}
	out := make([]float32, len(y.numbers))
	for i, v := range y.numbers {
		out[i] = float32(v)
		if out[i]-out[i] != 0 {
			return nil, fmt.Errorf("%s: target of example %d is %v, or beyond float32: every target must be a finite number", y.name, i/y.width, v)
		}
	}
	return out, nil
}

// brief lists names, not too many.
func brief(names []string) string {
	const most = 8
	var out []string
	for i, n := range names {
		if i == most {
			out = append(out, fmt.Sprintf("… %d in all", len(names)))
			break
		}
		if len(n) > 40 {
			n = strings.ToValidUTF8(n[:40], "") + "…"
		}
		out = append(out, Printable(n))
	}
	return strings.Join(out, ", ")
}

// Printable is a name of a file's as it may be shown: a line break or a terminal's control sequence in it would do
// something else.
func Printable(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
}

// fileSHA256 returns the digest of a file.
func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", plain(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// TargetIsFile reports whether the target of the file at path is a file of its own: of formats that hold one array.
func TargetIsFile(path, target string) bool {
	if target == "" {
		return false
	}
	_, err := strconv.Atoi(target)
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	return filepath.Ext(name) == ".npy" && err != nil || isIDX(path)
}

// isIDX reports whether a file is in the format IDX by its name: x-images-idx3-ubyte, x-images.idx3-ubyte.gz.
func isIDX(path string) bool {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".gz")
	return strings.HasSuffix(name, "ubyte") || strings.HasSuffix(name, ".idx") || idxName.MatchString(name)
}

var idxName = regexp.MustCompile(`idx[1-9](-[a-z0-9]+)?$`)
