package experiment

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// analysed is an experiment with analyses and an arm that starts from one.
func analysed(parts map[string]string) map[string]string {
	out := map[string]string{
		"arms": `arms:
  one: {}
  two: {learner: {methods: []}}
  three: {needs: {start: {analysis: merge, artifact: merged}}, learner: {network: {weights: {artifact: start}}}}`,
		"seeds": "seeds: {count: 3}",
		"more": `analyses:
  twins: {kind: test-compare, needs: {first: {arm: one, artifact: weights}, second: {arm: two, artifact: weights}}}
  merge: {kind: test-merge, per: experiment, needs: {all: {arm: one, artifact: weights}, tables: {arm: two, artifact: table}}}
`,
	}
	for k, v := range parts {
		out[k] = v
	}
	return out
}

func TestAnalyses(t *testing.T) {
	p := expand(t, analysed(nil))
	require.Len(t, p.Analyses, 2)
	merge, twins := p.Analyses[0], p.Analyses[1]
	require.Equal(t, "merge", merge.Name)
	require.True(t, merge.Once)
	require.Equal(t, []uint32{0}, merge.Seeds)
	require.Equal(t, []TrialNeed{{Name: "all", Trial: "one", Artifact: "weights", AllSeeds: true}, {Name: "tables", Trial: "two", Artifact: "table", AllSeeds: true}}, merge.Needs)
	require.Equal(t, []string{"merged"}, merge.Publishes)
	require.Equal(t, []uint32{0, 1, 2}, twins.Seeds)
	require.Equal(t, []TrialNeed{{Name: "first", Trial: "one", Artifact: "weights"}, {Name: "second", Trial: "two", Artifact: "weights"}}, twins.Needs)
	require.Empty(t, twins.Publishes, "its artifacts are not needed")
	require.Equal(t, []string{"mnist"}, twins.Datasets)
	require.Empty(t, merge.Datasets, "it reads none")
	trials := trialsByName(p)
	require.Equal(t, []TrialNeed{{Name: "start", Trial: "merge", Artifact: "merged"}}, trials["three"].Needs)
	require.Equal(t, []string{"weights"}, trials["two"].Publishes, "a task table needs no publishing")
	require.Equal(t, 3*3+3+1, p.Runs())

	// The record is the analysis and what its inputs are of.
	r, err := ReadRecord(twins.SpecJSON())
	require.NoError(t, err)
	require.Nil(t, r.Spec)
	a := r.Analysis
	require.Equal(t, "test-compare", a.Name)
	b, err := json.Marshal(a.Sources["second"])
	require.NoError(t, err)
	require.JSONEq(t, string(trials["two"].SpecJSON()), string(b))
	r, err = ReadRecord(trials["two"].SpecJSON())
	require.NoError(t, err)
	require.Nil(t, r.Analysis)

	// What it looks at is part of what its run is.
	inputs := func(sha string) []*pb.Input {
		return []*pb.Input{{Name: "first", Run: "e/one/1", Blob: &pb.BlobRef{Sha256: sha}}, {Name: "second", Run: "e/two/1", Blob: &pb.BlobRef{Sha256: "bb"}}}
	}
	key := func(spec []byte, in []*pb.Input) string {
		r, err := ReadRecord(spec)
		require.NoError(t, err)
		k, err := r.RunKey(1, in)
		require.NoError(t, err)
		return k
	}
	require.Equal(t, key(twins.SpecJSON(), inputs("aa")), key(twins.SpecJSON(), inputs("aa")))
	require.NotEqual(t, key(twins.SpecJSON(), inputs("aa")), key(twins.SpecJSON(), inputs("cc")))
	other := expand(t, analysed(map[string]string{"stream": "stream: {kind: test-stream, tasks: 19}"}))
	require.NotEqual(t, key(twins.SpecJSON(), inputs("aa")), key(other.Analyses[1].SpecJSON(), inputs("aa")))
}

func TestClaimsOfAnalyses(t *testing.T) {
	expand(t, analysed(map[string]string{"claims": `claims: [{name: c, value: 'analyses["twins"].difference - arms["one"].test_accuracy.mean() + analyses.merge.spread', holds: {gt: 0}}]`}))
	err := Validate(parse(t, analysed(map[string]string{"claims": `claims: [{name: c, value: 'analyses["twin"].difference', holds: {gt: 0}}, {name: d, value: 'analyses.twins.diference', holds: {gt: 0}}, {name: e, value: 'analyses.size()', holds: {gt: 0}}]`})))
	require.ErrorContains(t, err, `there is no analysis "twin", did you mean "twins"? (have: merge, twins)`)
	require.ErrorContains(t, err, `analysis "twins" does not measure "diference", did you mean "difference"?`)
	require.ErrorContains(t, err, `analyses must be followed by an analysis and a metric`)
}

func TestMistakesInAnalyses(t *testing.T) {
	for name, c := range map[string]struct{ more, field, want string }{
		"unknown kind":      {"analyses: {x: {kind: test-compar, needs: {}}}", "analyses.x.kind", `did you mean "test-compare"?`},
		"no needs":          {"analyses: {x: {kind: test-compare}}", "analyses.x.needs", "say whose artifacts it looks at"},
		"per":               {"analyses: {x: {kind: test-compare, per: arm, needs: {}}}", "analyses.x.per", "must be seed or experiment"},
		"an input missing":  {"analyses: {x: {kind: test-compare, needs: {first: {arm: one, artifact: weights}}}}", "analyses.x.needs.second", "missing: the other weights"},
		"no such input":     {"analyses: {x: {kind: test-compare, needs: {first: {arm: one, artifact: weights}, scond: {arm: one, artifact: weights}}}}", "analyses.x.needs.scond", `did you mean "second"?`},
		"unknown parameter": {"analyses: {x: {kind: test-compare, point: 3, needs: {first: {arm: one, artifact: weights}, second: {arm: one, artifact: weights}}}}", "analyses.x.point", "no such parameter"},
		"unknown arm":       {"analyses: {x: {kind: test-compare, needs: {first: {arm: one, artifact: weights}, second: {arm: tow, artifact: weights}}}}", "analyses.x.needs.second.arm", `did you mean "two"?`},
		"unknown artifact":  {"analyses: {x: {kind: test-compare, needs: {first: {arm: one, artifact: weights}, second: {arm: two, artifact: tables}}}}", "analyses.x.needs.second.artifact", `did you mean "table"?`},
		"one of many":       {"analyses: {x: {kind: test-compare, per: experiment, needs: {first: {arm: one, artifact: weights, seed: 1}, second: {arm: two, artifact: weights}}}}", "analyses.x.needs.second", "give its seed, or per: seed"},
		"named as an arm":   {"analyses: {one: {kind: test-compare, needs: {}}}", "analyses.one", `there is an arm "one" too`},
		"both":              {"analyses: {x: {kind: test-compare, needs: {first: {arm: one, analysis: x, artifact: weights}, second: {arm: two, artifact: weights}}}}", "analyses.x.needs.first", "say which arm or which analysis"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(parse(t, analysed(map[string]string{"more": c.more, "arms": "arms: {one: {}, two: {}}"})))
			require.Error(t, err)
			for _, fe := range component.FieldErrors(err) {
				if fe.Field == c.field && strings.Contains(fe.Problem, c.want) {
					return
				}
			}
			t.Fatalf("no %s: …%s… in %v", c.field, c.want, err)
		})
	}
	circle := analysed(map[string]string{
		"arms": "arms: {one: {needs: {start: {analysis: merge, artifact: merged}}, learner: {network: {weights: {artifact: start}}}}, two: {}}",
		"more": "analyses: {merge: {kind: test-merge, per: experiment, needs: {all: {arm: one, artifact: weights}, tables: {arm: two, artifact: table}}}}",
	})
	require.ErrorContains(t, Validate(parse(t, circle)), "analyses.merge.needs.all: merge needs one needs merge: none of them could ever begin")
	swept := analysed(map[string]string{"sweep": "sweep: {arms: {one: {grid: {learner.optimizer.lr: [1, 2]}}}}"})
	require.ErrorContains(t, Validate(parse(t, swept)), `analyses.merge.needs.all.arm: arm "one" has 2 trials: an analysis looks at arms that are not swept`)
	arm := analysed(map[string]string{"arms": "arms: {one: {}, two: {}, three: {needs: {start: {arm: one, artifact: weights, seeds: all}}, learner: {network: {weights: {artifact: start}}}}}"})
	require.ErrorContains(t, Validate(parse(t, arm)), "arms.three.needs.start.seeds: an arm starts from the artifact of one run")
}
