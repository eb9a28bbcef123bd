package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

const (
	expPending   = pb.ExperimentState_EXPERIMENT_STATE_PENDING
	expRunning   = pb.ExperimentState_EXPERIMENT_STATE_RUNNING
	expDone      = pb.ExperimentState_EXPERIMENT_STATE_DONE
	expFailed    = pb.ExperimentState_EXPERIMENT_STATE_FAILED
	expCancelled = pb.ExperimentState_EXPERIMENT_STATE_CANCELLED

	runPending   = pb.RunState_RUN_STATE_PENDING
	runRunning   = pb.RunState_RUN_STATE_RUNNING
	runDone      = pb.RunState_RUN_STATE_DONE
	runFailed    = pb.RunState_RUN_STATE_FAILED
	runCancelled = pb.RunState_RUN_STATE_CANCELLED
)

// small is 2 arms with 2 seeds of 5 tasks in segments of 2.
var small = shape{Tasks: 5, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0, 1}}

func TestAnExperimentFromEndToEnd(t *testing.T) {
	w := setup(t)
	id := w.submit("first", small)
	w.join("w1", 2).work()
	e := w.waitState(id, expDone)
	require.Equal(t, &pb.Progress{Runs: 4, RunsDone: 4, Segments: 12, SegmentsDone: 12, Steps: 200, StepsDone: 200, Tasks: 20, TasksDone: 20}, e.Progress)
	require.NotNil(t, e.EndedAt)
	require.Empty(t, e.Message)

	runs := w.runs(id)
	require.Len(t, runs, 4)
	for _, r := range runs {
		require.Equal(t, runDone, r.State)
		require.Equal(t, wantDigest(r.Id, 5, perTask), r.Digest)
		require.EqualValues(t, 50, r.StepsDone)
		require.EqualValues(t, 3, r.Seconds)
		full := w.run(r.Id)
		require.Len(t, full.Table.Rows, 5)
		require.Equal(t, value(r.Id, 3), full.Table.Rows[3].Values[0])
		require.Equal(t, `{"trial":"`+r.Trial+`"}`, full.ResolvedSpec)
	}
	require.Equal(t, []string{id + "/a-0/0", id + "/a-0/1", id + "/b-0/0", id + "/b-0/1"}, []string{runs[0].Id, runs[1].Id, runs[2].Id, runs[3].Id})
}
