package local

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/telemetry"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// hold stops a measurement of the probe test-held in the middle, once armed.
var hold = struct {
	sync.Mutex
	armed           bool
	entered, opened chan struct{}
}{}

type heldConfig struct{}

func (heldConfig) Validate() error { return nil }

// heldProbe measures the sum of losses.
type heldProbe struct{}

func (heldProbe) Columns() []probe.Column { return []probe.Column{{Metric: "held"}} }

func (heldProbe) Samples() int { return 10 }

func (heldProbe) Measure(e *learner.Evaluation, values []float32) error {
	var sum float64
	for _, l := range e.Losses {
		sum += float64(l)
	}
	values[0] = float32(sum)
	hold.Lock()
	armed := hold.armed
	hold.armed = false
	hold.Unlock()
	if armed {
		close(hold.entered)
		<-hold.opened
	}
	return nil
}

func init() {
	probe.Register(probe.Info{Info: component.Info{Name: "test-held", Summary: "test"}, Metrics: []probe.Metric{{Metric: "held", Title: "Held"}}, Every: "task", At: "end"}, heldConfig{}, nil,
		func(heldConfig, probe.Env) (probe.Probe, error) { return heldProbe{}, nil })
}

const measured = `
name: measured
stream: {kind: bit-flip-regression, tasks: 12, examples_per_task: 100}
learner: {network: {kind: mlp, hidden: [8]}, optimizer: {kind: adam, lr: 0.01}}
probes: [{kind: loss}%s]
arms:
  adam: {}
  fresh: {learner: {methods: [{kind: fresh-network}]}}
seeds: {count: 2}
segments: {tasks: %d}
`

// heavy are probes that are measured in the runs' lives or, with ", deferred: true", later.
func heavy(deferred string) string {
	return strings.ReplaceAll(`,
  {kind: test-held, every: 2 tasks DEFERRED},
  {kind: curvature, every: 3 tasks, samples: 50, iterations: 5, vectors: 2 DEFERRED},
  {kind: probe-plasticity, every: 4 tasks, at: start, steps: 10, samples: 32 DEFERRED}`, " DEFERRED", deferred)
}

const measuredClaims = `
claims:
  - {name: curvature, value: 'arms["fresh"].hessian_trace.last(1).mean() - arms["adam"].held.final()', holds: {gt: 0}}
  - {name: plasticity, value: 'arms["fresh"].probe_plasticity.first(9).last(1).mean()', holds: {gt: 0}}
`

// TestDeferredMeasurements measures by two workers, one of which is lost in the middle of
// a measurement and comes back to it too late. Task tables, claims and per-step
// data are those of the same probes in the runs' own lives, by one worker.
func TestDeferredMeasurements(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	server, err := etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Throwaway: true})
	require.NoError(t, err)
	defer server.Close()
	var said bytes.Buffer // slog writes to it one line at a time
	log := slog.New(slog.NewTextHandler(&said, nil))
	s, err := wiring.StartStack(ctx, log, wiring.StackConfig{
		Dir: dir, Throwaway: true, Etcd: server.Endpoints(), Data: dir,
		Addresses: wiring.Addresses{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", HTTP: "127.0.0.1:0"},
	})
	require.NoError(t, err)
	closed := sync.OnceValue(s.Close)
	defer func() { _ = closed() }()

	var workers sync.WaitGroup
	defer func() { workers.Wait() }()
	// join starts a worker; cut takes its connection to the cluster, so that its
	// lease ends and nothing that it does is heard of.
	join := func(id string) (cut func()) {
		bucket, err := blob.Open(ctx, filepath.Join(dir, "blob"))
		require.NoError(t, err)
		c, err := cluster.Dial(ctx, server.Endpoints(), cluster.Options{Overflow: bucket})
		require.NoError(t, err)
		wctx, stop := context.WithCancel(context.Background())
		tel := telemetry.New()
		workers.Go(func() {
			defer bucket.Close()
			_ = wiring.RunWorker(wctx, wiring.WorkerParts{
				ID: id, Slots: 1, Spill: filepath.Join(dir, id), Lease: time.Second, Drain: time.Second, Cluster: c, Blob: bucket,
				Metrics: s.MetricsAPI, Data: data.NewDir(dir), DataDir: dir, Log: log, Tel: tel, Counters: telemetry.NewWorker(tel),
			})
		})
		cut = sync.OnceFunc(func() { _ = c.Close(); stop() })
		return cut
	}
	submit := func(spec string) string {
		parsed, err := experiment.Parse([]byte(spec))
		require.NoError(t, err)
		r, err := s.API.SubmitExperiment(ctx, &pb.SubmitExperimentRequest{Spec: parsed})
		require.NoError(t, err)
		return r.Experiment.Id
	}
	done := func(id string) {
		require.Eventually(t, func() bool {
			r, err := s.API.GetExperiment(ctx, &pb.GetExperimentRequest{Id: id})
			require.NoError(t, err)
			require.NotEqual(t, pb.ExperimentState_EXPERIMENT_STATE_FAILED, r.Experiment.State, r.Experiment.Message)
			return r.Experiment.State == pb.ExperimentState_EXPERIMENT_STATE_DONE
		}, time.Minute, 5*time.Millisecond)
	}

	first := join("first")
	defer first()
	inline := submit(fmt.Sprintf(measured+measuredClaims, heavy(""), 12))
	bare := submit(fmt.Sprintf(measured, "", 7))
	done(inline)
	done(bare)

	hold.Lock()
	hold.armed, hold.entered, hold.opened = true, make(chan struct{}), make(chan struct{})
	hold.Unlock()
	open := sync.OnceFunc(func() { close(hold.opened) })
	defer open()
	deferred := submit(fmt.Sprintf(measured+measuredClaims, heavy(", deferred: true"), 5))
	<-hold.entered
	second := join("second")
	defer second()
	first()
	done(deferred)
	open()
	second()
	workers.Wait()

	fetch := func(id string) (*results.Result, string) {
		r, err := results.Fetch(ctx, s.API, id)
		require.NoError(t, err)
		folder, err := r.WriteFolder(ctx, t.TempDir(), s.MetricsAPI)
		require.NoError(t, err)
		return r, folder
	}
	want, wantFolder := fetch(inline)
	got, gotFolder := fetch(deferred)
	plain, _ := fetch(bare)
	require.Len(t, got.Runs, 4)
	for i, r := range got.Runs {
		require.Empty(t, r.Message)
		require.EqualValues(t, 6+4+3-2, r.Asides, "ends of tasks 6 and 12 are measured together")
		require.Equal(t, r.Asides, r.AsidesDone)
		require.Equal(t, columns(want.Runs[i].Table), columns(r.Table))
		require.Equal(t, fmt.Sprint(plain.Runs[i].Table.Boundaries), fmt.Sprint(r.Table.Boundaries), "the life beside which is measured")
		require.Equal(t, plain.Runs[i].Digest, experiment.RunDigest(r.Table.Boundaries))
		require.NotEqual(t, plain.Runs[i].Digest, r.Digest, "what is measured is in the run's digest")

		steps := filepath.Join("steps", r.GetTrial(), fmt.Sprint(r.GetSeed())+".parquet")
		a, err := os.ReadFile(filepath.Join(wantFolder, steps))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(gotFolder, steps))
		require.NoError(t, err)
		require.True(t, bytes.Equal(a, b), steps)
	}
	require.Equal(t, fmt.Sprintf("%+v", want.Summary.Claims), fmt.Sprintf("%+v", got.Summary.Claims))
	require.Len(t, got.Summary.Claims[0].Seeds, 2)
	require.NoError(t, closed())
	require.Regexp(t, `"worker lost, segment queued again" worker=first run=measured-\S+ track=aside-`, said.String())
}

// columns are a task table's values by column, as text, for NaN equals NaN.
func columns(t *pb.TaskTable) map[string]string {
	out := map[string]string{}
	for i, c := range t.Columns {
		var values []float64
		for _, r := range t.Rows {
			values = append(values, r.Values[i])
		}
		out[c.Metric+"/"+c.Layer] = fmt.Sprint(values)
	}
	return out
}
