package telemetry

import "github.com/prometheus/client_golang/prometheus"

// CoordinatorStats is what the coordinator counts when it is asked to.
type CoordinatorStats struct {
	// Experiments by state (pending, running, done, failed, cancelled).
	Experiments map[string]int
	// Segments by state (pending, assigned) of the running experiments.
	Segments map[string]int
	// Workers by state (ready, draining, out_of_service, other_numerics, problem).
	Workers map[string]int
	// Slots of the workers that take work, and how many of them are busy.
	Slots, Busy int
	// StoreBytes is the size of etcd's database; negative when not known.
	StoreBytes int64
}

// Coordinator holds the coordinator's metrics.
type Coordinator struct {
	latency  prometheus.Histogram
	assigned prometheus.Counter
	commits  prometheus.Counter
	requeues prometheus.Counter
	failures prometheus.Counter
	runs     *prometheus.CounterVec
	pass     prometheus.Histogram
}

// NewCoordinator registers the coordinator's metrics; stats is called at each
// scrape. With a nil reg they are kept and not shown.
func NewCoordinator(reg prometheus.Registerer, stats func() CoordinatorStats) (*Coordinator, error) {
	c := &Coordinator{
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "neoteny_coordinator_assignment_wait_seconds",
			Help:    "Time from the queueing of a segment to its assignment to a worker.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		assigned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neoteny_coordinator_assignments_total", Help: "Segments given to workers.",
		}),
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neoteny_coordinator_commits_total", Help: "Segments committed by workers, as seen by this coordinator.",
		}),
		requeues: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neoteny_coordinator_requeues_total", Help: "Segments taken back from workers that were gone.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neoteny_coordinator_segment_failures_total", Help: "Attempts at segments that failed.",
		}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neoteny_coordinator_runs_ended_total", Help: "Runs that this coordinator ended, by state.",
		}, []string{"state"}),
		pass: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "neoteny_coordinator_pass_seconds",
			Help:    "Time of one pass of the scheduling loop that changed something.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}),
	}
	if reg == nil {
		return c, nil
	}
	for _, m := range []prometheus.Collector{c.latency, c.assigned, c.commits, c.requeues, c.failures, c.runs, c.pass, &coordinatorCollector{stats}} {
		if err := reg.Register(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Assigned counts an assignment and how long its segment waited.
func (c *Coordinator) Assigned(waitSeconds float64) {
	c.assigned.Inc()
	c.latency.Observe(max(0, waitSeconds))
}

// Committed counts a committed segment.
func (c *Coordinator) Committed() { c.commits.Inc() }

// Requeued counts a segment taken back.
func (c *Coordinator) Requeued() { c.requeues.Inc() }

// Failed counts failed attempts.
func (c *Coordinator) Failed(n int) { c.failures.Add(float64(n)) }

// RunEnded counts a run that ended in a state: done, failed, cancelled.
func (c *Coordinator) RunEnded(state string) { c.runs.WithLabelValues(state).Inc() }

// Passed observes a pass of the loop.
func (c *Coordinator) Passed(seconds float64) { c.pass.Observe(seconds) }

var (
	descExperiments = prometheus.NewDesc("neoteny_coordinator_experiments", "Experiments by state.", []string{"state"}, nil)
	descSegments    = prometheus.NewDesc("neoteny_coordinator_segments", "Segments of running experiments by state.", []string{"state"}, nil)
	descWorkers     = prometheus.NewDesc("neoteny_coordinator_workers", "Registered workers by state.", []string{"state"}, nil)
	descSlots       = prometheus.NewDesc("neoteny_coordinator_slots", "Slots of the workers that take work.", nil, nil)
	descBusy        = prometheus.NewDesc("neoteny_coordinator_slots_busy", "Slots with a segment assigned.", nil, nil)
	descStore       = prometheus.NewDesc("neoteny_coordinator_etcd_bytes", "Size of etcd's database.", nil, nil)
)

// coordinatorCollector counts at each scrape, so that nothing is counted twice
// or forgotten.
type coordinatorCollector struct{ stats func() CoordinatorStats }

func (c *coordinatorCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descExperiments, descSegments, descWorkers, descSlots, descBusy, descStore} {
		ch <- d
	}
}

func (c *coordinatorCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for state, n := range s.Experiments {
		gauge(descExperiments, float64(n), state)
	}
	for state, n := range s.Segments {
		gauge(descSegments, float64(n), state)
	}
	for state, n := range s.Workers {
		gauge(descWorkers, float64(n), state)
	}
	gauge(descSlots, float64(s.Slots))
	gauge(descBusy, float64(s.Busy))
	if s.StoreBytes >= 0 {
		gauge(descStore, float64(s.StoreBytes))
	}
}
