package metrics

import (
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// benchBatch holds 4096 steps of four dense metrics.
func benchBatch(first int64) *pb.MetricBatch {
	b := &pb.MetricBatch{Run: run, Arm: "arm", FirstStep: first, NSteps: 4096}
	for _, name := range []string{"gradient_norm", "loss", "online_accuracy", "weight_magnitude"} {
		c := &pb.MetricColumn{Metric: name, Values: make([]float32, b.NSteps)}
		for i := range c.Values {
			c.Values[i] = float32((first + int64(i)) % 97)
		}
		b.Columns = append(b.Columns, c)
	}
	return b
}

// BenchmarkIngest makes batches durable one at a time: what one run can stream.
func BenchmarkIngest(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	defer func() { require.NoError(b, s.Close()) }()
	next := int64(0)
	for b.Loop() {
		if _, err := s.report([]*pb.MetricBatch{benchBatch(next)}); err != nil {
			b.Fatal(err)
		}
		next += 4096
	}
	b.ReportMetric(float64(next)*4/b.Elapsed().Seconds(), "values/s")
}

// BenchmarkSeal turns a log of 4 million values into a Parquet file.
func BenchmarkSeal(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	defer func() { require.NoError(b, s.Close()) }()
	for next := int64(0); next < 1<<20; next += 4096 {
		_, err := s.report([]*pb.MetricBatch{benchBatch(next)})
		require.NoError(b, err)
	}
	path := s.store.path(metric.Track{Run: run, Name: metric.MainTrack})
	for b.Loop() {
		src, err := openLogSource(path+logExt, mustSize(b, path+logExt))
		require.NoError(b, err)
		require.NoError(b, writeParquet(b.Context(), path+parquetExt, src))
		require.NoError(b, src.close())
	}
	b.ReportMetric(float64(b.N)*4*(1<<20)/b.Elapsed().Seconds(), "values/s")
}
