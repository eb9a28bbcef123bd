package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

// source is a track's values on disk, whichever form they have.
type source interface {
	// span returns the track's steps, [first, end).
	span() (first, end int64)
	// walk calls emit with the selected values: series by series in the order
	// of metric and layer, the values of a series in step order, as many at a
	// time as come. The slices are valid during the call.
	walk(ctx context.Context, sel selection, emit emitFunc) error
	close() error
}

type emitFunc func(k seriesKey, steps []int64, values []float32) error

// selection says what to read: the metrics (none: all) in steps [first, end).
type selection struct {
	metrics    []string
	first, end int64
}

var everything = selection{end: math.MaxInt64}

func (s selection) metric(name string) bool {
	return len(s.metrics) == 0 || slices.Contains(s.metrics, name)
}

func (s selection) step(n int64) bool { return s.first <= n && n < s.end }

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
	keys := slices.SortedFunc(maps.Keys(l.sum.series), func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.layer, b.layer))
	})
	keys = slices.DeleteFunc(keys, func(k seriesKey) bool {
		return l.sum.series[k] == 0 || !sel.metric(k.metric)
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

func (l *logSource) walkGroup(ctx context.Context, keys []seriesKey, sel selection, emit emitFunc) error {
	type points struct {
		steps  []int64
		values []float32
	}
	group := make(map[seriesKey]*points, len(keys))
	for _, k := range keys {
		group[k] = &points{}
	}
	alone := len(keys) == 1
	err := l.batches(ctx, sel, func(b *pb.MetricBatch) error {
		for _, c := range b.Columns {
			k := seriesKey{c.Metric, c.Layer}
			p := group[k]
			if p == nil {
				continue
			}
			for i, v := range c.Values {
				step := b.FirstStep + int64(i)
				if len(c.Offsets) > 0 {
					step = b.FirstStep + int64(c.Offsets[i])
				}
				if sel.step(step) {
					p.steps, p.values = append(p.steps, step), append(p.values, v)
				}
			}
			if alone && len(p.steps) > 0 {
				if err := emit(k, p.steps, p.values); err != nil {
					return err
				}
				p.steps, p.values = p.steps[:0], p.values[:0]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range keys {
		if p := group[k]; len(p.steps) > 0 {
			if err := emit(k, p.steps, p.values); err != nil {
				return err
			}
		}
	}
	return nil
}

// batches decodes the log's batches that touch the selected steps.
func (l *logSource) batches(ctx context.Context, sel selection, f func(*pb.MetricBatch) error) error {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := newLogReader(l.f, l.sum.size)
	if err != nil {
		return err
	}
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
		if err := checkBatch(&b); err != nil {
			return err
		}
		if b.FirstStep >= sel.end {
			return nil
		}
		if b.FirstStep+b.NSteps > sel.first {
			if err := f(&b); err != nil {
				return err
			}
		}
	}
}
