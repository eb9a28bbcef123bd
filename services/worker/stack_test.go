package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	"neoteny/internal/metricsclient"
	"neoteny/internal/rpc"
	"neoteny/pkg/engine"
	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// record is what a run left behind.
type record struct {
	boundaries []*pb.Boundary
	rows       []*pb.TaskRow
	values     map[int64]float32 // of the loss, by step
}

func (r *record) Rows(rows engine.Rows) error {
	for _, s := range rows.Series {
		if s.Metric == "loss" {
			for i, v := range s.Values {
				r.values[rows.First+int64(i)] = v
			}
		}
	}
	return nil
}

func (r *record) Boundary(b engine.Boundary) error {
	s := sink{}
	if err := s.Boundary(b); err != nil {
		return err
	}
	r.boundaries = append(r.boundaries, s.boundaries...)
	r.rows = append(r.rows, s.rows...)
	return nil
}

// metricsServer acknowledges all it gets and keeps the values of the loss. At
// a given step it holds everything up.
type metricsServer struct {
	pb.UnimplementedMetricsServiceServer
	mu      sync.Mutex
	durable int64
	last    bool
	values  map[int64]float32
	holdAt  int64
	held    chan struct{} // gets a token when it holds
	release chan struct{}
}

func (m *metricsServer) ReportMetrics(s grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp := &pb.ReportMetricsResponse{}
		m.mu.Lock()
		if m.durable >= m.holdAt {
			m.holdAt = math.MaxInt64
			m.held <- struct{}{}
			<-m.release
		}
		for _, b := range req.Batches {
			gap := b.FirstStep > m.durable
			if !gap {
				m.durable = max(m.durable, b.FirstStep+b.NSteps)
				m.last = m.last || b.Last
				for _, c := range b.Columns {
					for i, v := range c.Values {
						if c.Metric == "loss" {
							m.values[b.FirstStep+int64(i)] = v
						}
					}
				}
			}
			resp.Acks = append(resp.Acks, &pb.MetricAck{Run: b.Run, Track: b.Track, DurableStep: m.durable, Gap: gap, Complete: m.last})
		}
		m.mu.Unlock()
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

// miniCoordinator assigns segments as they become free, one task each, and
// reports each segment that is done, and the revision up to which it has.
func miniCoordinator(ctx context.Context, c *cluster.Client, steps, perSegment int64, done chan<- *pb.Segment, seen *atomic.Int64) {
	segments := map[int64]cluster.Change{}
	var worker *cluster.Change
	c.Watch(ctx, func(rev int64, changes []cluster.Change) {
		defer seen.Store(rev)
		for _, ch := range changes {
			switch ch.Kind {
			case cluster.KindWorker:
				worker = &ch
				if ch.Deleted {
					worker = nil
				}
			case cluster.KindSegment:
				old := segments[ch.Ref.FirstStep]
				segments[ch.Ref.FirstStep] = ch
				s := ch.Msg.(*pb.Segment)
				if s.State != pb.SegmentState_SEGMENT_STATE_DONE || old.Msg != nil && old.Msg.(*pb.Segment).State == s.State {
					continue
				}
				done <- s
				if end := s.Result.EndStep; !s.Yielded && end < steps {
					_, _ = c.NextSegment(ctx, s.Ref, ch.Rev.Mod, &pb.Segment{
						Ref:   &pb.SegmentRef{Run: s.Ref.Run, Track: "main", FirstStep: end, EndStep: min(end+perSegment, steps)},
						State: pb.SegmentState_SEGMENT_STATE_PENDING, Start: s.Result.Checkpoint,
					})
				}
			}
		}
		// A conflict here means that more changes come.
		for _, ch := range segments {
			s := ch.Msg.(*pb.Segment)
			switch {
			case s.State == pb.SegmentState_SEGMENT_STATE_PENDING && worker != nil && !worker.Msg.(*pb.Worker).Draining:
				_, _ = c.Assign(ctx, s, ch.Rev.Mod, cluster.Holder{ID: worker.Worker, Rev: worker.Rev}, time.Now())
			case s.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED && worker == nil:
				_, _ = c.Requeue(ctx, s, ch.Rev.Mod, time.Now())
			}
		}
	})
}

// A run that goes through etcd, the blob store, the metrics stream and several
// workers, each drained somewhere in the middle, is the run that one life makes.
func TestARunOverSeveralWorkersIsTheRunOfOneLife(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	spec, err := engine.Resolve(engine.RawSpec{
		Stream: map[string]any{"kind": "bit-flip-regression", "tasks": 40.0, "examples_per_task": 300.0},
		Learner: map[string]any{
			"network":   map[string]any{"kind": "mlp", "hidden": []any{5.0}},
			"optimizer": map[string]any{"kind": "adam", "lr": 0.01},
		},
		Probes: []map[string]any{{"kind": "loss"}, {"kind": "weight-magnitude"}},
	})
	require.NoError(t, err)
	canonical, err := json.Marshal(spec.Canonical())
	require.NoError(t, err)
	steps, perSegment := spec.Steps(), 7*spec.StepsPerTask()

	want := record{values: map[int64]float32{}}
	one, err := engine.New(spec, engine.Env{Seed: 3})
	require.NoError(t, err)
	require.NoError(t, one.Advance(ctx, steps, &want))
	var final bytes.Buffer
	require.NoError(t, one.Save(&final))

	server, err := etcd.Start(ctx, etcd.Config{Dir: t.TempDir(), Throwaway: true})
	require.NoError(t, err)
	defer server.Close()
	bucket, err := blob.Open(ctx, "mem://")
	require.NoError(t, err)
	defer bucket.Close()
	c, err := cluster.Dial(ctx, server.Endpoints(), cluster.Options{Overflow: bucket})
	require.NoError(t, err)
	defer c.Close()

	lis := bufconn.Listen(1 << 20)
	srv, hs := rpc.NewServer(rpc.Config{Logger: slog.New(slog.DiscardHandler)})
	ms := &metricsServer{values: map[int64]float32{}, holdAt: math.MaxInt64, held: make(chan struct{}, 1), release: make(chan struct{})}
	pb.RegisterMetricsServiceServer(srv, ms)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { _ = rpc.Serve(ctx, lis, srv, hs, time.Second) })
	conn, err := rpc.Dial("passthrough:///buf", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return lis.DialContext(ctx)
	}))
	require.NoError(t, err)
	defer conn.Close()

	rec, _, err := c.CreateSubmission(ctx, "r", &pb.ExperimentSpec{Name: "x"}, nil, time.Now())
	require.NoError(t, err)
	_, rev := experimentRev(ctx, t, c, rec.Id)
	_, err = c.AddTrials(ctx, rec.Id, rev, []*pb.TrialRecord{{Name: "t", Arm: "a", CanonicalSpec: canonical}})
	require.NoError(t, err)
	id := rec.Id + "/t/3"
	_, err = c.AddRuns(ctx, rec.Id, rev, []cluster.NewRun{{
		Run:     &pb.Run{Id: id, Experiment: rec.Id, Arm: "a", Trial: "t", Seed: 3, Steps: steps, NumericsVersion: engine.NumericsVersion},
		Segment: &pb.Segment{Ref: &pb.SegmentRef{Run: id, Track: "main", EndStep: perSegment}, State: pb.SegmentState_SEGMENT_STATE_PENDING},
	}})
	require.NoError(t, err)

	done := make(chan *pb.Segment, 1000)
	var seen atomic.Int64
	parts.Go(func() { miniCoordinator(ctx, c, steps, perSegment, done, &seen) })

	got := record{}
	var last *pb.Segment
	yields := 0
	take := func(s *pb.Segment) {
		r, err := c.Result(ctx, s.Result)
		require.NoError(t, err)
		require.EqualValues(t, r.EndStep-s.Ref.FirstStep, r.Metrics.Steps)
		got.boundaries = append(got.boundaries, r.Boundaries...)
		got.rows = append(got.rows, r.Rows...)
		last = s
		if s.Yielded {
			yields++
		}
	}
	for at := int64(0); at < steps; at = last.Result.EndStep {
		drain := at+1000 < steps
		if drain {
			ms.mu.Lock()
			ms.holdAt = at + 1000
			ms.mu.Unlock()
		}
		// Memory for one batch of 100 steps: the life is never far ahead of the
		// metrics service.
		mc, err := metricsclient.New(pb.NewMetricsServiceClient(conn), metricsclient.Config{MemoryBytes: 1, FlushRows: 100})
		require.NoError(t, err)
		w, err := New(Deps{Cluster: c, Blob: bucket, Metrics: mc, Data: &data.Dir{}}, Config{ID: "w", Slots: 1})
		require.NoError(t, err)
		wctx, stop := context.WithCancel(ctx)
		ran := make(chan error, 1)
		go func() { ran <- w.Run(wctx) }()
		if drain {
			<-ms.held
			stop()
			require.Eventually(t, func() bool {
				w.board.mu.Lock()
				defer w.board.mu.Unlock()
				return w.board.closed
			}, time.Minute, time.Millisecond)
			ms.release <- struct{}{}
		} else {
			for last.Result.EndStep < steps {
				take(<-done)
			}
			stop()
		}
		require.NoError(t, <-ran)
		require.NoError(t, mc.Close())
		rev, err := c.Revision(ctx)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return seen.Load() >= rev }, time.Minute, time.Millisecond)
		for len(done) > 0 {
			take(<-done)
		}
	}
	require.Greater(t, yields, 5)

	require.Len(t, got.boundaries, len(want.boundaries))
	for i := range want.boundaries {
		require.Equal(t, want.boundaries[i].String(), got.boundaries[i].String())
		for k, v := range want.rows[i].Values {
			require.Equal(t, math.Float64bits(v), math.Float64bits(got.rows[i].Values[k]))
		}
	}
	b, err := bucket.Get(ctx, last.Result.Checkpoint, 1<<20)
	require.NoError(t, err)
	require.True(t, bytes.Equal(final.Bytes(), b), "the last checkpoint")
	require.True(t, ms.last)
	require.Equal(t, want.values, ms.values)
	require.True(t, strings.HasPrefix(last.Result.Checkpoint.Key, "checkpoints/"+id+"/main/"))
}

// experimentRev waits for an experiment's record and returns its revision.
func experimentRev(ctx context.Context, t *testing.T, c *cluster.Client, id string) (*pb.ExperimentRecord, int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var rec *pb.ExperimentRecord
	var rev int64
	c.Watch(ctx, func(_ int64, changes []cluster.Change) {
		for _, ch := range changes {
			if ch.Kind == cluster.KindExperiment && ch.Experiment == id {
				rec, rev = ch.Msg.(*pb.ExperimentRecord), ch.Rev.Mod
				cancel()
			}
		}
	})
	require.NotNil(t, rec)
	return rec, rev
}
