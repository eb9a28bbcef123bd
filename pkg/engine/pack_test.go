package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
)

// Every subject of the conformance suite, in a pack of three seeds: each is
// the run that it is alone.
func TestAPackIsItsRunsOneByOne(t *testing.T) {
	packed := 0
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			spec := resolve(t, s.raw)
			seeds := []uint32{1, 2, 3}
			var specs []*engine.Spec
			var envs []engine.Env
			var sinks []engine.Sink
			for _, seed := range seeds {
				specs, envs, sinks = append(specs, spec), append(envs, engine.Env{Seed: seed, Data: source}), append(sinks, newRecord())
			}
			p, err := engine.NewPack(specs, envs)
			if err != nil {
				require.ErrorIs(t, err, engine.ErrNotAlike)
				return
			}
			packed++
			for _, until := range []int64{spec.StepsPerTask() + 1, spec.Steps()} {
				for _, err := range p.Advance(context.Background(), until, sinks) {
					require.NoError(t, err)
				}
			}
			for i, seed := range seeds {
				requireSame(t, live(t, spec, seed), sinks[i].(*record), "in a pack")
			}
		})
	}
	require.Greater(t, packed, 30)
}

// Points of a grid, whose specs differ in numbers, in one pack: each is the run
// that it is alone.
func TestAPackOfTrialsThatDifferInNumbers(t *testing.T) {
	for name, learner := range map[string]func(x float64) object{
		"sgd": func(x float64) object { return object{"optimizer": object{"kind": "sgd", "lr": x}} },
		"adam": func(x float64) object {
			return object{"optimizer": object{"kind": "adam", "lr": x, "beta1": 0.9 - x}}
		},
		"methods": func(x float64) object {
			return object{"optimizer": object{"kind": "sgd", "lr": 0.01}, "methods": []any{object{"kind": "l2", "lambda": x}, object{"kind": "shrink-and-perturb", "sigma": x}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var specs []*engine.Spec
			var envs []engine.Env
			var sinks []engine.Sink
			for i, x := range []float64{0.01, 0.02, 0.01} {
				l := learner(x)
				l["network"] = object{"kind": "mlp", "hidden": []any{5.0}}
				specs = append(specs, resolve(t, engine.RawSpec{
					Stream: object{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": 40.0}, Learner: l,
					Probes: []map[string]any{{"kind": "loss"}},
				}))
				envs, sinks = append(envs, engine.Env{Seed: uint32(i / 2), Data: source}), append(sinks, newRecord())
			}
			p, err := engine.NewPack(specs, envs)
			require.NoError(t, err)
			for _, err := range p.Advance(context.Background(), specs[0].Steps(), sinks) {
				require.NoError(t, err)
			}
			for i, spec := range specs {
				requireSame(t, live(t, spec, envs[i].Seed), sinks[i].(*record), "in a pack")
			}
			require.NotEqual(t, sinks[0].(*record).boundaries, sinks[1].(*record).boundaries)
		})
	}
}

func TestPackSizeIsForSmallNetworksOnly(t *testing.T) {
	size := func(batch int, hidden ...any) int {
		return resolve(t, engine.RawSpec{
			Stream:  map[string]any{"kind": "bit-flip-regression", "tasks": 2.0, "examples_per_task": 128.0, "batch": float64(batch)},
			Learner: map[string]any{"network": map[string]any{"kind": "mlp", "hidden": hidden}, "optimizer": map[string]any{"kind": "sgd"}},
		}).PackSize()
	}
	require.Equal(t, 64, size(1))
	require.Greater(t, size(1, 5.0), 30)
	require.Less(t, size(1, 50.0), size(1, 5.0))
	require.Less(t, size(8, 5.0), size(1, 5.0))
	require.Equal(t, 1, size(1, 100.0, 100.0))
	require.Equal(t, 1, size(128, 5.0))
}
