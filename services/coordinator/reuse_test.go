package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
)

// submitAgain is submit of a user who has nothing against finished runs.
func (w *world) submitAgain(name string, s shape) string {
	r, err := w.svc.SubmitExperiment(w.ctx, &pb.SubmitExperimentRequest{RequestId: name, Spec: s.spec(name)})
	require.NoError(w.t, err)
	return r.Experiment.Id
}

var reusable = shape{
	Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0, 1}, Needs: map[string]string{"b": "a"},
}

// Finished runs with the same key are not made again, whatever their experiment; what an
// experiment has of another one's stays when that is deleted.
func TestReuse(t *testing.T) {
	w := setup(t)
	f := w.join("w", 4).work()
	first := w.submit("first", reusable)
	w.waitState(first, expDone)
	made := len(f.past)

	more := reusable
	more.Seeds = []uint32{0, 1, 2}
	second := w.submitAgain("second", more)
	e := w.waitState(second, expDone)
	require.EqualValues(t, 4, e.Progress.RunsReused)
	require.EqualValues(t, 6, e.Progress.RunsDone)
	require.Equal(t, e.Progress.Steps, e.Progress.StepsDone)
	require.Equal(t, e.Progress.Segments, e.Progress.SegmentsDone)
	require.Len(t, f.past, made+4, "the runs of the third seed")

	third := w.submitAgain("third", reusable)
	w.waitState(third, expDone)
	require.Len(t, f.past, made+4)
	_, err := w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: first})
	require.NoError(t, err)
	_, err = w.svc.DeleteExperiment(w.ctx, &pb.DeleteExperimentRequest{Id: second})
	require.NoError(t, err)
	for _, r := range w.runs(third) {
		full := w.run(r.Id)
		made := first + r.Id[len(third):]
		require.Equal(t, made, r.Reused, "also of a run that is reused itself")
		require.Equal(t, wantDigest(made, 2, perTask), r.Digest)
		require.Len(t, full.Table.Rows, 2)
		require.EqualValues(t, 2*perTask, r.Committed.Metrics.Steps)
		for _, a := range r.Artifacts {
			_, err := w.blob.Get(t.Context(), a, 1<<20)
			require.NoError(t, err)
		}
		require.Equal(t, r.Arm == "a", len(r.Artifacts) == 1)
	}

	// Where that is not wanted, and where they are gone, runs are made.
	w.waitState(w.submit("fourth", reusable), expDone)
	require.Len(t, f.past, made+4+8)
}

// What is not all there is not reused: a run without its table, and one that lacks what
// the other is to publish.
func TestWhatIsNotAllThereIsNotReused(t *testing.T) {
	w := setup(t)
	f := w.join("w", 4).work()
	plain := reusable
	plain.Needs = nil
	first := w.submit("first", plain)
	w.waitState(first, expDone)
	made := len(f.past)
	for _, r := range w.runs(first) {
		if r.Arm == "b" {
			require.NoError(t, w.blob.Remove(t.Context(), r.Table.Key))
		}
	}
	asked := plain
	asked.Each = "a" // so its runs publish
	e := w.waitState(w.submitAgain("second", asked), expDone)
	require.Zero(t, e.Progress.RunsReused)
	require.Len(t, f.past, made+8+2)
}

// A run that is made again is its own from then on, and must be what the other was: the
// fake engine, whose digests are of the run's name, is caught.
func TestAReusedRunIsMadeAgain(t *testing.T) {
	w := setup(t)
	f := w.join("w", 4).work()
	plain := reusable
	plain.Needs = nil
	first := w.submit("first", plain)
	w.waitState(first, expDone)
	second := w.submitAgain("second", plain)
	w.waitState(second, expDone)
	run := second + "/a-0/1"
	old := w.run(run).Run
	require.NotEmpty(t, old.Reused)
	made := len(f.past)
	w.retry(second, run)
	w.waitState(second, expFailed)
	require.Len(t, f.past, made+2)
	now := w.run(run).Run
	require.Empty(t, now.Reused)
	require.Contains(t, now.Message, "made again, it has the digest "+now.Digest+", not "+old.Digest+" as before")
}
