package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

func oneSlot(x *fixture) { x.cfg.Slots = 1 }

func TestAPackTakesOneSlotAndStaysWarm(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		require.EqualValues(t, 60, x.c.records[0].Lanes)
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(time.Second) // one after the other it would take longer
		var starts []*pb.BlobRef
		for _, seed := range []uint32{7, 8, 9} {
			s := x.committedOf(t, seed, 0, 500)
			starts = append(starts, s.Result.Checkpoint)
			require.InDelta(t, 0.5/3, s.Result.Seconds, 1e-9, "the lanes share the time")
		}
		x.c.assignPack(500, 1000, starts...)
		wait(time.Second)
		for _, seed := range []uint32{7, 8, 9} {
			x.committedOf(t, seed, 500, 1000)
		}
		require.Equal(t, 1, x.e.packs, "the second segments went on with the pack of the first")
		require.Zero(t, x.s.gets)
		require.Zero(t, x.e.made)
		require.Zero(t, x.warm.order.Len(), "nothing follows")
		require.Empty(t, x.board.slots)
	})
}

// Another set of runs than before starts from checkpoints, and a life of a pack
// is not gone on with alone.
func TestAPackOfOthersStartsFromCheckpoints(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(time.Second)
		at := func(seed uint32) *pb.BlobRef { return x.committedOf(t, seed, 0, 500).Result.Checkpoint }
		x.c.assignPack(500, 700, at(7), at(8))
		wait(time.Second)
		x.committedOf(t, 7, 500, 700)
		next := x.committedOf(t, 8, 500, 700)
		require.NotNil(t, next)
		require.Equal(t, 2, x.e.loaded)
		x.c.assign(700, 1000, x.committedOf(t, 7, 500, 700).Result.Checkpoint)
		wait(time.Second)
		x.committed(t, 700, 1000)
		require.Equal(t, 3, x.e.loaded)
	})
}

func TestDrainYieldsAllOfAPackAtOneStep(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(123*stepTime + stepTime/2)
		require.Less(t, x.finish(t), 10*time.Millisecond)
		for _, seed := range []uint32{7, 8, 9} {
			require.True(t, x.committedOf(t, seed, 0, 123).Yielded)
		}
	})
}

func TestOneOfAPackIsWithdrawn(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		ids := x.c.assignPack(0, 500, nil, nil, nil)
		wait(100 * stepTime)
		x.c.withdraw(ids[1])
		wait(time.Second)
		x.committedOf(t, 7, 0, 500)
		x.committedOf(t, 9, 0, 500)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_ASSIGNED, x.c.segment(10_000).State)
		require.Equal(t, 2, x.c.commits)
		require.Empty(t, x.c.segment(10_000).Failures)
		require.Empty(t, x.board.slots)
		require.Zero(t, x.warm.order.Len(), "the pack has a lane that stands elsewhere")
	})
}

func TestAllOfAPackIsWithdrawn(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		ids := x.c.assignPack(0, 500, nil, nil)
		wait(100 * stepTime)
		for _, id := range ids {
			x.c.withdraw(id)
		}
		wait(10 * stepTime)
		require.Empty(t, x.board.slots)
		require.Zero(t, x.c.commits)
	})
}

func TestOneOfAPackIsFenced(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil)
		wait(100 * stepTime)
		x.c.elsewhere(10_000)
		wait(time.Second)
		x.committedOf(t, 7, 0, 500)
		require.Equal(t, "other", x.c.segment(10_000).Worker)
		require.Equal(t, 1, x.c.commits)
	})
}

func TestOneOfAPackFails(t *testing.T) {
	inBubble(t, func(x *fixture) {
		oneSlot(x)
		x.e.seedErr = func(seed uint32, step int64) error {
			if seed == 8 && step == 77 {
				return errors.New("the loss is NaN")
			}
			return nil
		}
	}, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(time.Second)
		x.committedOf(t, 7, 0, 500)
		x.committedOf(t, 9, 0, 500)
		f := x.c.segment(10_000).Failures
		require.Len(t, f, 1)
		require.Contains(t, f[0].Error, "the loss is NaN")
		require.True(t, f[0].Permanent)
	})
}

// A crash takes the pack down, but only the culprit's segment fails.
func TestOneOfAPackPanics(t *testing.T) {
	inBubble(t, func(x *fixture) {
		oneSlot(x)
		x.e.seedErr = func(seed uint32, step int64) error {
			if seed == 8 && step == 77 {
				panic("index out of range")
			}
			return nil
		}
	}, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(2 * time.Second)
		x.committedOf(t, 7, 0, 500)
		x.committedOf(t, 9, 0, 500)
		require.Contains(t, x.c.segment(10_000).Failures[0].Error, "index out of range")
	})
}

// A panic while a pack is built does not end the process: the segments are done
// one by one, and only the one that panics again fails.
func TestBuildingAPackPanics(t *testing.T) {
	inBubble(t, func(x *fixture) {
		oneSlot(x)
		x.e.building = func(seed uint32) {
			if seed == 8 {
				panic("negative shape")
			}
		}
	}, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(2 * time.Second)
		x.committedOf(t, 7, 0, 500)
		x.committedOf(t, 9, 0, 500)
		f := x.c.segment(10_000).Failures
		require.Len(t, f, 1)
		require.Contains(t, f[0].Error, "negative shape")
		require.Empty(t, x.board.slots)
		x.finish(t)
		require.Contains(t, x.log.String(), "no pack could be built")
		require.Contains(t, x.log.String(), "pack_test.go", "the log has the stack")
	})
}

// Analyses and deferred measurements are done one by one, even where they are
// assigned as a pack.
func TestTheEngineTakesOnlyLivesIntoPacks(t *testing.T) {
	a := newEngine(nil)
	for _, members := range [][]program{{analysisProgram{}, analysisProgram{}}, {engineProgram{}, engineProgram{}}} {
		_, err := a.Pack(members, []origin{{seed: 1, deferred: true}, {seed: 2, deferred: true}})
		require.ErrorIs(t, err, engine.ErrNotAlike)
	}
	_, err := a.Pack([]program{analysisProgram{}, analysisProgram{}}, []origin{{seed: 1}, {seed: 2}})
	require.ErrorIs(t, err, engine.ErrNotAlike)
}

func TestWhatIsNotAlikeIsDoneOneByOne(t *testing.T) {
	inBubble(t, func(x *fixture) { oneSlot(x); x.e.packErr = engine.ErrNotAlike }, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(600 * stepTime)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, x.c.segment(0).State)
		require.Equal(t, pb.SegmentState_SEGMENT_STATE_ASSIGNED, x.c.segment(10_000).State)
		wait(time.Second)
		for _, seed := range []uint32{7, 8, 9} {
			x.committedOf(t, seed, 0, 500)
		}
		require.Zero(t, x.e.packs)
	})
}

// Runs of trials with specs of their own are a pack if the engine takes them.
func TestTrialsOfASweepInOnePack(t *testing.T) {
	inBubble(t, func(x *fixture) { oneSlot(x); x.c.spec = func(run string) string { return run } }, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil, nil)
		wait(time.Second)
		for _, seed := range []uint32{7, 8, 9} {
			x.committedOf(t, seed, 0, 500)
		}
		require.Equal(t, 1, x.e.packs)
		require.Len(t, x.e.compiled, 3, "each by its own spec")
	})
}

// A lost lease does not stop a pack; a new attempt takes its work over.
func TestAPackOutlivesItsLease(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		x.c.assignPack(0, 500, nil, nil)
		wait(100 * stepTime)
		x.c.loseLease(false)
		wait(100 * stepTime)
		x.c.assignPack(0, 500, nil, nil)
		wait(time.Second)
		for _, seed := range []uint32{7, 8} {
			s := x.committedOf(t, seed, 0, 500)
			require.EqualValues(t, 2, s.Attempt)
		}
		require.Equal(t, 1, x.e.packs)
	})
}
