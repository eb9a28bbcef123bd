package coordinator

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

func runsOf(gs []*pb.AssignedSegment) (out []string) {
	for _, g := range gs {
		out = append(out, g.Ref.Run)
	}
	slices.Sort(out)
	return out
}

// content is what an artifact holds.
func (w *world) content(ref *pb.BlobRef) string {
	b, err := w.blob.Get(w.ctx, ref, 1<<20)
	require.NoError(w.t, err)
	return string(b)
}

// A run that starts from another's weights is created once these are there,
// whatever coordinator is there then.
func TestARunWaitsForWhatItStartsFrom(t *testing.T) {
	w := setup(t)
	id := w.submit("chain", shape{
		Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1, "c": 1}, Seeds: []uint32{0, 1},
		Needs: map[string]string{"a": "b", "b": "c"},
	})
	f := w.join("w", 10)
	first := f.waitHolding(2)
	require.Equal(t, []string{id + "/c-0/0", id + "/c-0/1"}, runsOf(first))
	for _, r := range w.runs(id) {
		if r.Arm != "c" {
			require.Equal(t, pb.RunState_RUN_STATE_PENDING, r.State)
			require.Contains(t, r.Message, "waiting for run "+id+"/")
		}
	}
	require.EqualValues(t, 6, w.get(id).Progress.Runs)

	// One of them ends, and no coordinator sees it.
	seed0 := slices.IndexFunc(first, func(g *pb.AssignedSegment) bool { return g.Ref.Run == id+"/c-0/0" })
	require.NoError(t, f.commit(first[seed0]))
	w.eventually(func() bool {
		return slices.ContainsFunc(f.holding(), func(g *pb.AssignedSegment) bool { return g.Ref.Run == id+"/c-0/0" && g.Ref.FirstStep == perTask })
	}, "the run is to go on")
	w.kill()
	for _, g := range f.holding() {
		if g.Ref.Run == id+"/c-0/0" {
			require.NoError(t, f.commit(g))
		}
	}
	w.start()
	w.eventually(func() bool { return slices.Contains(runsOf(f.holding()), id+"/b-0/0") }, "what needs it is to begin")
	require.NotContains(t, runsOf(f.holding()), id+"/b-0/1", "of the other seed")

	f.work()
	require.Equal(t, expDone, w.waitState(id, expDone).State)
	a, b, c := w.run(id+"/a-0/1").Run, w.run(id+"/b-0/1").Run, w.run(id+"/c-0/1").Run
	require.Equal(t, "weights of "+id+"/b-0/1 from start: (weights of "+id+"/c-0/1)", w.content(b.Artifacts["weights"]))
	require.Equal(t, b.Artifacts["weights"].Sha256, a.Inputs[0].Blob.Sha256)
	require.Empty(t, a.Artifacts, "no run needs it")
	require.Empty(t, c.Inputs)
	require.Equal(t, "artifacts/"+id+"/"+c.Artifacts["weights"].Sha256, c.Artifacts["weights"].Key)
	key, err := fakeRecord(`{"trial":"a-0"}`).RunKey(1, a.Inputs)
	require.NoError(t, err)
	require.Equal(t, key, a.RunKey)

	// They go with the experiment.
	_, err = w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: id})
	require.NoError(t, err)
	_, err = w.blob.Get(w.ctx, c.Artifacts["weights"], 1<<20)
	require.Error(t, err)
}

func TestAFailedRunFailsThoseThatStartFromIt(t *testing.T) {
	w := setup(t)
	id := w.submit("chain", shape{
		Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1, "c": 1}, Seeds: []uint32{0, 1},
		Needs: map[string]string{"a": "b", "b": "c"},
	})
	f := w.join("w", 10)
	for _, g := range f.waitHolding(2) {
		if g.Ref.Run == id+"/c-0/0" {
			require.NoError(t, f.fail(g, "the loss is NaN", true))
		}
	}
	f.work()
	e := w.waitState(id, expFailed)
	require.EqualValues(t, 3, e.Progress.RunsFailed)
	require.EqualValues(t, 3, e.Progress.RunsDone)
	require.Contains(t, e.Message, "the loss is NaN")
	b := w.run(id + "/b-0/0")
	require.Equal(t, runFailed, b.Run.State)
	require.Equal(t, "it starts from weights of run "+id+"/c-0/0, which is failed: the loss is NaN", b.Run.Message)
	require.Empty(t, b.Table.Rows)
	require.Contains(t, w.run(id+"/a-0/0").Run.Message, "b-0/0, which is failed: it starts from weights of run "+id+"/c-0/0")
	require.Equal(t, runDone, w.run(id+"/a-0/1").Run.State)
}

func TestARunMustPublishWhatIsNeeded(t *testing.T) {
	w := setup(t)
	w.mute.Store(true)
	id := w.submit("mute", shape{
		Tasks: 1, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0}, Needs: map[string]string{"a": "b"},
	})
	w.join("w", 2).work()
	w.waitState(id, expFailed)
	require.Equal(t, "it was to publish weights, and its worker has not", w.run(id+"/b-0/0").Run.Message)
	require.Equal(t, runFailed, w.run(id+"/a-0/0").Run.State)
}

// Of an arm whose artifacts the selected trial of another starts from, the
// trial that it starts from runs on the confirmation seeds as well.
func TestConfirmationsBringWhatTheyStartFrom(t *testing.T) {
	w := setup(t)
	id := w.submit("confirm", shape{
		Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 2, "b": 2}, Seeds: []uint32{0, 1}, Confirm: []uint32{7},
		Needs: map[string]string{"a": "b"},
	})
	w.join("w", 3).work()
	e := w.waitState(id, expDone)
	var confirmed []string
	trials := map[string]bool{}
	for _, r := range w.runs(id) {
		if r.Confirmation {
			confirmed = append(confirmed, r.Trial)
			trials[r.Trial] = true
		}
		if r.Arm == "a" {
			require.Equal(t, "b"+r.Trial[1:], r.Inputs[0].Run[len(id)+1:][:3])
			require.Contains(t, w.content(r.Inputs[0].Blob), r.Inputs[0].Run)
		}
	}
	rec, err := w.cluster.Experiment(w.ctx, id)
	require.NoError(t, err)
	a, b := rec.Selected["a"], rec.Selected["b"]
	require.True(t, trials[a] && trials[b] && trials["b"+a[1:]], "%v of %v", confirmed, rec.Selected)
	require.EqualValues(t, 8+len(confirmed), e.Progress.Runs)
	require.EqualValues(t, 8+len(confirmed), e.Progress.RunsDone)
}

// Analyses begin when what they look at is done, once for all seeds or for each,
// and again for the confirmation seeds; arms may start from what they publish.
func TestAnalysesAreScheduledAsRuns(t *testing.T) {
	w := setup(t)
	id := w.submit("analysed", shape{
		Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{4, 6}, Confirm: []uint32{7, 8, 9},
		Once: "b", Each: "b", Needs: map[string]string{"a": "once"},
	})
	f := w.join("w", 10)
	require.Equal(t, []string{id + "/b-0/4", id + "/b-0/6"}, runsOf(f.waitHolding(2)), "all else waits")
	w.kill()
	w.start()
	f.work()
	e := w.waitState(id, expDone)
	inputs := func(run string) (out []string) {
		for _, in := range w.run(id + "/" + run).Run.Inputs {
			out = append(out, in.Name+" "+in.Run[len(id)+1:])
		}
		return out
	}
	require.Equal(t, []string{"of b-0/4", "of b-0/6", "table b-0/4", "table b-0/6"}, inputs("once/4"))
	require.Equal(t, []string{"of b-0/7", "of b-0/8", "of b-0/9", "table b-0/7", "table b-0/8", "table b-0/9"}, inputs("once/7"))
	require.Equal(t, []string{"of b-0/6", "table b-0/6"}, inputs("each/6"))
	require.Equal(t, []string{"of b-0/9", "table b-0/9"}, inputs("each/9"))
	require.Equal(t, []string{"start once/4"}, inputs("a-0/6"))
	require.Equal(t, []string{"start once/7"}, inputs("a-0/9"))
	runs := w.runs(id)
	require.Len(t, runs, 2*2+2*3+1+1+2+3)
	require.EqualValues(t, len(runs), e.Progress.RunsDone)
	require.EqualValues(t, len(runs), e.Progress.Runs)
	for _, r := range runs {
		require.Equal(t, r.Trial == "once" || r.Trial == "each", r.Analysis, r.Id)
		if r.Analysis {
			full := w.run(r.Id)
			require.Len(t, full.Table.Rows, 1)
			require.Equal(t, value(r.Id, 0), full.Table.Rows[0].Values[0])
		}
	}
	_, err := w.svc.GetRun(w.ctx, &pb.GetRunRequest{Id: id + "/once/6"})
	require.Error(t, err, "it has one run")
}
