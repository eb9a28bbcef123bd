package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
)

// folder writes files and returns the folder that they are in.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func TestInclude(t *testing.T) {
	dir := folder(t, map[string]string{
		"exp.yaml":          "include: [common/base.yaml, probes.json]\nname: exp\nstream: {tasks: 5}\narms: {old: null, wide: {learner: {methods: null}}}\nforms: {quick: {seeds: null}}\n",
		"common/base.yaml":  "include: data.yaml\nname: base\nlearner:\n  network: {kind: mlp, hidden: [8]}\n  optimizer: {kind: sgd, lr: 0.01}\narms: {old: {}, plain: {}}\nseeds: {count: 3}\nforms: {quick: {stream: {tasks: 2}, arms: {plain: null}}}\n",
		"common/data.yaml":  "stream: {kind: test-stream, tasks: 20, batch: 2}\n",
		"probes.json":       `{"probes": [{"kind": "test-accuracy"}]}`,
		"common/other.yaml": "not read",
	})
	d, err := ReadDocumentFile(filepath.Join(dir, "exp.yaml"))
	require.NoError(t, err)
	require.Equal(t, []Form{Quick, Default}, d.Forms())
	want := must(Parse([]byte(`
name: exp
stream: {kind: test-stream, tasks: 5, batch: 2}
learner: {network: {kind: mlp, hidden: [8]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: test-accuracy}]
arms: {plain: {}, wide: {learner: {methods: null}}}
seeds: {count: 3}
`)))
	require.True(t, proto.Equal(want, must(d.Variant(Default)).Spec), "%v", must(d.Variant(Default)).Spec)
	quick := must(d.Variant(Quick)).Spec
	require.Nil(t, quick.GetSeeds())
	require.NotContains(t, quick.GetArms(), "plain")
	require.Equal(t, 2.0, quick.GetStream().AsMap()["tasks"])
}

func TestIncludeErrors(t *testing.T) {
	files := map[string]string{
		"self.yaml":       "include: sub/back.yaml\nname: x\n",
		"sub/back.yaml":   "include: ../self.yaml\n",
		"typo.yaml":       "include: sub/typo.yaml\nname: x\n",
		"sub/typo.yaml":   "name: y\n\nsedes: {count: 1}\n",
		"wrong.yaml":      "include: sub/wrong.yaml\nname: x\n",
		"sub/wrong.yaml":  "name: y\n\nstream: {a: .nan}\n",
		"tab.yaml":        "include: sub/tab.yaml\nname: x\n",
		"sub/tab.yaml":    "stream:\n\tkind: a\n",
		"none.yaml":       "include:\n- sub/none.yaml\nname: x\n",
		"folder.yaml":     "include: sub\nname: x\n",
		"type.yaml":       "include: {path: a}\nname: x\n",
		"nothing.yaml":    "include: sub/typo2.yaml\nname: x\nseeds: null\n",
		"sub/typo2.yaml":  "name: y\n",
		"large.yaml":      "include: [sub/large.yaml, sub/large2.yaml]\nname: x\n",
		"sub/large.yaml":  "description: " + strings.Repeat("x", MaxFileBytes/2),
		"sub/large2.yaml": "description: " + strings.Repeat("x", MaxFileBytes/2),
		"many.yaml":       "name: x\ninclude: [" + strings.Repeat("sub/typo2.yaml, ", maxIncludes+1) + "]\n",
		"form.yaml":       "name: x\nforms: {quick: {include: sub/typo2.yaml}}\n",
	}
	for i := range maxIncludeDepth + 2 {
		files[fmt.Sprintf("deep%d.yaml", i)] = fmt.Sprintf("include: deep%d.yaml\nname: x\n", i+1)
	}
	dir := folder(t, files)
	for name, want := range map[string]string{
		"self.yaml":    "include: ../self.yaml includes itself (line 1 of sub/back.yaml)",
		"typo.yaml":    "sedes: unknown field, did you mean \"seeds\"? (have: ",
		"wrong.yaml":   "stream.a: NaN is not a value: give a finite number (line 3 of sub/wrong.yaml)",
		"tab.yaml":     "include: sub/tab.yaml: line 2 begins with a tab: YAML indents by spaces only",
		"none.yaml":    "no such file or directory (line 2)",
		"folder.yaml":  "sub is not a file (line 1)",
		"type.yaml":    "include: must be the path of a file, relative to this one, or a list of them (line 1)",
		"nothing.yaml": "seeds: there is nothing of this name to take out (line 3)",
		"large.yaml":   "the files of the experiment are larger than the 4194304 bytes that they may have (line 1)",
		"many.yaml":    "more than 64 files are included (line 2)",
		"deep0.yaml":   "more than 8 files include each other (line 1 of deep",
		"form.yaml":    "forms.quick.include: a form cannot change this (line 2)",
	} {
		_, err := ReadDocumentFile(filepath.Join(dir, name))
		require.ErrorContains(t, err, want, name)
		require.ErrorContains(t, err, filepath.Join(dir, name)+": ", name)
	}
	_, err := ReadDocumentFile(filepath.Join(dir, "typo.yaml"))
	require.ErrorContains(t, err, "(line 3 of sub/typo.yaml)")
	_, err = Parse([]byte("include: self.yaml\nname: x\n"))
	require.EqualError(t, err, "include: an experiment that is no file of its own includes none (line 1)")
}
