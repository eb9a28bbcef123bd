package metrics

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// dial serves the service in memory.
func dial(t *testing.T, s *Service) pb.MetricsServiceClient {
	t.Helper()
	lis, srv := bufconn.Listen(1<<20), grpc.NewServer()
	pb.RegisterMetricsServiceServer(srv, s)
	go func() { _ = srv.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///metrics", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		srv.Stop()
	})
	return pb.NewMetricsServiceClient(conn)
}

// query returns the pieces of the answer.
func query(t *testing.T, c pb.MetricsServiceClient, req *pb.QuerySeriesRequest) []*pb.QuerySeriesResponse {
	t.Helper()
	stream, err := c.QuerySeries(t.Context(), req)
	require.NoError(t, err)
	var out []*pb.QuerySeriesResponse
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		require.Less(t, proto.Size(r), 1<<20)
		require.Len(t, r.Values, len(r.Steps))
		out = append(out, r)
	}
}

// inBothForms runs a test against the log of a run and against its Parquet file.
func inBothForms(t *testing.T, batches []*pb.MetricBatch, test func(t *testing.T, c pb.MetricsServiceClient)) {
	s := newService(t, Config{})
	c := dial(t, s)
	end := int64(0)
	for _, b := range batches {
		end = b.FirstStep + b.NSteps
		durable(t, s, end, b)
	}
	t.Run("log", func(t *testing.T) { test(t, c) })
	require.True(t, send(t, s, lastAt(end)).Complete)
	require.NoError(t, s.Sealed(t.Context()))
	_, err := os.Stat(s.store.path(metric.Track{Run: run, Name: metric.MainTrack}) + logExt)
	require.ErrorIs(t, err, os.ErrNotExist)
	t.Run("parquet", func(t *testing.T) { test(t, c) })
}

func TestQueryReturnsEveryValue(t *testing.T) {
	// Enough for several pieces and reads.
	var batches []*pb.MetricBatch
	for i := range int64(9) {
		batches = append(batches, batchOf(run, 1, i*10000, 10000))
	}
	inBothForms(t, batches, func(t *testing.T, c pb.MetricsServiceClient) {
		got, order := values{}, []metric.Column{}
		for _, r := range query(t, c, &pb.QuerySeriesRequest{Run: run}) {
			k := metric.Column{Metric: r.Metric, Layer: r.Layer}
			if got[k] == nil {
				got[k] = map[int64]float32{}
				order = append(order, k)
			}
			require.Equal(t, order[len(order)-1], k, "the pieces of a series follow each other")
			require.Empty(t, r.Minima)
			for i, step := range r.Steps {
				if _, twice := got[k][step]; twice {
					t.Fatalf("step %d comes twice", step)
				}
				got[k][step] = r.Values[i]
			}
		}
		require.Equal(t, []metric.Column{{Metric: "dormant_units", Layer: "0"}, {Metric: "online_accuracy"}}, order)
		require.Equal(t, sent(0, 90000), got)
	})
}

func TestQuerySelects(t *testing.T) {
	inBothForms(t, []*pb.MetricBatch{batchOf(run, 1, 0, 50), batchOf(run, 1, 50, 50)}, func(t *testing.T, c pb.MetricsServiceClient) {
		got := query(t, c, &pb.QuerySeriesRequest{Run: run, Metrics: []string{"dormant_units", "unknown"}, FirstStep: 45, EndStep: 55})
		require.Len(t, got, 1)
		require.Equal(t, []int64{45, 48, 51, 54}, got[0].Steps)
		require.Equal(t, []float32{-45, -48, -51, -54}, got[0].Values)
		require.Empty(t, query(t, c, &pb.QuerySeriesRequest{Run: run, FirstStep: 100}))
		require.Empty(t, query(t, c, &pb.QuerySeriesRequest{Run: run, FirstStep: 46, EndStep: 46}))
	})
}

func TestQueryDownsamples(t *testing.T) {
	b := batchOf(run, 1, 0, 100)
	nan := float32(math.NaN())
	b.Columns[0].Values[95] = nan
	for i := 20; i < 30; i++ {
		b.Columns[0].Values[i] = nan
	}
	inBothForms(t, []*pb.MetricBatch{b}, func(t *testing.T, c pb.MetricsServiceClient) {
		got := query(t, c, &pb.QuerySeriesRequest{Run: run, Metrics: []string{"online_accuracy"}, MaxPoints: 10})
		require.Len(t, got, 1)
		r := got[0]
		require.Equal(t, []int64{0, 10, 20, 30, 40, 50, 60, 70, 80, 90}, r.Steps)
		require.Equal(t, []float32{4.5, 14.5}, r.Values[:2])
		require.Equal(t, []float32{0, 10}, r.Minima[:2])
		require.Equal(t, []float32{9, 19}, r.Maxima[:2])
		require.True(t, math.IsNaN(float64(r.Minima[2])) && math.IsNaN(float64(r.Maxima[2])), "nothing but NaN")
		require.True(t, math.IsNaN(float64(r.Values[9])), "a mean over a NaN")
		require.Equal(t, []float32{90, 99}, []float32{r.Minima[9], r.Maxima[9]})
		// A series with no more values than that comes as it is.
		got = query(t, c, &pb.QuerySeriesRequest{Run: run, Metrics: []string{"dormant_units"}, MaxPoints: 34})
		require.Len(t, got, 1)
		require.Len(t, got[0].Steps, 34)
		require.Equal(t, got[0].Values, got[0].Minima)
		require.EqualValues(t, 99, got[0].Steps[33])
		got = query(t, c, &pb.QuerySeriesRequest{Run: run, Metrics: []string{"dormant_units"}, MaxPoints: 33})
		require.LessOrEqual(t, len(got[0].Steps), 33)
	})
}

func TestQueryErrors(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	for _, x := range []struct {
		req   *pb.QuerySeriesRequest
		code  codes.Code
		field string
	}{
		{&pb.QuerySeriesRequest{Run: "exp/trial/2"}, codes.NotFound, ""},
		{&pb.QuerySeriesRequest{Run: run, Track: "fork"}, codes.NotFound, ""},
		{&pb.QuerySeriesRequest{Run: "../x"}, codes.InvalidArgument, "run"},
		{&pb.QuerySeriesRequest{Run: run, FirstStep: -1}, codes.InvalidArgument, "first_step"},
		{&pb.QuerySeriesRequest{Run: run, FirstStep: 5, EndStep: 4}, codes.InvalidArgument, "end_step"},
		{&pb.QuerySeriesRequest{Run: run, MaxPoints: -1}, codes.InvalidArgument, "max_points"},
		{&pb.QuerySeriesRequest{Run: run, MaxPoints: 100001}, codes.InvalidArgument, "max_points"},
	} {
		stream, err := c.QuerySeries(t.Context(), x.req)
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, x.code, status.Code(err), "%v: %v", x.req, err)
		if x.field != "" {
			bad, ok := status.Convert(err).Details()[0].(*errdetails.BadRequest)
			require.True(t, ok)
			require.Equal(t, x.field, bad.FieldViolations[0].Field)
		} else {
			require.ErrorContains(t, err, "no metrics of run "+x.req.Run)
		}
	}
}

// What was sent, as random dense, sparse and absent columns, is what the Parquet
// file holds, bit by bit, sorted by metric, layer and step, whatever the memory
// budget of the walk that wrote it.
func TestParquetEqualsWhatWasSent(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		require.NoError(t, err)
		s := open(t, dir, Config{})
		defer func() { require.NoError(t, s.Close()) }()
		type cell struct {
			metric.Column
			step int64
		}
		want := map[cell]uint32{}
		next := int64(0)
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			b := &pb.MetricBatch{Run: run, FirstStep: next, NSteps: rapid.Int64Range(1, 30).Draw(t, "steps")}
			for _, k := range []metric.Column{{Metric: "b"}, {Metric: "b", Layer: "1"}, {Metric: "b", Layer: "10"}, {Metric: "a", Layer: "x"}, {Metric: "c"}} {
				c := &pb.MetricColumn{Metric: k.Metric, Layer: k.Layer}
				form := rapid.IntRange(0, 2).Draw(t, "form")
				for i := range b.NSteps {
					if form == 0 || form == 1 && rapid.Bool().Draw(t, "measured") {
						v := math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
						if v != v {
							// A signalling NaN becomes a quiet one in a conversion;
							// arithmetic makes only these.
							v = float32(math.NaN())
						}
						c.Values = append(c.Values, v)
						if form == 1 {
							c.Offsets = append(c.Offsets, uint32(i))
						}
						want[cell{k, next + i}] = math.Float32bits(v)
					}
				}
				if form != 2 {
					b.Columns = append(b.Columns, c)
				}
			}
			next += b.NSteps
			durable(t, s, next, b)
		}
		require.NoError(t, s.Close())
		src, err := openLogSource(s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+logExt, mustSize(t, s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+logExt))
		require.NoError(t, err)
		src.budget = rapid.Int64Range(0, 200).Draw(t, "budget")
		path := filepath.Join(dir, "x.parquet")
		require.NoError(t, writeParquet(t.Context(), path, src))
		require.NoError(t, src.close())
		rows, err := parquet.ReadFile[metric.Row](path)
		require.NoError(t, err)
		require.Len(t, rows, len(want))
		for i, r := range rows {
			bits, ok := want[cell{metric.Column{Metric: r.Metric, Layer: r.Layer}, r.Step}]
			require.True(t, ok)
			require.Equal(t, bits, math.Float32bits(r.Value))
			if i > 0 {
				p := rows[i-1]
				less := p.Metric < r.Metric || p.Metric == r.Metric && (p.Layer < r.Layer || p.Layer == r.Layer && p.Step < r.Step)
				require.True(t, less)
			}
		}
		require.NoFileExists(t, path+tempExt)
	})
}

func mustSize(t tb, path string) int64 {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

func TestParquetSpansRowGroups(t *testing.T) {
	s := newService(t, Config{})
	end := int64(0)
	for end < metric.RowsPerGroup+metric.RowsPerGroup/8 {
		values := make([]float32, 1<<18)
		for i := range values {
			values[i] = float32(end + int64(i))
		}
		b := &pb.MetricBatch{Run: run, FirstStep: end, NSteps: int64(len(values)), Columns: []*pb.MetricColumn{
			{Metric: "a", Values: values},
			{Metric: "z", Offsets: []uint32{7}, Values: []float32{float32(end)}},
		}}
		end += b.NSteps
		durable(t, s, end, b)
	}
	require.True(t, send(t, s, lastAt(end)).Complete)
	require.NoError(t, s.Sealed(t.Context()))
	got := query(t, dial(t, s), &pb.QuerySeriesRequest{Run: run, FirstStep: end - 4})
	require.Equal(t, []int64{end - 4, end - 3, end - 2, end - 1}, got[0].Steps)
	require.Equal(t, float32(end-1), got[0].Values[3])
	got = query(t, dial(t, s), &pb.QuerySeriesRequest{Run: run, Metrics: []string{"z"}})
	require.EqualValues(t, []int64{7, 1<<18 + 7, 2<<18 + 7, 3<<18 + 7, 4<<18 + 7}, got[0].Steps)
}

func TestSealedTrackAnswersLikeAnother(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	require.Contains(t, send(t, s, lastAt(9)).Error, "last batch ends at step 9")
	require.True(t, send(t, s, lastAt(10)).Complete)
	require.NoError(t, s.Sealed(t.Context()))
	for range 2 {
		a := send(t, s, ask(run))
		require.True(t, a.Complete)
		require.EqualValues(t, 10, a.DurableStep)
		require.True(t, send(t, s, batchOf(run, 9, 3, 7), lastAt(10)).Complete, "sent again")
		require.Contains(t, send(t, s, batchOf(run, 9, 10, 1)).Error, "complete at step 10")
		require.Contains(t, send(t, s, batchOf(run, 9, 20, 1)).Error, "complete at step 10")
		require.Empty(t, s.store.tracks)
		require.NoError(t, s.Close())
		s = open(t, dir, Config{})
	}
	require.NoError(t, s.Close())
}

// A crash between any two steps of sealing is repaired at the next start.
func TestSealingIsResumed(t *testing.T) {
	for name, crash := range map[string]func(t *testing.T, base string, sealed []byte){
		"before the file": func(*testing.T, string, []byte) {},
		"midway": func(t *testing.T, base string, sealed []byte) {
			require.NoError(t, os.WriteFile(base+parquetExt+tempExt, sealed[:len(sealed)/2], 0o644))
		},
		"before the log is removed": func(t *testing.T, base string, sealed []byte) {
			require.NoError(t, os.WriteFile(base+parquetExt, sealed, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Config{})
			base := s.store.path(metric.Track{Run: run, Name: metric.MainTrack})
			durable(t, s, 10, batchOf(run, 1, 0, 10))
			log, err := os.ReadFile(base + logExt)
			require.NoError(t, err)
			log, err = appendRecord(log, &pb.MetricBatch{Run: run, Track: metric.MainTrack, FirstStep: 10, Last: true})
			require.NoError(t, err)
			require.True(t, send(t, s, lastAt(10)).Complete)
			require.NoError(t, s.Sealed(t.Context()))
			require.NoError(t, s.Close())
			sealed, err := os.ReadFile(base + parquetExt)
			require.NoError(t, err)
			require.NoError(t, os.Remove(base+parquetExt))
			require.NoError(t, os.WriteFile(base+logExt, log, 0o644))
			crash(t, base, sealed)

			s = open(t, dir, Config{})
			require.NoError(t, s.Sealed(t.Context()))
			require.NoFileExists(t, base+logExt)
			require.NoFileExists(t, base+parquetExt+tempExt)
			require.Equal(t, sent(0, 10), stored(t, s, run, ""))
			require.NoError(t, s.Close())
		})
	}
}

// A Parquet file that is damaged is an error, not a panic and not an empty run.
func TestDamagedParquetIsAnError(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	defer func() { require.NoError(t, s.Close()) }()
	durable(t, s, 3000, batchOf(run, 1, 0, 3000))
	require.True(t, send(t, s, lastAt(3000)).Complete)
	require.NoError(t, s.Sealed(t.Context()))
	path := s.store.path(metric.Track{Run: run, Name: metric.MainTrack}) + parquetExt
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := 0; at < len(whole); at += 97 {
		require.NoError(t, os.WriteFile(path, whole[:at], 0o644))
		_, err := s.openSource(metric.Track{Run: run, Name: metric.MainTrack})
		require.Error(t, err, "cut at %d", at)
	}
}

func TestCloseEndsStreams(t *testing.T) {
	s := newService(t, Config{})
	c := dial(t, s)
	stream, err := c.ReportMetrics(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.ReportMetricsRequest{Batches: []*pb.MetricBatch{batchOf(run, 1, 0, 10)}}))
	resp, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 10, resp.Acks[0].DurableStep)
	require.NoError(t, s.Close())
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Error(t, s.Delete("exp"))
	stream, err = c.ReportMetrics(t.Context())
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.Unavailable, status.Code(err))
}
