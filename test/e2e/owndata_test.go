//go:build integration

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A dataset that only the user has reaches a worker in another process, by way of
// the coordinator and the data store, and runs there have the bits of those here.
func TestWorkersFetchOwnData(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("a,b,species\n")
	for i := range 60 {
		fmt.Fprintf(&rows, "%g,%g,%s\n", float64(i%7)/3, float64(i%11)*0.1, []string{"x", "y", "z"}[i%3])
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "flowers.csv"), []byte(rows.String()), 0o644))
	file := filepath.Join(dir, "own.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
name: own
stream: {kind: permuted, dataset: {path: flowers.csv, target: species, test: 0.2}, tasks: 4, examples_per_task: 48, batch: 4, scale: standard}
learner: {network: {kind: mlp, hidden: [8]}, optimizer: {kind: sgd, lr: 0.1}}
probes: [{kind: online-accuracy}, {kind: test-accuracy}]
seeds: {count: 2}
`), 0o644))
	want := digests(t, local(t, file, "--data", filepath.Join(dir, "here")))

	c := newCluster(t)
	c.ready()
	start(t, "worker", []string{"NEOTENY_DATA=" + filepath.Join(dir, "there")}, bin, "worker", "--etcd", c.etcdAddr, "--blob", filepath.Join(c.dir, "blob"),
		"--metrics", c.metricsAddr, "--slots", "1", "--http", freePort(t))
	id := strings.TrimSpace(string(run(t, nil, bin, "submit", file, "--coordinator", c.coordinatorAddr, "--data", filepath.Join(dir, "here"))))
	c.waitDone(id)
	require.Equal(t, want, digests(t, c.results(id)))
	require.Len(t, want, 2)
	_, err := os.Stat(only(t, filepath.Join(dir, "there", "own")))
	require.NoError(t, err)
}
