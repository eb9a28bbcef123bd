package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/local"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/leaktest"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/kernel"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const tiny = `
name: tiny
stream: {kind: bit-flip-regression, tasks: 4, examples_per_task: 30}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
arms:
  slow: {}
  fast: {learner: {optimizer: {lr: 0.05}}}
sweep: {arms: {slow: {grid: {learner.optimizer.lr: [0.01, 0.02]}}}}
seeds: {count: 2}
`

// failing is an experiment of which a run fails: the weights that it starts from are of
// another network.
const failing = `
name: failing
stream: {kind: bit-flip-regression, tasks: 4, examples_per_task: 30}
learner: {network: {kind: mlp, hidden: [5]}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
needs: {pre: {arm: a, artifact: weights}}
arms: {a: {}, b: {learner: {network: {hidden: [6], weights: {artifact: pre}}}}}
`

// diverging is an experiment of which a run diverges.
const diverging = `
name: diverging
stream: {kind: bit-flip-regression, tasks: 4, examples_per_task: 3000}
learner: {network: {kind: mlp, hidden: [20, 20]}, optimizer: {kind: sgd, lr: 1000}}
probes: [{kind: loss}]
arms: {hot: {}, cold: {learner: {optimizer: {lr: 0.001}}}}
`

// testStack starts a whole cluster for a test.
func testStack(t *testing.T, workers int) *wiring.Stack {
	t.Helper()
	s, err := wiring.StartStack(t.Context(), slog.New(slog.DiscardHandler), wiring.StackConfig{
		Dir: t.TempDir(), Throwaway: true, Data: t.TempDir(), Workers: workers,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// neoteny runs the program in this process.
func neoteny(in string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = Main(args, app.Streams{In: strings.NewReader(in), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestWorkWithACluster(t *testing.T) {
	s := testStack(t, 2)
	at := func(in string, args ...string) (int, string, string) {
		return neoteny(in, append(args, "--coordinator", s.Coordinator)...)
	}

	code, out, errs := at(tiny, "submit", "-", "--request-id", "once")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	require.Regexp(t, `^tiny-[a-z0-9]+\n$`, out)
	code, out, _ = at(tiny, "submit", "-", "--request-id", "once", "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `"existed": true`)
	require.Contains(t, out, id)

	code, out, errs = at("", "watch", id)
	require.Zero(t, code)
	require.Empty(t, out)
	require.Contains(t, errs, id+": done, 100 %, 24/24 tasks, 6/6 runs, 720 steps")
	code, out, _ = at("", "watch", id, "-o", "json")
	require.Zero(t, code)
	require.Contains(t, out, `"state": "done"`)
	require.Contains(t, out, `"steps_done": 720,`)

	page, err := http.Get(s.LiveView())
	require.NoError(t, err)
	lines, err := io.ReadAll(page.Body)
	require.NoError(t, err)
	require.NoError(t, page.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	require.Contains(t, string(lines), `neoteny_arm_metric{arm="fast",experiment="`+id+`",layer="",metric="loss"} `)
	require.Less(t, strings.Count(string(lines), "\n"), 10, "the metrics of the arms, and nothing else: %s", lines)

	code, out, errs = at(tiny, "submit", "-", "--wait")
	require.Zero(t, code, errs)
	other := strings.TrimSpace(out)
	require.NotEqual(t, id, other, "another submission is another experiment")

	code, out, _ = at("", "list")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^`+id+` +done +6/6 +24/24 +100 % `, out)
	require.Less(t, strings.Index(out, other), strings.Index(out, id), "newest first")
	code, out, errs = at("", "list", "--limit", "1", "--state", "done,failed", "--name", "ti")
	require.Zero(t, code)
	require.Contains(t, out, other)
	require.NotContains(t, out, id)
	require.Contains(t, errs, "there are more")
	_, out, _ = at("", "list", "--state", "cancelled", "-o", "json")
	require.JSONEq(t, `{"experiments": [], "next_page_token": ""}`, out)

	code, out, _ = at("", "get", id)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^fast/1 +fast +done +4/4 +\S+ +[0-9a-f]{16}`, out)
	require.Contains(t, out, "lr=0.02")
	digests := func(id string) map[string]string {
		var got struct {
			Experiment struct {
				State string
				Spec  struct{ Stream map[string]any }
			}
			Runs []struct {
				Trial, Digest, State string
				RunKey               string  `json:"run_key"`
				StepsDone            float64 `json:"steps_done"`
				Params               map[string]float64
			}
		}
		_, out, _ := at("", "get", id, "-o", "json")
		require.NoError(t, json.Unmarshal([]byte(out), &got), out)
		require.Equal(t, "done", got.Experiment.State)
		require.NotContains(t, got.Experiment.Spec.Stream, "batch", "what the file does not say")
		for _, r := range got.Runs {
			require.Equal(t, "done", r.State)
			require.Equal(t, 120.0, r.StepsDone)
			require.Len(t, r.RunKey, 64)
			if r.Trial == "slow-0001" {
				require.Equal(t, map[string]float64{"learner.optimizer.lr": 0.02}, r.Params)
			}
		}
		require.Len(t, got.Runs, 6)
		m := map[string]string{}
		for i, r := range got.Runs {
			m[fmt.Sprint(r.Trial, i)] = r.Digest
		}
		return m
	}
	require.Equal(t, digests(id), digests(other))
	code, out, _ = at("", "get", id+"/fast/1")
	require.Zero(t, code)
	require.Contains(t, out, "run key ")
	require.Regexp(t, `(?m)^ *TASK +loss$`, out)
	require.Regexp(t, `(?m)^ *3 +[0-9.]+$`, out)

	code, out, _ = at("", "results", id)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^(loss)? +fast +[0-9]`, out)
	require.Regexp(t, `(?m)^(loss)? +slow lr=0\.01 +[0-9]`, out, "without select, every trial is shown")
	_, out, _ = at("", "results", id, "--format", "json")
	require.Contains(t, out, `"id": "`+id+`"`)
	_, same, _ := at("", "results", id, "-o", "json")
	require.Equal(t, out, same)
	code, _, errs = at("", "results", id, "-o", "json", "--format", "csv")
	require.Equal(t, app.ExitUsage, code)
	require.Contains(t, errs, "exclude each other")
	_, out, _ = at("", "get", id+"/fast/1", "-o", "json")
	var run struct {
		Run   struct{ State string }
		Table struct {
			Rows []struct {
				Task   int
				Values []float64
			}
		}
		Spec struct {
			Stream struct{ Kind string }
		} `json:"resolved_spec"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &run), out)
	require.Equal(t, "done", run.Run.State)
	require.Equal(t, "bit-flip-regression", run.Spec.Stream.Kind)
	require.Len(t, run.Table.Rows, 4)
	require.Positive(t, run.Table.Rows[3].Values[0])
	_, out, _ = at("", "results", id, "--format", "csv")
	require.Equal(t, 1+6*4, strings.Count(out, "\n"))
	_, out, _ = at("", "results", id, "--format", "runs")
	require.Equal(t, 1+6, strings.Count(out, "\n"))
	dir := t.TempDir()
	code, _, errs = at("", "results", id, "--out", dir, "--metrics", s.Metrics)
	require.Zero(t, code, errs)
	require.FileExists(t, filepath.Join(dir, id, "steps", "fast", "1.parquet"))
	code, _, errs = at("", "results", id, "--out", dir, "--metrics", "127.0.0.1:1")
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, "cannot reach metrics service at 127.0.0.1:1")
	require.Contains(t, errs, "--no-steps")
	require.FileExists(t, filepath.Join(dir, id, "steps", "fast", "1.parquet"), "the results of before are still there")

	code, _, errs = at("", "cancel", id)
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, "there is nothing to cancel")
	code, out, errs = at("", "delete", id)
	require.Zero(t, code, errs)
	require.Equal(t, id+": deleted\n", out)
	_, out, _ = at("", "delete", other, "-o", "json")
	require.JSONEq(t, `{"id": "`+other+`", "deleted": true}`, out)
	code, _, errs = at("", "get", id)
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, id)
	require.NotContains(t, errs, "rpc error")
}

func TestArtifacts(t *testing.T) {
	s := testStack(t, 1)
	at := func(args ...string) (int, string, string) {
		return neoteny(tiny, append(args, "--coordinator", s.Coordinator)...)
	}
	code, out, errs := at("submit", "-", "--wait", "--weights")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	code, out, errs = at("artifact", "list", id)
	require.Zero(t, code, errs)
	require.Equal(t, 1+6, strings.Count(out, "\n"))
	require.Regexp(t, `(?m)^`+id+`/fast/1 +weights +[0-9]+ B +[0-9a-f]{16}$`, out)
	dir := t.TempDir()
	file := filepath.Join(dir, "w.safetensors")
	code, _, errs = at("artifact", "get", id+"/fast/1", "weights", "-o", file)
	require.Zero(t, code, errs)
	code, out, errs = neoteny("", "weights", file)
	require.Zero(t, code, errs)
	require.Contains(t, out, "net/hidden1/weight")
	code, _, errs = at("results", id, "--out", dir, "--metrics", s.Metrics, "--weights")
	require.Zero(t, code, errs)
	one, err := os.ReadFile(file)
	require.NoError(t, err)
	two, err := os.ReadFile(filepath.Join(dir, id, "weights", "fast", "1.safetensors"))
	require.NoError(t, err)
	require.Equal(t, one, two)

	code, _, errs = at("artifact", "get", id+"/fast/1", "wights", "-o", file)
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, `has no artifact "wights" (has: weights)`)
	code, _, errs = at("artifact", "list", id+"/fast/7")
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, "has no run "+id+"/fast/7")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing half-written is left")
}

func TestCancel(t *testing.T) {
	s := testStack(t, 0) // no worker is there
	code, out, errs := neoteny(tiny, "submit", "-", "--coordinator", s.Coordinator)
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	code, out, _ = neoteny("", "get", id, "--coordinator", s.Coordinator)
	require.Zero(t, code)
	require.Contains(t, out, id+": pending (")
	for range 2 { // again is no error
		code, _, errs = neoteny("", "cancel", id, "--coordinator", s.Coordinator)
		require.Zero(t, code, errs)
	}
	code, _, errs = neoteny("", "watch", id, "--coordinator", s.Coordinator)
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, "neoteny: "+id+" was cancelled; 0 of 6 runs are done\n")
}

func TestFailedRunsAndMistakesOverTheWire(t *testing.T) {
	s := testStack(t, 1)
	code, _, errs := neoteny(failing, "submit", "-", "--wait", "--coordinator", s.Coordinator)
	require.Equal(t, app.ExitError, code)
	require.Regexp(t, `(?m)^neoteny: 1 of 2 runs of failing-\S+ failed; .neoteny get failing-\S+ --state failed. shows why$`, errs)

	bad := strings.ReplaceAll(strings.ReplaceAll(tiny, "lr: 0.01}", "lrr: 0.01}"), "kind: loss", "kind: los")
	code, _, errs = neoteny(bad, "submit", "-", "--coordinator", s.Coordinator)
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, `neoteny: -: learner.optimizer.lrr: sgd has no such parameter, did you mean "lr"?`)
	require.Contains(t, errs, `neoteny: -: probes[0].kind: unknown probe "los"`)
	require.NotContains(t, errs, "rpc error")

	for _, args := range [][]string{{"watch", "nope"}, {"get", "nope"}, {"get", "nope/a/1"}, {"get", "a/b"}, {"cancel", "nope"}, {"results", "nope"}, {"delete", "nope"}} {
		code, out, errs := neoteny("", append(args, "--coordinator", s.Coordinator)...)
		require.Equal(t, app.ExitError, code, args)
		require.Empty(t, out)
		require.Equal(t, 1, strings.Count(errs, "\n"), "%v: %s", args, errs)
		require.NotContains(t, errs, "rpc error")
	}
}

func TestRunFailsWithItsRuns(t *testing.T) {
	out := t.TempDir()
	code, table, errs := neoteny(failing, "run", "-", "--out", out, "--workers", "1", "--data", t.TempDir())
	require.Equal(t, app.ExitError, code)
	require.Contains(t, table, "Failed runs\n")
	require.Contains(t, errs, "neoteny: 1 of 2 runs failed\n")
	require.Contains(t, errs, "results are in "+out)
	entries, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no state is left")
}

// A run that diverges is a result: all that it measured is there, every table says of
// how many seeds its numbers are, and the exit code is 0 unless --strict asks.
func TestRunsThatDiverge(t *testing.T) {
	out := t.TempDir()
	code, table, errs := neoteny(diverging, "run", "-", "--out", out, "--workers", "1", "--data", t.TempDir())
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^diverging-\S+: done, 1 of 2 runs done, 1 diverged$`, table)
	require.Regexp(t, `(?m)^- +hot +the only seed diverged +0 of 1$`, table)
	require.Regexp(t, `(?m)^diverging-\S+/hot/0: diverged at step \d+ \(task 0\): the loss is \S+; the first value that is not finite is in layer `, table)
	require.NotContains(t, errs, "level=")
	dirs, err := filepath.Glob(filepath.Join(out, "diverging-*"))
	require.NoError(t, err)
	require.Len(t, dirs, 1)
	require.FileExists(t, filepath.Join(dirs[0], "steps", "hot", "0.parquet"), "up to where it diverged")
	tasks, err := os.ReadFile(filepath.Join(dirs[0], "tasks.csv"))
	require.NoError(t, err)
	require.Contains(t, string(tasks), "\ndiverging,hot,hot,,,0,0,diverged,loss,,", "the task that was under way has its row")

	code, _, errs = neoteny(diverging, "run", "-", "--out", out, "--workers", "1", "--data", t.TempDir(), "--strict")
	require.Equal(t, app.ExitError, code)
	require.Regexp(t, `neoteny: 1 of 2 runs of diverging-\S+ diverged\n$`, errs)
}

func TestMissingDatasetIsToldBeforeAnythingStarts(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no go tool that could fetch it
	spec := strings.NewReplacer("kind: bit-flip-regression", "kind: permuted, dataset: mnist").Replace(tiny)
	code, _, errs := neoteny(spec, "run", "-", "--out", t.TempDir(), "--data", t.TempDir())
	require.Equal(t, app.ExitError, code)
	require.Contains(t, errs, "neoteny data import mnist")
	require.NotContains(t, errs, "coordinator")
}

func TestPortInUse(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer lis.Close()
	busy := lis.Addr().String()
	for _, args := range [][]string{
		{"up", "--state-dir", t.TempDir(), "--listen", busy, "--metrics-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"},
		{"metrics", "--dir", t.TempDir(), "--listen", busy},
		{"coordinator", "--etcd", "127.0.0.1:1", "--blob", "mem://", "--listen", busy},
		{"worker", "--etcd", "127.0.0.1:1", "--blob", "mem://", "--http", busy},
	} {
		code, _, errs := neoteny("", args...)
		require.Equal(t, app.ExitError, code, args)
		flag := "--listen"
		if args[0] == "worker" {
			flag = "--http"
		}
		require.Equal(t, "neoteny: port in use: another program listens on "+busy+"; stop it or give another address with "+flag+"\n", errs)
	}

	// A run takes another one.
	other, err := wiring.Listen(busy, "--listen", true)
	require.NoError(t, err)
	defer other.Close()
	require.NotEqual(t, busy, other.Addr().String())
}

func TestStackFailsWithItsParts(t *testing.T) {
	s := testStack(t, 0)
	ctx, cancel := s.With(t.Context())
	defer cancel()
	why := errors.New("disk full")
	s.Fail(why)
	s.Fail(errors.New("an echo"))
	<-ctx.Done()
	require.Equal(t, why, context.Cause(ctx))
}

func TestStateFolderInUse(t *testing.T) {
	dir := t.TempDir()
	cfg := wiring.StackConfig{Dir: dir, Throwaway: true, Data: dir, Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"}}
	log := slog.New(slog.DiscardHandler)
	s, err := wiring.StartStack(t.Context(), log, cfg)
	require.NoError(t, err)
	_, err = wiring.StartStack(t.Context(), log, cfg)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, s.Close())
}

// Ctrl-C ends the command that follows an experiment, and not the experiment.
func TestAnExperimentGoesOnWithoutItsWatcher(t *testing.T) {
	here, there := app.CoordinatorFlag{Coordinator: "localhost:7070"}, app.CoordinatorFlag{Coordinator: "lab:7070"}
	require.EqualError(t, here.GoesOn(app.ErrInterrupted, "x-1"), "interrupted: x-1 goes on; follow it with `neoteny watch x-1`, stop it with `neoteny cancel x-1`")
	require.EqualError(t, there.GoesOn(app.ErrInterrupted, "x-1"), "interrupted: x-1 goes on; follow it with `neoteny watch x-1 --coordinator lab:7070`, stop it with `neoteny cancel x-1 --coordinator lab:7070`")
	require.ErrorIs(t, here.GoesOn(app.ErrInterrupted, "x-1"), app.ErrInterrupted)
	require.Equal(t, io.EOF, here.GoesOn(io.EOF, "x-1"))

	s := testStack(t, 0) // nothing moves
	code, out, errs := neoteny(tiny, "submit", "-", "--coordinator", s.Coordinator)
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	read, write := io.Pipe()
	defer read.Close()
	var said bytes.Buffer
	go func() { // the first line says that it is being watched
		defer write.Close()
		code = Main([]string{"watch", id, "--coordinator", s.Coordinator}, app.Streams{In: strings.NewReader(""), Out: io.Discard, Err: write})
	}()
	lines := bufio.NewReader(read)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, first, id+": pending")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	_, err = io.Copy(&said, lines)
	require.NoError(t, err)
	require.Equal(t, app.ExitInterrupted, code)
	require.Contains(t, said.String(), "neoteny: interrupted: "+id+" goes on; follow it with `neoteny watch "+id+" --coordinator "+s.Coordinator+"`")
	_, out, _ = neoteny("", "get", id, "--coordinator", s.Coordinator)
	require.Contains(t, out, id+": pending")
}

func TestSlowKernelsAreSaidOnce(t *testing.T) {
	restore := kernel.ForceISA(kernel.Generic)
	defer restore()
	code, _, errs := neoteny(tiny, "run", "-", "--out", t.TempDir(), "--workers", "2", "--no-steps", "--data", t.TempDir())
	require.Zero(t, code, errs)
	require.Equal(t, 1, strings.Count(errs, "portable kernels, which are up to 30 times slower"), errs)
}

// The example of the README is an experiment, also with the controls that it names.
func TestExampleOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../../../README.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(readme), "## An experiment\n\n```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	code, out, errs := neoteny(example, "submit", "--dry-run", "-")
	require.Zero(t, code, errs)
	require.Contains(t, out, "is valid: 4 trials")
	require.Contains(t, string(readme), "controls: [fresh-network, linear, normalized-sgd]")
	code, out, errs = neoteny(example+"controls: [fresh-network, linear, normalized-sgd]\n", "submit", "--dry-run", "-")
	require.Zero(t, code, errs)
	require.Contains(t, out, "is valid: 10 trials")
	require.Equal(t, "control linear is without the probe dormant-units: dormant-units needs a network with hidden units; learner.network has none (stream \"permuted\")\n", errs)
}

func TestUnknownPaperIsSaid(t *testing.T) {
	code, _, errs := neoteny("paper: continual-backpro\n"+tiny, "submit", "--dry-run", "-")
	require.Zero(t, code, errs)
	require.Equal(t, "neoteny: -: paper: no paper \"continual-backpro\" in the catalogue, did you mean \"continual-backprop\"?; `neoteny papers` lists them\n", errs)
	_, _, errs = neoteny("paper: continual-backprop\n"+tiny, "submit", "--dry-run", "-")
	require.Empty(t, errs)
}

func TestSentence(t *testing.T) {
	violations, err := status.New(codes.InvalidArgument, "bad").WithDetails(&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "learner.optimizer.lr", Description: "must be above 0"}, {Field: "name", Description: "is missing"}}})
	require.NoError(t, err)
	fields := errors.Join(component.Fieldf("a", "is wrong"), component.Fieldf("b", "too"))
	for want, err := range map[string]error{
		"get experiment x: no such experiment":                                    fmt.Errorf("get experiment x: %w", status.Error(codes.NotFound, "no such experiment")),
		"f.yaml: learner.optimizer.lr: must be above 0\nf.yaml: name: is missing": app.InFile("f.yaml", violations.Err()),
		"f.yaml: a: is wrong\nf.yaml: b: too":                                     app.InFile("f.yaml", fields),
		"plain":                                                                   errors.New("plain"),
	} {
		require.Equal(t, want, app.Sentence(err))
	}
}

func TestRunsOfOneSpecHaveOneName(t *testing.T) {
	a := &app.App{Streams: app.Streams{In: strings.NewReader(tiny)}}
	one, err := a.ReadSpec("-", app.FileFlags{}, 0)
	require.NoError(t, err)
	a.In = strings.NewReader("# a remark\n" + tiny)
	two, err := a.ReadSpec("-", app.FileFlags{}, 0)
	require.NoError(t, err)
	require.Equal(t, local.Digest(one.Spec, ""), local.Digest(two.Spec, ""), "remarks do not matter")
	a.In = strings.NewReader(tiny)
	two, err = a.ReadSpec("-", app.FileFlags{}, 2)
	require.NoError(t, err)
	require.NotEqual(t, local.Digest(one.Spec, ""), local.Digest(two.Spec, ""))
	require.NotEqual(t, local.Digest(one.Spec, ""), local.Digest(one.Spec, "/state"))
}

func TestAgain(t *testing.T) {
	c := local.RunCmd{}
	require.Equal(t, `neoteny run 'my file.yaml' --state-dir '/a b'`, c.Again([]string{"run", "my file.yaml"}, "/a b"))
	c.Keep = true
	require.Equal(t, `neoteny run 'it'\''s' --keep`, c.Again([]string{"run", "it's", "--keep"}, "/x"))
}

func TestLogsGoThroughTheProgress(t *testing.T) {
	var direct, via bytes.Buffer
	w := &app.LogWriter{Out: &direct}
	fmt.Fprint(w, "a")
	w.Through(&via)
	fmt.Fprint(w, "b")
	w.Through(nil)
	fmt.Fprint(w, "c")
	require.Equal(t, "ac", direct.String())
	require.Equal(t, "b", via.String())
}

func TestVerdict(t *testing.T) {
	require.NoError(t, app.VerdictOf(&pb.Experiment{State: pb.ExperimentState_EXPERIMENT_STATE_DONE}))
	require.ErrorContains(t, app.VerdictOf(&pb.Experiment{Id: "x", State: pb.ExperimentState_EXPERIMENT_STATE_CANCELLED, Progress: &pb.Progress{Runs: 3, RunsDone: 1}}), "x was cancelled; 1 of 3 runs are done")
	require.ErrorContains(t, app.VerdictOf(&pb.Experiment{Id: "x", State: pb.ExperimentState_EXPERIMENT_STATE_FAILED, Progress: &pb.Progress{Runs: 3, RunsFailed: 2}}), "2 of 3 runs of x failed")
	require.ErrorContains(t, app.VerdictOf(&pb.Experiment{Id: "x", State: pb.ExperimentState_EXPERIMENT_STATE_FAILED, Message: "expansion broke"}), "x failed: expansion broke")
}
