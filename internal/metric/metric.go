// Package metric holds the table of what is measured at every step of a run: a
// block of consecutive steps ([Rows]) with one [Series] of float32 values for
// every [Column], which is a metric of a layer. The engine gathers such blocks,
// the worker's client joins them to batches ([Builder]), the metrics service
// drops from a batch what it has already ([Rows.From]), and what is read back is
// a series in pieces ([Points]).
//
// The other forms that the values have are at the edges, and here: the message
// on the wire, which is a record of the service's log, too ([FromWire],
// [Rows.Wire], [ReadHead]), and the Parquet file ([FileWriter], [FileReader]).
package metric

import (
	"cmp"
	"slices"
)

// Column names a series of a run.
type Column struct {
	Metric string // snake_case
	Layer  string // empty for the whole network
}

// Compare orders columns as files and answers have them: by metric, then layer.
func (c Column) Compare(other Column) int {
	return cmp.Or(cmp.Compare(c.Metric, other.Metric), cmp.Compare(c.Layer, other.Layer))
}

// Series holds one column's values inside a block of rows, in step order: one
// per step where Offsets is nil (the series is dense), else one per offset.
type Series struct {
	Column
	Offsets []uint32 // steps relative to the block's first, ascending
	Values  []float32
}

// Rows is a block of consecutive steps, [First, First+N), with what was measured
// there. A column is in it once at most.
type Rows struct {
	First, N int64
	Series   []Series
}

// End returns the step after the last.
func (r Rows) End() int64 { return r.First + r.N }

// Values returns how many values the rows hold.
func (r Rows) Values() int64 {
	n := int64(0)
	for _, s := range r.Series {
		n += int64(len(s.Values))
	}
	return n
}

// From returns the rows from step on, which lies in [First, End]: where earlier
// ones are stored already, a block is stored from there. The values are shared;
// a column without any left is gone.
func (r Rows) From(step int64) Rows {
	cut := step - r.First
	if cut <= 0 {
		return r
	}
	rest := Rows{First: step, N: r.N - cut, Series: make([]Series, 0, len(r.Series))}
	for _, s := range r.Series {
		if s = s.slice(cut, r.N); len(s.Values) == 0 {
			continue
		}
		if s.Offsets != nil {
			s.Offsets = slices.Clone(s.Offsets)
			for i := range s.Offsets {
				s.Offsets[i] -= uint32(cut)
			}
		}
		rest.Series = append(rest.Series, s)
	}
	return rest
}

// slice returns what lies in the steps [from, to) of a block, the offsets still
// relative to the block's first step.
func (s Series) slice(from, to int64) Series {
	if s.Offsets == nil {
		s.Values = s.Values[from:to]
		return s
	}
	lo, hi := position(s.Offsets, from), position(s.Offsets, to)
	s.Offsets, s.Values = s.Offsets[lo:hi], s.Values[lo:hi]
	return s
}

// position returns the index of the first offset that is step or later.
func position(offsets []uint32, step int64) int {
	i, _ := slices.BinarySearchFunc(offsets, step, func(o uint32, step int64) int { return cmp.Compare(int64(o), step) })
	return i
}

// Points is a piece of one series as it is read back: values with their steps,
// in step order.
type Points struct {
	Column
	Steps  []int64
	Values []float32
}

// Add appends what a series of the block that starts at first has in the steps
// [from, to).
func (p *Points) Add(first int64, s Series, from, to int64) {
	for i, v := range s.Values {
		step := first + int64(i)
		if s.Offsets != nil {
			step = first + int64(s.Offsets[i])
		}
		if from <= step && step < to {
			p.Steps, p.Values = append(p.Steps, step), append(p.Values, v)
		}
	}
}

// Clear takes the values out and keeps their place.
func (p *Points) Clear() { p.Steps, p.Values = p.Steps[:0], p.Values[:0] }
