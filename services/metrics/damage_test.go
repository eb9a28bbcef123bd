package metrics

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// answer reads the values of a run as a client gets them.
func answer(t *testing.T, c pb.MetricsServiceClient, id string) (values, error) {
	t.Helper()
	stream, err := c.QuerySeries(t.Context(), &pb.QuerySeriesRequest{Run: id})
	require.NoError(t, err)
	out := values{}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		k := metric.Column{Metric: r.Metric, Layer: r.Layer}
		if out[k] == nil {
			out[k] = map[int64]float32{}
		}
		for i, v := range r.Values {
			out[k][r.Steps[i]] = v
		}
	}
}

// Wherever a byte of a Parquet file is flipped, or the file ends, a query gives what was
// stored or says that it is lost; then the run can be sent again, and has the same file.
func TestADamagedFileIsPutAside(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	fill := func() {
		durable(t, s, 40, batchOf(run, 1, 0, 40), &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 40, Last: true})
		require.NoError(t, s.Sealed(t.Context()))
	}
	fill()
	path, err := s.ParquetFile(run, "")
	require.NoError(t, err)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	lost := 0
	try := func(b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o644))
		got, err := answer(t, c, run)
		if err == nil {
			require.Equal(t, sent(0, 40), got)
			return
		}
		lost++
		require.Equal(t, codes.DataLoss, status.Code(err), "%v", err)
		kept, rerr := os.ReadFile(path + badExt)
		require.NoError(t, rerr)
		require.Equal(t, b, kept)
		_, err = answer(t, c, run)
		require.Equal(t, codes.NotFound, status.Code(err))
		fill()
		again, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, whole, again)
	}
	for i := 0; i < len(whole); i += 37 {
		b := append([]byte(nil), whole...)
		b[i] ^= 0x10
		try(b)
	}
	for n := 0; n < len(whole); n += len(whole) / 5 {
		try(whole[:n])
	}
	require.Greater(t, lost, 10)
}

// A writer of a run whose file is damaged begins it anew, without a query before.
func TestADamagedFileIsPutAsideForAWriter(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10), &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 10, Last: true})
	require.NoError(t, s.Sealed(t.Context()))
	path, err := s.ParquetFile(run, "")
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 100))
	durable(t, s, 0, ask(run))
	durable(t, s, 4, batchOf(run, 2, 0, 4))
	require.Equal(t, sent(0, 4), stored(t, s, run, ""))
}

// A folder that is removed under the service is lost, not tried again for ever.
func TestALogThatIsRemovedIsLost(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	require.NoError(t, os.RemoveAll(s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+logExt))
	_, err := answer(t, c, run)
	require.Equal(t, codes.NotFound, status.Code(err))
	durable(t, s, 0, ask(run))

	durable(t, s, 10, batchOf(run, 2, 0, 10))
	require.NoError(t, os.RemoveAll(s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+logExt))
	durable(t, s, 10, &pb.MetricBatch{Run: run, Attempt: 2, FirstStep: 10, Last: true})
	require.NoError(t, s.Sealed(t.Context()), "it is not waited for what cannot be written")
	durable(t, s, 0, ask(run))
}
