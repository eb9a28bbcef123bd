package metrics

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// sealWait bounds how long a batch waits for the Parquet file of a track that is to go on.
const sealWait = 10 * time.Second

// goesOn reports whether a batch goes on with a track that is complete.
func goesOn(t *track, batches []*pb.MetricBatch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.complete {
		return false
	}
	for _, b := range batches {
		if b.Extends && b.FirstStep+b.NSteps > t.durable {
			return true
		}
	}
	return false
}

// reopen turns the Parquet file of a complete track back into a log, to which more can be
// added. It is repeated from any point: until the log has its name the file counts, and
// from then on the log.
func (s *Service) reopen(key metric.Track) error {
	ctx, cancel := context.WithTimeout(s.stop, sealWait)
	defer cancel()
	if err := s.seals.wait(ctx); err != nil {
		return err
	}
	s.seals.pause.Lock()
	defer s.seals.pause.Unlock()
	t, err := s.store.lookup(key)
	if err != nil || t == nil || !t.sealed {
		return err // again: it is what it should be, or nothing
	}
	path := t.path
	if err := checkSum(path + parquetExt); err != nil {
		if damaged(err) {
			err = s.store.putAside(path+parquetExt, err)
		}
		return err
	}
	src, err := openParquet(path + parquetExt)
	if err != nil {
		return err
	}
	err = errors.Join(writeLog(ctx, path+logExt, src), src.close())
	if err != nil {
		return fmt.Errorf("reopen the metrics of %s: %w", key, err)
	}
	again, err := s.store.recoverLog(path + logExt)
	if err != nil {
		return err
	}
	s.store.mu.Lock()
	s.store.tracks[key] = again
	s.store.mu.Unlock()
	for _, old := range []string{path + parquetExt, path + parquetExt + sumExt} {
		if err := os.Remove(old); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// writeLog writes a log of a Parquet file's values: beside, synced, then renamed.
func writeLog(ctx context.Context, path string, src *parquetSource) (err error) {
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
	if _, err := buf.WriteString(logMagic); err != nil {
		return err
	}
	var values int64
	for _, s := range src.meta.Series {
		values += s.Rows
	}
	// A log is in step order and the file is not, so it is read once for every window
	// of steps whose values fit into memory.
	first, end := src.span()
	window := max(1, int64(float64(end-first)*math.Min(1, float64(walkBudget)/float64(max(values, 1)))))
	for at := first; at < end; at += window {
		rows, err := readWindow(ctx, src, at, min(at+window, end))
		if err != nil {
			return err
		}
		if err := writeWindow(buf, src.meta, rows); err != nil {
			return err
		}
	}
	for _, do := range []func() error{buf.Flush, f.Sync, f.Close} {
		if err := do(); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// readWindow reads the values of the steps [first, end).
func readWindow(ctx context.Context, src *parquetSource, first, end int64) (metric.Rows, error) {
	rows := metric.Rows{First: first, N: end - first}
	err := src.walk(ctx, selection{first: first, end: end}, func(p metric.Points) error {
		if n := len(rows.Series); n == 0 || rows.Series[n-1].Column != p.Column {
			rows.Series = append(rows.Series, metric.Series{Column: p.Column, Offsets: []uint32{}})
		}
		s := &rows.Series[len(rows.Series)-1]
		for i, step := range p.Steps {
			s.Offsets = append(s.Offsets, uint32(step-first))
			s.Values = append(s.Values, p.Values[i])
		}
		return nil
	})
	for i := range rows.Series {
		if s := &rows.Series[i]; int64(len(s.Values)) == rows.N {
			s.Offsets = nil // a value of every step
		}
	}
	return rows, err
}

// writeWindow writes rows as records, none larger than a sender's.
func writeWindow(buf *bufio.Writer, meta parquetMeta, rows metric.Rows) error {
	var record []byte
	for from := int64(0); from < rows.N; {
		var b metric.Builder
		n := min(max(1, b.Room(rows, rows.N-from)), rows.N-from)
		b.Add(rows, from, from+n)
		batch := b.Batch(rows.First + from)
		batch.Run, batch.Track, batch.Arm = meta.Run, meta.Track, meta.Arm
		var err error
		if record, err = appendRecord(record[:0], batch); err != nil {
			return err
		}
		if _, err := buf.Write(record); err != nil {
			return err
		}
		from += n
	}
	return nil
}
