package methods_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/method"
)

func TestBadParameters(t *testing.T) {
	for _, tc := range []struct {
		spec map[string]any
		want string
	}{
		{map[string]any{"kind": "l2", "lambda": -1.0}, "methods[0].lambda: must be between 0 and 1e+06, is -1"},
		{map[string]any{"kind": "l2", "penalty": "norm"}, `methods[0].penalty: unknown value "norm"`},
		{map[string]any{"kind": "l2-init", "lambda": 1e7}, "methods[0].lambda"},
		{map[string]any{"kind": "shrink-and-perturb", "variant": "kumar", "shrink": 1.5}, "methods[0].shrink"},
		{map[string]any{"kind": "shrink-and-perturb", "sigma": -1.0}, "methods[0].sigma"},
		{map[string]any{"kind": "continual-backprop", "replacement_rate": 1.5}, "methods[0].replacement_rate"},
		{map[string]any{"kind": "continual-backprop", "decay": 1.0}, "methods[0].decay"},
		{map[string]any{"kind": "continual-backprop", "maturity": -1.0}, "methods[0].maturity"},
		{map[string]any{"kind": "weight-clipping", "kappa": 0.0}, "methods[0].kappa"},
		{map[string]any{"kind": "spectral-regularization", "power": 0.0}, "methods[0].power: must be between 1 and 16, is 0"},
		{map[string]any{"kind": "parseval-regularization", "lambda": -1.0}, "methods[0].lambda"},
		{map[string]any{"kind": "wasserstein", "lambda": -1.0}, "methods[0].lambda"},
		{map[string]any{"kind": "normalize-and-project", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "self-normalized-resets", "least": 30000.0}, "methods[0].least: must be between 1 and most, 20000, is 30000"},
		{map[string]any{"kind": "self-normalized-resets", "most": 0.0}, "methods[0].most"},
		{map[string]any{"kind": "self-normalized-resets", "initial": 0.0}, "methods[0].initial"},
		{map[string]any{"kind": "self-normalized-resets", "percentile": 1.5}, "methods[0].percentile"},
		{map[string]any{"kind": "self-normalized-resets", "expansion": 0.5}, "methods[0].expansion"},
		{map[string]any{"kind": "self-normalized-resets", "tasks": 0.0}, "methods[0].tasks"},
		{map[string]any{"kind": "regrama", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "regrama", "window": 2000.0}, "methods[0].window: must be between 1 and the period of 1000 steps, is 2000"},
		{map[string]any{"kind": "regrama", "threshold": -1.0}, "methods[0].threshold"},
		{map[string]any{"kind": "adam-rel", "tasks": -1.0}, "methods[0].tasks"},
		{map[string]any{"kind": "last-layer-reset", "layers": -1.0}, "methods[0].layers"},
		{map[string]any{"kind": "last-layer-reset", "period": -1.0}, "methods[0].period"},
		{map[string]any{"kind": "streaming-ewc", "beta_weight": 1.0}, "methods[0].beta_weight: must be in [0, 1), is 1"},
		{map[string]any{"kind": "streaming-mas", "beta_importance": -1.0}, "methods[0].beta_importance"},
		{map[string]any{"kind": "streaming-si", "epsilon": 0.0}, "methods[0].epsilon"},
		{map[string]any{"kind": "streaming-rwalk", "kappa": -1.0}, "methods[0].kappa"},
		{map[string]any{"kind": "experience-replay", "batch": 501.0}, "methods[0].batch: of 501 examples from a memory of 500"},
		{map[string]any{"kind": "experience-replay", "memory": 0.0}, "methods[0].memory: must be between 1 and 1048576 examples, is 0"},
		{map[string]any{"kind": "experience-replay", "weight": -1.0}, "methods[0].weight"},
		{map[string]any{"kind": "der", "batch": 501.0}, "methods[0].batch: of 501 examples"},
		{map[string]any{"kind": "der", "alpha": -1.0}, "methods[0].alpha"},
		{map[string]any{"kind": "a-gem", "batch": 2501.0}, "methods[0].batch: of 2501 examples"},
		{map[string]any{"kind": "ewc", "fisher": "batched", "batch": 33.0}, "methods[0].batch: 33 does not divide the 200 samples"},
		{map[string]any{"kind": "ewc", "decay": 1.5}, "methods[0].decay"},
		{map[string]any{"kind": "mas", "samples": 0.0}, "methods[0].samples"},
		{map[string]any{"kind": "synaptic-intelligence", "xi": 0.0}, "methods[0].xi"},
		{map[string]any{"kind": "redo", "period": 0.0}, "methods[0].period"},
		{map[string]any{"kind": "redo", "period": 10.0}, "methods[0].window: must be between 1 and the period of 10 steps, is 64"},
		{map[string]any{"kind": "redo", "threshold": -0.1}, "methods[0].threshold"},
	} {
		_, err := method.Resolve("methods[0]", tc.spec)
		require.ErrorContains(t, err, tc.want)
	}
}
