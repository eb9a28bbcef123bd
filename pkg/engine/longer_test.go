package engine_test

import (
	"bytes"
	"context"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
)

// withTasks is a spec with another number of tasks.
func withTasks(raw engine.RawSpec, tasks int) engine.RawSpec {
	if raw.Environment != nil {
		raw.Environment = maps.Clone(raw.Environment)
		raw.Environment["tasks"] = float64(tasks)
		return raw
	}
	raw.Stream = maps.Clone(raw.Stream)
	raw.Stream["tasks"] = float64(tasks)
	return raw
}

// A longer run begins with the shorter one, to the bit: of every component's rows the
// conformance suite shows that. So the end of the shorter one is a checkpoint of the
// longer one, and going on from it leaves no trace. This test takes every eighth component.
func TestALongerRunGoesOnFromTheEndOfAShorterOne(t *testing.T) {
	for i, s := range subjects() {
		if i%8 != 0 {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			shorter := resolve(t, s.raw)
			longer, err := engine.Resolve(withTasks(s.raw, shorter.Tasks()+2))
			if err != nil {
				require.ErrorContains(t, err, "tasks", "what knows how many tasks there are says so")
				return
			}
			l, r := newLife(t, shorter, 1), newRecord()
			require.NoError(t, l.Advance(context.Background(), shorter.Steps(), r))
			end := save(t, l)

			whole, want := newLife(t, longer, 1), newRecord()
			require.NoError(t, whole.Advance(context.Background(), shorter.Steps(), want))
			var as bytes.Buffer
			require.NoError(t, whole.SaveEnd(&as))
			require.True(t, bytes.Equal(end, as.Bytes()), "the longer run is the shorter one until its end")
			require.NoError(t, whole.Advance(context.Background(), longer.Steps(), want))

			on, err := engine.New(longer, engine.Env{Seed: 1, Data: source})
			require.NoError(t, err)
			require.NoError(t, on.Load(end))
			require.NoError(t, on.Advance(context.Background(), longer.Steps(), r))
			requireSame(t, want, r, "gone on with from the shorter run's end")
			require.True(t, bytes.Equal(save(t, whole), save(t, on)))
		})
	}
}

// Only the end of a shorter run is such a checkpoint, and only of the same spec.
func TestOnlyTheEndOfAShorterRunGoesOn(t *testing.T) {
	spec := resolve(t, tiny())
	l := newLife(t, spec, 1)
	require.NoError(t, l.Advance(context.Background(), 40, newRecord()))
	longer := resolve(t, withTasks(tiny(), 5))
	require.ErrorContains(t, newLife(t, longer, 1).Load(save(t, l)), "its spec is", "in its middle")
	require.NoError(t, l.Advance(context.Background(), spec.Steps(), newRecord()))
	require.NoError(t, newLife(t, longer, 1).Load(save(t, l)))
	require.ErrorContains(t, newLife(t, resolve(t, withTasks(tiny(), 2)), 1).Load(save(t, l)), "its spec is")
	other := withTasks(tiny(), 5)
	other.Probes = []map[string]any{{"kind": "loss", "every": 8.0}}
	require.ErrorContains(t, newLife(t, resolve(t, other), 1).Load(save(t, l)), "its spec is")
}
