// Package mirror holds the cluster's records in memory, as one watch reports
// them, arranged so that decisions and answers find what they need.
//
// Everything in a State is derived from the records, and a State changes only
// when records do. The exceptions live in memory only, and a restart may forget
// them: the workers' failures in a row, which checkpoints have been deleted,
// and what was looked up before.
package mirror

import (
	"context"
	"sync"
	"time"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// Mirror is the present State, for several goroutines.
type Mirror struct {
	mu      sync.Mutex
	state   *State
	changed chan struct{} // closed and replaced when the state has changed
}

// New makes a mirror that has read nothing yet.
func New() *Mirror {
	return &Mirror{state: NewState(), changed: make(chan struct{})}
}

// Apply brings the state to revision rev and wakes those that wait for changes.
func (m *Mirror) Apply(rev int64, changes []cluster.Change, now time.Time) Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := m.state.Apply(rev, changes, now)
	close(m.changed)
	m.changed = make(chan struct{})
	return seen
}

// Read calls fn with the present state, which stays as it is until fn returns.
// Records and trials are never changed, so fn may hand them out; everything
// else of the state is fn's to look at only.
func (m *Mirror) Read(fn func(*State)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fn(m.state)
}

// Changed returns a channel that is closed at the next change. Who takes it
// before reading the state misses none.
func (m *Mirror) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Wait waits until cond holds, and reports whether it does; it gives up after
// limit, or when ctx ends.
func (m *Mirror) Wait(ctx context.Context, limit time.Duration, cond func(*State) bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		m.mu.Lock()
		ok, changed := cond(m.state), m.changed
		m.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// KeepSpec remembers the spec of an experiment whose record is too small for it.
func (m *Mirror) KeepSpec(experiment string, spec *pb.ExperimentSpec) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.state.Experiments[experiment]; e != nil && e.Rec != nil {
		e.fetched = spec
	}
}

// CheckpointsDeleted is State.CheckpointsDeleted.
func (m *Mirror) CheckpointsDeleted(experiment, run string, firstSteps []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.CheckpointsDeleted(experiment, run, firstSteps)
}
