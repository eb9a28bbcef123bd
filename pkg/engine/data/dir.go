package data

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Dir is a Source over a data folder that holds <dataset>/<file>. Each dataset is read, verified and decoded once
// per Dir, and every Load returns that one copy. Make one Dir per process with NewDir and share it.
type Dir struct {
	path      string
	catalogue []Meta

	mu     sync.Mutex
	loaded map[string]*slot
}

// slot holds one dataset; its lock makes concurrent first loads of that dataset wait for one reader.
type slot struct {
	mu sync.Mutex
	d  *Dataset
}

// NewDir returns a Source over the data folder path, for the datasets of catalogue, or for those of Catalogue()
// where none are given. It does no I/O.
func NewDir(path string, catalogue ...Meta) *Dir {
	if len(catalogue) == 0 {
		catalogue = Catalogue()
	}
	return &Dir{path: path, catalogue: catalogue, loaded: map[string]*slot{}}
}

// Load returns the dataset of that name. The error is a *MissingError where the folder lacks it or a part of it, a
// *CorruptError where a file is damaged, and wraps ErrUnknown where the catalogue does not have the name. Errors
// are not remembered: once fixed, the next Load succeeds.
func (d *Dir) Load(name string) (*Dataset, error) {
	meta, ok := find(d.catalogue, name)
	if !ok {
		return nil, Unknown(name, d.catalogue)
	}
	d.mu.Lock()
	s := d.loaded[name]
	if s == nil {
		s = &slot{}
		d.loaded[name] = s
	}
	d.mu.Unlock()

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.d != nil {
		return s.d, nil
	}
	folder := filepath.Join(d.path, name)
	ds, err := Decode(os.DirFS(folder), meta)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingError{Name: name, Dir: d.path}
	}
	if bad := (*CorruptError)(nil); errors.As(err, &bad) {
		return nil, &CorruptError{bad.Name, filepath.Join(folder, bad.File), bad.Problem}
	}
	if err != nil {
		return nil, err
	}
	s.d = ds
	return ds, nil
}
