package metrics

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

// A track that is complete goes on where its run has become longer, and its file is that
// of a run which was as long from the beginning.
func TestACompleteTrackGoesOn(t *testing.T) {
	whole := newService(t, Config{})
	durable(t, whole, 60, batchOf(run, 1, 0, 60), &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 60, Last: true})
	require.NoError(t, whole.Sealed(t.Context()))
	path, err := whole.ParquetFile(run, "")
	require.NoError(t, err)
	want, err := os.ReadFile(path)
	require.NoError(t, err)

	dir := t.TempDir()
	s := open(t, dir, Config{})
	durable(t, s, 40, batchOf(run, 1, 0, 40), &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 40, Last: true})
	longer := func(b *pb.MetricBatch) *pb.MetricBatch { b.Extends = true; return b }
	require.NotEmpty(t, send(t, s, batchOf(run, 2, 40, 5)).Error, "the batch does not say that the run was extended")
	a := send(t, s, ask(run))
	require.True(t, a.Complete)
	durable(t, s, 45, longer(batchOf(run, 2, 40, 5)))
	require.Equal(t, sent(0, 45), stored(t, s, run, ""))
	require.NoFileExists(t, s.store.path(metric.Track{Run: run, Name: metric.MainTrack})+parquetExt)

	require.NoError(t, s.Close()) // what is acknowledged survives
	s = open(t, dir, Config{})
	defer s.Close()
	durable(t, s, 60, longer(batchOf(run, 3, 45, 15)), longer(&pb.MetricBatch{Run: run, Attempt: 3, FirstStep: 60, Last: true}))
	require.NoError(t, s.Sealed(t.Context()))
	path, err = s.ParquetFile(run, "")
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	// Sent again it changes nothing.
	durable(t, s, 60, longer(batchOf(run, 4, 0, 60)), longer(&pb.MetricBatch{Run: run, Attempt: 4, FirstStep: 60, Last: true}))
	require.FileExists(t, path)
}

// Values of every form, in windows of a few steps, come through as they were.
func TestReopenKeepsEveryValue(t *testing.T) {
	s := newService(t, Config{})
	acks, err := s.report(mainBatches())
	require.NoError(t, err)
	require.Empty(t, acks[len(acks)-1].Error)
	require.NoError(t, s.Sealed(t.Context()))
	path, err := s.ParquetFile(recordedRun, "")
	require.NoError(t, err)
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	src, err := openParquet(path)
	require.NoError(t, err)
	log := path + ".again"
	require.NoError(t, writeLog(t.Context(), log, src))
	require.NoError(t, src.close())
	info, err := os.Stat(log)
	require.NoError(t, err)
	again, err := openLogSource(log, info.Size())
	require.NoError(t, err)
	require.NoError(t, writeParquet(t.Context(), path+".2", again))
	require.NoError(t, again.close())
	got, err := os.ReadFile(path + ".2")
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestADamagedTrackDoesNotGoOn(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 40, batchOf(run, 1, 0, 40), &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 40, Last: true})
	require.NoError(t, s.Sealed(t.Context()))
	path, err := s.ParquetFile(run, "")
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[200] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o644))
	more := batchOf(run, 2, 40, 5)
	more.Extends = true
	_, err = s.report([]*pb.MetricBatch{more})
	require.ErrorContains(t, err, "the file is damaged")
	a := send(t, s, more)
	require.True(t, a.Gap, "the next answer says from where it has to be sent")
	require.Zero(t, a.DurableStep)
}
