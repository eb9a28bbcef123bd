package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

func TestALostWorkersSegmentGoesToAnother(t *testing.T) {
	w := setup(t)
	id := w.submit("lost", shape{Tasks: 4, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	w1 := w.join("w1", 1)
	g := w1.waitHolding(1)[0]
	require.EqualValues(t, 1, g.Attempt)
	// The worker may hear of it before the coordinator's mirror does, which shows
	// the run as pending until then.
	w.eventually(func() bool { return w.runs(id)[0].State == runRunning }, "the assignment is to be mirrored")
	w1.leave()

	// No other worker is there: it waits, and w1 may still commit.
	w.eventually(func() bool { return w.runs(id)[0].State == runPending }, "segment is to be queued again")
	require.Contains(t, w.runs(id)[0].Message, "none is connected")
	require.NoError(t, w1.commit(g))
	w2 := w.join("w2", 1)
	g2 := w2.waitHolding(1)[0]
	require.EqualValues(t, 20, g2.Ref.FirstStep)
	require.NotNil(t, g2.Start)
	w2.leave()

	// Now another worker has it: the late worker is fenced.
	w3 := w.join("w3", 1)
	g3 := w3.waitHolding(1)[0]
	require.Equal(t, g2.Attempt+1, g3.Attempt)
	require.Greater(t, g2.Attempt, g.Attempt, "attempts rise over the whole track")
	require.ErrorIs(t, w2.commit(g2), cluster.ErrFenced)
	require.NoError(t, w3.commit(g3))
	w.waitState(id, expDone)
	require.Equal(t, wantDigest(id+"/a-0/0", 4, perTask), w.runs(id)[0].Digest)
	require.ErrorIs(t, w2.commit(g2), cluster.ErrFenced)
}

func TestYieldPutsTheRestBack(t *testing.T) {
	w := setup(t)
	id := w.submit("yield", shape{Tasks: 5, Steps: perTask, Segment: 3, Arms: map[string]int{"a": 1}, Seeds: []uint32{7}})
	w1 := w.join("w1", 1)
	g := w1.waitHolding(1)[0]
	// In the middle of the second task.
	require.NoError(t, w1.yield(g, 15))
	w.eventually(func() bool { h := w1.holding(); return len(h) == 1 && h[0].Ref.FirstStep == 15 }, "the rest is to be assigned")
	rest := w1.holding()[0]
	require.EqualValues(t, 30, rest.Ref.EndStep)
	r := w.run(id + "/a-0/7")
	require.EqualValues(t, 15, r.Run.StepsDone)
	require.EqualValues(t, 1, r.Run.TasksDone)
	require.Len(t, r.Table.Rows, 1)
	w1.work()
	w.waitState(id, expDone)
	r = w.run(id + "/a-0/7")
	require.Equal(t, wantDigest(r.Run.Id, 5, perTask), r.Run.Digest)
	require.EqualValues(t, 2, r.Run.Segments)
}

func TestFailuresAreTriedElsewhereThenEndTheRun(t *testing.T) {
	w := setup(t)
	w.cfg.WorkerFailures = 100
	w.kill()
	w.start()
	one := shape{Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}}
	w1 := w.join("w1", 1)
	id := w.submit("fails", one)
	g := w1.waitHolding(1)[0]
	w2, w3 := w.join("w2", 1), w.join("w3", 1)
	require.NoError(t, w1.fail(g, "disk is full", false))
	// Not to the same worker again while there are others.
	w.eventually(func() bool { return len(w2.holding())+len(w3.holding()) == 1 }, "another worker is to get it")
	w1.waitHolding(0)
	if len(w2.holding()) == 0 {
		w2, w3 = w3, w2
	}
	require.NoError(t, w2.fail(w2.holding()[0], "no GPU", false))
	require.NoError(t, w3.fail(w3.waitHolding(1)[0], "out of memory", false))
	e := w.waitState(id, expFailed)
	require.Contains(t, e.Message, "out of memory")
	require.Contains(t, w.runs(id)[0].Message, "failed 3 times")

	// Two runs, one at fault: the other is done all the same.
	id = w.submit("permanent", shape{Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}})
	all := []*fakeWorker{w1, w2, w3}
	w.eventually(func() bool { return len(w1.holding())+len(w2.holding())+len(w3.holding()) == 2 }, "both are to be assigned")
	for _, f := range all {
		for _, g := range f.holding() {
			if g.Ref.Run == id+"/a-0/0" {
				require.NoError(t, f.fail(g, "loss is NaN at step 3", true))
				require.ErrorIs(t, f.commit(g), cluster.ErrFenced)
			} else {
				require.NoError(t, f.commit(g))
			}
		}
	}
	e = w.waitState(id, expFailed)
	require.EqualValues(t, 1, e.Progress.RunsFailed)
	require.EqualValues(t, 1, e.Progress.RunsDone)
	require.Equal(t, "1 of 2 runs failed; "+id+"/a-0/0: loss is NaN at step 3", e.Message)
}

func TestALoneWorkerMayTryAgain(t *testing.T) {
	w := setup(t)
	w1 := w.join("w1", 1)
	id := w.submit("again", shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	require.NoError(t, w1.fail(w1.waitHolding(1)[0], "connection reset", false))
	w.eventually(func() bool { h := w1.holding(); return len(h) == 1 && h[0].Attempt == 2 }, "second try")
	require.NoError(t, w1.commit(w1.holding()[0]))
	w.waitState(id, expDone)
}

func TestAWorkerThatFailsAgainAndAgainIsLeftOut(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	var clock atomic.Int64
	w.cfg.Now = func() time.Time { return time.Unix(1e9+clock.Load(), 0) }
	w.start()
	bad := w.join("bad", 1)
	id := w.submit("breaker", shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1, 2, 3}})
	failed := map[string]bool{}
	for range 3 {
		w.eventually(func() bool {
			h := bad.holding()
			return len(h) == 1 && !failed[fmt.Sprint(h[0].Ref.Run, h[0].Attempt)]
		}, "next")
		g := bad.holding()[0]
		failed[fmt.Sprint(g.Ref.Run, g.Attempt)] = true
		require.NoError(t, bad.fail(g, "broken", false))
	}
	// Its first run has failed three times; the rest waits for another worker.
	w.eventually(func() bool { return strings.Contains(w.get(id).Message, "out of service") }, "breaker is to trip")
	bad.waitHolding(0)
	// After a while it is tried again, with one failure left.
	clock.Add(61)
	require.NoError(t, bad.fail(bad.waitHolding(1)[0], "still broken", false))
	w.eventually(func() bool { return strings.Contains(w.get(id).Message, "out of service") }, "breaker is to trip again")
	clock.Add(61)
	bad.waitHolding(1)
	bad.work()
	w.eventually(func() bool { return w.get(id).Progress.RunsDone == 3 }, "the rest is to be done")
	require.EqualValues(t, 1, w.get(id).Progress.RunsFailed)
}

func TestOnlyWorkersThatMayDoTheWorkGetIt(t *testing.T) {
	w := setup(t)
	id := w.submit("numerics", small)
	w.eventually(func() bool { return strings.Contains(w.get(id).Message, "none is connected") }, "no workers")
	old := w.join("old", 4, func(r *pb.Worker) { r.NumericsVersion = 9 })
	w.eventually(func() bool { return strings.Contains(w.get(id).Message, "those connected have version 9") }, "other version")
	w.join("drain", 4, func(r *pb.Worker) { r.Draining = true })
	w.eventually(func() bool { return strings.Contains(w.get(id).Message, "draining (1)") }, "draining")
	require.Equal(t, expPending, w.get(id).State)
	for _, r := range w.runs(id) {
		require.Equal(t, runPending, r.State)
		require.Contains(t, r.Message, "draining")
	}
	w.join("new", 1).work()
	w.waitState(id, expDone)
	require.Empty(t, old.past)
}

// lines keeps what is written to it.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestAnUpgradeInTheMiddleSaysWhatItsRunsWaitFor has runs of one numerics version
// and a coordinator and workers of the next.
func TestAnUpgradeInTheMiddleSaysWhatItsRunsWaitFor(t *testing.T) {
	w := setup(t)
	old := w.join("old", 1)
	id := w.submit("upgrade", small)
	old.waitHolding(1)
	w.kill()
	old.leave()
	w.cfg.NumericsVersion = 2
	log := make(lines, 100)
	w.log = log
	w.start()
	w.join("new", 4, func(r *pb.Worker) { r.NumericsVersion = 2 }).work()
	const want = "waiting for workers of numerics version 1: those connected have version 2"
	w.eventually(func() bool {
		left := w.runs(id, runRunning, runPending)
		return w.get(id).Message == want && len(left) > 0 && !slices.ContainsFunc(left, func(r *pb.Run) bool { return r.Message != want })
	}, "the experiment and what is left of its runs say it")
	w.join("late", 4).work() // of version 1
	w.waitState(id, expDone)
	w.kill()
	close(log)
	said := ""
	for line := range log {
		said += line
	}
	require.Contains(t, said, "worker=late version=1 want=2")
	require.NotContains(t, said, "worker=new")
	v, err := w.cluster.Numerics(w.ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, v, "workers can know it")
}

func TestWorkersThatCannotWorkSayWhy(t *testing.T) {
	w := setup(t)
	id := w.submit("deployment", small)
	broken := w.join("broken", 4, func(r *pb.Worker) { r.Problem = "blob store: read-only file system" })
	w.eventually(func() bool {
		return strings.Contains(w.get(id).Message, "no worker can work (1 of 1); broken: blob store: read-only file system")
	}, "a problem")
	for _, r := range w.runs(id) {
		require.Contains(t, r.Message, "read-only file system")
	}
	w.join("new", 1).work()
	w.waitState(id, expDone)
	require.Empty(t, broken.past)
}

func TestRunsGoToWorkersWithTheirData(t *testing.T) {
	w := setup(t)
	w.model.datasets = []string{"mnist"}
	id := w.submit("data", small)
	bare := w.join("bare", 4, func(r *pb.Worker) { r.MissingDatasets, r.DataFolder = []string{"fashion-mnist", "mnist"}, "/data" })
	const want = "waiting for a worker with the data: bare lacks mnist in /data; run `neoteny data import mnist` there"
	w.eventually(func() bool { return w.get(id).Message == want }, "no data")
	for _, r := range w.runs(id) {
		require.Equal(t, want, r.Message)
	}
	require.NoError(t, bare.reg.Update(w.ctx, &pb.Worker{Id: "bare", Slots: 4, NumericsVersion: 1, MissingDatasets: []string{"fashion-mnist"}}))
	bare.work()
	w.waitState(id, expDone)
}

func TestRunsStayWithTheirWorker(t *testing.T) {
	w := setup(t)
	id := w.submit("warm", shape{Tasks: 20, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0, 1}})
	fs := []*fakeWorker{w.join("w1", 2), w.join("w2", 2)}
	fs[0].waitHolding(2)
	fs[1].waitHolding(2)
	for _, f := range fs {
		f.work()
	}
	w.waitState(id, expDone)
	for _, f := range fs {
		runs := map[string]int{}
		for _, g := range f.past {
			runs[g.Ref.Run]++
		}
		require.Len(t, runs, 2, "%s worked on %v", f.id, runs)
	}
}

func TestAWorkerThatComesBackUnderItsNameHasLostItsWork(t *testing.T) {
	w := setup(t)
	id := w.submit("back", shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	old := w.join("same", 1)
	g := old.waitHolding(1)[0]
	w.kill()
	old.leave()
	young := w.join("same", 1)
	w.start()
	g2 := young.waitHolding(1)[0]
	require.Equal(t, g.Attempt+1, g2.Attempt)
	require.ErrorIs(t, old.commit(g), cluster.ErrFenced)
	young.work()
	w.waitState(id, expDone)
}
