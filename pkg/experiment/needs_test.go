package experiment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

// chain is an experiment whose arms start from each other's weights; parts
// replace some of it.
func chain(parts map[string]string) map[string]string {
	out := map[string]string{
		"arms": `arms:
  pretrain: {}
  tune: {learner: {network: {weights: {artifact: start}}}}
  tune-more: {needs: {start: {arm: tune}}, learner: {network: {weights: {artifact: start, skip: [output]}}}}`,
		"needs": "needs: {start: {arm: pretrain, artifact: weights}}",
		"seeds": "seeds: {count: 3}",
	}
	for k, v := range parts {
		out[k] = v
	}
	return out
}

func trialsByName(p *Plan) map[string]Trial {
	out := map[string]Trial{}
	for _, t := range p.Trials {
		out[t.Name] = t
	}
	return out
}

func TestArmsStartFromArtifactsOfOthers(t *testing.T) {
	trials := trialsByName(expand(t, chain(nil)))
	require.Equal(t, []TrialNeed{{Name: "start", Trial: "pretrain", Artifact: "weights"}}, trials["tune"].Needs)
	require.Equal(t, []TrialNeed{{Name: "start", Trial: "tune", Artifact: "weights"}}, trials["tune-more"].Needs)
	require.Empty(t, trials["pretrain"].Needs, "it does not ask for what the base could give it")
	require.Equal(t, []string{"weights"}, trials["pretrain"].Publishes)
	require.Equal(t, []string{"weights"}, trials["tune"].Publishes)
	require.Empty(t, trials["tune-more"].Publishes)

	fixed := trialsByName(expand(t, chain(map[string]string{"needs": "needs: {start: {arm: pretrain, artifact: weights, seed: 2}}"})))
	require.EqualValues(t, 2, *fixed["tune"].Needs[0].Seed)

	// What a run starts from is part of what it is.
	tune := trials["tune"]
	one, two := tune.RunKey(1, map[string]string{"start": "aa"}), tune.RunKey(1, map[string]string{"start": "bb"})
	require.NotEqual(t, one, two)
	record, err := ReadRecord(tune.SpecJSON())
	require.NoError(t, err)
	again, err := record.RunKey(1, []*pb.Input{{Name: "start", Blob: &pb.BlobRef{Sha256: "aa"}}})
	require.NoError(t, err)
	require.Equal(t, one, again)
}

// Swept together, a trial starts from the trial with its own hyperparameters.
func TestSweptArmsArePaired(t *testing.T) {
	p := expand(t, chain(map[string]string{"sweep": `sweep:
  grid: {learner.optimizer.lr: [0.1, 0.2]}
  arms: {tune: {grid: {stream.tasks: [3, 4]}}, tune-more: {grid: {stream.tasks: [4, 3]}}}`}))
	trials := trialsByName(p)
	params := func(name string) string { return paramText(trials[name].Params) }
	for _, arm := range []string{"tune", "tune-more"} {
		for _, n := range []string{"0000", "0001", "0002", "0003"} {
			x := trials[arm+"-"+n]
			require.Len(t, x.Needs, 1)
			require.True(t, strings.HasPrefix(params(x.Name), params(x.Needs[0].Trial)), "%s: %s, from %s", x.Name, params(x.Name), params(x.Needs[0].Trial))
		}
	}
	require.Equal(t, []string{"weights"}, trials["pretrain-0001"].Publishes)
}

func TestMistakesInNeeds(t *testing.T) {
	const tune = "tune: {learner: {network: {weights: {artifact: start}}}}"
	for name, c := range map[string]struct {
		in    map[string]string
		field string
		want  string
	}{
		"unknown arm":      {map[string]string{"needs": "needs: {start: {arm: pretrian, artifact: weights}}"}, "needs.start.arm", `there is no arm "pretrian", did you mean "pretrain"?`},
		"no arm":           {map[string]string{"needs": "needs: {start: {artifact: weights}}"}, "needs.start", "one of arm, analysis must be set"},
		"no artifact":      {map[string]string{"needs": "needs: {start: {arm: pretrain}}"}, "needs.start.artifact", "missing"},
		"unknown artifact": {map[string]string{"needs": "needs: {start: {arm: pretrain, artifact: weihgts}}"}, "needs.start.artifact", `arm "pretrain" publishes no "weihgts", did you mean "weights"? (has: weights)`},
		"not its seed":     {map[string]string{"needs": "needs: {start: {arm: pretrain, artifact: weights, seed: 3}}"}, "needs.start.seed", `3 is none of the seeds`},
		"name":             {map[string]string{"needs": "needs: {Start!: {arm: pretrain, artifact: weights}}"}, `needs["Start!"]`, "is not a name"},
		"undeclared":       {map[string]string{"needs": "", "arms": "arms: {pretrain: {}, " + tune + "}"}, "arms.tune.learner.network.weights.artifact", `arm "tune" has no artifact "start": say in its needs where it comes from`},
		"misspelt":         {map[string]string{"arms": "arms: {pretrain: {}, tune: {learner: {network: {weights: {artifact: stat}}}}}"}, "arms.tune.learner.network.weights.artifact", `did you mean "start"?`},
		"unused":           {map[string]string{"arms": "arms: {pretrain: {}, tune: {}}"}, "needs.start", "no component asks for it"},
		"itself":           {map[string]string{"arms": "arms: {pretrain: {}, tune: {needs: {start: {arm: tune}}, learner: {network: {weights: {artifact: start}}}}}"}, "arms.tune.needs.start.arm", `arm "tune" would need itself`},
		"a circle": {map[string]string{"arms": `arms:
  a: {needs: {start: {arm: c}}, learner: {network: {weights: {artifact: start}}}}
  b: {needs: {start: {arm: a}}, learner: {network: {weights: {artifact: start}}}}
  c: {needs: {start: {arm: b}}, learner: {network: {weights: {artifact: start}}}}
  d: {learner: {network: {weights: {artifact: start}}}}
  pretrain: {}`}, "arms.a.needs.start", "a needs c needs b needs a: none of them could ever begin"},
		"other hyperparameters": {map[string]string{"sweep": "sweep: {arms: {pretrain: {grid: {learner.optimizer.lr: [0.1, 0.2]}}}}"}, "needs.start.arm", `arm "pretrain" has 2 trials and none with the hyperparameters of tune`},
		"unknown field":         {map[string]string{"arms": "arms: {pretrain: {}, tune: {needs: {start: {amr: tune}}, learner: {network: {weights: {artifact: start}}}}}"}, "arms.tune.needs.start.amr", `did you mean "arm"?`},
		"no object":             {map[string]string{"arms": "arms: {pretrain: {}, tune: {needs: [start], learner: {network: {weights: {artifact: start}}}}}"}, "arms.tune.needs", "must be an object of artifacts by name"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(parse(t, chain(c.in)))
			require.Error(t, err)
			var all []string
			for _, fe := range component.FieldErrors(err) {
				all = append(all, fe.Error())
				if fe.Field == c.field && strings.Contains(fe.Problem, c.want) {
					return
				}
			}
			t.Fatalf("no %s: …%s… among\n%s", c.field, c.want, strings.Join(all, "\n"))
		})
	}
}
