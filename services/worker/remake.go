package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"neoteny/internal/blob"
	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// What was committed and is lost since, a checkpoint or rows of metrics, is computed
// again: a run is a function of its spec and seed, so it comes out with the same bits.
// That is checked, by the digest of the checkpoint that the segment starts from, before
// anything is made of it.

// damaged reports whether a read failed because the object is gone or not what was
// stored: reading again cannot help.
func damaged(err error) bool {
	return errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt)
}

func (w *Worker) read(j *job, ref *pb.BlobRef) (b []byte, err error) {
	err = w.retry(j.steps, "blob", "read checkpoint", func() (err error) {
		b, err = w.store.Get(j.steps, ref, w.cfg.MaxCheckpoint)
		return err
	})
	return b, err
}

// checkpoint reads what a segment starts from. Where it is damaged it is made again,
// and stored again for those who start from it later.
func (w *Worker) checkpoint(j *job, run *runInfo) ([]byte, error) {
	b, err := w.read(j, j.start)
	if err == nil || !damaged(err) {
		return b, err
	}
	if b, err = w.relive(j, run, j.ref.GetFirstStep(), false, err); err != nil {
		return nil, err
	}
	if _, err := w.store.Put(j.ctx, j.start.GetKey(), b); err != nil {
		w.log.Warn("the checkpoint that was made again could not be stored", "key", j.start.GetKey(), "error", err)
	}
	return b, nil
}

// refill sends the rows again that the metrics service has lost before the segment.
func (w *Worker) refill(j *job, gap *metricsclient.GapError) error {
	if gap.Durable >= j.ref.GetFirstStep() || j.start == nil {
		return nil // the segment itself sends them
	}
	run, err := w.run(j.steps, j)
	if err != nil {
		return err
	}
	_, err = w.relive(j, run, gap.Durable, true, gap)
	return err
}

// relive makes the steps before a segment again, from a checkpoint that is of step
// limit or before, or from the beginning, and returns the checkpoint that the segment
// starts from. send sends the rows on the way to the metrics service.
func (w *Worker) relive(j *job, run *runInfo, limit int64, send bool, why error) ([]byte, error) {
	l, err := w.before(j, run, limit)
	if err != nil {
		return nil, err
	}
	from, first := l.Step(), j.ref.GetFirstStep()
	w.log.Warn("lost work is made again", "run", j.key.run, "track", j.key.track, "first_step", from, "end_step", first, "reason", why)
	s := &again{ctx: j.ctx}
	if send {
		if s.writer, err = w.metrics.Open(j.key.run, j.key.track, run.arm, w.board.attempt(j), from); err != nil {
			return nil, err
		}
		defer s.writer.Close()
		w.extend(j, s.writer)
	}
	err = l.Advance(j.steps, first, s)
	if lost, ok := errors.AsType[*engine.SinkError](err); ok {
		return nil, fmt.Errorf("metrics: %w", lost.Err)
	}
	switch {
	case err != nil && j.ctx.Err() != nil:
		return nil, context.Cause(j.ctx)
	case err != nil && j.steps.Err() != nil:
		return nil, errUnbegun
	case err != nil:
		return nil, &runError{err}
	}
	c, ok := l.(checkpointer)
	if !ok {
		return nil, fmt.Errorf("no checkpoint can be made again: %w", why)
	}
	var b bytes.Buffer
	if err := c.Save(&b); err != nil {
		return nil, &runError{err}
	}
	sum := sha256.Sum256(b.Bytes())
	if e, ok := l.(ender); ok && j.generation > 0 && hex.EncodeToString(sum[:]) != j.start.GetSha256() {
		b.Reset() // perhaps the run was shorter when it came here
		if err := e.SaveEnd(&b); err != nil {
			return nil, &runError{err}
		}
		sum = sha256.Sum256(b.Bytes())
	}
	if hex.EncodeToString(sum[:]) != j.start.GetSha256() {
		return nil, fmt.Errorf("steps [%d, %d) were made again and the checkpoint has SHA-256 %x, the one that was committed %q: %w",
			from, first, sum, j.start.GetSha256(), why)
	}
	if send {
		if _, err := s.writer.Flush(j.ctx); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return b.Bytes(), nil
}

// before makes the run's life as it is at the earlier checkpoint, or at the beginning
// where that is damaged or beyond limit.
func (w *Worker) before(j *job, run *runInfo, limit int64) (life, error) {
	o, err := w.origin(j, run)
	if err != nil {
		return nil, err
	}
	o.deferred = false // what is measured later is measured of the run's life
	l, err := run.program.New(o)
	if err != nil {
		return nil, &runError{err}
	}
	e := j.earlier
	if e.GetCheckpoint() == nil || e.GetStep() > limit {
		return l, nil
	}
	b, err := w.read(j, e.GetCheckpoint())
	switch {
	case damaged(err):
		return l, nil
	case err != nil:
		return nil, err
	}
	if err := l.Load(b); err != nil {
		return nil, &runError{err}
	}
	if l.Step() != e.GetStep() {
		return nil, fmt.Errorf("checkpoint %s is of step %d, not %d", e.GetCheckpoint().GetKey(), l.Step(), e.GetStep())
	}
	return l, nil
}

// again takes the rows of steps that are made again. Their boundaries are committed.
type again struct {
	ctx    context.Context
	writer metricWriter // nil: the rows are not needed
	series []metric.Series
}

// Rows implements engine.Sink.
func (s *again) Rows(r engine.Rows) error {
	if s.writer == nil {
		return nil
	}
	s.series = s.series[:0]
	for _, x := range r.Series {
		s.series = append(s.series, metric.Series{Column: metric.Column(x.Column), Offsets: x.Offsets, Values: x.Values})
	}
	return s.writer.Append(s.ctx, metric.Rows{First: r.First, N: r.N, Series: s.series})
}

// Boundary implements engine.Sink.
func (s *again) Boundary(engine.Boundary) error { return nil }
