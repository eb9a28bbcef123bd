package metrics

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"

	"neoteny/internal/metric"
)

// metaKey is the key of a Parquet file's metadata under which parquetMeta is.
const metaKey = "neoteny.metrics"

// schemaName is in every file: it stays, so that a track's file stays the same.
const schemaName = "parquetRow"

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

func (s parquetSeries) column() metric.Column { return metric.Column{Metric: s.Metric, Layer: s.Layer} }

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
	sum := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	w := metric.NewFileWriter(buf, schemaName)
	meta := parquetMeta{
		Run: src.sum.key.Run, Track: src.sum.key.Name, Arm: src.sum.arm,
		Origin: src.sum.origin, End: src.sum.durable,
	}
	err = src.walk(ctx, everything, func(p metric.Points) error {
		if n := len(meta.Series); n == 0 || meta.Series[n-1].column() != p.Column {
			meta.Series = append(meta.Series, parquetSeries{Metric: p.Metric, Layer: p.Layer})
		}
		meta.Series[len(meta.Series)-1].Rows += int64(len(p.Values))
		return w.Write(p)
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	w.SetMetadata(metaKey, string(text))
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
	if err := writeSum(path, sum.Sum(nil)); err != nil {
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
	r := metric.NewFileReader(p.file)
	defer func() { err = errors.Join(err, r.Close()) }()
	row := int64(0)
	for _, s := range p.meta.Series {
		if sel.metric(s.Metric) && s.Rows > 0 {
			if err := r.Read(ctx, s.column(), row, s.Rows, sel.first, sel.end, emit); err != nil {
				return err
			}
		}
		row += s.Rows
	}
	return nil
}
