package metric

import (
	"context"
	"errors"
	"io"

	"github.com/parquet-go/parquet-go"
)

// RowsPerGroup is where a row group of a Parquet file ends.
const RowsPerGroup = 1 << 20

const rowsPerWrite = 1 << 12

// Row is the schema of a Parquet file: one row per value, sorted by metric,
// layer and step.
type Row struct {
	Step   int64   `parquet:"step,delta,zstd"`
	Metric string  `parquet:"metric,dict,zstd"`
	Layer  string  `parquet:"layer,dict,zstd"`
	Value  float32 `parquet:"value,zstd"`
}

// FileWriter writes points as a Parquet file. Equal points make equal files.
type FileWriter struct {
	w    *parquet.GenericWriter[Row]
	rows []Row
	n    int64
}

// NewFileWriter starts a file. Name is that of the schema, which the file says.
func NewFileWriter(w io.Writer, name string) *FileWriter {
	return &FileWriter{
		w: parquet.NewGenericWriter[Row](w,
			parquet.NewSchema(name, parquet.SchemaOf(Row{})),
			parquet.MaxRowsPerRowGroup(RowsPerGroup),
			parquet.CreatedBy("neoteny", "1", ""),
			parquet.SortingWriterConfig(parquet.SortingColumns(
				parquet.Ascending("metric"), parquet.Ascending("layer"), parquet.Ascending("step")))),
		rows: make([]Row, 0, rowsPerWrite),
	}
}

// Write appends points, which come in the order of the file.
func (f *FileWriter) Write(p Points) error {
	for i, v := range p.Values {
		f.rows = append(f.rows, Row{p.Steps[i], p.Metric, p.Layer, v})
		if len(f.rows) == rowsPerWrite {
			if err := f.flush(); err != nil {
				return err
			}
		}
	}
	f.n += int64(len(p.Values))
	return nil
}

func (f *FileWriter) flush() error {
	_, err := f.w.Write(f.rows)
	f.rows = f.rows[:0]
	return err
}

// Rows returns how many were written.
func (f *FileWriter) Rows() int64 { return f.n }

// SetMetadata adds text to the file's metadata.
func (f *FileWriter) SetMetadata(key, text string) { f.w.SetKeyValueMetadata(key, text) }

// Close ends the file. What it was written to stays open.
func (f *FileWriter) Close() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.w.Close()
}

// FileReader reads the series of a Parquet file.
type FileReader struct {
	r      *parquet.GenericReader[point]
	read   []point
	points Points
}

// point is the part of a row that has the values of a known series.
type point struct {
	Step  int64   `parquet:"step,delta,zstd"`
	Value float32 `parquet:"value,zstd"`
}

// NewFileReader reads a file that was opened.
func NewFileReader(f *parquet.File) *FileReader {
	return &FileReader{
		r:      parquet.NewGenericReader[point](f),
		read:   make([]point, rowsPerWrite),
		points: Points{Steps: make([]int64, 0, rowsPerWrite), Values: make([]float32, 0, rowsPerWrite)},
	}
}

// Read calls emit with the values that the n rows from row on, those of column
// c, have in the steps [from, to). The points are valid during the call.
func (f *FileReader) Read(ctx context.Context, c Column, row, n, from, to int64, emit func(Points) error) error {
	if err := f.r.SeekToRow(row); err != nil {
		return err
	}
	f.points.Column = c
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := f.r.Read(f.read[:min(n, rowsPerWrite)])
		if k == 0 && err == nil {
			err = io.ErrNoProgress
		}
		if err != nil && (k == 0 || !errors.Is(err, io.EOF)) {
			return err
		}
		n -= int64(k)
		f.points.Clear()
		for _, x := range f.read[:k] {
			if from <= x.Step && x.Step < to {
				f.points.Steps, f.points.Values = append(f.points.Steps, x.Step), append(f.points.Values, x.Value)
			}
		}
		if len(f.points.Steps) > 0 {
			if err := emit(f.points); err != nil {
				return err
			}
		}
		if k > 0 && f.read[k-1].Step >= to {
			break
		}
	}
	return nil
}

// Close ends the reading. The file stays open.
func (f *FileReader) Close() error { return f.r.Close() }
