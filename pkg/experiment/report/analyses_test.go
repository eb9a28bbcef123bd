package report

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	pb "neoteny/proto/neoteny/v1"
)

// number is the run of an analysis that measured v.
func number(name string, seed uint32, confirmation bool, v float64) RunTable {
	return RunTable{Arm: name, Trial: name, Seed: seed, Confirmation: confirmation, Analysis: true, Table: &pb.TaskTable{
		Columns: []*pb.ColumnName{{Metric: "m"}}, Rows: []*pb.TaskRow{{Values: []float64{v}}},
	}}
}

func armRun(seed uint32, v float64) RunTable {
	r := number("a", seed, false, v)
	r.Analysis = false
	return r
}

func TestAnalysesInSummaries(t *testing.T) {
	gt := func(v float64) *pb.Bound { return &pb.Bound{Gt: &v} }
	over := func(per string) *structpb.Struct {
		s, err := structpb.NewStruct(map[string]any{"kind": "x", "per": per})
		require.NoError(t, err)
		return s
	}
	spec := &pb.ExperimentSpec{
		Analyses: map[string]*structpb.Struct{"each": over("seed"), "once": over("experiment")},
		Claims: []*pb.Claim{
			{Name: "paired", Value: `analyses.each.m - arms.a.m.mean()`, Holds: gt(9)},
			{Name: "over all", Value: `analyses.once.m * 2`, Holds: gt(14)},
			{Name: "mixed", Value: `analyses.once.m + analyses.each.m`, Holds: gt(0)},
			{Name: "missing", Value: `analyses.none.m`, Holds: gt(0)},
		},
	}
	s, err := Summarize(spec, []RunTable{
		armRun(1, 1), armRun(2, 2), armRun(3, 3),
		number("each", 1, false, 11), number("each", 2, false, 12.5), number("each", 3, false, 13),
		number("once", 1, false, 7.5),
	})
	require.NoError(t, err)
	require.Len(t, s.Arms, 1)
	require.Len(t, s.Analyses, 2)
	require.Equal(t, "each", s.Analyses[0].Analysis)
	require.InDelta(t, 36.5/3, float64(s.Analyses[0].Main().Metrics[0].Mean), 1e-12)
	require.Equal(t, []uint32{1}, s.Analyses[1].Main().Seeds)

	paired, once, mixed, missing := s.Claims[0], s.Claims[1], s.Claims[2], s.Claims[3]
	require.Equal(t, []SeedValue{{Seed: 1, Value: 10}, {Seed: 2, Value: 10.5}, {Seed: 3, Value: 10}}, paired.Seeds)
	require.Equal(t, Held, paired.Verdict)
	require.Equal(t, Held, once.Verdict)
	require.Equal(t, "one number over all seeds, without an interval", once.Message)
	require.Equal(t, []SeedValue{{Seed: 1, Value: 15}}, once.Seeds)
	require.Equal(t, []SeedValue{{Seed: 1, Value: 18.5}, {Seed: 2, Value: 20}, {Seed: 3, Value: 20.5}}, mixed.Seeds, "one number for every seed")
	require.Equal(t, `analysis "none" has no finished run`, missing.Message)

	// With confirmation seeds claims look at the runs on them.
	spec.Select = &pb.Select{Metric: "m", Mode: "max", ConfirmSeeds: &pb.Seeds{Count: 1, First: 9}}
	confirmed := armRun(9, 4)
	confirmed.Confirmation = true
	s, err = Summarize(spec, []RunTable{armRun(1, 1), confirmed, number("each", 1, false, 11), number("each", 9, true, 20), number("once", 1, false, 7), number("once", 9, true, 3)})
	require.NoError(t, err)
	require.Equal(t, []SeedValue{{Seed: 9, Value: 16}}, s.Claims[0].Seeds)
	require.Equal(t, DidNotHold, s.Claims[1].Verdict)
	require.True(t, s.Analyses[1].Main().Confirmation)
}
