package reproduction

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	"neoteny/recipes"
)

func TestPapersDocIsCurrent(t *testing.T) {
	cat, err := recipes.BuiltIn()
	require.NoError(t, err)
	var want bytes.Buffer
	require.NoError(t, writePapers(&want, cat))
	got, err := os.ReadFile("../../../../../docs/papers.md")
	require.NoError(t, err)
	// Not the whole texts: they are long, and the fix is known.
	require.True(t, want.String() == string(got), "docs/papers.md is not what the recipes and results make: run `make papers`")
}

const oneClaim = `# Paper: p
# Claims: c
# Protocol: d
# Scaled down: s
# Differs: x
name: small
paper: ewc
stream: {kind: bit-flip-regression, tasks: 3, examples_per_task: 40}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
claims:
  - {name: kept, paper: as before | said, value: 'arms["base"].loss.mean()', holds: {lt: 1000}, note: new note}
  - {name: moved, paper: another bound, value: 'arms["base"].loss.mean()', holds: {lt: 10}}
untested: [{paper: more, why: no data}]
forms:
  quick:
  full: {stream: {tasks: 300}}
`

// Figures are shown of what the recipe does now, and of claims as it makes them
// now, in its present words.
func TestStandingOfOlderResults(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "ewc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ewc", "small.yaml"), []byte(oneClaim), 0o644))
	cat, err := recipes.Open(dir)
	require.NoError(t, err)
	p, err := cat.Paper("ewc")
	require.NoError(t, err)
	r, err := cat.Recipe("ewc", "small.yaml")
	require.NoError(t, err)
	doc := func() string {
		var b bytes.Buffer
		require.NoError(t, writePapers(&b, cat))
		return b.String()
	}
	require.Contains(t, doc(), `| kept | as before \| said | default | | < 1000 | | not run |`)
	require.Contains(t, doc(), "- quick form: not run; 1 runs, 120 steps\n")

	v, err := r.Variant(experiment.Quick)
	require.NoError(t, err)
	claim := func(name string, bound string, verdict report.Verdict) recipes.Claim {
		return recipes.ClaimOf(report.Claim{Name: name, Value: v.Spec.GetClaims()[0].GetValue(), Bound: bound, Verdict: verdict, Interval: report.Interval{Mean: 1.5, Low: 1, High: 2, N: 4}}, "old note")
	}
	result := recipes.Result{
		File: "small.yaml", Form: experiment.Quick, Work: recipes.Work(v.Spec), Date: "2026-01-02", NumericsVersion: 3, Runs: 1, Steps: 120, Seconds: 2,
		Claims: []recipes.Claim{claim("kept", "< 1000", report.DidNotHold), claim("moved", "< 20", report.Held), claim("gone", "< 1", report.Held)},
	}
	_, err = cat.Record("ewc", result)
	require.NoError(t, err)
	s, err := standingOf(cat, p)
	require.NoError(t, err)
	require.Equal(t, "0 of 2 claims held, 1 did not hold, 1 not judged, 1 not tested (quick)", s.String())
	text := doc()
	require.Contains(t, text, `| kept | as before \| said | quick | 1.50 ± 0.50 | < 1000 | 4 | **did not hold** |`)
	require.Contains(t, text, `| moved | another bound | quick | - | < 10 | 0 | not judged |`)
	require.Contains(t, text, "- kept, quick form, did not hold. Suspected reason: new note\n")
	require.Contains(t, text, "- Not tested: more. Because: no data\n")
	require.Contains(t, text, "- quick form: 1 runs, 120 steps, 2s of computing on one core, 2s per run; 2026-01-02,")
	require.Contains(t, text, "- full form: not run; 1 runs, 12.0k steps, about 3m20s of computing on one core")
	require.NotContains(t, text, "gone")
	require.Contains(t, text, "](#ewc) | 1 | 1 |  | 1 | 1 | 1 | quick |")

	// What was run is not what the recipe does any more.
	result.Work = "another"
	_, err = cat.Record("ewc", result)
	require.NoError(t, err)
	s, err = standingOf(cat, p)
	require.NoError(t, err)
	require.Equal(t, "not run", s.String())
	require.Contains(t, doc(), "- quick form: not run since the recipe changed; 1 runs, 120 steps\n")
	require.Equal(t, 1, strings.Count(doc(), "| kept |"))
}
