package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/leaktest"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// The tests run in virtual time: a step of the fake life takes a millisecond.
const (
	stepTime     = time.Millisecond
	stepsPerTask = 10
	runSteps     = 1000
	runID        = "exp/trial/7"
)

type fixture struct {
	*Worker
	c    *fakeCluster
	s    *fakeStore
	m    *fakeMetrics
	e    *fakeEngine
	log  *bytes.Buffer // read it after finish
	stop context.CancelFunc
	ran  chan error
}

// inBubble runs f on a worker in virtual time. configure may change the worker
// before it starts; f ends it with finish, or leaves that to the end.
func inBubble(t *testing.T, configure func(*fixture), f func(t *testing.T, x *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &fixture{c: newFakeCluster(), s: &fakeStore{}, m: &fakeMetrics{}, e: &fakeEngine{}, log: &bytes.Buffer{}, ran: make(chan error, 1)}
		x.Worker = &Worker{
			cfg: Config{ID: "w", Slots: 2}, members: x.c, ledger: x.c, store: x.s, metrics: x.m, engine: x.e,
			log: slog.New(slog.NewTextHandler(x.log, nil)),
		}
		if configure != nil {
			configure(x)
		}
		require.NoError(t, x.init())
		ctx, stop := context.WithCancel(context.Background())
		x.stop = stop
		defer stop() // where an assertion ends the test
		go func() { x.ran <- x.Run(ctx) }()
		synctest.Wait()
		f(t, x)
		if x.ran != nil {
			x.finish(t)
		}
	})
}

// wait lets virtual time pass, and what falls due at its end happen.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// finish drains the worker and returns how long that took.
func (x *fixture) finish(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	x.stop()
	require.NoError(t, <-x.ran)
	x.ran = nil
	require.Empty(t, x.m.open, "a metrics writer was left open")
	return time.Since(begin)
}

// committed checks that [first, end) was committed with the results of an
// undisturbed life, and returns its record.
func (x *fixture) committed(t *testing.T, first, end int64) *pb.Segment {
	t.Helper()
	return x.committedOf(t, 7, first, end)
}

func (x *fixture) committedOf(t *testing.T, seed uint32, first, end int64) *pb.Segment {
	t.Helper()
	run := fmt.Sprintf("exp/trial/%d", seed)
	s := x.c.segment(place(&pb.SegmentRef{Run: run, FirstStep: first}))
	require.Equal(t, pb.SegmentState_SEGMENT_STATE_DONE, s.State, "%v", s)
	require.Equal(t, end, s.Result.EndStep)
	want := truthOf(seed, end)
	require.Equal(t, fmt.Sprintf("%d %d", end, want.state), string(x.s.data[s.Result.Checkpoint.Key]))
	require.Contains(t, s.Result.Checkpoint.Key, fmt.Sprintf("checkpoints/%s/main/%d-", run, end))
	require.EqualValues(t, end-first, s.Result.Metrics.Steps)
	require.Len(t, s.Result.Boundaries, int(end/stepsPerTask-first/stepsPerTask))
	require.Len(t, s.Result.Rows, len(s.Result.Boundaries))
	for i, b := range s.Result.Boundaries {
		at := truthOf(seed, b.Step)
		require.EqualValues(t, first/stepsPerTask+int64(i), b.Task)
		require.Equal(t, at.state, binary.LittleEndian.Uint64(b.StateDigest))
		require.Equal(t, []float64{float64(at.value())}, s.Result.Rows[i].Values)
	}
	require.Equal(t, "m", s.Result.Columns[0].Metric)
	for step := first; step < end && run == runID; step++ {
		require.Equal(t, truthOf(seed, step+1).value(), x.m.values[step], "metric of step %d", step)
	}
	return s
}

// truth is an undisturbed life, at the given step.
func truth(step int64) *fakeLife { return truthOf(7, step) }

func truthOf(seed uint32, step int64) *fakeLife {
	l := &fakeLife{state: uint64(seed)}
	for l.step < step {
		l.next()
	}
	return l
}
