package metric

import pb "neoteny/proto/neoteny/v1"

const (
	// MaxBatchBytes is where a batch on the wire is cut. A value may take 4 bytes
	// and its offset 5; BatchOverhead is the rest of a batch without its columns.
	MaxBatchBytes = 1 << 20
	BatchOverhead = 1024

	valueBytes     = 4
	offsetBytes    = 5
	columnOverhead = 32
)

// Builder joins blocks of rows that follow each other to one batch. The values
// are copied. The zero value is empty.
type Builder struct {
	n      int64
	bytes  int64
	series []Series
	index  map[Column]int
	before struct{ n, dense int64 } // steps and dense columns of the batch before, which this one is likely to be like
}

// Steps returns how many steps were gathered.
func (b *Builder) Steps() int64 { return b.n }

// Bytes bounds the batch's size on the wire.
func (b *Builder) Bytes() int64 { return b.bytes + BatchOverhead }

// Room returns how many steps of the rows fit into a batch of at most so many:
// as if each had a value of every series with an offset.
func (b *Builder) Room(r Rows, steps int64) int64 {
	perStep, names := int64(0), int64(0)
	for _, s := range r.Series {
		perStep += valueBytes + offsetBytes
		if _, ok := b.index[s.Column]; !ok {
			names += columnBytes(s.Column)
		}
	}
	room := min(steps, MaxSteps) - b.n
	if perStep > 0 {
		room = min(room, (MaxBatchBytes-b.Bytes()-names)/perStep)
	}
	if len(b.series)+len(r.Series) > MaxColumns && b.n > 0 {
		return 0 // near enough: the next batch starts empty
	}
	return max(room, 0)
}

func columnBytes(c Column) int64 { return int64(len(c.Metric)+len(c.Layer)) + columnOverhead }

// Add copies the steps [from, to) of the rows, counted from their first, behind
// what the batch has.
func (b *Builder) Add(r Rows, from, to int64) {
	for _, s := range r.Series {
		if s = s.slice(from, to); len(s.Values) > 0 {
			b.add(s, from)
		}
	}
	b.n += to - from
}

// add copies a part of a series whose block's step from is the batch's next.
func (b *Builder) add(s Series, from int64) {
	to := b.column(s.Column)
	if to.Values == nil && s.Offsets == nil && int64(len(b.series)) <= b.before.dense {
		to.Values = make([]float32, 0, max(b.before.n, int64(len(s.Values))))
	}
	switch {
	case s.Offsets != nil:
		b.spell(to)
		for _, o := range s.Offsets {
			to.Offsets = append(to.Offsets, uint32(b.n+int64(o)-from))
		}
		b.bytes += offsetBytes * int64(len(s.Values))
	// A column stays dense as long as it has a value for every step so far.
	case to.Offsets != nil || int64(len(to.Values)) != b.n:
		b.spell(to)
		for i := range s.Values {
			to.Offsets = append(to.Offsets, uint32(b.n)+uint32(i))
		}
		b.bytes += offsetBytes * int64(len(s.Values))
	}
	to.Values = append(to.Values, s.Values...)
	b.bytes += valueBytes * int64(len(s.Values))
}

func (b *Builder) column(c Column) *Series {
	i, ok := b.index[c]
	if !ok {
		if b.index == nil {
			b.index = map[Column]int{}
		}
		i = len(b.series)
		b.index[c] = i
		b.series = append(b.series, Series{Column: c})
		b.bytes += columnBytes(c)
	}
	return &b.series[i]
}

// spell writes out the offsets of a column that was dense so far.
func (b *Builder) spell(s *Series) {
	if s.Offsets != nil || len(s.Values) == 0 {
		return
	}
	s.Offsets = make([]uint32, len(s.Values))
	for i := range s.Offsets {
		s.Offsets[i] = uint32(i)
	}
	b.bytes += offsetBytes * int64(len(s.Values))
}

// Batch returns what was gathered as a message whose first step is first, and
// starts anew.
func (b *Builder) Batch(first int64) *pb.MetricBatch {
	b.before.n, b.before.dense = b.n, 0
	for i := range b.series {
		s := &b.series[i]
		if int64(len(s.Values)) != b.n {
			b.spell(s) // it was dense and then stopped
		}
		if s.Offsets == nil {
			b.before.dense++
		}
	}
	batch := Rows{First: first, N: b.n, Series: b.series}.Wire()
	clear(b.series) // the values are the message's now
	clear(b.index)
	b.n, b.bytes, b.series = 0, 0, b.series[:0]
	return batch
}
