package metrics

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// metaKey is the key of a Parquet file's metadata under which parquetMeta is.
const metaKey = "neoteny.metrics"

const (
	rowsPerGroup = 1 << 20
	rowsPerWrite = 1 << 12
)

// parquetRow is the schema of a sealed track: one row per value, sorted by
// metric, layer and step.
type parquetRow struct {
	Step   int64   `parquet:"step,delta,zstd"`
	Metric string  `parquet:"metric,dict,zstd"`
	Layer  string  `parquet:"layer,dict,zstd"`
	Value  float32 `parquet:"value,zstd"`
}

// parquetPoint is the part of a row that a query reads.
type parquetPoint struct {
	Step  int64   `parquet:"step,delta,zstd"`
	Value float32 `parquet:"value,zstd"`
}

// parquetMeta travels in the file, as JSON, and makes it complete by itself: a
// reader finds a series' rows without a scan, and the service a track's end.
type parquetMeta struct {
	Run    string          `json:"run"`
	Track  string          `json:"track"`
	Arm    string          `json:"arm"`
	Origin int64           `json:"first_step"`
	End    int64           `json:"end_step"`
	Series []parquetSeries `json:"series"` // in row order
}

type parquetSeries struct {
	Metric string `json:"metric"`
	Layer  string `json:"layer"`
	Rows   int64  `json:"rows"`
}

// writeParquet turns a complete log into the track's Parquet file: written
// beside, synced, then renamed.
func writeParquet(ctx context.Context, path string, src *logSource) (err error) {
	temp := path + tempExt
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreClosed(f.Close()), os.Remove(temp))
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	w := parquet.NewGenericWriter[parquetRow](buf,
		parquet.MaxRowsPerRowGroup(rowsPerGroup),
		parquet.CreatedBy("neoteny", "1", ""),
		parquet.SortingWriterConfig(parquet.SortingColumns(
			parquet.Ascending("metric"), parquet.Ascending("layer"), parquet.Ascending("step"))))
	meta := parquetMeta{
		Run: src.sum.key.run, Track: src.sum.key.track, Arm: src.sum.arm,
		Origin: src.sum.origin, End: src.sum.durable,
	}
	rows := make([]parquetRow, 0, rowsPerWrite)
	flush := func() error {
		_, err := w.Write(rows)
		rows = rows[:0]
		return err
	}
	err = src.walk(ctx, everything, func(k seriesKey, steps []int64, values []float32) error {
		if n := len(meta.Series); n == 0 || meta.Series[n-1].Metric != k.metric || meta.Series[n-1].Layer != k.layer {
			meta.Series = append(meta.Series, parquetSeries{Metric: k.metric, Layer: k.layer})
		}
		meta.Series[len(meta.Series)-1].Rows += int64(len(values))
		for i, v := range values {
			rows = append(rows, parquetRow{steps[i], k.metric, k.layer, v})
			if len(rows) == rowsPerWrite {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	w.SetKeyValueMetadata(metaKey, string(text))
	if err := w.Close(); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// parquetSource reads a sealed track.
type parquetSource struct {
	f    *os.File
	file *parquet.File
	meta parquetMeta
}

func openParquet(path string) (_ *parquetSource, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // the library panics on some damage
			err = fmt.Errorf("read %s: %v", path, r)
		}
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	p := &parquetSource{f: f, file: file}
	text, _ := file.Lookup(metaKey)
	if err := json.Unmarshal([]byte(text), &p.meta); err != nil {
		return nil, fmt.Errorf("read %s: metadata %s: %w", path, metaKey, err)
	}
	var rows int64
	for _, s := range p.meta.Series {
		rows += s.Rows
	}
	if rows != file.NumRows() {
		return nil, fmt.Errorf("read %s: metadata counts %d rows, the file has %d", path, rows, file.NumRows())
	}
	return p, nil
}

func readParquetMeta(path string) (*parquetMeta, error) {
	p, err := openParquet(path)
	if err != nil {
		return nil, err
	}
	return &p.meta, p.close()
}

func (p *parquetSource) close() error { return p.f.Close() }

func (p *parquetSource) span() (first, end int64) { return p.meta.Origin, p.meta.End }

// walk implements source.
func (p *parquetSource) walk(ctx context.Context, sel selection, emit emitFunc) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read %s: %v", p.f.Name(), r)
		}
	}()
	r := parquet.NewGenericReader[parquetPoint](p.file)
	defer func() { err = errors.Join(err, r.Close()) }()
	points := make([]parquetPoint, rowsPerWrite)
	steps, values := make([]int64, 0, rowsPerWrite), make([]float32, 0, rowsPerWrite)
	var row int64
	for _, s := range p.meta.Series {
		first := row
		row += s.Rows
		if !sel.metric(s.Metric) || s.Rows == 0 {
			continue
		}
		if err := r.SeekToRow(first); err != nil {
			return err
		}
		for left := s.Rows; left > 0; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := r.Read(points[:min(left, rowsPerWrite)])
			if n == 0 && err == nil {
				err = io.ErrNoProgress
			}
			if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
				return err
			}
			left -= int64(n)
			steps, values = steps[:0], values[:0]
			for _, x := range points[:n] {
				if sel.step(x.Step) {
					steps, values = append(steps, x.Step), append(values, x.Value)
				}
			}
			if len(steps) > 0 {
				if err := emit(seriesKey{s.Metric, s.Layer}, steps, values); err != nil {
					return err
				}
			}
			if n > 0 && points[n-1].Step >= sel.end {
				break
			}
		}
	}
	return nil
}
