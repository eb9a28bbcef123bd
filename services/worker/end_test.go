package worker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/metricsclient"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

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
					require.Contains(t, x.log.String(), "fakeengine_test.go", "the log has the stack")
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

// A run that diverges is committed up to there, with all that it measured and without
// a checkpoint; the other runs of a pack go on.
func TestDivergence(t *testing.T) {
	at := func(step int64) func(uint32, int64) error {
		return func(seed uint32, s int64) error {
			if seed == 7 && s == step {
				return &engine.Diverged{Layer: "output", What: "the loss is NaN"}
			}
			return nil
		}
	}
	for _, step := range []int64{0, 7, 42} {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			inBubble(t, func(x *fixture) { x.e.seedErr = at(step) }, func(t *testing.T, x *fixture) {
				x.c.publish = []string{"weights"}
				x.c.assign(0, 500, nil)
				wait(time.Second)
				s := x.c.segment(0)
				require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, s.State, "%v", s)
				r := s.Result
				require.Equal(t, step, r.EndStep)
				require.Nil(t, r.Checkpoint)
				require.Empty(t, r.Artifacts)
				require.True(t, proto.Equal(&pb.Divergence{Step: step, Task: int32(step / stepsPerTask), Layer: "output", What: "the loss is NaN"}, r.Divergence))
				require.Equal(t, step, r.Metrics.Steps)
				require.Len(t, r.Rows, int(step/stepsPerTask)+1, "the task that was under way has its row")
				require.Len(t, r.Boundaries, len(r.Rows))
				for i := range step {
					require.Equal(t, truth(i+1).value(), x.m.values[i])
				}
				require.NotContains(t, x.log.String(), "level=ERROR")
			})
		})
	}
	t.Run("in a pack", func(t *testing.T) {
		inBubble(t, func(x *fixture) { x.e.seedErr = at(42) }, func(t *testing.T, x *fixture) {
			x.c.assignPack(0, 500, nil, nil, nil)
			wait(time.Second)
			r := x.c.segment(place(&pb.SegmentRef{Run: runID})).Result
			require.EqualValues(t, 42, r.EndStep)
			require.NotNil(t, r.Divergence)
			require.Len(t, r.Rows, 5)
			x.committedOf(t, 8, 0, 500)
			x.committedOf(t, 9, 0, 500)
		})
	})
}
