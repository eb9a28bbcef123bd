package metric

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Head is a batch on the wire without its values.
type Head struct {
	Track    Track
	Arm      string
	Attempt  int64
	First, N int64
	Last     bool             // nothing follows
	Values   map[Column]int64 // how many of each series
}

// ReadHead walks an encoded MetricBatch and counts the values instead of
// decoding them: recovery reads logs of gigabytes. Of what a batch says it
// checks the track only.
func ReadHead(b []byte) (*Head, error) {
	h := &Head{Values: map[Column]int64{}}
	var run, track string
	err := eachField(b, func(f wireField, v []byte, x uint64) error {
		switch f {
		case fieldRun:
			run = string(v)
		case fieldTrack:
			track = string(v)
		case fieldArm:
			h.Arm = string(v)
		case fieldAttempt:
			h.Attempt = int64(x)
		case fieldFirst:
			h.First = int64(x)
		case fieldSteps:
			h.N = int64(x)
		case fieldLast:
			h.Last = x != 0
		case fieldColumns:
			return h.column(v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.Track, err = NewTrack(run, track)
	return h, err
}

func (h *Head) column(b []byte) error {
	var c Column
	var n int64
	err := eachField(b, func(f wireField, v []byte, _ uint64) error {
		switch f {
		case fieldMetric:
			c.Metric = string(v)
		case fieldLayer:
			c.Layer = string(v)
		case fieldValues:
			if len(v)%4 != 0 {
				return errors.New("packed values are cut")
			}
			n += int64(len(v) / 4)
		case fieldValue:
			n++
		}
		return nil
	})
	h.Values[c] += n
	return err
}

// wireField is a field's number and wire type; one of another type than the
// schema's is unknown to the decoder, and so here.
type wireField struct {
	num protowire.Number
	typ protowire.Type
}

// The fields of MetricBatch and MetricColumn that a head needs.
var (
	fieldRun     = wireField{1, protowire.BytesType}
	fieldTrack   = wireField{2, protowire.BytesType}
	fieldAttempt = wireField{3, protowire.VarintType}
	fieldFirst   = wireField{4, protowire.VarintType}
	fieldSteps   = wireField{5, protowire.VarintType}
	fieldColumns = wireField{6, protowire.BytesType}
	fieldArm     = wireField{7, protowire.BytesType}
	fieldLast    = wireField{8, protowire.VarintType}

	fieldMetric = wireField{1, protowire.BytesType}
	fieldLayer  = wireField{2, protowire.BytesType}
	fieldValues = wireField{4, protowire.BytesType}
	fieldValue  = wireField{4, protowire.Fixed32Type} // not packed
)

// eachField calls f with every field of a message: its bytes where it has a
// length, its number where it is a varint.
func eachField(b []byte, f func(f wireField, v []byte, x uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v []byte
		var x uint64
		switch typ {
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(wireField{num, typ}, v, x); err != nil {
			return err
		}
	}
	return nil
}
