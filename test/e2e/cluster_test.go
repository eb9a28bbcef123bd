//go:build integration

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
)

// recipe is the quickstart, with fewer tasks and seeds, and a deferred probe.
func recipe(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../recipes/quickstart.yaml")
	require.NoError(t, err)
	s := string(b)
	for _, r := range [][2]string{{"tasks: 20", "tasks: 10"}, {"seeds: {count: 4}", "seeds: {count: 2}"}, {"segments: {tasks: 4}", "segments: {tasks: 1}"},
		{"{kind: effective-rank, samples: 500}", "{kind: effective-rank, samples: 500, every: 2 tasks, deferred: true}"}} {
		require.Contains(t, s, r[0], "the quickstart has changed: adapt this test")
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	file := filepath.Join(t.TempDir(), "recipe.yaml")
	require.NoError(t, os.WriteFile(file, []byte(s), 0o644))
	return file
}

const (
	recipeRuns  = 4
	recipeSteps = 10 * 3000
)

// TestSameBitsHoweverItIsRun is the promise of the README.
func TestSameBitsHoweverItIsRun(t *testing.T) {
	file := recipe(t)
	folder := local(t, file)
	want := digests(t, folder)
	require.Len(t, want, recipeRuns)

	t.Run("one worker", func(t *testing.T) {
		require.Equal(t, want, digests(t, local(t, file, "--workers", "1")))
	})
	t.Run("other segments", func(t *testing.T) {
		require.Equal(t, want, digests(t, local(t, file, "--segment-tasks", "3")))
	})

	t.Run("separate processes, killed", func(t *testing.T) {
		c := newCluster(t)
		c.ready()
		first, second := c.startWorker(), c.startWorker()
		id := c.submit(file)

		c.waitSegments(id, 2)
		first.kill()
		c.waitSegments(id, 5)
		c.coordinatorProcess.kill()
		c.startCoordinator()
		c.ready()
		third := c.startWorker()
		c.waitSegments(id, 9)
		c.metricsProcess.kill()
		c.startMetrics()
		c.waitSegments(id, 13)
		require.NoError(t, second.stop(), "a drained worker ends well")
		second = c.startWorker()
		c.waitSegments(id, 17)
		third.kill()
		c.waitDone(id)

		folder := c.results(id)
		require.Equal(t, want, digests(t, folder))
		checkSteps(t, folder)

		text, err := get("http://" + c.metricsHTTP + "/metrics")
		require.NoError(t, err)
		require.Contains(t, text, "neoteny_")
		require.NoError(t, second.stop())
		require.NoError(t, c.coordinatorProcess.stop())
	})
	checkSteps(t, folder)
}

// TestSameBitsInAPack: runs of a network so small that workers live through
// several of them in lockstep are the runs that they are alone, also when a
// worker is killed or drained in the middle of a pack.
func TestSameBitsInAPack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "packed.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
name: packed
stream: {kind: bit-flip-regression, tasks: 12, examples_per_task: 10000, flip: all}
learner:
  network: {kind: mlp, hidden: [5], activation: relu}
  optimizer: {kind: sgd, lr: 0.01}
probes: [{kind: loss}, {kind: weight-magnitude}, {kind: dormant-units, every: 5 tasks, deferred: true}]
arms:
  backprop: {}
  continual-backprop:
    learner: {methods: [{kind: continual-backprop, preset: slowly-changing-regression-1e-3}]}
seeds: {count: 9}
segments: {tasks: 2}
`), 0o644))
	want := digests(t, local(t, file, "--workers", "1", "--lanes", "1"))
	require.Len(t, want, 18)

	t.Run("one worker", func(t *testing.T) {
		require.Equal(t, want, digests(t, local(t, file, "--workers", "1")))
	})
	t.Run("separate processes, killed", func(t *testing.T) {
		c := newCluster(t)
		c.ready()
		first := c.startWorker()
		id := c.submit(file)
		c.waitSegments(id, 10)
		first.kill()
		second := c.startWorker()
		c.waitSegments(id, 30)
		require.NoError(t, second.stop(), "a drained worker ends well")
		third := c.startWorker()
		c.waitSegments(id, 50)
		c.coordinatorProcess.kill()
		c.startCoordinator()
		c.ready()
		c.waitDone(id)
		require.Equal(t, want, digests(t, c.results(id)))
		require.NoError(t, third.stop())
		require.NoError(t, c.coordinatorProcess.stop())
	})
}

// TestRunsThatStartFromOthers: the order in which runs wait for each other's
// artifacts and for analyses, and what is killed meanwhile, change no bit.
func TestRunsThatStartFromOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "chain.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
name: chain
stream: {kind: bit-flip-regression, tasks: 6, examples_per_task: 10000, batch: 2}
learner:
  network: {kind: mlp, hidden: [5], norm: batch}
  optimizer: {kind: sgd, lr: 0.01}
probes: [{kind: loss}]
needs: {start: {arm: trunk, artifact: weights}}
arms:
  trunk: {}
  left: {learner: {network: {weights: {artifact: start}}}}
  right: {learner: {network: {weights: {artifact: start, skip: [output]}}}}
  late: {needs: {start: {arm: left}}, learner: {network: {weights: {artifact: start}}}}
analyses:
  line: {kind: linear-mode-connectivity, points: 5, needs: {first: {arm: left, artifact: weights}, second: {arm: right, artifact: weights}}}
seeds: {count: 3}
segments: {tasks: 1}
`), 0o644))
	want := digests(t, local(t, file, "--workers", "1", "--lanes", "1"))
	require.Len(t, want, 15)

	c := newCluster(t)
	c.ready()
	first := c.startWorker()
	id := c.submit(file)
	c.waitSegments(id, 8)
	first.kill()
	second := c.startWorker()
	c.waitSegments(id, 20)
	c.coordinatorProcess.kill()
	c.startCoordinator()
	c.ready()
	third := c.startWorker()
	c.waitSegments(id, 40)
	second.kill()
	c.waitDone(id)
	require.Equal(t, want, digests(t, c.results(id)))
	require.NoError(t, third.stop())
	require.NoError(t, c.coordinatorProcess.stop())
}

// checkSteps holds the per-step data to "nothing lost, nothing doubled".
func checkSteps(t *testing.T, folder string) {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(filepath.Join(folder, "steps"), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p)
		}
		return err
	}))
	require.Len(t, files, recipeRuns)
	type row struct {
		Step   int64   `parquet:"step"`
		Metric string  `parquet:"metric"`
		Layer  string  `parquet:"layer"`
		Value  float32 `parquet:"value"`
	}
	for _, file := range files {
		rows, err := parquet.ReadFile[row](file)
		require.NoError(t, err)
		next := int64(0)
		for _, r := range rows {
			if r.Metric == "online_accuracy" && r.Layer == "" {
				if r.Step != next {
					t.Fatalf("%s: step %d after %d", file, r.Step, next-1)
				}
				next++
			}
		}
		require.EqualValues(t, recipeSteps, next, "%s", file)
	}
}

// TestEtcdGoesAway kills etcd in the middle and brings it back: nothing that
// was committed is lost, and the experiment ends.
func TestEtcdGoesAway(t *testing.T) {
	file := recipe(t)
	c := newCluster(t)
	c.ready()
	c.startWorker()
	c.startWorker()
	id := c.submit(file)
	c.waitSegments(id, 3)
	before := c.segmentsDone(id)
	c.etcd.kill()
	_, err := c.call("SubmitExperiment", map[string]any{"spec": map[string]any{"name": "x"}})
	require.Error(t, err)
	c.startEtcd()
	c.ready()
	require.GreaterOrEqual(t, c.segmentsDone(id), before)
	c.waitDone(id)
}

func TestGrpcurlTellsFieldsOfMistakes(t *testing.T) {
	c := newCluster(t)
	c.ready()
	_, err := c.call("SubmitExperiment", map[string]any{"spec": map[string]any{
		"name":    "typo",
		"stream":  map[string]any{"kind": "bit-flip-regression", "tsaks": 3},
		"learner": map[string]any{"network": map[string]any{"kind": "mlp"}, "optimizer": map[string]any{"kind": "sgd"}},
	}})
	require.ErrorContains(t, err, "InvalidArgument")
	require.ErrorContains(t, err, "stream.tsaks")
	out := string(run(t, nil, grpcurl, "-plaintext", c.coordinatorAddr, "list"))
	for _, service := range []string{"neoteny.v1.ExperimentService", "grpc.health.v1.Health"} {
		require.Contains(t, out, service)
	}
}

// TestLiveView reads /metrics of a run in the middle: what the README promises
// is there, and Prometheus' linter finds nothing to say.
func TestLiveView(t *testing.T) {
	c := newCluster(t)
	c.ready()
	c.startWorker()
	id := c.submit(recipe(t))
	c.waitSegments(id, 2)
	var text string
	until(t, "both arms are in the live view", func() bool {
		var err error
		text, err = get("http://" + c.metricsHTTP + "/metrics")
		require.NoError(t, err)
		return strings.Contains(text, `arm="backprop"`)
	})
	for _, want := range []string{
		`neoteny_arm_metric{arm="backprop",experiment="` + id + `",layer="",metric="online_accuracy"}`,
		`neoteny_arm_metric{arm="backprop",experiment="` + id + `",layer="",metric="dormant_units"}`,
		`neoteny_run_steps_total{arm="backprop",experiment="` + id + `"`,
	} {
		require.Contains(t, text, want)
	}
	coordinator, err := get("http://" + c.coordinatorHTTP + "/metrics")
	require.NoError(t, err)
	for _, page := range []string{text, coordinator} {
		problems, err := promlint.New(strings.NewReader(page)).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
	}
	_, err = c.call("CancelExperiment", map[string]any{"id": id})
	require.NoError(t, err)
	until(t, "the experiment is cancelled", func() bool {
		m, err := c.call("GetExperiment", map[string]any{"id": id})
		return err == nil && m["experiment"].(map[string]any)["state"] == "EXPERIMENT_STATE_CANCELLED"
	})
}
