package metricsclient_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"neoteny/internal/metric"
	"neoteny/internal/metricsclient"
	pb "neoteny/proto/neoteny/v1"
)

func TestStream(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{})
	w, err := c.Open(run, "", "backprop", 1, 0)
	require.NoError(t, err)
	var next int64
	for _, n := range []int64{1, 300, 5000, 17, 9000} {
		require.NoError(t, w.Append(t.Context(), rowsOf(next, n)))
		next += n
	}
	m, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.Equal(t, next, m.Steps)
	require.Equal(t, next+(next+9)/10, m.Values)
	requireSteps(t, s.query(run, ""), 0, next)

	again, err := w.Finish(t.Context())
	require.NoError(t, err)
	require.Equal(t, m.Values, again.Values)
	w.Close()
	require.NoError(t, s.svc.Sealed(t.Context()))
	_, err = s.svc.ParquetFile(run, "main")
	require.NoError(t, err)
	requireSteps(t, s.query(run, ""), 0, next)
}

// The service is killed again and again in the midst of several runs and comes
// back on the same folder: no row is lost or doubled.
func TestServiceRestarts(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{FlushRows: 50, FlushEvery: time.Millisecond})
	const runs, blocks, size = 4, 60, 37
	var workers sync.WaitGroup
	for i := range runs {
		workers.Go(func() {
			w, err := c.Open(fmt.Sprintf("exp/trial/%d", i), "", "arm", 1, 0)
			if !assert.NoError(t, err) {
				return
			}
			defer w.Close()
			for b := range int64(blocks) {
				if !assert.NoError(t, w.Append(t.Context(), rowsOf(b*size, size))) {
					return
				}
				if b%20 == 19 {
					m, err := w.Flush(t.Context())
					if !assert.NoError(t, err) {
						return
					}
					assert.Equal(t, (b+1)*size, m.Steps)
				}
			}
			_, err = w.Finish(t.Context())
			assert.NoError(t, err)
		})
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for ended := false; !ended; {
		s.stop()
		s.start()
		select {
		case <-done:
			ended = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	require.NoError(t, s.svc.Sealed(t.Context()))
	for i := range runs {
		requireSteps(t, s.query(fmt.Sprintf("exp/trial/%d", i), ""), 0, blocks*size)
	}
}

func TestSlowServiceSpillsAndTrainingGoesOn(t *testing.T) {
	s, g := gatedServer(t)
	reg := prometheus.NewPedanticRegistry()
	dir := t.TempDir()
	c := s.client(metricsclient.Config{
		MemoryBytes: 64 << 10, SpillDir: dir, SpillBytes: 64 << 20, FlushRows: 512, Registerer: reg,
	})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	defer w.Close()
	const steps = 200000
	for first := int64(0); first < steps; first += 1000 {
		require.NoError(t, w.Append(t.Context(), rowsOf(first, 1000)))
	}
	require.Positive(t, value(t, reg, "spill_bytes"))
	require.LessOrEqual(t, value(t, reg, "queued_bytes"), float64(64<<10))
	require.Zero(t, value(t, reg, "paused"))
	require.EqualValues(t, steps, value(t, reg, "unacknowledged_steps"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries, "spill files vanish with the process")
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)

	close(g.open)
	_, err = w.Flush(t.Context())
	require.NoError(t, err)
	requireSteps(t, s.query(run, ""), 0, steps)
	for _, name := range []string{"spill_bytes", "queued_bytes", "unacknowledged_steps"} {
		require.Zero(t, value(t, reg, name), name)
	}
	require.LessOrEqual(t, g.largest, 1<<20)
}

func TestFullQuotaPausesVisibly(t *testing.T) {
	s, g := gatedServer(t)
	reg := prometheus.NewPedanticRegistry()
	var log lockedBuffer
	c := s.client(metricsclient.Config{
		MemoryBytes: 32 << 10, SpillDir: t.TempDir(), SpillBytes: 64 << 10, FlushRows: 512, Registerer: reg,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	defer w.Close()
	const steps = 100000
	appended := make(chan error, 1)
	go func() {
		for first := int64(0); first < steps; first += 1000 {
			if err := w.Append(t.Context(), rowsOf(first, 1000)); err != nil {
				appended <- err
				return
			}
		}
		appended <- nil
	}()
	require.Eventually(t, func() bool { return value(t, reg, "paused") == 1 }, 10*time.Second, time.Millisecond)
	require.Contains(t, log.String(), "training pauses")
	require.LessOrEqual(t, value(t, reg, "spill_bytes"), float64(64<<10))
	close(g.open)
	require.NoError(t, <-appended)
	_, err = w.Flush(t.Context())
	require.NoError(t, err)
	require.Zero(t, value(t, reg, "paused"))
	requireSteps(t, s.query(run, ""), 0, steps)
}

func TestPausedAppendEnds(t *testing.T) {
	for name, end := range map[string]func(cancel func(), c *metricsclient.Client, w *metricsclient.Writer){
		"by its context": func(cancel func(), _ *metricsclient.Client, _ *metricsclient.Writer) { cancel() },
		"by close":       func(_ func(), _ *metricsclient.Client, w *metricsclient.Writer) { w.Close() },
		"with the client": func(_ func(), c *metricsclient.Client, _ *metricsclient.Writer) {
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := gatedServer(t)
			reg := prometheus.NewPedanticRegistry()
			c := s.client(metricsclient.Config{MemoryBytes: 1, FlushRows: 10, Registerer: reg})
			w, err := c.Open(run, "", "arm", 1, 0)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			appended := make(chan error, 1)
			go func() { appended <- w.Append(ctx, rowsOf(0, 100)) }()
			require.Eventually(t, func() bool { return value(t, reg, "paused") == 1 }, 10*time.Second, time.Millisecond)
			end(cancel, c, w)
			require.Error(t, <-appended)
			require.Error(t, w.Append(t.Context(), rowsOf(100, 1)), "there would be a hole")
			w.Close()
		})
	}
}

func TestFenced(t *testing.T) {
	s := newTestServer(t)
	stale, fresh := s.client(metricsclient.Config{}), s.client(metricsclient.Config{})
	old, err := stale.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	require.NoError(t, old.Append(t.Context(), rowsOf(0, 10)))
	_, err = old.Flush(t.Context())
	require.NoError(t, err)
	w, err := fresh.Open(run, "", "arm", 2, 0)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(0, 30)))
	m, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 30, m.Steps, "counts what was appended, known or not")
	require.NoError(t, old.Append(t.Context(), rowsOf(10, 10)))
	_, err = old.Flush(t.Context())
	require.ErrorIs(t, err, metricsclient.ErrFenced)
	require.ErrorIs(t, old.Append(t.Context(), rowsOf(20, 10)), metricsclient.ErrFenced)
	old.Close()
	// Opened for its next piece of work, the same worker is heard again.
	old, err = stale.Open(run, "", "arm", 3, 20)
	require.NoError(t, err)
	require.NoError(t, old.Append(t.Context(), rowsOf(20, 20)))
	_, err = old.Flush(t.Context())
	require.NoError(t, err)
	requireSteps(t, s.query(run, ""), 0, 40)
	old.Close()
	w.Close()
}

// A segment that is done again from its start: what the service has is not even
// sent, and the manifest is the same.
func TestRowsDoneAgain(t *testing.T) {
	s, g := gatedServer(t)
	close(g.open)
	c := s.client(metricsclient.Config{})
	var manifests []*pb.MetricManifest
	for attempt := int64(1); attempt <= 2; attempt++ {
		w, err := c.Open(run, "", "arm", attempt, 0)
		require.NoError(t, err)
		_, err = w.Flush(t.Context()) // hears what the service has
		require.NoError(t, err)
		for first := int64(0); first < 9000; first += 900 {
			require.NoError(t, w.Append(t.Context(), rowsOf(first, 900)))
		}
		m, err := w.Flush(t.Context())
		require.NoError(t, err)
		manifests = append(manifests, m)
		w.Close()
	}
	require.True(t, proto.Equal(manifests[0], manifests[1]))
	requireSteps(t, s.query(run, ""), 0, 9000)
	require.LessOrEqual(t, g.batches, 3+2)
}

func TestLostVolumeIsAnError(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{})
	w, err := c.Open(run, "", "arm", 1, 500)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(500, 10)))
	_, err = w.Flush(t.Context())
	var gap *metricsclient.GapError
	require.ErrorAs(t, err, &gap)
	require.Equal(t, metricsclient.GapError{Run: run, Track: "main", Durable: 0, FirstUnsent: 500}, *gap)
	require.ErrorAs(t, w.Append(t.Context(), rowsOf(510, 10)), &gap)
	w.Close()

	// Also when it is lost while the writer is at work.
	w, err = c.Open("exp/trial/2", "", "arm", 1, 0)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(0, 10)))
	_, err = w.Flush(t.Context())
	require.NoError(t, err)
	s.stop()
	s.dir = t.TempDir()
	s.start()
	require.NoError(t, w.Append(t.Context(), rowsOf(10, 10)))
	_, err = w.Flush(t.Context())
	require.ErrorAs(t, err, &gap)
	require.EqualValues(t, 10, gap.FirstUnsent)
	w.Close()
}

func TestForkTrack(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{})
	w, err := c.Open(run, "fork", "arm", 1, 500)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(500, 10)))
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	w.Close()
	requireSteps(t, s.query(run, "fork"), 500, 510)
}

func TestRowsBeyondTheLastAreRefused(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(0, 10)))
	_, err = w.Finish(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, w.Append(t.Context(), rowsOf(10, 1)), "finished")
	w.Close()
	w, err = c.Open(run, "", "arm", 2, 10)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(10, 1)))
	_, err = w.Flush(t.Context())
	var refused *metricsclient.RefusedError
	require.ErrorAs(t, err, &refused)
	require.Contains(t, err.Error(), "complete at step 10")
	w.Close()
}

// A writer given up with requests under way, and the track opened again further
// back or under another attempt: late answers are not taken for the new one's.
func TestOpenAgainAfterGivingUp(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{FlushRows: 10, FlushEvery: time.Microsecond})
	at := int64(0)
	for attempt := range int64(50) {
		w, err := c.Open(run, "", "arm", attempt+1, at)
		require.NoError(t, err)
		require.NoError(t, w.Append(t.Context(), rowsOf(at, 25)))
		if attempt%3 == 0 {
			_, err := w.Flush(t.Context())
			require.NoError(t, err)
			at += 25
		}
		require.NoError(t, w.Append(t.Context(), rowsOf(map[bool]int64{true: at, false: at + 25}[attempt%3 == 0], 35)))
		w.Close()
	}
	w, err := c.Open(run, "", "arm", 100, at)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(at, 100)))
	_, err = w.Flush(t.Context())
	require.NoError(t, err)
	requireSteps(t, s.query(run, ""), 0, at+100)
	w.Close()
}

func TestStepsOfTinyRunsTravelTogether(t *testing.T) {
	s, g := gatedServer(t)
	close(g.open)
	c := s.client(metricsclient.Config{FlushEvery: time.Hour})
	const runs, steps = 8, 2000
	var writers []*metricsclient.Writer
	for i := range runs {
		w, err := c.Open(fmt.Sprintf("exp/trial/%d", i), "", "arm", 1, 0)
		require.NoError(t, err)
		defer w.Close()
		writers = append(writers, w)
	}
	buffer := rowsOf(0, 1)
	for step := range int64(steps) {
		for _, w := range writers {
			// The caller uses its buffers again at once.
			buffer.First = step
			buffer.Series[0].Values[0] = float32(step)
			buffer.Series[1].Offsets, buffer.Series[1].Values = buffer.Series[1].Offsets[:0], buffer.Series[1].Values[:0]
			if step%10 == 0 {
				buffer.Series[1].Offsets = append(buffer.Series[1].Offsets, 0)
				buffer.Series[1].Values = append(buffer.Series[1].Values, -float32(step))
			}
			require.NoError(t, w.Append(t.Context(), buffer))
		}
	}
	for i, w := range writers {
		_, err := w.Flush(t.Context())
		require.NoError(t, err)
		requireSteps(t, s.query(fmt.Sprintf("exp/trial/%d", i), ""), 0, steps)
	}
	require.LessOrEqual(t, g.batches, 2*runs, "one to ask and one of rows each")
}

func TestMisuse(t *testing.T) {
	s := newTestServer(t)
	c := s.client(metricsclient.Config{})
	w, err := c.Open(run, "", "arm", 1, 0)
	require.NoError(t, err)
	require.NoError(t, w.Append(t.Context(), rowsOf(0, 10)))
	_, err = c.Open(run, "main", "arm", 1, 10)
	require.ErrorContains(t, err, "open already")
	_, err = c.Open("", "", "arm", 1, 10)
	require.Error(t, err)
	_, err = c.Open(run, "x", "arm", -1, 10)
	require.Error(t, err)
	_, err = c.Open(run, "x", "a\xff", 1, 10)
	require.Error(t, err)
	column := metric.Column{Metric: "a"}
	for name, r := range map[string]metric.Rows{
		"gap":     rowsOf(11, 1),
		"overlap": rowsOf(9, 1),
		"dense":   {First: 10, N: 2, Series: []metric.Series{{Column: column, Values: []float32{1}}}},
		"offsets": {First: 10, N: 2, Series: []metric.Series{{Column: column, Offsets: []uint32{1, 1}, Values: []float32{1, 2}}}},
		"beyond":  {First: 10, N: 2, Series: []metric.Series{{Column: column, Offsets: []uint32{2}, Values: []float32{1}}}},
		"count":   {First: 10, N: 2, Series: []metric.Series{{Column: column, Offsets: []uint32{0}}}},
		"twice":   {First: 10, N: 1, Series: []metric.Series{{Column: column, Values: []float32{1}}, {Column: column, Values: []float32{1}}}},
		"metric":  {First: 10, N: 1, Series: []metric.Series{{Column: metric.Column{Metric: "A"}, Values: []float32{1}}}},
		"range":   {First: 10, N: -1},
	} {
		require.Error(t, w.Append(t.Context(), r), name)
	}
	require.NoError(t, c.Close())
	require.ErrorIs(t, w.Append(t.Context(), rowsOf(10, 1)), metricsclient.ErrClosed)
	_, err = w.Flush(t.Context())
	require.ErrorIs(t, err, metricsclient.ErrClosed)
	_, err = c.Open("exp/trial/2", "", "arm", 1, 10)
	require.ErrorIs(t, err, metricsclient.ErrClosed)
	w.Close()
}
