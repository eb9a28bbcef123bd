package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

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
		require.Equal(t, []string{"mnist"}, x.c.written()[0].MissingDatasets)
		wait(time.Minute)
		require.Len(t, x.c.written(), 1, "no change, no update")
		found.Store(true)
		wait(dataInterval)
		require.Len(t, x.c.written(), 2)
		require.Empty(t, x.c.written()[1].MissingDatasets)
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
		said := x.c.written()
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
