package metrics

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"neoteny/internal/metric"
)

const (
	logExt     = ".wal"
	parquetExt = ".parquet"
	tempExt    = ".tmp"
	badExt     = ".bad"
	// trashPrefix marks experiments being deleted; no escaped name starts with
	// a dot.
	trashPrefix = ".deleted-"
	lockName    = ".lock"
)

// logFile is an open log. Tests put a failing disk behind it.
type logFile interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

func openLogFile(path string) (logFile, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
}

// track is what is known about one track of one run. Its values are in its log
// while it grows and in its Parquet file once it is sealed.
type track struct {
	key  metric.Track
	path string // without extension

	mu      sync.Mutex
	arm     string
	origin  int64 // first step
	durable int64 // step after the last synced one
	fences  fences
	series  map[metric.Column]struct{}
	// complete: the log ends with the last batch. sealed: the track was read from
	// its Parquet file. gone: deleted, sealed since, or an empty track that was
	// dropped; a caller that holds the pointer looks the key up again.
	complete, sealed, gone bool

	size  int64 // synced bytes of the log; 0 before there is one
	dirty bool  // the file may hold bytes beyond size
	file  logFile
	slot  *list.Element // place in store.open, guarded by store.mu
}

// store keeps the tracks and their files.
type store struct {
	dir     string
	log     *slog.Logger
	maxOpen int
	openLog func(path string) (logFile, error)
	lock    *os.File
	buffers sync.Pool // of *[]byte, for records on their way to a log

	mu     sync.Mutex
	tracks map[metric.Track]*track
	open   *list.List // of *track with an open file, latest use first
}

// openStore takes the data folder, repairs what a crash left and returns the
// tracks that are complete but not sealed.
func openStore(dir string, maxOpen int, log *slog.Logger) (*store, []*track, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("create metrics folder: %w", err)
	}
	lock, err := lockDir(filepath.Join(dir, lockName))
	if err != nil {
		return nil, nil, fmt.Errorf("lock metrics folder %s: %w", dir, err)
	}
	s := &store{
		dir: dir, log: log, maxOpen: maxOpen, openLog: openLogFile, lock: lock,
		tracks: map[metric.Track]*track{}, open: list.New(),
	}
	complete, err := s.recover()
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return s, complete, nil
}

// path returns where a track's files are, without extension.
func (s *store) path(k metric.Track) string {
	dir, base := fileNames(k)
	return filepath.Join(s.dir, dir, base)
}

// lookup returns a track, or nil where nothing of it is stored. A sealed track
// is read from its Parquet file each time and not kept in memory.
func (s *store) lookup(k metric.Track) (*track, error) {
	s.mu.Lock()
	t := s.tracks[k]
	s.mu.Unlock()
	if t != nil {
		return t, nil
	}
	path := s.path(k)
	meta, err := readParquetMeta(path + parquetExt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if damaged(err) {
		return nil, s.putAside(path+parquetExt, err)
	}
	if err != nil {
		return nil, err
	}
	return &track{
		key: k, path: path, arm: meta.Arm, origin: meta.Origin, durable: meta.End,
		complete: true, sealed: true,
	}, nil
}

// lookupOrAdd is lookup that starts a track where there is none.
func (s *store) lookupOrAdd(k metric.Track) (*track, error) {
	t, err := s.lookup(k)
	if t != nil || err != nil && !errors.Is(err, errDamaged) {
		return t, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tracks[k]; t != nil {
		return t, nil
	}
	// It may have been added, sealed and forgotten since the look.
	if _, err := os.Stat(s.path(k) + parquetExt); err == nil {
		return nil, fmt.Errorf("track %s was sealed meanwhile", k)
	}
	t = &track{key: k, path: s.path(k), series: map[metric.Column]struct{}{}}
	s.tracks[k] = t
	return t, nil
}

// drop forgets a track; its mutex is held.
func (s *store) drop(t *track) {
	t.gone = true
	s.closeLog(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tracks[t.key] == t {
		delete(s.tracks, t.key)
	}
}

// logOf opens the track's log for writing, closing the one that was used
// longest ago where too many are open. The track's mutex is held.
func (s *store) logOf(t *track) (logFile, error) {
	if t.file == nil {
		if t.size == 0 {
			if err := s.makeFolder(filepath.Dir(t.path)); err != nil {
				return nil, err
			}
		}
		f, err := s.openLog(t.path + logExt)
		if err != nil {
			return nil, err
		}
		t.file = f
		// The file may be the rest of an attempt that never got synced.
		t.dirty = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.slot == nil {
		t.slot = s.open.PushFront(t)
	} else {
		s.open.MoveToFront(t.slot)
	}
	for e := s.open.Back(); e != nil && s.open.Len() > s.maxOpen; {
		prev, old := e.Prev(), e.Value.(*track)
		// A track in use is skipped: its turn comes with the next opening.
		if old != t && old.mu.TryLock() {
			s.closeSlot(old)
			old.mu.Unlock()
		}
		e = prev
	}
	return t.file, nil
}

// closeLog closes the track's log; its mutex is held.
func (s *store) closeLog(t *track) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeSlot(t)
}

// closeSlot does so with the store's mutex held too.
func (s *store) closeSlot(t *track) {
	if t.slot != nil {
		s.open.Remove(t.slot)
		t.slot = nil
	}
	if t.file != nil {
		// Everything that counts has been synced.
		if err := t.file.Close(); err != nil {
			s.log.Warn("close metrics log", "path", t.path+logExt, "error", err)
		}
		t.file = nil
	}
}

// append writes records to the track's log and syncs it. After an error the
// log's content is what it was. The track's mutex is held.
func (s *store) append(t *track, records []byte) (err error) {
	created := t.size == 0
	f, err := s.logOf(t)
	if err != nil {
		return err
	}
	if t.dirty {
		// Also after a failed sync: the kernel may have dropped the pages it
		// could not write and believe them clean.
		if err := f.Truncate(t.size); err != nil {
			return err
		}
		t.dirty = false
	}
	off := t.size
	if created {
		records = append([]byte(logMagic), records...)
	}
	t.dirty = true
	if _, err = f.WriteAt(records, off); err == nil {
		err = f.Sync()
	}
	if err == nil && created {
		err = syncDir(filepath.Dir(t.path))
	}
	if err != nil {
		// Best effort; where it fails too, the next append does it first.
		if f.Truncate(off) == nil {
			t.dirty = false
		}
		return err
	}
	t.dirty = false
	t.size = off + int64(len(records))
	return nil
}

// makeFolder makes an experiment's folder so that it survives a power cut.
func (s *store) makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(s.dir)
}

// delete removes everything of an experiment. Nothing may append, add or seal
// meanwhile.
func (s *store) delete(experiment string) error {
	name := folder(experiment)
	trash := filepath.Join(s.dir, trashPrefix+name)
	if err := os.RemoveAll(trash); err != nil {
		return err
	}
	// Renamed first, a crash midway leaves nothing that reads like data.
	err := os.Rename(filepath.Join(s.dir, name), trash)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, t := range s.all() {
		if exp, _, _ := t.key.Split(); exp == experiment {
			t.mu.Lock()
			s.drop(t)
			t.mu.Unlock()
		}
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return os.RemoveAll(trash)
}

// all returns the tracks in memory.
func (s *store) all() []*track {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.tracks))
}

// close closes all files.
func (s *store) close() error {
	for _, t := range s.all() {
		t.mu.Lock()
		s.closeLog(t)
		t.mu.Unlock()
	}
	return s.lock.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
