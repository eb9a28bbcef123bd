package coordinator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/leaktest"
	"neoteny/internal/telemetry"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// One etcd serves all tests; each has a prefix of its own.
var endpoints []string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "coordinator")
	if err != nil {
		panic(err)
	}
	srv, err := etcd.Start(context.Background(), etcd.Config{Dir: dir, Throwaway: true})
	if err != nil {
		panic(err)
	}
	endpoints = srv.Endpoints()
	code := m.Run()
	srv.Close()
	_ = os.RemoveAll(dir)
	os.Exit(leaktest.Exit(code))
}

var prefixes atomic.Int64

const (
	limit = 20 * time.Second // of waiting for what must happen
	poll  = 2 * time.Millisecond
)

// world is a cluster with everything but coordinators and workers.
type world struct {
	t       require.TestingT
	ctx     context.Context
	cluster *cluster.Client
	blob    *blob.Bucket
	at      []string
	prefix  string
	close   []func()
	model   *fakeModel
	cfg     Config
	tel     *telemetry.Telemetry
	mute    atomic.Bool // workers publish nothing

	svc  *Service
	stop func()
	log  io.Writer // of the coordinators that start; nil: it is not read
}

func newWorld(t require.TestingT) *world { return newWorldAt(t, endpoints) }

func newWorldAt(t require.TestingT, at []string) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, at: at, prefix: fmt.Sprintf("/t%d/", prefixes.Add(1)), model: &fakeModel{}}
	w.cfg = Config{NumericsVersion: 1, WatchInterval: time.Millisecond, RetryPause: -1, Tick: 10 * time.Millisecond}
	var err error
	w.blob, err = blob.Open(ctx, "mem://")
	require.NoError(t, err)
	w.cluster = w.dial()
	w.close = append(w.close, func() { _ = w.blob.Close() }, cancel)
	return w
}

// setup is newWorld with a coordinator, all closed at the end of the test.
func setup(t *testing.T) *world {
	w := newWorld(t)
	t.Cleanup(w.end)
	w.start()
	return w
}

func (w *world) dial() *cluster.Client {
	c, err := cluster.Dial(w.ctx, w.at, cluster.Options{Prefix: w.prefix, Overflow: w.blob})
	require.NoError(w.t, err)
	w.close = append(w.close, func() { _ = c.Close() })
	return c
}

func (w *world) end() {
	w.kill()
	for i := len(w.close) - 1; i >= 0; i-- {
		w.close[i]()
	}
}

// start makes a coordinator with nothing but what is in etcd.
func (w *world) start() {
	w.tel = telemetry.New() // as in a new process
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("NEOTENY_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if w.log != nil {
		log = slog.New(slog.NewTextHandler(w.log, nil))
	}
	svc, err := New(Deps{Cluster: w.cluster, Blob: w.blob, Model: w.model, Logger: log, Registerer: w.tel.Registerer()}, w.cfg)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = svc.Run(ctx)
	}()
	w.svc = svc
	w.stop = func() { cancel(); <-done }
}

// kill stops the coordinator where it stands.
func (w *world) kill() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *world) eventually(cond func() bool, what string, args ...any) {
	require.Eventually(w.t, cond, limit, poll, append([]any{what}, args...)...)
}

func (w *world) submit(name string, s shape) string {
	r, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{RequestId: name, Spec: s.spec(name), NoReuse: true})
	require.NoError(w.t, err)
	return r.Experiment.Id
}

func (w *world) get(id string) *pb.Experiment {
	r, err := w.svc.GetExperiment(w.ctx, &pb.GetExperimentRequest{Id: id})
	require.NoError(w.t, err)
	return r.Experiment
}

func (w *world) run(id string) *pb.GetRunResponse {
	r, err := w.svc.GetRun(w.ctx, &pb.GetRunRequest{Id: id})
	require.NoError(w.t, err)
	return r
}

func (w *world) runs(id string, states ...pb.RunState) []*pb.Run {
	r, err := w.svc.ListRuns(w.ctx, &pb.ListRunsRequest{Experiment: id, PageSize: 1000, States: states})
	require.NoError(w.t, err)
	return r.Runs
}

func (w *world) waitState(id string, want pb.ExperimentState) *pb.Experiment {
	w.eventually(func() bool { return w.get(id).State == want }, "%s is to be %s", id, want)
	return w.get(id)
}

// mirrored looks at what the coordinator's mirror shows.
func (w *world) mirrored(fn func(*mirror.State)) { w.svc.mirror.Read(fn) }

// rest waits until the coordinator has nothing to do but wait for workers.
func (w *world) rest() {
	w.eventually(func() (yes bool) {
		w.mirrored(func(st *mirror.State) {
			now := w.svc.at(st)
			yes = st.Rev > 0 && len(now.Upkeep()) == 0 && len(now.Assign()) == 0
		})
		return yes
	}, "the coordinator is to come to rest")
}
