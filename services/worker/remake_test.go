package worker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/metricsclient"
	pb "neoteny/proto/neoteny/v1"
)

// checkpointed stores the checkpoint of a seed at a step, as its life makes it.
func (x *fixture) checkpointed(t *testing.T, seed uint32, step int64) *pb.BlobRef {
	t.Helper()
	key := fmt.Sprintf("checkpoints/exp/trial/%d/main/%d-x", seed, step)
	ref, err := x.s.Put(context.Background(), key, fmt.Appendf(nil, "%d %d", step, truthOf(seed, step).state))
	require.NoError(t, err)
	return ref
}

func at(step int64, ref *pb.BlobRef) *pb.Earlier { return &pb.Earlier{Step: step, Checkpoint: ref} }

// A checkpoint that is lost or damaged is made again: from the one before, or from the
// beginning where that is damaged as well. The segment is the one of an undisturbed run.
func TestADamagedCheckpointIsMadeAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(x *fixture, start, earlier *pb.BlobRef)
		steps  time.Duration // made, of 200 to 300 and what comes before
		loaded int
		from   int
	}{
		"undamaged":    {func(*fixture, *pb.BlobRef, *pb.BlobRef) {}, 100, 1, -1},
		"start lost":   {func(x *fixture, s, _ *pb.BlobRef) { delete(x.s.data, s.Key) }, 200, 2, 100},
		"start bitten": {func(x *fixture, s, _ *pb.BlobRef) { x.s.data[s.Key][0] ^= 1 }, 200, 2, 100},
		"start cut":    {func(x *fixture, s, _ *pb.BlobRef) { x.s.data[s.Key] = x.s.data[s.Key][:3] }, 200, 2, 100},
		"both lost": {func(x *fixture, s, e *pb.BlobRef) {
			delete(x.s.data, s.Key)
			delete(x.s.data, e.Key)
		}, 300, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, x *fixture) {
				x.s.checked = true
				start, earlier := x.checkpointed(t, 7, 200), x.checkpointed(t, 7, 100)
				whole := string(x.s.data[start.Key])
				tt.damage(x, start, earlier)
				begin := time.Now()
				x.c.assignFrom(200, 300, start, at(100, earlier))
				wait(tt.steps * stepTime)
				require.Equal(t, tt.steps*stepTime, time.Since(begin))
				x.committed(t, 200, 300)
				require.Empty(t, x.c.segment(200).Failures)
				require.Equal(t, tt.loaded, x.e.loaded)
				require.Equal(t, whole, string(x.s.data[start.Key]), "it is stored again")
				x.finish(t)
				if tt.from < 0 {
					require.NotContains(t, x.log.String(), "level=WARN")
					return
				}
				require.Regexp(t, fmt.Sprintf(`level=WARN msg="lost work is made again" run=%s track=main first_step=%d end_step=200`, runID, tt.from), x.log.String())
			})
		})
	}
}

func TestDamagedCheckpointsOfAPackAreMadeAgain(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		x.s.checked = true
		a, b := x.checkpointed(t, 7, 200), x.checkpointed(t, 8, 200)
		x.s.data[b.Key][0] ^= 1
		x.c.assignPack(200, 300, a, b)
		wait(300 * stepTime)
		x.committedOf(t, 7, 200, 300)
		x.committedOf(t, 8, 200, 300)
		require.Equal(t, 1, x.e.packs)
	})
}

// What comes out must be what was committed, else the segment fails and says so.
func TestACheckpointThatComesOutDifferentIsRefused(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.s.checked = true
		start := x.checkpointed(t, 9, 200) // of another run
		delete(x.s.data, start.Key)
		x.c.assignFrom(200, 300, start, nil)
		wait(time.Second)
		f := x.c.segment(200).Failures
		require.Len(t, f, 1)
		require.Contains(t, f[0].Error, "steps [0, 200) were made again and the checkpoint has SHA-256")
		require.Zero(t, x.c.commits)
	})
}

// Rows that the metrics service has lost are sent again, from a checkpoint before the
// gap, and then the segment is as it is.
func TestLostMetricsAreSentAgain(t *testing.T) {
	for name, tt := range map[string]struct{ durable, from int64 }{
		"all of them":             {0, 0},
		"before the checkpoint":   {99, 0},
		"at the checkpoint":       {100, 100},
		"behind the checkpoint":   {150, 100},
		"the segment's own":       {230, 200},
		"exactly those before it": {199, 100},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, x *fixture) {
				start, earlier := x.checkpointed(t, 7, 200), x.checkpointed(t, 7, 100)
				x.m.values, x.m.open = map[int64]float32{}, map[string]bool{}
				for s := range tt.durable {
					x.m.values[s] = truth(s + 1).value()
				}
				x.m.gap = func(_ string, first int64) error {
					if first > tt.durable || tt.durable > 200 && len(x.m.attempts) == 1 {
						return &metricsclient.GapError{Run: runID, Track: "main", Durable: tt.durable, FirstUnsent: first}
					}
					tt.durable = 300
					return nil
				}
				x.c.assignFrom(200, 300, start, at(100, earlier))
				wait(2 * time.Second)
				x.committed(t, 200, 300)
				for s := range int64(300) {
					require.Equal(t, truth(s+1).value(), x.m.values[s], "metric of step %d", s)
				}
				require.Empty(t, x.c.segment(200).Failures)
				require.Contains(t, x.m.firsts, tt.from)
			})
		})
	}
}

// A lane with a gap leaves its pack, and the others are committed with it.
func TestALaneWithAGapIsDoneAlone(t *testing.T) {
	inBubble(t, oneSlot, func(t *testing.T, x *fixture) {
		a, b := x.checkpointed(t, 7, 200), x.checkpointed(t, 8, 200)
		lost := true
		x.m.gap = func(run string, first int64) error {
			if run != runID || !lost {
				return nil
			}
			if first == 0 {
				lost = false
				return nil
			}
			return &metricsclient.GapError{Run: run, Track: "main", Durable: 0, FirstUnsent: first}
		}
		x.c.assignPack(200, 300, a, b)
		wait(2 * time.Second)
		x.committedOf(t, 8, 200, 300)
		x.committedOf(t, 7, 200, 300)
		require.Equal(t, 2, x.c.commits)
		require.Empty(t, x.c.segment(200).Failures)
	})
}

// A gap that stays is a failure, not a loop.
func TestAGapThatStaysFailsTheSegment(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		x.m.gap = func(_ string, first int64) error {
			if first == 0 {
				return nil
			}
			return &metricsclient.GapError{Run: runID, Track: "main", Durable: 0, FirstUnsent: first}
		}
		x.c.assignFrom(200, 300, x.checkpointed(t, 7, 200), nil)
		wait(2 * time.Second)
		f := x.c.segment(200).Failures
		require.Len(t, f, 1)
		require.Contains(t, f[0].Error, "missing at the metrics service in steps [0, 200)")
		require.False(t, f[0].Permanent)
	})
}

// A drain in the middle gives the segment back.
func TestADrainWhileWorkIsMadeAgain(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, x *fixture) {
		start := x.checkpointed(t, 7, 200)
		delete(x.s.data, start.Key)
		x.c.assignFrom(200, 300, start, nil)
		wait(50 * stepTime)
		x.finish(t)
		require.Equal(t, []int64{200}, x.c.released)
		require.Empty(t, x.c.segment(200).Failures)
	})
}
