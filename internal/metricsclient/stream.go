package metricsclient

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// run is the goroutine that owns the stream.
func (c *Client) run() {
	defer close(c.ended)
	for failures := 0; ; {
		if !c.waitForWork() {
			return
		}
		acked, err := c.runSession()
		switch {
		case c.ctx.Err() != nil:
			return
		case errors.Is(err, errNewSession):
			failures = 0
			continue
		case acked:
			failures = 0
		}
		c.mu.Lock()
		c.reconnects++
		c.mu.Unlock()
		pause := c.backoff(failures)
		failures++
		c.log.Warn("metrics stream was interrupted", "error", err, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// backoff draws the pause after so many failures in a row: full jitter, so that
// workers do not come back in step.
func (c *Client) backoff(failures int) time.Duration {
	limit := c.cfg.BackoffMax
	if shifted := c.cfg.BackoffBase << min(failures, 20); shifted > 0 {
		limit = min(limit, shifted)
	}
	return rand.N(limit) + 1
}

// waitForWork waits until there is something to send; it says false when the
// client is closed.
func (c *Client) waitForWork() bool {
	for {
		c.mu.Lock()
		c.sealLate(time.Now())
		work, late := c.hasWork(), c.nextLate()
		c.mu.Unlock()
		if work {
			return c.ctx.Err() == nil
		}
		if !c.sleep(nil, late) {
			return false
		}
	}
}

// sleep waits for a poke, the time (if it is not zero) or an end of the session.
func (c *Client) sleep(session <-chan struct{}, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-c.wake:
	case <-due:
	case <-session:
	case <-c.ctx.Done():
		return false
	}
	return true
}

// The following need the mutex.

func (c *Client) hasWork() bool {
	for _, w := range c.writers {
		if w.ask && !w.asked || w.sent < len(w.queue) {
			return true
		}
	}
	return false
}

// sealLate queues the batches that have waited long enough.
func (c *Client) sealLate(now time.Time) {
	for _, w := range c.writers {
		if w.making.Steps() > 0 && now.Sub(w.started) >= c.cfg.FlushEvery {
			w.trySeal()
		}
	}
}

// nextLate returns when the next batch will have; zero where none is in the making
// or the late ones have no room (an acknowledgement will wake us then).
func (c *Client) nextLate() time.Time {
	var next time.Time
	for _, w := range c.writers {
		if w.making.Steps() == 0 {
			continue
		}
		due := w.started.Add(c.cfg.FlushEvery)
		if due.After(time.Now()) && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

// owes reports whether the service owes answers in this session.
func (c *Client) owes() bool {
	for _, w := range c.writers {
		if w.asked || w.sent > 0 {
			return true
		}
	}
	return false
}

var (
	errNewSession = errors.New("a new stream is needed")
	errSilent     = errors.New("metrics service does not acknowledge")
	errGap        = errors.New("metrics service misses steps that were sent")
)

// runSession opens a stream and sends over it until it breaks. It reports
// whether anything was acknowledged.
func (c *Client) runSession() (acked bool, err error) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	stream, err := c.api.ReportMetrics(ctx)
	if err != nil {
		return false, err
	}
	received := make(chan struct{})
	heard := make(chan struct{}, 1)
	go func() {
		defer close(received)
		for {
			resp, err := stream.Recv()
			if err != nil {
				cancel(err)
				return
			}
			for _, a := range resp.GetAcks() {
				if err := c.acknowledge(a); err != nil {
					cancel(err)
					return
				}
			}
			select {
			case heard <- struct{}{}:
			default:
			}
			c.poke()
		}
	}()
	defer func() {
		cancel(errNewSession)
		<-received
		select {
		case <-heard:
			acked = true
		default:
		}
		c.endSession()
	}()
	lastHeard := time.Now()
	for {
		select {
		case <-heard:
			acked, lastHeard = true, time.Now()
		case <-ctx.Done():
			return acked, context.Cause(ctx)
		default:
		}
		c.mu.Lock()
		c.sealLate(time.Now())
		fresh, owed := c.newSession, c.owes()
		c.mu.Unlock()
		if fresh {
			return acked, errNewSession
		}
		if !owed {
			lastHeard = time.Now()
		} else if time.Since(lastHeard) >= c.cfg.AckTimeout {
			return acked, errSilent
		}
		req, err := c.nextRequest()
		if err != nil {
			return acked, err
		}
		if req != nil {
			// Sending waits while the service takes nothing, so silence must end
			// that too.
			deaf := time.AfterFunc(c.cfg.AckTimeout, func() { cancel(errSilent) })
			err := stream.Send(req)
			deaf.Stop()
			switch {
			case err == nil:
				continue
			case errors.Is(err, io.EOF): // the reason is what Recv says
				<-received
				err = context.Cause(ctx)
			case ctx.Err() != nil:
				err = context.Cause(ctx)
			}
			return acked, err
		}
		c.mu.Lock()
		until := c.nextLate()
		c.mu.Unlock()
		if owed {
			if late := lastHeard.Add(c.cfg.AckTimeout); until.IsZero() || late.Before(until) {
				until = late
			}
		}
		if !c.sleep(ctx.Done(), until) {
			return acked, c.ctx.Err()
		}
	}
}

// endSession forgets what was sent: whatever is not acknowledged goes again.
func (c *Client) endSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session++
	c.newSession = false
	clear(c.owed)
	for _, w := range c.writers {
		w.sent, w.asked = 0, false
	}
}

// nextRequest gathers what is to be sent, a batch of every writer in turn, up to
// about the size of one batch; nothing where there is nothing.
func (c *Client) nextRequest() (*pb.ReportMetricsRequest, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var req pb.ReportMetricsRequest
	size := int64(0)
	fits := func(n int64) bool {
		return len(req.Batches) == 0 || size+n <= metric.MaxBatchBytes && len(req.Batches) < 1024
	}
	for more := true; more; {
		more = false
		for _, w := range c.writers {
			if w.ask && !w.asked && fits(metric.BatchOverhead) {
				w.asked = true
				size += metric.BatchOverhead
				req.Batches = append(req.Batches, &pb.MetricBatch{
					Run: w.track.Run, Track: w.track.Name, Arm: w.arm, Attempt: w.attempt, FirstStep: w.first,
				})
			}
			if w.sent == len(w.queue) || w.ask && !w.asked || !fits(w.queue[w.sent].bytes) {
				continue
			}
			e := w.queue[w.sent]
			b := e.batch
			if b == nil {
				var err error
				if b, err = c.spill.get(e.at); err != nil {
					// What was spilled is gone, so these rows can never be sent.
					w.fail(err)
					continue
				}
			}
			w.sent++
			size += e.bytes
			req.Batches = append(req.Batches, b)
			more = true
		}
	}
	// The next request begins with another writer.
	if n := len(c.writers); n > 1 {
		c.writers = append(c.writers[1:n:n], c.writers[0])
	}
	if len(req.Batches) == 0 {
		return nil, nil
	}
	c.requests++
	return &req, nil
}

// acknowledge takes one answer. An error asks for a new session.
func (c *Client) acknowledge(a *pb.MetricAck) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	track := metric.Track{Run: a.GetRun(), Name: a.GetTrack()}
	w := c.byTrack[track]
	if w == nil || w.err != nil || c.owed[track] == c.session {
		return nil // of a writer that was closed
	}
	w.ask, w.asked = false, false
	switch {
	case a.Fenced:
		w.fail(ErrFenced)
		return nil
	case a.Error != "" && !a.Gap:
		w.fail(&RefusedError{w.track.Run, w.track.Name, a.Error})
		return nil
	case a.DurableStep < w.acked:
		w.fail(&GapError{w.track.Run, w.track.Name, a.DurableStep, w.acked})
		return nil
	}
	w.durable = max(w.durable, a.DurableStep)
	w.ahead = w.ahead || a.DurableStep > w.sealed
	for len(w.queue) > 0 {
		e := w.queue[0]
		if e.end > a.DurableStep || e.last && !a.Complete {
			break
		}
		c.release(e)
		w.acked = max(w.acked, e.end)
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.sent = max(0, w.sent-1)
	}
	w.acked = max(w.acked, min(a.DurableStep, w.sealed))
	c.changed()
	if a.Gap {
		return errGap
	}
	return nil
}
