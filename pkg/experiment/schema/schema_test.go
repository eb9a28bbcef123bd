package schema_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/experiment/schema"
)

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := schema.JSON()
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("experiment.json", doc))
	s, err := c.Compile("experiment.json")
	require.NoError(t, err)
	return s
}

func read(t *testing.T, text string) any {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	require.NoError(t, err)
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	require.NoError(t, err)
	return v
}

// Every experiment of the repository, all of which the program accepts, is one by the
// schema.
func TestRecipesAreValid(t *testing.T) {
	s := compile(t)
	n := 0
	require.NoError(t, filepath.WalkDir("../../../recipes", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || strings.Contains(path, "testdata") || strings.Contains(path, "results") {
			return err
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		if !bytes.Contains(b, []byte("\nlearner:")) {
			return nil
		}
		require.NoError(t, s.Validate(read(t, string(b))), path)
		n++
		return nil
	}))
	require.Greater(t, n, 30)
}

func TestMistakesAreFound(t *testing.T) {
	const good = `
name: x
stream: {kind: permuted, dataset: {path: a.csv, target: 2}, tasks: 3}
learner:
  network: {kind: mlp, hidden: [8], activation: {kind: leaky-relu}, init: kaiming-uniform}
  optimizer: {kind: sgd, lr: 0.1}
  methods: [{kind: l2, lambda: 1.0e-4}]
probes: [{kind: loss, every: 10 tasks}, {kind: test-accuracy, every: 5, reduce: max}]
arms: {one: , two: {learner: {methods: null, optimizer: {kind: adam}}, probes: [{kind: loss}]}}
controls: [linear, {fresh-network: {of: two}}]
sweep: {random: {count: 3, params: {learner.optimizer.lr: {log_uniform: [0.001, 0.1]}}}, arms: {one: {grid: {stream.batch: [1, 2]}}}}
seeds: {count: 3}
select: {metric: loss, mode: min}
claims: [{name: c, value: '1.0', holds: {gt: 0}, note: no reason}]
analyses: {line: {kind: linear-mode-connectivity, needs: {first: {arm: one, artifact: weights}, second: {arm: two, artifact: weights}}}}
forms: {quick: {seeds: null, stream: {tasks: 1}, arms: {one: null}, sweep: {random: {count: 1}}}, full: }
untested: [{paper: p, why: w}]
`
	s := compile(t)
	require.NoError(t, s.Validate(read(t, good)))
	require.NoError(t, s.Validate(read(t, "include: [a.yaml, b.yaml]\nseeds: {count: 3}")))
	for _, change := range [][2]string{
		{"name: x", "name: X"}, {"name: x", "nam: x"}, {"kind: permuted", "kind: permutted"}, {"tasks: 3", "tasks: three"},
		{"tasks: 3", "tsks: 3"}, {"path: a.csv", "paths: a.csv"}, {"lr: 0.1}", "lrr: 0.1}"}, {"lambda: 1", "lamda: 1"},
		{"leaky-relu", "leeky-relu"}, {"kaiming-uniform", "kaiming"}, {"every: 10 tasks", "every: ten tasks"}, {"every: 5", "every: 0"},
		{"reduce: max", "reduce: most"}, {"methods: null", "methods: {}"}, {"controls: [linear", "controls: [liner"}, {"of: two", "off: two"},
		{"log_uniform: [0.001", "log_uniform: [0"}, {"params: ", "param: "}, {"count: 3}\nselect", "count: -3}\nselect"}, {"mode: min", "mode: least"},
		{"{gt: 0}", "{gt: 0, lt: 1}"}, {"note: no reason", "notes: no reason"}, {"second: {arm: two", "third: {arm: two"}, {"quick: {seeds: null", "quick: {sedes: null"},
		{"why: w", "who: w"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		require.NotEqual(t, good, bad, change)
		require.Error(t, s.Validate(read(t, bad)), change)
	}
}

func TestReferenceIsFresh(t *testing.T) {
	b, err := os.ReadFile("../../../docs/experiment.md")
	require.NoError(t, err)
	require.True(t, schema.Markdown() == string(b), "docs/experiment.md is out of date: make docs")
}

// Every field and every parameter is explained.
func TestNothingIsUnexplained(t *testing.T) {
	for line := range strings.Lines(schema.Markdown()) {
		if strings.HasPrefix(line, "| `") {
			cells := strings.Split(strings.TrimSpace(strings.ReplaceAll(line, `\|`, "/")), "|")
			require.NotEmpty(t, strings.TrimSpace(cells[len(cells)-2]), line)
			require.NotContains(t, cells[2], "anything", line)
		}
	}
}
