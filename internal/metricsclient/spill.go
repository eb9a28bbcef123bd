package metricsclient

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"

	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

// spill keeps batches on disk that memory has no room for. It writes files of
// some megabytes, each record as length, CRC32C and payload, and gives a file
// back when nothing in it is needed any more. The files have no name: they are
// unlinked as soon as they are open, so the system reclaims them however the
// process ends. Not safe for concurrent use.
type spill struct {
	dir      string
	quota    int64
	fileSize int64
	total    int64 // bytes of all files
	files    map[*spillFile]struct{}
	last     *spillFile
}

type spillFile struct {
	f    *os.File
	name string // not empty where it could not be unlinked while open
	size int64
	live int // records still needed
}

// spilled says where a batch is.
type spilled struct {
	file      *spillFile
	off, size int64
}

const (
	spillHeader   = 8
	spillFileSize = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errSpillFull says that the quota has no room.
var errSpillFull = errors.New("spill quota is full")

func newSpill(dir string, quota int64) (*spill, error) {
	if quota > 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("create spill folder: %w", err)
		}
	}
	return &spill{
		dir: dir, quota: quota, fileSize: max(1, min(spillFileSize, quota/8)),
		files: map[*spillFile]struct{}{},
	}, nil
}

func (s *spill) put(b *pb.MetricBatch) (spilled, error) {
	if s.total >= s.quota {
		return spilled{}, errSpillFull
	}
	record, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, spillHeader), b)
	if err != nil {
		return spilled{}, err
	}
	if s.total+int64(len(record)) > s.quota {
		return spilled{}, errSpillFull
	}
	binary.LittleEndian.PutUint32(record, uint32(len(record)-spillHeader))
	binary.LittleEndian.PutUint32(record[4:], crc32.Checksum(record[spillHeader:], castagnoli))
	if s.last == nil || s.last.size >= s.fileSize {
		if err := s.open(); err != nil {
			return spilled{}, err
		}
	}
	f := s.last
	// Written over again after an error, so a short write leaves no trace.
	if _, err := f.f.WriteAt(record, f.size); err != nil {
		return spilled{}, fmt.Errorf("write spill file: %w", err)
	}
	at := spilled{f, f.size, int64(len(record))}
	f.size += at.size
	f.live++
	s.total += at.size
	return at, nil
}

func (s *spill) open() error {
	f, err := os.CreateTemp(s.dir, "spill-*")
	if err != nil {
		return fmt.Errorf("create spill file: %w", err)
	}
	file := &spillFile{f: f}
	if os.Remove(f.Name()) != nil {
		file.name = f.Name()
	}
	if old := s.last; old != nil && old.live == 0 {
		s.drop(old)
	}
	s.files[file] = struct{}{}
	s.last = file
	return nil
}

func (s *spill) get(at spilled) (*pb.MetricBatch, error) {
	record := make([]byte, at.size)
	if _, err := at.file.f.ReadAt(record, at.off); err != nil {
		return nil, fmt.Errorf("read spill file: %w", err)
	}
	if crc32.Checksum(record[spillHeader:], castagnoli) != binary.LittleEndian.Uint32(record[4:]) {
		return nil, errors.New("read spill file: checksum does not match")
	}
	var b pb.MetricBatch
	if err := proto.Unmarshal(record[spillHeader:], &b); err != nil {
		return nil, fmt.Errorf("read spill file: %w", err)
	}
	return &b, nil
}

// free gives a record back.
func (s *spill) free(at spilled) {
	f := at.file
	f.live--
	if f.live > 0 {
		return
	}
	if f != s.last {
		s.drop(f)
		return
	}
	// Nothing needs the file that is being written: start it again.
	if f.f.Truncate(0) == nil {
		s.total -= f.size
		f.size = 0
	} else {
		s.last = nil
		s.drop(f)
	}
}

func (s *spill) drop(f *spillFile) {
	s.total -= f.size
	delete(s.files, f)
	// It was only ever a place to put bytes; there is nothing to do about a
	// close that fails.
	_ = f.f.Close()
	if f.name != "" {
		_ = os.Remove(f.name)
	}
}

func (s *spill) close() {
	for f := range s.files {
		s.drop(f)
	}
}
