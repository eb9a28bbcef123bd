package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"neoteny/internal/cluster"
	pb "neoteny/proto/neoteny/v1"
)

func (w *world) retry(id string, runs ...string) *pb.RetryExperimentResponse {
	r, err := w.svc.RetryExperiment(w.ctx, &pb.RetryExperimentRequest{Id: id, Runs: runs})
	require.NoError(w.t, err)
	return r
}

// stopped is an experiment whose only run has failed after two of its four tasks.
func stopped(w *world, f *fakeWorker) (id, run string) {
	id = w.submit("again", shape{Tasks: 4, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0}})
	for range 2 {
		require.NoError(w.t, f.commit(f.waitHolding(1)[0]))
	}
	require.NoError(w.t, f.fail(f.waitHolding(1)[0], "disk on fire", true))
	w.waitState(id, expFailed)
	return id, w.runs(id)[0].Id
}

// A run that failed goes on from where it is committed, under higher attempts, and has
// the digest of one that never failed. Who works for the time before is fenced.
func TestRetryGoesOn(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	id, run := stopped(w, f)
	left := w.runs(id)[0].Committed
	require.EqualValues(t, 2*perTask, left.Step)
	require.EqualValues(t, 3, left.Attempt)
	require.EqualValues(t, 2*perTask, left.Metrics.Steps)
	old := f.past[1]

	r := w.retry(id)
	require.EqualValues(t, 1, r.Runs)
	require.Less(t, r.Experiment.State, expDone)
	g := f.waitHolding(1)[0]
	require.EqualValues(t, 2*perTask, g.Ref.FirstStep)
	require.EqualValues(t, 4, g.Attempt)
	require.Equal(t, left.Checkpoint.Key, g.Start.Key)
	require.Len(t, w.run(run).Table.Rows, 2, "what is committed is there")
	require.ErrorIs(t, f.commit(old), cluster.ErrFenced)
	_, err := w.svc.RetryExperiment(w.ctx, &pb.RetryExperimentRequest{Id: id})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))

	w.kill() // what was asked for is in the records
	w.start()
	f.work()
	e := w.waitState(id, expDone)
	require.Empty(t, e.Message)
	require.Equal(t, e.Progress.Steps, e.Progress.StepsDone)
	got := w.run(run)
	require.Equal(t, wantDigest(run, 4, perTask), got.Run.Digest)
	require.Len(t, got.Table.Rows, 4)
	require.EqualValues(t, 4*perTask, got.Run.Committed.Metrics.Steps)

	_, err = w.svc.RetryExperiment(w.ctx, &pb.RetryExperimentRequest{Id: id})
	require.ErrorContains(t, err, "has no run that failed or was cancelled")
}

// Where what was committed is lost, the run is made from its first step.
func TestRetryWithoutWhatWasCommitted(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	id, run := stopped(w, f)
	require.NoError(t, w.blob.Remove(t.Context(), w.runs(id)[0].Table.Key))
	w.retry(id)
	g := f.waitHolding(1)[0]
	require.Zero(t, g.Ref.FirstStep)
	require.EqualValues(t, 4, g.Attempt)
	f.work()
	w.waitState(id, expDone)
	require.Equal(t, wantDigest(run, 4, perTask), w.run(run).Run.Digest)
}

// A cancelled experiment goes on as a whole: runs that had not begun begin.
func TestRetryOfACancelledExperiment(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	id := w.submit("cancelled", shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1, 2, 3, 4, 5}})
	f.waitHolding(1)
	_, err := w.svc.CancelExperiment(w.ctx, &pb.CancelExperimentRequest{Id: id})
	require.NoError(t, err)
	w.waitState(id, expCancelled)
	require.EqualValues(t, 6, w.retry(id).Runs)
	f.work()
	e := w.waitState(id, expDone)
	require.EqualValues(t, 6, e.Progress.RunsDone)
	for _, r := range w.runs(id) {
		require.Equal(t, wantDigest(r.Id, 2, perTask), r.Digest)
	}
}

// A run that is done can be made again. Meanwhile, and if that fails, it has the results
// that it had.
func TestRetryOfARunThatIsDone(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	id := w.submit("done", shape{Tasks: 2, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}})
	for range 2 {
		require.NoError(t, f.commit(f.waitHolding(1)[0]))
	}
	w.waitState(id, expDone)
	run := id + "/" + w.runs(id)[0].Trial + "/0"
	before := w.run(run).Run
	require.EqualValues(t, 1, w.retry(id, run).Runs)
	g := f.waitHolding(1)[0]
	require.Equal(t, run, g.Ref.Run)
	require.Equal(t, before.Committed.Attempt+1, g.Attempt)
	require.Len(t, w.run(run).Table.Rows, 2)
	require.NoError(t, f.fail(g, "no data", true))
	e := w.waitState(id, expDone)
	require.Contains(t, e.Message, "no data")
	after := w.run(run)
	require.Equal(t, "it was to be made again, and is what it was before: no data", after.Run.Message)
	require.Equal(t, before.Digest, after.Run.Digest)
	require.Equal(t, before.Committed.Metrics.Values, after.Run.Committed.Metrics.Values)
	require.Len(t, after.Table.Rows, 2)

	w.retry(id, run)
	require.NoError(t, f.commit(f.waitHolding(1)[0]))
	e = w.waitState(id, expDone)
	require.Empty(t, e.Message)
	require.Equal(t, before.Digest, w.run(run).Run.Digest)
}

func TestRetryRefuses(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	id, run := stopped(w, f)
	for want, req := range map[string]*pb.RetryExperimentRequest{
		`no experiment "x"`:                         {Id: "x"},
		"runs[1]: experiment " + id + " has no run": {Id: id, Runs: []string{run, id + "/zzz/0"}},
		"is named twice":                            {Id: id, Runs: []string{run, run}},
		"at most 2000 at a time":                    {Id: id, Runs: make([]string, 2001)},
	} {
		_, err := w.svc.RetryExperiment(w.ctx, req)
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, expFailed, w.get(id).State)
}
