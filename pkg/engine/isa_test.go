package engine_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/kernel"
)

// Every subject of the conformance suite lives the same life on every
// instruction set of this machine and in plain Go.
func TestEveryInstructionSetLivesTheSameLife(t *testing.T) {
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			spec := resolve(t, s.raw)
			want := live(t, spec, 1)
			for _, isa := range kernel.Available() {
				if isa == kernel.Active() {
					continue
				}
				restore := kernel.ForceISA(isa)
				got := live(t, spec, 1)
				restore()
				requireSame(t, want, got, isa.String())
			}
		})
	}
}

// So does a run over real digits, at batch 1 and with batches.
func TestTwoTasksOfMNISTOnEveryInstructionSet(t *testing.T) {
	source := data.NewDir(dataFolder())
	for _, batch := range []float64{1, 16} {
		spec := resolve(t, engine.RawSpec{
			Stream:  object{"kind": "permuted", "dataset": "mnist", "tasks": 2.0, "examples_per_task": 320.0, "batch": batch},
			Learner: object{"network": object{"kind": "mlp", "hidden": []any{50.0, 20.0}}, "optimizer": object{"kind": "adam"}},
			Probes:  []map[string]any{{"kind": "online-accuracy"}, {"kind": "loss"}, {"kind": "srank99", "samples": 100.0}},
		})
		var want *record
		for _, isa := range kernel.Available() {
			restore := kernel.ForceISA(isa)
			life, err := engine.New(spec, engine.Env{Seed: 1, Data: source})
			require.NoError(t, err)
			got := newRecord()
			require.NoError(t, life.Advance(context.Background(), spec.Steps(), got))
			restore()
			if want == nil {
				want = got
			}
			requireSame(t, want, got, isa.String())
		}
		require.Len(t, want.boundaries, 2)
	}
}
