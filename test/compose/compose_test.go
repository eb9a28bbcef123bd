//go:build compose

// Package compose runs docker-compose.yml on a real Docker engine: see `make
// test-compose`.
package compose

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/pkg/engine"
	"neoteny/test/internal/deploytest"
)

// The names of images as docker-compose.yml has them.
const prometheusImage = "prom/prometheus:v3.8.0"

// project keeps the test's containers and volumes apart from a user's own.
const project = "neoteny-test"

type world struct {
	t      *testing.T
	docker string
	// ports is a file over docker-compose.yml that puts what it offers on ports
	// that are free: its own may be a user's.
	ports                            string
	coordinator, metrics, prometheus string // addresses
}

func (w *world) args(args ...string) []string {
	return append([]string{w.docker, "compose", "-p", project, "-f", "docker-compose.yml", "-f", w.ports}, args...)
}

// choosePorts makes the file ports.
func (w *world) choosePorts() {
	w.t.Helper()
	file := "services:\n"
	for _, s := range []struct {
		service, port string
		address       *string
	}{{"coordinator", "7070", &w.coordinator}, {"metrics", "7080", &w.metrics}, {"prometheus", "9090", &w.prometheus}} {
		*s.address = "127.0.0.1:" + deploytest.FreePort(w.t)
		file += fmt.Sprintf("  %s: {ports: !override [%q]}\n", s.service, *s.address+":"+s.port)
	}
	w.ports = filepath.Join(w.t.TempDir(), "ports.yml")
	require.NoError(w.t, os.WriteFile(w.ports, []byte(file), 0o644))
}

// compose runs a Compose command; a warning is a failure.
func (w *world) compose(args ...string) string {
	w.t.Helper()
	argv := w.args(args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = deploytest.Root(w.t)
	out, err := cmd.CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	deploytest.NoWarnings(w.t, string(out))
	return string(out)
}

func (w *world) run(args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(deploytest.Run(w.t, append([]string{w.docker}, args...)...))
}

func (w *world) workers() []string { return strings.Fields(w.compose("ps", "-q", "worker")) }

func setup(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, docker: deploytest.Docker(t)}
	deploytest.Images(t)
	w.choosePorts()
	down := func() {
		_, _ = deploytest.Try(t, nil, w.args("--profile", "observability", "down", "-v", "--timeout", "20")...)
	}
	down()
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command(w.docker, w.args("logs", "--no-color", "--tail", "40")[1:]...).CombinedOutput()
			t.Logf("--- logs\n%s", out)
		}
		down()
	})
	return w
}

// TestSameBitsInCompose starts what the README says, disturbs every part, scales
// up and down, and compares the bits with those of this machine.
func TestSameBitsInCompose(t *testing.T) {
	w := setup(t)
	want := deploytest.Digests(t, deploytest.Local(t, deploytest.Quickstart))
	w.compose("config", "-q")
	w.compose("--profile", "observability", "config", "-q")

	// The mirrors' place is taken by an image: what is there is not fetched.
	fill := exec.Command(w.docker, w.args("run", "--rm", "--no-deps", "data")[1:]...)
	fill.Dir, fill.Env = deploytest.Root(t), append(os.Environ(), "NEOTENY_IMAGE="+deploytest.DataImage, "NEOTENY_DATA_FROM=/datasets/mnist")
	out, err := fill.CombinedOutput()
	require.NoError(t, err, "%s", out)
	w.compose("up", "-d", "--no-build")
	w.slow()
	api := deploytest.API{T: t, Address: func() string { return w.coordinator }}
	id := api.Submit(deploytest.Quickstart)
	w.observe(id)

	api.WaitSegments(id, 3)
	w.compose("stop", "worker") // SIGTERM, as a deleted pod
	w.compose("start", "worker")
	api.WaitSegments(id, 6)
	w.compose("kill", "coordinator")
	w.compose("start", "coordinator")
	api.WaitSegments(id, 9)
	w.compose("kill", "metrics")
	w.compose("start", "metrics")
	api.WaitSegments(id, 12)
	w.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "worker=3")
	require.Len(t, w.workers(), 3)
	w.slow()
	api.WaitSegments(id, 18)
	// One is killed in the middle of a segment, without a word.
	killed, before := w.workers()[0], 0.0
	w.run("update", "--restart", "no", killed)
	deploytest.Until(t, "the worker to be killed is in the middle of a segment", func() bool {
		n, ok := w.made(killed)
		into := int(n) % segment
		before = n
		return ok && into > segment/4 && into < segment/2
	})
	w.run("kill", killed)
	logs := w.follow(append(w.workers(), killed))
	api.WaitSegments(id, 28)
	w.compose("up", "-d", "--no-build", "--no-recreate", "--scale", "worker=1")
	api.WaitDone(id)

	w.account(logs, killed, before)
	folder := deploytest.Results(t, id, w.coordinator, w.metrics)
	require.Equal(t, want, deploytest.Digests(t, folder))
	deploytest.CheckSteps(t, folder)

	t.Run("bad deployments say what is wrong", w.badDeployments)
}

// segment is how many steps a segment of the quickstart has.
const segment = deploytest.QuickstartSteps / 5

// made reads a worker's counter of steps.
func (w *world) made(container string) (float64, bool) {
	ip := w.run("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
	_, page, err := deploytest.Get("http://" + ip + ":7091/metrics")
	if err != nil {
		return 0, false
	}
	return deploytest.Series(page, "neoteny_worker_steps_total")
}

// follow keeps the logs of containers from their beginnings, for when they are
// gone.
func (w *world) follow(containers []string) map[string]string {
	w.t.Helper()
	slices.Sort(containers)
	files := map[string]string{}
	for _, c := range slices.Compact(containers) {
		_, files[c] = deploytest.Start(w.t, "worker", w.docker, "logs", "-f", c)
	}
	return files
}

// slow gives each worker a third of a core, so that what is done to the cluster
// is done in the middle of the experiment.
func (w *world) slow() {
	w.t.Helper()
	w.run(append([]string{"update", "--cpus", "0.3"}, w.workers()...)...)
}

// account adds up the steps that all workers made; what is beyond those of the
// runs was computed again. The killed worker's are those just before its death.
func (w *world) account(logs map[string]string, killed string, before float64) {
	w.t.Helper()
	const runs = deploytest.QuickstartRuns * deploytest.QuickstartSteps
	sum := 0.0
	for c, file := range logs {
		state, err := deploytest.Try(w.t, nil, w.docker, "inspect", "-f", "{{.State.Running}}", c)
		running := err == nil && strings.TrimSpace(string(state)) == "true"
		var log []byte
		deploytest.Until(w.t, fmt.Sprintf("the log of %.12s is whole", c), func() bool {
			log, err = os.ReadFile(file)
			require.NoError(w.t, err)
			return running || c == killed || bytes.HasSuffix(bytes.TrimSpace(log), []byte("msg=stopped"))
		})
		made := 0.0 // of all its processes
		for _, part := range strings.Split(string(log), "steps_made=")[1:] {
			var n float64
			_, err := fmt.Sscan(part, &n)
			require.NoError(w.t, err)
			made += n
		}
		if c == killed {
			made += before
		}
		if running { // the killed one too: scaling to 1 has started it again
			n, ok := w.made(c)
			require.True(w.t, ok)
			made += n
		}
		w.t.Logf("%.12s made %.0f steps", c, made)
		sum += made
	}
	again := sum - runs
	w.t.Logf("computed again: %.0f of %d steps (%.2f %%); a segment has %d", again, runs, 100*again/runs, segment)
	require.Greater(w.t, again, 0.0, "a worker was killed in the middle")
	require.LessOrEqual(w.t, again, float64(segment), "no more than the segment that it had")
}

// observe starts the profile's Prometheus, with Debian's program in an image
// of the name that the file uses where it cannot be pulled. Grafana has no such
// package; its files are tested by deploy/grafana and test/prometheus.
func (w *world) observe(id string) {
	w.t.Helper()
	if _, err := deploytest.Try(w.t, nil, w.docker, "image", "inspect", prometheusImage); err != nil {
		program := deploytest.Tool(w.t, "prometheus", "PROMETHEUS")
		deploytest.BuildImage(w.t, prometheusImage, "FROM scratch\nCOPY --chown=65534:65534 . /\nUSER 65534:65534\nENTRYPOINT [\"/prometheus-bin\"]\n", withLibraries(w.t, program))
	}
	w.compose("--profile", "observability", "up", "-d", "--no-build", "--no-recreate", "--no-deps", "prometheus")
	for _, job := range []string{"coordinator", "metrics", "worker"} {
		deploytest.Until(w.t, "Prometheus scrapes the "+job, func() bool {
			_, body, err := deploytest.Get("http://" + w.prometheus + "/api/v1/query?query=up%7Bjob%3D%22" + job + "%22%7D%3D%3D1")
			return err == nil && strings.Contains(body, `"job":"`+job+`"`)
		})
	}
	deploytest.Until(w.t, "the experiment is in Prometheus", func() bool {
		_, body, err := deploytest.Get("http://" + w.prometheus + "/api/v1/query?query=neoteny_arm_metric")
		return err == nil && strings.Contains(body, id)
	})
}

// withLibraries lists a program and the libraries that it is linked to.
func withLibraries(t *testing.T, program string) map[string]string {
	files := map[string]string{"prometheus-bin": program, "prometheus/.keep": "/dev/null"}
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		return files // a static one
	}
	for _, f := range strings.Fields(string(out)) {
		if filepath.IsAbs(f) {
			if real, err := filepath.EvalSymlinks(f); err == nil {
				files[f[1:]] = real
			}
		}
	}
	return files
}

// badDeployments starts services by hand, each with one thing wrong.
func (w *world) badDeployments(t *testing.T) {
	start := func(args ...string) string {
		id := w.run(append([]string{"run", "-d", "--read-only", "--tmpfs", "/tmp"}, args...)...)
		t.Cleanup(func() { _, _ = deploytest.Try(t, nil, w.docker, "rm", "-f", id) })
		return id
	}
	says := func(container, port, want string) {
		t.Helper()
		deploytest.Until(t, "health says: "+want, func() bool {
			out, err := exec.Command(w.docker, "exec", container, "/neoteny", "health", "localhost:"+port).CombinedOutput()
			return err != nil && strings.Contains(string(out), want)
		})
		out, err := exec.Command(w.docker, "logs", container).CombinedOutput()
		require.NoError(t, err)
		require.Contains(t, string(out), want, "the log says it too")
	}
	network := project + "_default"
	says(start("--network", "none", deploytest.Image, "coordinator", "--etcd", "localhost:2379", "--blob", "/tmp/blob"), "7071", "waiting for etcd at localhost:2379")
	says(start(deploytest.Image, "metrics", "--dir", "/var/lib/neoteny/metrics"), "7081", "read-only file system")
	says(start("--network", network, deploytest.Image, "coordinator", "--etcd", "etcd:2379", "--blob", "/var/lib/neoteny/blob"), "7071", "read-only file system")

	// Workers that cannot work are why an experiment waits.
	w.compose("stop", "worker")
	api := deploytest.API{T: t, Address: func() string { return w.coordinator }}
	id := api.Submit(deploytest.Quickstart)
	waits := func(want string) {
		t.Helper()
		deploytest.Until(t, "the experiment waits: "+want, func() bool {
			_, message, _ := api.Experiment(id)
			return strings.Contains(message, want)
		})
	}
	deploytest.OtherNumerics(t)
	worker := func(image string, args ...string) string {
		return start(append(append([]string{"--network", network}, args...), image, "worker", "--etcd", "etcd:2379",
			"--metrics", "metrics:7080", "--require", "mnist", "--spill", "/tmp/spill", "--blob", "/var/lib/neoteny/blob")...)
	}
	waits("none is connected")
	next := fmt.Sprint(engine.NumericsVersion + 1)
	for _, c := range []struct{ want, reason, image, mount, env string }{
		{"read-only file system", "no worker can work (1 of 1)", deploytest.Image, "/var/lib/neoteny:ro", "NEOTENY_ISA="},
		{"NEOTENY_ISA=abacus: want one of", "no worker can work (1 of 1)", deploytest.Image, "/var/lib/neoteny", "NEOTENY_ISA=abacus"},
		{"neoteny data import mnist", "lacks mnist in /data", deploytest.Image, "/var/lib/neoteny", "NEOTENY_ISA="},
		{"deploy both from one image", "those connected have version " + next, deploytest.OtherImage, "/var/lib/neoteny", "NEOTENY_ISA="},
	} {
		container := worker(c.image, "-v", project+"_blob:"+c.mount, "-e", c.env)
		says(container, "7091", c.want)
		waits(c.reason)
		t.Log(deploytest.Run(t, deploytest.Built(t, "neoteny"), "get", id, "--coordinator", w.coordinator))
		w.run("stop", "-t", "20", container)
		deploytest.Until(t, "it is gone", func() bool {
			_, message, _ := api.Experiment(id)
			return strings.Contains(message, "none is connected")
		})
	}
	_, err := api.Call("CancelExperiment", map[string]any{"id": id})
	require.NoError(t, err)
}
