package metrics

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// sealer turns complete logs into Parquet files, one at a time, off the path of
// the acknowledgements.
type sealer struct {
	store *store
	log   *slog.Logger
	stats *stats
	retry time.Duration

	// pause keeps files from being sealed while an experiment is deleted.
	pause sync.Mutex

	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	wake   chan struct{}

	mu      sync.Mutex
	queue   []*track // the first is in work
	waiters []chan struct{}
}

func newSealer(st *store, log *slog.Logger, stats *stats, retry time.Duration) *sealer {
	s := &sealer{
		store: st, log: log, stats: stats, retry: retry,
		ended: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s
}

func (s *sealer) add(t *track) {
	s.mu.Lock()
	s.queue = append(s.queue, t)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wait returns when the queue is empty.
func (s *sealer) wait(ctx context.Context) error {
	s.mu.Lock()
	if len(s.queue) == 0 {
		s.mu.Unlock()
		return nil
	}
	empty := make(chan struct{})
	s.waiters = append(s.waiters, empty)
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return errStopping
	}
}

func (s *sealer) close() {
	s.cancel()
	<-s.ended
}

func (s *sealer) run() {
	defer close(s.ended)
	for {
		s.mu.Lock()
		var t *track
		if len(s.queue) > 0 {
			t = s.queue[0]
		} else {
			for _, w := range s.waiters {
				close(w)
			}
			s.waiters = nil
		}
		s.mu.Unlock()
		if t == nil {
			select {
			case <-s.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		err := s.seal(t)
		if s.ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.queue = s.queue[1:]
		if err != nil {
			s.queue = append(s.queue, t)
		}
		s.mu.Unlock()
		if err != nil {
			s.stats.sealErrors.Inc()
			s.log.Error("write parquet file, will try again", "run", t.key.Run, "track", t.key.Name,
				"after", s.retry, "error", err)
			timer := time.NewTimer(s.retry)
			select {
			case <-timer.C:
			case <-s.ctx.Done():
				timer.Stop()
				return
			}
		}
	}
}

// seal writes one track's Parquet file and removes its log. It may be repeated
// from any point.
func (s *sealer) seal(t *track) error {
	s.pause.Lock()
	defer s.pause.Unlock()
	t.mu.Lock()
	size, gone := t.size, t.gone
	t.mu.Unlock()
	if gone {
		return nil
	}
	// The log of a complete track changes no more, so the work needs no lock.
	src, err := openLogSource(t.path+logExt, size)
	if errors.Is(err, fs.ErrNotExist) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.gone {
			s.store.lost(t)
		}
		return nil
	}
	if err != nil {
		return err
	}
	err = errors.Join(writeParquet(s.ctx, t.path+parquetExt, src), src.close())
	if err != nil {
		return err
	}
	// A look for the track finds the file from now on.
	t.mu.Lock()
	s.store.drop(t)
	t.mu.Unlock()
	s.stats.sealed.Inc()
	return os.Remove(t.path + logExt)
}
