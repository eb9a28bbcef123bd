package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"neoteny/pkg/engine/component"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type experiments struct {
	pb.UnimplementedExperimentServiceServer
	get   func(*pb.GetExperimentRequest) (*pb.GetExperimentResponse, error)
	watch func(grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error
}

func (e *experiments) GetExperiment(_ context.Context, r *pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
	return e.get(r)
}

func (e *experiments) SubmitExperiment(context.Context, *pb.SubmitExperimentRequest) (*pb.SubmitExperimentResponse, error) {
	return &pb.SubmitExperimentResponse{}, nil
}

func (e *experiments) WatchExperiment(_ *pb.WatchExperimentRequest, s grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
	return e.watch(s)
}

type metrics struct {
	pb.UnimplementedMetricsServiceServer
}

func (metrics) ReportMetrics(s grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	for {
		if _, err := s.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := s.Send(&pb.ReportMetricsResponse{}); err != nil {
			return err
		}
	}
}

// syncBuffer is a log that may be read while the server writes to it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type fixture struct {
	svc    *experiments
	conn   *grpc.ClientConn
	log    *syncBuffer
	stop   context.CancelFunc
	served chan error
}

func start(t *testing.T, grace time.Duration) *fixture {
	t.Helper()
	f := &fixture{svc: &experiments{}, log: &syncBuffer{}, served: make(chan error, 1)}
	srv, hs := NewServer(Config{Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	pb.RegisterExperimentServiceServer(srv, f.svc)
	pb.RegisterMetricsServiceServer(srv, metrics{})
	lis := bufconn.Listen(1 << 20)
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go func() { f.served <- Serve(ctx, lis, srv, hs, grace) }()
	conn, err := Dial("passthrough:///buf", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return lis.DialContext(ctx)
	}))
	require.NoError(t, err)
	f.conn = conn
	t.Cleanup(func() {
		conn.Close()
		stop()
	})
	return f
}

func TestCallsPassAndAreLogged(t *testing.T) {
	f := start(t, time.Second)
	f.svc.get = func(r *pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
		return &pb.GetExperimentResponse{Experiment: &pb.Experiment{Id: r.GetId()}}, nil
	}
	got, err := pb.NewExperimentServiceClient(f.conn).GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: "x"})
	require.NoError(t, err)
	require.Equal(t, "x", got.GetExperiment().GetId())
	f.stop()
	require.NoError(t, <-f.served)
	require.Contains(t, f.log.String(), "grpc.method=GetExperiment")
	require.Contains(t, f.log.String(), "grpc.code=OK")
}

func TestInvalidRequests(t *testing.T) {
	f := start(t, time.Second)
	c := pb.NewExperimentServiceClient(f.conn)

	_, err := c.GetExperiment(t.Context(), &pb.GetExperimentRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, []Violation{{Field: "id", Problem: "missing"}}, FieldViolations(err))

	two := 2.0
	_, err = c.SubmitExperiment(t.Context(), &pb.SubmitExperimentRequest{Spec: &pb.ExperimentSpec{
		Name:  "ok",
		Seeds: &pb.Seeds{Count: -1},
		Sweep: &pb.Sweep{Arms: map[string]*pb.SweepSpace{"l2": {Random: &pb.RandomSearch{Count: 1, Params: map[string]*pb.Distribution{"learner.optimizer.lr": {}}}}}},
		Claims: []*pb.Claim{
			{Name: "a", Value: "1", Holds: &pb.Bound{Gt: &two}},
			{Name: "", Value: "1", Holds: &pb.Bound{Gt: &two}},
		},
	}})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	var fields []string
	for _, v := range FieldViolations(err) {
		fields = append(fields, v.Field)
		require.NotEmpty(t, v.Problem)
	}
	require.ElementsMatch(t, []string{"seeds.count", `sweep.arms.l2.random.params["learner.optimizer.lr"]`, "claims[1].name"}, fields)
	require.Len(t, strings.Split(Describe(err), "\n"), 3)
	require.Contains(t, Describe(err), "claims[1].name: missing")
}

func TestInvalidMessageInAStream(t *testing.T) {
	f := start(t, time.Second)
	s, err := pb.NewMetricsServiceClient(f.conn).ReportMetrics(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Send(&pb.ReportMetricsRequest{}))
	_, err = s.Recv()
	require.NoError(t, err)
	require.NoError(t, s.Send(&pb.ReportMetricsRequest{Batches: []*pb.MetricBatch{{Run: "r", Columns: []*pb.MetricColumn{{Metric: "Bad Name"}}}}}))
	_, err = s.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, "batches[0].columns[0].metric", FieldViolations(err)[0].Field)
}

func TestPanicBecomesInternalWithTheStackInTheLog(t *testing.T) {
	f := start(t, time.Second)
	f.svc.get = func(*pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) { panic("secret detail") }
	f.svc.watch = func(grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error { panic("in a stream") }
	c := pb.NewExperimentServiceClient(f.conn)
	_, err := c.GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: "x"})
	require.Equal(t, codes.Internal, status.Code(err))
	require.NotContains(t, err.Error(), "secret detail")
	s, err := c.WatchExperiment(t.Context(), &pb.WatchExperimentRequest{Id: "x"})
	require.NoError(t, err)
	_, err = s.Recv()
	require.Equal(t, codes.Internal, status.Code(err))
	f.stop()
	require.NoError(t, <-f.served)
	require.Contains(t, f.log.String(), "secret detail")
	require.Contains(t, f.log.String(), "in a stream")
	require.Contains(t, f.log.String(), "rpc_test.go", "the stack names the place")
}

func TestHealthAndReflection(t *testing.T) {
	f := start(t, time.Second)
	h := healthpb.NewHealthClient(f.conn)
	for _, service := range []string{"", "neoteny.v1.ExperimentService"} {
		got, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.GetStatus())
	}
	r, err := reflectionpb.NewServerReflectionClient(f.conn).ServerReflectionInfo(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}))
	got, err := r.Recv()
	require.NoError(t, err)
	require.Contains(t, got.String(), "neoteny.v1.ExperimentService")
	require.NoError(t, r.CloseSend())
}

// A call under way may finish; health says NOT_SERVING meanwhile.
func TestServeEndsGracefully(t *testing.T) {
	f := start(t, time.Minute)
	entered, finish := make(chan struct{}), make(chan struct{})
	f.svc.get = func(*pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
		close(entered)
		<-finish
		return &pb.GetExperimentResponse{}, nil
	}
	w, err := healthpb.NewHealthClient(f.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	got, err := w.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, got.GetStatus())

	called := make(chan error, 1)
	go func() {
		_, err := pb.NewExperimentServiceClient(f.conn).GetExperiment(context.Background(), &pb.GetExperimentRequest{Id: "x"})
		called <- err
	}()
	<-entered
	f.stop()
	got, err = w.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.GetStatus())
	close(finish)
	require.NoError(t, <-called)
	f.conn.Close() // ends the health watch
	require.NoError(t, <-f.served)
}

// A stream that never ends is cut off after the grace.
func TestServeCutsOffWhatDoesNotEnd(t *testing.T) {
	f := start(t, time.Millisecond)
	f.svc.watch = func(s grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
		if err := s.Send(&pb.WatchExperimentResponse{}); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	}
	s, err := pb.NewExperimentServiceClient(f.conn).WatchExperiment(t.Context(), &pb.WatchExperimentRequest{Id: "x"})
	require.NoError(t, err)
	_, err = s.Recv()
	require.NoError(t, err)
	f.stop()
	require.NoError(t, <-f.served)
	_, err = s.Recv()
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
}

// What a server cuts off at its own end is no warning; what it refuses before
// is one.
func TestUnavailableIsAWarningUnlessTheServerEnds(t *testing.T) {
	f := start(t, time.Minute)
	c := pb.NewExperimentServiceClient(f.conn)
	f.svc.watch = func(s grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
		return status.Error(codes.Unavailable, "etcd is away")
	}
	s, err := c.WatchExperiment(t.Context(), &pb.WatchExperimentRequest{Id: "x"})
	require.NoError(t, err)
	_, err = s.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))

	finish := make(chan struct{})
	f.svc.watch = func(s grpc.ServerStreamingServer[pb.WatchExperimentResponse]) error {
		if err := s.Send(&pb.WatchExperimentResponse{}); err != nil {
			return err
		}
		<-finish
		return status.Error(codes.Unavailable, "service is stopping")
	}
	s, err = c.WatchExperiment(t.Context(), &pb.WatchExperimentRequest{Id: "x"})
	require.NoError(t, err)
	_, err = s.Recv()
	require.NoError(t, err)
	w, err := healthpb.NewHealthClient(f.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	_, err = w.Recv()
	require.NoError(t, err)
	f.stop()
	got, err := w.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, got.GetStatus())
	close(finish)
	_, err = s.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	f.conn.Close()
	require.NoError(t, <-f.served)
	require.Regexp(t, `level=WARN .*etcd is away`, f.log.String())
	require.Regexp(t, `level=DEBUG .*service is stopping`, f.log.String())
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("broken") }

func TestServeReportsABrokenListener(t *testing.T) {
	srv, hs := NewServer(Config{Logger: slog.New(slog.DiscardHandler)})
	err := Serve(t.Context(), brokenListener{bufconn.Listen(1)}, srv, hs, time.Second)
	require.ErrorContains(t, err, "broken")
}

func TestInvalidArgument(t *testing.T) {
	require.NoError(t, InvalidArgument(nil))

	already := status.Error(codes.NotFound, "gone")
	require.Equal(t, already, InvalidArgument(already))

	plain := InvalidArgument(errors.New("nonsense"))
	require.Equal(t, codes.InvalidArgument, status.Code(plain))
	require.Equal(t, "nonsense", Describe(plain))

	err := InvalidArgument(fmt.Errorf("validate: %w", errors.Join(
		component.Fieldf("learner.optimizer.lr", "must be above 0, is -1"),
		component.Fieldf("probes[1].every", "unknown"),
	)))
	require.Equal(t, "learner.optimizer.lr: must be above 0, is -1\nprobes[1].every: unknown", Describe(err))
	require.Contains(t, status.Convert(err).Message(), "2 problems")
}

func TestInvalidArgumentIsBounded(t *testing.T) {
	var errs []error
	for i := range 1000 {
		errs = append(errs, component.Fieldf(fmt.Sprintf("f[%d]", i), "%s\xff", strings.Repeat("ä", 10000)))
	}
	all := FieldViolations(InvalidArgument(errors.Join(errs...)))
	require.Len(t, all, maxViolations+1)
	require.Equal(t, "and 950 more problems", all[maxViolations].String())
	for _, v := range all {
		require.LessOrEqual(t, len(v.Problem), maxProblem)
		require.Equal(t, strings.ToValidUTF8(v.Problem, ""), v.Problem)
	}
}

func TestDescribeUnreachable(t *testing.T) {
	// A port that was free a moment ago and is closed now.
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := lis.Addr().String()
	require.NoError(t, lis.Close())
	conn, err := Dial(addr)
	require.NoError(t, err)
	defer conn.Close()

	_, err = pb.NewExperimentServiceClient(conn).DeleteExperiment(t.Context(), &pb.DeleteExperimentRequest{Id: "x"})
	require.Equal(t, codes.Unavailable, status.Code(err), "it is still a status")
	require.Regexp(t, "^cannot reach coordinator at "+addr+": dial tcp .*refused", Describe(err))
	require.Contains(t, Describe(fmt.Errorf("delete: %w", err)), "cannot reach coordinator at "+addr)

	s, err := pb.NewMetricsServiceClient(conn).ReportMetrics(t.Context())
	if err == nil {
		_, err = s.Recv()
	}
	require.Contains(t, Describe(err), "cannot reach metrics service at "+addr)
}

func TestDescribe(t *testing.T) {
	for want, err := range map[string]error{
		"":                  nil,
		"plain":             errors.New("plain"),
		"no such thing":     status.Error(codes.NotFound, "no such thing"),
		"cancelled":         status.Error(codes.Canceled, "context canceled"),
		"no answer in time": status.Error(codes.DeadlineExceeded, "context deadline exceeded"),
		"DataLoss":          status.Error(codes.DataLoss, ""),
	} {
		require.Equal(t, want, Describe(err))
	}
}

func TestDialRefusesABadTarget(t *testing.T) {
	_, err := Dial("dns://%%%")
	require.ErrorContains(t, err, "connect to dns://%%%")
}

// The retries wait out a server that comes back, on the connection's clock.
func TestCallsOutliveAShortAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 20)
		srv, hs := NewServer(Config{Logger: slog.New(slog.DiscardHandler)})
		calls := 0
		svc := &experiments{get: func(*pb.GetExperimentRequest) (*pb.GetExperimentResponse, error) {
			if calls++; calls < 3 {
				return nil, status.Error(codes.Unavailable, "starting")
			}
			return &pb.GetExperimentResponse{}, nil
		}}
		pb.RegisterExperimentServiceServer(srv, svc)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- Serve(ctx, lis, srv, hs, time.Second) }()
		conn, err := Dial("passthrough:///buf", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return lis.DialContext(ctx)
		}))
		require.NoError(t, err)
		_, err = pb.NewExperimentServiceClient(conn).GetExperiment(t.Context(), &pb.GetExperimentRequest{Id: "x"})
		require.NoError(t, err)
		require.Equal(t, 3, calls)
		conn.Close()
		stop()
		require.NoError(t, <-served)
	})
}

func TestReasonIsTheInnermost(t *testing.T) {
	for _, msg := range []string{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`,
		`max retries exhausted: failed after 4 attempts: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`,
		`dial tcp 127.0.0.1:1: connect: connection refused`,
	} {
		require.Equal(t, "dial tcp 127.0.0.1:1: connect: connection refused", reason(msg))
	}
	require.Equal(t, "no answer", reason(""))
}
