package metricsclient_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const run = "exp/trial/1"

// testServer is a real metrics service behind an in-memory listener that can be
// killed and started again on the same folder.
type testServer struct {
	t    *testing.T
	dir  string
	conn *grpc.ClientConn

	mu  sync.Mutex
	lis *bufconn.Listener
	srv *grpc.Server
	svc *metrics.Service
	// wrap puts something between the stream and the service.
	wrap func(pb.MetricsServiceServer) pb.MetricsServiceServer
}

func newTestServer(t *testing.T) *testServer {
	s := &testServer{t: t, dir: t.TempDir()}
	s.start()
	conn, err := grpc.NewClient("passthrough:///metrics",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			s.mu.Lock()
			lis := s.lis
			s.mu.Unlock()
			return lis.DialContext(ctx)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: time.Millisecond, Multiplier: 1.2, MaxDelay: 10 * time.Millisecond,
		}}))
	require.NoError(t, err)
	s.conn = conn
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		s.stop()
	})
	return s
}

func (s *testServer) start() {
	svc, err := metrics.New(metrics.Deps{Logger: slog.New(slog.DiscardHandler)}, metrics.Config{Dir: s.dir})
	require.NoError(s.t, err)
	var impl pb.MetricsServiceServer = svc
	if s.wrap != nil {
		impl = s.wrap(svc)
	}
	srv, lis := grpc.NewServer(), bufconn.Listen(1<<20)
	pb.RegisterMetricsServiceServer(srv, impl)
	go func() { _ = srv.Serve(lis) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lis, s.srv, s.svc = lis, srv, svc
}

func (s *testServer) stop() {
	s.srv.Stop()
	require.NoError(s.t, s.svc.Close())
}

func (s *testServer) client(cfg metricsclient.Config) *metricsclient.Client {
	if cfg.BackoffBase == 0 {
		cfg.BackoffBase, cfg.BackoffMax = time.Millisecond, 5*time.Millisecond
	}
	c, err := metricsclient.New(pb.NewMetricsServiceClient(s.conn), cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, c.Close()) })
	return c
}

type point struct {
	step  int64
	value float32
}

// query returns all values of the run by metric.
func (s *testServer) query(id, track string) map[string][]point {
	stream, err := pb.NewMetricsServiceClient(s.conn).QuerySeries(s.t.Context(), &pb.QuerySeriesRequest{Run: id, Track: track}, grpc.WaitForReady(true))
	require.NoError(s.t, err)
	out := map[string][]point{}
	for {
		r, err := stream.Recv()
		if err != nil {
			require.ErrorContains(s.t, err, "EOF")
			return out
		}
		for i, v := range r.Values {
			out[r.Metric] = append(out[r.Metric], point{r.Steps[i], v})
		}
	}
}

// rowsOf makes the block [first, first+n): a dense metric worth its step and one
// at every tenth.
func rowsOf(first, n int64) metric.Rows {
	dense := metric.Series{Column: metric.Column{Metric: "online_accuracy"}}
	sparse := metric.Series{
		Column: metric.Column{Metric: "dormant_units", Layer: "0"}, Offsets: []uint32{},
	}
	for i := range n {
		dense.Values = append(dense.Values, float32(first+i))
		if (first+i)%10 == 0 {
			sparse.Offsets = append(sparse.Offsets, uint32(i))
			sparse.Values = append(sparse.Values, -float32(first+i))
		}
	}
	return metric.Rows{First: first, N: n, Series: []metric.Series{dense, sparse}}
}

// requireSteps holds what is stored against rowsOf.
func requireSteps(t *testing.T, got map[string][]point, first, end int64) {
	t.Helper()
	var dense, sparse []point
	for i := first; i < end; i++ {
		dense = append(dense, point{i, float32(i)})
		if i%10 == 0 {
			sparse = append(sparse, point{i, -float32(i)})
		}
	}
	require.Equal(t, dense, got["online_accuracy"])
	require.Equal(t, sparse, got["dormant_units"])
}

// gate holds every request back until it is opened, and counts.
type gate struct {
	pb.MetricsServiceServer
	mu       sync.Mutex
	open     chan struct{}
	requests int
	batches  int
	largest  int
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) wrap(svc pb.MetricsServiceServer) pb.MetricsServiceServer {
	g.MetricsServiceServer = svc
	return g
}

func (g *gate) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	return g.MetricsServiceServer.ReportMetrics(gatedStream{stream, g})
}

type gatedStream struct {
	grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]
	g *gate
}

func (s gatedStream) Recv() (*pb.ReportMetricsRequest, error) {
	select {
	case <-s.g.open:
	case <-s.Context().Done():
		return nil, s.Context().Err()
	}
	req, err := s.BidiStreamingServer.Recv()
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if err == nil {
		s.g.requests++
		s.g.batches += len(req.Batches)
		s.g.largest = max(s.g.largest, proto.Size(req))
	}
	return req, err
}

// gatedServer is a test server whose requests wait at a gate.
func gatedServer(t *testing.T) (*testServer, *gate) {
	s, g := newTestServer(t), newGate()
	s.stop()
	s.wrap = g.wrap
	s.start()
	return s, g
}

func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == "neoteny_worker_metrics_"+name {
			return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// lockedBuffer is a log that a test reads while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
