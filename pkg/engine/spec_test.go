package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
)

// raw parses a spec written as JSON.
func raw(t testing.TB, text string) engine.RawSpec {
	t.Helper()
	var doc struct {
		Stream, Environment, Learner map[string]any
		Probes                       []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(text), &doc), text)
	return engine.RawSpec{Stream: doc.Stream, Environment: doc.Environment, Learner: doc.Learner, Probes: doc.Probes}
}

func TestMistakesInSpecsNameTheField(t *testing.T) {
	const (
		classes = `"stream": {"kind": "permuted"}`
		bits    = `"stream": {"kind": "bit-flip-regression"}`
		net     = `"network": {"kind": "mlp"}`
		sgd     = `"optimizer": {"kind": "sgd"}`
		plain   = classes + `, "learner": {` + net + `, ` + sgd + `}`
	)
	learner := func(more string) string { return `{` + classes + `, "learner": {` + more + `}}` }
	probes := func(more string) string { return `{` + plain + `, "probes": [` + more + `]}` }
	for text, want := range map[string][]string{
		`{}`: {"stream: missing", "learner: missing"},
		`{"environment": {"kind": "gridworld", "size": 1}, "learner": {` + net + `, ` + sgd + `}}`:                                                  {"environment.size: must be between 2 and 64"},
		`{"environment": {"kind": "gridworld"}, "learner": {` + net + `, ` + sgd + `}}`:                                                             {"learner.kind: missing: say what acts"},
		`{"environment": {"kind": "gridworld"}, "learner": {"kind": "dqn", ` + net + `}}`:                                                           {"learner.optimizer: missing"},
		`{"environment": {"kind": "gridworld"}, "learner": {"kind": "dqn", ` + net + `, ` + sgd + `, "loss": "mse", "methods": [{"kind": "ewc"}]}}`: {"learner.loss: a learner of the kind dqn has a loss of its own"},
		learner(`"kind": "dqn", ` + net + `, ` + sgd):                                                                                               {"learner: dqn needs an environment; there is the stream"},
		`{"environment": {"kind": "ant"}, ` + plain + `}`:                                                                                           {"environment: there is a stream too"},
		`{"stream": {"kind": "permuted", "dataset": "minst"}, "learner": {` + net + `, ` + sgd + `}}`:                                               {`stream.dataset: unknown dataset "minst", did you mean "mnist"?`},

		learner(`"kind": "population"`):                       {`learner.kind: unknown learner "population"`},
		learner(net + `, "optimiser": {"kind": "sgd"}`):       {`learner.optimiser: unknown field, did you mean "optimizer"?`, "learner.optimizer: missing"},
		learner(`"network": "mlp", "optimizer": 3`):           {"learner.network: must be an object with a kind, is a string", "learner.optimizer: must be an object with a kind, is a number"},
		learner(`"network": null, "optimizer": true`):         {"learner.network: must be an object with a kind, is empty", "learner.optimizer: must be an object with a kind, is true or false"},
		learner(`"network": [], ` + sgd):                      {"learner.network: must be an object with a kind, is a list"},
		learner(net + `, ` + sgd + `, "rule": {"kind": "x"}`): {`learner.rule.kind: unknown rule "x"`},
		learner(net + `, ` + sgd + `, "methods": {}`):         {"learner.methods: must be a list, is an object"},
		learner(net + `, ` + sgd + `, "methods": [{"kind": "l2"}, "l2", {"kind": "l3"}, {"kind": "l2", "lambda": -1}]`): {
			"learner.methods[1]: must be an object with a kind, is a string", `learner.methods[2].kind: unknown method "l3"`, "learner.methods[3].lambda: must be",
		},
		learner(net + `, ` + sgd + `, "loss": "hinge"`): {"learner.loss: must be auto, cross-entropy or mse, is hinge"},
		learner(net + `, ` + sgd + `, "loss": 1`):       {"learner.loss: must be auto, cross-entropy or mse, is 1"},

		`{` + bits + `, "learner": {` + net + `, ` + sgd + `, "loss": "cross-entropy"}, "probes": [{"kind": "online-accuracy"}]}`: {
			`probes[0]: online-accuracy needs a stream with class labels; the stream "bit-flip-regression" has none`, "learner.loss: cross-entropy needs a stream with class labels",
		},
		learner(`"network": {"kind": "mlp", "hidden": []}, ` + sgd + `, "methods": [{"kind": "redo"}]`): {"learner.methods[0]: redo needs a network with hidden units"},

		probes(`{"kind": "loss"}, {"kind": "loss", "every": 10}`): {"probes[1]: emits the metric loss, as probes[0] does; give one of them another name"},
		probes(`{"kind": "los"}`):                                 {`probes[0].kind: unknown probe "los", did you mean "loss"?`},
		probes(`{"kind": "loss", "defered": true}`):               {`probes[0].defered: loss has no such parameter, did you mean "deferred"? (have: every, at, reduce, as, deferred)`},
		probes(`{"kind": "loss", "every": "epoch"}`):              {`probes[0].every: must be step, task, a number of steps, or of tasks as in "10 tasks", is "epoch"`},
		probes(`{"kind": "loss", "every": 0}`):                    {"probes[0].every: must be a whole number of steps from 1 up, is 0"},
		probes(`{"kind": "loss", "every": 1.5}`):                  {"probes[0].every: must be a whole number of steps from 1 up, is 1.5"},
		probes(`{"kind": "loss", "every": 1e300}`):                {"probes[0].every: must be a whole number of steps from 1 up, is 1e+300"},
		probes(`{"kind": "loss", "every": []}`):                   {`probes[0].every: must be step, task, a number of steps, or of tasks as in "10 tasks", is a list`},
		probes(`{"kind": "srank99", "at": "middle"}`):             {"probes[0].at: must be one of [start end], is middle"},
		probes(`{"kind": "loss", "at": "start"}`):                 {"probes[0].at: start needs every: task"},
		probes(`{"kind": "loss", "reduce": "sum"}`):               {"probes[0].reduce: must be one of [mean last max], is sum"},
		probes(`{"kind": "loss", "as": "Loss"}`):                  {"probes[0].as: must be a snake_case metric name, is Loss"},
		probes(`{"kind": "loss", "as": 3}`):                       {"probes[0].as: must be a snake_case metric name, is 3"},
	} {
		_, err := engine.Resolve(raw(t, text))
		require.Error(t, err, text)
		var got []string
		for _, f := range component.FieldErrors(err) {
			got = append(got, f.Error())
		}
		require.Len(t, got, len(want), "%s: %q", text, got)
		for i, w := range want {
			require.True(t, strings.HasPrefix(got[i], w), "%s: %q, want %q", text, got[i], w)
		}
	}
	_, err := engine.Resolve(raw(t, `{`+plain+`}`))
	require.NoError(t, err)
}

// FuzzResolve: a spec of any JSON resolves, or names fields; what resolves is
// the same after a way through its canonical JSON.
func FuzzResolve(f *testing.F) {
	for _, s := range subjects() {
		b, err := json.Marshal(map[string]any{"stream": s.raw.Stream, "learner": s.raw.Learner, "probes": s.raw.Probes})
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"stream": {"kind": "permuted", "batch": 1e9}, "learner": {"network": {"kind": "mlp", "hidden": [1e9, -1]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var doc struct {
			Stream, Environment, Learner map[string]any
			Probes                       []map[string]any
		}
		if len(b) > 1<<16 || json.Unmarshal(b, &doc) != nil {
			return
		}
		spec, err := engine.Resolve(engine.RawSpec{Stream: doc.Stream, Environment: doc.Environment, Learner: doc.Learner, Probes: doc.Probes})
		if err != nil {
			require.NotEmpty(t, component.FieldErrors(err), err)
			return
		}
		require.Positive(t, spec.Steps())
		require.Equal(t, string(canonical(t, spec)), string(canonical(t, reread(t, canonical(t, spec)))))
	})
}
