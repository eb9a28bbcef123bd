package metric

import (
	"fmt"
	"slices"

	pb "neoteny/proto/neoteny/v1"
)

// FromWire returns the rows of a message, which are checked. The values are
// shared. A column without a value stays: it says that the series exists.
func FromWire(b *pb.MetricBatch) (Rows, error) {
	var r Rows
	err := r.ReadWire(b)
	return r, err
}

// ReadWire is FromWire into rows that are not needed any more.
func (r *Rows) ReadWire(b *pb.MetricBatch) error {
	columns := b.GetColumns()
	*r = Rows{First: b.GetFirstStep(), N: b.GetNSteps(), Series: r.Series[:0]}
	if err := checkShape(r.First, r.N, len(columns)); err != nil {
		return err // before there is room for its columns
	}
	r.Series = slices.Grow(r.Series, len(columns))
	for _, c := range columns {
		s := Series{Column{c.GetMetric(), c.GetLayer()}, nil, c.GetValues()}
		switch {
		case len(c.GetOffsets()) > 0:
			s.Offsets = c.Offsets
		case len(s.Values) == 0: // the wire has no other word for none
			s.Offsets = []uint32{}
		}
		r.Series = append(r.Series, s)
	}
	return r.Check()
}

// Wire returns a message that holds the rows and shares their values. Whose they
// are is for the caller to fill in.
func (r Rows) Wire() *pb.MetricBatch {
	b := &pb.MetricBatch{FirstStep: r.First, NSteps: r.N}
	if len(r.Series) == 0 {
		return b
	}
	columns := make([]pb.MetricColumn, len(r.Series))
	b.Columns = make([]*pb.MetricColumn, len(r.Series))
	for i, s := range r.Series {
		c := &columns[i]
		c.Metric, c.Layer, c.Offsets, c.Values = s.Metric, s.Layer, s.Offsets, s.Values
		b.Columns[i] = c
	}
	return b
}

// FromAnswer returns the values of an answer to a query, without the minima and
// maxima of one that was downsampled.
func FromAnswer(r *pb.QuerySeriesResponse) (Points, error) {
	p := Points{Column{r.GetMetric(), r.GetLayer()}, r.GetSteps(), r.GetValues()}
	if len(p.Steps) != len(p.Values) {
		return Points{}, fmt.Errorf("series %s: %d steps with %d values", p.Metric, len(p.Steps), len(p.Values))
	}
	return p, nil
}
