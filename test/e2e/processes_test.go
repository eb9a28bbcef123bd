//go:build integration

// Package e2e runs the program as users do: as separate processes around an
// external etcd, submitted to with grpcurl, killed in the middle.
package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where `make integration` puts what the tests run.
var (
	bin     = tool("neoteny")
	etcd    = tool("etcd")
	grpcurl = tool("grpcurl")
)

func tool(name string) string {
	p, err := filepath.Abs(filepath.Join("..", "..", "bin", name))
	if err != nil {
		panic(err)
	}
	return p
}

func TestMain(m *testing.M) {
	for _, p := range []string{bin, etcd, grpcurl} {
		if _, err := os.Stat(p); err != nil {
			fmt.Fprintf(os.Stderr, "%v; run these tests with `make integration`\n", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// waitLimit bounds every wait for another process; it is no measurement.
const waitLimit = 5 * time.Minute

// process is a running command whose output is kept.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  string
	done chan error
}

// start runs a command until the test ends; what it printed is shown if the
// test fails.
func start(t *testing.T, name string, env []string, argv ...string) *process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	require.NoError(t, err)
	p := &process{t: t, name: name, cmd: exec.Command(argv[0], argv[1:]...), log: log.Name(), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	require.NoError(t, p.cmd.Start())
	go func() { p.done <- p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(p.log)
			if len(b) > 6000 {
				b = b[len(b)-6000:]
			}
			t.Logf("--- output of %s\n%s", name, b)
		}
	})
	return p
}

// kill is SIGKILL: nothing gets to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	for range p.done { // closed once it has ended
	}
}

// stop is SIGTERM, and returns how the process ended.
func (p *process) stop() error {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.done:
		return err
	case <-time.After(waitLimit):
		return errors.New(p.name + " does not end on SIGTERM")
	}
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// until polls a condition of another process.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, waitLimit, 50*time.Millisecond, what)
}

func run(t *testing.T, stdin []byte, argv ...string) []byte {
	t.Helper()
	out, err := tryRun(t, stdin, argv...)
	require.NoError(t, err, "%s", strings.Join(argv, " "))
	return out
}

func tryRun(t *testing.T, stdin []byte, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%w\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

// cluster is a whole one, part by part.
type cluster struct {
	t                                        *testing.T
	dir                                      string
	etcdAddr, coordinatorAddr, metricsAddr   string
	coordinatorHTTP, metricsHTTP             string
	etcd, coordinatorProcess, metricsProcess *process
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{
		t: t, dir: t.TempDir(),
		etcdAddr: freePort(t), coordinatorAddr: freePort(t), metricsAddr: freePort(t),
		coordinatorHTTP: freePort(t), metricsHTTP: freePort(t),
	}
	c.startEtcd()
	c.startMetrics()
	c.startCoordinator()
	return c
}

func (c *cluster) startEtcd() {
	peer := "http://" + freePort(c.t)
	c.etcd = start(c.t, "etcd", nil, etcd, "--data-dir", filepath.Join(c.dir, "etcd"),
		"--listen-client-urls", "http://"+c.etcdAddr, "--advertise-client-urls", "http://"+c.etcdAddr,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
}

func (c *cluster) startMetrics() {
	c.metricsProcess = start(c.t, "metrics", nil, bin, "metrics", "--dir", filepath.Join(c.dir, "metrics"),
		"--listen", c.metricsAddr, "--http", c.metricsHTTP)
}

func (c *cluster) startCoordinator() {
	c.coordinatorProcess = start(c.t, "coordinator", nil, bin, "coordinator", "--etcd", c.etcdAddr,
		"--blob", filepath.Join(c.dir, "blob"), "--listen", c.coordinatorAddr, "--http", c.coordinatorHTTP)
}

func (c *cluster) startWorker() *process {
	return start(c.t, "worker", nil, bin, "worker", "--etcd", c.etcdAddr, "--blob", filepath.Join(c.dir, "blob"),
		"--metrics", c.metricsAddr, "--slots", "1", "--http", freePort(c.t))
}

// call is grpcurl.
func (c *cluster) call(method string, request any) (map[string]any, error) {
	c.t.Helper()
	b, ok := request.([]byte)
	if !ok {
		var err error
		b, err = json.Marshal(request)
		require.NoError(c.t, err)
	}
	out, err := tryRun(c.t, b, grpcurl, "-plaintext", "-d", "@", c.coordinatorAddr, "neoteny.v1.ExperimentService/"+method)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	require.NoError(c.t, json.Unmarshal(out, &m))
	return m, nil
}

// ready waits until the coordinator answers.
func (c *cluster) ready() {
	c.t.Helper()
	until(c.t, "the coordinator answers", func() bool {
		_, err := c.call("ListExperiments", map[string]any{})
		return err == nil
	})
}

// submit submits a file as the README says: through grpcurl.
func (c *cluster) submit(file string) string {
	c.t.Helper()
	request := run(c.t, nil, bin, "submit", "--dry-run", "--no-reuse", "--output", "json", file)
	var id string
	until(c.t, "the experiment is accepted", func() bool {
		m, err := c.call("SubmitExperiment", request)
		if err != nil {
			return false
		}
		id = m["experiment"].(map[string]any)["id"].(string)
		return true
	})
	return id
}

// segmentsDone is the progress of an experiment; -1 while there is no answer.
func (c *cluster) segmentsDone(id string) int {
	m, err := c.call("GetExperiment", map[string]any{"id": id})
	if err != nil {
		return -1
	}
	e := m["experiment"].(map[string]any)
	if s := e["state"].(string); strings.HasSuffix(s, "FAILED") || strings.HasSuffix(s, "CANCELLED") {
		require.Fail(c.t, "experiment ended", "%v", e)
	}
	p, _ := e["progress"].(map[string]any)
	var n int
	_, _ = fmt.Sscan(fmt.Sprint(p["segmentsDone"]), &n)
	return n
}

func (c *cluster) waitSegments(id string, n int) {
	c.t.Helper()
	until(c.t, fmt.Sprintf("%d segments are done", n), func() bool { return c.segmentsDone(id) >= n })
}

func (c *cluster) waitDone(id string) {
	c.t.Helper()
	until(c.t, "the experiment is done", func() bool {
		m, err := c.call("GetExperiment", map[string]any{"id": id})
		if err != nil {
			return false
		}
		s := m["experiment"].(map[string]any)["state"].(string)
		require.NotContains(c.t, s, "FAILED", "%v", m)
		return s == "EXPERIMENT_STATE_DONE"
	})
}

// results fetches the results folder.
func (c *cluster) results(id string) string {
	c.t.Helper()
	out := c.t.TempDir()
	run(c.t, nil, bin, "results", id, "--coordinator", c.coordinatorAddr, "--metrics", c.metricsAddr, "--out", out)
	return only(c.t, out)
}

// local runs a file in one process and returns its results folder.
func local(t *testing.T, file string, args ...string) string {
	t.Helper()
	out := t.TempDir()
	run(t, nil, append([]string{bin, "run", file, "--out", out}, args...)...)
	return only(t, out)
}

// only returns the one folder in a folder.
func only(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	return filepath.Join(dir, entries[0].Name())
}

// digests reads run digests by trial and seed.
func digests(t *testing.T, folder string) map[string]string {
	t.Helper()
	rows := readCSV(t, filepath.Join(folder, "runs.csv"))
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, name := range []string{"trial", "seed", "digest", "run_key"} {
		require.Contains(t, column, name)
	}
	m := map[string]string{}
	for _, r := range rows[1:] {
		d := r[column["digest"]]
		require.Len(t, d, 64, "run %v has no digest", r)
		m[r[column["trial"]]+"/"+r[column["seed"]]] = d + " " + r[column["run_key"]]
	}
	require.NotEmpty(t, m)
	return m
}

func readCSV(t *testing.T, file string) [][]string {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.NotEmpty(t, rows)
	return rows
}

func get(url string) (string, error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return b.String(), err
}
