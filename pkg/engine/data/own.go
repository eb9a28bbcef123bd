package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"neoteny/pkg/engine/safetensors"
)

// Own datasets are those that are not in the catalogue: a user's. One is kept in a single file, a safetensors file
// of which there is exactly one for each content, so that its SHA-256 identifies the content: shape and type of the
// features, all values, labels or targets, number of classes, splits. Names, also those of classes, are not in it.
//
// Tensors: "train.x", and "test.x" where examples are held back, U8 or F32 [examples, shape...]; "train.y" and
// "test.y", U8 [examples] for labels or F32 [examples, targets] for regression. Metadata: the format, and the number
// of classes.

// Container is the format of own datasets.
const Container Format = "container"

// OwnFolder is the folder in a data folder that own datasets are in, each in a file named [ContainerFile].
const OwnFolder = "own"

// Limits of an own dataset. Every worker process holds it in memory, and indexes of examples and inputs are int32.
const (
	// MaxBytes bounds its values: twice that is needed while it is read.
	MaxBytes = 2 << 30
	// MaxClasses is how many classes a label of one byte tells apart.
	MaxClasses = 256
	// MaxFeatures bounds the values of one example: a network's first layer has them times its units of weights.
	MaxFeatures = 1 << 24
	// MaxTargets bounds the numbers that are regressed on at once.
	MaxTargets = 1 << 12
	// MaxDims bounds the dimensions of an example.
	MaxDims = 6

	maxExamples = 1<<31 - 1
	maxHeader   = 4096 // of the file; what it holds is a few lines
)

const containerFormat = "neoteny-dataset-1"

// ContainerFile returns the name of the file that holds an own dataset.
func ContainerFile(sha256 string) string { return sha256 + ".safetensors" }

// refPrefix tells references to own datasets from names of the catalogue.
const refPrefix = "own:"

// IsRef reports whether a dataset's name in a spec is a reference to an own dataset.
func IsRef(name string) bool { return strings.HasPrefix(name, refPrefix) }

// Ref returns the reference that names an own dataset in a spec. It says all that must be known about the dataset
// to check a spec without it, and its content's SHA-256:
//
//	own:float32:4:classes=3:fewest=40:train=120:test=30:sha256=<64 hex digits>
//	own:bytes:3x32x32:…
//	own:float32:10:targets=1:train=353:test=89:sha256=<64 hex digits>
func (m Meta) Ref() string {
	kind := "bytes"
	if m.Floats {
		kind = "float32"
	}
	shape := make([]string, len(m.Shape))
	for i, d := range m.Shape {
		shape[i] = strconv.Itoa(d)
	}
	answer := fmt.Sprintf("classes=%d:fewest=%d", m.Classes, m.Fewest)
	if m.Classes == 0 {
		answer = fmt.Sprintf("targets=%d", m.Targets)
	}
	return fmt.Sprintf("%s%s:%s:%s:train=%d:test=%d:sha256=%s", refPrefix, kind, strings.Join(shape, "x"), answer, m.Train, m.Test, m.Files[0].SHA256)
}

// ParseRef reads what Ref writes, and nothing else.
func ParseRef(ref string) (Meta, error) {
	bad := func(what string) (Meta, error) {
		return Meta{}, fmt.Errorf("%.200q is no reference to an own dataset: %s; give the dataset's name or path, `neoteny data list` shows the names", ref, what)
	}
	parts := strings.Split(strings.TrimPrefix(ref, refPrefix), ":")
	m := Meta{Name: ref, Source: "own data", Format: Container}
	take := func(key string) (v string) {
		if len(parts) > 0 && strings.HasPrefix(parts[0], key) {
			v, parts = parts[0][len(key):], parts[1:]
		}
		return v
	}
	number := func(key string) int {
		n, err := strconv.Atoi(take(key))
		if err != nil || n > maxExamples {
			return -1
		}
		return n
	}
	switch take("") {
	case "bytes":
	case "float32":
		m.Floats = true
	default:
		return bad("its type must be bytes or float32")
	}
	for _, d := range strings.Split(take(""), "x") {
		n, _ := strconv.Atoi(d)
		m.Shape = append(m.Shape, n)
	}
	if len(parts) > 0 && strings.HasPrefix(parts[0], "targets=") {
		m.Targets = number("targets=")
	} else {
		m.Classes, m.Fewest = number("classes="), number("fewest=")
	}
	m.Train, m.Test = number("train="), number("test=")
	digest := take("sha256=")
	if raw, err := hex.DecodeString(digest); err != nil || len(raw) != sha256.Size || digest != strings.ToLower(digest) {
		return bad("it must end in sha256= and 64 hex digits")
	}
	m.Files = []File{{Name: ContainerFile(digest), SHA256: digest}}
	if err := m.checkSizes(); err != nil {
		return bad(err.Error())
	}
	m.Files[0].Bytes = m.valueBytes() + maxHeader
	m.Title = "own dataset " + digest[:12]
	if len(parts) > 0 || m.Ref() != ref { // one spelling only: run keys are made of it
		return bad("it is not written as `neoteny data show` writes it")
	}
	return m, nil
}

// checkSizes checks what a description of an own dataset says against the limits.
func (m Meta) checkSizes() error {
	if len(m.Shape) < 1 || len(m.Shape) > MaxDims {
		return fmt.Errorf("an example must have between 1 and %d dimensions, has %d", MaxDims, len(m.Shape))
	}
	size := 1
	for _, d := range m.Shape {
		if d < 1 || d > MaxFeatures || size*d > MaxFeatures {
			return fmt.Errorf("an example must have between 1 and %d values, its shape is %v", MaxFeatures, m.Shape)
		}
		size *= d
	}
	switch {
	case m.Train < 1 || m.Train > maxExamples || m.Test < 0 || m.Test > maxExamples:
		return fmt.Errorf("there must be between 1 and %d training examples, and as many held-out ones at most: there are %d and %d", maxExamples, m.Train, m.Test)
	case m.Classes == 0 && (m.Targets < 1 || m.Targets > MaxTargets):
		return fmt.Errorf("there must be between 1 and %d targets, there are %d", MaxTargets, m.Targets)
	case m.Classes != 0 && (m.Classes < 2 || m.Classes > MaxClasses || m.Targets != 0):
		return fmt.Errorf("there must be between 2 and %d classes, there are %d", MaxClasses, m.Classes)
	case m.Classes != 0 && (m.Fewest < 1 || m.Fewest > m.Train/m.Classes):
		return fmt.Errorf("every class must have a training example, and the smallest its share of the %d at most: it has %d", m.Train, m.Fewest)
	case m.valueBytes() > MaxBytes:
		return fmt.Errorf("its values have %d bytes, more than the %d that every worker would hold in memory", m.valueBytes(), int64(MaxBytes))
	}
	return nil
}

// valueBytes returns the bytes of all values.
func (m Meta) valueBytes() int64 {
	x, y := int64(m.Size()), int64(1)
	if m.Floats {
		x *= 4
	}
	if m.Classes == 0 {
		y = 4 * int64(m.Targets)
	}
	if n := int64(m.Train) + int64(m.Test); n <= math.MaxInt64/(x+y) {
		return n * (x + y)
	}
	return math.MaxInt64
}

// Label returns the name by which messages speak of the dataset.
func (m Meta) Label() string {
	if m.Format == Container && IsRef(m.Name) {
		return m.Title
	}
	return m.Name
}

// Describe makes a dataset's description from its content: of Meta it takes Shape, Floats, Classes and Targets.
// Its name is the reference to it.
func (d *Dataset) describe(digest string) {
	d.Train, d.Test = d.TrainSplit.N, d.TestSplit.N
	d.Format, d.Source = Container, "own data"
	d.Files = []File{{Name: ContainerFile(digest), SHA256: digest}}
	d.Fewest = 0
	if d.Classes > 0 {
		count := make([]int, d.Classes)
		for _, y := range d.TrainSplit.Y {
			count[y]++
		}
		d.Fewest = slices.Min(count)
	}
	d.Files[0].Bytes = d.valueBytes() + maxHeader
	d.Title = "own dataset " + digest[:12]
	d.Name = d.Ref()
}

// WriteContainer writes an own dataset, of which Shape, Floats, Classes, Targets and the splits are given, and sets
// the rest of its description. Equal content makes equal bytes.
func (d *Dataset) WriteContainer(w io.Writer) error {
	if err := d.checkContent(); err != nil {
		return err
	}
	f := d.container()
	h := sha256.New()
	if err := safetensors.Encode(io.MultiWriter(w, h), f); err != nil {
		return err
	}
	d.describe(hex.EncodeToString(h.Sum(nil)))
	return nil
}

// container returns the file that holds a dataset.
func (d *Dataset) container() *safetensors.File {
	f := &safetensors.File{Metadata: map[string]string{"format": containerFormat, "classes": strconv.Itoa(d.Classes)}}
	add := func(name string, shape []int, bytes []uint8, floats []float32) {
		t := safetensors.Tensor{Name: name, DType: "U8", Shape: shape, Data: bytes}
		if bytes == nil {
			t.DType, t.Data = "F32", make([]byte, 0, 4*len(floats))
			for _, v := range floats {
				t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
			}
		}
		f.Tensors = append(f.Tensors, t)
	}
	for _, part := range []struct {
		name  string
		split *Split
	}{{"train", &d.TrainSplit}, {"test", &d.TestSplit}} {
		s := part.split
		if s.N == 0 {
			continue
		}
		add(part.name+".x", append([]int{s.N}, d.Shape...), s.X, s.F)
		if d.Classes > 0 {
			add(part.name+".y", []int{s.N}, s.Y, nil)
		} else {
			add(part.name+".y", []int{s.N, d.Targets}, nil, s.T)
		}
	}
	return f
}

// checkContent checks an own dataset whose Shape, Floats, Classes, Targets and splits are set.
func (d *Dataset) checkContent() error {
	m := d.Meta
	m.Train, m.Test, m.Fewest = d.TrainSplit.N, d.TestSplit.N, 0
	if m.Classes > 0 && m.Classes <= MaxClasses {
		count := make([]int, m.Classes)
		for _, part := range d.parts() {
			if len(part.split.Y) != part.split.N {
				return fmt.Errorf("%s split: %d labels for %d examples", part.name, len(part.split.Y), part.split.N)
			}
			for i, y := range part.split.Y {
				if int(y) >= m.Classes {
					return fmt.Errorf("%s split: label %d of example %d is not below the %d classes", part.name, y, i, m.Classes)
				}
				if part.split == &d.TrainSplit {
					count[y]++
				}
			}
		}
		m.Fewest = slices.Min(count)
		if m.Fewest == 0 {
			return fmt.Errorf("class %d has no training example", slices.Index(count, 0))
		}
	}
	if err := m.checkSizes(); err != nil {
		return err
	}
	for _, part := range d.parts() {
		s, floats, bytes, targets := part.split, 0, part.split.N*m.Size(), part.split.N*m.Targets
		if m.Floats {
			floats, bytes = bytes, 0
		}
		if len(s.X) != bytes || len(s.F) != floats || len(s.T) != targets {
			return fmt.Errorf("%s split: its values are not those of %d examples of shape %v", part.name, s.N, m.Shape)
		}
		if i := notFinite(s.F); i >= 0 {
			return fmt.Errorf("%s split: value %d of example %d is %v", part.name, i%m.Size(), i/m.Size(), s.F[i])
		}
		if i := notFinite(s.T); i >= 0 {
			return fmt.Errorf("%s split: target of example %d is %v", part.name, i/m.Targets, s.T[i])
		}
	}
	return nil
}

type namedSplit struct {
	name  string
	split *Split
}

func (d *Dataset) parts() []namedSplit {
	return []namedSplit{{"train", &d.TrainSplit}, {"test", &d.TestSplit}}
}

// notFinite returns the place of the first value that is NaN or infinite, -1 for none.
func notFinite(values []float32) int {
	return slices.IndexFunc(values, func(v float32) bool { return math.Float32bits(v)>>23&0xff == 0xff })
}

// ReadContainer reads an own dataset. It is strict: what WriteContainer would not write is an error, so that there is
// one file for each content. The result may alias b.
func ReadContainer(b []byte) (*Dataset, error) {
	f, err := safetensors.Decode(b)
	if err != nil {
		return nil, err
	}
	if got := f.Metadata["format"]; got != containerFormat {
		return nil, fmt.Errorf("it is no dataset of neoteny: format is %.40q, want %q", got, containerFormat)
	}
	d := &Dataset{}
	if d.Classes, err = strconv.Atoi(f.Metadata["classes"]); err != nil || d.Classes < 0 {
		return nil, fmt.Errorf("metadata classes is %.40q, want a number", f.Metadata["classes"])
	}
	tensors := f.ByName()
	used := 0
	for _, part := range d.parts() {
		x, given := tensors[part.name+".x"]
		if !given {
			continue
		}
		if len(x.Shape) < 2 || x.Shape[0] < 1 {
			return nil, fmt.Errorf("%s.x is of shape %.40s, want examples and their shape", part.name, fmt.Sprint(x.Shape))
		}
		if part.split == &d.TrainSplit {
			d.Shape, d.Floats = x.Shape[1:], x.DType == "F32"
		}
		if !slices.Equal(d.Shape, x.Shape[1:]) {
			return nil, fmt.Errorf("%s.x has examples of shape %.40s, train.x of %.40s", part.name, fmt.Sprint(x.Shape[1:]), fmt.Sprint(d.Shape))
		}
		y := tensors[part.name+".y"]
		part.split.N = x.Shape[0]
		switch x.DType {
		case "U8":
			part.split.X = x.Data
		case "F32":
			part.split.F = floats(x.Data)
		}
		switch {
		case d.Classes > 0 && y.DType == "U8" && len(y.Shape) == 1:
			part.split.Y = y.Data
		case d.Classes == 0 && y.DType == "F32" && len(y.Shape) == 2:
			d.Targets = y.Shape[1]
			part.split.T = floats(y.Data)
		}
		used += 2
	}
	if err := d.checkContent(); err != nil {
		return nil, err
	}
	// Whatever else could differ (padding, order) shows when it is written again.
	same := &compare{rest: b}
	if err := safetensors.Encode(same, f); err != nil {
		return nil, err
	}
	if same.differs || len(same.rest) > 0 || used != len(f.Tensors) || len(f.Metadata) != 2 || f.Metadata["classes"] != strconv.Itoa(d.Classes) {
		return nil, errors.New("it is not written as neoteny writes it")
	}
	sum := sha256.Sum256(b)
	d.describe(hex.EncodeToString(sum[:]))
	return d, nil
}

func floats(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

// compare compares what is written with bytes that there are.
type compare struct {
	rest    []byte
	differs bool
}

func (c *compare) Write(p []byte) (int, error) {
	n := min(len(p), len(c.rest))
	c.differs = c.differs || n < len(p) || !bytes.Equal(p, c.rest[:n])
	c.rest = c.rest[n:]
	return len(p), nil
}

// decodeContainer reads the one file of a dataset in the format Container. What is read is what meta says, or a
// *contentError.
func decodeContainer(r io.Reader, meta Meta) (*Dataset, error) {
	file := meta.Files[0]
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, file.Bytes+1))
	if err != nil {
		return nil, err
	}
	if n > file.Bytes {
		return nil, badContent("holds more than %d bytes", file.Bytes)
	}
	if sum := sha256.Sum256(b.Bytes()); hex.EncodeToString(sum[:]) != file.SHA256 {
		return nil, badContent("SHA-256 is %s, want %s", hex.EncodeToString(sum[:]), file.SHA256)
	}
	d, err := ReadContainer(b.Bytes())
	if err != nil {
		return nil, badContent("%v", err)
	}
	got := d.Ref()
	d.Name, d.Title, d.Source, d.Files = meta.Name, meta.Title, meta.Source, meta.Files
	if want := (Meta{Shape: meta.Shape, Floats: meta.Floats, Classes: meta.Classes, Targets: meta.Targets, Fewest: meta.Fewest, Train: meta.Train, Test: meta.Test, Files: meta.Files}).Ref(); got != want {
		return nil, badContent("holds %s, want %s", got, want)
	}
	return d, nil
}
