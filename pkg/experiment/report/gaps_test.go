package report

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	pb "neoteny/proto/neoteny/v1"
)

// accurate is a run of an arm with an online accuracy for every task.
func accurate(arm string, seed uint32, values ...float64) RunTable {
	t := &pb.TaskTable{Columns: []*pb.ColumnName{{Metric: "online_accuracy"}, {Metric: "other"}}}
	for i, v := range values {
		t.Rows = append(t.Rows, &pb.TaskRow{Task: int32(i), Values: []float64{v, 1}})
	}
	return RunTable{Arm: arm, Trial: arm, Seed: seed, Table: t}
}

func TestPlasticityGaps(t *testing.T) {
	controls, err := structpb.NewList([]any{"fresh-network", map[string]any{"fresh-network": map[string]any{"of": "l2"}}, "linear"})
	require.NoError(t, err)
	spec := &pb.ExperimentSpec{Controls: controls, Arms: map[string]*structpb.Struct{"backprop": nil, "l2": nil}}
	s, err := Summarize(spec, []RunTable{
		accurate("backprop", 0, .9, .5), accurate("backprop", 1, .8, .7), accurate("backprop", 2, .1, .1),
		accurate("l2", 0, .5, .5), accurate("l2", 1, .5, .5),
		accurate("fresh-network", 0, .9, .9), accurate("fresh-network", 1, .8, .9),
		accurate("l2-fresh-network", 0, .6, .7), accurate("l2-fresh-network", 1, .6, .5),
		accurate("linear", 0, .2, .2), accurate("linear", 1, .2, .2),
	})
	require.NoError(t, err)
	require.Len(t, s.Gaps, 2, "controls have none")
	b, l2 := s.Gaps[0], s.Gaps[1]
	require.Equal(t, []string{"backprop", "fresh-network", "online_accuracy"}, []string{b.Arm, b.Control, b.Metric.Metric})
	require.Equal(t, 2, b.N, "the third seed has no control")
	require.InDelta(t, (.2+.1)/2, float64(b.Mean), 1e-12)
	require.InDelta(t, 0, float64(b.PerTask.Mean[0]), 1e-12)
	require.InDelta(t, .3, float64(b.PerTask.Mean[1]), 1e-12)
	require.Equal(t, "l2-fresh-network", l2.Control, "its own")
	require.InDelta(t, .1, float64(l2.Mean), 1e-12)

	spec.Controls = nil
	s, err = Summarize(spec, []RunTable{accurate("backprop", 0, .9), accurate("fresh-network", 0, .9)})
	require.NoError(t, err)
	require.Empty(t, s.Gaps)
}
