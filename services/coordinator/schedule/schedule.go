// Package schedule decides what is to be done next. Its decisions are functions
// of the mirrored records, the time and the configuration: no etcd, no clock, no
// goroutine. They are a list of actions, which package coordinator carries out
// as transactions that hold only if nothing has changed since.
//
// Everything about the order in which work is done, who does it, when it is
// tried again and why it waits is in this package.
package schedule

import (
	"time"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// Config tunes decisions. All fields must be set.
type Config struct {
	NumericsVersion int32         // of the runs that are made
	MaxFailures     int           // of one segment before its run fails
	RetryPause      time.Duration // before a segment is tried again; four times as long each time
	WorkerFailures  int           // in a row before a worker is out of service
	WorkerPause     time.Duration // how long it is out of service then
	QueuePerSlot    int           // segments of each experiment that wait for each slot
}

// Snapshot is what decisions are made on. Who has one holds the state's lock.
type Snapshot struct {
	State  *mirror.State
	Now    time.Time
	Config Config
}

// OutOfService reports whether a worker has failed so often in a row that it
// gets no work for a while. Then it may try again, and its next failure puts it
// out of service again.
func (s Snapshot) OutOfService(worker string) bool {
	f := s.State.Failures(worker)
	return f.InARow >= s.Config.WorkerFailures && s.Now.Before(f.Last.Add(s.Config.WorkerPause))
}

// settled reports whether a measurement is done or given up.
func (s Snapshot) settled(g *mirror.Segment) bool {
	switch g.Rec.State {
	case pb.SegmentState_SEGMENT_STATE_DONE, pb.SegmentState_SEGMENT_STATE_FAILED,
		pb.SegmentState_SEGMENT_STATE_CANCELLED:
		return true
	case pb.SegmentState_SEGMENT_STATE_PENDING:
		return len(g.Rec.Failures) >= s.Config.MaxFailures
	}
	return false
}

// maxRetryPause is the longest time that a segment waits to be tried again.
const maxRetryPause = time.Minute

// pause is how long a segment still waits to be tried again: what made it fail may pass
// in a moment.
func (s Snapshot) pause(g *mirror.Segment) time.Duration {
	n := len(g.Rec.Failures)
	if n == 0 || g.FailedAt.IsZero() {
		return 0
	}
	wait := s.Config.RetryPause
	for range n - 1 {
		wait = min(4*wait, maxRetryPause)
	}
	return g.FailedAt.Add(wait).Sub(s.Now)
}

// lost reports whether a segment is assigned, and the assignment has gone with
// its worker.
func (s Snapshot) lost(g *mirror.Segment) bool {
	if !g.Assigned() {
		return false
	}
	_, ok := s.State.SlotOf(g)
	return !ok
}
