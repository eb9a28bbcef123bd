package recipes_test

import (
	"encoding/json"
	"math"
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

// Every recipe that is shipped is what recipes/README.md says that a recipe is.
func TestRecipes(t *testing.T) {
	cat, err := recipes.BuiltIn()
	require.NoError(t, err)
	n := 0
	for _, p := range cat.Papers() {
		for _, file := range p.Recipes {
			n++
			t.Run(p.ID+"/"+file, func(t *testing.T) {
				r, err := cat.Recipe(p.ID, file) // parses, every form of it, and has the five lines
				require.NoError(t, err)
				require.NoError(t, r.Validate()) // claims name arms and metrics that there are
				require.Equal(t, experiment.Forms, r.Forms(), "a recipe has a quick and a full form")
				for _, form := range r.Forms() {
					v, err := r.Variant(form)
					require.NoError(t, err)
					require.Equal(t, p.ID, v.Spec.GetPaper(), "paper: is the folder")
					require.True(t, strings.HasSuffix("-"+v.Spec.GetName(), "-"+r.Name()), "name: ends in the file's")
					require.NotEmpty(t, len(v.Spec.GetClaims())+len(v.Untested), "%s form: a recipe makes claims, or says why it cannot", form)
					for _, c := range v.Spec.GetClaims() {
						require.NotEmpty(t, c.GetPaper(), "%s form: claim %q says what the paper says (paper:)", form, c.GetName())
					}
				}
			})
		}
		results, err := cat.Results(p.ID)
		require.NoError(t, err)
		for _, r := range results.Results {
			require.Contains(t, p.Recipes, r.File, "%s: results of a file that is gone", p.ID)
		}
	}
	require.NotZero(t, n)
}

func TestCatalogue(t *testing.T) {
	cat, err := recipes.BuiltIn()
	require.NoError(t, err)
	papers := cat.Papers()
	require.Len(t, papers, 148)
	tier := map[int]int{}
	for i, p := range papers {
		tier[p.Tier]++
		require.NotEmpty(t, p.Title)
		require.NotEmpty(t, p.Claim)
		if i > 0 {
			require.LessOrEqual(t, papers[i-1].Tier, p.Tier)
		}
	}
	require.Equal(t, 19, tier[1])
	_, err = cat.Paper("continual-backprob")
	require.ErrorContains(t, err, `did you mean "continual-backprop"?`)
}

func TestHead(t *testing.T) {
	const good = "# Paper: a: b.\n# Claims: c\n#   and more.\n# Protocol: d\n# Scaled down: e\n# Differs: f\n#\n# free text\nname: x\n"
	head, err := recipes.ReadHead([]byte(good))
	require.NoError(t, err)
	require.Equal(t, []recipes.HeadLine{{"Paper", "a: b."}, {"Claims", "c and more."}, {"Protocol", "d"}, {"Scaled down", "e"}, {"Differs", "f"}}, head)
	for name, c := range map[string]struct{ old, new, want string }{
		"none":      {good, "name: x\n", `the head lacks "# Paper: …"`},
		"a missing": {"# Protocol: d\n", "", `line 3 of the head must be "# Protocol: …"`},
		"last":      {"# Differs: f\n#\n", "", `line 5 of the head must be "# Differs: …"`},
		"cut":       {"# Scaled down: e\n# Differs: f\n", "", `the head lacks "# Scaled down: …"`},
		"empty":     {"Claims: c\n#   and more.", "Claims:", `line 2 of the head must be "# Claims: …"`},
		"too much":  {"#\n# free", "# free", `the head goes on behind "Differs"`},
	} {
		_, err := recipes.ReadHead([]byte(strings.Replace(good, c.old, c.new, 1)))
		require.ErrorContains(t, err, c.want, name)
	}
}

const tsv = "num\tid\ttitle\tfamily\tkind\ttier\tclaim\n1\tone\tOne\tf\tk\t2\tIt works.\n2\ttwo\tTwo\tf\tk\t1\tSo does it.\n"

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

func TestOpen(t *testing.T) {
	cat, err := recipes.Open(folder(t, map[string]string{"papers.tsv": tsv, "one/b.yaml": "", "one/a.yaml": "", "two/notes.txt": "", "README.md": ""}))
	require.NoError(t, err)
	papers := cat.Papers()
	require.Equal(t, "two", papers[0].ID)
	require.Empty(t, papers[0].Recipes)
	require.Equal(t, []string{"a.yaml", "b.yaml"}, papers[1].Recipes)

	// Without a catalogue of its own it goes with the built-in one.
	cat, err = recipes.Open(folder(t, map[string]string{"ewc/mine.yaml": ""}))
	require.NoError(t, err)
	p, err := cat.Paper("ewc")
	require.NoError(t, err)
	require.Equal(t, []string{"mine.yaml"}, p.Recipes)

	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"unknown paper": {map[string]string{"papers.tsv": tsv, "three/a.yaml": ""}, "folder three: papers.tsv has no paper of this id"},
		"columns":       {map[string]string{"papers.tsv": "id\ttitle\n"}, "line 1: the columns must be num, id"},
		"short row":     {map[string]string{"papers.tsv": tsv + "3\tthree\n"}, "line 4: 2 columns, not 7"},
		"number":        {map[string]string{"papers.tsv": tsv + "x\tthree\tT\tf\tk\t1\tc\n"}, "line 4: num and tier"},
		"twice":         {map[string]string{"papers.tsv": tsv + "3\tone\tT\tf\tk\t1\tc\n"}, `line 4: the id "one"`},
	} {
		_, err := recipes.Open(folder(t, c.files))
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestRecord(t *testing.T) {
	dir := folder(t, map[string]string{"papers.tsv": tsv, "one/a.yaml": "", "one/b.yaml": ""})
	cat, err := recipes.Open(dir)
	require.NoError(t, err)
	claim := recipes.ClaimOf(report.Claim{
		Name: "c", Value: `arms["a"].x.mean()`, Bound: "> 0", Verdict: report.Held, Interval: report.Interval{Mean: 1.0 / 3, Low: 0.25, High: report.Number(math.Inf(1)), N: 2, Method: report.StudentT},
		Seeds: []report.SeedValue{{Seed: 0, Value: 123456789}, {Seed: 7, Value: report.Number(math.NaN())}},
	}, "a note with [brackets] and \"quotes\", and more")
	result := func(file string, form experiment.Form, runs int) recipes.Result {
		return recipes.Result{File: file, Form: form, Runs: runs, Claims: []recipes.Claim{claim}, Trials: []recipes.Trial{}}
	}
	for _, r := range []recipes.Result{result("b.yaml", experiment.Full, 1), result("b.yaml", experiment.Quick, 2), result("a.yaml", experiment.Default, 3), result("b.yaml", experiment.Quick, 4)} {
		_, err := cat.Record("one", r)
		require.NoError(t, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "one", "results.json"))
	require.NoError(t, err)
	require.True(t, json.Valid(b))
	require.Contains(t, string(b), "\n          \"mean\": 0.333333,\n          \"ci_low\": 0.25,\n          \"ci_high\": null,\n")
	require.Contains(t, string(b), "\n          \"seeds\": [0, 7],\n          \"values\": [123457000, null],\n          \"note\": \"a note with [brackets] and \\\"quotes\\\", and more\"\n")

	got, err := cat.Results("one")
	require.NoError(t, err)
	var order []string
	for _, r := range got.Results {
		order = append(order, r.File+" "+string(r.Form))
	}
	require.Equal(t, []string{"a.yaml default", "b.yaml quick", "b.yaml full"}, order)
	require.Equal(t, 4, got.Find("b.yaml", experiment.Quick).Runs)
	again, err := got.Marshal()
	require.NoError(t, err)
	require.Equal(t, string(b), string(again), "what is read is written the same")

	// The results of a file that is gone go with the next record.
	require.NoError(t, os.Remove(filepath.Join(dir, "one", "b.yaml")))
	cat, err = recipes.Open(dir)
	require.NoError(t, err)
	_, err = cat.Record("one", result("a.yaml", experiment.Default, 5))
	require.NoError(t, err)
	got, err = cat.Results("one")
	require.NoError(t, err)
	require.Len(t, got.Results, 1)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "results.json"), []byte(`{"paper": "two", "results": []}`), 0o644))
	_, err = cat.Results("one")
	require.ErrorContains(t, err, `it says that it is of paper "two"`)
	builtIn, err := recipes.BuiltIn()
	require.NoError(t, err)
	_, err = builtIn.Record("ewc")
	require.ErrorContains(t, err, "--recipes")
}

// Work is what is run: not what is said or claimed about it.
func TestWork(t *testing.T) {
	work := func(more string) string {
		spec, err := experiment.Parse([]byte("name: x\nstream: {kind: s, b: 1, a: 2}\n" + more))
		require.NoError(t, err)
		return recipes.Work(spec)
	}
	same := work("")
	require.Len(t, same, 32)
	for _, more := range []string{"paper: p", "description: d", "segments: {tasks: 3}", "claims: [{name: c, value: v, holds: {gt: 0}}]", "untested: [{paper: x, why: y}]", "forms: {quick: {}}"} {
		require.Equal(t, same, work(more), more)
	}
	for _, more := range []string{"seeds: {count: 3}", "arms: {a: {}}", "probes: [{kind: loss}]", "learner: {}"} {
		require.NotEqual(t, same, work(more), more)
	}
}

func TestResultsAreComparedByTheirDigests(t *testing.T) {
	result := func(work string, version int32, digests ...string) *recipes.Result {
		r := &recipes.Result{Work: work, NumericsVersion: version}
		for i, d := range digests {
			r.Trials = append(r.Trials, recipes.Trial{Arm: string(rune('a' + i)), Digest: d})
		}
		return r
	}
	now := result("w", 3, "1", "2", "3")
	arms, comparable := now.Deviates(result("w", 3, "1", "2", "3"))
	require.True(t, comparable)
	require.Empty(t, arms)
	arms, comparable = now.Deviates(result("w", 3, "1", "9"))
	require.True(t, comparable)
	require.Equal(t, []string{"b", "c"}, arms)
	arms, comparable = now.Deviates(result("w", 2, "1", "2", "3"))
	require.True(t, comparable)
	require.Empty(t, arms)
	for _, other := range []*recipes.Result{nil, result("other", 3, "1", "2", "3"), result("w", 2, "1", "2", "9")} {
		_, comparable = now.Deviates(other)
		require.False(t, comparable)
	}
}
