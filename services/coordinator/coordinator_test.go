package coordinator

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
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
			w.eventually(func() bool { return w.get(id).Progress.TasksDone == 1 }, "the commit is to be mirrored")
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
	rec, _, err := w.cluster.CreateSubmission(w.ctx, "r", small.spec("half"), nil, time.Now())
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
	rec, _, err := w.cluster.CreateSubmission(w.ctx, "r", small.spec("outdated"), nil, time.Now())
	require.NoError(t, err)
	w.model.failing.Store(true)
	w.start()
	require.Contains(t, w.waitState(rec.Id, expFailed).Message, "unknown component")
}

// A panic over one experiment leaves the coordinator and the others alone.
func TestAPanicIsAnErrorOfItsActionAlone(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(w.end)
	var log bytes.Buffer
	w.log, w.model.panicking = &log, "broken"
	broken, _, err := w.cluster.CreateSubmission(w.ctx, "r", small.spec("broken"), nil, time.Now())
	require.NoError(t, err)
	w.start()
	w.join("w1", 2).work()
	w.waitState(w.submit("sound", small), expDone)
	require.Equal(t, expPending, w.get(broken.Id).State)
	w.kill()
	require.Contains(t, log.String(), "index out of range")
	require.Contains(t, log.String(), "fakemodel_test.go", "the log has the stack")

	w.model.panicking = ""
	w.start()
	w.waitState(broken.Id, expDone)
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
