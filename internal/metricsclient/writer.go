package metricsclient

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// Writer takes the rows of one track of one run under one attempt. Its methods
// are for one goroutine; they are safe against the client's own.
type Writer struct {
	c       *Client
	track   metric.Track
	arm     string
	attempt int64

	// Guarded by the client's mutex, as all that follows.
	err     error
	first   int64 // where the writer began
	next    int64 // step after the last appended
	sealed  int64 // step after the last that is in an entry or was dropped as durable
	acked   int64 // steps below are durable at the service, or lie before first
	durable int64 // the highest durable step that the service has acknowledged
	values  int64
	closed  bool
	last    bool // Finish was called
	extends bool // what is complete goes on

	making  metric.Builder
	started time.Time // of the batch in the making; zero while it is empty

	queue []*entry
	sent  int  // entries of the queue sent in this session
	ask   bool // the service is to say what it has
	asked bool // it owes the answer in this session
	// ahead: the service was further than what was sent, so answers to that may
	// be owed although nothing waits for them.
	ahead bool
}

// Extend says that the run has become longer: where the service has its track as
// complete, what is appended goes on with it. It is called before anything is appended.
func (w *Writer) Extend() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.extends = true
}

// Append takes a block of rows, which must start where the last one ended, and
// copies its values. It returns at once but where memory and the spill quota are
// full: then it waits for the service, or ctx. An error is final: ErrFenced,
// *GapError, *RefusedError or ErrClosed, a malformed block, or that of ctx after
// a wait that it ended: the writer is of no use then.
func (w *Writer) Append(ctx context.Context, r metric.Rows) error {
	if err := r.Check(); err != nil {
		return fmt.Errorf("append metrics of %s: %w", w.track.Run, err)
	}
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if r.First != w.next {
		return fmt.Errorf("append metrics of %s: rows start at step %d, not at %d", w.track.Run, r.First, w.next)
	}
	w.values += r.Values()
	for from := int64(0); from < r.N; {
		if step := r.First + from; step < w.durable && w.making.Steps() == 0 {
			// Done again, and the service has it.
			from += min(w.durable-step, r.N-from)
			w.next = r.First + from
			w.sealed = w.next
			w.acked = w.next
			continue
		}
		n := min(w.making.Room(r, int64(c.cfg.FlushRows)), r.N-from)
		if n == 0 {
			if w.making.Steps() == 0 {
				n = 1 // the service's limit on a message is wider than ours
			} else {
				if err := w.seal(ctx, false); err != nil {
					return err
				}
				continue
			}
		}
		if w.making.Steps() == 0 {
			w.started = time.Now()
			c.poke()
		}
		w.making.Add(r, from, from+n)
		from += n
		w.next = r.First + from
	}
	if w.making.Steps() >= int64(c.cfg.FlushRows) {
		return w.seal(ctx, false)
	}
	return nil
}

// Flush waits until all rows appended are durable at the service and returns
// what they are: the steps and values since Open, the same whatever was sent
// again or dropped as known. Its errors are those of Append.
func (w *Writer) Flush(ctx context.Context) (*pb.MetricManifest, error) {
	return w.flush(ctx, false)
}

// Finish is Flush that also marks the track as complete, upon
// which it is turned into a Parquet file. Nothing can be appended afterwards.
func (w *Writer) Finish(ctx context.Context) (*pb.MetricManifest, error) {
	return w.flush(ctx, true)
}

func (w *Writer) flush(ctx context.Context, last bool) (*pb.MetricManifest, error) {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.live(); err != nil {
		return nil, err
	}
	if w.making.Steps() > 0 || last && !w.last {
		if err := w.seal(ctx, last); err != nil {
			return nil, err
		}
		w.last = w.last || last
	}
	c.poke()
	for len(w.queue) > 0 || w.ask {
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
		if err := w.live(); err != nil {
			return nil, err
		}
	}
	return &pb.MetricManifest{Steps: w.next - w.first, Values: w.values}, nil
}

// Close gives up what is not acknowledged and frees its place. After a Flush
// that is nothing.
func (w *Writer) Close() {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.closed {
		return
	}
	if w.owes() {
		c.owed[w.track] = c.session
	}
	w.abandon(ErrClosed)
	delete(c.byTrack, w.track)
	for i, x := range c.writers {
		if x == w {
			c.writers = append(c.writers[:i:i], c.writers[i+1:]...)
			break
		}
	}
}

// owes reports whether answers for the writer may still come in this session.
func (w *Writer) owes() bool { return w.sent > 0 || w.asked || w.ahead }

// live returns why the writer is at its end, if it is.
func (w *Writer) live() error {
	switch {
	case w.err != nil:
		return w.err
	case w.closed || w.c.closed:
		return ErrClosed
	}
	return nil
}

// usable is live for appending.
func (w *Writer) usable() error {
	if err := w.live(); err != nil {
		return err
	}
	if w.last {
		return fmt.Errorf("append metrics of %s: the track was finished", w.track.Run)
	}
	return nil
}

// abandon frees everything and makes err the writer's answer.
func (w *Writer) abandon(err error) {
	for _, e := range w.queue {
		w.c.release(e)
	}
	w.queue, w.sent, w.ask, w.asked = nil, 0, false, false
	w.making, w.started = metric.Builder{}, time.Time{}
	w.closed = true
	if w.err == nil {
		w.err = err
	}
	w.c.changed()
}

// fail ends the writer for a reason that sending again does not remove.
func (w *Writer) fail(err error) {
	if w.err != nil {
		return
	}
	level := slog.LevelError
	if _, ok := errors.AsType[*GapError](err); ok {
		level = slog.LevelDebug // who writes makes the rows again, and says so
	}
	w.c.log.Log(context.Background(), level, "metrics writer ended", "run", w.track.Run, "track", w.track.Name, "attempt", w.attempt, "error", err)
	owes := w.owes()
	w.abandon(err)
	w.closed = false // Close is still to come
	if owes {
		w.c.owed[w.track] = w.c.session
	}
}

// batch makes a message of what was gathered.
func (w *Writer) batch(last bool) (*pb.MetricBatch, int64) {
	bytes := w.making.Bytes()
	b := w.making.Batch(w.sealed)
	b.Run, b.Track, b.Arm, b.Attempt, b.Last = w.track.Run, w.track.Name, w.arm, w.attempt, last
	b.Extends = w.extends
	w.started = time.Time{}
	return b, bytes
}

// seal queues the batch in the making, waiting for a place where there is none.
func (w *Writer) seal(ctx context.Context, last bool) error {
	c := w.c
	b, bytes := w.batch(last)
	waiting := false
	for {
		e, err := c.admit(b, bytes)
		if err == nil {
			w.sealed = e.end
			w.queue = append(w.queue, e)
			c.poke()
			return nil
		}
		if !waiting {
			waiting = true
			c.pause(err)
			defer c.resume()
		}
		var again <-chan time.Time
		if !errors.Is(err, errSpillFull) {
			// The disk's own trouble may pass without an acknowledgement.
			again = time.After(time.Second)
		}
		if err := c.waitOr(ctx, again); err != nil {
			return w.lost(err)
		}
		if err := w.live(); err != nil {
			return err
		}
	}
}

// lost ends a writer whose batch found no place in time: it cannot go on
// without a hole.
func (w *Writer) lost(err error) error {
	err = fmt.Errorf("metrics of %s wait for the metrics service: %w", w.track.Run, err)
	w.abandon(err)
	w.closed = false
	return err
}

// trySeal is seal for the client's goroutine, which must not wait.
func (w *Writer) trySeal() {
	c := w.c
	if c.memory > 0 && c.memory+w.making.Bytes() > c.cfg.MemoryBytes {
		return // it is not the batch that is late then
	}
	b, bytes := w.batch(false)
	e, err := c.admit(b, bytes)
	if err != nil { // there was room
		w.fail(err)
		return
	}
	w.sealed = e.end
	w.queue = append(w.queue, e)
}
