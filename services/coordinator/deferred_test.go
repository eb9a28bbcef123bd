package coordinator

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

// tracks are those of segments, in order of their steps.
func tracks(gs []*pb.AssignedSegment) (out []string) {
	slices.SortFunc(gs, func(a, b *pb.AssignedSegment) int { return int(a.Ref.FirstStep - b.Ref.FirstStep) })
	for _, g := range gs {
		out = append(out, g.Ref.Track)
	}
	return out
}

// onTrack waits until the worker holds a segment of a track.
func (f *fakeWorker) onTrack(track string) (g *pb.AssignedSegment) {
	f.w.eventually(func() bool {
		for _, g = range f.holding() {
			if g.Ref.Track == track {
				return true
			}
		}
		return false
	}, "worker %s is to hold %s", f.id, track)
	return g
}

// train commits what the worker holds of main tracks.
func (f *fakeWorker) train() {
	for _, g := range f.holding() {
		if g.Ref.Track == cluster.MainTrack {
			require.NoError(f.w.t, f.commit(g))
		}
	}
}

// have reports whether a checkpoint is there.
func (w *world) have(ref *pb.BlobRef) bool {
	_, err := w.blob.Get(w.ctx, ref, 1<<20)
	return err == nil
}

// Training goes on while measurements wait, from checkpoints that stay as long, and
// the values stand where those of a run's own probes would.
func TestDeferredMeasurements(t *testing.T) {
	w := setup(t)
	id := w.submit("deferred", shape{Tasks: 6, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}, Deferred: 2})
	run := id + "/a-0/0"
	f := w.join("w", 1)
	var starts []*pb.BlobRef
	first := int64(0)
	for _, end := range []int64{10, 19, 30, 39, 50, 59, 60} { // the place before a boundary stands for the boundary
		w.eventually(func() bool { h := f.holding(); return len(h) == 1 && h[0].Ref.FirstStep == first }, "segment at %d", first)
		g := f.holding()[0]
		require.Equal(t, cluster.MainTrack, g.Ref.Track, "training goes first")
		require.Equal(t, end, g.Ref.EndStep)
		first = end
		if end%perTask == perTask-1 {
			starts = append(starts, f.result(g, end).Checkpoint)
		}
		w.rest() // a pass that has begun would not see that training goes on
		require.NoError(t, f.commit(g))
	}
	w.eventually(func() bool { return w.run(run).Run.StepsDone == 60 }, "it is to be trained")
	v := w.run(run)
	require.Equal(t, runRunning, v.Run.State)
	require.EqualValues(t, 3, v.Run.Asides)
	require.Equal(t, "trained; 0 of 3 deferred measurements are done", v.Run.Message)
	require.Len(t, v.Table.Columns, 1)
	e := w.get(id)
	require.EqualValues(t, 6+3, e.Progress.Segments)
	require.EqualValues(t, 6, e.Progress.SegmentsDone)
	require.EqualValues(t, e.Progress.Steps, e.Progress.StepsDone)

	// One in the middle of them, and a coordinator that knows nothing.
	g := f.onTrack("aside-19")
	require.Equal(t, starts[0].Key, g.Start.Key)
	for _, c := range starts {
		require.True(t, w.have(c), "the checkpoint is still to be measured")
	}
	w.kill()
	w.start()
	others := w.join("others", 2)
	require.Equal(t, []string{"aside-39", "aside-59"}, tracks(others.waitHolding(2)), "idle workers take them")
	require.NoError(t, others.commit(others.onTrack("aside-39")))
	w.eventually(func() bool { return w.run(run).Run.AsidesDone == 1 }, "it is to be known")
	table := w.run(run).Table
	require.Len(t, table.Columns, 3)
	require.Equal(t, value(run+" aside-39", 3), table.Rows[3].Values[2])

	// The first worker is lost: another takes it, and the late one is fenced.
	f.leave()
	again := others.onTrack("aside-19")
	require.Equal(t, g.Attempt+1, again.Attempt)
	require.ErrorIs(t, f.commit(g), cluster.ErrFenced)
	others.work()
	e = w.waitState(id, expDone)
	require.Empty(t, e.Message)
	require.EqualValues(t, 9, e.Progress.SegmentsDone)
	v = w.run(run)
	require.Equal(t, wantDigest(run, 6, perTask, 19, 39, 59), v.Run.Digest)
	require.Len(t, v.Table.Boundaries, 6)
	require.Len(t, v.Table.Asides, 3)
	for i, row := range v.Table.Rows {
		require.Equal(t, value(run, int32(i)), row.Values[0])
		require.True(t, math.IsNaN(row.Values[1]))
		if i%2 == 0 {
			require.True(t, math.IsNaN(row.Values[2]), "task %d", i)
			continue
		}
		require.Equal(t, value(fmt.Sprintf("%s aside-%d", run, i*perTask+9), int32(i)), row.Values[2])
	}
	for _, c := range starts {
		w.eventually(func() bool { return !w.have(c) }, "%s is to go as others do", c.Key)
	}
}

// The start and the end of a task are measured apart and share its row; what is
// measured before the first step needs no checkpoint.
func TestMeasuringStartsAndEnds(t *testing.T) {
	w := setup(t)
	id := w.submit("both", shape{Tasks: 3, Steps: perTask, Segment: 3, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}, Deferred: 1, Starts: true})
	w.join("w", 2).work()
	w.waitState(id, expDone)
	run := id + "/a-0/0"
	v := w.run(run)
	require.Equal(t, wantDigest(run, 3, perTask, 0, 9, 10, 19, 20, 29), v.Run.Digest)
	for i, row := range v.Table.Rows {
		require.Equal(t, value(fmt.Sprintf("%s aside-%d", run, i*perTask), int32(i)), row.Values[1])
		require.Equal(t, value(fmt.Sprintf("%s aside-%d", run, i*perTask+9), int32(i)), row.Values[2])
	}
}

// A run's artifacts are there for others when it is trained.
func TestNoRunWaitsForDeferredMeasurements(t *testing.T) {
	w := setup(t)
	id := w.submit("chain", shape{
		Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0}, Needs: map[string]string{"a": "b"}, Deferred: 2,
	})
	f := w.join("w", 5)
	b := f.waitHolding(1)[0]
	require.NoError(t, f.commit(b))
	w.eventually(func() bool { return len(f.holding()) == 2 }, "it is to go on")
	require.NoError(t, f.commit(f.onTrack(cluster.MainTrack)))
	w.eventually(func() bool {
		return slices.ContainsFunc(f.holding(), func(g *pb.AssignedSegment) bool { return g.Ref.Run == id+"/a-0/0" })
	}, "the arm that starts from it is to begin")
	require.Equal(t, runRunning, w.run(id+"/b-0/0").Run.State, "it is still being measured")
	f.work()
	w.waitState(id, expDone)
	require.Equal(t, id+"/b-0/0", w.run(id + "/a-0/0").Run.Inputs[0].Run)
}

// What waits to be measured does not keep runs from beginning, unless it is much:
// its checkpoints are kept for it.
func TestABacklogOfMeasurementsGoesAheadOfNewRuns(t *testing.T) {
	for every, want := range map[int32]string{8: cluster.MainTrack, 1: "aside-9"} {
		w := setup(t)
		id := w.submit("backlog", shape{Tasks: 8, Steps: perTask, Segment: 8, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}, Deferred: every})
		f := w.join("w", 1)
		for step := int64(0); step < 80; {
			w.eventually(func() bool {
				h := f.holding()
				return len(h) == 1 && h[0].Ref.FirstStep == step && h[0].Ref.Run == id+"/a-0/0"
			}, "step %d", step)
			g := f.holding()[0]
			require.Equal(t, cluster.MainTrack, g.Ref.Track)
			step = g.Ref.EndStep
			w.rest() // a pass that has begun would not see that training goes on
			require.NoError(t, f.commit(g))
		}
		w.eventually(func() bool { h := f.holding(); return len(h) == 1 && h[0].Ref.FirstStep < 79 }, "something is to follow")
		require.Equal(t, want, f.holding()[0].Ref.Track)
		f.work()
		w.waitState(id, expDone)
	}
}

// A measurement that fails for good is reported, and the run is done all the same.
func TestAFailedMeasurementLeavesTheRun(t *testing.T) {
	w := setup(t)
	id := w.submit("lack", shape{Tasks: 4, Steps: perTask, Segment: 4, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}, Deferred: 2})
	f := w.join("w", 8)
	run := id + "/a-0/0"
	w.eventually(func() bool { f.train(); return w.get(id).Progress.StepsDone == 80 }, "both are to be trained")
	w.eventually(func() bool { return len(f.holding()) == 4 }, "all are to be measured")
	for _, g := range f.holding() {
		if g.Ref.Run == run && g.Ref.Track == "aside-19" {
			require.NoError(t, f.fail(g, "probes[3]: the matrix is singular", true))
			continue
		}
		require.NoError(t, f.commit(g))
	}
	e := w.waitState(id, expDone)
	why := "1 of 2 deferred measurements failed, the first at step 19: probes[3]: the matrix is singular"
	require.Equal(t, "1 of 2 runs lack measurements; "+run+": "+why, e.Message)
	require.EqualValues(t, 2, e.Progress.RunsDone)
	require.EqualValues(t, e.Progress.Segments-1, e.Progress.SegmentsDone)
	v := w.run(run)
	require.Equal(t, runDone, v.Run.State)
	require.Equal(t, why, v.Run.Message)
	require.EqualValues(t, 1, v.Run.AsidesDone)
	require.Len(t, v.Table.Rows, 4)
	require.True(t, math.IsNaN(v.Table.Rows[1].Values[2]))
	require.Equal(t, value(run+" aside-39", 3), v.Table.Rows[3].Values[2])
	require.Empty(t, w.run(id+"/a-0/1").Run.Message)
}

func TestCancelStopsMeasurements(t *testing.T) {
	w := setup(t)
	id := w.submit("cancel", shape{Tasks: 40, Steps: perTask, Segment: 40, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}, Deferred: 1})
	f := w.join("w", 50)
	w.eventually(func() bool { f.train(); return w.get(id).Progress.StepsDone == 400 }, "it is to be trained")
	require.Len(t, f.waitHolding(16), 16, "no more than so many are open")
	_, err := w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: id})
	require.NoError(t, err)
	w.waitState(id, expCancelled)
	f.waitHolding(0)
	r := w.run(id + "/a-0/0")
	require.Equal(t, runCancelled, r.Run.State)
	require.Len(t, r.Table.Rows, 40)
}
