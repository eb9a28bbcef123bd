package datastore

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"neoteny/internal/dataimport"
	"neoteny/pkg/engine/data"
)

// Some datasets of the catalogue are made of small tables that distributions package with Python's libraries. What is
// made is one container, whose SHA-256 the catalogue has: it tells whether the tables were the right ones, however
// they are spelled (a release of scikit-learn writes 4.804 where another writes 4.803999999999999).

// recipe is how a dataset is made of the tables of a package.
type recipe struct {
	files []string // names of the tables; that of the content where one ends in .gz and the other does not
	build func(tables [][][]string) (*data.Dataset, error)
}

const (
	sklearn     = "/usr/lib/python3/dist-packages/sklearn/datasets/data"
	statsmodels = "/usr/lib/python3/dist-packages/statsmodels/datasets"

	// heldOut is the share of the examples that is held back.
	heldOut = 0.2
	// maxTable bounds a table; the largest has 264,712 bytes.
	maxTable = 1 << 22
)

// recipes returns the recipes by dataset.
func recipes() map[string]recipe {
	return map[string]recipe{
		"breast-cancer": {[]string{"breast_cancer.csv"}, func(t [][][]string) (*data.Dataset, error) { return labelled(t[0], 1, 30, 2, 30) }},
		"digits":        {[]string{"digits.csv.gz"}, func(t [][][]string) (*data.Dataset, error) { return labelled(t[0], 0, 64, 10, 8, 8) }},
		"iris":          {[]string{"iris.csv"}, func(t [][][]string) (*data.Dataset, error) { return labelled(t[0], 1, 4, 3, 4) }},
		"wine":          {[]string{"wine_data.csv"}, func(t [][][]string) (*data.Dataset, error) { return labelled(t[0], 1, 13, 3, 13) }},
		"diabetes":      {[]string{"diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"}, diabetes},
		"sunspots":      {[]string{"sunspots.csv"}, sunspots},
		"co2":           {[]string{"co2.csv"}, co2},
	}
}

// labelled makes a dataset of a table whose rows are features and a label behind them. Skip is the number of rows
// before the first. A fifth of every class is held back.
func labelled(rows [][]string, skip, features, classes int, shape ...int) (*data.Dataset, error) {
	d := &data.Dataset{Meta: data.Meta{Shape: shape, Floats: true, Classes: classes}}
	if len(rows) < skip {
		return nil, errors.New("the table is too short")
	}
	for i, row := range rows[skip:] {
		if len(row) != features+1 {
			return nil, fmt.Errorf("row %d has %d cells, want %d", i+skip, len(row), features+1)
		}
		values, err := numbers(row)
		if err != nil {
			return nil, err
		}
		label := values[features]
		if !(label >= 0 && label < float64(classes)) {
			return nil, fmt.Errorf("row %d has the label %v", i+skip, label)
		}
		for _, v := range values[:features] {
			d.TrainSplit.F = append(d.TrainSplit.F, float32(v))
		}
		d.TrainSplit.Y = append(d.TrainSplit.Y, uint8(label))
		d.TrainSplit.N++
	}
	return d, dataimport.HoldOut(d, heldOut)
}

// diabetes makes a dataset of two tables: ten measurements of 442 patients, and how far the illness has gone a year on.
func diabetes(tables [][][]string) (*data.Dataset, error) {
	d := &data.Dataset{Meta: data.Meta{Shape: []int{10}, Floats: true, Targets: 1}}
	if len(tables[0]) != len(tables[1]) {
		return nil, errors.New("the tables differ in length")
	}
	for i, row := range tables[0] {
		values, err := numbers(row)
		if err != nil {
			return nil, err
		}
		target, err := numbers(tables[1][i])
		if err != nil {
			return nil, err
		}
		if len(values) != 10 || len(target) != 1 {
			return nil, fmt.Errorf("row %d has %d and %d cells, want 10 and 1", i, len(values), len(target))
		}
		for _, v := range values {
			d.TrainSplit.F = append(d.TrainSplit.F, float32(v))
		}
		d.TrainSplit.T = append(d.TrainSplit.T, float32(target[0]))
		d.TrainSplit.N++
	}
	return d, dataimport.HoldOut(d, heldOut)
}

// sunspots predicts the number of a year from those of the 11 before, a cycle of the sun. The last fifth is held back.
func sunspots(tables [][][]string) (*data.Dataset, error) {
	var series []float64
	for i, row := range tables[0] {
		if i == 0 {
			continue // the header
		}
		if len(row) != 2 {
			return nil, fmt.Errorf("row %d has %d cells, want 2", i, len(row))
		}
		v, err := numbers(row[1:])
		if err != nil {
			return nil, err
		}
		series = append(series, v...)
	}
	return windows(series, 11)
}

// co2 predicts the mean of a month from those of the 12 before. A month without a measurement has the mean of the next
// one that has some, as in the examples of statsmodels. The last fifth is held back.
func co2(tables [][][]string) (*data.Dataset, error) {
	type month struct {
		number int
		sum    float64
		n      float64
	}
	var months []month
	for i, row := range tables[0] {
		if i == 0 {
			continue // the header
		}
		if len(row) != 2 || len(row[0]) != 8 {
			return nil, fmt.Errorf("row %d is none of a date and a number", i)
		}
		date, err := strconv.Atoi(row[0][:6])
		if err != nil {
			return nil, fmt.Errorf("row %d is none of a date and a number", i)
		}
		number := date/100*12 + date%100 - 1
		for len(months) == 0 || months[len(months)-1].number < number {
			next := number
			if len(months) > 0 {
				next = months[len(months)-1].number + 1
			}
			if months = append(months, month{number: next}); len(months) > 1<<12 {
				return nil, fmt.Errorf("row %d is too far from the first", i)
			}
		}
		if row[1] == "" {
			continue
		}
		v, err := numbers(row[1:])
		if err != nil {
			return nil, err
		}
		m := &months[len(months)-1]
		m.sum, m.n = m.sum+v[0], m.n+1
	}
	series := make([]float64, len(months))
	for i := len(months) - 1; i >= 0; i-- {
		switch m := months[i]; {
		case m.n > 0:
			series[i] = m.sum / m.n
		case i+1 < len(months):
			series[i] = series[i+1]
		default:
			return nil, errors.New("the last month has no measurement")
		}
	}
	return windows(series, 12)
}

// windows makes a dataset of a series: a value is the target of the n before it.
func windows(series []float64, n int) (*data.Dataset, error) {
	d := &data.Dataset{Meta: data.Meta{Shape: []int{n}, Floats: true, Targets: 1}}
	count := len(series) - n
	for i := range max(0, count) {
		s := &d.TrainSplit
		if i >= count-count/5 {
			s = &d.TestSplit
		}
		for _, v := range series[i : i+n] {
			s.F = append(s.F, float32(v))
		}
		s.T = append(s.T, float32(series[i+n]))
		s.N++
	}
	return d, nil
}

func numbers(row []string) ([]float64, error) {
	out := make([]float64, len(row))
	for i, cell := range row {
		v, err := strconv.ParseFloat(cell, 64)
		if err != nil {
			return nil, fmt.Errorf("%.40q is not a number", cell)
		}
		out[i] = v
	}
	return out, nil
}

// importMade makes a dataset of the tables in a folder, that of the package where from is "".
func (s *store) importMade(ctx context.Context, meta data.Meta, r recipe, from string) error {
	o := s.origins[meta.Name]
	place := from
	if place == "" {
		place = o.folder
	}
	if info, err := os.Stat(place); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is no folder: %s", place, o.advice(meta.Name))
	}
	// A copy of the container will do as well, from another data folder say.
	if err := s.importAll(ctx, meta, place, openFolder(place, meta.Name)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tables := make([][][]string, len(r.files))
	for i, name := range r.files {
		var err error
		if tables[i], err = readTable(place, name); err != nil {
			return fmt.Errorf("%w: %s", err, o.advice(meta.Name))
		}
	}
	d, err := r.build(tables)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", strings.Join(r.files, " and "), place, err)
	}
	var b bytes.Buffer
	if err := d.WriteContainer(&b); err != nil {
		return fmt.Errorf("%s of %s: %w", strings.Join(r.files, " and "), place, err)
	}
	if got := d.Digest(); got != meta.Digest() {
		return fmt.Errorf("%s of %s are not the published tables: the dataset made of them has SHA-256 %s, want %s", strings.Join(r.files, " and "), place, got, meta.Digest())
	}
	target := s.path(meta, meta.Files[0])
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return &writeError{err}
	}
	if err := placeFile(target, b.Bytes()); err != nil {
		return &writeError{err}
	}
	s.log.InfoContext(ctx, "dataset made", "dataset", meta.Name, "from", place, "folder", filepath.Dir(target))
	return nil
}

// readTable reads a table of commas or spaces, compressed or not.
func readTable(folder, name string) ([][]string, error) {
	bare := strings.TrimSuffix(name, ".gz")
	var f *os.File
	var err error
	for _, path := range []string{name, bare, bare + ".gz"} {
		if f, err = openRegular(filepath.Join(folder, path)); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(f.Name(), ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxTable+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if len(b) > maxTable {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), maxTable)
	}
	c := csv.NewReader(bytes.NewReader(b))
	c.FieldsPerRecord = -1
	rows, err := c.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for i, row := range rows {
		if len(row) == 1 && strings.Contains(row[0], " ") {
			rows[i] = slices.Collect(strings.FieldsSeq(row[0]))
		}
	}
	return rows, nil
}
