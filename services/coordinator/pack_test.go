package coordinator

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

func lanes(n int32) func(*pb.Worker) { return func(r *pb.Worker) { r.Lanes = n } }

// setupPacks is setup with trials that are worth packs of so many.
func setupPacks(t *testing.T, pack int32) *world {
	w := newWorld(t)
	w.model.pack = pack
	t.Cleanup(w.end)
	w.start()
	return w
}

// seen waits until the coordinator knows so many workers. How many runs it begins,
// and so what the first pack is, depends on them.
func (w *world) seen(n int) {
	w.eventually(func() (yes bool) {
		w.mirrored(func(st *mirror.State) { yes = len(st.Workers) == n })
		return yes
	}, "%d workers are seen", n)
}

func eight(tasks int32) shape {
	return shape{Tasks: tasks, Steps: perTask, Segment: 2, Arms: map[string]int{"a": 1}, Seeds: []uint32{0, 1, 2, 3, 4, 5, 6, 7}}
}

func TestRunsOfATrialShareASlot(t *testing.T) {
	w := setupPacks(t, 60)
	f := w.join("w1", 1, lanes(60))
	w.seen(1)
	id := w.submit("e", eight(6))
	for segment := range 3 {
		// The last commit frees the slot, and all runs go on in one pack, whatever
		// the order in which they were committed and queued again.
		for _, g := range f.waitHolding(8) {
			require.EqualValues(t, segment*2*perTask, g.Ref.FirstStep)
			require.NoError(t, f.commit(g))
		}
	}
	w.waitState(id, expDone)
	require.Equal(t, []int{8, 8, 8}, f.sizes())
	for _, r := range w.runs(id) {
		require.Equal(t, wantDigest(r.Id, 6, perTask), r.Digest)
	}
}

func TestPacksAreSpreadOverAllSlots(t *testing.T) {
	w := setupPacks(t, 60)
	f, g := w.join("w1", 1, lanes(60)), w.join("w2", 2, lanes(60))
	w.seen(2)
	w.submit("e", eight(2))
	f.waitHolding(3)
	g.waitHolding(5)
	require.ElementsMatch(t, []int{3, 2}, g.sizes())
}

func TestPacksAreNoLargerThanWorkersAndTrialsAllow(t *testing.T) {
	for name, c := range map[string]struct {
		pack, lanes int32
		want        int
	}{
		"the worker knows no packs": {60, 0, 1},
		"the worker's lanes":        {60, 4, 4},
		"the trial's pack":          {3, 60, 3},
		"no packs":                  {0, 60, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := setupPacks(t, c.pack)
			f := w.join("w1", 1, lanes(c.lanes))
			w.seen(1)
			w.submit("e", eight(2))
			f.waitHolding(c.want)
			require.Equal(t, []int{c.want}, f.sizes())
		})
	}
}

// Points of a grid share a slot if they differ in numbers only that are not
// sizes.
func TestTrialsOfASweepShareASlot(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		want []int
	}{
		"fractions": {`{"hidden":[8],"lr":0.0%d1}`, []int{8, 8}},
		"sizes":     {`{"hidden":[8%d],"lr":0.01}`, []int{4, 4, 4, 4}},
		"words":     {`{"hidden":[8],"kind":"%d"}`, []int{4, 4, 4, 4}},
		"switches":  {`{"hidden":[8],"lr":0.01,"nesterov":%[2]t}`, []int{4, 4, 4, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			w := setupPacks(t, 60)
			w.model.specs = func(i int) string {
				if strings.Contains(c.spec, "%[2]") {
					return fmt.Sprintf(c.spec, i, i == 0)
				}
				return fmt.Sprintf(c.spec, i)
			}
			f := w.join("w1", 1, lanes(60))
			w.seen(1)
			s := eight(4)
			s.Arms, s.Seeds = map[string]int{"a": 2}, s.Seeds[:4]
			id := w.submit("e", s)
			f.waitHolding(c.want[0])
			f.work()
			w.waitState(id, expDone)
			require.Equal(t, c.want, f.sizes())
		})
	}
}

// A segment that failed is alone the next time, and the others go on without it.
func TestWhatHasFailedIsNotPackedAgain(t *testing.T) {
	w := setupPacks(t, 60)
	f := w.join("w1", 1, lanes(60))
	w.seen(1)
	id := w.submit("e", eight(2))
	gs := f.waitHolding(8)
	bad := gs[3].Ref.Run
	for _, g := range gs {
		if g.Ref.Run == bad {
			require.NoError(t, f.fail(g, "out of luck", false))
		} else {
			require.NoError(t, f.commit(g))
		}
	}
	var again *pb.AssignedSegment
	w.eventually(func() bool {
		hs := f.holding()
		if len(hs) != 1 || hs[0].Ref.Run != bad || hs[0].Attempt == gs[3].Attempt {
			return false // the worker has not heard yet of what came of the others
		}
		again = hs[0]
		return true
	}, "what has failed is given again, alone")
	require.NoError(t, f.commit(again))
	w.waitState(id, expDone)
	require.Equal(t, []int{8, 1}, f.sizes())
}

// What a lost worker had is packed again, for another.
func TestAPackOfALostWorkerIsGivenAgain(t *testing.T) {
	w := setupPacks(t, 60)
	f := w.join("w1", 1, lanes(60))
	w.seen(1)
	id := w.submit("e", eight(4))
	for _, g := range f.waitHolding(8)[:2] {
		require.NoError(t, f.commit(g))
	}
	w.eventually(func() bool { return len(f.holding()) == 6 }, "two are committed")
	f.leave()
	w.join("w2", 2, lanes(60)).work()
	w.waitState(id, expDone)
	for seed := range 8 {
		r := w.run(fmt.Sprintf("%s/a-0/%d", id, seed)).Run
		require.Equal(t, wantDigest(r.Id, 4, perTask), r.Digest)
	}
}
