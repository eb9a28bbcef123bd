// Package deploytest is what the tests of deployments share: they run other
// programs, submit the quickstart as the README says, and hold what comes out
// to what `neoteny run` gives on this machine.
package deploytest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
)

// Limit bounds every wait for something else; it is no measurement.
const Limit = 10 * time.Minute

// Root is the top of the module, seen from a package test/NAME.
func Root(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(p, "go.mod"))
	return p
}

// Built is a program that `make` puts into bin.
func Built(t *testing.T, name string) string {
	t.Helper()
	p := filepath.Join(Root(t), "bin", name)
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v; run these tests by their make target (see CONTRIBUTING.md)", err)
	}
	return p
}

// Tool is a program of the system: the one that the environment variable names,
// else the one in PATH.
func Tool(t *testing.T, name, variable string) string {
	t.Helper()
	want := name
	if v := os.Getenv(variable); v != "" {
		want = v
	}
	p, err := exec.LookPath(want)
	if err != nil {
		t.Fatalf("this test needs %s: install it, or say where it is in %s (%v)", name, variable, err)
	}
	return p
}

// Try runs a command and returns what it printed on standard output.
func Try(t *testing.T, stdin []byte, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = Root(t)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// Run is [Try] for commands that must succeed.
func Run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := Try(t, nil, argv...)
	require.NoError(t, err)
	return string(out)
}

// Until polls what others do.
func Until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	begin := time.Now()
	require.Eventually(t, cond, Limit, 200*time.Millisecond, what)
	t.Logf("%s (%.0f s)", what, time.Since(begin).Seconds())
}

// Start runs a command until the test ends and keeps what it prints in a file.
func Start(t *testing.T, name string, argv ...string) (cmd *exec.Cmd, log string) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	require.NoError(t, err)
	cmd = exec.Command(argv[0], argv[1:]...)
	cmd.Dir = Root(t)
	cmd.Stdout, cmd.Stderr = f, f
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); f.Close(); close(done) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("--- output of %s\n%s", name, tail(f.Name()))
		}
	})
	return cmd, f.Name()
}

func tail(file string) []byte {
	b, _ := os.ReadFile(file)
	return b[max(0, len(b)-5000):]
}

// FreePort is a port of the loopback interface that nothing listens on now.
func FreePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// Get reads a page.
func Get(url string) (int, string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return resp.StatusCode, b.String(), err
}

// Quickstart is the recipe that is run everywhere, and what it amounts to.
const (
	Quickstart      = "recipes/quickstart.yaml"
	QuickstartRuns  = 8
	QuickstartSteps = 20 * 3000 // of each run
	quickstartParts = 5         // segments of each run
)

// API speaks to a coordinator through grpcurl.
type API struct {
	T *testing.T
	// Address returns where the coordinator is to be reached now.
	Address func() string
}

// Call is one request; the answer is JSON.
func (a API) Call(method string, request any) (map[string]any, error) {
	a.T.Helper()
	b, ok := request.([]byte)
	if !ok {
		var err error
		b, err = json.Marshal(request)
		require.NoError(a.T, err)
	}
	out, err := Try(a.T, b, Built(a.T, "grpcurl"), "-plaintext", "-max-time", "10", "-d", "@", a.Address(), "neoteny.v1.ExperimentService/"+method)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	require.NoError(a.T, json.Unmarshal(out, &m))
	return m, nil
}

// Submit submits a file as the README says and returns the experiment's id. The
// request carries an id of its own, so asking again makes no second experiment.
func (a API) Submit(file string) string {
	a.T.Helper()
	_ = Built(a.T, "grpcurl") // fails here, not in a goroutine of Until's, whose FailNow has no effect
	request := []byte(Run(a.T, Built(a.T, "neoteny"), "submit", "--dry-run", "--output", "json", file))
	var id string
	Until(a.T, "the experiment is accepted", func() bool {
		m, err := a.Call("SubmitExperiment", request)
		if err != nil {
			return false
		}
		id = m["experiment"].(map[string]any)["id"].(string)
		return true
	})
	return id
}

// Experiment is an experiment's state, message and committed segments; "" while
// there is no answer.
func (a API) Experiment(id string) (state, message string, segments int) {
	m, err := a.Call("GetExperiment", map[string]any{"id": id})
	if err != nil {
		return "", "", -1
	}
	e := m["experiment"].(map[string]any)
	p, _ := e["progress"].(map[string]any)
	_, _ = fmt.Sscan(fmt.Sprint(p["segmentsDone"]), &segments)
	message, _ = e["message"].(string)
	return strings.TrimPrefix(e["state"].(string), "EXPERIMENT_STATE_"), message, segments
}

// WaitSegments waits until n segments of the quickstart are committed.
func (a API) WaitSegments(id string, n int) {
	a.T.Helper()
	Until(a.T, fmt.Sprintf("%d of %d segments are committed", n, QuickstartRuns*quickstartParts), func() bool {
		state, message, done := a.Experiment(id)
		require.NotContains(a.T, []string{"FAILED", "CANCELLED"}, state, message)
		return done >= n
	})
}

// WaitDone waits until the experiment is done.
func (a API) WaitDone(id string) {
	a.T.Helper()
	Until(a.T, "the experiment is done", func() bool {
		state, message, _ := a.Experiment(id)
		require.NotContains(a.T, []string{"FAILED", "CANCELLED"}, state, message)
		return state == "DONE"
	})
}

// Local runs a file in one process on this machine and returns its results.
func Local(t *testing.T, file string) string {
	t.Helper()
	out := t.TempDir()
	Run(t, Built(t, "neoteny"), "run", file, "--out", out)
	return Only(t, out)
}

// Results fetches an experiment's results.
func Results(t *testing.T, id, coordinator, metrics string) string {
	t.Helper()
	out := t.TempDir()
	Run(t, Built(t, "neoteny"), "results", id, "--coordinator", coordinator, "--metrics", metrics, "--out", out)
	return Only(t, out)
}

// Only returns the one folder in a folder.
func Only(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	return filepath.Join(dir, entries[0].Name())
}

// Digests reads run digests and keys by trial and seed.
func Digests(t *testing.T, folder string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(folder, "runs.csv"))
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	m := map[string]string{}
	for _, r := range rows[1:] {
		d := r[column["digest"]]
		require.Len(t, d, 64, "run %v has no digest", r)
		m[r[column["trial"]]+"/"+r[column["seed"]]] = d + " " + r[column["run_key"]]
	}
	require.Len(t, m, QuickstartRuns, "no run is lost or doubled")
	return m
}

// CheckSteps holds the per-step data of the quickstart to "nothing lost, nothing
// doubled".
func CheckSteps(t *testing.T, folder string) {
	t.Helper()
	type row struct {
		Step   int64  `parquet:"step"`
		Metric string `parquet:"metric"`
		Layer  string `parquet:"layer"`
	}
	files := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(folder, "steps"), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		rows, err := parquet.ReadFile[row](p)
		if err != nil {
			return err
		}
		next := int64(0)
		for _, r := range rows {
			if r.Metric == "online_accuracy" && r.Layer == "" {
				if r.Step != next {
					return fmt.Errorf("%s: step %d after %d", p, r.Step, next-1)
				}
				next++
			}
		}
		require.EqualValues(t, QuickstartSteps, next, p)
		return nil
	}))
	require.Equal(t, QuickstartRuns, files)
}

// Series reads the value of a metric without labels, or with exactly those that
// name has, from a page in Prometheus' text format.
func Series(page, name string) (float64, bool) {
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err == nil {
				return v, true
			}
		}
	}
	return 0, false
}
