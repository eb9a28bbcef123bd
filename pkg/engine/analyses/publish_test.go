package analyses_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/safetensors"
)

func init() {
	probe.Register(probe.Info{
		Info:    component.Info{Name: "test-publisher", Summary: "test", Publishes: []string{"test_count"}},
		Metrics: []probe.Metric{{Metric: "test_steps", Title: "Steps"}}, Every: "step",
	}, nothing{}, nil, func(nothing, probe.Env) (probe.Probe, error) { return &publisher{}, nil })
}

type nothing struct{}

func (nothing) Validate() error { return nil }

// publisher counts steps.
type publisher struct{ steps int }

func (*publisher) Columns() []probe.Column { return []probe.Column{{Metric: "test_steps"}} }

func (p *publisher) Step(_ *learner.Step, values []float32) {
	p.steps++
	values[0] = 0
}

func (p *publisher) Publish(string) ([]byte, error) {
	return fmt.Appendf(nil, "%d steps", p.steps), nil
}

// What a run's components publish is asked of them, also where the learner is of
// a kind of its own; an artifact that no component publishes is an error.
func TestComponentsPublish(t *testing.T) {
	for name, raw := range map[string]engine.RawSpec{
		"supervised": {
			Stream:  object{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": 20.0},
			Learner: object{"network": object{"kind": "mlp", "hidden": []any{4.0}}, "optimizer": object{"kind": "sgd"}},
		},
		"of a kind": {
			Environment: object{"kind": "gridworld"},
			Learner:     object{"kind": "dqn", "network": object{"kind": "mlp", "hidden": []any{4.0}}, "optimizer": object{"kind": "adam"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw.Probes = []map[string]any{{"kind": "test-publisher"}}
			spec, err := engine.Resolve(raw)
			require.NoError(t, err)
			require.Equal(t, map[string][]string{"weights": {"learner.network"}, "test_count": {"probes[0]"}}, spec.Published())
			l, err := engine.New(spec, engine.Env{Seed: 3})
			require.NoError(t, err)
			require.NoError(t, l.Advance(context.Background(), 7, sink{}))
			b, err := l.Artifact("test_count")
			require.NoError(t, err)
			require.Equal(t, "7 steps", string(b))
			_, err = l.Artifact("test_other")
			require.ErrorContains(t, err, "publish test_other: no component of the run has such an artifact")
			b, err = l.Artifact(engine.Weights)
			require.NoError(t, err)
			f, err := safetensors.Decode(b)
			require.NoError(t, err)
			names := map[string]bool{}
			for _, x := range f.Tensors {
				names[x.Name] = true
			}
			require.True(t, names["net/hidden1/weight"], "%v", names)
		})
	}
}
