package metricsclient

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	pb "neoteny/proto/neoteny/v1"
)

// Column names a series of a run.
type Column struct {
	Metric string // snake_case
	Layer  string // empty for the whole network
}

// Series holds one column's values inside a block of rows, in step order: one
// per step where Offsets is nil, else one per offset.
type Series struct {
	Column
	Offsets []uint32 // steps relative to the block's first, ascending
	Values  []float32
}

// Rows is a block of consecutive steps, [First, First+N), with what was measured
// there. Its shape is the engine's.
type Rows struct {
	First, N int64
	Series   []Series
}

const (
	// maxColumns and maxSteps are the service's limits on a batch.
	maxColumns = 4096
	maxSteps   = 1 << 24
	// maxBatchBytes is where a batch is cut. A value may take 4 bytes and its
	// offset 5; batchOverhead is the rest of a batch without its columns.
	maxBatchBytes  = 1 << 20
	valueBytes     = 9
	columnOverhead = 32
	batchOverhead  = 1024
)

// checkNames holds what names a batch against the service's limits: there a
// single bad one would end the stream of all.
func checkNames(run, track, arm string) error {
	for _, x := range []struct {
		what, text string
		limit      int
	}{{"run", run, 512}, {"track", track, 64}, {"arm", arm, 128}} {
		if len(x.text) > x.limit || !utf8.ValidString(x.text) {
			return fmt.Errorf("%s is not UTF-8 text of at most %d bytes", x.what, x.limit)
		}
	}
	if run == "" {
		return errors.New("run is empty")
	}
	return nil
}

func (c Column) check() error {
	ok := len(c.Metric) > 0 && len(c.Metric) <= 64 && 'a' <= c.Metric[0] && c.Metric[0] <= 'z'
	for i := range len(c.Metric) {
		x := c.Metric[i]
		ok = ok && ('a' <= x && x <= 'z' || '0' <= x && x <= '9' || x == '_')
	}
	if !ok {
		return errors.New("metric is not a name like online_accuracy")
	}
	if len(c.Layer) > 64 || !utf8.ValidString(c.Layer) {
		return errors.New("layer is not UTF-8 text of at most 64 bytes")
	}
	return nil
}

func (r Rows) check() error {
	if r.First < 0 || r.N < 0 || r.N > math.MaxInt32 {
		return fmt.Errorf("rows [%d, %d+%d) are no range", r.First, r.First, r.N)
	}
	if len(r.Series) > maxColumns {
		return fmt.Errorf("%d series are over the limit of %d", len(r.Series), maxColumns)
	}
	for _, s := range r.Series {
		if err := s.check(r.N); err != nil {
			return fmt.Errorf("series %q of layer %q: %w", s.Metric, s.Layer, err)
		}
	}
	if c, twice := repeated(r.Series); twice {
		return fmt.Errorf("series %q of layer %q comes twice", c.Metric, c.Layer)
	}
	return nil
}

func (s Series) check(steps int64) error {
	if err := s.Column.check(); err != nil {
		return err
	}
	if s.Offsets == nil {
		if n := int64(len(s.Values)); n != steps {
			return fmt.Errorf("%d values for %d steps", n, steps)
		}
		return nil
	}
	if len(s.Offsets) != len(s.Values) {
		return fmt.Errorf("%d values for %d offsets", len(s.Values), len(s.Offsets))
	}
	last := int64(-1)
	for _, o := range s.Offsets {
		if int64(o) <= last || int64(o) >= steps {
			return fmt.Errorf("offset %d is out of order in %d steps", o, steps)
		}
		last = int64(o)
	}
	return nil
}

// repeated returns a column that comes twice. It runs at every Append, so the
// usual few series are compared in place.
func repeated(series []Series) (Column, bool) {
	if len(series) > 64 {
		seen := make(map[Column]struct{}, len(series))
		for _, s := range series {
			if _, twice := seen[s.Column]; twice {
				return s.Column, true
			}
			seen[s.Column] = struct{}{}
		}
		return Column{}, false
	}
	for i, s := range series {
		for _, other := range series[:i] {
			if other.Column == s.Column {
				return s.Column, true
			}
		}
	}
	return Column{}, false
}

// builder gathers blocks of rows into one batch. The values are copied.
type builder struct {
	n       int64
	bytes   int64
	columns []*pb.MetricColumn
	index   map[Column]int
	before  struct{ n, dense int64 } // steps and dense columns of the batch before, which this one is likely to be like
}

// room returns how many steps of the rows fit: as if each had a value of every
// series with an offset.
func (b *builder) room(r Rows, flushRows int64) int64 {
	perStep, names := int64(0), int64(0)
	for _, s := range r.Series {
		perStep += valueBytes
		if _, ok := b.index[s.Column]; !ok {
			names += columnBytes(s.Column)
		}
	}
	steps := min(flushRows, maxSteps) - b.n
	if perStep > 0 {
		steps = min(steps, (maxBatchBytes-batchOverhead-b.bytes-names)/perStep)
	}
	if int64(len(b.columns)+len(r.Series)) > maxColumns && b.n > 0 {
		return 0 // near enough: the next batch starts empty
	}
	return max(steps, 0)
}

func columnBytes(c Column) int64 { return int64(len(c.Metric)+len(c.Layer)) + columnOverhead }

// add copies the steps [from, to) of the rows behind what the batch has.
func (b *builder) add(r Rows, from, to int64) (values int64) {
	if b.index == nil {
		b.index = make(map[Column]int, len(r.Series))
	}
	for _, s := range r.Series {
		if s.Offsets == nil {
			values += b.dense(s.Column, s.Values[from:to])
		} else {
			values += b.sparse(s, from, to)
		}
	}
	b.n += to - from
	return values
}

func (b *builder) column(k Column) *pb.MetricColumn {
	i, ok := b.index[k]
	if !ok {
		i = len(b.columns)
		b.index[k] = i
		b.columns = append(b.columns, &pb.MetricColumn{Metric: k.Metric, Layer: k.Layer})
		b.bytes += columnBytes(k)
	}
	return b.columns[i]
}

func (b *builder) dense(k Column, values []float32) int64 {
	if len(values) == 0 {
		return 0
	}
	c := b.column(k)
	if c.Values == nil && int64(len(b.columns)) <= b.before.dense {
		c.Values = make([]float32, 0, max(b.before.n, int64(len(values))))
	}
	// A column stays dense as long as it has a value for every step so far.
	if len(c.Offsets) > 0 || int64(len(c.Values)) != b.n {
		b.spell(c)
		for i := range values {
			c.Offsets = append(c.Offsets, uint32(b.n)+uint32(i))
		}
		b.bytes += 5 * int64(len(values))
	}
	c.Values = append(c.Values, values...)
	b.bytes += 4 * int64(len(values))
	return int64(len(values))
}

func (b *builder) sparse(s Series, from, to int64) int64 {
	lo, _ := slices.BinarySearch(s.Offsets, uint32(from))
	hi, _ := slices.BinarySearchFunc(s.Offsets, to, func(o uint32, to int64) int {
		if int64(o) < to {
			return -1
		}
		return 1
	})
	if lo == hi {
		return 0
	}
	c := b.column(s.Column)
	b.spell(c)
	for _, o := range s.Offsets[lo:hi] {
		c.Offsets = append(c.Offsets, uint32(b.n+int64(o)-from))
	}
	c.Values = append(c.Values, s.Values[lo:hi]...)
	b.bytes += valueBytes * int64(hi-lo)
	return int64(hi - lo)
}

// spell writes out the offsets of a column that was dense so far.
func (b *builder) spell(c *pb.MetricColumn) {
	if len(c.Offsets) > 0 || len(c.Values) == 0 {
		return
	}
	c.Offsets = make([]uint32, len(c.Values))
	for i := range c.Offsets {
		c.Offsets[i] = uint32(i)
	}
	b.bytes += 5 * int64(len(c.Values))
}

// take returns the columns and starts anew.
func (b *builder) take() []*pb.MetricColumn {
	columns, before := b.columns, b.before
	before.n, before.dense = b.n, 0
	for _, c := range columns {
		if int64(len(c.Values)) != b.n {
			b.spell(c) // it was dense and then stopped
		}
		if len(c.Offsets) == 0 {
			before.dense++
		}
	}
	*b = builder{before: before}
	return columns
}
