package results

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// Compare holds the files of a folder of results against those of one that was computed
// again, and names the first difference in each: the cell of a table, the field of a
// JSON file, the value of a step. What another program has drawn or laid out for people
// is not compared: its content is in the other files.
//
// Unless the whole experiment was made again, the per-step data of its runs are all that
// is compared. The folder has a provenance.
func Compare(dir, again string, recorded *Recorded, whole bool) (differences []Difference, compared int, err error) {
	same := recorded.Provenance.Program == thisProgram()
	skip := func(name string) bool {
		if !whole {
			return !recorded.hasSteps(name)
		}
		switch name {
		case sourceFile, provenanceFile: // say nothing of the runs
			return true
		case "summary.txt":
			return !same
		}
		return strings.HasPrefix(name, "plots/") && !same
	}
	have, err := sumsOf(dir)
	if err != nil {
		return nil, 0, err
	}
	want, err := sumsOf(again)
	if err != nil {
		return nil, 0, err
	}
	for _, name := range sortedKeys(want) {
		switch {
		case skip(name):
			continue
		case have[name] == "":
			differences = append(differences, Difference{File: name, What: "is missing"})
		case have[name] != want[name]:
			d, err := difference(filepath.Join(dir, filepath.FromSlash(name)), filepath.Join(again, filepath.FromSlash(name)))
			if err != nil {
				d = &Difference{What: "cannot be read: " + err.Error()}
			}
			d.File = name
			differences = append(differences, *d)
		}
		compared++
	}
	for _, name := range sortedKeys(have) {
		if want[name] == "" && whole && !skip(name) {
			differences = append(differences, Difference{File: name, What: "is not among what the runs give"})
		}
	}
	return differences, compared, nil
}

// hasSteps reports whether a file has the per-step data of a run whose end is recorded.
func (r *Recorded) hasSteps(name string) bool {
	run, ok := strings.CutPrefix(strings.TrimSuffix(name, ".parquet"), "steps/")
	_, ended := outcomes[r.runs[run].GetState()]
	return ok && ended
}

// difference names the first place where two files differ, by what is in them.
func difference(have, want string) (*Difference, error) {
	if strings.HasSuffix(have, ".parquet") {
		return parquetDifference(have, want)
	}
	a, err := os.ReadFile(have)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(want)
	if err != nil {
		return nil, err
	}
	var d *Difference
	switch filepath.Ext(have) {
	case ".csv":
		d, err = csvDifference(a, b)
	case ".json":
		d, err = jsonDifference(a, b)
	default:
		d = textDifference(a, b)
	}
	if d == nil && err == nil {
		d = textDifference(a, b) // in white space, or the order of fields
	}
	return d, err
}

func unlike(where, have, want string) *Difference {
	return &Difference{Where: where, Have: have, Want: want, What: "differs from what the runs give"}
}

func csvDifference(a, b []byte) (*Difference, error) {
	read := func(b []byte) ([][]string, error) {
		r := csv.NewReader(bytes.NewReader(b))
		r.FieldsPerRecord = -1
		return r.ReadAll()
	}
	have, err := read(a)
	if err != nil {
		return nil, err
	}
	want, err := read(b)
	if err != nil {
		return nil, err
	}
	for i := range min(len(have), len(want)) {
		for k := range max(len(have[i]), len(want[i])) {
			x, y := at(have[i], k), at(want[i], k)
			if x != y {
				return unlike(fmt.Sprintf("line %d, %s", i+1, at(want[0], k)), x, y), nil
			}
		}
	}
	if len(have) != len(want) {
		return unlike("number of lines", strconv.Itoa(len(have)), strconv.Itoa(len(want))), nil
	}
	return nil, nil
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

func jsonDifference(a, b []byte) (*Difference, error) {
	read := func(b []byte) (v any, err error) {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		return v, dec.Decode(&v)
	}
	have, err := read(a)
	if err != nil {
		return nil, err
	}
	want, err := read(b)
	if err != nil {
		return nil, err
	}
	return valueDifference("", have, want), nil
}

func valueDifference(path string, have, want any) *Difference {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			break
		}
		keys := sortedKeys(w)
		for k := range h {
			if _, both := w[k]; !both {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			if d := valueDifference(strings.TrimPrefix(path+"."+k, "."), h[k], w[k]); d != nil {
				return d
			}
		}
		return nil
	case []any:
		h, ok := have.([]any)
		if !ok {
			break
		}
		for i := range min(len(h), len(w)) {
			if d := valueDifference(fmt.Sprintf("%s[%d]", path, i), h[i], w[i]); d != nil {
				return d
			}
		}
		if len(h) != len(w) {
			return unlike(path, fmt.Sprintf("%d entries", len(h)), fmt.Sprintf("%d entries", len(w)))
		}
		return nil
	}
	x, _ := json.Marshal(have)
	y, _ := json.Marshal(want)
	if bytes.Equal(x, y) {
		return nil
	}
	return unlike(path, clip(string(x)), clip(string(y)))
}

func textDifference(a, b []byte) *Difference {
	have, want := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range max(len(have), len(want)) {
		if x, y := at(have, i), at(want, i); x != y {
			x, y = tails(x, y)
			return unlike(fmt.Sprintf("line %d", i+1), clip(x), clip(y))
		}
	}
	return unlike("", fmt.Sprintf("%d bytes", len(a)), fmt.Sprintf("%d bytes", len(b)))
}

// tails are what is left of two lines from a little before they differ.
func tails(x, y string) (string, string) {
	const before = 12
	a, b := []rune(x), []rune(y)
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	if n <= before {
		return x, y
	}
	return "…" + string(a[n-before:]), "…" + string(b[n-before:])
}

// clip bounds what is shown of a value.
func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// parquetDifference finds the first row in which two files of per-step data differ.
func parquetDifference(have, want string) (*Difference, error) {
	a, err := openSteps(have)
	if err != nil {
		return nil, err
	}
	defer a.close()
	b, err := openSteps(want)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for {
		x, more, err := a.next()
		if err != nil {
			return nil, err
		}
		y, others, err := b.next()
		if err != nil {
			return nil, err
		}
		switch {
		case !more && !others:
			return unlike("", "other bytes", "the same values"), nil
		case !more || !others:
			return unlike("number of values", strconv.FormatInt(a.rows(), 10), strconv.FormatInt(b.rows(), 10)), nil
		case x.place() != y.place():
			return unlike("row of "+y.place(), x.place(), y.place()), nil
		case math.Float32bits(x.Value) != math.Float32bits(y.Value):
			return unlike(y.place(), fmt.Sprint(x.Value), fmt.Sprint(y.Value)), nil
		case x.labels() != y.labels():
			return unlike(y.place(), x.labels(), y.labels()), nil
		}
	}
}

func (r stepRow) place() string {
	return fmt.Sprintf("%s at step %d", columnName(r.Metric, r.Layer), r.Step)
}

func (r stepRow) labels() string {
	return fmt.Sprintf("%s %s %s %s %s seed %d task %d", r.Experiment, r.Arm, r.Trial, r.Params, r.Stage, r.Seed, r.Task)
}

// stepFile reads per-step data row by row.
type stepFile struct {
	file *os.File
	r    *parquet.GenericReader[stepRow]
	buf  []stepRow
	read []stepRow // of buf, those that are left
}

func openSteps(path string) (f *stepFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if x := recover(); x != nil { // the library, on files that are damaged
			err = fmt.Errorf("no Parquet file: %v", x)
		}
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	opened, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		return nil, err
	}
	return &stepFile{file: file, r: parquet.NewGenericReader[stepRow](opened), buf: make([]stepRow, rowsPerWrite)}, nil
}

func (f *stepFile) rows() int64 { return f.r.NumRows() }

func (f *stepFile) next() (row stepRow, ok bool, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("no Parquet file: %v", x)
		}
	}()
	if len(f.read) == 0 {
		n, err := f.r.Read(f.buf)
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return stepRow{}, false, err
		}
		f.read = f.buf[:n]
	}
	row, f.read = f.read[0], f.read[1:]
	return row, true, nil
}

func (f *stepFile) close() { _, _ = f.r.Close(), f.file.Close() }
