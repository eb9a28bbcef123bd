package metrics

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	"neoteny/internal/metric"
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

// logSummary is what a pass over a log leaves in memory.
type logSummary struct {
	key     metric.Track
	arm     string
	origin  int64 // first step of the track
	durable int64 // step after the last
	records int64
	// complete: the last record says that nothing follows.
	complete bool
	fences   fences
	series   map[metric.Column]int64 // values per series
	size     int64                   // bytes of the whole records
}

// scanLog reads a log's records without keeping or decoding their values. It
// stops at the first bytes that are not the next batch of the track and returns
// errTorn then, together with the summary of everything before.
func scanLog(r io.Reader, size int64) (*logSummary, error) {
	s := &logSummary{series: map[metric.Column]int64{}}
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
		h, err := metric.ReadHead(payload)
		if err != nil || !s.follows(h) {
			return s, errTorn
		}
		s.add(h)
	}
}

// follows reports whether a record may come next: the reader trusts a log only
// as far as it reads like one that the service wrote.
func (s *logSummary) follows(h *metric.Head) bool {
	if h.First < 0 || h.N < 0 || h.First > metric.MaxStep || h.N > metric.MaxStep || s.complete {
		return false
	}
	if s.records == 0 {
		return true
	}
	return h.Track == s.key && h.First == s.durable
}

func (s *logSummary) add(h *metric.Head) {
	if s.records == 0 {
		s.key, s.origin = h.Track, h.First
	}
	s.records++
	s.durable = h.First + h.N
	s.complete = h.Last
	if h.Arm != "" {
		s.arm = h.Arm
	}
	s.fences = s.fences.with(h.Attempt, s.durable)
	for k, n := range h.Values {
		s.series[k] += n
	}
}
