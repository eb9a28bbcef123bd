package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	"neoteny/internal/rpc"
	"neoteny/pkg/engine"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/metrics"
)

// permutedMNIST is the stream of whole runs: more tasks than any benchmark
// lasts.
func (j job) permutedMNIST() object {
	return object{"kind": "permuted", "tasks": 1e6, "examples_per_task": float64(60000 / j.Batch * j.Batch), "batch": float64(j.Batch)}
}

// prepareLife lives a whole run: stream, learner, probes, recorder, and a sink
// that sends every step's loss and accuracy to the metrics service of the job,
// as a worker's does, or to nowhere.
func prepareLife(j job) (*task, error) {
	l, err := j.spec()
	if err != nil {
		return nil, err
	}
	spec, err := engine.Resolve(engine.RawSpec{
		Stream: j.permutedMNIST(), Learner: l,
		Probes: []map[string]any{{"kind": "loss"}, {"kind": "online-accuracy"}},
	})
	if err != nil {
		return nil, err
	}
	life, err := engine.New(spec, engine.Env{Data: data.NewDir(j.Data)})
	if err != nil {
		return nil, err
	}
	var sink engine.Sink = discard{}
	if j.Metrics != "" {
		if sink, err = newStreamed(j.Metrics); err != nil {
			return nil, err
		}
	}
	const stretch = 1024 // steps of one call
	step := func() error { return life.Advance(context.Background(), life.Step()+stretch, sink) }
	return &task{step: step, units: stretch}, step()
}

type discard struct{}

func (discard) Rows(engine.Rows) error         { return nil }
func (discard) Boundary(engine.Boundary) error { return nil }

// streamed is a sink that ends in the metrics service.
type streamed struct {
	discard
	writer *metricsclient.Writer
	series []metric.Series
}

func newStreamed(address string) (*streamed, error) {
	conn, err := rpc.Dial(address)
	if err != nil {
		return nil, err
	}
	client, err := metricsclient.New(pb.NewMetricsServiceClient(conn), metricsclient.Config{})
	if err != nil {
		return nil, err
	}
	// A run of its own each time: a run's rows follow each other.
	run := fmt.Sprintf("bench/%d/0", time.Now().UnixNano())
	w, err := client.Open(run, "main", "bench", 1, 0)
	if err != nil {
		return nil, err
	}
	return &streamed{writer: w}, nil
}

// Rows implements [engine.Sink].
func (s *streamed) Rows(r engine.Rows) error {
	s.series = s.series[:0]
	for _, x := range r.Series {
		s.series = append(s.series, metric.Series{Column: metric.Column(x.Column), Offsets: x.Offsets, Values: x.Values})
	}
	return s.writer.Append(context.Background(), metric.Rows{First: r.First, N: r.N, Series: s.series})
}

// prepareBare is what a life is held against: the learner and the batches of
// its stream, nothing else.
func prepareBare(j job) (*task, error) {
	raw, err := j.spec()
	if err != nil {
		return nil, err
	}
	resolved, err := stream.Resolve("stream", j.permutedMNIST())
	if err != nil {
		return nil, err
	}
	info, err := resolved.Config.(stream.Config).Info()
	if err != nil {
		return nil, err
	}
	batches, err := resolved.Build(stream.Env{
		Data: data.NewDir(j.Data),
		Key:  func(purpose string) rng.Key { return rng.New(0, "stream/"+purpose) },
	})
	if err != nil {
		return nil, err
	}
	l, err := engine.NewLearner(raw, info, 0)
	if err != nil {
		return nil, err
	}
	if err := batches.Enter(0); err != nil {
		return nil, err
	}
	batch := stream.NewBatch(info, info.Batch)
	var s learner.Step
	index := int64(0)
	step := func() error {
		if task := index / info.StepsPerTask; int(task) != s.Task {
			if err := batches.Enter(int(task)); err != nil {
				return err
			}
		}
		batches.Batch(index%info.StepsPerTask, batch)
		s = learner.Step{Index: index, Task: int(index / info.StepsPerTask), TaskStep: index % info.StepsPerTask, Batch: batch}
		index++
		return l.Step(&s)
	}
	return &task{step: step, units: 1}, nil
}

// metricsService is one in this process, which has the other cores: it waits
// while contestants run.
type metricsService struct {
	address string
	stop    context.CancelFunc
	group   errgroup.Group
	service *metrics.Service
}

func startMetrics(ctx context.Context, dir string) (*metricsService, error) {
	log := slog.New(slog.DiscardHandler)
	service, err := metrics.New(metrics.Deps{Logger: log}, metrics.Config{Dir: filepath.Join(dir, "metrics")})
	if err != nil {
		return nil, err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &metricsService{address: lis.Addr().String(), service: service}
	ctx, m.stop = context.WithCancel(ctx)
	server, health := rpc.NewServer(rpc.Config{Logger: log})
	pb.RegisterMetricsServiceServer(server, service)
	m.group.Go(func() error { return rpc.Serve(ctx, lis, server, health, time.Second) })
	return m, nil
}

func (m *metricsService) close() {
	m.stop()
	_ = m.service.Close() // its streams end first
	_ = m.group.Wait()
}
