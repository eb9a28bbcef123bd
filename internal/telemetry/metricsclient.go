package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Registerer takes metrics; the name is for packages that only hand one on.
type Registerer = prometheus.Registerer

// MetricsClientStats is what a worker's metrics client says when it is asked.
type MetricsClientStats struct {
	// Counted since the client began.
	Requests, Reconnects, SpilledBytes int64
	// Runs whose training waits because memory and spill quota are full.
	Paused int
	// What is not acknowledged.
	QueuedBytes, SpillBytes, UnacknowledgedSteps int64
}

// RegisterMetricsClient shows a worker's metrics client; stats is called at each
// scrape. The returned function takes it out again.
func RegisterMetricsClient(reg Registerer, stats func() MetricsClientStats) (unregister func(), err error) {
	c := &metricsClientCollector{stats}
	if err := reg.Register(c); err != nil {
		return nil, err
	}
	return func() { reg.Unregister(c) }, nil
}

var (
	descRequests = prometheus.NewDesc("neoteny_worker_metrics_requests_total",
		"Requests sent to the metrics service.", nil, nil)
	descReconnects = prometheus.NewDesc("neoteny_worker_metrics_reconnects_total",
		"Times the stream to the metrics service broke.", nil, nil)
	descSpilled = prometheus.NewDesc("neoteny_worker_metrics_spilled_bytes_total",
		"Bytes of metrics written to the spill folder.", nil, nil)
	descPaused = prometheus.NewDesc("neoteny_worker_metrics_paused",
		"Runs whose training waits because memory and spill quota are full of metrics.", nil, nil)
	descQueued = prometheus.NewDesc("neoteny_worker_metrics_queued_bytes",
		"Bytes of metrics in memory that are not acknowledged.", nil, nil)
	descSpill = prometheus.NewDesc("neoteny_worker_metrics_spill_bytes",
		"Bytes of metrics in the spill folder.", nil, nil)
	descUnacknowledged = prometheus.NewDesc("neoteny_worker_metrics_unacknowledged_steps",
		"Steps appended that are not acknowledged, over all runs.", nil, nil)
)

type metricsClientCollector struct{ stats func() MetricsClientStats }

// Describe implements prometheus.Collector.
func (c *metricsClientCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descRequests, descReconnects, descSpilled, descPaused, descQueued, descSpill, descUnacknowledged,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *metricsClientCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v int64) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v))
	}
	put(descRequests, prometheus.CounterValue, s.Requests)
	put(descReconnects, prometheus.CounterValue, s.Reconnects)
	put(descSpilled, prometheus.CounterValue, s.SpilledBytes)
	put(descPaused, prometheus.GaugeValue, int64(s.Paused))
	put(descQueued, prometheus.GaugeValue, s.QueuedBytes)
	put(descSpill, prometheus.GaugeValue, s.SpillBytes)
	put(descUnacknowledged, prometheus.GaugeValue, s.UnacknowledgedSteps)
}
