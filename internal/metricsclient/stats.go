package metricsclient

import "neoteny/internal/telemetry"

// stats reads the client's state for its metrics.
func (c *Client) stats() telemetry.MetricsClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := telemetry.MetricsClientStats{
		Requests: c.requests, Reconnects: c.reconnects, SpilledBytes: c.spilled,
		Paused: c.paused, QueuedBytes: c.memory, SpillBytes: c.spill.total,
	}
	for _, w := range c.writers {
		s.UnacknowledgedSteps += w.next - w.acked
	}
	return s
}
