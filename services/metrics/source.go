package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// source is a track's values on disk, whichever form they have.
type source interface {
	// span returns the track's steps, [first, end).
	span() (first, end int64)
	// walk calls emit with the selected values: series by series in the order
	// of metric and layer, the values of a series in step order, as many at a
	// time as come. The points are valid during the call.
	walk(ctx context.Context, sel selection, emit emitFunc) error
	close() error
}

type emitFunc func(metric.Points) error

// selection says what to read: the metrics (none: all) in steps [first, end).
type selection struct {
	metrics    []string
	first, end int64
}

var everything = selection{end: math.MaxInt64}

func (s selection) metric(name string) bool {
	return len(s.metrics) == 0 || slices.Contains(s.metrics, name)
}

// walkBudget bounds the values that a walk over a log holds at a time.
const walkBudget = 4 << 20

// logSource reads the synced part of a log.
type logSource struct {
	f      *os.File
	sum    *logSummary
	budget int64
}

func openLogSource(path string, size int64) (*logSource, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	sum, err := scanLog(f, size)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), f.Close())
	}
	return &logSource{f: f, sum: sum, budget: walkBudget}, nil
}

func (l *logSource) close() error { return l.f.Close() }

func (l *logSource) span() (first, end int64) { return l.sum.origin, l.sum.durable }

// walk implements source. A log is in step order, so it is read once for every
// group of series whose values fit into the budget; a series beyond it has a
// reading of its own and is emitted while read.
func (l *logSource) walk(ctx context.Context, sel selection, emit emitFunc) error {
	keys := slices.SortedFunc(maps.Keys(l.sum.series), metric.Column.Compare)
	keys = slices.DeleteFunc(keys, func(c metric.Column) bool {
		return l.sum.series[c] == 0 || !sel.metric(c.Metric)
	})
	for len(keys) > 0 {
		n, held := 1, l.sum.series[keys[0]]
		for n < len(keys) && held+l.sum.series[keys[n]] <= l.budget {
			held += l.sum.series[keys[n]]
			n++
		}
		if err := l.walkGroup(ctx, keys[:n], sel, emit); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (l *logSource) walkGroup(ctx context.Context, keys []metric.Column, sel selection, emit emitFunc) error {
	group := make(map[metric.Column]*metric.Points, len(keys))
	for _, c := range keys {
		group[c] = &metric.Points{Column: c}
	}
	alone := len(keys) == 1
	err := l.rows(ctx, sel, func(r metric.Rows) error {
		for _, s := range r.Series {
			p := group[s.Column]
			if p == nil {
				continue
			}
			p.Add(r.First, s, sel.first, sel.end)
			if alone && len(p.Steps) > 0 {
				if err := emit(*p); err != nil {
					return err
				}
				p.Clear()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range keys {
		if p := group[c]; len(p.Steps) > 0 {
			if err := emit(*p); err != nil {
				return err
			}
		}
	}
	return nil
}

// rows decodes the log's rows that touch the selected steps.
func (l *logSource) rows(ctx context.Context, sel selection, f func(metric.Rows) error) error {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := newLogReader(l.f, l.sum.size)
	if err != nil {
		return err
	}
	var rows metric.Rows
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		payload, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var b pb.MetricBatch
		if err := proto.Unmarshal(payload, &b); err != nil {
			return err
		}
		if err := rows.ReadWire(&b); err != nil {
			return err
		}
		if rows.First >= sel.end {
			return nil
		}
		if rows.End() > sel.first {
			if err := f(rows); err != nil {
				return err
			}
		}
	}
}
