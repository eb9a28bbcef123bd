package metricsclient

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

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
