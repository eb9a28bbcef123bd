package dataimport

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// rowReader bounds the bytes that one row may have.
type rowReader struct {
	r    io.Reader
	left int
	// The first bytes of a file are looked at before they are read.
	head []byte
}

var errLongRow = fmt.Errorf("has more than %d bytes: a quote may be missing its partner", maxRow)

func (r *rowReader) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	if r.left <= 0 {
		return 0, errLongRow
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// readCSV reads a table in text: commas, tabs in a .tsv, or semicolons where the first line has no comma. The first
// line has the names of the columns unless all in it are numbers.
func readCSV(file string, o Options) (*found, error) {
	in, err := open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	rows := &rowReader{r: in, left: maxRow}
	head := make([]byte, 1<<16)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%s: %w", file, short(err))
	}
	head = head[:n]
	rows.head = []byte(strings.TrimPrefix(string(head), "\ufeff"))
	if slices.Contains(head, 0) {
		return nil, fmt.Errorf("%s is no text: it has bytes of value 0 (UTF-16 must be saved as UTF-8)", file)
	}
	format := "CSV"
	r := csv.NewReader(rows)
	r.ReuseRecord = true
	line, _, _ := strings.Cut(string(head), "\n")
	switch {
	case strings.HasSuffix(strings.TrimSuffix(strings.ToLower(file), ".gz"), ".tsv"):
		r.Comma, format = '\t', "TSV"
	case !strings.Contains(line, ",") && strings.Contains(line, ";"):
		r.Comma = ';'
	}
	next := func() ([]string, error) {
		rows.left = maxRow
		row, err := r.Read()
		if err == nil || errors.Is(err, io.EOF) {
			return row, err
		}
		pe := (*csv.ParseError)(nil)
		switch {
		case errors.As(err, &pe) && errors.Is(err, csv.ErrFieldCount):
			return nil, fmt.Errorf("%s: line %d has %d cells, the first line has %d: every line has as many, and quotes stand about a cell with a separator in it", file, pe.StartLine, len(row), r.FieldsPerRecord)
		case errors.Is(err, errLongRow):
			return nil, fmt.Errorf("%s: the row behind byte %d %w", file, r.InputOffset(), errLongRow)
		case errors.As(err, &pe):
			return nil, fmt.Errorf("%s: line %d, column %d: %w", file, pe.Line, pe.Column, pe.Err)
		}
		return nil, fmt.Errorf("%s: %w", file, short(err))
	}
	row, err := next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s has no rows", file)
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(row))
	header := slices.ContainsFunc(row, func(cell string) bool {
		_, err := strconv.ParseFloat(strings.TrimSpace(cell), 64)
		return err != nil
	})
	for i, cell := range row {
		names[i] = strconv.Itoa(i)
		if header {
			names[i] = strings.TrimSpace(strings.Clone(cell))
			if !utf8.ValidString(names[i]) {
				return nil, fmt.Errorf("%s: the name of column %d is not UTF-8: save the file as UTF-8", file, i)
			}
		}
	}
	t, err := newTable(file, format, names, o)
	if err != nil {
		return nil, err
	}
	number := 0
	if !header {
		number = 1
		if err := t.row(row, number, 1); err != nil {
			return nil, err
		}
	}
	for {
		row, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		number++
		at, _ := r.FieldPos(0)
		if err := t.row(row, number, at); err != nil {
			return nil, err
		}
	}
	return t.end()
}

// missing are spellings of a cell without a value.
var missing = []string{"", "na", "n/a", "nan", "null", "none", "?", "-"}

// row adds a row of text.
func (t *table) row(cells []string, number, line int) error {
	bad := func(column int, format string, args ...any) error {
		return fmt.Errorf("%s: row %d (line %d), column %.60q: %s", t.file, number, line, t.names[column], fmt.Sprintf(format, args...))
	}
	for _, i := range t.features {
		cell := strings.TrimSpace(cells[i])
		if slices.Contains(missing, strings.ToLower(cell)) {
			return bad(i, "the value is missing (%q): fill it in, leave the row out, or leave the column out with --drop", cell)
		}
		v, err := strconv.ParseFloat(cell, 64)
		f := float32(v)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
			return bad(i, "%.60q is not a number: write categories as numbers, or leave the column out with --drop", cell)
		case f-f != 0:
			return bad(i, "%.60q is infinite or beyond float32: every value must be a finite number", cell)
		}
		t.feature(f)
	}
	for _, i := range t.targets {
		cell := strings.TrimSpace(cells[i])
		if slices.Contains(missing, strings.ToLower(cell)) && cell != "-" && !strings.EqualFold(cell, "none") {
			return bad(i, "the target is missing (%q): fill it in or leave the row out", cell)
		}
		if v, err := strconv.ParseFloat(cell, 64); v-v != 0 && (err == nil || errors.Is(err, strconv.ErrRange)) {
			return bad(i, "the target %.60q is not a finite number", cell)
		}
		if !utf8.ValidString(cell) {
			return bad(i, "the class is not UTF-8: save the file as UTF-8")
		}
		t.answer(cell)
	}
	return t.endRow()
}
