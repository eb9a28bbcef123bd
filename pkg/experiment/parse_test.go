package experiment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

func TestYAMLAndJSONAreOneDocument(t *testing.T) {
	y := document(map[string]string{
		"arms":   "arms:\n  plain:\n  decay: {learner: {methods: [{kind: test-decay, lambda: 1e-4}]}}",
		"sweep":  "sweep: {grid: {learner.optimizer.lr: [0.01, 3.0e-3]}, random: {count: 2, seed: 18446744073709551615, params: {stream.batch: {choice: [1, 2]}}}}",
		"select": "select: {metric: test_accuracy, mode: max, confirm_seeds: {count: 10}}",
		"seeds":  "seeds: {list: [0, 4294967295, 7]}",
	})
	fromYAML, err := Parse([]byte(y))
	require.NoError(t, err)
	for name, j := range map[string][]byte{
		"as the API writes it": must(protojson.Marshal(fromYAML)),
		"with proto names":     must(protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: "\t"}.Marshal(fromYAML)),
		"after a BOM":          append([]byte("\ufeff"), must(protojson.Marshal(fromYAML))...),
	} {
		// protojson writes a 64-bit number as a string, which a person would not type.
		j = []byte(strings.Replace(string(j), `"18446744073709551615"`, "18446744073709551615", 1))
		fromJSON, err := Parse(j)
		require.NoError(t, err, name)
		require.True(t, proto.Equal(fromYAML, fromJSON), name)
	}
	require.EqualValues(t, uint64(1<<64-1), fromYAML.GetSweep().GetRandom().GetSeed())
	require.Empty(t, fromYAML.GetArms()["plain"].GetFields(), "an arm with nothing behind it is the base")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestYAMLReading(t *testing.T) {
	spec, err := Parse([]byte(`
name: exp
paper: no            # a word, not false
stream: &s {kind: permuted, tasks: 0x10, date: 2020-01-02, big: 1_000}
learner: {a: *s, b: {<<: *s, tasks: 1}, "x.y": [1, [], {}, null, true, ~]}
`))
	require.NoError(t, err)
	require.Equal(t, "no", spec.GetPaper())
	l := spec.GetLearner().AsMap()
	s := map[string]any{"kind": "permuted", "tasks": 16.0, "date": "2020-01-02", "big": 1000.0}
	require.Equal(t, s, l["a"])
	require.Equal(t, map[string]any{"kind": "permuted", "tasks": 1.0, "date": "2020-01-02", "big": 1000.0}, l["b"])
	require.Equal(t, []any{1.0, []any{}, map[string]any{}, nil, true, nil}, l["x.y"])
}

func TestJSONReadsWhatYAMLRefuses(t *testing.T) {
	spec, err := Parse([]byte("{\n\t\"name\": \"exp\",\n\t\"description\": \"a\\/b \\ud83d\\ude00\"\n}"))
	require.NoError(t, err)
	require.Equal(t, "a/b 😀", spec.GetDescription())
}

func TestParseErrors(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"unknown field":         {"name: x\nsede: {count: 3}\n", `sede: unknown field, did you mean "seeds"? (have: name, paper, description, stream, environment, learner, probes, arms, sweep, select, seeds, segments, claims, needs, analyses, controls, publish, arm_order, untested, forms, include) (line 2)`},
		"unknown nested field":  {"name: x\nclaims:\n- name: a\n- {name: b, holds: {gr: 1}}\n", `claims[1].holds.gr: unknown field, did you mean "gt"? (have: gt, ge, lt, le) (line 4)`},
		"unknown field of JSON": {"{\"name\": \"x\",\n\"segment\": {}}", `segment: unknown field, did you mean "segments"? (have: name, paper, description, stream, environment, learner, probes, arms, sweep, select, seeds, segments, claims, needs, analyses, controls, publish, arm_order, untested, forms, include) (line 2)`},
		"base that is another":  {"name: x\narms:\n  base: {learner: {}}\n", `arms.base: base is the experiment as it stands, and this arm changes it: give it another name (line 3)`},
		"unknown in a map":      {"sweep: {random: {params: {learner.optimizer.lr: {uniforn: [0, 1]}}}}", `sweep.random.params["learner.optimizer.lr"].uniforn: unknown field, did you mean "uniform"? (have: uniform, log_uniform, choice) (line 1)`},
		"duplicate key":         {"name: x\nstream:\n  kind: a\n  kind: b\n", `stream.kind: given twice, first on line 3 (line 4)`},
		"duplicate JSON key":    {"{\"stream\": {\"kind\": 1,\n\"kind\": 2}}", `stream.kind: given twice, first on line 1 (line 2)`},
		"NaN":                   {"learner:\n  optimizer: {lr: .nan}\n", `learner.optimizer.lr: NaN is not a value: give a finite number (line 2)`},
		"infinity":              {"probes:\n- {tau: -.inf}\n", `probes[0].tau: -Inf is not a value: give a finite number (line 2)`},
		"huge JSON number":      {`{"learner": {"lr": 1e999}}`, `learner.lr: 1e999 is beyond what a number can hold (line 1)`},
		"seeds as a number":     {"name: x\nseeds: 3", `seeds: must be an object, is 3 (line 2)`},
		"seeds as words":        {"seeds: {count: three}", `seeds.count: must be a number, is "three" (line 1)`},
		"half a seed":           {"seeds: {count: 1.5}", `seeds.count: must be a whole number from -2147483648 to 2147483647, is 1.5 (line 1)`},
		"negative seed":         {"seeds: {list: [1, -1]}", `seeds.list[1]: must be a whole number from 0 to 4294967295, is -1 (line 1)`},
		"name as a number":      {"name: 7", `name: must be a string, is 7 (line 1)`},
		"claim without bound":   {"claims: [{holds: }]", `claims[0].holds: has no value: it must be an object (line 1)`},
		"stream as a list":      {"stream: [a]", `stream: must be an object, is a list (line 1)`},
		"empty arms":            {"name: x\narms: {}", `arms: an empty arm list: name at least one arm, or leave arms out for a single arm named "base" (line 2)`},
		"arms without value":    {"arms:\nname: x", `arms: an empty arm list: name at least one arm, or leave arms out for a single arm named "base" (line 1)`},
		"empty file":            {"", "the file is empty: an experiment has at least name, stream and learner"},
		"only a comment":        {"# nothing\n", "the file is empty: an experiment has at least name, stream and learner"},
		"a list":                {"- a", "line 1: an experiment must be an object with fields such as name, stream and learner, is a list"},
		"two documents":         {"name: a\n---\nname: b\n", "line 2: a second document: one file holds one experiment"},
		"syntax":                {"name: x\nstream: {kind: a\nlearner: b\n", "not readable as YAML: line 2: did not find expected ',' or '}'"},
		"syntax, missing colon": {"name: x\nstream:\n  kind a\n  tasks: 3\n", "not readable as YAML: line 4: mapping values are not allowed in this context"},
		"syntax on line 1":      {"name: [x", "not readable as YAML: line 1: did not find expected ',' or ']'"},
		"tab":                   {"stream:\n\tkind: a\n", "line 2 begins with a tab: YAML indents by spaces only; put spaces in place of the tab"},
		"unknown anchor":        {"stream: *x", "not readable as YAML: unknown anchor 'x' referenced"},
		"binary":                {"stream: {a: !!binary aGk=}", "stream.a: the YAML tag !!binary has no meaning here (line 1)"},
		"own tag":               {"stream: !thing {a: 1, b: !other x}", "stream.b: the YAML tag !other has no meaning here (line 1)"},
		"object as a key":       {"stream: {? {a: 1} : 2}", "stream: a field name must be a string, is an object (line 1)"},
		"not text":              {"name: \xff\xfe", "not a text file in UTF-8"},
		"anchor in itself":      {"stream: &a {b: *a}", "stream" + strings.Repeat(".b", 64) + ": more than 64 objects and lists inside each other (line 1)"},
		"deep":                  {"stream: {a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}", "stream.a" + strings.Repeat("[0]", 63) + ": more than 64 objects and lists inside each other (line 1)"},
		"deep JSON":             {`{"stream": {"a": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}}", "stream.a" + strings.Repeat("[0]", 63) + ": more than 64 objects and lists inside each other (line 1)"},
		"merge of a number":     {"stream: {<<: 3}", "stream: only an object can be merged in with <<, is a number (line 1)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			require.EqualError(t, err, c.want)
		})
	}
}

func TestParseReportsAllMistakes(t *testing.T) {
	_, err := Parse([]byte("nam: x\nseeds: {count: a}\nstream: 4\n"))
	var fields []string
	for _, fe := range component.FieldErrors(err) {
		fields = append(fields, fe.Field)
	}
	require.Equal(t, []string{"nam", "seeds.count", "stream"}, fields)
}

func TestParseLimits(t *testing.T) {
	_, err := Parse(make([]byte, 50<<20))
	require.EqualError(t, err, "52428800 bytes are more than the 4194304 that an experiment may have")

	// Nine levels of nine aliases: 9^9 strings when written out.
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		alias := "*a" + string(rune('0'+i-1))
		bomb.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.TrimSuffix(strings.Repeat(alias+", ", 9), ", ") + "]\n")
	}
	_, err = Parse([]byte("stream:\n  " + strings.ReplaceAll(bomb.String(), "\n", "\n  ")))
	require.ErrorContains(t, err, "more than 1048576 values, aliases written out")

	// A few aliases of one long string.
	_, err = Parse([]byte("stream: {a: &a " + strings.Repeat("x", 1<<20) + ", b: [" + strings.TrimSuffix(strings.Repeat("*a,", 100), ",") + "]}"))
	require.ErrorContains(t, err, "more than 8388608 bytes of text, aliases written out")
}

func TestParseFileNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "exp.yaml")
	require.NoError(t, os.WriteFile(path, []byte("nam: x\nsegment: 3\n"), 0o600))
	_, err := ParseFile(path)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		require.True(t, strings.HasPrefix(line, path+": "), line)
	}
	require.ErrorContains(t, err, path+`: nam: unknown field, did you mean "name"?`)
	require.Len(t, component.FieldErrors(err), 2)

	_, err = ParseFile(filepath.Join(dir, "none.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist)

	require.NoError(t, os.Truncate(path, 50<<20))
	_, err = ParseFile(path)
	require.EqualError(t, err, path+": larger than the 4194304 bytes that an experiment may have")

	_, err = ParseFile(dir)
	require.ErrorContains(t, err, dir)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document(map[string]string{"arms": "arms: {a: {learner: {methods: [{kind: test-reset}]}}}", "sweep": "sweep: {grid: {learner.optimizer.lr: [1, 2]}}"})))
	f.Add([]byte(`{"name": "x", "seeds": {"list": [1, 2]}, "claims": [{"name": "c", "value": "arms.base.test_accuracy.mean()", "holds": {"gt": 1}}]}`))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? x\n--- !!binary\n%TAG ! x"))
	f.Add([]byte("{\"a\": {\"b\": [1e999, \"\\ud800\"]}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		spec, err := Parse(b)
		if err != nil {
			require.Less(t, len(err.Error()), 1<<16, "a message stays readable")
			return
		}
		// What was read can be written and read again, and judged.
		j, err := protojson.Marshal(spec)
		require.NoError(t, err)
		again := &pb.ExperimentSpec{}
		require.NoError(t, protojson.Unmarshal(j, again))
		require.True(t, proto.Equal(spec, again))
		if err := Validate(spec); err != nil {
			require.NotEmpty(t, component.FieldErrors(err))
		}
	})
}
