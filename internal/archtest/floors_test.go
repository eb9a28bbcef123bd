package archtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// floors are the storeys of the engine, the ground first. A package imports from the
// floors below its own only: nothing runs back up, and packages of one floor do not
// know each other. A folder stands for all packages in it.
var floors = [][]string{
	{"kernel/internal/spec", "component", "linalg", "safetensors", "tensor"},
	{"kernel/internal/asmgen", "kernel", "data"},
	{"kernel/internal/asmgen/generate", "rng"},
	{"graph", "stream"},
	{"environment", "rule", "nn/activation"},
	{"learner", "nn"},
	{"optim", "probe"},
	{"method", "analysis", "streams", "environments", "learners"},
	{"methods", "probes", "spec", "model"},
	{"train"},
	{"assemble"},
	{"run"},
	{""}, // the facade
	{"analyses"},
	{"all"},
}

// floorOf returns the floor of a package of the engine, that of the longest folder
// listed that it is in; -1 for none.
func floorOf(path string) int {
	floor, longest := -1, -1
	for i, folders := range floors {
		for _, f := range folders {
			if len(f) > longest && (path == f || f != "" && below(path, f)) {
				floor, longest = i, len(f)
			}
		}
	}
	return floor
}

func TestFloorsOfTheEngine(t *testing.T) {
	const engine = module + "pkg/engine"
	checked := 0
	for _, p := range list(t) {
		if !below(p.ImportPath, engine) {
			continue
		}
		own := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, engine), "/")
		floor := floorOf(own)
		require.GreaterOrEqual(t, floor, 0, "pkg/engine/%s has no floor: put it into the list above what it imports", own)
		checked++
		for _, imp := range p.Imports {
			if !below(imp, engine) {
				continue
			}
			other := strings.TrimPrefix(strings.TrimPrefix(imp, engine), "/")
			if floorOf(other) < floor || shares(own, other) {
				continue
			}
			t.Errorf("pkg/engine/%s (floor %d) imports pkg/engine/%s (floor %d): imports go down only", own, floor, other, floorOf(other))
		}
	}
	require.Greater(t, checked, 25, "go list found too little to check")
}

// shares reports whether packages of one family may import each other: the family's
// own package lists the others, and what several use is in its internal folder.
func shares(own, other string) bool {
	f := family(own)
	return f == family(other) && (own == f || below(other, f+"/internal"))
}

// family is the folder of components that a package belongs to: what families share
// lies in it, too. Other packages are their own.
func family(path string) string {
	for _, f := range []string{"streams", "environments", "learners", "methods", "probes", "analyses"} {
		if below(path, f) {
			return f
		}
	}
	return path
}
