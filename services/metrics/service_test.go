package metrics

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"neoteny/internal/metric"
	pb "neoteny/proto/neoteny/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const run = "exp/trial/1"

type tb interface {
	require.TestingT
	Helper()
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t tb, dir string, cfg Config) *Service {
	t.Helper()
	cfg.Dir = dir
	s, err := New(Deps{Logger: discard()}, cfg)
	require.NoError(t, err)
	return s
}

func newService(t *testing.T, cfg Config) *Service {
	t.Helper()
	s := open(t, t.TempDir(), cfg)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// send reports batches of one run and returns its only answer.
func send(t tb, s *Service, batches ...*pb.MetricBatch) *pb.MetricAck {
	t.Helper()
	acks, err := s.report(batches)
	require.NoError(t, err)
	require.Len(t, acks, 1)
	return acks[0]
}

func durable(t tb, s *Service, want int64, batches ...*pb.MetricBatch) {
	t.Helper()
	a := send(t, s, batches...)
	require.Empty(t, a.Error)
	require.False(t, a.Fenced)
	require.Equal(t, want, a.DurableStep)
}

// ask makes a batch that only asks, of an attempt that nothing overtakes.
func ask(id string) *pb.MetricBatch { return &pb.MetricBatch{Run: id, Attempt: 1 << 40} }

func lastAt(step int64) *pb.MetricBatch {
	return &pb.MetricBatch{Run: run, Attempt: 1 << 40, FirstStep: step, Last: true}
}

type values map[metric.Column]map[int64]float32

// stored reads everything that is stored of a run.
func stored(t tb, s *Service, id, track string) values {
	t.Helper()
	key, err := metric.NewTrack(id, track)
	require.NoError(t, err)
	src, err := s.openSource(key)
	require.NoError(t, err)
	require.NotNil(t, src)
	defer func() { require.NoError(t, src.close()) }()
	out := values{}
	require.NoError(t, src.walk(s.stop, everything, func(p metric.Points) error {
		if out[p.Column] == nil {
			out[p.Column] = map[int64]float32{}
		}
		for i, v := range p.Values {
			if _, twice := out[p.Column][p.Steps[i]]; twice {
				t.Errorf("step %d is stored twice", p.Steps[i])
			}
			out[p.Column][p.Steps[i]] = v
		}
		return nil
	}))
	return out
}

// sent is what the batches of batchOf over [first, end) hold.
func sent(first, end int64) values {
	out := values{}
	for i := first; i < end; i++ {
		put := func(k metric.Column, v float32) {
			if out[k] == nil {
				out[k] = map[int64]float32{}
			}
			out[k][i] = v
		}
		put(metric.Column{Metric: "online_accuracy"}, float32(i))
		if i%3 == 0 {
			put(metric.Column{Metric: "dormant_units", Layer: "0"}, -float32(i))
		}
	}
	return out
}

func TestIngestAcknowledgesByStep(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 0, ask(run))
	require.Empty(t, s.store.tracks, "asking leaves nothing behind")
	durable(t, s, 30, batchOf(run, 1, 0, 10), batchOf(run, 1, 10, 20))
	durable(t, s, 30, ask(run))
	durable(t, s, 30, batchOf(run, 1, 5, 20))
	durable(t, s, 42, batchOf(run, 1, 25, 17))
	require.Equal(t, sent(0, 42), stored(t, s, run, ""))
}

func TestIngestRefusesGap(t *testing.T) {
	s := newService(t, Config{})
	for _, have := range []int64{0, 10} {
		a := send(t, s, batchOf(run, 1, have+1, 5), batchOf(run, 1, have+6, 5))
		require.True(t, a.Gap)
		require.Equal(t, have, a.DurableStep)
		require.Contains(t, a.Error, "beyond durable_step")
		durable(t, s, have+10, batchOf(run, 1, have, 10))
	}
}

func TestIngestFencesOvertakenAttempts(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 100, batchOf(run, 1, 0, 100))
	durable(t, s, 100, batchOf(run, 3, 0, 60))
	durable(t, s, 110, batchOf(run, 1, 100, 10))
	require.True(t, send(t, s, batchOf(run, 2, 59, 100)).Fenced)
	durable(t, s, 120, batchOf(run, 2, 110, 10))
	durable(t, s, 130, batchOf(run, 3, 120, 10))
	require.True(t, send(t, s, batchOf(run, 2, 129, 10)).Fenced)
	// The next segment counts its attempts anew.
	durable(t, s, 140, batchOf(run, 1, 130, 10))
	require.True(t, send(t, s, &pb.MetricBatch{Run: run, Attempt: 1, FirstStep: 100}).Fenced, "asking is fenced too")
	require.Equal(t, sent(0, 140), stored(t, s, run, ""))
}

func TestForkBeginsAnywhere(t *testing.T) {
	s := newService(t, Config{})
	fork := func(first, n int64) *pb.MetricBatch {
		b := batchOf(run, 1, first, n)
		b.Track = "fork@1"
		return b
	}
	durable(t, s, 500, &pb.MetricBatch{Run: run, Track: "fork@1", FirstStep: 500})
	durable(t, s, 510, fork(500, 10))
	require.True(t, send(t, s, fork(511, 10)).Gap)
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	require.Equal(t, sent(500, 510), stored(t, s, run, "fork@1"))
	require.Equal(t, sent(0, 10), stored(t, s, run, ""))
}

func TestIngestRefusesMalformedBatches(t *testing.T) {
	column := func(c *pb.MetricColumn) *pb.MetricBatch {
		return &pb.MetricBatch{Run: run, NSteps: 3, Columns: []*pb.MetricColumn{c}}
	}
	for name, c := range map[string]struct {
		batch *pb.MetricBatch
		want  string
	}{
		"too few values":    {column(&pb.MetricColumn{Metric: "a", Values: []float32{1}}), "1 values without offsets for 3 steps"},
		"values to offsets": {column(&pb.MetricColumn{Metric: "a", Offsets: []uint32{0, 1}, Values: []float32{1}}), "1 values for 2 offsets"},
		"equal offsets":     {column(&pb.MetricColumn{Metric: "a", Offsets: []uint32{1, 1}, Values: []float32{1, 2}}), "not ascending"},
		"falling offsets":   {column(&pb.MetricColumn{Metric: "a", Offsets: []uint32{2, 1}, Values: []float32{1, 2}}), "not ascending"},
		"offset beyond":     {column(&pb.MetricColumn{Metric: "a", Offsets: []uint32{3}, Values: []float32{1}}), "below n_steps"},
		"metric name":       {column(&pb.MetricColumn{Metric: "../a"}), "metric is not a name"},
		"layer":             {column(&pb.MetricColumn{Metric: "a", Layer: strings.Repeat("x", 65)}), "layer"},
		"nil column":        {column(nil), "metric is not a name"},
		"twice": {&pb.MetricBatch{Run: run, NSteps: 1, Columns: []*pb.MetricColumn{
			{Metric: "a", Values: []float32{1}}, {Metric: "a", Values: []float32{1}}}}, "repeats"},
		"negative step":    {&pb.MetricBatch{Run: run, FirstStep: -1, NSteps: 1}, "first_step"},
		"far step":         {&pb.MetricBatch{Run: run, FirstStep: 1<<63 - 1, NSteps: 1}, "first_step"},
		"many steps":       {&pb.MetricBatch{Run: run, NSteps: metric.MaxSteps + 1}, "n_steps"},
		"negative attempt": {&pb.MetricBatch{Run: run, Attempt: -1, NSteps: 1}, "attempt"},
		"arm":              {&pb.MetricBatch{Run: run, Arm: "\xff", NSteps: 1}, "arm"},
		"columns":          {&pb.MetricBatch{Run: run, NSteps: 1, Columns: make([]*pb.MetricColumn, metric.MaxColumns+1)}, "columns"},
		"run":              {&pb.MetricBatch{Run: "no-slashes", NSteps: 1}, "<experiment>/<trial>/<seed>"},
		"run bytes":        {&pb.MetricBatch{Run: "a/\xff/c", NSteps: 1}, "UTF-8"},
		"long run":         {&pb.MetricBatch{Run: "a/" + strings.Repeat("b", 512) + "/c", NSteps: 1}, "512"},
		"track":            {&pb.MetricBatch{Run: run, Track: strings.Repeat("x", 65), NSteps: 1}, "track"},
		"nil":              {nil, "<experiment>/<trial>/<seed>"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, Config{})
			a := send(t, s, c.batch)
			require.Contains(t, a.Error, c.want)
			require.Zero(t, a.DurableStep)
			require.False(t, a.Gap)
			durable(t, s, 10, batchOf(run, 1, 0, 10))
		})
	}
}

func TestTrackSeriesAreBounded(t *testing.T) {
	s := newService(t, Config{})
	layer := 0
	many := func(first int64, n int) *pb.MetricBatch {
		b := &pb.MetricBatch{Run: run, FirstStep: first, NSteps: 1}
		for range n {
			layer++
			b.Columns = append(b.Columns, &pb.MetricColumn{Metric: "m", Layer: string(rune('a'+layer%26)) + time.Duration(layer).String(), Values: []float32{1}})
		}
		return b
	}
	for i := range int64(maxTrackSeries / metric.MaxColumns) {
		durable(t, s, i+1, many(i, metric.MaxColumns))
	}
	a := send(t, s, many(4, 1))
	require.Contains(t, a.Error, "series")
	durable(t, s, 5, &pb.MetricBatch{Run: run, FirstStep: 4, NSteps: 1})
}

func TestHostileRunIDsStayInTheFolder(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	s := open(t, data, Config{})
	ids := []string{
		"../../etc/passwd", "a/../../../b/1", "./../1", "../x/y", "a/b/..", "a/\x00/1", "a/b\nc/1", `a\..\..\b/c/1`,
		"A/b/1", "a/B/1", "a/b@1@main/1", "a/b/1@main", "a/%2e%2e/1", ".deleted-x/b/1", ".lock/b/1", "~/b/1", "-/-/-",
		"a/" + strings.Repeat("x", 400) + "/1", "a/" + strings.Repeat("x", 401) + "/1", strings.Repeat("ü", 200) + "/b/1",
	}
	for i, id := range ids {
		durable(t, s, int64(i)+1, batchOf(id, 1, 0, int64(i)+1))
	}
	require.NoError(t, s.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing beside the data folder")
	s = open(t, data, Config{})
	defer func() { require.NoError(t, s.Close()) }()
	for i, id := range ids {
		durable(t, s, int64(i)+1, ask(id))
		require.Equal(t, sent(0, int64(i)+1), stored(t, s, id, ""))
	}
}

func TestFileNamesAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringOfN(rapid.RuneFrom([]rune("aA/.@%~-_2f")), 1, 8, -1)
		name := func(label string) (metric.Track, error) {
			return metric.NewTrack(part.Draw(t, label)+"/"+part.Draw(t, label)+"/"+part.Draw(t, label), part.Draw(t, label))
		}
		a, err := name("a")
		b, errB := name("b")
		if err != nil || errB != nil {
			return
		}
		dirA, fileA := fileNames(a)
		dirB, fileB := fileNames(b)
		require.Equal(t, a == b, strings.EqualFold(dirA, dirB) && strings.EqualFold(fileA, fileB))
		require.True(t, filepath.IsLocal(filepath.Join(dirA, fileA)))
		require.NotContains(t, dirA+fileA, "/")
		require.False(t, strings.HasPrefix(dirA, "."))
	})
}

// Random batches with duplicates, overlaps and restarts, and a log cut at any
// byte: what was acknowledged and not cut is there, once, and sending goes on
// from the durable step.
func TestDurablePrefixSurvivesAnything(t *testing.T) {
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		require.NoError(t, err)
		s := open(t, dir, Config{MaxOpenLogs: 1})
		defer func() { require.NoError(t, s.Close()) }()
		other := "exp/trial/2" // keeps the only open log changing
		have, otherHave := int64(0), int64(0)
		for range rapid.IntRange(1, 12).Draw(t, "n") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			default:
				first := rapid.Int64Range(max(0, have-20), have).Draw(t, "first")
				n := rapid.Int64Range(1, 40).Draw(t, "steps")
				have = max(have, first+n)
				durable(t, s, have, batchOf(run, 1, first, n))
			case 1:
				durable(t, s, otherHave+5, batchOf(other, 1, otherHave, 5))
				otherHave += 5
			case 2:
				require.NoError(t, s.Close())
				s = open(t, dir, Config{MaxOpenLogs: 1})
			case 3:
				require.NoError(t, s.Close())
				path := s.store.path(metric.Track{Run: run, Name: metric.MainTrack}) + logExt
				if info, err := os.Stat(path); err == nil {
					require.NoError(t, os.Truncate(path, rapid.Int64Range(0, info.Size()).Draw(t, "cut")))
				}
				s = open(t, dir, Config{MaxOpenLogs: 1})
				left := send(t, s, ask(run)).DurableStep
				require.LessOrEqual(t, left, have)
				have = left
			}
			if have > 0 {
				require.Equal(t, sent(0, have), stored(t, s, run, ""))
			}
			require.LessOrEqual(t, s.store.open.Len(), 1)
		}
		if rapid.Bool().Draw(t, "finish") {
			require.True(t, send(t, s, lastAt(have)).Complete)
			require.NoError(t, s.Sealed(s.stop))
			_, err := s.ParquetFile(run, "")
			require.NoError(t, err)
			if have > 0 {
				require.Equal(t, sent(0, have), stored(t, s, run, ""))
			}
		}
	})
}

func TestRestartReportsTornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	durable(t, s, 20, batchOf(run, 1, 10, 10))
	require.NoError(t, s.Close())
	path := s.store.path(metric.Track{Run: run, Name: metric.MainTrack}) + logExt
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()-1))

	var log bytes.Buffer
	s, err = New(Deps{Logger: slog.New(slog.NewTextHandler(&log, nil))}, Config{Dir: dir})
	require.NoError(t, err)
	require.Contains(t, log.String(), "torn tail")
	require.Contains(t, log.String(), "durable_step=10")
	require.Equal(t, s.store.tracks[metric.Track{Run: run, Name: metric.MainTrack}].size, mustSize(t, path))
	durable(t, s, 20, batchOf(run, 1, 10, 10))
	require.Equal(t, sent(0, 20), stored(t, s, run, ""))
	require.NoError(t, s.Close())
}

func TestForeignFilesAreSetAside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	require.NoError(t, s.Close())
	path := s.store.path(metric.Track{Run: run, Name: metric.MainTrack}) + logExt
	moved := filepath.Join(filepath.Dir(path), "other@1@main"+logExt)
	require.NoError(t, os.Rename(path, moved))
	require.NoError(t, os.WriteFile(path, []byte("not a log at all"), 0o644))
	s = open(t, dir, Config{})
	defer func() { require.NoError(t, s.Close()) }()
	require.FileExists(t, moved+badExt)
	require.FileExists(t, path+badExt)
	durable(t, s, 10, batchOf(run, 1, 0, 10))
}

func TestFolderIsUsedOnce(t *testing.T) {
	s := newService(t, Config{})
	_, err := New(Deps{Logger: discard()}, Config{Dir: s.store.dir})
	require.ErrorContains(t, err, "another metrics service uses it")
}

// brokenDisk writes part of what it is given and then fails, as long as the test says.
type brokenDisk struct {
	logFile
	fail *failure
}

type failure struct{ write, sync, truncate error }

func (d brokenDisk) WriteAt(b []byte, off int64) (int, error) {
	if d.fail.write != nil {
		n, _ := d.logFile.WriteAt(b[:len(b)/2], off)
		return n, d.fail.write
	}
	return d.logFile.WriteAt(b, off)
}

func (d brokenDisk) Sync() error { return errors.Join(d.fail.sync, d.logFile.Sync()) }

func (d brokenDisk) Truncate(n int64) error {
	if d.fail.truncate != nil {
		return d.fail.truncate
	}
	return d.logFile.Truncate(n)
}

func TestDiskTroubleIsNotAcknowledged(t *testing.T) {
	for name, bad := range map[string]failure{
		"full":                 {write: syscall.ENOSPC},
		"sync":                 {sync: syscall.EIO},
		"cannot even truncate": {write: syscall.ENOSPC, truncate: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Config{})
			fail := &failure{}
			s.store.openLog = func(path string) (logFile, error) {
				f, err := openLogFile(path)
				return brokenDisk{f, fail}, err
			}
			refused := func(batches ...*pb.MetricBatch) {
				t.Helper()
				acks, err := s.report(batches)
				require.Equal(t, codes.ResourceExhausted, status.Code(err))
				require.ErrorContains(t, err, "exp/trial/1")
				require.Empty(t, acks)
			}
			*fail = bad
			refused(batchOf(run, 1, 0, 10))
			require.Empty(t, s.store.tracks)
			*fail = failure{}
			durable(t, s, 10, batchOf(run, 1, 0, 10))
			*fail = bad
			refused(batchOf(run, 1, 10, 50), batchOf(run, 1, 60, 10))
			refused(batchOf(run, 1, 10, 20))
			require.Equal(t, sent(0, 10), stored(t, s, run, ""))
			*fail = failure{}
			// A shorter record than the torn one.
			durable(t, s, 11, batchOf(run, 1, 10, 1))
			key := metric.Track{Run: run, Name: metric.MainTrack}
			require.Equal(t, s.store.tracks[key].size, mustSize(t, s.store.path(key)+logExt), "the torn bytes are gone")
			require.NoError(t, s.Close())
			s = open(t, dir, Config{})
			durable(t, s, 11, ask(run))
			require.Equal(t, sent(0, 11), stored(t, s, run, ""))
			require.NoError(t, s.Close())
		})
	}
}

func TestDiskTroubleOfOneRunLeavesTheOthers(t *testing.T) {
	s := newService(t, Config{})
	fail := &failure{write: syscall.ENOSPC}
	s.store.openLog = func(path string) (logFile, error) {
		f, err := openLogFile(path)
		if strings.Contains(path, "@2@") {
			return brokenDisk{f, fail}, err
		}
		return f, err
	}
	acks, err := s.report([]*pb.MetricBatch{batchOf(run, 1, 0, 10), batchOf("exp/trial/2", 1, 0, 10)})
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.Len(t, acks, 1)
	require.EqualValues(t, 10, acks[0].DurableStep)
}

func TestDelete(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 10, batchOf("a/t/1", 1, 0, 10))
	durable(t, s, 10, batchOf("a/t/2", 1, 0, 10), &pb.MetricBatch{Run: "a/t/2", FirstStep: 10, Last: true})
	durable(t, s, 10, batchOf("ab/t/1", 1, 0, 10))
	require.NoError(t, s.Sealed(t.Context()))
	require.NoError(t, s.Delete("a"))
	require.NoError(t, s.Delete("unknown"))
	require.Error(t, s.Delete(""))
	require.NoError(t, s.Delete(".."))
	for _, id := range []string{"a/t/1", "a/t/2"} {
		durable(t, s, 0, ask(id))
	}
	_, err := s.ParquetFile("a/t/2", "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, sent(0, 10), stored(t, s, "ab/t/1", ""))
	require.NoDirExists(t, filepath.Join(s.store.dir, "a"))
	durable(t, s, 4, batchOf("a/t/1", 1, 0, 4))
	require.Equal(t, sent(0, 4), stored(t, s, "a/t/1", ""))
}

// Who holds a track that was dropped meanwhile must not bring it back to life
// beside its successor.
func TestDroppedTrackTakesNothing(t *testing.T) {
	s := newService(t, Config{})
	durable(t, s, 10, batchOf(run, 1, 0, 10))
	old, err := s.store.lookup(metric.Track{Run: run, Name: metric.MainTrack})
	require.NoError(t, err)
	require.NoError(t, s.Delete("exp"))
	r, err := s.reportLocked(old, []*pb.MetricBatch{batchOf(run, 1, 10, 10)})
	require.NoError(t, err)
	require.Nil(t, r)
	_, again, err := s.openTrack(old)
	require.NoError(t, err)
	require.True(t, again)
	durable(t, s, 5, batchOf(run, 1, 0, 5))
	require.Equal(t, sent(0, 5), stored(t, s, run, ""))
}
