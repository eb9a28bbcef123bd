package dataimport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"neoteny/pkg/engine/data"
)

// readParquet reads a flat table in Parquet.
func readParquet(file string, o Options) (f *found, err error) {
	in, err := open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	// The library reports what it cannot read by an error; should it panic on hostile input, the caller still gets one.
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("%s is not an intact Parquet file: %w", file, oneLine(fmt.Errorf("%v", p)))
		}
	}()
	info, err := in.file.Stat()
	if err != nil {
		return nil, plain(err)
	}
	if err := checkFooter(in.file, info.Size()); err != nil {
		return nil, fmt.Errorf("%s is not an intact Parquet file: %w", file, err)
	}
	p, err := parquet.OpenFile(in.file, info.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return nil, fmt.Errorf("%s is not an intact Parquet file: %w", file, oneLine(err))
	}
	fields := p.Root().Columns()
	names := make([]string, len(fields))
	for i, c := range fields {
		names[i] = c.Name()
		if !c.Leaf() || c.Repeated() {
			return nil, fmt.Errorf("%s: column %.60q is a list or an object: only flat tables are read; save arrays as NPZ", file, names[i])
		}
	}
	// Pandas writes an index as a column of this name.
	if i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(n, "__index_level_") }); i >= 0 {
		o.Drop = append(slices.Clone(o.Drop), names[i])
	}
	t, err := newTable(file, "Parquet", names, o)
	if err != nil {
		return nil, err
	}
	if rows := p.NumRows(); rows < 0 || rows > data.MaxBytes/int64(4*len(t.features)) {
		return nil, fmt.Errorf("%s has %d rows of %d features, more than the %d bytes of a dataset", file, rows, len(t.features), int64(data.MaxBytes))
	}
	for _, i := range slices.Concat(t.features, t.targets) {
		if err := t.parquetType(fields[i], i, slices.Contains(t.targets, i)); err != nil {
			return nil, err
		}
	}
	number := 0
	for _, group := range p.RowGroups() {
		if err := t.rowGroup(group, fields, &number, p.NumRows()); err != nil {
			return nil, err
		}
	}
	if int64(number) != p.NumRows() {
		return nil, fmt.Errorf("%s has %d rows, its header says %d", file, number, p.NumRows())
	}
	return t.end()
}

// checkFooter compares the length of the footer, which stands before the last four bytes, with the file: the library
// makes room for it unseen.
func checkFooter(r io.ReaderAt, size int64) error {
	var end [8]byte
	if size < 12 {
		return errors.New("it ends too early")
	}
	if _, err := r.ReadAt(end[:], size-8); err != nil {
		return err
	}
	if n := int64(binary.LittleEndian.Uint32(end[:])); n > size-12 {
		return fmt.Errorf("its footer says that it has %d bytes, and the file has %d: it may be cut short", n, size)
	}
	return nil
}

// parquetType checks that a column's values are numbers, or texts of a target.
func (t *table) parquetType(c *parquet.Column, column int, target bool) error {
	bad := func(what string) error {
		return fmt.Errorf("%s: column %.60q holds %s: make numbers of them, or leave the column out with --drop", t.file, t.names[column], what)
	}
	if logical := c.Type().LogicalType(); logical != nil {
		switch logical.Value.(type) {
		case *format.DateType, *format.TimeType, *format.TimestampType:
			return bad("dates or times")
		case *format.DecimalType:
			return bad("decimal numbers")
		}
	}
	switch c.Type().Kind() {
	case parquet.Boolean, parquet.Int32, parquet.Int64, parquet.Float, parquet.Double:
		return nil
	case parquet.ByteArray:
		if target {
			return nil
		}
		return bad("texts")
	}
	return bad("values of a type that is not read")
}

// rowGroup adds the rows of a group, of which there are at most as many as the file says in all.
func (t *table) rowGroup(group parquet.RowGroup, fields []*parquet.Column, number *int, most int64) error {
	rows := group.Rows()
	defer rows.Close()
	buffer := make([]parquet.Row, 64)
	row := make([]parquet.Value, len(fields))
	for {
		n, err := rows.ReadRows(buffer)
		for _, r := range buffer[:n] {
			if *number++; int64(*number) > most {
				return fmt.Errorf("%s has more rows than the %d that its header says", t.file, most)
			}
			for i := range row {
				row[i] = parquet.NullValue()
			}
			for _, v := range r {
				if i := v.Column(); i >= 0 && i < len(row) {
					row[i] = v
				}
			}
			if err := t.parquetRow(row, fields, *number); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: row %d cannot be read: %w", t.file, *number+1, oneLine(err))
		}
		if n == 0 {
			return fmt.Errorf("%s: row %d cannot be read", t.file, *number+1)
		}
	}
}

func (t *table) parquetRow(row []parquet.Value, fields []*parquet.Column, number int) error {
	bad := func(i int, what string) error {
		return fmt.Errorf("%s: row %d, column %.60q: %s", t.file, number, t.names[i], what)
	}
	for _, i := range t.features {
		if row[i].IsNull() {
			return bad(i, "the value is missing (null): fill it in, leave the row out, or leave the column out with --drop")
		}
		f := float32(parquetNumber(row[i], fields[i]))
		if f-f != 0 {
			return bad(i, fmt.Sprintf("%v is not a finite number of float32: every value must be one", row[i]))
		}
		t.feature(f)
	}
	for _, i := range t.targets {
		if row[i].IsNull() {
			return bad(i, "the target is missing (null): fill it in or leave the row out")
		}
		switch row[i].Kind() {
		case parquet.ByteArray:
			t.answer(strings.ToValidUTF8(string(row[i].ByteArray()), "\ufffd"))
		case parquet.Float, parquet.Double:
			v := parquetNumber(row[i], fields[i])
			if v-v != 0 {
				return bad(i, fmt.Sprintf("the target %v is not a finite number", v))
			}
			text := strconv.FormatFloat(v, 'g', -1, 64)
			if !strings.ContainsAny(text, ".e") {
				text += ".0" // its type says that it is no whole number
			}
			t.answer(text)
		default:
			t.answer(strconv.FormatFloat(parquetNumber(row[i], fields[i]), 'f', -1, 64))
		}
	}
	return t.endRow()
}

// parquetNumber returns a number of a column.
func parquetNumber(v parquet.Value, c *parquet.Column) float64 {
	unsigned := false
	if l := c.Type().LogicalType(); l != nil {
		if integer, ok := l.Value.(*format.IntType); ok {
			unsigned = !integer.IsSigned
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		if v.Boolean() {
			return 1
		}
		return 0
	case parquet.Int32:
		if unsigned {
			return float64(v.Uint32())
		}
		return float64(v.Int32())
	case parquet.Int64:
		if unsigned {
			return float64(v.Uint64())
		}
		return float64(v.Int64())
	case parquet.Float:
		return float64(v.Float())
	}
	return v.Double()
}
