package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
)

const (
	backoffBase = 100 * time.Millisecond
	backoffMax  = 5 * time.Second
)

// retry calls f until it succeeds, fails for good, or ctx ends, whose cause it
// returns then. What call ("blob" or "cluster") stands for may be away for as
// long as it takes; only what looks like a condition and not an absence — a
// full store, and whatever the cluster, which tries on by itself, gave up — is
// given up after Config.Patience.
func (w *Worker) retry(ctx context.Context, call, what string, f func() error) error {
	begin := time.Now()
	for try := 0; ; try++ {
		err := f()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, errors.Join(context.Cause(ctx), err))
		case final(err):
			return err
		case (call == "cluster" || errors.Is(err, blob.ErrFull)) && time.Since(begin) >= w.cfg.Patience:
			return err
		}
		w.tel.Retry(call)
		limit := min(backoffMax, backoffBase<<min(try, 8))
		wait := limit/2 + rand.N(limit/2)
		w.log.Warn("trying again", "call", what, "in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// final reports whether trying again cannot fix an error.
func final(err error) bool {
	for _, e := range []error{
		cluster.ErrFenced, cluster.ErrNotFound, cluster.ErrConflict,
		blob.ErrNotFound, blob.ErrCorrupt, blob.ErrTooLarge, blob.ErrKey,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
