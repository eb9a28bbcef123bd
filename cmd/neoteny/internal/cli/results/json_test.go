package results

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "neoteny/proto/neoteny/v1"
)

func TestPlain(t *testing.T) {
	spec := &pb.ExperimentSpec{}
	require.NoError(t, protojson.Unmarshal([]byte(`{"name": "x", "stream": {"kind": "a", "tasks": 3}, "arms": {"b": {}}, "sweep": {"random": {"count": 2, "seed": "18446744073709551615"}}}`), spec))
	b, err := json.Marshal(Plain(&pb.Experiment{
		Id: "x-1", State: pb.ExperimentState_EXPERIMENT_STATE_CANCELLED, Spec: spec, CreatedAt: timestamppb.New(timestamppb.Now().AsTime().Truncate(0)),
		Progress: &pb.Progress{Steps: 1 << 60, Runs: 2},
	}))
	require.NoError(t, err)
	require.Contains(t, string(b), `"steps":1152921504606846976`, "a number, all of its digits")
	require.Contains(t, string(b), `"runs_done":0`)
	require.Contains(t, string(b), `"state":"cancelled"`)
	require.Contains(t, string(b), `"seed":18446744073709551615`)
	require.Contains(t, string(b), `"arms":{"b":{}}`)
	require.NotContains(t, string(b), "claims", "the file does not say any")
	require.NotContains(t, string(b), "ended_at")
	require.Regexp(t, `"created_at":"[0-9-]+T[0-9:.]+Z"`, string(b))

	b, err = json.Marshal(Plain(&pb.GetRunResponse{
		ResolvedSpec: `{"learner":{}}`,
		Table:        &pb.TaskTable{Columns: []*pb.ColumnName{{Metric: "loss"}}, Rows: []*pb.TaskRow{{Values: []float64{1, math.NaN(), math.Inf(1)}}}},
	}))
	require.NoError(t, err)
	require.Contains(t, string(b), `"resolved_spec":{"learner":{}}`)
	require.Contains(t, string(b), `"values":[1,null,null]`)

	// A state that this program does not know keeps its number.
	b, err = json.Marshal(Plain(&pb.Experiment{State: 99}))
	require.NoError(t, err)
	require.Contains(t, string(b), `"state":99`)
}

// runs.json of this and of earlier versions is read.
func TestRunsAreReadAgain(t *testing.T) {
	run := &pb.Run{
		Id: "x/a-0001/3", Arm: "a", Trial: "a-0001", Seed: 3, State: pb.RunState_RUN_STATE_DONE, Digest: "d", RunKey: "k", StepsDone: 1 << 40,
		Params: map[string]string{"learner.optimizer.lr": "0.02", "learner.optimizer": `{"kind":"sgd"}`, "stream.dataset": `"mnist"`, "x": `"1"`},
	}
	for name, write := range map[string]func() ([]byte, error){
		"now":    func() ([]byte, error) { return json.Marshal(Plain(run)) },
		"before": func() ([]byte, error) { return Marshal(run) },
	} {
		b, err := write()
		require.NoError(t, err)
		got, err := readRun(b)
		require.NoError(t, err, name)
		require.True(t, proto.Equal(run, got), "%s: %v", name, got)
	}
	_, err := readRun([]byte(`{"state": "done", "params": 3}`))
	require.ErrorContains(t, err, "params")
	_, err = readRun([]byte(`{"state": "dne"}`))
	require.Error(t, err)
}
