package assemble_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/assemble"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/spec"
)

type object = map[string]any

type nothing struct{}

func (nothing) Validate() error { return nil }

// AfterStep has not the signature of the hook.
func (nothing) AfterStep() {}

// bare is a learner that has no network.
type bare struct{ learner.Learner }

func init() {
	learner.Register(component.Info{Name: "bare", Summary: "a learner without a network"}, nothing{}, nil,
		func(nothing, learner.Env) (learner.Learner, error) { return bare{}, nil })
	method.Register(component.Info{Name: "hookless", Summary: "a method whose author has misread a hook"}, nothing{}, nil,
		func(nothing, method.Env) (method.Method, error) { return nothing{}, nil })
}

func TestAMethodWithoutAHookIsRefused(t *testing.T) {
	s, err := spec.Resolve(spec.Raw{
		Stream: object{"kind": "bit-flip-regression"},
		Learner: object{
			"network": object{"kind": "mlp"}, "optimizer": object{"kind": "sgd"},
			"methods": []any{object{"kind": "l2"}, object{"kind": "hookless"}},
		},
	})
	require.NoError(t, err)
	_, err = assemble.New(s, assemble.Env{Seed: 1}, graph.NewStore())
	require.ErrorContains(t, err, "learner.methods[1]: hookless has none of the hooks")
}

// Every variable of a life says whose it is: checkpoints, rebirths and artifacts go
// by that.
func TestVariablesHaveOwners(t *testing.T) {
	s, err := spec.Resolve(spec.Raw{
		Environment: object{"kind": "gridworld"},
		Learner: object{
			"kind": "dqn", "network": object{"kind": "mlp"}, "optimizer": object{"kind": "adam"},
			"methods": []any{object{"kind": "l2-init"}, object{"kind": "continual-backprop"}, object{"kind": "continual-backprop"}},
		},
		Probes: []map[string]any{{"kind": "episode-return"}},
	})
	require.NoError(t, err)
	store := graph.NewStore()
	_, err = assemble.New(s, assemble.Env{Seed: 1}, store)
	require.NoError(t, err)
	for _, v := range store.Vars() {
		require.NotEqual(t, graph.Unowned, v.Owner, v.Name)
		require.Equal(t, v, store.Lookup(v.Name))
	}
	owner := func(name string) graph.Owner {
		v := store.Lookup(name)
		require.NotNil(t, v, name)
		return v.Owner
	}
	for name, want := range map[string]graph.Owner{
		"net/output/weight": graph.OfNetwork, "initial/net/output/weight": graph.OfOptimizer,
		"learner/counts": graph.OfLearner, "shadow/target/net/output/weight": graph.OfLearner,
		"method/continual-backprop/hidden1/age": graph.OfMethod, "method/continual-backprop.1/hidden1/age": graph.OfMethod,
	} {
		require.Equal(t, want, owner(name), name)
	}
	require.NotEmpty(t, store.Of(graph.OfEnvironment))
}

// What a probe needs of a network it declares: a learner without one refuses it, and
// does not fail while it is built.
func TestProbesDeclareThatTheyNeedANetwork(t *testing.T) {
	refused, built := 0, 0
	for _, doc := range component.All() {
		if doc.Kind != "probe" {
			continue
		}
		s, err := spec.Resolve(spec.Raw{
			Stream:  object{"kind": "permuted"},
			Learner: object{"kind": "bare"},
			Probes:  []map[string]any{{"kind": doc.Name}},
		})
		if err != nil {
			require.ErrorContains(t, err, "probes[0]", doc.Name)
			refused++
			continue
		}
		require.NotPanics(t, func() { _, err = assemble.New(s, assemble.Env{Seed: 1}, graph.NewStore()) }, doc.Name)
		require.NoError(t, err, doc.Name)
		built++
	}
	require.Greater(t, refused, 10)
	require.Greater(t, built, 4)
}
