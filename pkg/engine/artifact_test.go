package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/safetensors"
)

// regression is a short run of a small network.
func regression(network object) engine.RawSpec {
	return engine.RawSpec{
		Stream:  object{"kind": "bit-flip-regression", "tasks": 3.0, "examples_per_task": 40.0, "batch": 2.0},
		Learner: object{"network": network, "optimizer": object{"kind": "adam", "lr": 0.01}},
		Probes:  []map[string]any{{"kind": "loss"}},
	}
}

func network(hidden []any, weights object) object {
	n := object{"kind": "mlp", "hidden": hidden, "norm": "batch"}
	if weights != nil {
		n["weights"] = weights
	}
	return n
}

func lifeOf(t *testing.T, raw engine.RawSpec, seed uint32, given component.Artifacts) *engine.Life {
	t.Helper()
	spec, err := engine.Resolve(raw)
	require.NoError(t, err)
	l, err := engine.New(spec, engine.Env{Seed: seed, Artifacts: given})
	require.NoError(t, err)
	return l
}

func weightsOf(t *testing.T, l *engine.Life) (file []byte, tensors map[string][]byte) {
	t.Helper()
	file, err := l.Artifact(engine.Weights)
	require.NoError(t, err)
	f, err := safetensors.Decode(file)
	require.NoError(t, err)
	tensors = map[string][]byte{}
	for _, x := range f.Tensors {
		tensors[x.Name] = x.Data
	}
	return file, tensors
}

// A network that starts from the weights of another run's end is that network,
// statistics included, and lives on like it.
func TestWeightsStartAnotherRun(t *testing.T) {
	one := lifeOf(t, regression(network([]any{6.0, 5.0}, nil)), 1, nil)
	require.NoError(t, one.Advance(context.Background(), 60, discard{}))
	file, trained := weightsOf(t, one)
	require.Contains(t, trained, "net/hidden1/weight")
	require.Contains(t, trained, "net/hidden1/running_mean")
	require.NotContains(t, trained, "optimizer/net/hidden1/weight/m")
	given := component.Artifacts{"pretrained": file}

	two := lifeOf(t, regression(network([]any{6.0, 5.0}, object{"artifact": "pretrained"})), 9, given)
	again, _ := weightsOf(t, two)
	require.Equal(t, file, again)
	require.NoError(t, two.Advance(context.Background(), 30, discard{}))
	fork, err := two.Fork()
	require.NoError(t, err)
	require.NoError(t, fork.Advance(context.Background(), 60, discard{}))
	require.NoError(t, two.Advance(context.Background(), 60, discard{}))
	end, moved := weightsOf(t, two)
	same, _ := weightsOf(t, fork)
	require.Equal(t, end, same)
	require.NotEqual(t, trained["net/hidden1/weight"], moved["net/hidden1/weight"])
}

func TestWeightsInParts(t *testing.T) {
	one := lifeOf(t, regression(network([]any{6.0, 5.0}, nil)), 1, nil)
	require.NoError(t, one.Advance(context.Background(), 60, discard{}))
	file, trained := weightsOf(t, one)
	given := component.Artifacts{"pretrained": file}

	_, fresh := weightsOf(t, lifeOf(t, regression(network([]any{6.0, 5.0}, nil)), 9, nil))
	_, skipped := weightsOf(t, lifeOf(t, regression(network([]any{6.0, 5.0}, object{"artifact": "pretrained", "skip": []any{"output"}})), 9, given))
	require.Equal(t, len(trained), len(skipped))
	for name, b := range skipped {
		want := trained[name]
		if name == "net/output/weight" || name == "net/output/bias" {
			want = fresh[name]
		}
		require.Equal(t, want, b, name)
	}

	// Of a network with another second layer only the first one is there; the
	// bias of the output layer, whose weights do not fit, is not taken either.
	_, fresh = weightsOf(t, lifeOf(t, regression(network([]any{6.0, 4.0}, nil)), 9, nil))
	_, partial := weightsOf(t, lifeOf(t, regression(network([]any{6.0, 4.0}, object{"artifact": "pretrained", "partial": true})), 9, given))
	require.Equal(t, trained["net/hidden1/weight"], partial["net/hidden1/weight"])
	require.Equal(t, fresh["net/hidden2/weight"], partial["net/hidden2/weight"])
	require.Equal(t, fresh["net/output/bias"], partial["net/output/bias"])
	require.NotEqual(t, trained["net/output/bias"], partial["net/output/bias"])

	spec, err := engine.Resolve(regression(network([]any{6.0, 4.0}, object{"artifact": "pretrained"})))
	require.NoError(t, err)
	_, err = engine.New(spec, engine.Env{Artifacts: given})
	require.ErrorContains(t, err, "learner.network.weights: weight of layer hidden2: tensor net/hidden2/weight has shape")
	_, err = engine.New(spec, engine.Env{Artifacts: component.Artifacts{"other": file}})
	require.ErrorContains(t, err, `learner.network.weights.artifact: this run was not given the artifact "pretrained" (given: other)`)
	_, err = engine.New(spec, engine.Env{Artifacts: component.Artifacts{"pretrained": []byte("no file")}})
	require.ErrorContains(t, err, "artifact pretrained")

	none, err := engine.Resolve(regression(network([]any{3.0}, object{"artifact": "pretrained", "partial": true})))
	require.NoError(t, err)
	_, err = engine.New(none, engine.Env{Artifacts: given})
	require.ErrorContains(t, err, "no layer of the network is in the file")
}

func TestSpecNamesItsArtifacts(t *testing.T) {
	raw := regression(network([]any{6.0}, object{"artifact": "pretrained"}))
	spec, err := engine.Resolve(raw)
	require.NoError(t, err)
	require.Equal(t, []component.ArtifactRef{{Path: "learner.network.weights.artifact", Name: "pretrained"}}, spec.Artifacts())
	require.Equal(t, map[string][]string{"weights": {"learner.network"}}, spec.Published())
	plain, err := engine.Resolve(regression(network([]any{6.0}, nil)))
	require.NoError(t, err)
	require.Empty(t, plain.Artifacts())

	_, err = engine.Resolve(regression(network([]any{6.0}, object{"artifact": "a", "path": "/b"})))
	require.ErrorContains(t, err, "learner.network.weights.artifact: give either an artifact or path and sha256")
}
