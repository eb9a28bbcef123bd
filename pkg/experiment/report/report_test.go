package report

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

var nan = math.NaN()

// run makes a run whose metric acc has the given values, one per task.
func run(arm, trial string, seed uint32, confirmation bool, acc ...float64) RunTable {
	t := &pb.TaskTable{Columns: []*pb.ColumnName{{Metric: "acc"}, {Metric: "dormant", Layer: "hidden1"}}}
	for i, v := range acc {
		t.Rows = append(t.Rows, &pb.TaskRow{Task: int32(i), Values: []float64{v, v / 10}})
	}
	return RunTable{Arm: arm, Trial: trial, Seed: seed, Confirmation: confirmation, Table: t}
}

func selecting(mode string) *pb.ExperimentSpec {
	return &pb.ExperimentSpec{Name: "exp", Select: &pb.Select{Metric: "acc", Mode: mode, ConfirmSeeds: &pb.Seeds{Count: 2}}}
}

func TestSelectTrials(t *testing.T) {
	runs := []RunTable{
		run("a", "a-0000", 0, false, 1, 3), run("a", "a-0000", 1, false, 2, 2), // mean 2
		run("a", "a-0001", 0, false, 9, 9), run("a", "a-0001", 1, false, -9, nan), // mean 0
		run("a", "a-0002", 0, false, 4, 0), run("a", "a-0002", 1, false, 3, 1), // mean 2, later by name
		run("a", "a-0003", 0, false, 100), // diverged on seed 1
		run("a", "a-0001", 5, true, 1000), // confirmation runs do not select
		run("b", "b", 0, false, 1),
		run("c", "c-0000", 0, false, nan),
	}
	got, err := SelectTrials(selecting("max"), runs)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "a-0000", "b": "b"}, got)

	got, err = SelectTrials(selecting("min"), runs)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "a-0001", "b": "b"}, got)

	got, err = SelectTrials(&pb.ExperimentSpec{}, runs)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"b": "b", "c": "c-0000"}, got, "without select only arms with one trial")

	// The order of runs does not matter.
	rapid.Check(t, func(t *rapid.T) {
		got, err := SelectTrials(selecting("max"), rapid.Permutation(runs).Draw(t, "runs"))
		require.NoError(t, err)
		require.Equal(t, map[string]string{"a": "a-0000", "b": "b"}, got)
	})
}

func claimed(c ...*pb.Claim) *pb.ExperimentSpec { return &pb.ExperimentSpec{Name: "exp", Claims: c} }

func TestSummary(t *testing.T) {
	s, err := Summarize(claimed(&pb.Claim{Name: "c", Paper: "b is better", Value: "arms.b.acc.mean() - arms.a.acc.mean()", Holds: &pb.Bound{Gt: proto.Float64(0)}}), []RunTable{
		run("b", "b", 1, false, 5, 7), run("b", "b", 0, false, 4, 6),
		run("a", "a", 0, false, 1, 3), run("a", "a", 1, false, 2, nan, 4),
	})
	require.NoError(t, err)
	require.Equal(t, "a", s.Arms[0].Arm)
	a := s.Arms[0].Main()
	require.Equal(t, []uint32{0, 1}, a.Seeds)
	require.Equal(t, "acc", a.Metrics[0].Metric)
	require.Equal(t, "dormant", a.Metrics[1].Metric)
	require.Equal(t, "hidden1", a.Metrics[1].Layer)
	// Seeds mean 2 and 3 over the tasks that were measured.
	require.EqualValues(t, 2.5, a.Metrics[0].Mean)
	require.InDelta(t, 2.5-12.7062047/2, float64(a.Metrics[0].Low), 1e-6)
	require.Equal(t, 2, a.Metrics[0].N)
	curve := a.Metrics[0].PerTask
	require.Equal(t, []Number{1.5, 3, 4}, curve.Mean)
	require.InDelta(t, 1.5+12.7062047/2, float64(curve.High[0]), 1e-6)
	require.True(t, math.IsNaN(float64(curve.Low[1])), "one seed has no interval")

	c := s.Claims[0]
	require.Equal(t, []SeedValue{{Seed: 0, Value: 3}, {Seed: 1, Value: 3}}, c.Seeds)
	require.Equal(t, Held, c.Verdict)
	require.Equal(t, "> 0", c.Bound)
	require.Equal(t, "b is better", c.Paper)

	j, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(j), `"ci_low":[`)
	require.Contains(t, string(j), `null`)
	var back Summary
	require.NoError(t, json.Unmarshal(j, &back))
	again, err := json.Marshal(back)
	require.NoError(t, err)
	require.JSONEq(t, string(j), string(again))
}

func TestVerdicts(t *testing.T) {
	bound := func(op string, x float64) *pb.Bound {
		return map[string]*pb.Bound{"gt": {Gt: &x}, "ge": {Ge: &x}, "lt": {Lt: &x}, "le": {Le: &x}}[op]
	}
	for _, c := range []struct {
		values  []float64 // per seed
		op      string
		x       float64
		want    Verdict
		message string
	}{
		{[]float64{1, 1, 1}, "gt", 0.9, Held, ""},
		{[]float64{1, 1, 1}, "gt", 1, DidNotHold, ""}, // the interval is the point 1
		{[]float64{1, 1, 1}, "ge", 1, Held, ""},
		{[]float64{1, 1, 1}, "lt", 1, DidNotHold, ""},
		{[]float64{1, 1, 1}, "le", 1, Held, ""},
		{[]float64{1, 1, 1}, "le", 0.9, DidNotHold, ""},
		// mean 1, 95 % interval 1 ± 4.303·0.1/√3: 0.7516 to 1.2484
		{[]float64{0.9, 1, 1.1}, "gt", 0.751, Held, ""},
		{[]float64{0.9, 1, 1.1}, "gt", 0.752, Undecided, "the 95 % interval does not settle it: run more seeds"},
		{[]float64{0.9, 1, 1.1}, "gt", 1.248, Undecided, "the 95 % interval does not settle it: run more seeds"},
		{[]float64{0.9, 1, 1.1}, "gt", 1.249, DidNotHold, ""},
		{[]float64{0.9, 1, 1.1}, "lt", 1.249, Held, ""},
		{[]float64{0.9, 1, 1.1}, "lt", 0.751, DidNotHold, ""},
		{[]float64{5}, "gt", 0, Undecided, "one seed gives no confidence interval: run more seeds"},
		{nil, "gt", 0, Undecided, `arm "a" has no finished run`},
		{[]float64{1, nan, 1}, "gt", 0, Undecided, "1 of 3 seeds have no finite value"},
		{[]float64{nan}, "gt", 0, Undecided, "1 of 1 seeds have no finite value"},
		{[]float64{1, 1.1, 1, 1.1, 1, 1.1, 1, 1.1, 1, 1.1}, "gt", 1, Held, ""}, // bootstrapped
	} {
		var runs []RunTable
		for i, v := range c.values {
			runs = append(runs, run("a", "a", uint32(i), false, v))
		}
		s, err := Summarize(claimed(&pb.Claim{Name: "c", Value: "arms.a.acc.final()", Holds: bound(c.op, c.x)}), runs)
		require.NoError(t, err)
		require.Equal(t, c.want, s.Claims[0].Verdict, "%v", c)
		require.Equal(t, c.message, s.Claims[0].Message, "%v", c)
	}
}

func TestClaimsPairSeeds(t *testing.T) {
	spec := claimed(&pb.Claim{Name: "c", Value: "arms.a.acc.mean() - arms.b.acc.mean()", Holds: &pb.Bound{Gt: proto.Float64(0)}})
	s, err := Summarize(spec, []RunTable{
		run("a", "a", 1, false, 10), run("a", "a", 2, false, 20), run("a", "a", 3, false, 1000),
		run("b", "b", 0, false, -1000), run("b", "b", 1, false, 9), run("b", "b", 2, false, 19),
	})
	require.NoError(t, err)
	require.Equal(t, []SeedValue{{Seed: 1, Value: 1}, {Seed: 2, Value: 1}}, s.Claims[0].Seeds)
	require.Equal(t, Held, s.Claims[0].Verdict)
	require.Equal(t, "2 of 4 seeds lack a finished run", s.Claims[0].Message)

	s, err = Summarize(spec, []RunTable{run("a", "a", 1, false, 10), run("b", "b", 0, false, 1)})
	require.NoError(t, err)
	require.Equal(t, Undecided, s.Claims[0].Verdict)
	require.Equal(t, "no seed has a run of every arm that the claim looks at", s.Claims[0].Message)

	// A run that ended early has fewer tasks than the claim needs.
	spec = claimed(&pb.Claim{Name: "c", Value: "arms.a.acc.last(2).mean()", Holds: &pb.Bound{Gt: proto.Float64(0)}})
	s, err = Summarize(spec, []RunTable{run("a", "a", 0, false, 1, 2), run("a", "a", 1, false, 1), run("a", "a", 2, false, 1, 2)})
	require.NoError(t, err)
	require.Equal(t, Undecided, s.Claims[0].Verdict)
	require.Contains(t, s.Claims[0].Message, "seed 1: evaluate claim: last(2) of 1 tasks")
}

// With select, claims look at the selected trial's confirmation seeds alone.
func TestClaimsOnConfirmationSeeds(t *testing.T) {
	spec := selecting("max")
	spec.Claims = []*pb.Claim{{Name: "c", Value: "arms.a.acc.mean()", Holds: &pb.Bound{Lt: proto.Float64(3)}}}
	runs := []RunTable{
		run("a", "a-0000", 0, false, 1), run("a", "a-0001", 0, false, 9),
		run("a", "a-0001", 1, true, 2), run("a", "a-0001", 2, true, 2),
	}
	s, err := Summarize(spec, runs)
	require.NoError(t, err)
	require.Equal(t, "a-0001", s.Arms[0].Selected)
	require.Len(t, s.Arms[0].Trials, 3)
	require.Equal(t, []uint32{1, 2}, s.Arms[0].Main().Seeds)
	require.True(t, s.Arms[0].Main().Confirmation)
	require.Equal(t, []SeedValue{{Seed: 1, Value: 2}, {Seed: 2, Value: 2}}, s.Claims[0].Seeds)
	require.Equal(t, Held, s.Claims[0].Verdict)

	s, err = Summarize(spec, runs[:2])
	require.NoError(t, err)
	require.Equal(t, `the selected trial a-0001 of arm "a" has no finished run on a confirmation seed`, s.Claims[0].Message)
	require.Equal(t, Undecided, s.Claims[0].Verdict)
	require.False(t, s.Arms[0].Main().Confirmation)

	spec.Select = nil
	s, err = Summarize(spec, runs[:2])
	require.NoError(t, err)
	require.Equal(t, `arm "a" has several trials and no select to pick one`, s.Claims[0].Message)
	require.Nil(t, s.Arms[0].Main())
}

func TestHostileTables(t *testing.T) {
	for _, rows := range [][]*pb.TaskRow{
		{{Task: -1, Values: []float64{1, 1}}},
		{{Task: math.MaxInt32, Values: []float64{1, 1}}},
		{{Task: 0, Values: []float64{1}}},
		{{Task: 0}},
	} {
		r := run("a", "a", 0, false)
		r.Table.Rows = rows
		_, err := Summarize(claimed(), []RunTable{r})
		require.ErrorContains(t, err, "run a/0: ")
	}
	_, err := Summarize(claimed(), []RunTable{run("a", "a", 0, false, 1), run("a", "a", 0, false, 1)})
	require.EqualError(t, err, "run a/0 is there twice")

	s, err := Summarize(claimed(), []RunTable{{Arm: "a", Trial: "a"}})
	require.NoError(t, err, "a run without a table has no metrics")
	require.Empty(t, s.Arms[0].Trials[0].Metrics)
	s, err = Summarize(claimed(), nil)
	require.NoError(t, err)
	j, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"name": "exp", "arms": [], "claims": []}`, string(j))
}
