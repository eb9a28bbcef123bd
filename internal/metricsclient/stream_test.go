package metricsclient

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

// deaf is a service that cannot be reached.
type deaf struct{ pb.MetricsServiceClient }

func (deaf) ReportMetrics(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[pb.ReportMetricsRequest, pb.ReportMetricsResponse], error) {
	return nil, errors.New("cannot be reached")
}

// An answer to what a writer that was given up had sent says nothing about the
// next writer of the track, until there is a new stream.
func TestLateAnswerIsNotTheNextWriters(t *testing.T) {
	c, err := New(deaf{}, Config{BackoffBase: time.Hour, BackoffMax: time.Hour})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	late := &pb.MetricAck{Run: "e/t/1", Track: "main", DurableStep: 30}
	w, err := c.Open("e/t/1", "", "arm", 1, 0)
	require.NoError(t, err)
	c.mu.Lock()
	w.asked = true
	c.mu.Unlock()
	w.Close()
	w, err = c.Open("e/t/1", "", "arm", 2, 50)
	require.NoError(t, err)
	c.mu.Lock()
	require.True(t, c.newSession)
	c.mu.Unlock()
	require.NoError(t, c.acknowledge(late))
	require.NoError(t, w.err)
	c.endSession()
	require.NoError(t, c.acknowledge(late))
	var gap *GapError
	require.ErrorAs(t, w.err, &gap)
}

// refusing is a service, and its stream, that has answered before anything is sent:
// Send then returns io.EOF, and Recv the answer.
type refusing struct {
	pb.MetricsServiceClient
	grpc.BidiStreamingClient[pb.ReportMetricsRequest, pb.ReportMetricsResponse]
	sent chan struct{}
}

func (r *refusing) ReportMetrics(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[pb.ReportMetricsRequest, pb.ReportMetricsResponse], error) {
	return r, nil
}

func (r *refusing) Send(*pb.ReportMetricsRequest) error {
	close(r.sent)
	return io.EOF
}

func (r *refusing) Recv() (*pb.ReportMetricsResponse, error) {
	<-r.sent
	return nil, status.Error(codes.ResourceExhausted, "the volume is full")
}

// lines is a log, a line at a time.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// The reason why a stream ended is what Recv returns, also where Send meets the end
// first.
func TestAnAnswerBeforeTheRequestIsTheReason(t *testing.T) {
	log := make(lines, 1)
	c, err := New(&refusing{sent: make(chan struct{})}, Config{
		BackoffBase: time.Hour, BackoffMax: time.Hour, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	require.NoError(t, err)
	w, err := c.Open("e/t/1", "", "arm", 1, 0)
	require.NoError(t, err)
	require.Contains(t, <-log, "the volume is full")
	w.Close()
	require.NoError(t, c.Close())
}
