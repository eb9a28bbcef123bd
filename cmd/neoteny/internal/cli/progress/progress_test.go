package progress

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a bytes.Buffer that a test may read while a reporter writes.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) lines() []string {
	s := strings.TrimSuffix(b.String(), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// Of an experiment that others made, its own time is shown, not that of the watch.
func TestTimeOfAnEndedExperiment(t *testing.T) {
	s := State{ID: "quick-1", Phase: "done", Ended: true, Runs: 1, RunsDone: 1, Tasks: 2, TasksDone: 2, Steps: 30, StepsDone: 30, Elapsed: 90 * time.Minute}
	for _, terminal := range []bool{false, true} {
		var out buffer
		r := New(Config{Out: &out, Terminal: terminal})
		r.Update(s)
		r.Close()
		require.Contains(t, out.String(), "quick-1: done, 100 %, 2/2 tasks, 1/1 runs, 30 steps, 1h30m")
	}
}

func TestPlainLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		r := New(Config{Out: &out})
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, out.lines(), "nothing is known yet")

		s := State{ID: "quick-1", Phase: "pending", Message: "no worker\nis free", Runs: 4, Tasks: 40, Steps: 4000}
		r.Update(s)
		synctest.Wait()
		require.Equal(t, []string{"quick-1: pending, 0 %, 0/40 tasks, 0/4 runs (no worker is free)"}, out.lines())
		time.Sleep(50 * time.Second)
		synctest.Wait()
		require.Len(t, out.lines(), 1, "an unchanged line is not said again")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, out.lines(), 2, "but now and then it is")

		s.Phase, s.Message = "running", ""
		time.Sleep(time.Second)
		r.Update(s)
		for range 4 {
			time.Sleep(5 * time.Second) // between two ticks
			s.StepsDone += 500
			s.TasksDone += 5
			r.Update(s)
		}
		synctest.Wait()
		last := out.lines()[len(out.lines())-1]
		require.Equal(t, "quick-1: running, 37 %, 15/40 tasks, 0/4 runs, 0.79 tasks/s, 79 steps/s, 32s left", last)

		s.Phase, s.Ended, s.StepsDone, s.TasksDone, s.RunsDone, s.RunsFailed = "failed", true, 3000, 30, 3, 1
		r.Update(s)
		r.Close()
		require.Equal(t, "quick-1: failed, 75 %, 30/40 tasks, 3/4 runs, 1 failed, 3000 steps, 3m11s", out.lines()[len(out.lines())-1])
		n := len(out.lines())
		r.Close()
		r.Update(s)
		require.Len(t, out.lines(), n, "closed")
	})
}

func TestLiveStepsCountBeforeTheyAreCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		var mu sync.Mutex
		live := int64(0)
		r := New(Config{Out: &out, Live: func() int64 { mu.Lock(); defer mu.Unlock(); return live }})
		s := State{ID: "x", Phase: "running", Tasks: 10, Steps: 10_000, StepsDone: 2000, TasksDone: 2, Runs: 1}
		r.Update(s)
		synctest.Wait()
		for range 3 {
			time.Sleep(5*time.Second - time.Millisecond)
			mu.Lock()
			live += 1000
			mu.Unlock()
			synctest.Wait()
		}
		synctest.Wait()
		require.Equal(t, "x: running, 40 %, 2/10 tasks, 0/1 runs, 0.20 tasks/s, 200 steps/s, 30s left", out.lines()[len(out.lines())-1])
		mu.Lock()
		live = 1 << 40 // steps made again after a loss
		mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Contains(t, out.lines()[len(out.lines())-1], "100 %, 2/10 tasks")
		r.Close()
	})
}

// stuck never takes a byte.
type stuck struct{ block chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.block; return len(p), nil }

func TestNeverBlocksOnAReaderThatStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{make(chan struct{})}
		r := New(Config{Out: out})
		start := time.Now()
		for i := range 100 {
			r.Update(State{ID: "x", Phase: "running", RunsFailed: int64(i)})
		}
		require.Zero(t, time.Since(start))
		r.Close()
		require.Equal(t, closeTimeout, time.Since(start))
		close(out.block)
		synctest.Wait()
	})
}

func TestBar(t *testing.T) {
	var out buffer
	r := New(Config{Out: &out, Terminal: true})
	s := State{ID: "quick-1", Phase: "running", Runs: 4, Tasks: 40, Steps: 4000, TasksDone: 10, StepsDone: 1000}
	r.Update(s)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "quick-1 [") }, 10*time.Second, time.Millisecond)
	_, err := io.WriteString(r, "a log line\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "a log line\n") }, 10*time.Second, time.Millisecond)
	require.Contains(t, out.String(), "25 % 10/40 tasks, 0/4 runs")
	s.Phase, s.Ended, s.TasksDone, s.StepsDone, s.RunsDone = "done", true, 40, 4000, 4
	r.Update(s)
	r.Close()
	require.Contains(t, out.String(), "quick-1: done, 100 %, 40/40 tasks, 4/4 runs, 4000 steps")
	_, err = io.WriteString(r, "after\n")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out.String(), "after\n"))
}

func TestMeter(t *testing.T) {
	m := meter{window: liveWindow}
	at := time.Unix(1000, 0)
	require.Zero(t, m.rate())
	m.observe(at, 5)
	require.Zero(t, m.rate())
	m.observe(at, 9)
	require.Zero(t, m.rate(), "no time has passed")
	for i := range 100 {
		m.observe(at.Add(time.Duration(i+1)*time.Second), int64(9+10*(i+1)))
	}
	require.InDelta(t, 10, m.rate(), 1e-9)
	require.LessOrEqual(t, len(m.samples), 22)
	m.observe(at.Add(101*time.Second), 3)
	require.Zero(t, m.rate(), "the counter went back")
	m.observe(at.Add(103*time.Second), 7)
	require.InDelta(t, 2, m.rate(), 1e-9)
}
