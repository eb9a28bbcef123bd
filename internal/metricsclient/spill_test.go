package metricsclient

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "neoteny/proto/neoteny/v1"
)

func TestSpillReturnsWhatWasPut(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s, err := newSpill(dir, 1<<16)
		require.NoError(t, err)
		defer s.close()
		type record struct {
			at spilled
			b  *pb.MetricBatch
		}
		var kept []record
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			if len(kept) > 0 && rapid.Bool().Draw(t, "free") {
				j := rapid.IntRange(0, len(kept)-1).Draw(t, "which")
				s.free(kept[j].at)
				kept = append(kept[:j], kept[j+1:]...)
			} else {
				b := &pb.MetricBatch{Run: "r", FirstStep: int64(i), Columns: []*pb.MetricColumn{
					{Metric: "m", Values: make([]float32, rapid.IntRange(0, 3000).Draw(t, "size"))}}}
				at, err := s.put(b)
				if err != nil {
					require.ErrorIs(t, err, errSpillFull)
				} else {
					kept = append(kept, record{at, b})
				}
			}
			total := int64(0)
			for f := range s.files {
				total += f.size
			}
			require.Equal(t, total, s.total)
			require.LessOrEqual(t, s.total, s.quota)
		}
		for _, r := range kept {
			b, err := s.get(r.at)
			require.NoError(t, err)
			require.True(t, proto.Equal(r.b, b))
			s.free(r.at)
		}
		require.Zero(t, s.total, "nothing needed, nothing kept")
		require.LessOrEqual(t, len(s.files), 1)
	})
}

func TestSpillTellsDamage(t *testing.T) {
	s, err := newSpill(t.TempDir(), 1<<16)
	require.NoError(t, err)
	defer s.close()
	at, err := s.put(&pb.MetricBatch{Run: "r"})
	require.NoError(t, err)
	_, err = at.file.f.WriteAt([]byte{'x'}, at.off+at.size-1)
	require.NoError(t, err)
	_, err = s.get(at)
	require.ErrorContains(t, err, "checksum")
}
