package worker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

func TestWithdrawnSegmentStopsWithinASecond(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		id := x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.withdraw(id)
		synctest.Wait()
		wait(time.Second)
		require.Empty(t, x.board.slots)
		require.Zero(t, x.c.commits)
		require.Zero(t, x.s.puts)
		require.Empty(t, x.c.segment(0).Failures)
		require.Empty(t, x.c.released)
		require.Empty(t, x.m.open)
	})
}

func TestWithdrawnWhileMetricsAreStuck(t *testing.T) {
	inBubble(t, func(x *fixture) { x.m.full = true }, func(t *testing.T, x *fixture) {
		id := x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.withdraw(id)
		wait(time.Second)
		require.Empty(t, x.board.slots)
		require.Empty(t, x.c.segment(0).Failures)
	})
}

// The withdrawal that follows from the worker's own commit does no harm, even
// when it comes first.
func TestWithdrawalByTheCommitItself(t *testing.T) {
	inBubble(t, func(x *fixture) {
		x.c.onCommit = func() {
			x.c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: "0.1"}, Withdrawn: true}
		}
	}, func(t *testing.T, x *fixture) {
		require.Equal(t, "0.1", x.c.assign(0, 500, nil))
		wait(time.Second)
		x.c.assign(500, 1000, x.committed(t, 0, 500).Result.Checkpoint)
		wait(time.Second)
		x.committed(t, 500, 1000)
		require.Equal(t, 1, x.e.made)
	})
}

func TestFencedCommitDropsTheWork(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.elsewhere(0)
		wait(time.Second)
		require.Zero(t, x.c.commits)
		require.Empty(t, x.c.segment(0).Failures)
		require.Empty(t, x.c.released)
		_, warm := x.warm.get(trackKey{runID, "main"})
		require.False(t, warm)
	})
}

// A worker that lost its lease finishes and commits, as no other worker was given
// the segment.
func TestLostLeaseCommitsLate(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		wait(time.Second)
		require.Equal(t, 2, x.c.regs)
		require.NoError(t, x.Ready(t.Context()))
		x.committed(t, 0, 500)
	})
}

// The lease is gone before the worker notices: that its assignments go as well
// is no withdrawal.
func TestLeaseRevokedSilently(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.loseLease(true)
		wait(time.Second)
		require.Equal(t, 2, x.c.regs)
		x.committed(t, 0, 500)
	})
}

// The segment comes back to the worker that is still at it: no step is done
// twice.
func TestReassignedToTheSameWorkerGoesOn(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		synctest.Wait()
		x.c.assign(0, 500, nil)
		wait(400*stepTime + stepTime)
		s := x.committed(t, 0, 500)
		require.EqualValues(t, 2, s.Attempt)
		require.Equal(t, 1, x.e.made)
		require.Equal(t, []int64{1}, x.m.attempts)
	})
}

// The same while the commit under the old attempt is under way.
func TestReassignedDuringTheCommit(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		wait(100 * stepTime)
		x.c.setAway(true)
		wait(time.Second)
		x.c.assign(0, 500, nil)
		wait(5 * time.Millisecond)
		x.c.setAway(false)
		wait(100 * time.Millisecond)
		s := x.committed(t, 0, 500)
		require.EqualValues(t, 2, s.Attempt)
		require.Equal(t, 1, x.e.made)
	})
}

// Another worker had it in between: it starts again.
func TestReassignedAfterSomebodyElseBeginsAnew(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		synctest.Wait()
		x.c.elsewhere(0)
		x.c.assign(0, 500, nil)
		wait(time.Second)
		s := x.committed(t, 0, 500)
		require.EqualValues(t, 3, s.Attempt)
		require.Equal(t, 2, x.e.made)
	})
}

func TestOrphanOfACancelledRunStops(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 5000, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		x.c.mu.Lock()
		x.c.runState = pb.RunState_RUN_STATE_CANCELLED
		x.c.mu.Unlock()
		wait(time.Second)
		require.Empty(t, x.board.slots)
	})
}

// A failed segment that is given to the same worker again at once, while the
// job that failed still ends, is not lost.
func TestFailedSegmentComesBackAtOnce(t *testing.T) {
	inBubble(t, func(x *fixture) {
		failed := false
		x.e.stepErr = func(step int64) error {
			if step == 50 && !failed {
				failed = true
				return errors.New("boom")
			}
			return nil
		}
	}, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(50*stepTime + stepTime/2)
		x.c.setAway(true) // the report waits
		wait(stepTime)
		x.c.setAway(false)
		x.c.assign(0, 500, nil) // attempt 2, before the report of attempt 1 is through
		wait(time.Second)
		x.committed(t, 0, 500)
	})
}
