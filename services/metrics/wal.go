package metrics

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

// A log holds the batches of one track in step order, without gaps or overlaps.
//
//	file   = magic record*
//	record = length uint32 LE | CRC32C uint32 LE | payload
//
// The checksum covers the length and the payload, so a tail of zeros, which a
// power cut can leave, is no record. The payload is a MetricBatch.
const (
	logMagic     = "neowal1\n"
	recordHeader = 8
	// maxRecord bounds what a reader allocates for one record; the ingest limit
	// on a batch lies below it.
	maxRecord = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn says that a log's bytes stop being records; what lies before is whole.
var errTorn = errors.New("torn record")

// errNotLog says that a file does not start like a log.
var errNotLog = errors.New("not a metrics log")

// appendRecord appends the record of a batch to dst.
func appendRecord(dst []byte, b *pb.MetricBatch) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, recordHeader)...)
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, b)
	if err != nil {
		return dst[:start], fmt.Errorf("encode batch: %w", err)
	}
	size := len(dst) - start - recordHeader
	if size > maxRecord {
		return dst[:start], fmt.Errorf("record of %d bytes is over the limit of %d", size, maxRecord)
	}
	head := dst[start : start+recordHeader]
	binary.LittleEndian.PutUint32(head, uint32(size))
	binary.LittleEndian.PutUint32(head[4:], recordSum(head[:4], dst[start+recordHeader:]))
	return dst, nil
}

func recordSum(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

// logReader reads the payloads of a log's records.
type logReader struct {
	r    *bufio.Reader
	end  int64 // bytes of the log
	off  int64 // after the last whole record
	data []byte
}

// newLogReader reads the first size bytes of a log. It returns errNotLog where
// they do not start with the magic.
func newLogReader(r io.Reader, size int64) (*logReader, error) {
	l := &logReader{r: bufio.NewReaderSize(io.LimitReader(r, size), 256<<10), end: size}
	var magic [len(logMagic)]byte
	if _, err := io.ReadFull(l.r, magic[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errNotLog
		}
		return nil, err
	}
	if string(magic[:]) != logMagic {
		return nil, errNotLog
	}
	l.off = int64(len(logMagic))
	return l, nil
}

// next returns the next payload, valid until the next call; io.EOF after the
// last, errTorn where the rest of the file is not a whole record.
func (l *logReader) next() ([]byte, error) {
	left := l.end - l.off
	if left == 0 {
		return nil, io.EOF
	}
	if left < recordHeader {
		return nil, errTorn
	}
	var head [recordHeader]byte
	if _, err := io.ReadFull(l.r, head[:]); err != nil {
		return nil, shortAsTorn(err)
	}
	size := int64(binary.LittleEndian.Uint32(head[:]))
	if size == 0 || size > maxRecord || size > left-recordHeader {
		return nil, errTorn
	}
	if int64(cap(l.data)) < size {
		l.data = make([]byte, size)
	}
	l.data = l.data[:size]
	if _, err := io.ReadFull(l.r, l.data); err != nil {
		return nil, shortAsTorn(err)
	}
	if recordSum(head[:4], l.data) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, errTorn
	}
	l.off += recordHeader + size
	return l.data, nil
}

func shortAsTorn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// seriesKey names a series inside a run.
type seriesKey struct{ metric, layer string }

// logSummary is what a pass over a log leaves in memory.
type logSummary struct {
	key     trackKey
	arm     string
	origin  int64 // first step of the track
	durable int64 // step after the last
	records int64
	// complete: the last record says that nothing follows.
	complete bool
	fences   fences
	series   map[seriesKey]int64 // values per series
	size     int64               // bytes of the whole records
}

// scanLog reads a log's records without keeping or decoding their values. It
// stops at the first bytes that are not the next batch of the track and returns
// errTorn then, together with the summary of everything before.
func scanLog(r io.Reader, size int64) (*logSummary, error) {
	s := &logSummary{series: map[seriesKey]int64{}}
	l, err := newLogReader(r, size)
	if err != nil {
		return s, err
	}
	for {
		s.size = l.off
		payload, err := l.next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		h, err := parseHead(payload)
		if err != nil || !s.follows(h) {
			return s, errTorn
		}
		s.add(h)
	}
}

// follows reports whether a record may come next: the reader trusts a log only
// as far as it reads like one that the service wrote.
func (s *logSummary) follows(h *recordHead) bool {
	if h.first < 0 || h.n < 0 || h.first > maxStep || h.n > maxStep || s.complete {
		return false
	}
	if s.records == 0 {
		return true
	}
	return h.key == s.key && h.first == s.durable
}

func (s *logSummary) add(h *recordHead) {
	if s.records == 0 {
		s.key, s.origin = h.key, h.first
	}
	s.records++
	s.durable = h.first + h.n
	s.complete = h.last
	if h.arm != "" {
		s.arm = h.arm
	}
	s.fences = s.fences.with(h.attempt, s.durable)
	for k, n := range h.series {
		s.series[k] += n
	}
}

// recordHead is a batch without its values.
type recordHead struct {
	key      trackKey
	arm      string
	attempt  int64
	first, n int64
	last     bool
	series   map[seriesKey]int64
}

// wireField is a field's number and wire type; one of another type than the
// schema's is unknown to the decoder, and so here.
type wireField struct {
	num protowire.Number
	typ protowire.Type
}

// The fields of MetricBatch and MetricColumn that a scan needs.
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

// parseHead walks the wire format of a MetricBatch and counts the values
// instead of decoding them: recovery reads logs of gigabytes.
func parseHead(b []byte) (*recordHead, error) {
	h := &recordHead{series: map[seriesKey]int64{}}
	var run, track string
	err := eachField(b, func(f wireField, v []byte, x uint64) error {
		switch f {
		case fieldRun:
			run = string(v)
		case fieldTrack:
			track = string(v)
		case fieldArm:
			h.arm = string(v)
		case fieldAttempt:
			h.attempt = int64(x)
		case fieldFirst:
			h.first = int64(x)
		case fieldSteps:
			h.n = int64(x)
		case fieldLast:
			h.last = x != 0
		case fieldColumns:
			return h.column(v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.key, err = newTrackKey(run, track)
	return h, err
}

func (h *recordHead) column(b []byte) error {
	var k seriesKey
	var n int64
	err := eachField(b, func(f wireField, v []byte, _ uint64) error {
		switch f {
		case fieldMetric:
			k.metric = string(v)
		case fieldLayer:
			k.layer = string(v)
		case fieldValues:
			if len(v)%4 != 0 {
				return errTorn
			}
			n += int64(len(v) / 4)
		case fieldValue:
			n++
		}
		return nil
	})
	h.series[k] += n
	return err
}

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

// maxStep bounds step numbers so that sums of two cannot overflow.
const maxStep = math.MaxInt64 / 4

// maxFences bounds what is remembered about overtaken attempts of one track.
const maxFences = 16

// fence says that an attempt has sent the rows below end.
type fence struct{ attempt, end int64 }

// fences holds, by rising attempt, how far each has sent. An attempt that a
// higher one has passed says nothing any more and is left out, so the ends fall.
type fences []fence

// stale reports whether a higher attempt has sent rows at or beyond step.
func (f fences) stale(attempt, step int64) bool {
	for _, x := range f {
		if x.attempt > attempt && x.end > step {
			return true
		}
	}
	return false
}

// with returns the fences after the attempt has sent the rows below end.
func (f fences) with(attempt, end int64) fences {
	if n := len(f); n > 0 && f[n-1].attempt == attempt && f[n-1].end >= end {
		return f
	}
	out := make(fences, 0, len(f)+1)
	placed := false
	for _, x := range f {
		if x.attempt == attempt {
			end = max(end, x.end)
			continue
		}
		if x.attempt > attempt && !placed {
			out, placed = append(out, fence{attempt, end}), true
		}
		out = append(out, x)
	}
	if !placed {
		out = append(out, fence{attempt, end})
	}
	kept := out[:0]
	for i, x := range out {
		passed := false
		for _, y := range out[i+1:] {
			passed = passed || y.end >= x.end
		}
		if !passed {
			kept = append(kept, x)
		}
	}
	if len(kept) > maxFences {
		kept = kept[len(kept)-maxFences:]
	}
	return kept
}
