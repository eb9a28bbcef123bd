package metricsclient

import (
	"context"
	"time"

	pb "neoteny/proto/neoteny/v1"
)

// entry is a batch in the queue, in memory or spilled.
type entry struct {
	end   int64
	last  bool
	bytes int64
	batch *pb.MetricBatch
	at    spilled
}

// admit finds a place for a batch: memory, else disk. The mutex is held.
func (c *Client) admit(b *pb.MetricBatch, bytes int64) (*entry, error) {
	e := &entry{end: b.FirstStep + b.NSteps, last: b.Last, bytes: bytes}
	// A batch always fits into empty memory, however small that was made.
	if c.memory == 0 || c.memory+bytes <= c.cfg.MemoryBytes {
		e.batch = b
		c.memory += bytes
		return e, nil
	}
	at, err := c.spill.put(b)
	if err != nil {
		return nil, err
	}
	c.spilled += at.size
	e.at = at
	return e, nil
}

// release gives an entry's place back; the mutex is held.
func (c *Client) release(e *entry) {
	if e.batch != nil {
		c.memory -= e.bytes
		e.batch = nil
		return
	}
	c.spill.free(e.at)
}

// wait waits for a change with the mutex released.
func (c *Client) wait(ctx context.Context) error { return c.waitOr(ctx, nil) }

func (c *Client) waitOr(ctx context.Context, again <-chan time.Time) error {
	change := c.change
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-change:
		return nil
	case <-again:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause notes that an Append waits.
func (c *Client) pause(err error) {
	c.paused++
	// A service that is slower than training pauses it at every batch: once in a
	// while is enough to say so.
	if now := time.Now(); now.Sub(c.pauseTold) >= 10*time.Second {
		c.pauseTold = now
		c.log.Warn("training pauses: metrics wait for the metrics service",
			"memory_bytes", c.memory, "spill_bytes", c.spill.total, "reason", err)
	}
}

func (c *Client) resume() { c.paused-- }
