package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// wait lets virtual time pass, and what falls due at its end happen.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRunsSegmentsAndKeepsLivesWarm(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		require.NoError(t, x.Ready(t.Context()))
		x.c.assign(0, 500, nil)
		wait(time.Second)
		first := x.committed(t, 0, 500)
		require.False(t, x.m.finished)
		require.InDelta(t, 0.5, first.Result.Seconds, 1e-9)

		x.c.assign(500, 1000, first.Result.Checkpoint)
		wait(time.Second)
		x.committed(t, 500, 1000)
		require.True(t, x.m.finished, "the run is complete")
		require.Equal(t, 1, x.e.made, "the second segment went on with the life of the first")
		require.Zero(t, x.s.gets)
		require.Zero(t, x.warm.order.Len(), "nothing follows")
	})
}

func TestMissingDataIsToldAndLookedForAgain(t *testing.T) {
	var found atomic.Bool
	inBubble(t, func(x *fixture) {
		x.missing = func() []string {
			if found.Load() {
				return nil
			}
			return []string{"mnist"}
		}
	}, func(t *testing.T, x *fixture) {
		require.Equal(t, []string{"mnist"}, x.c.told()[0].MissingDatasets)
		wait(time.Minute)
		require.Len(t, x.c.told(), 1, "nothing new is not told")
		found.Store(true)
		wait(dataInterval)
		require.Len(t, x.c.told(), 2)
		require.Empty(t, x.c.told()[1].MissingDatasets)
	})
}

func TestAWarmLifeOfAnotherCheckpointIsNotUsed(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		ref, err := x.s.Put(t.Context(), "other", fmt.Appendf(nil, "500 %d", truth(500).state+1))
		require.NoError(t, err)
		x.c.assign(500, 1000, ref)
		wait(time.Second)
		require.Equal(t, 1, x.e.loaded)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, x.c.segment(500).State)
	})
}

func TestStartsFromACheckpoint(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		ref, err := x.s.Put(t.Context(), "k", fmt.Appendf(nil, "200 %d", truth(200).state))
		require.NoError(t, err)
		x.c.assign(200, 300, ref)
		wait(time.Second)
		x.committed(t, 200, 300)
	})
}

func TestDrainYieldsAtTheExactStep(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(123*stepTime + stepTime/2)
		require.Less(t, x.finish(t), 10*time.Millisecond)
		require.True(t, x.c.reg.closed)
		said := x.c.told()
		require.True(t, said[len(said)-1].Draining)
		require.ErrorIs(t, x.Ready(t.Context()), errDraining)
		s := x.committed(t, 0, 123)
		require.True(t, s.Yielded)
	})
	// And the rest is done from there, to the same end.
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		ref, err := x.s.Put(t.Context(), "k", fmt.Appendf(nil, "123 %d", truth(123).state))
		require.NoError(t, err)
		x.c.assign(123, 500, ref)
		wait(time.Second)
		x.committed(t, 123, 500)
	})
}

func TestDrainGivesBackWhatHasNotBegun(t *testing.T) {
	inBubble(t, func(x *fixture) { x.cfg.Slots = 1 }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		x.c.mu.Lock()
		for i := range int64(3) { // other runs
			seg := &pb.Segment{Ref: &pb.SegmentRef{Run: fmt.Sprintf("exp/trial/%d", i), FirstStep: 1000 + i, EndStep: 2000}, Attempt: 1, State: pb.SegmentState_SEGMENT_STATE_ASSIGNED}
			x.c.segments[1000+i] = seg
			x.c.events <- cluster.AssignmentEvent{Assignment: &pb.Assignment{Id: seg.Ref.Run, Segments: []*pb.AssignedSegment{{Ref: seg.Ref, Attempt: 1}}}}
		}
		x.c.mu.Unlock()
		wait(100*stepTime + stepTime/2)
		x.finish(t)
		x.committed(t, 0, 100)
		require.ElementsMatch(t, []int64{1000, 1001, 1002}, x.c.released)
	})
}

func TestDrainBeforeTheFirstStepReleases(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		synctest.Wait()
		x.finish(t)
		require.Equal(t, []int64{0}, x.c.released)
		require.Zero(t, x.s.puts)
	})
}

// Nothing answers at the end: the drain still ends in time.
func TestDrainEndsInTimeWhenTheClusterIsAway(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.setAway(true)
		took := x.finish(t)
		require.LessOrEqual(t, took, 10*time.Second)
		require.Greater(t, took, 8*time.Second, "it tried to save the work as long as it could")
		require.Contains(t, x.log.String(), "segment given up")
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_ASSIGNED, x.c.segment(0).State)
	})
}

func TestDrainEndsInTimeWhenMetricsAreStuck(t *testing.T) {
	inBubble(t, func(x *fixture) { x.m.full = true }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime) // the first task's rows wait
		require.LessOrEqual(t, x.finish(t), 10*time.Second)
		require.True(t, x.c.reg.closed, "there was time left to end the registration")
	})
}

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

// A worker that lost its lease finishes and commits, as nobody else was given
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

// Somebody else had it in between: it is begun anew.
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

func TestEtcdAwayAtTheCommitLosesNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(100 * stepTime)
		x.c.setAway(true)
		wait(time.Hour)
		x.c.setAway(false)
		wait(time.Second)
		x.committed(t, 0, 500)
		require.Equal(t, 1, x.c.commits)
	})
}

func TestMetricsServiceDownThenUp(t *testing.T) {
	inBubble(t, func(x *fixture) { x.m.away = true }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Hour)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_ASSIGNED, x.c.segment(0).State, "nothing is committed before its metrics are durable")
		x.m.set(func() { x.m.away = false })
		wait(time.Second)
		x.committed(t, 0, 500)
	})
}

func TestMetricsThatCannotBeTakenFailTheSegment(t *testing.T) {
	inBubble(t, func(x *fixture) { x.m.err = &metricsclient.RefusedError{Run: runID, Reason: "too many"} }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		f := x.c.segment(0).Failures
		require.Len(t, f, 1)
		require.False(t, f[0].Permanent)
		require.Contains(t, f[0].Error, "metrics: metrics service refuses")
	})
}

func TestFencedByMetricsAloneIsGivenBack(t *testing.T) {
	inBubble(t, func(x *fixture) { x.m.err = metricsclient.ErrFenced }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		require.Equal(t, []int64{0}, x.c.released)
		require.Empty(t, x.c.segment(0).Failures)
	})
}

func TestBlobStoreDownThenUp(t *testing.T) {
	inBubble(t, func(x *fixture) {
		x.s.getErr = func(n int) error {
			if n < 5 {
				return errors.New("connection refused")
			}
			return nil
		}
		x.s.putErr = func(n int) error {
			if n > 1 && n < 100 {
				return errors.New("connection refused")
			}
			return nil
		}
	}, func(t *testing.T, x *fixture) {
		ref, err := x.s.Put(t.Context(), "k", fmt.Appendf(nil, "200 %d", truth(200).state))
		require.NoError(t, err)
		x.c.assign(200, 300, ref)
		wait(time.Hour)
		x.committed(t, 200, 300)
	})
}

func TestFullBlobStoreFailsTheSegmentForNow(t *testing.T) {
	inBubble(t, func(x *fixture) {
		x.s.putErr = func(int) error { return fmt.Errorf("write k: %w", blob.ErrFull) }
	}, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(30 * time.Second)
		require.Empty(t, x.c.segment(0).Failures, "space may be made")
		wait(time.Minute)
		f := x.c.segment(0).Failures
		require.Len(t, f, 1)
		require.False(t, f[0].Permanent)
		require.Contains(t, f[0].Error, "write checkpoint at step 500: write k: no space left")
	})
}

func TestFailures(t *testing.T) {
	missing := &data.MissingError{Name: "mnist", Dir: "data"}
	for name, tt := range map[string]struct {
		set       func(x *fixture)
		first     int64
		start     *pb.BlobRef
		want      string
		permanent bool
	}{
		"engine error": {
			set: func(x *fixture) {
				x.e.stepErr = func(s int64) error {
					if s == 42 {
						return errors.New("step 42: not finite")
					}
					return nil
				}
			},
			want: "step 42: not finite", permanent: true,
		},
		"engine panic": {
			set: func(x *fixture) {
				x.e.stepErr = func(s int64) error {
					if s == 42 {
						panic("index out of range")
					}
					return nil
				}
			},
			want: "panic: index out of range",
		},
		"cannot be built":    {set: func(x *fixture) { x.e.newErr = errors.New("too large") }, want: "too large", permanent: true},
		"dataset missing":    {set: func(x *fixture) { x.e.newErr = fmt.Errorf("stream: %w", missing) }, want: "dataset mnist is missing"},
		"dataset altered":    {set: func(x *fixture) { x.e.newErr = &data.CorruptError{Name: "mnist", File: "f", Problem: "p"} }, want: "dataset mnist is corrupt"},
		"unknown component":  {set: func(x *fixture) { x.e.compile = errors.New("unknown stream") }, want: "cannot read the run's spec: unknown stream"},
		"other numerics":     {set: func(x *fixture) { x.c.numerics = 99 }, want: "numerics version 99"},
		"no checkpoint":      {first: 100, want: "no checkpoint to start from at step 100"},
		"checkpoint deleted": {first: 100, start: &pb.BlobRef{Key: "gone"}, want: "no such object"},
		"checkpoint cut short": {
			set:   func(x *fixture) { x.s.data = map[string][]byte{"cut": []byte("1")} },
			first: 100, start: &pb.BlobRef{Key: "cut"}, want: "EOF", permanent: true,
		},
		"checkpoint of another step": {
			set:   func(x *fixture) { x.s.data = map[string][]byte{"k": []byte("90 1")} },
			first: 100, start: &pb.BlobRef{Key: "k"}, want: "checkpoint k is of step 90",
		},
		"checkpoint corrupt": {
			set:   func(x *fixture) { x.s.getErr = func(int) error { return blob.ErrCorrupt } },
			first: 100, start: &pb.BlobRef{Key: "k"}, want: "does not match",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tt.set, func(t *testing.T, x *fixture) {
				x.c.assign(tt.first, 500, tt.start)
				wait(time.Second)
				f := x.c.segment(tt.first).Failures
				require.Len(t, f, 1)
				require.Contains(t, f[0].Error, tt.want)
				require.Equal(t, tt.permanent, f[0].Permanent)
				require.Equal(t, "w", f[0].Worker)
				require.Zero(t, x.c.commits)
				x.finish(t)
				if name == "engine panic" {
					require.Contains(t, x.log.String(), "fakes_test.go", "the log has the stack")
				}
			})
		})
	}
}

// A worker whose engine panicked goes on with other work.
func TestGoesOnAfterAPanic(t *testing.T) {
	inBubble(t, func(x *fixture) {
		x.cfg.Slots = 1
		crash := true
		x.e.stepErr = func(int64) error {
			if crash {
				crash = false
				panic("once")
			}
			return nil
		}
	}, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		x.c.assign(0, 500, nil)
		wait(time.Second)
		x.committed(t, 0, 500)
	})
}

func TestRunGoneIsDropped(t *testing.T) {
	inBubble(t, func(x *fixture) { x.c.specErr = cluster.ErrNotFound }, func(t *testing.T, x *fixture) {
		x.c.assign(0, 500, nil)
		wait(time.Second)
		require.Empty(t, x.c.segment(0).Failures)
		require.Empty(t, x.board.slots)
	})
}

func TestIDInUseEndsTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		_, err := c.Register(t.Context(), &pb.Worker{Id: "w"}, time.Second)
		require.NoError(t, err)
		w := &Worker{cfg: Config{ID: "w"}, members: c, ledger: c, store: &fakeStore{}, metrics: &fakeMetrics{}, engine: &fakeEngine{}}
		require.NoError(t, w.init())
		require.ErrorIs(t, w.Run(t.Context()), cluster.ErrConflict)
	})
}

func TestStopBeforeRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.away = true
		w := &Worker{cfg: Config{ID: "w"}, members: c, ledger: c, store: &fakeStore{}, metrics: &fakeMetrics{}, engine: &fakeEngine{}}
		require.NoError(t, w.init())
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		require.Error(t, w.Ready(ctx))
		require.NoError(t, w.Run(ctx))
	})
}

func TestNewRefusesHalfAWorker(t *testing.T) {
	_, err := New(Deps{}, Config{ID: "w"})
	require.ErrorContains(t, err, "required")
}

func TestLRU(t *testing.T) {
	l := newLRU[string, int](2, 100)
	l.put("a", 1, 40)
	l.put("b", 2, 40)
	_, ok := l.get("a") // used last
	require.True(t, ok)
	l.put("c", 3, 40)
	_, ok = l.get("b")
	require.False(t, ok, "over the bytes, and used the longest ago")
	l.put("d", 4, 101)
	_, ok = l.get("d")
	require.False(t, ok, "larger than the whole")
	l.put("a", 5, 10)
	v, ok := l.take("a")
	require.True(t, ok)
	require.Equal(t, 5, v)
	_, ok = l.take("a")
	require.False(t, ok)
	l.clear()
	require.Zero(t, l.bytes)
	none := newLRU[string, int](2, -1)
	none.put("a", 1, 0)
	_, ok = none.get("a")
	require.False(t, ok)
}
