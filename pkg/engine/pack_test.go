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
