// Package archtest holds the architecture's rules about who may import whom.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "neoteny/"

// rule forbids the packages below from (but not those below except) to import
// any package below one of forbid that is not below one of allow.
type rule struct {
	why    string
	from   string
	except []string
	forbid []string
	allow  []string // out of what is forbidden
}

var rules = []rule{{
	why:    "the engine is a library of its own: no cluster, no clock, no logging, no global randomness",
	from:   "pkg/engine",
	forbid: []string{"google.golang.org/grpc", "go.etcd.io", "github.com/prometheus", "log", "time", "math/rand", "os/exec", "net", "neoteny/services", "neoteny/internal", "neoteny/proto", "neoteny/pkg/experiment"},
}, {
	why:    "kernels and randomness stand on the standard library alone",
	from:   "pkg/engine/kernel",
	forbid: []string{"neoteny"},
}, {
	why:    "randomness stands on kernels alone",
	from:   "pkg/engine/rng",
	allow:  []string{"neoteny/pkg/engine/kernel"},
	forbid: []string{"neoteny"},
}, {
	why:    "programs know nothing of networks or learning",
	from:   "pkg/engine/graph",
	forbid: []string{"neoteny/pkg/engine/nn", "neoteny/pkg/engine/optim", "neoteny/pkg/engine/learner", "neoteny/pkg/engine/stream", "neoteny/pkg/engine/method", "neoteny/pkg/engine/probe", "neoteny/pkg/engine/component"},
}, {
	why:    "networks and optimisers know nothing of streams, methods and probes",
	from:   "pkg/engine/nn",
	forbid: []string{"neoteny/pkg/engine/stream", "neoteny/pkg/engine/method", "neoteny/pkg/engine/probe"},
}, {
	why:    "networks and optimisers know nothing of streams, methods and probes",
	from:   "pkg/engine/optim",
	forbid: []string{"neoteny/pkg/engine/stream", "neoteny/pkg/engine/method", "neoteny/pkg/engine/probe"},
}, {
	why:    "components do not know each other: they are composed by specs",
	from:   "pkg/engine/methods",
	forbid: []string{"neoteny/pkg/engine/streams", "neoteny/pkg/engine/probes"},
}, {
	why:    "components do not know each other: they are composed by specs",
	from:   "pkg/engine/streams",
	forbid: []string{"neoteny/pkg/engine/methods", "neoteny/pkg/engine/probes"},
}, {
	why:    "components do not know each other: they are composed by specs",
	from:   "pkg/engine/probes",
	forbid: []string{"neoteny/pkg/engine/methods", "neoteny/pkg/engine/streams"},
}, {
	why:    "the experiment model is pure functions",
	from:   "pkg/experiment",
	forbid: []string{"google.golang.org/grpc", "go.etcd.io", "github.com/prometheus", "log", "time", "net", "os/exec", "neoteny/services", "neoteny/internal"},
}, {
	why:    "internal plumbing does not know the services that use it",
	from:   "internal",
	forbid: []string{"neoteny/services", "neoteny/cmd"},
}, {
	why:    "services are composed by cmd/neoteny alone",
	from:   "services/coordinator",
	forbid: []string{"neoteny/services/worker", "neoteny/services/metrics", "neoteny/cmd"},
}, {
	why:    "the mirror is records in memory: it depends neither on decisions nor on the API",
	from:   "services/coordinator/mirror",
	forbid: []string{"google.golang.org/grpc", "log", "neoteny/internal", "neoteny/services", "neoteny/pkg/engine"},
	allow:  []string{"neoteny/internal/cluster", "neoteny/services/coordinator/seeds"},
}, {
	why:    "decisions are functions of the mirror, the time and the configuration",
	from:   "services/coordinator/schedule",
	forbid: []string{"google.golang.org/grpc", "golang.org/x", "context", "sync", "os", "io", "net", "log", "math/rand", "crypto/rand", "neoteny/internal", "neoteny/services"},
	allow:  []string{"neoteny/services/coordinator/mirror", "neoteny/services/coordinator/seeds"},
}, {
	why:    "what the coordinator knows about experiments depends on no cluster",
	from:   "services/coordinator/model",
	forbid: []string{"google.golang.org/grpc", "neoteny/internal", "neoteny/services"},
	allow:  []string{"neoteny/services/coordinator/seeds"},
}, {
	why:    "task tables are put together from committed segments alone",
	from:   "services/coordinator/results",
	forbid: []string{"google.golang.org/grpc", "neoteny/services"},
}, {
	why:    "the API reads the mirror and explains the schedule; it carries nothing out",
	from:   "services/coordinator/api",
	forbid: []string{"neoteny/internal/blob", "neoteny/internal/telemetry"},
}, {
	why:    "services are composed by cmd/neoteny alone",
	from:   "services/worker",
	forbid: []string{"neoteny/services/coordinator", "neoteny/services/metrics", "neoteny/cmd"},
}, {
	why:    "services are composed by cmd/neoteny alone",
	from:   "services/metrics",
	forbid: []string{"neoteny/services/coordinator", "neoteny/services/worker", "neoteny/cmd"},
}, {
	why:    "what says which program this is needs no service and no command",
	from:   "cmd/neoteny/internal/cli/build",
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "what shows progress, tables and results needs no service and no command",
	from:   "cmd/neoteny/internal/cli/render",
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "what shows progress, tables and results needs no service and no command",
	from:   "cmd/neoteny/internal/cli/chart",
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services", "neoteny/internal", "neoteny/pkg", "neoteny/proto"},
}, {
	why:    "what shows progress, tables and results needs no service and no command",
	from:   "cmd/neoteny/internal/cli/progress",
	allow:  []string{"neoteny/cmd/neoteny/internal/cli/render"},
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "what shows progress, tables and results needs no service and no command",
	from:   "cmd/neoteny/internal/cli/results",
	allow:  []string{"neoteny/cmd/neoteny/internal/cli/render", "neoteny/cmd/neoteny/internal/cli/chart", "neoteny/cmd/neoteny/internal/cli/build"},
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "what commands share knows no command",
	from:   "cmd/neoteny/internal/cli/app",
	allow:  []string{"neoteny/cmd/neoteny/internal/cli/render", "neoteny/cmd/neoteny/internal/cli/progress", "neoteny/cmd/neoteny/internal/cli/results", "neoteny/cmd/neoteny/internal/cli/owndata"},
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "what finds own datasets needs no service and no command",
	from:   "cmd/neoteny/internal/cli/owndata",
	forbid: []string{"neoteny/cmd/neoteny/internal/cli", "neoteny/services"},
}, {
	why:    "services are put together in wiring, which knows no command",
	from:   "cmd/neoteny/internal/cli/wiring",
	allow:  []string{"neoteny/cmd/neoteny/internal/cli/app", "neoteny/cmd/neoteny/internal/cli/build"},
	forbid: []string{"neoteny/cmd/neoteny/internal/cli"},
}, {
	why:    "commands that work with a cluster have nothing of its services",
	from:   "cmd/neoteny/internal/cli/cluster",
	forbid: []string{"neoteny/services", "neoteny/cmd/neoteny/internal/cli/wiring", "neoteny/cmd/neoteny/internal/cli/local", "neoteny/cmd/neoteny/internal/cli/reproduction"},
}, {
	why:    "commands get services from wiring",
	from:   "cmd/neoteny/internal/cli/reproduction",
	forbid: []string{"neoteny/services", "neoteny/cmd/neoteny/internal/cli/cluster", "neoteny/cmd/neoteny/internal/cli/services"},
}, {
	why:    "etcd is spoken to through internal/cluster",
	except: []string{"internal/cluster", "internal/etcd"},
	forbid: []string{"go.etcd.io"},
}, {
	why:    "metrics for Prometheus are declared in internal/telemetry, and exported by services/metrics",
	except: []string{"internal/telemetry", "services/metrics"},
	forbid: []string{"github.com/prometheus", "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"},
}, {
	why:    "the default binary carries no cloud SDKs",
	forbid: []string{"github.com/aws", "cloud.google.com", "gocloud.dev/blob/s3blob", "gocloud.dev/blob/gcsblob"},
}}

func TestImports(t *testing.T) {
	packages := list(t)
	require.Greater(t, len(packages), 20, "go list found too little to check")
	for _, p := range packages {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range rules {
			if !below(path, r.from) || slices.ContainsFunc(r.except, func(e string) bool { return below(path, e) }) {
				continue
			}
			for _, imp := range p.Imports {
				if slices.ContainsFunc(r.allow, func(a string) bool { return below(imp, a) }) {
					continue
				}
				for _, f := range r.forbid {
					if below(imp, f) && !below(imp, module+r.from) {
						t.Errorf("%s imports %s: %s", path, imp, r.why)
					}
				}
			}
		}
	}
}

// below reports whether an import path is a folder's package or inside of it.
func below(path, folder string) bool {
	return folder == "" || path == folder || strings.HasPrefix(path, folder+"/")
}

type listed struct {
	ImportPath string
	Imports    []string // of the package, not of its tests
}

// list returns the module's packages with what they import. go list runs in a process
// of its own, whose reads the test cache does not see: so each file that decides the
// result is looked at here, too, and a new import makes the test run again.
func list(t *testing.T) []listed {
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
	require.NoError(t, err)
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go list: %s", exit.Stderr)
	}
	require.NoError(t, err)
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
