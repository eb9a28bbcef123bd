package progress

import "time"

// How far back the rate looks: short enough to follow a worker that comes or
// goes where every step is known at once, long enough to smooth over segment
// commits where only those are.
const (
	liveWindow   = 20 * time.Second
	commitWindow = 5 * time.Minute
)

// meter measures the rate of a counter over a sliding window.
type meter struct {
	window  time.Duration
	samples []sample
}

type sample struct {
	at time.Time
	n  int64
}

// observe adds a reading. A counter that goes back (work lost with a worker)
// starts the measurement anew, since a negative rate says nothing.
func (m *meter) observe(at time.Time, n int64) {
	if k := len(m.samples); k > 0 && n < m.samples[k-1].n {
		m.samples = m.samples[:0]
	}
	m.samples = append(m.samples, sample{at, n})
	for len(m.samples) > 2 && at.Sub(m.samples[1].at) >= m.window {
		m.samples = m.samples[1:]
	}
}

// rate returns the counter's increase per second, 0 while it is unknown.
func (m *meter) rate() float64 {
	if len(m.samples) < 2 {
		return 0
	}
	a, b := m.samples[0], m.samples[len(m.samples)-1]
	d := b.at.Sub(a.at).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(b.n-a.n) / d
}
