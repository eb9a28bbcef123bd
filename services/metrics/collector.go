package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"neoteny/internal/metric"
)

var (
	runMetricDesc = prometheus.NewDesc("neoteny_run_metric",
		"Live view of a metric of a run: of one measured at every step the exponential moving average over about 1000 steps, of others the latest value.",
		[]string{"experiment", "arm", "trial", "run", "metric", "layer"}, nil)
	runStepsDesc = prometheus.NewDesc("neoteny_run_steps_total",
		"Steps of a run that are durable.",
		[]string{"experiment", "arm", "trial", "run"}, nil)
	armMetricDesc = prometheus.NewDesc("neoteny_arm_metric",
		"Mean of the live view of a metric over the shown runs of an arm whose value is finite.",
		[]string{"experiment", "arm", "metric", "layer"}, nil)
	armRunsDesc = prometheus.NewDesc("neoteny_arm_runs",
		"Runs of an arm that the live view shows.",
		[]string{"experiment", "arm"}, nil)
	liveSeriesDesc = prometheus.NewDesc("neoteny_metrics_live_series",
		"Series per run that the live view shows.", nil, nil)
	droppedSeriesDesc = prometheus.NewDesc("neoteny_metrics_dropped_series",
		"Series per run that the live view leaves out because it is full; they are stored all the same.", nil, nil)
	openLogsDesc = prometheus.NewDesc("neoteny_metrics_open_logs",
		"Logs that are open for writing.", nil, nil)
	tracksDesc = prometheus.NewDesc("neoteny_metrics_unsealed_tracks",
		"Tracks whose values are in a log.", nil, nil)
)

// stats are the service's own counters.
type stats struct {
	batches, refused, failed, values, steps, duplicates, bytes, sealed, sealErrors prometheus.Counter

	sync prometheus.Histogram
}

func newStats() *stats {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "neoteny_metrics_" + name, Help: help})
	}
	return &stats{
		batches:    counter("batches_total", "Batches received."),
		refused:    counter("refused_batches_total", "Batches refused as malformed, stale or beyond a gap."),
		failed:     counter("failed_batches_total", "Batches that could not be made durable and may be sent again."),
		values:     counter("values_total", "Values made durable."),
		steps:      counter("steps_total", "Steps made durable."),
		duplicates: counter("duplicate_steps_total", "Steps received that were durable already."),
		bytes:      counter("log_bytes_total", "Bytes written to logs."),
		sealed:     counter("sealed_tracks_total", "Tracks turned into Parquet files."),
		sealErrors: counter("seal_errors_total", "Parquet files that could not be written."),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:                            "neoteny_metrics_sync_duration_seconds",
			Help:                            "Time to write and sync the batches of one track.",
			Buckets:                         prometheus.ExponentialBuckets(0.0001, 4, 9),
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}),
	}
}

func (s *stats) count(r *ingestResult) {
	for _, rows := range r.taken {
		s.values.Add(float64(rows.Values()))
		s.steps.Add(float64(rows.N))
	}
	s.refused.Add(float64(r.refused))
	s.duplicates.Add(float64(r.duplicates))
	s.bytes.Add(float64(r.bytes))
}

func (s *stats) all() []prometheus.Collector {
	return []prometheus.Collector{
		s.batches, s.refused, s.failed, s.values, s.steps, s.duplicates, s.bytes, s.sealed, s.sealErrors, s.sync,
	}
}

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		runMetricDesc, runStepsDesc, armMetricDesc, armRunsDesc,
		liveSeriesDesc, droppedSeriesDesc, openLogsDesc, tracksDesc,
	} {
		ch <- d
	}
	for _, c := range s.stats.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector. The live series are made anew each
// time from the runs that are alive, so a run that is gone gets Prometheus'
// stale marker instead of its last value for ever.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.stats.all() {
		c.Collect(ch)
	}
	s.store.mu.Lock()
	open, tracks := s.store.open.Len(), len(s.store.tracks)
	s.store.mu.Unlock()
	gauge := prometheus.GaugeValue
	ch <- prometheus.MustNewConstMetric(openLogsDesc, gauge, float64(open))
	ch <- prometheus.MustNewConstMetric(tracksDesc, gauge, float64(tracks))
	for _, m := range s.live.metrics() {
		ch <- m
	}
}

// metrics returns the live view as it is now.
func (l *liveView) metrics() []prometheus.Metric {
	type armKey struct{ experiment, arm string }
	type armSeries struct {
		armKey
		metric.Column
	}
	type mean struct {
		sum float64
		n   int
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	gauge := prometheus.GaugeValue
	var out []prometheus.Metric
	arms, runs, dropped := map[armSeries]mean{}, map[armKey]int{}, 0
	for id, run := range l.runs {
		dropped += run.dropped
		if run.hidden {
			dropped++
			continue
		}
		arm := armKey{run.experiment, run.arm}
		runs[arm]++
		out = append(out, prometheus.MustNewConstMetric(runStepsDesc, prometheus.CounterValue, float64(run.steps),
			run.experiment, run.arm, run.trial, id))
		for k, v := range run.values {
			out = append(out, prometheus.MustNewConstMetric(runMetricDesc, gauge, v.mean,
				run.experiment, run.arm, run.trial, id, k.Metric, k.Layer))
			series := armSeries{arm, k}
			m := arms[series]
			if isFinite(v.mean) {
				m.sum, m.n = m.sum+v.mean, m.n+1
			}
			arms[series] = m
		}
	}
	for k, m := range arms {
		if m.n > 0 {
			out = append(out, prometheus.MustNewConstMetric(armMetricDesc, gauge, m.sum/float64(m.n),
				k.experiment, k.arm, k.Metric, k.Layer))
		}
	}
	for k, n := range runs {
		out = append(out, prometheus.MustNewConstMetric(armRunsDesc, gauge, float64(n), k.experiment, k.arm))
	}
	return append(out,
		prometheus.MustNewConstMetric(liveSeriesDesc, gauge, float64(l.shown)),
		prometheus.MustNewConstMetric(droppedSeriesDesc, gauge, float64(dropped)))
}
