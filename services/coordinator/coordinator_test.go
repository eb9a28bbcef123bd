package coordinator

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/blob"
	"neoteny/internal/cluster"
	"neoteny/internal/etcd"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/model"
)

const (
	expPending   = pb.ExperimentState_EXPERIMENT_STATE_PENDING
	expRunning   = pb.ExperimentState_EXPERIMENT_STATE_RUNNING
	expDone      = pb.ExperimentState_EXPERIMENT_STATE_DONE
	expFailed    = pb.ExperimentState_EXPERIMENT_STATE_FAILED
	expCancelled = pb.ExperimentState_EXPERIMENT_STATE_CANCELLED

	runPending   = pb.RunState_RUN_STATE_PENDING
	runRunning   = pb.RunState_RUN_STATE_RUNNING
	runDone      = pb.RunState_RUN_STATE_DONE
	runFailed    = pb.RunState_RUN_STATE_FAILED
	runCancelled = pb.RunState_RUN_STATE_CANCELLED
)

// small is 2 arms with 2 seeds of 5 tasks in segments of 2.
var small = shape{Tasks: 5, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0, 1}}

func TestAnExperimentFromEndToEnd(t *testing.T) {
	w := setup(t)
	id := w.submit("first", small)
	w.join("w1", 2).work()
	e := w.waitState(id, expDone)
	require.Equal(t, &pb.Progress{Runs: 4, RunsDone: 4, Segments: 12, SegmentsDone: 12, Steps: 200, StepsDone: 200, Tasks: 20, TasksDone: 20}, e.Progress)
	require.NotNil(t, e.EndedAt)
	require.Empty(t, e.Message)

	runs := w.runs(id)
	require.Len(t, runs, 4)
	for _, r := range runs {
		require.Equal(t, runDone, r.State)
		require.Equal(t, wantDigest(r.Id, 5, perTask), r.Digest)
		require.EqualValues(t, 50, r.StepsDone)
		require.EqualValues(t, 3, r.Seconds)
		full := w.run(r.Id)
		require.Len(t, full.Table.Rows, 5)
		require.Equal(t, value(r.Id, 3), full.Table.Rows[3].Values[0])
		require.Equal(t, `{"trial":"`+r.Trial+`"}`, full.ResolvedSpec)
	}
	require.Equal(t, []string{id + "/a-0/0", id + "/a-0/1", id + "/b-0/0", id + "/b-0/1"}, []string{runs[0].Id, runs[1].Id, runs[2].Id, runs[3].Id})
}

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

	// Now somebody else has it: the late worker is fenced.
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
	// Its first run has failed three times; the rest waits for a better worker.
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

func TestTheQueueIsShort(t *testing.T) {
	w := setup(t)
	seeds := make([]uint32, 500)
	for i := range seeds {
		seeds[i] = uint32(i)
	}
	id := w.submit("many", shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 20}, Seeds: seeds})
	f := w.join("w1", 3)
	f.waitHolding(3)
	records := func() (n int) {
		w.mirrored(func(st *mirror.State) { n = len(st.Experiments[id].Active) })
		return n
	}
	w.eventually(func() bool { return records() == 3+2*3 }, "2 for each slot are to wait")
	e := w.get(id)
	require.EqualValues(t, 10_000, e.Progress.Runs)
	require.EqualValues(t, 3, e.Progress.SegmentsAssigned)
	page := w.runs(id)
	require.Len(t, page, 1000)
	last := page[999]
	require.Equal(t, runPending, last.State)
	require.Contains(t, last.Message, "runs of the experiment before it")
	require.NoError(t, f.commit(f.holding()[0]))
	w.eventually(func() bool { return w.get(id).Progress.RunsDone == 1 && records() == 3+2*3 }, "the queue is to be filled up")
}

func TestExperimentsShareFairly(t *testing.T) {
	w := setup(t)
	many := shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 10}, Seeds: []uint32{0, 1, 2}}
	first := w.submit("first", many)
	f := w.join("w1", 4)
	f.waitHolding(4)
	second := w.submit("second", many)
	third := w.submit("third", many)
	queued := func(id string) (yes bool) {
		w.mirrored(func(st *mirror.State) { yes = len(st.Experiments[id].Active) == 8 })
		return yes
	}
	w.eventually(func() bool { return queued(second) && queued(third) }, "both are to be in the queue")
	for range 4 {
		var mine *pb.AssignedSegment
		for _, g := range f.holding() {
			if strings.HasPrefix(g.Ref.Run, first) {
				mine = g
			}
		}
		if mine == nil {
			break
		}
		before := len(f.past)
		require.NoError(t, f.commit(mine))
		w.eventually(func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.past) > before && len(f.held) == 4 }, "slot is to be filled")
		count := map[string]int{}
		for _, g := range f.holding() {
			id, _, _ := strings.Cut(g.Ref.Run, "/")
			count[id]++
		}
		if count[first] == 2 {
			require.Equal(t, map[string]int{first: 2, second: 1, third: 1}, count)
			return
		}
	}
	t.Fatal("the first experiment never gave way")
}

func TestCancelStopsEverythingAndKeepsWhatIsDone(t *testing.T) {
	w := setup(t)
	id := w.submit("stop", small)
	other := w.submit("stop-not", small)
	f := w.join("w1", 4)
	f.waitHolding(4)
	var g *pb.AssignedSegment
	for _, h := range f.holding() {
		if strings.HasPrefix(h.Ref.Run, id+"/") {
			g = h
		}
	}
	require.NoError(t, f.commit(g))
	w.eventually(func() bool { return w.get(id).Progress.TasksDone == 2 }, "commit is to be seen")
	r, err := w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: id})
	require.NoError(t, err)
	require.NotEqual(t, expDone, r.Experiment.State)
	e := w.waitState(id, expCancelled)
	require.EqualValues(t, 2, e.Progress.TasksDone)
	w.eventually(func() bool {
		for _, h := range f.holding() {
			if strings.HasPrefix(h.Ref.Run, id+"/") {
				return false
			}
		}
		return true
	}, "assignments are to be withdrawn")
	for _, h := range f.past {
		if strings.HasPrefix(h.Ref.Run, id+"/") {
			require.ErrorIs(t, f.commit(h), cluster.ErrFenced)
		}
	}
	for _, r := range w.runs(id) {
		require.Equal(t, runCancelled, r.State)
	}
	require.Len(t, w.run(g.Ref.Run).Table.Rows, 2, "what was committed is kept")

	// Again is no error; another is untouched.
	_, err = w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: id})
	require.NoError(t, err)
	f.work()
	w.waitState(other, expDone)
	_, err = w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: other})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

func TestDeleteLeavesNothingAndTouchesNoOther(t *testing.T) {
	w := setup(t)
	w.join("w1", 4).work()
	id := w.submit("gone", small)
	w.waitState(id, expDone)
	keep := w.submit("gone-not", small)
	w.waitState(keep, expDone)

	running := w.submit("running", small)
	_, err := w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: "nowhere"})
	require.Equal(t, codes.NotFound, status.Code(err))
	table := w.runs(id)[0].Table
	_, err = w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: id})
	require.NoError(t, err)
	_, err = w.svc.GetExperiment(w.ctx, &pb.GetExperimentRequest{Id: id})
	require.Equal(t, codes.NotFound, status.Code(err))
	_, err = w.blob.Get(w.ctx, table, 1<<20)
	require.ErrorIs(t, err, blob.ErrNotFound)
	left, err := w.blob.Exists(w.ctx, "checkpoints/"+id+"/a-0/0/50")
	require.NoError(t, err)
	require.False(t, left)
	require.Len(t, w.run(keep+"/a-0/0").Table.Rows, 5)
	w.waitState(running, expDone)

	// The request id is free again.
	require.NotEqual(t, id, w.submit("gone", small))
}

func TestDeleteNeedsAnEnd(t *testing.T) {
	w := setup(t)
	id := w.submit("open", small)
	_, err := w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: id})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

func TestConfirmationFollowsTuning(t *testing.T) {
	w := setup(t)
	id := w.submit("select", shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 3, "b": 2}, Seeds: []uint32{0}, Confirm: []uint32{5, 6}})
	require.EqualValues(t, 9, func() int32 {
		w.eventually(func() bool { return w.get(id).Progress.Runs > 0 }, "expanded")
		return w.get(id).Progress.Runs
	}())
	w.join("w1", 2).work()
	w.waitState(id, expDone)
	runs := w.runs(id)
	require.Len(t, runs, 9)
	var confirmed []string
	best := map[string]string{}
	for _, r := range runs {
		require.Equal(t, wantDigest(r.Id, 2, perTask), r.Digest)
		if r.Confirmation {
			confirmed = append(confirmed, r.Id)
		} else if b := best[r.Arm]; b == "" || value(r.Id, 0) > value(id+"/"+b+"/0", 0) {
			best[r.Arm] = r.Trial
		}
	}
	require.Equal(t, []string{id + "/" + best["a"] + "/5", id + "/" + best["a"] + "/6", id + "/" + best["b"] + "/5", id + "/" + best["b"] + "/6"}, confirmed)
}

func TestAnExperimentEndsWhereNothingCanBeSelected(t *testing.T) {
	w := setup(t)
	tuning := shape{Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 2}, Seeds: []uint32{0}, Confirm: []uint32{5}}
	f := w.join("w1", 2)

	// A tuning run's table is damaged before it is read: it never will be.
	id := w.submit("damaged", tuning)
	held := f.waitHolding(2)
	require.NoError(t, f.commit(held[0]))
	w.eventually(func() bool { return len(w.runs(id, pb.RunState_RUN_STATE_DONE)) == 1 }, "one run is done")
	require.NoError(t, w.blob.Delete(w.ctx, cluster.BlobPrefix(id)+"/runs"))
	require.NoError(t, f.commit(held[1]))
	v := w.waitState(id, expFailed)
	require.Contains(t, v.Message, "no such object")
	require.NotNil(t, v.EndedAt)

	// No trial is any good.
	id = w.submit("hopeless", tuning)
	held = f.waitHolding(2)
	w.model.failing.Store(true)
	for _, g := range held {
		require.NoError(t, f.commit(g))
	}
	v = w.waitState(id, expFailed)
	require.Contains(t, v.Message, "nothing to choose from")
	require.NotNil(t, v.EndedAt)
}

func TestPlansAreNotKeptOnceTheyAreOfNoUse(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	svc, err := New(Deps{Cluster: w.cluster, Blob: w.blob, Model: w.model}, w.cfg)
	require.NoError(t, err)
	rev := int64(0)
	show := func(rec *pb.ExperimentRecord) {
		rev++
		svc.apply(rev, []cluster.Change{{Kind: cluster.KindExperiment, Experiment: "e", Msg: rec}})
	}
	for _, ended := range []*pb.ExperimentRecord{{Expanded: true}, {State: expCancelled}} {
		svc.plans.kept["e"] = &model.Plan{}
		show(&pb.ExperimentRecord{})
		require.Contains(t, svc.plans.kept, "e")
		show(ended)
		require.Empty(t, svc.plans.kept)
	}
}

func TestOldCheckpointsGo(t *testing.T) {
	w := setup(t)
	id := w.submit("prune", shape{Tasks: 8, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	f := w.join("w1", 1)
	there := func() (steps []int) {
		for s := 10; s <= 80; s += 10 {
			ok, err := w.blob.Exists(w.ctx, fmt.Sprintf("checkpoints/%s/a-0/0/%d", id, s))
			require.NoError(t, err)
			if ok {
				steps = append(steps, s)
			}
		}
		return steps
	}
	for i := range 5 {
		w.eventually(func() bool { h := f.holding(); return len(h) == 1 && h[0].Ref.FirstStep == int64(i*10) }, "segment %d", i)
		require.NoError(t, f.commit(f.holding()[0]))
	}
	w.eventually(func() bool { return slices.Equal([]int{40, 50}, there()) }, "two are to be kept")
	f.waitHolding(1)
	f.work()
	w.waitState(id, expDone)
	w.eventually(func() bool { return slices.Equal([]int{80}, there()) }, "the last is to be kept")
}

func TestResultsThatDoNotFitFailTheRun(t *testing.T) {
	w := setup(t)
	id := w.submit("holes", shape{Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	f := w.join("w1", 1)
	g := f.waitHolding(1)[0]
	r := f.result(g, 20)
	r.Rows = r.Rows[:1]
	require.NoError(t, f.c.Commit(w.ctx, g.Ref, g.Attempt, r))
	e := w.waitState(id, expFailed)
	require.Contains(t, e.Message, "1 rows and 2 boundaries of 2 tasks")
}

func TestLargeResultsOverflow(t *testing.T) {
	w := setup(t)
	id := w.submit("large", shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	f := w.join("w1", 1)
	for i := range 2 {
		w.eventually(func() bool { h := f.holding(); return len(h) == 1 && h[0].Ref.FirstStep == int64(i*10) }, "segment %d", i)
		g := f.holding()[0]
		r := f.result(g, g.Ref.EndStep)
		r.Columns, r.Rows[0].Values = nil, nil
		for c := range 40_000 {
			r.Columns = append(r.Columns, &pb.ColumnName{Metric: fmt.Sprintf("metric_%d", c)})
			r.Rows[0].Values = append(r.Rows[0].Values, float64(c))
		}
		require.NoError(t, f.c.Commit(w.ctx, g.Ref, g.Attempt, r))
		require.NoError(t, f.c.Commit(w.ctx, g.Ref, g.Attempt, r), "again is no error")
		if i == 0 {
			require.Len(t, w.run(id+"/a-0/0").Table.Columns, 40_000)
		}
	}
	w.waitState(id, expDone)
	table := w.run(id + "/a-0/0").Table
	require.Len(t, table.Rows, 2)
	require.EqualValues(t, 39_999, table.Rows[1].Values[39_999])
}

func TestAHalfWrittenExpansionIsCompleted(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	// What a coordinator leaves that is killed inside of SubmitExperiment.
	rec, _, err := w.cluster.CreateSubmission(w.ctx, "r", small.spec("half"), time.Now())
	require.NoError(t, err)
	plan, err := w.model.Plan(rec.Spec)
	require.NoError(t, err)
	mod := func() int64 {
		rev, err := w.cluster.Revision(w.ctx)
		require.NoError(t, err)
		return rev
	}()
	_, err = w.cluster.AddTrials(w.ctx, rec.Id, mod, plan.Trials[:1])
	require.NoError(t, err)

	w.start()
	w.join("w1", 2).work()
	e := w.waitState(rec.Id, expDone)
	require.EqualValues(t, 4, e.Progress.RunsDone)
}

func TestAnExperimentThatCannotBeExpandedAnyMoreFails(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	rec, _, err := w.cluster.CreateSubmission(w.ctx, "r", small.spec("outdated"), time.Now())
	require.NoError(t, err)
	w.model.failing.Store(true)
	w.start()
	require.Contains(t, w.waitState(rec.Id, expFailed).Message, "unknown component")
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

func TestEtcdGoesAwayAndComesBack(t *testing.T) {
	dir, err := os.MkdirTemp("", "etcd") // short enough for the socket to stay in it
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	srv, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Throwaway: true})
	require.NoError(t, err)
	w := newWorldAt(t, srv.Endpoints())
	w.start()
	id := w.submit("outage", shape{Tasks: 4, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}})
	f := w.join("w1", 2)
	gs := f.waitHolding(2)
	require.NoError(t, f.commit(gs[0]))
	w.eventually(func() bool { return w.get(id).Progress.TasksDone == 1 }, "commit is to be seen")

	srv.Close()
	// Reads are answered meanwhile; a worker's commit waits.
	require.EqualValues(t, 1, w.get(id).Progress.TasksDone)
	committed := make(chan error, 1)
	go func() { committed <- f.commit(gs[1]) }()
	srv, err = etcd.Start(t.Context(), etcd.Config{Dir: dir, Throwaway: true})
	require.NoError(t, err)
	defer srv.Close()
	defer w.end()
	require.NoError(t, <-committed)
	f.work()
	w.waitState(id, expDone)
	for _, r := range w.runs(id) {
		require.Equal(t, wantDigest(r.Id, 4, perTask), r.Digest)
	}
}
