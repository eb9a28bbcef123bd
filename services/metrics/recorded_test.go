package metrics

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// The files below testdata/v1 were written by the service before its row table had
// a package of its own: fork.wal and main.wal from forkBatches and mainBatches (all
// but the last), main.parquet from the whole main track. They are read and written
// the same for good. A new version of a library may pack the same rows into other
// bytes: then the comparisons of bytes go, and those of values stay.
const recordedRun = "exp/Trial A/1"

func mainBatches() []*pb.MetricBatch {
	nan := math.Float32frombits(0x7fc00001)
	inf := float32(math.Inf(-1))
	batch := func(attempt, first, n int64, columns ...*pb.MetricColumn) *pb.MetricBatch {
		return &pb.MetricBatch{Run: recordedRun, Attempt: attempt, FirstStep: first, NSteps: n, Arm: "arm", Columns: columns}
	}
	last := batch(1, 20, 2, &pb.MetricColumn{Metric: "loss", Values: []float32{20, 21}})
	last.Last = true
	return []*pb.MetricBatch{
		batch(1, 0, 8,
			&pb.MetricColumn{Metric: "loss", Values: []float32{nan, inf, float32(math.Copysign(0, -1)), 3, 4, 5, 6, 7}},
			&pb.MetricColumn{Metric: "dormant_units", Layer: "1", Offsets: []uint32{1, 7}, Values: []float32{-1, -7}},
			&pb.MetricColumn{Metric: "nothing"}),
		// Durable up to step 8 before, so what is below is cut.
		batch(2, 5, 7,
			&pb.MetricColumn{Metric: "loss", Values: []float32{5, 6, 7, 8, 9, 10, 11}},
			&pb.MetricColumn{Metric: "dormant_units", Layer: "1", Offsets: []uint32{2, 5}, Values: []float32{-7, -10}},
			&pb.MetricColumn{Metric: "gone", Offsets: []uint32{0}, Values: []float32{5}}),
		batch(2, 12, 3),
		batch(2, 15, 5,
			&pb.MetricColumn{Metric: "accuracy", Layer: "größe", Offsets: []uint32{4}, Values: []float32{19}},
			&pb.MetricColumn{Metric: "loss", Offsets: []uint32{0, 3}, Values: []float32{15, 18}}),
		last,
	}
}

func forkBatches() []*pb.MetricBatch {
	return []*pb.MetricBatch{
		{Run: recordedRun, Track: "aside@3", Attempt: 1, FirstStep: 100, NSteps: 4, Arm: "arm",
			Columns: []*pb.MetricColumn{{Metric: "loss", Values: []float32{1, 2, 3, 4}}}},
		{Run: recordedRun, Track: "aside@3", Attempt: 1, FirstStep: 104, NSteps: 1, Arm: "arm",
			Columns: []*pb.MetricColumn{{Metric: "loss", Values: []float32{5}}}},
	}
}

// recorded is what is stored of batches: of a step that is sent twice, the values
// that came first.
func recorded(batches []*pb.MetricBatch) values {
	out := values{}
	durable := batches[0].FirstStep
	for _, b := range batches {
		for _, c := range b.Columns {
			k := metric.Column{Metric: c.Metric, Layer: c.Layer}
			for i, v := range c.Values {
				step := b.FirstStep + int64(i)
				if len(c.Offsets) > 0 {
					step = b.FirstStep + int64(c.Offsets[i])
				}
				if step < durable {
					continue
				}
				if out[k] == nil {
					out[k] = map[int64]float32{}
				}
				out[k][step] = v
			}
		}
		durable = b.FirstStep + b.NSteps
	}
	return out
}

// bits makes values comparable where some are NaN.
func bits(v values) map[metric.Column]map[int64]uint32 {
	out := map[metric.Column]map[int64]uint32{}
	for k, steps := range v {
		out[k] = map[int64]uint32{}
		for step, x := range steps {
			out[k][step] = math.Float32bits(x)
		}
	}
	return out
}

func recordedFile(t *testing.T, name string) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	require.NoError(t, err)
	return b
}

// recordedPath is where the service has a track, whose folder is made.
func recordedPath(t *testing.T, dir, track string) string {
	folder, base := fileNames(metric.Track{Run: recordedRun, Name: track})
	require.NoError(t, os.MkdirAll(filepath.Join(dir, folder), 0o755))
	return filepath.Join(dir, folder, base)
}

func TestRecordedFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	main, fork := recordedPath(t, dir, metric.MainTrack), recordedPath(t, dir, "aside@3")
	require.NoError(t, os.WriteFile(main+logExt, recordedFile(t, "main.wal"), 0o644))
	require.NoError(t, os.WriteFile(fork+logExt, recordedFile(t, "fork.wal"), 0o644))
	s := open(t, dir, Config{})
	batches := mainBatches()
	require.Equal(t, bits(recorded(batches[:len(batches)-1])), bits(stored(t, s, recordedRun, "")))
	require.Equal(t, bits(recorded(forkBatches())), bits(stored(t, s, recordedRun, "aside@3")))
	durable(t, s, 20, &pb.MetricBatch{Run: recordedRun, Attempt: 2, FirstStep: 19, NSteps: 1})
	durable(t, s, 22, batches[len(batches)-1])
	require.NoError(t, s.Sealed(t.Context()))
	require.NoError(t, s.Close())
	sealed, err := os.ReadFile(main + parquetExt)
	require.NoError(t, err)
	require.Equal(t, recordedFile(t, "main.parquet"), sealed)

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(recordedPath(t, dir, metric.MainTrack)+parquetExt, recordedFile(t, "main.parquet"), 0o644))
	s = open(t, dir, Config{})
	require.Equal(t, bits(recorded(batches)), bits(stored(t, s, recordedRun, "")))
	require.True(t, send(t, s, &pb.MetricBatch{Run: recordedRun, Attempt: 2, FirstStep: 22}).Complete)
	require.NoError(t, s.Close())
}

func TestLogsAreWrittenAsRecorded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	batches := mainBatches()
	for _, b := range append(forkBatches(), batches[:len(batches)-1]...) {
		durable(t, s, b.FirstStep+b.NSteps, b)
	}
	require.NoError(t, s.Close())
	for track, name := range map[string]string{metric.MainTrack: "main.wal", "aside@3": "fork.wal"} {
		b, err := os.ReadFile(recordedPath(t, dir, track) + logExt)
		require.NoError(t, err)
		require.Equal(t, recordedFile(t, name), b, name)
	}
}
