package data

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"weak"
)

// Dir is a Source over a data folder that holds <dataset>/<file>, and own datasets in a folder of theirs. Each
// dataset is read, verified and decoded once per Dir, and every Load returns that one copy. Make one Dir per process
// with NewDir and share it.
type Dir struct {
	path      string
	catalogue []Meta

	mu     sync.Mutex
	loaded map[string]*slot
	// recent is the own dataset that was asked for last. There may be any number of own ones, of which a long-lived
	// process keeps only those that are in use, and this one.
	recent *Dataset
}

// slot holds one dataset; its lock makes concurrent first loads of that dataset wait for one reader.
type slot struct {
	mu  sync.Mutex
	d   *Dataset
	own weak.Pointer[Dataset]
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
	meta, folder, err := d.find(name)
	if err != nil {
		return nil, err
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
	if own := s.own.Value(); own != nil {
		return own, nil
	}
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
	if !IsRef(name) {
		s.d = ds
		return ds, nil
	}
	s.own = weak.Make(ds)
	d.mu.Lock()
	d.recent = ds
	d.mu.Unlock()
	return ds, nil
}

// find describes a dataset, and names the folder that it is in.
func (d *Dir) find(name string) (Meta, string, error) {
	if IsRef(name) {
		meta, err := ParseRef(name)
		return meta, filepath.Join(d.path, OwnFolder), err
	}
	meta, ok := find(d.catalogue, name)
	if !ok {
		return Meta{}, "", Unknown(name, d.catalogue)
	}
	return meta, filepath.Join(d.path, name), nil
}
