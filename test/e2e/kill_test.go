//go:build integration

package e2e

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killed is a sweep of which some trials diverge, with a selection and confirmation.
const killed = `# runs that are killed
name: killed
stream: {kind: bit-flip-regression, tasks: 12, examples_per_task: 4000}
learner: {network: {kind: mlp, hidden: [20], activation: leaky-relu}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}, {kind: dormant-units}]
arms: {plain: {}, l2: {learner: {methods: [{kind: l2, lambda: 0.001}]}}}
sweep: {grid: {learner.optimizer.lr: [0.001, 0.01, 1000]}}
select: {value: trial.loss.last(2).mean(), mode: min, confirm_seeds: {count: 2}}
seeds: {count: 3}
segments: {tasks: 1}
claims: [{name: c, value: 'arms["l2"].loss.mean() - arms["plain"].loss.mean()', holds: {gt: 0}}]
`

// TestKilledAtRandomMoments kills a run 20 times at moments drawn at random: the
// files in the end are those of an undisturbed run.
func TestKilledAtRandomMoments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "killed.yaml")
	require.NoError(t, os.WriteFile(file, []byte(killed), 0o644))
	began := time.Now()
	whole := local(t, file)
	took := time.Since(began)
	text, err := os.ReadFile(filepath.Join(whole, "summary.txt"))
	require.NoError(t, err)
	require.Contains(t, string(text), ": done, 16 of 22 runs done, 6 diverged\n")

	draws := rand.New(rand.NewPCG(1, 1))
	for kills := 0; kills < 20; {
		out, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
		for ended := false; !ended; {
			p := start(t, "run", nil, bin, "run", file, "--out", out, "--state-dir", state)
			if kills >= 20 {
				require.NoError(t, <-p.done)
				break
			}
			select {
			case err := <-p.done:
				require.NoError(t, err)
				ended = true
			case <-time.After(time.Duration(draws.Int64N(int64(took)))):
				p.kill()
				kills++
			}
		}
		require.Equal(t, content(t, whole), content(t, only(t, out)))
	}
}

var times = regexp.MustCompile(`"(seconds|created_at|ended_at|attempt)": [^\n]*`)

// content is what is in a folder of results, without what differs from run to run:
// times, durations, and the experiment's id.
func content(t *testing.T, folder string) map[string]string {
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		b = bytes.ReplaceAll(b, []byte(filepath.Base(folder)), []byte("ID"))
		switch filepath.Base(path) {
		case "SHA256SUMS": // of the others
			return err
		case "runs.json", "summary.json":
			b = times.ReplaceAll(b, nil)
		case "runs.csv":
			b = []byte(withoutSeconds(t, path))
		}
		files[name] = string(b)
		return err
	}))
	return files
}

func withoutSeconds(t *testing.T, path string) string {
	var out []string
	column := -1
	for i, row := range readCSV(t, path) {
		for k, name := range row {
			if i == 0 && name == "seconds" {
				column = k
			}
		}
		row[column], row[0] = "", ""
		out = append(out, strings.Join(row, ","))
	}
	return strings.Join(out, "\n")
}
