package engine_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
)

var update = flag.Bool("update", false, "write the golden digests anew: a change of numerics, which needs a new NumericsVersion")

// goldenDigests are the digests of the conformance suite's subjects of one
// component: state and rows after the last task, the first 64 bits of each.
// They say that no result has changed by accident, on any machine.
type goldenDigests struct {
	NumericsVersion int               `json:"numerics_version"`
	Lives           map[string]string `json:"lives"`
}

// TestGoldenDigests compares with testdata/digests/<kind>/<name>.json. Lives of
// everything at once have none: they change with every component that comes.
func TestGoldenDigests(t *testing.T) {
	const how = "go test ./pkg/engine -run TestGoldenDigests -update"
	got := map[string]goldenDigests{}
	for _, s := range subjects() {
		kind, rest, _ := strings.Cut(s.name, " ")
		name, _, _ := strings.Cut(rest, " ")
		name, _, _ = strings.Cut(name, "/")
		if kind == "everything" {
			continue
		}
		r := live(t, resolve(t, s.raw), 1)
		last := r.boundaries[len(r.boundaries)-1]
		file := filepath.Join(kind, name+".json")
		if got[file].Lives == nil {
			got[file] = goldenDigests{engine.NumericsVersion, map[string]string{}}
		}
		got[file].Lives[s.name] = fmt.Sprintf("%x %x", last.State[:8], last.Rows[:8])
	}
	for file, digests := range got {
		path := filepath.Join("testdata", "digests", file)
		if *update {
			b, err := json.MarshalIndent(digests, "", "  ")
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, append(b, '\n'), 0o644))
			continue
		}
		b, err := os.ReadFile(path)
		require.NoError(t, err, "a new component has digests of its own: %s", how)
		var want goldenDigests
		require.NoError(t, json.Unmarshal(b, &want))
		require.Equal(t, want, digests, "%s: its results have changed; if that is meant, raise NumericsVersion; then %s", file, how)
	}
	kept, err := filepath.Glob("testdata/digests/*/*.json")
	require.NoError(t, err)
	for _, path := range kept {
		file, err := filepath.Rel("testdata/digests", path)
		require.NoError(t, err)
		require.Contains(t, got, file, "digests of a component that is not registered any more")
	}
}
