//go:build kube

// Package kube deploys deploy/k8s to a real Kubernetes and does there what
// people and nodes do to pods: see `make test-kube`.
package kube

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/test/internal/deploytest"
)

const namespace = "neoteny"

// world is a deployment under test.
type world struct {
	t       *testing.T
	kubectl string
	api     deploytest.API
	ports   [2]*forward // coordinator, metrics
	watcher *watcher
}

func (w *world) kube(args ...string) string {
	w.t.Helper()
	return deploytest.Run(w.t, append([]string{w.kubectl, "-n", namespace}, args...)...)
}

// apply applies and holds the API server to no warning: restricted pod security
// warns of every pod that it would not admit.
func (w *world) apply(stdin string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(w.kubectl, append([]string{"apply"}, args...)...)
	cmd.Dir, cmd.Stdin = deploytest.Root(w.t), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	deploytest.NoWarnings(w.t, string(out))
	w.t.Logf("kubectl apply %s\n%s", strings.Join(args, " "), out)
}

// forward is a `kubectl port-forward` that is begun anew when its pod is gone.
type forward struct {
	w       *world
	service string
	port    string
	mu      sync.Mutex
	cmd     *exec.Cmd
	local   string
	ended   chan struct{}
}

func (f *forward) address() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cmd != nil {
		select {
		case <-f.ended:
		default:
			return "127.0.0.1:" + f.local
		}
	}
	f.local = deploytest.FreePort(f.w.t)
	f.cmd = exec.Command(f.w.kubectl, "-n", namespace, "port-forward", "svc/"+f.service, f.local+":"+f.port)
	var out lockedBuffer
	f.cmd.Stdout, f.cmd.Stderr = &out, &out
	if err := f.cmd.Start(); err != nil {
		f.cmd = nil
		return "127.0.0.1:" + f.local
	}
	ended := make(chan struct{})
	f.ended = ended
	go func(cmd *exec.Cmd) { _ = cmd.Wait(); close(ended) }(f.cmd)
	for range 100 { // until it listens; who calls tries again where it does not
		if strings.Contains(out.String(), "Forwarding") || strings.Contains(out.String(), "rror") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "127.0.0.1:" + f.local
}

func (f *forward) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cmd != nil {
		_ = f.cmd.Process.Kill()
		<-f.ended
		f.cmd = nil
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// watcher follows the logs of every worker pod, so that what a worker said as it
// went is still there when it is gone.
type watcher struct {
	w    *world
	dir  string
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	seen map[string]bool
}

func (w *world) watchWorkers() *watcher {
	x := &watcher{w: w, dir: w.t.TempDir(), stop: make(chan struct{}), seen: map[string]bool{}}
	x.done.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-x.stop:
				return
			case <-tick.C:
			}
			out, err := exec.Command(w.kubectl, "-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=worker",
				"-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name}{"\n"}{end}`).Output()
			if err != nil {
				continue
			}
			for _, pod := range strings.Fields(string(out)) {
				x.follow(pod)
			}
		}
	})
	w.t.Cleanup(func() {
		select {
		case <-x.stop:
		default:
			close(x.stop)
		}
		x.done.Wait()
		if w.t.Failed() {
			for pod := range x.seen {
				w.t.Logf("--- %s\n%s", pod, x.log(pod))
			}
		}
	})
	return x
}

func (x *watcher) follow(pod string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seen[pod] {
		return
	}
	x.seen[pod] = true
	f, err := os.Create(filepath.Join(x.dir, pod))
	if err != nil {
		return
	}
	cmd := exec.Command(x.w.kubectl, "-n", namespace, "logs", "-f", pod)
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.Start() != nil {
		f.Close()
		return
	}
	x.done.Go(func() {
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-x.stop:
			_ = cmd.Process.Kill()
			<-ended
		}
		f.Close()
	})
}

func (x *watcher) log(pod string) string {
	b, _ := os.ReadFile(filepath.Join(x.dir, pod))
	return string(b)
}

// workers returns the pods of workers that are ready and stay.
func (w *world) workers() []string {
	out := w.kube("get", "pods", "-l", "app.kubernetes.io/component=worker", "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
	var pods []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == "True" {
			pods = append(pods, f[0])
		}
	}
	return pods
}

func (w *world) waitWorkers(n int) []string {
	w.t.Helper()
	var pods []string
	deploytest.Until(w.t, fmt.Sprintf("%d workers are ready", n), func() bool {
		pods = w.workers()
		return len(pods) == n
	})
	return pods
}

// made reads a worker's counter of steps from its live pod.
func (w *world) made(pod string) (float64, bool) {
	out, err := deploytest.Try(w.t, nil, w.kubectl, "get", "--raw", "/api/v1/namespaces/"+namespace+"/pods/"+pod+":7091/proxy/metrics")
	if err != nil {
		return 0, false
	}
	return deploytest.Series(string(out), "neoteny_worker_steps_total")
}

func setup(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, kubectl: deploytest.Tool(t, "kubectl", "KUBECTL")}
	load := strings.Fields(os.Getenv("KUBE_LOAD"))
	if len(load) == 0 {
		t.Fatal("say in KUBE_LOAD how the cluster gets local images: the command that their names are appended to, such as KUBE_LOAD='kind load docker-image'; kubectl's own settings (KUBECONFIG) say which cluster")
	}
	if out, err := deploytest.Try(t, nil, w.kubectl, "get", "namespace", namespace, "--ignore-not-found", "-o", "name"); err != nil || len(out) > 0 {
		t.Fatalf("the cluster must be there and have no namespace %s: this test deletes it in the end (%s, %v)", namespace, out, err)
	}
	deploytest.Images(t)
	deploytest.Run(t, append(load, deploytest.Image, deploytest.EtcdImage, deploytest.DataImage)...)
	for i, s := range [][2]string{{"coordinator", "7070"}, {"metrics", "7080"}} {
		w.ports[i] = &forward{w: w, service: s[0], port: s[1]}
		t.Cleanup(w.ports[i].stop)
	}
	w.api = deploytest.API{T: t, Address: w.ports[0].address}
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "all,pvc", "-o", "wide"}, {"get", "events"}, {"logs", "deploy/coordinator", "--tail=60"}, {"logs", "metrics-0", "--tail=60"}} {
				out, _ := exec.Command(w.kubectl, append([]string{"-n", namespace}, args...)...).CombinedOutput()
				t.Logf("--- kubectl %v\n%s", args, out)
			}
		}
		_, _ = deploytest.Try(t, nil, w.kubectl, "delete", "namespace", namespace, "--timeout=180s")
	})
	return w
}

// loader fills the volume of datasets from an image, where the mirrors are out
// of reach.
const loader = `
apiVersion: batch/v1
kind: Job
metadata: {name: data, namespace: neoteny}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: data
          image: ` + deploytest.DataImage + `
          imagePullPolicy: IfNotPresent
          args: [data, import, mnist, --from=/datasets/mnist]
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
      volumes:
        - {name: data, persistentVolumeClaim: {claimName: data}}
        - {name: tmp, emptyDir: {}}
`

// TestSameBitsOnKubernetes is the whole life of a deployment: applied without
// data, repaired, disturbed in every part, scaled up and down, and in the end the
// same bits as on this machine.
func TestSameBitsOnKubernetes(t *testing.T) {
	w := setup(t)
	want := deploytest.Digests(t, deploytest.Local(t, deploytest.Quickstart))

	w.apply("", "-k", "deploy/k8s/overlays/single")
	w.kube("delete", "job", "data") // the mirrors' place is taken by an image
	w.kube("rollout", "status", "statefulset/etcd", "deployment/coordinator", "--timeout=300s")
	w.kube("rollout", "status", "statefulset/metrics", "--timeout=300s")
	w.watcher = w.watchWorkers()

	// Without its dataset the experiment waits and says for what.
	id := w.api.Submit(deploytest.Quickstart)
	deploytest.Until(t, "the experiment says that the dataset is missing", func() bool {
		_, message, _ := w.api.Experiment(id)
		return strings.Contains(message, "lacks mnist in /data; run `neoteny data import mnist` there")
	})
	out := deploytest.Run(t, deploytest.Built(t, "neoteny"), "get", id, "--coordinator", w.ports[0].address())
	require.Contains(t, out, "lacks mnist in /data", "why runs are pending")
	deploytest.Until(t, "the pod's events say it too", func() bool {
		return strings.Contains(w.kube("get", "events", "--field-selector", "reason=Unhealthy"), "dataset mnist")
	})
	w.apply(loader, "-f", "-")
	pod := w.waitWorkers(1)[0]

	// A worker is deleted in the middle: it hands over what it has.
	w.api.WaitSegments(id, 3)
	w.kube("delete", "pod", pod, "--wait=false")
	w.api.WaitSegments(id, 6)
	w.kube("delete", "pod", "-l", "app.kubernetes.io/component=coordinator", "--wait=false")
	w.api.WaitSegments(id, 9)
	w.kube("delete", "pod", "metrics-0", "--wait=false")
	w.api.WaitSegments(id, 12)

	w.kube("scale", "deployment/worker", "--replicas=3")
	pods := w.waitWorkers(3)
	w.api.WaitSegments(id, 18)
	// One is deleted by force: a kubelet gives it two seconds all the same. What
	// SIGKILL does is test/compose's.
	killed := pods[0]
	before, ok := w.made(killed)
	require.True(t, ok)
	w.kube("delete", "pod", killed, "--grace-period=0", "--force")
	w.api.WaitSegments(id, 28)
	w.kube("scale", "deployment/worker", "--replicas=1")
	w.api.WaitDone(id)

	deploytest.Until(t, "one worker is left", func() bool {
		return len(strings.Fields(w.kube("get", "pods", "-l", "app.kubernetes.io/component=worker", "-o", "name"))) == 1
	})
	folder := deploytest.Results(t, id, w.ports[0].address(), w.ports[1].address())
	require.Equal(t, want, deploytest.Digests(t, folder))
	deploytest.CheckSteps(t, folder)
	w.account(killed, before)

	t.Run("bad deployments say what is wrong", w.badDeployments)
}

// account adds up the steps that all workers made; what is beyond those of the
// runs was computed again.
func (w *world) account(killed string, before float64) {
	w.t.Helper()
	const runs = deploytest.QuickstartRuns * deploytest.QuickstartSteps
	sum, drained := 0.0, 0
	w.watcher.mu.Lock()
	defer w.watcher.mu.Unlock()
	for pod := range w.watcher.seen {
		var n float64
		log := w.watcher.log(pod)
		if _, after, ok := strings.Cut(log, "worker drained"); ok {
			drained++
			_, steps, ok := strings.Cut(after, "steps_made=")
			require.True(w.t, ok, log)
			_, err := fmt.Sscan(steps, &n)
			require.NoError(w.t, err)
		} else if pod == killed {
			n = before
		} else if live, ok := w.made(pod); ok {
			n = live
		}
		w.t.Logf("%s made %.0f steps", pod, n)
		sum += n
	}
	require.GreaterOrEqual(w.t, drained, 3, "deleted and scaled down workers drain")
	again := sum - runs
	w.t.Logf("computed again: %.0f of %d steps (%.2f %%); a segment has %d", again, runs, 100*again/runs, deploytest.QuickstartSteps/5)
	require.LessOrEqual(w.t, again, float64(deploytest.QuickstartSteps/5), "at most the segment that the worker deleted by force had")
}

// badDeployments breaks one thing after the other in the deployment that is up.
func (w *world) badDeployments(t *testing.T) {
	const file = "recipes/continual-backprop/bit-flip-regression.yaml"
	w.kube("set", "env", "deployment/worker", "NEOTENY_ISA=abacus")
	id := w.api.Submit(file)
	deploytest.Until(t, "an instruction set that the worker lacks is why the experiment waits", func() bool {
		_, message, _ := w.api.Experiment(id)
		return strings.Contains(message, "no worker can work") && strings.Contains(message, "NEOTENY_ISA=abacus")
	})
	deploytest.Until(t, "the pod's events say it too", func() bool {
		return strings.Contains(w.kube("get", "events", "--field-selector", "reason=Unhealthy"), "NEOTENY_ISA=abacus")
	})
	_, err := w.api.Call("CancelExperiment", map[string]any{"id": id})
	require.NoError(t, err)

	w.kube("scale", "statefulset/etcd", "--replicas=0")
	deploytest.Until(t, "the coordinator's events say that etcd is away", func() bool {
		return strings.Contains(w.kube("get", "events", "--field-selector", "reason=Unhealthy"), "not ready: etcd:")
	})
	w.kube("delete", "pod", "-l", "app.kubernetes.io/component=coordinator", "--wait=false")
	deploytest.Until(t, "a new one says what it waits for", func() bool {
		return strings.Contains(w.kube("get", "events", "--field-selector", "reason=Unhealthy"), "waiting for etcd at etcd:2379")
	})
	deploytest.Until(t, "its log says it too", func() bool {
		out, err := deploytest.Try(t, nil, w.kubectl, "-n", namespace, "logs", "-l", "app.kubernetes.io/component=coordinator", "--tail=-1")
		return err == nil && strings.Contains(string(out), "waiting for etcd at etcd:2379")
	})
}
