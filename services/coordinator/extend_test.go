package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "neoteny/proto/neoteny/v1"
)

// An experiment gets more seeds and arms: what it has stays, to the attempt, and only
// what it lacks is done.
func TestExtend(t *testing.T) {
	w := setup(t)
	f := w.join("w", 4).work()
	was := shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"b": 1}, Seeds: []uint32{0, 1}}
	id := w.submit("more", was)
	w.waitState(id, expDone)
	before := w.runs(id)
	given := len(f.past)

	is := was
	is.Arms, is.Seeds = map[string]int{"a": 1, "b": 1}, []uint32{0, 1, 2}
	r, err := w.svc.ExtendExperiment(w.ctx, &pb.ExtendExperimentRequest{Id: id, Spec: is.spec("more")})
	require.NoError(t, err)
	require.EqualValues(t, 4, r.Runs)
	require.Less(t, r.Experiment.State, expDone)
	w.kill() // what was asked for is in the records
	w.start()
	e := w.waitState(id, expDone)
	require.EqualValues(t, 6, e.Progress.RunsDone)
	require.Equal(t, e.Progress.Segments, e.Progress.SegmentsDone)
	require.Len(t, f.past, given+8)
	after := map[string]*pb.Run{}
	for _, r := range w.runs(id) {
		after[r.Id] = r
		require.Equal(t, wantDigest(r.Id, 2, perTask), r.Digest)
	}
	for _, r := range before {
		require.Equal(t, r.String(), after[r.Id].String())
	}
	require.Equal(t, is.spec("more").Description, w.get(id).Spec.Description)

	_, err = w.svc.ExtendExperiment(w.ctx, &pb.ExtendExperimentRequest{Id: id, Spec: is.spec("more")})
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
}

func TestExtendRefuses(t *testing.T) {
	w := setup(t)
	w.join("w", 4).work()
	was := shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1, "b": 1}, Seeds: []uint32{0, 1}}
	id := w.submit("less", was)
	w.waitState(id, expDone)
	all := was
	all.Once = "a"
	analysed := w.submit("analysed", all)
	w.waitState(analysed, expDone)
	chained := was
	chained.Needs = map[string]string{"b": "a"}
	linked := w.submit("linked", chained)
	w.waitState(linked, expDone)
	chosen := was
	chosen.Confirm = []uint32{9}
	selected := w.submit("selected", chosen)
	w.waitState(selected, expDone)
	for want, c := range map[string]struct {
		id     string
		from   shape
		change func(*shape)
	}{
		"seeds that are not among them":               {id, was, func(s *shape) { s.Seeds = []uint32{1, 2} }},
		"it lacks trial b":                            {id, was, func(s *shape) { s.Arms = map[string]int{"a": 1} }},
		"would be another one than it was":            {id, was, func(s *shape) { s.Steps = perTask / 2 }},
		"is of all seeds":                             {analysed, all, func(s *shape) { s.Seeds = []uint32{0, 1, 2} }},
		"more of them could have chosen others":       {selected, chosen, func(s *shape) { s.Seeds = []uint32{0, 1, 2} }},
		"whose runs would be longer":                  {linked, chained, func(s *shape) { s.Tasks = 3 }},
		"has confirmed on seed 9, which is not among": {selected, chosen, func(s *shape) { s.Confirm = []uint32{8} }},
	} {
		is := c.from
		c.change(&is)
		name := c.id[:len(c.id)-7] // without its suffix
		_, err := w.svc.ExtendExperiment(w.ctx, &pb.ExtendExperimentRequest{Id: c.id, Spec: is.spec(name)})
		require.ErrorContains(t, err, want)
		require.Equal(t, codes.InvalidArgument, status.Code(err))
	}
	// More confirmation seeds change nothing of the choice.
	is := chosen
	is.Confirm = []uint32{9, 10}
	_, err := w.svc.ExtendExperiment(w.ctx, &pb.ExtendExperimentRequest{Id: selected, Spec: is.spec("selected")})
	require.NoError(t, err)
	require.EqualValues(t, 8, w.waitState(selected, expDone).Progress.RunsDone)
}

// Runs that have become longer go on from their end; those that failed or were cancelled
// before it, and those whose measurements are deferred, are made from their first step.
func TestExtendByTasks(t *testing.T) {
	w := setup(t)
	f := w.join("w", 1)
	was := shape{Tasks: 2, Steps: perTask, Segment: 1, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1}}
	id := w.submit("grown", was)
	for range 3 { // all of the first run, a half of the second
		require.NoError(t, f.commit(f.waitHolding(1)[0]))
	}
	g := f.waitHolding(1)[0]
	require.NoError(t, f.fail(g, "disk on fire", true))
	w.waitState(id, expFailed)
	before := map[string]*pb.Run{}
	for _, r := range w.runs(id) {
		before[r.Id] = r
	}
	given := len(f.past)

	is := was
	is.Tasks = 5
	_, err := w.svc.ExtendExperiment(w.ctx, &pb.ExtendExperimentRequest{Id: id, Spec: is.spec("grown")})
	require.NoError(t, err)
	f.work()
	e := w.waitState(id, expDone)
	require.EqualValues(t, 2*5*perTask, e.Progress.Steps)
	require.Equal(t, e.Progress.Steps, e.Progress.StepsDone)
	require.Equal(t, e.Progress.Segments, e.Progress.SegmentsDone)
	firsts := map[string]int64{}
	for _, s := range f.past[given:] {
		if _, seen := firsts[s.Ref.Run]; !seen {
			firsts[s.Ref.Run] = s.Ref.FirstStep
			require.Greater(t, s.Attempt, before[s.Ref.Run].Committed.Attempt)
			require.EqualValues(t, 1, s.Generation)
		}
	}
	for _, r := range w.runs(id) {
		require.Equal(t, wantDigest(r.Id, 5, perTask), r.Digest)
		require.EqualValues(t, 5, r.TasksDone)
		want := int64(0)
		if before[r.Id].State == runDone {
			want = 2 * perTask
		}
		require.Equal(t, want, firsts[r.Id])
	}
}
