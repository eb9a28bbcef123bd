package metricsclient_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metricsclient"
	pb "neoteny/proto/neoteny/v1"
)

// silent takes requests and never answers, on its first stream.
type silent struct {
	pb.MetricsServiceServer
	mu      sync.Mutex
	streams int
}

func (s *silent) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	s.mu.Lock()
	s.streams++
	first := s.streams == 1
	s.mu.Unlock()
	if !first {
		return s.MetricsServiceServer.ReportMetrics(stream)
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func TestSilentStreamIsGivenUp(t *testing.T) {
	s := newTestServer(t)
	s.stop()
	s.wrap = func(svc pb.MetricsServiceServer) pb.MetricsServiceServer { return &silent{MetricsServiceServer: svc} }
	s.start()
	c := s.client(metricsclient.Config{AckTimeout: 20 * time.Millisecond})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(0, 10)))
	_, err = w.Flush(t.Context())
	require.NoError(t, err)
	w.Close()
}

// deaf takes nothing of its first stream, so that sending blocks.
type deaf struct {
	pb.MetricsServiceServer
	mu      sync.Mutex
	streams int
}

func (d *deaf) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	d.mu.Lock()
	d.streams++
	first := d.streams == 1
	d.mu.Unlock()
	if !first {
		return d.MetricsServiceServer.ReportMetrics(stream)
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func TestStreamThatTakesNothingIsGivenUp(t *testing.T) {
	s := newTestServer(t)
	s.stop()
	s.wrap = func(svc pb.MetricsServiceServer) pb.MetricsServiceServer { return &deaf{MetricsServiceServer: svc} }
	s.start()
	c := s.client(metricsclient.Config{AckTimeout: 300 * time.Millisecond})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	const steps = 1_000_000 // several requests, of which gRPC takes one
	require.NoError(t, w.Append(t.Context(), rowsOf(0, steps)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := w.Flush(ctx)
	require.NoError(t, err)
	require.EqualValues(t, steps, m.Steps)
	w.Close()
}

// forgetful answers on its first stream for the rows before the last batch, and
// breaks off without having stored that.
type forgetful struct {
	pb.MetricsServiceServer
	mu      sync.Mutex
	streams int
}

func (f *forgetful) ReportMetrics(stream grpc.BidiStreamingServer[pb.ReportMetricsRequest, pb.ReportMetricsResponse]) error {
	f.mu.Lock()
	f.streams++
	first := f.streams == 1
	f.mu.Unlock()
	if !first {
		return f.MetricsServiceServer.ReportMetrics(stream)
	}
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, b := range req.Batches {
			if err := stream.Send(&pb.ReportMetricsResponse{Acks: []*pb.MetricAck{{Run: b.Run, Track: b.Track}}}); err != nil {
				return err
			}
			if b.Last {
				return status.Error(codes.Unavailable, "gone")
			}
		}
	}
}

func TestLastBatchIsSentUntilItIsKnown(t *testing.T) {
	s := newTestServer(t)
	s.stop()
	s.wrap = func(svc pb.MetricsServiceServer) pb.MetricsServiceServer {
		return &forgetful{MetricsServiceServer: svc}
	}
	s.start()
	c := s.client(metricsclient.Config{})
	// A run of no steps: its last batch ends where everything is durable.
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	w.Close()
	require.NoError(t, s.svc.Sealed(t.Context()))
	_, err = s.svc.ParquetFile(run, "")
	require.NoError(t, err)
}
