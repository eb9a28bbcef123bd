package metrics

import (
	"math"
	"sync"
	"time"

	"neoteny/internal/metric"
)

// liveWindow is the time constant, in values, of the live view of a metric that
// is measured at every step: its exponential moving average. Of one measured
// now and then the live view is the latest value.
const liveWindow = 1000

// liveView is what Prometheus sees of the runs that report: the main track of
// each, until a grace after its end or its last sign of life.
type liveView struct {
	now            func() time.Time
	maxSeries      int
	finished, idle time.Duration

	mu    sync.Mutex
	runs  map[string]*liveRun
	shown int // series of all runs, the step counters among them
	swept time.Time
}

type liveRun struct {
	experiment, arm, trial string
	steps                  int64
	values                 map[metric.Column]*liveValue
	// dropped counts the series of the latest batch that have no place; hidden
	// says so of the step counter.
	dropped int
	hidden  bool
	until   time.Time
}

type liveValue struct {
	mean float64 // moving average, or the latest value
	n    int64   // values averaged, up to liveWindow
}

func newLiveView(now func() time.Time, maxSeries int, finished, idle time.Duration) *liveView {
	return &liveView{now: now, maxSeries: maxSeries, finished: finished, idle: idle, runs: map[string]*liveRun{}}
}

// observe takes what became durable of a track, whose mutex is held.
func (l *liveView) observe(t *track, r *ingestResult) {
	if t.key.Name != metric.MainTrack || len(r.taken) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now().Sub(l.swept) > time.Second {
		l.expire()
	}
	run := l.runs[t.key.Run]
	if run == nil {
		run = &liveRun{values: map[metric.Column]*liveValue{}, hidden: true}
		run.experiment, run.trial, _ = t.key.Split()
		l.runs[t.key.Run] = run
	}
	if run.hidden && l.shown < l.maxSeries {
		run.hidden = false
		l.shown++
	}
	run.arm, run.steps = t.arm, t.durable
	run.until = l.now().Add(l.idle)
	if t.complete {
		run.until = l.now().Add(l.finished)
	}
	for _, rows := range r.taken {
		run.dropped = 0
		for _, s := range rows.Series {
			l.series(run, s)
		}
	}
}

func (l *liveView) series(run *liveRun, s metric.Series) {
	if len(s.Values) == 0 {
		return
	}
	v := run.values[s.Column]
	if v == nil {
		if run.hidden || l.shown >= l.maxSeries {
			run.dropped++
			return
		}
		v = &liveValue{}
		run.values[s.Column] = v
		l.shown++
	}
	v.take(s)
}

func (v *liveValue) take(s metric.Series) {
	if s.Offsets != nil {
		v.mean, v.n = float64(s.Values[len(s.Values)-1]), 0
		return
	}
	for _, x := range s.Values {
		f := float64(x)
		if v.n == 0 || isFinite(f) && !isFinite(v.mean) {
			v.mean, v.n = f, 1
			continue
		}
		v.n = min(v.n+1, liveWindow)
		if !isFinite(f) {
			v.mean = f // a run that diverged shows it
			continue
		}
		v.mean += (f - v.mean) / float64(v.n)
	}
}

func isFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// expire drops the runs whose time is over.
func (l *liveView) expire() {
	now := l.now()
	l.swept = now
	for id, run := range l.runs {
		if now.After(run.until) {
			l.remove(id, run)
		}
	}
}

func (l *liveView) remove(id string, run *liveRun) {
	l.shown -= len(run.values)
	if !run.hidden {
		l.shown--
	}
	delete(l.runs, id)
}

// forget drops the runs of an experiment.
func (l *liveView) forget(experiment string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, run := range l.runs {
		if run.experiment == experiment {
			l.remove(id, run)
		}
	}
}
