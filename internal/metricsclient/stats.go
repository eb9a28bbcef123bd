package metricsclient

import "github.com/prometheus/client_golang/prometheus"

// stats are the client's metrics, read off its state when they are collected.
type stats struct {
	collectors                    []prometheus.Collector
	requests, reconnects, spilled prometheus.Counter
}

func newStats(c *Client) *stats {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "neoteny_worker_metrics_" + name, Help: help})
	}
	s := &stats{
		requests:   counter("requests_total", "Requests sent to the metrics service."),
		reconnects: counter("reconnects_total", "Times the stream to the metrics service broke."),
		spilled:    counter("spilled_bytes_total", "Bytes of metrics written to the spill folder."),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "neoteny_worker_metrics_" + name, Help: help},
			func() float64 {
				c.mu.Lock()
				defer c.mu.Unlock()
				return value()
			})
	}
	s.collectors = []prometheus.Collector{
		s.requests, s.reconnects, s.spilled,
		gauge("paused", "Runs whose training waits because memory and spill quota are full of metrics.",
			func() float64 { return float64(c.paused) }),
		gauge("queued_bytes", "Bytes of metrics in memory that are not acknowledged.",
			func() float64 { return float64(c.memory) }),
		gauge("spill_bytes", "Bytes of metrics in the spill folder.",
			func() float64 { return float64(c.spill.total) }),
		gauge("unacknowledged_steps", "Steps appended that are not acknowledged, over all runs.",
			func() float64 {
				n := int64(0)
				for _, w := range c.writers {
					n += w.next - w.acked
				}
				return float64(n)
			}),
	}
	return s
}

// Describe implements prometheus.Collector.
func (s *stats) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.collectors {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (s *stats) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.collectors {
		c.Collect(ch)
	}
}
