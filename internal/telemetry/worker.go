package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcomes of a segment on a worker, the values of the label "outcome".
const (
	SegmentDone     = "done"     // committed whole
	SegmentYielded  = "yielded"  // committed in part, the rest given back
	SegmentReleased = "released" // given back unchanged
	SegmentDropped  = "dropped"  // withdrawn, or another worker has it
	SegmentFailed   = "failed"   // reported as a failure
)

// Worker measures the workers of a process. Pauses for want of room for metrics
// are counted by the metrics client.
type Worker struct {
	made              atomic.Int64 // the counter of steps, to be read
	segments          *prometheus.CounterVec
	steps             prometheus.Counter
	seconds           prometheus.Counter
	slots, busy       prometheus.Gauge
	starts            *prometheus.CounterVec
	retries           *prometheus.CounterVec
	registrations     prometheus.Counter
	checkpointBytes   prometheus.Histogram
	checkpointSeconds prometheus.Histogram
}

// NewWorker registers the metrics of workers on t; all workers of a process
// share one.
func NewWorker(t *Telemetry) *Worker {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "neoteny_worker_" + name, Help: help})
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "neoteny_worker_" + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value) // start at 0, so that the first event is a rate
		}
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "neoteny_worker_" + name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "neoteny_worker_" + name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		})
	}
	w := &Worker{
		segments:          vec("segments_total", "Segments that ended on this worker, by outcome.", "outcome", SegmentDone, SegmentYielded, SegmentReleased, SegmentDropped, SegmentFailed),
		steps:             counter("steps_total", "Training steps computed, committed or not."),
		seconds:           counter("training_seconds_total", "Time spent computing steps, summed over slots."),
		slots:             gauge("slots", "Segments that the worker can run at a time."),
		busy:              gauge("slots_busy", "Segments that the worker runs now."),
		starts:            vec("starts_total", "Segments begun, by where the learner came from: fresh, checkpoint, or kept warm in memory.", "from", "fresh", "checkpoint", "warm"),
		retries:           vec("retries_total", "Calls made again after an error, by what was called.", "call", "blob", "cluster"),
		registrations:     counter("registrations_total", "Times the worker registered; more than one per process means lost leases."),
		checkpointBytes:   histogram("checkpoint_size_bytes", "Sizes of the checkpoints written.", prometheus.ExponentialBuckets(1<<12, 4, 10)),
		checkpointSeconds: histogram("checkpoint_write_seconds", "Time from encoding a checkpoint to its being stored.", prometheus.ExponentialBuckets(0.001, 4, 9)),
	}
	t.mustRegister(w.segments, w.steps, w.seconds, w.slots, w.busy, w.starts, w.retries, w.registrations, w.checkpointBytes, w.checkpointSeconds)
	return w
}

// Segment counts a segment that ended with one of the Segment outcomes.
func (w *Worker) Segment(outcome string) { w.segments.WithLabelValues(outcome).Inc() }

// Steps counts n steps computed in d.
func (w *Worker) Steps(n int64, d time.Duration) {
	w.made.Add(n)
	w.steps.Add(float64(n))
	w.seconds.Add(max(0, d.Seconds()))
}

// StepsMade returns the steps counted so far, committed or not; what shows
// progress reads it at any rate.
func (w *Worker) StepsMade() int64 { return w.made.Load() }

// AddSlots adds n to the number of slots; negative when a worker goes.
func (w *Worker) AddSlots(n int) { w.slots.Add(float64(n)) }

// Busy marks a slot as running a segment until the function it returns is
// called.
func (w *Worker) Busy() (done func()) {
	w.busy.Inc()
	return w.busy.Dec
}

// Start counts a segment begun from "fresh", "checkpoint" or "warm".
func (w *Worker) Start(from string) { w.starts.WithLabelValues(from).Inc() }

// Retry counts a call of "blob" or "cluster" made again.
func (w *Worker) Retry(call string) { w.retries.WithLabelValues(call).Inc() }

// Registered counts a registration.
func (w *Worker) Registered() { w.registrations.Inc() }

// Checkpoint records a checkpoint of n bytes that took d to write.
func (w *Worker) Checkpoint(n int64, d time.Duration) {
	w.checkpointBytes.Observe(float64(n))
	w.checkpointSeconds.Observe(d.Seconds())
}
