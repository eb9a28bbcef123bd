package experiment

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// describe writes a plan's trials one a line: name, params, learning rate,
// methods.
func describe(p *Plan) string {
	var b strings.Builder
	for _, t := range p.Trials {
		c := must(plainJSON(t.Spec.Canonical()))
		l := c["learner"].(map[string]any)
		fmt.Fprintf(&b, "%s/%s %s lr=%v methods=%s seeds=%v\n", t.Arm, t.Name, jsonText(t.Params), l["optimizer"].(map[string]any)["lr"], jsonText(l["methods"]), t.Seeds)
	}
	return b.String()
}

func TestExpand(t *testing.T) {
	for name, c := range map[string]struct {
		in   map[string]string
		want string
	}{
		"smallest": {nil, `
base/base {} lr=0.01 methods=[{"kind":"test-decay","lambda":0.001,"target":"zero"}] seeds=[0]
`},
		"arms": {map[string]string{
			"seeds": "seeds: {first: 5, count: 2}",
			"arms": `arms:
  same:
  list-replaces: {learner: {methods: [{kind: test-reset, rate: 0.5}]}}
  object-merges: {learner: {optimizer: {lr: 0.5}}}
  kind-replaces: {learner: {optimizer: {kind: adam}}}
  null-deletes: {learner: {optimizer: {lr: null}, methods: null}}`}, `
kind-replaces/kind-replaces {} lr=0.001 methods=[{"kind":"test-decay","lambda":0.001,"target":"zero"}] seeds=[5 6]
list-replaces/list-replaces {} lr=0.01 methods=[{"kind":"test-reset","maturity":100,"rate":0.5}] seeds=[5 6]
null-deletes/null-deletes {} lr=0.01 methods=[] seeds=[5 6]
object-merges/object-merges {} lr=0.5 methods=[{"kind":"test-decay","lambda":0.001,"target":"zero"}] seeds=[5 6]
same/same {} lr=0.01 methods=[{"kind":"test-decay","lambda":0.001,"target":"zero"}] seeds=[5 6]
`},
		"grid over all arms and one": {map[string]string{
			"arms":  "arms: {plain: {learner: {methods: []}}, decay: {}}",
			"seeds": "seeds: {list: [3, 1]}",
			"sweep": "sweep: {grid: {learner.optimizer.lr: [0.1, 0.01]}, arms: {decay: {grid: {'learner.methods[test-decay].lambda': [0.5, 0]}}}}"}, `
decay/decay-0000 {"learner.methods[test-decay].lambda":"0.5","learner.optimizer.lr":"0.1"} lr=0.1 methods=[{"kind":"test-decay","lambda":0.5,"target":"zero"}] seeds=[3 1]
decay/decay-0001 {"learner.methods[test-decay].lambda":"0","learner.optimizer.lr":"0.1"} lr=0.1 methods=[{"kind":"test-decay","lambda":0,"target":"zero"}] seeds=[3 1]
decay/decay-0002 {"learner.methods[test-decay].lambda":"0.5","learner.optimizer.lr":"0.01"} lr=0.01 methods=[{"kind":"test-decay","lambda":0.5,"target":"zero"}] seeds=[3 1]
decay/decay-0003 {"learner.methods[test-decay].lambda":"0","learner.optimizer.lr":"0.01"} lr=0.01 methods=[{"kind":"test-decay","lambda":0,"target":"zero"}] seeds=[3 1]
plain/plain-0000 {"learner.optimizer.lr":"0.1"} lr=0.1 methods=[] seeds=[3 1]
plain/plain-0001 {"learner.optimizer.lr":"0.01"} lr=0.01 methods=[] seeds=[3 1]
`},
		"whole objects, kinds and defaults": {map[string]string{
			"learner": "learner: {network: {kind: mlp}, optimizer: {kind: sgd}, methods: [{kind: test-decay}]}",
			"sweep":   "sweep: {grid: {learner.optimizer: [{kind: adam}, {kind: sgd, lr: 0.3}], 'learner.methods[0].target': [initial]}}"}, `
base/base-0000 {"learner.methods[0].target":"\"initial\"","learner.optimizer":"{\"kind\":\"adam\"}"} lr=0.001 methods=[{"kind":"test-decay","lambda":0.001,"target":"initial"}] seeds=[0]
base/base-0001 {"learner.methods[0].target":"\"initial\"","learner.optimizer":"{\"kind\":\"sgd\",\"lr\":0.3}"} lr=0.3 methods=[{"kind":"test-decay","lambda":0.001,"target":"initial"}] seeds=[0]
`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, strings.TrimPrefix(c.want, "\n"), describe(expand(t, c.in)))
		})
	}
}

func TestSweepOverPresetAndUnwrittenComponent(t *testing.T) {
	p := expand(t, map[string]string{"stream": "stream: {kind: test-stream}", "sweep": "sweep: {grid: {stream.preset: [long], learner.rule.kind: [backprop]}}"})
	require.Equal(t, 800, p.Trials[0].Spec.Tasks())
}

func TestPlanTotals(t *testing.T) {
	p := expand(t, map[string]string{
		"arms":     "arms: {a: {}, b: {stream: {batch: 10}}}",
		"sweep":    "sweep: {grid: {stream.tasks: [7, 20]}}",
		"seeds":    "seeds: {count: 3}",
		"select":   "select: {metric: test_accuracy, mode: max, confirm_seeds: {count: 10}}",
		"segments": "segments: {tasks: 6}",
	})
	require.Equal(t, []string{"a", "b"}, p.Arms)
	require.Equal(t, []uint32{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, p.ConfirmSeeds, "confirmation seeds follow the tuning seeds")
	require.Equal(t, 6, p.SegmentTasks)
	require.Equal(t, 2*2*3+2*10, p.Runs())
	require.EqualValues(t, 2*3*(2+4)+2*10*4, p.Segments())
	require.EqualValues(t, 2*3*(7+20)+2*10*20, p.Tasks())
	require.EqualValues(t, 3*(7+20)*100+3*(7+20)*10+10*20*100+10*20*10, p.Steps())

	require.Equal(t, 2, expand(t, nil).SegmentTasks, "a tenth of the tasks")
	require.Equal(t, 1, expand(t, map[string]string{"stream": "stream: {kind: test-stream, tasks: 3}"}).SegmentTasks)
	require.Equal(t, 10_000, expand(t, map[string]string{"stream": "stream: {kind: test-stream, tasks: 1000000}"}).SegmentTasks)
}

func TestLargestExperiment(t *testing.T) {
	p := expand(t, map[string]string{
		"sweep": "sweep: {random: {count: 20, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}",
		"seeds": "seeds: {count: 50000}",
	})
	require.Equal(t, MaxRuns, p.Runs())
}

// What a run is does not depend on how the file is written or what things are
// called.
func TestRunKeyInvariances(t *testing.T) {
	key := func(replace map[string]string, trial int) string {
		return expand(t, replace).Trials[trial].RunKey(7, nil)
	}
	base := key(nil, 0)
	require.Len(t, base, 64)
	for name, same := range map[string]map[string]string{
		"name, claims, segments, seeds": {"name": "name: other", "segments": "segments: {tasks: 3}", "seeds": "seeds: {list: [9]}", "claims": "claims: [{name: c, value: arms.base.test_accuracy.mean(), holds: {gt: 0}}]"},
		"formatting and order":          {"stream": `"stream": {"tasks": 2.0e1, "kind": "test-stream"}`},
		"defaults written out":          {"stream": "stream: {kind: test-stream, tasks: 20, batch: 1, examples: 100, dataset: mnist}", "learner": "learner: {network: {kind: mlp, hidden: [8]}, rule: {kind: backprop}, optimizer: {kind: sgd, lr: 0.01}, methods: [{kind: test-decay, lambda: 0.001}]}"},
		"made by an arm":                {"stream": "stream: {kind: test-stream}", "arms": "arms: {x: {stream: {tasks: 20}}}"},
		"made by a sweep":               {"sweep": "sweep: {grid: {learner.optimizer.lr: [0.01, 0.02]}}"},
		"made by a preset":              {"stream": "stream: {kind: test-stream, preset: long, tasks: 20}"},
	} {
		require.Equal(t, base, key(same, 0), name)
	}
	for name, other := range map[string]map[string]string{
		"stream":  {"stream": "stream: {kind: test-stream, tasks: 21}"},
		"dataset": {"stream": "stream: {kind: test-stream, tasks: 20, dataset: fashion-mnist}"},
		"lr":      {"learner": "learner: {network: {kind: mlp, hidden: [8]}, optimizer: {kind: sgd, lr: 0.0100001}, methods: [{kind: test-decay}]}"},
		"methods": {"learner": "learner: {network: {kind: mlp, hidden: [8]}, optimizer: {kind: sgd, lr: 0.01}}"},
		"probes":  {"probes": "probes: [{kind: test-accuracy}]"},
	} {
		require.NotEqual(t, base, key(other, 0), name)
	}
	trial := expand(t, nil).Trials[0]
	require.NotEqual(t, trial.RunKey(7, nil), trial.RunKey(8, nil))
	other := trial
	other.datasets = map[string]string{"mnist": "other"}
	require.NotEqual(t, trial.RunKey(7, nil), other.RunKey(7, nil), "another version of the data is another run")
}

func TestRecords(t *testing.T) {
	trial := expand(t, map[string]string{"sweep": "sweep: {grid: {'learner.methods[0].lambda': [0.25]}}"}).Trials[0]
	record, err := ReadRecord(trial.SpecJSON())
	require.NoError(t, err)
	require.Equal(t, trial.Spec.Canonical(), record.Spec.Canonical())
	again := Trial{Spec: record.Spec, datasets: trial.datasets}
	require.Equal(t, trial.RunKey(1, nil), again.RunKey(1, nil))
	key, err := record.RunKey(1, nil)
	require.NoError(t, err)
	require.Equal(t, trial.RunKey(1, nil), key)

	for in, want := range map[string]string{
		"":                       "read a trial's spec",
		"{}":                     "stream: missing",
		"[]":                     "read a trial's spec",
		`{"stream": {}} {}`:      "more behind its end",
		`{"steam": {}}`:          `unknown field "steam"`,
		`{"stream": {"kind":3}}`: "stream.kind: must be a name",
	} {
		_, err := ReadRecord([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
	_, err = ReadRecord(make([]byte, MaxFileBytes+1))
	require.ErrorContains(t, err, "larger than")
}

func TestRunIDs(t *testing.T) {
	require.Equal(t, "exp-1/l2-0003/7", RunID("exp-1", "l2-0003", 7))
	for _, bad := range []string{"", "a/b", "a/b/c", "a/b/1/2", "/b/1", "a//1", "a/b/-1", "a/b/+1", "a/b/01", "a/b/4294967296", "a/b/"} {
		_, _, _, err := SplitRunID(bad)
		require.Error(t, err, bad)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`)
		e, tr, s := name.Draw(t, "experiment"), name.Draw(t, "trial"), rapid.Uint32().Draw(t, "seed")
		e2, tr2, s2, err := SplitRunID(RunID(e, tr, s))
		require.NoError(t, err)
		require.Equal(t, []any{e, tr, s}, []any{e2, tr2, s2})
	})
}

func TestRunDigest(t *testing.T) {
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", RunDigest(nil), "SHA-256 of nothing")
	// printf '\1\0\0\0\0\0\0\0\350\3\0\0\0\0\0\0ABCD' | sha256sum
	one := []*pb.Boundary{{Task: 1, Step: 1000, StateDigest: []byte("AB"), RowsDigest: []byte("CD")}}
	require.Equal(t, "338b54a5af9ab8a47382eaf463401b37b5efc2d4e9df9b5b427c18dc89eac480", RunDigest(one))
	two := append(one, &pb.Boundary{Task: 2, Step: 2000})
	require.NotEqual(t, RunDigest(one), RunDigest(two))
	require.NotEqual(t, RunDigest(two), RunDigest([]*pb.Boundary{two[1], two[0]}))
}

func TestSegmentCount(t *testing.T) {
	trial := expand(t, nil).Trials[0]
	require.Equal(t, 20, trial.Segments(1))
	require.Equal(t, 7, trial.Segments(3))
	require.Equal(t, 1, trial.Segments(20))
	require.Equal(t, 1, trial.Segments(1000))
}

// A search is a function of seed, index and path: a longer one begins with the
// shorter, and other paths do not matter.
func TestRandomSearchPrefix(t *testing.T) {
	params := func(count int, seed uint64, paths ...string) []map[string]string {
		var b strings.Builder
		for _, p := range paths {
			b.WriteString(p + ",")
		}
		p := expand(t, map[string]string{"sweep": fmt.Sprintf("sweep: {random: {count: %d, seed: %d, params: {%s}}}", count, seed, b.String())})
		var out []map[string]string
		for _, tr := range p.Trials {
			out = append(out, tr.Params)
		}
		return out
	}
	lr, batch, lambda := "learner.optimizer.lr: {log_uniform: [1.0e-5, 1]}", "stream.batch: {choice: [1, 2, 4, 5]}", "'learner.methods[0].lambda': {uniform: [-0.0, 1]}"
	long := params(40, 3, lr, batch)
	require.Equal(t, long[:15], params(15, 3, lr, batch))
	require.NotEqual(t, long, params(40, 4, lr, batch))
	for i, p := range params(40, 3, lr, batch, lambda) {
		delete(p, "learner.methods[0].lambda")
		require.Equal(t, long[i], p)
	}
	values, decades := map[string]bool{}, map[int]int{}
	for _, p := range long {
		values[p["stream.batch"]] = true
		var v float64
		require.NoError(t, json.Unmarshal([]byte(p["learner.optimizer.lr"]), &v))
		require.True(t, v >= 1e-5 && v <= 1)
		for d := 0; v < 0.9999; d++ {
			v *= 10
			decades[d]++
		}
	}
	require.Len(t, values, 4, "every choice comes up")
	require.Greater(t, decades[0], decades[2], "small values come up")
	require.Greater(t, decades[3], 1)
}

func TestExpandIsDeterministic(t *testing.T) {
	in := map[string]string{"arms": "arms: {a: {}, b: {}, c: {}, d: {}}", "sweep": "sweep: {grid: {learner.optimizer.lr: [1, 2], 'learner.methods[0].lambda': [1, 2], stream.batch: [1, 2]}}"}
	want := describe(expand(t, in))
	for range 5 {
		require.Equal(t, want, describe(expand(t, in)))
	}
}

func TestExpandResolvesEachTrialOnce(t *testing.T) {
	calls := 0
	e := &expansion{spec: parse(t, map[string]string{"sweep": "sweep: {random: {count: 1000000, params: {learner.optimizer.lr: {uniform: [0, 1]}}}}", "seeds": "seeds: {count: 1000}"}), digest: datasetDigest,
		resolve: func(r engine.RawSpec) (*engine.Spec, error) { calls++; return engine.Resolve(r) }}
	_, err := e.run()
	require.ErrorContains(t, err, "1000000000 runs")
	require.Equal(t, 1, calls, "the size is known without expanding")
}
