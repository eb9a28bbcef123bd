package metrics

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// batchOf makes a batch of steps [first, first+n): a dense metric worth its
// step, and one of a layer at every third step.
func batchOf(run string, attempt, first, n int64) *pb.MetricBatch {
	dense := &pb.MetricColumn{Metric: "online_accuracy"}
	sparse := &pb.MetricColumn{Metric: "dormant_units", Layer: "0"}
	for i := range n {
		dense.Values = append(dense.Values, float32(first+i))
		if (first+i)%3 == 0 {
			sparse.Offsets = append(sparse.Offsets, uint32(i))
			sparse.Values = append(sparse.Values, -float32(first+i))
		}
	}
	return &pb.MetricBatch{
		Run: run, Arm: "arm", Attempt: attempt, FirstStep: first, NSteps: n,
		Columns: []*pb.MetricColumn{dense, sparse},
	}
}

func logOfBatches(t require.TestingT, batches ...*pb.MetricBatch) []byte {
	b := []byte(logMagic)
	for _, x := range batches {
		var err error
		b, err = appendRecord(b, x)
		require.NoError(t, err)
	}
	return b
}

func scan(b []byte) (*logSummary, error) { return scanLog(bytes.NewReader(b), int64(len(b))) }

func TestScanTellsWhatWasWritten(t *testing.T) {
	first, second := batchOf("e/t/1", 3, 0, 10), batchOf("e/t/1", 2, 10, 5)
	second.Last = true
	b := logOfBatches(t, first, second)
	sum, err := scan(b)
	require.NoError(t, err)
	require.Equal(t, metric.Track{Run: "e/t/1", Name: "main"}, sum.key)
	require.Equal(t, "arm", sum.arm)
	require.EqualValues(t, 0, sum.origin)
	require.EqualValues(t, 15, sum.durable)
	require.True(t, sum.complete)
	require.EqualValues(t, len(b), sum.size)
	require.Equal(t, map[metric.Column]int64{{Metric: "online_accuracy"}: 15, {Metric: "dormant_units", Layer: "0"}: 5}, sum.series)
	require.Equal(t, fences{{2, 15}, {3, 10}}, sum.fences)
}

func TestScanStopsAtWhatDoesNotFollow(t *testing.T) {
	for name, next := range map[string]*pb.MetricBatch{
		"gap":           batchOf("e/t/1", 1, 11, 5),
		"overlap":       batchOf("e/t/1", 1, 9, 5),
		"another run":   batchOf("e/t/2", 1, 10, 5),
		"hostile run":   batchOf("../../x", 1, 10, 5),
		"negative":      {Run: "e/t/1", FirstStep: 10, NSteps: -1},
		"wraps around":  {Run: "e/t/1", FirstStep: 10, NSteps: 1<<63 - 1},
		"another track": {Run: "e/t/1", Track: "x", FirstStep: 10, NSteps: 1},
	} {
		t.Run(name, func(t *testing.T) {
			whole := logOfBatches(t, batchOf("e/t/1", 1, 0, 10))
			b, err := appendRecord(bytes.Clone(whole), next)
			require.NoError(t, err)
			sum, err := scan(b)
			require.ErrorIs(t, err, errTorn)
			require.EqualValues(t, len(whole), sum.size)
			require.EqualValues(t, 10, sum.durable)
		})
	}
}

func TestScanRejectsWhatIsNoLog(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("neow"), []byte("PAR1 is another format")} {
		sum, err := scan(b)
		require.ErrorIs(t, err, errNotLog)
		require.Zero(t, sum.records)
	}
}

// Whatever byte of the log is the last that reached the disk, or is damaged, the
// records before it are read and nothing else is.
func TestScanKeepsWholeRecordsBeforeDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var batches []*pb.MetricBatch
		ends, next := []int{len(logMagic)}, int64(0)
		for _, n := range rapid.SliceOfN(rapid.Int64Range(1, 40), 1, 8).Draw(t, "sizes") {
			batches = append(batches, batchOf("e/t/1", 1, next, n))
			ends = append(ends, len(logOfBatches(t, batches...)))
			next += n
		}
		b := logOfBatches(t, batches...)
		at := rapid.IntRange(len(logMagic), len(b)-1).Draw(t, "at")
		switch rapid.IntRange(0, 2).Draw(t, "damage") {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		case 2: // the file's size was kept, its last blocks were not
			clear(b[at:])
		}
		whole, steps := 0, int64(0)
		for whole < len(batches) && ends[whole+1] <= at {
			steps += batches[whole].NSteps
			whole++
		}
		sum, err := scan(b)
		if at == ends[whole] && len(b) == at {
			require.NoError(t, err)
		} else if sum.records == int64(whole) {
			require.ErrorIs(t, err, errTorn)
		}
		// Zeros over zeros damage nothing, so more may be whole than the bound.
		require.GreaterOrEqual(t, sum.records, int64(whole))
		if sum.records == int64(whole) {
			require.Equal(t, steps, sum.durable)
			require.EqualValues(t, ends[whole], sum.size)
		}
	})
}

func FuzzScanLog(f *testing.F) {
	whole := logOfBatches(f, batchOf("e/t/1", 1, 0, 4), batchOf("e/t/1", 2, 4, 3))
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte(logMagic + "\xff\xff\xff\xff0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, err := scan(b)
		if err == nil && sum.size != int64(len(b)) {
			t.Fatalf("whole log of %d bytes has %d bytes of records", len(b), sum.size)
		}
		if sum.records == 0 {
			return
		}
		// What was recovered is a whole log by itself and says the same.
		again, err := scan(b[:sum.size])
		require.NoError(t, err)
		require.Equal(t, sum, again)
	})
}
