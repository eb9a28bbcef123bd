package engine_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
)

var update = flag.Bool("update", false, "write the golden digests anew: a change of numerics, which needs a new NumericsVersion")

// goldenDigests are the digests of every subject of the conformance suite:
// state and rows after its last task, the first 64 bits of each. They say that
// no result has changed by accident, on any machine.
type goldenDigests struct {
	NumericsVersion int               `json:"numerics_version"`
	Lives           map[string]string `json:"lives"`
}

func TestGoldenDigests(t *testing.T) {
	const file = "testdata/digests.json"
	got := goldenDigests{NumericsVersion: engine.NumericsVersion, Lives: map[string]string{}}
	for _, s := range subjects() {
		r := live(t, resolve(t, s.raw), 1)
		last := r.boundaries[len(r.boundaries)-1]
		got.Lives[s.name] = fmt.Sprintf("%x %x", last.State[:8], last.Rows[:8])
	}
	if *update {
		b, err := json.MarshalIndent(got, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(b, '\n'), 0o644))
		return
	}
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var want goldenDigests
	require.NoError(t, json.Unmarshal(b, &want))
	require.Equal(t, want.NumericsVersion, got.NumericsVersion, "a new numerics version has new digests: go test ./pkg/engine -run TestGoldenDigests -update")
	for name, digest := range want.Lives {
		if life, ok := got.Lives[name]; ok {
			require.Equal(t, digest, life, "%s: its results have changed; if that is meant, raise NumericsVersion and run the test with -update", name)
		} else {
			require.Fail(t, "gone", "%s has a digest and is not registered any more: run the test with -update", name)
		}
	}
}
