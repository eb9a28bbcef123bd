package report

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

// as gives a run another outcome.
func as(o Outcome, r RunTable) RunTable {
	r.Outcome = o
	return r
}

func claimOf(value string, holds *pb.Bound) *pb.Claim {
	return &pb.Claim{Name: "c", Value: value, Holds: holds}
}

// A claim says what becomes of seeds that diverged; nothing is left out in silence.
func TestClaimsAboutSeedsThatDiverged(t *testing.T) {
	above, below, worst := 2.0, 2.0, 0.0
	gt, lt := &pb.Bound{Gt: &above}, &pb.Bound{Lt: &below}
	runs := []RunTable{
		run("a", "a", 0, false, 3), run("a", "a", 1, false, 3.5), as(Diverged, run("a", "a", 2, false, 9)), as(Missing, run("a", "a", 3, false)),
	}
	inf := math.Inf(1)
	for name, tt := range map[string]struct {
		claim   *pb.Claim
		runs    []RunTable
		verdict Verdict
		message string
		n, of   int
	}{
		"nothing said": {
			claim: claimOf(`arms["a"].acc.mean()`, gt), runs: runs, verdict: Undecided, n: 2, of: 4,
			message: "1 of 4 seeds diverged; diverged: worst or diverged: exclude in the claim says how to count them",
		},
		"exclude": {
			claim: &pb.Claim{Value: `arms["a"].acc.mean()`, Holds: gt, Diverged: "exclude"}, runs: append(runs[:3:3], run("a", "a", 3, false, 3.25)),
			verdict: Held, n: 3, of: 4, message: "1 of 4 seeds diverged and are excluded",
		},
		"worst": {
			claim: &pb.Claim{Value: `arms["a"].acc.mean()`, Holds: gt, Diverged: "worst", Worst: &worst}, runs: runs[:3],
			verdict: Undecided, n: 3, of: 3, message: "1 of 3 seeds diverged and count as 0",
		},
		"worst, all of them": {
			claim:   &pb.Claim{Value: `arms["a"].acc.mean()`, Holds: gt, Diverged: "worst", Worst: &worst},
			runs:    []RunTable{as(Diverged, run("a", "a", 0, false)), as(Diverged, run("a", "a", 1, false))},
			verdict: DidNotHold, n: 2, of: 2, message: "2 of 2 seeds diverged and count as 0",
		},
		"exclude, all of them": {
			claim:   &pb.Claim{Value: `arms["a"].acc.mean()`, Holds: gt, Diverged: "exclude"},
			runs:    []RunTable{as(Diverged, run("a", "a", 0, false)), as(Diverged, run("a", "a", 1, false))},
			verdict: Undecided, n: 0, of: 2, message: "2 of 2 seeds diverged and are excluded: none is left",
		},
		"an infinite value violates the bound": {
			claim: claimOf(`arms["a"].acc.mean()`, lt), runs: []RunTable{run("a", "a", 0, false, 1), run("a", "a", 1, false, inf)},
			verdict: DidNotHold, n: 1, of: 2, message: "the value is +Inf for a seed",
		},
		"so does that of a run which diverged": {
			claim: claimOf(`arms["a"].acc.mean()`, lt), runs: []RunTable{run("a", "a", 0, false, 1), as(Diverged, run("a", "a", 1, false, inf))},
			verdict: DidNotHold, n: 1, of: 2, message: "the value is +Inf for a seed",
		},
		"an infinite value is no proof": {
			claim: claimOf(`arms["a"].acc.mean()`, gt), runs: []RunTable{run("a", "a", 0, false, 3), run("a", "a", 1, false, inf)},
			verdict: Undecided, n: 1, of: 2, message: "1 of 2 seeds have no finite value",
		},
		"what is not measured violates nothing": {
			claim:   claimOf(`arms["a"].acc.mean()`, lt),
			runs:    []RunTable{run("a", "a", 0, false, 1), run("a", "a", 1, false, inf), run("a", "a", 2, false, nan)},
			verdict: Undecided, n: 1, of: 3, message: "2 of 3 seeds have no finite value",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Summarize(&pb.ExperimentSpec{Claims: []*pb.Claim{tt.claim}}, tt.runs)
			require.NoError(t, err)
			c := s.Claims[0]
			require.Equal(t, []any{tt.verdict, tt.message, tt.n, tt.of}, []any{c.Verdict, c.Message, c.N, c.Of})
		})
	}
}

func TestEveryNumberSaysOfHowManySeedsItIs(t *testing.T) {
	s, err := Summarize(&pb.ExperimentSpec{}, []RunTable{
		run("a", "a", 0, false, 1), run("a", "a", 1, false, 2), run("a", "a", 2, false, math.Inf(1)),
		as(Diverged, run("a", "a", 3, false, 77)), as(Missing, run("a", "a", 4, false)),
		as(Diverged, run("lost", "lost", 0, false, 1)),
	})
	require.NoError(t, err)
	a := s.Arms[0].Main()
	require.Equal(t, []uint32{0, 1, 2}, a.Seeds)
	require.Equal(t, []uint32{3}, a.Diverged)
	require.Equal(t, []uint32{4}, a.Missing)
	m := a.Metrics[0]
	require.Equal(t, []int{2, 5, 1}, []int{m.N, m.Of, m.NotFinite})
	require.EqualValues(t, 1.5, m.Mean)
	require.Equal(t, "lost", s.Arms[1].Arm, "an arm of which every seed diverged stays")
	require.Equal(t, []uint32{0}, s.Arms[1].Main().Diverged)
	require.Empty(t, s.Arms[1].Main().Seeds)
	b, err := json.Marshal(s)
	require.NoError(t, err)
	require.Contains(t, string(b), `"n":2,"of":5,"method":"t","not_finite":1`)
	require.Contains(t, string(b), `"seeds":[],"diverged":[0]`)
}

func TestSelectionNamesWhatItPassesOver(t *testing.T) {
	spec := &pb.ExperimentSpec{Select: &pb.Select{Metric: "acc", Mode: "max"}}
	s, err := Summarize(spec, []RunTable{
		run("a", "a-0", 0, false, .1), run("a", "a-0", 1, false, .1),
		run("a", "a-1", 0, false, .9), as(Diverged, run("a", "a-1", 1, false, .9)),
		run("a", "a-2", 0, false, .2), run("a", "a-2", 1, false, .2),
		as(Diverged, run("a", "a-3", 0, false)), as(Diverged, run("a", "a-3", 1, false)),
	})
	require.NoError(t, err)
	require.Equal(t, "a-2", s.Arms[0].Selected)
	require.Equal(t, []string{"a-1", "a-3"}, s.Arms[0].PassedOver)

	spec.Claims = []*pb.Claim{claimOf(`arms["a"].acc.mean()`, &pb.Bound{Gt: new(float64)})}
	s, err = Summarize(spec, []RunTable{as(Diverged, run("a", "a", 0, false)), as(Diverged, run("a", "a", 1, false))})
	require.NoError(t, err)
	require.Equal(t, "a", s.Arms[0].Selected, "there is no other")
	require.Contains(t, s.Claims[0].Message, "2 of 2 seeds diverged")
	s, err = Summarize(spec, []RunTable{as(Diverged, run("a", "a-0", 0, false)), as(Diverged, run("a", "a-1", 0, false))})
	require.NoError(t, err)
	require.Empty(t, s.Arms[0].Selected)
	require.Equal(t, `every run of arm "a" diverged: no trial could be selected`, s.Claims[0].Message)
}

func TestSelectionByAValue(t *testing.T) {
	runs := []RunTable{run("a", "a-0", 0, false, .9, .9, .1), run("a", "a-1", 0, false, .1, .2, .3), run("a", "a-2", 0, false, .9, .9)}
	for i := range runs {
		runs[i].Params = map[string]string{"learner.optimizer.lr": []string{"0.1", "0.2", "1e-05"}[i]}
	}
	spec := &pb.ExperimentSpec{Select: &pb.Select{Value: "trial.acc.last(2).mean()", Mode: "min"}}
	s, err := Summarize(spec, runs)
	require.NoError(t, err)
	require.Equal(t, "a-1", s.Arms[0].Selected)
	require.Equal(t, []string{"lr=0.1", "lr=0.2", "lr=1e-5"}, []string{s.Arms[0].Trials[0].Label, s.Arms[0].Trials[1].Label, s.Arms[0].Trials[2].Label})
	require.InDelta(t, .5, float64(*s.Arms[0].Trials[0].Score), 1e-12)
	spec.Select.Value = "trial.acc.slice(2, 3).mean()" // not every trial has as many tasks
	s, err = Summarize(spec, runs)
	require.NoError(t, err)
	require.Equal(t, "a-0", s.Arms[0].Selected)
	require.True(t, math.IsNaN(float64(*s.Arms[0].Trials[2].Score)))
}
