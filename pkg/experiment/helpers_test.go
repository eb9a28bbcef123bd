package experiment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/tensor"
	pb "neoteny/proto/neoteny/v1"
)

// The components of these tests: nothing is run, so none can be built.

type streamConfig struct {
	Dataset  string `json:"dataset" doc:"dataset"`
	Tasks    int    `json:"tasks" doc:"tasks"`
	Examples int    `json:"examples" doc:"examples per task"`
	Batch    int    `json:"batch" doc:"examples per step"`
}

func (c streamConfig) Validate() error {
	_, err := stream.CheckLength(c.Tasks, c.Examples, c.Batch)
	return err
}

func (c streamConfig) Info() (stream.Info, error) {
	steps, err := stream.CheckLength(c.Tasks, c.Examples, c.Batch)
	return stream.Info{Input: tensor.Shape{4}, Classes: 2, Outputs: 2, Tasks: c.Tasks, StepsPerTask: steps, Batch: c.Batch, Datasets: []string{c.Dataset}}, err
}

type decayConfig struct {
	Lambda float64 `json:"lambda" doc:"strength"`
	Target string  `json:"target" doc:"target" enum:"zero|initial"`
}

func (c decayConfig) Validate() error {
	if c.Lambda < 0 {
		return component.Fieldf("lambda", "must be at least 0, is %v", c.Lambda)
	}
	return nil
}

type resetConfig struct {
	Rate     float64 `json:"rate" doc:"rate"`
	Maturity int     `json:"maturity" doc:"age"`
}

func (resetConfig) Validate() error { return nil }

type none struct{}

func (none) Validate() error { return nil }

func init() {
	stream.Register(component.Info{Name: "test-stream", Summary: "test"},
		streamConfig{Dataset: "mnist", Tasks: 20, Examples: 100, Batch: 1},
		map[string]streamConfig{"long": {Dataset: "mnist", Tasks: 800, Examples: 100, Batch: 1}},
		func(streamConfig, stream.Env) (stream.Stream, error) { panic("not run") })
	method.Register(component.Info{Name: "test-decay", Summary: "test"}, decayConfig{Lambda: 0.001, Target: "zero"}, nil,
		func(decayConfig, method.Env) (method.Method, error) { panic("not run") })
	method.Register(component.Info{Name: "test-reset", Summary: "test"}, resetConfig{Rate: 0.1, Maturity: 100}, nil,
		func(resetConfig, method.Env) (method.Method, error) { panic("not run") })
	for _, control := range []string{"fresh-network", "input-normalizer"} {
		method.Register(component.Info{Name: control, Summary: "test"}, none{}, nil,
			func(none, method.Env) (method.Method, error) { panic("not run") })
	}
	probe.Register(probe.Info{Info: component.Info{Name: "test-units", Summary: "test", Needs: []component.Capability{component.Units}}, Metrics: []probe.Metric{{Metric: "test_units", Title: "Units"}}, Every: "task", At: "end"},
		none{}, nil, func(none, probe.Env) (probe.Probe, error) { panic("not run") })
	analysis.Register(analysis.Info{
		Info:    component.Info{Name: "test-compare", Summary: "test"},
		Inputs:  []analysis.Input{{Name: "first", Doc: "some weights"}, {Name: "second", Doc: "the other weights"}},
		Metrics: []string{"difference"}, Data: true,
	}, none{}, nil, func(none, analysis.Env) (*analysis.Result, error) { panic("not run") })
	analysis.Register(analysis.Info{
		Info:    component.Info{Name: "test-merge", Summary: "test", Publishes: []string{"merged"}},
		Inputs:  []analysis.Input{{Name: "all", Doc: "weights", Many: true}, {Name: "tables", Doc: "task tables", Many: true}},
		Metrics: []string{"spread"},
	}, none{}, nil, func(none, analysis.Env) (*analysis.Result, error) { panic("not run") })
	for name, metric := range map[string]string{"test-accuracy": "test_accuracy", "test-dormant": "test_dormant"} {
		probe.Register(probe.Info{Info: component.Info{Name: name, Summary: "test"}, Metrics: []probe.Metric{{Metric: metric, Title: "Metric"}}, Every: "task", At: "end"}, none{}, nil,
			func(none, probe.Env) (probe.Probe, error) { panic("not run") })
	}
}

// sections of a good experiment; tests replace or add some.
func document(replace map[string]string) string {
	sections := map[string]string{
		"name":    "name: exp",
		"stream":  "stream: {kind: test-stream, tasks: 20}",
		"learner": "learner:\n  network: {kind: mlp, hidden: [8]}\n  optimizer: {kind: sgd, lr: 0.01}\n  methods: [{kind: test-decay}]",
		"probes":  "probes: [{kind: test-accuracy}, {kind: test-dormant}]",
	}
	order := []string{"name", "stream", "learner", "probes", "arms", "sweep", "select", "seeds", "segments", "claims", "needs"}
	var b strings.Builder
	for k, v := range replace {
		sections[k] = v
	}
	for _, k := range order {
		if sections[k] != "" {
			b.WriteString(sections[k] + "\n")
		}
	}
	b.WriteString(sections["more"])
	return b.String()
}

func parse(t testing.TB, replace map[string]string) *pb.ExperimentSpec {
	t.Helper()
	spec, err := Parse([]byte(document(replace)))
	require.NoError(t, err)
	return spec
}

func expand(t testing.TB, replace map[string]string) *Plan {
	t.Helper()
	p, err := Expand(parse(t, replace))
	require.NoError(t, err)
	return p
}
