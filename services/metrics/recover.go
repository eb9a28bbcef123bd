package metrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"neoteny/internal/metric"
)

// recover reads the data folder and returns the tracks that are complete but not
// sealed.
func (s *store) recover() ([]*track, error) {
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read metrics folder: %w", err)
	}
	var complete []*track
	for _, d := range folders {
		dir := filepath.Join(s.dir, d.Name())
		switch {
		case strings.HasPrefix(d.Name(), trashPrefix):
			if err := os.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("remove deleted experiment: %w", err)
			}
			continue
		case !d.IsDir() || strings.HasPrefix(d.Name(), "."):
			continue
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("read experiment folder: %w", err)
		}
		for _, f := range files {
			path := filepath.Join(dir, f.Name())
			switch filepath.Ext(path) {
			case tempExt:
				err = os.Remove(path)
			case logExt:
				var t *track
				if t, err = s.recoverLog(path); t != nil {
					s.tracks[t.key] = t
					if t.complete {
						complete = append(complete, t)
					}
				}
			}
			if err != nil {
				return nil, fmt.Errorf("recover %s: %w", path, err)
			}
		}
	}
	return complete, nil
}

// recoverLog scans a log and cuts its torn tail. It returns no track where
// nothing whole is left, and renames what it does not understand.
func (s *store) recoverLog(path string) (*track, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	sum, err := scanLog(f, info.Size())
	switch {
	case err == nil, errors.Is(err, errTorn):
	case errors.Is(err, errNotLog) && info.Size() < int64(len(logMagic)):
		// The file was made but its first bytes never reached the disk.
	case errors.Is(err, errNotLog):
		s.log.Error("renamed a file that is no metrics log", "path", path+badExt)
		return nil, os.Rename(path, path+badExt)
	default:
		return nil, err
	}
	if sum.records == 0 {
		s.log.Warn("removed a metrics log without a whole record", "path", path, "bytes", info.Size())
		return nil, os.Remove(path)
	}
	base := strings.TrimSuffix(path, logExt)
	if s.path(sum.key) != base {
		s.log.Error("renamed a metrics log that belongs to another run", "path", path+badExt, "run", sum.key.Run)
		return nil, os.Rename(path, path+badExt)
	}
	if sum.size < info.Size() {
		s.log.Warn("cut the torn tail of a metrics log", "run", sum.key.Run, "track", sum.key.Name,
			"path", path, "bytes", info.Size()-sum.size, "durable_step", sum.durable)
		if err := f.Truncate(sum.size); err != nil {
			return nil, err
		}
	}
	// What was written but not synced before the crash is about to be reported
	// as durable.
	if err := f.Sync(); err != nil {
		return nil, err
	}
	t := &track{
		key: sum.key, path: base, arm: sum.arm, origin: sum.origin, durable: sum.durable,
		fences: sum.fences, complete: sum.complete, size: sum.size, series: map[metric.Column]struct{}{},
	}
	for k := range sum.series {
		t.series[k] = struct{}{}
	}
	return t, nil
}
