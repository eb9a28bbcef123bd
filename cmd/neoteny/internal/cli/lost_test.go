package cli

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/cmd/neoteny/internal/cli/wiring"
	pb "neoteny/proto/neoteny/v1"
)

// only returns the one file or folder that matches.
func only(t *testing.T, pattern ...string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(pattern...))
	require.NoError(t, err)
	require.Len(t, found, 1, "%s", filepath.Join(pattern...))
	return found[0]
}

// bite flips a bit in the middle of a file.
func bite(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o644))
}

// same compares the folders of results of one experiment but for what tells when and
// how often its runs were made.
func same(t *testing.T, a, b string, but ...string) {
	t.Helper()
	n := 0
	require.NoError(t, filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(a, path)
		require.NoError(t, err)
		if d.IsDir() || slices.Contains(but, rel) || rel == "runs.csv" || rel == "runs.json" || rel == "SHA256SUMS" || strings.HasPrefix(rel, "summary") {
			return nil
		}
		n++
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(b, rel))
		require.NoError(t, err)
		named := func(b []byte, dir string) []byte {
			return bytes.ReplaceAll(b, []byte(filepath.Base(dir)), []byte("ID"))
		}
		require.True(t, bytes.Equal(named(want, a), named(got, b)), "%s differs", rel)
		return nil
	}))
	require.Greater(t, n, 5)
}

// What the stores have lost of runs that are done is named, never left out in silence,
// and made again where that is asked for: the same files come out.
func TestLostResultsAreNamedAndMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s, err := wiring.StartStack(t.Context(), slog.New(slog.DiscardHandler), wiring.StackConfig{
		Dir: dir, Throwaway: true, Data: dir, Workers: 2,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	results := func(id, out string, args ...string) (int, string, string) {
		return neoteny("", append([]string{"results", id, "--out", out, "--coordinator", s.Coordinator, "--metrics", s.Metrics}, args...)...)
	}
	code, out, errs := neoteny(tiny, "submit", "-", "--wait", "--coordinator", s.Coordinator)
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	whole, cut, again := t.TempDir(), t.TempDir(), t.TempDir()
	code, _, errs = results(id, whole)
	require.Zero(t, code, errs)

	metrics, table := filepath.Join(dir, "metrics", id), filepath.Join(dir, "blob", "experiments", id, "runs")
	require.NoError(t, os.Remove(filepath.Join(metrics, "fast@0@main.parquet")))
	bite(t, filepath.Join(metrics, "fast@1@main.parquet"))
	bite(t, only(t, table, "slow-0000", "0", "table-*.pb"))

	code, _, errs = results(id, cut)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "results of 3 of 6 runs are missing; `neoteny results "+id+" --remake` computes them again")
	require.Regexp(t, id+`/fast/0 +the metrics service has nothing of it`, errs)
	require.Regexp(t, id+`/fast/1 +.*the file is damaged; it is kept as .*fast@1@main.parquet.bad`, errs)
	require.Regexp(t, id+`/slow-0000/0 +the task table is lost: .*content does not match its reference`, errs)
	require.NoFileExists(t, filepath.Join(cut, id, "steps", "fast", "0.parquet"))
	require.FileExists(t, filepath.Join(cut, id, "steps", "slow-0001", "1.parquet"))
	code, _, errs = neoteny("", "results", id, "--coordinator", s.Coordinator)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "results of 1 of 6 runs are missing")

	code, _, errs = results(id, again, "--remake")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "results of 3 runs are lost, and are computed again")
	same(t, filepath.Join(whole, id), filepath.Join(again, id))
	runs := func(dir string) (out []string) {
		b, err := os.ReadFile(filepath.Join(dir, id, "runs.csv"))
		require.NoError(t, err)
		for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			out = append(out, strings.Join(strings.Split(l, ",")[:9], ","))
		}
		return out
	}
	require.Equal(t, runs(whole), runs(again), "digests and run keys")
}

// A cancelled experiment is taken up again where its runs are committed.
func TestRetryOfACancelledExperiment(t *testing.T) {
	s := testStack(t, 1)
	const long = `
name: long
stream: {kind: bit-flip-regression, tasks: 40, examples_per_task: 5000}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
seeds: {count: 2}
segments: {tasks: 1}
`
	at := func(args ...string) (int, string, string) {
		return neoteny(long, append(args, "--coordinator", s.Coordinator)...)
	}
	_, out, _ := at("submit", "-", "--wait")
	whole := strings.TrimSpace(out)
	_, out, _ = at("submit", "-", "--no-reuse")
	id := strings.TrimSpace(out)
	require.Eventually(t, func() bool {
		e, err := s.API.GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: id})
		return err == nil && e.Experiment.Progress.TasksDone > 2
	}, time.Minute, time.Millisecond)
	code, _, errs := at("cancel", id)
	require.Zero(t, code, errs)
	at("watch", id)
	e, err := s.API.GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: id})
	require.NoError(t, err)
	require.Equal(t, pb.ExperimentState_EXPERIMENT_STATE_CANCELLED, e.Experiment.State)

	code, _, errs = at("retry", id, "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, errs, id+": 2 runs are taken up again")
	digests := func(id string) (out []string) {
		runs, err := s.API.ListRuns(t.Context(), &pb.ListRunsRequest{Experiment: id})
		require.NoError(t, err)
		for _, r := range runs.Runs {
			require.Equal(t, pb.RunState_RUN_STATE_DONE, r.State)
			out = append(out, r.Digest)
		}
		return out
	}
	require.Equal(t, digests(whole), digests(id))
	code, _, errs = at("retry", id)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "has no run that failed or was cancelled")
	code, _, errs = at("retry", id, "--state-dir", t.TempDir())
	require.Equal(t, 2, code)
	require.Contains(t, errs, "is no state folder of neoteny")
}

// An experiment that is extended has the tables of one that was submitted whole, and the
// runs that it had are not made again.
func TestExtend(t *testing.T) {
	s := testStack(t, 2)
	const small = `
name: small
stream: {kind: bit-flip-regression, tasks: 3, examples_per_task: 30}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
arms: {slow: {}}
sweep: {random: {count: 2, seed: 3, params: {learner.optimizer.lr: {log_uniform: [0.001, 0.1]}}}}
seeds: {count: 2}
`
	at := func(in string, args ...string) (int, string, string) {
		return neoteny(in, append(args, "--coordinator", s.Coordinator)...)
	}
	_, out, _ := at(strings.NewReplacer("{slow: {}}", "{slow: {}, fast: {learner: {rule: {kind: backprop}}}}", "{count: 2}", "{count: 3}", "count: 2, seed", "count: 4, seed").Replace(small), "submit", "-", "--wait")
	whole := strings.TrimSpace(out)
	code, out, errs := at(small, "submit", "-", "--wait")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	more := filepath.Join(t.TempDir(), "more.yaml")
	require.NoError(t, os.WriteFile(more, []byte("arms:\n  fast: {learner: {rule: {kind: backprop}}}\n"), 0o644))

	code, _, errs = at("", "extend", id, "--seeds", "3", "--trials", "4", "--arms", more, "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, errs, id+": 20 runs more")
	_, want, _ := at("", "results", whole, "--format", "csv")
	code, got, errs := at("", "results", id, "--format", "csv")
	require.Zero(t, code, errs)
	require.Equal(t, want, got)
	e, err := s.API.GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: id})
	require.NoError(t, err)
	require.EqualValues(t, 24, e.Experiment.Progress.RunsDone)

	for wrong, args := range map[string][]string{
		"more of what? Give --seeds, --tasks, --trials or --arms": {},
		"seeds: it has 3 seeds, more than 2":                      {"--seeds", "2"},
		"arms.fast: the experiment has an arm of this name":       {"--arms", more},
		"has all of that already":                                 {"--seeds", "3"},
	} {
		code, _, errs = at("", append([]string{"extend", id}, args...)...)
		require.NotZero(t, code)
		require.Contains(t, errs, wrong)
	}
}

// The same experiment again has the files that it had, at no cost, also when its runs are
// reused; and what is lost of them can be made again.
func TestReuse(t *testing.T) {
	dir := t.TempDir()
	s, err := wiring.StartStack(t.Context(), slog.New(slog.DiscardHandler), wiring.StackConfig{
		Dir: dir, Throwaway: true, Data: dir, Workers: 2,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	submit := func(args ...string) (id, errs string) {
		code, out, errs := neoteny(tiny, append([]string{"submit", "-", "--wait", "--coordinator", s.Coordinator}, args...)...)
		require.Zero(t, code, errs)
		return strings.TrimSpace(out), errs
	}
	results := func(id string, args ...string) string {
		out := t.TempDir()
		code, _, errs := neoteny("", append([]string{"results", id, "--out", out, "--coordinator", s.Coordinator, "--metrics", s.Metrics}, args...)...)
		require.Zero(t, code, errs)
		return filepath.Join(out, id)
	}
	first, errs := submit()
	require.NotContains(t, errs, "reused")
	whole := results(first)
	second, errs := submit()
	require.Contains(t, errs, "6 of 6 runs are reused from earlier experiments; --no-reuse makes them again")
	require.EqualValues(t, 720, s.Counters.StepsMade(), "nothing was computed")
	same(t, whole, results(second))

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "metrics", first)))
	again := results(second, "--remake")
	same(t, whole, again)
	require.EqualValues(t, 2*720, s.Counters.StepsMade())
	third, errs := submit("--no-reuse")
	require.NotContains(t, errs, "reused")
	require.EqualValues(t, 3*720, s.Counters.StepsMade())
	same(t, whole, results(third))
}

// Longer runs go on from the end of the shorter ones, without a step made twice, and have
// the files of runs that were as long from the beginning; also where the checkpoint that
// they go on from is lost.
func TestExtendByTasks(t *testing.T) {
	dir := t.TempDir()
	s, err := wiring.StartStack(t.Context(), slog.New(slog.DiscardHandler), wiring.StackConfig{
		Dir: dir, Throwaway: true, Data: dir, Workers: 2,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	const short = `
name: grown
stream: {kind: bit-flip-regression, tasks: 3, examples_per_task: 200}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: adam, lr: 0.01}, methods: [{kind: l2}]}
probes: [{kind: loss}, {kind: weight-magnitude}, {kind: dormant-units}]
arms: {plain: {}, wiped: {learner: {methods: [{kind: fresh-network}]}}}
seeds: {count: 2}
`
	at := func(in string, args ...string) (int, string, string) {
		return neoteny(in, append(args, "--coordinator", s.Coordinator)...)
	}
	save := func(id string) string {
		out := t.TempDir()
		code, _, errs := at("", "results", id, "--out", out, "--metrics", s.Metrics)
		require.Zero(t, code, errs)
		return filepath.Join(out, id)
	}
	code, out, errs := at(strings.Replace(short, "tasks: 3", "tasks: 8", 1), "submit", "-", "--wait", "--no-reuse")
	require.Zero(t, code, errs)
	whole := save(strings.TrimSpace(out))
	for _, lose := range []bool{false, true} {
		code, out, errs = at(short, "submit", "-", "--wait", "--no-reuse")
		require.Zero(t, code, errs)
		id := strings.TrimSpace(out)
		save(id)
		if lose {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "blob", "checkpoints", id)))
		}
		made := s.Counters.StepsMade()
		code, _, errs = at("", "extend", id, "--tasks", "8", "--wait")
		require.Zero(t, code, errs)
		require.EqualValues(t, 4*5*200, s.Counters.StepsMade()-made, "no step that was made before")
		got := save(id)
		same(t, whole, got, "source.yaml") // the file said three tasks
		require.Equal(t, digests(t, whole), digests(t, got))
	}
	code, _, errs = at("", "extend", filepath.Base(whole), "--tasks", "4")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "stream.tasks: it has 8 tasks, more than 4")
}

// digests are the digests and run keys of a folder's runs.
func digests(t *testing.T, dir string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "runs.csv"))
	require.NoError(t, err)
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		out = append(out, strings.Join(strings.Split(l, ",")[5:9], ","))
	}
	return out
}
