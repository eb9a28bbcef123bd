package datashare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"weak"

	"neoteny/internal/blob"
	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

// fetchTime bounds how long a worker waits for a dataset out of the store.
const fetchTime = 10 * time.Minute

// Source is a data folder that is filled from the store: own datasets that it lacks are fetched. Make one per process.
type Source struct {
	folder data.Source
	dir    string
	store  Store
	log    *slog.Logger

	mu sync.Mutex // one fetch at a time
	// Where the folder cannot be written to, datasets that are in use stay in memory, and the last one.
	held map[string]weak.Pointer[data.Dataset]
	last *data.Dataset
}

// NewSource returns a source over the data folder dir and a store.
func NewSource(dir string, store Store, log *slog.Logger) *Source {
	return &Source{folder: data.NewDir(dir), dir: dir, store: store, log: log, held: map[string]weak.Pointer[data.Dataset]{}}
}

// Load implements [data.Source].
func (s *Source) Load(name string) (*data.Dataset, error) {
	d, err := s.folder.Load(name)
	if !errors.As(err, new(*data.MissingError)) || !data.IsRef(name) {
		return d, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.held[name].Value(); d != nil {
		return d, nil
	}
	if d, again := s.folder.Load(name); again == nil { // another run has fetched it meanwhile
		return d, nil
	}
	meta, perr := data.ParseRef(name)
	if perr != nil {
		return nil, perr
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	b, ferr := s.store.Fetch(ctx, meta.Digest())
	if errors.Is(ferr, blob.ErrNotFound) {
		return nil, fmt.Errorf("%s is neither in data folder %s nor in the cluster's data store: `neoteny submit` uploads it", meta.Title, s.dir)
	}
	if ferr != nil {
		return nil, fmt.Errorf("fetch %s: %w", meta.Title, ferr)
	}
	werr := datastore.PutContainer(s.dir, name, b)
	if werr == nil {
		s.log.Info("dataset fetched from the data store", "dataset", meta.Title, "folder", s.dir)
		return s.folder.Load(name)
	}
	d, derr := data.ReadContainer(b)
	if derr != nil || d.Name != name {
		return nil, fmt.Errorf("fetch %s: %w", meta.Title, werr)
	}
	s.log.Warn("dataset stays in memory: the data folder cannot be written to", "dataset", meta.Title, "error", werr)
	s.held[name], s.last = weak.Make(d), d
	return d, nil
}
