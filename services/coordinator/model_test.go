package coordinator

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	_ "neoteny/pkg/engine/all"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

const realSpec = `
name: model
stream: {kind: bit-flip-regression, examples_per_task: 100, tasks: 7}
learner: {network: {kind: mlp, hidden: [5]}, rule: {kind: backprop}, optimizer: {kind: sgd, lr: 0.01}}
probes: [{kind: loss}]
arms: {plain: {}, adam: {learner: {optimizer: {kind: adam}}}}
sweep: {grid: {learner.optimizer.lr: [0.01, 0.001]}}
select: {metric: loss, mode: min, confirm_seeds: {count: 4}}
seeds: {count: 3}
segments: {tasks: 2}
`

func TestPlanOfARealExperiment(t *testing.T) {
	spec, err := experiment.Parse([]byte(realSpec))
	require.NoError(t, err)
	plan, err := experiments{}.Plan(spec)
	require.NoError(t, err)
	full, err := experiment.Expand(spec)
	require.NoError(t, err)
	require.Len(t, plan.Trials, 4)
	require.Equal(t, 4*3+2*4, plan.Runs)
	require.EqualValues(t, 20*4, plan.Segments)
	require.Len(t, plan.ConfirmSeeds, 4)
	for i, rec := range plan.Trials {
		require.EqualValues(t, i, rec.Index)
		require.EqualValues(t, 7, rec.Tasks)
		require.EqualValues(t, full.Trials[i].Spec.Steps(), int64(rec.Tasks)*rec.StepsPerTask)
		key, err := experiments{}.RunKey(rec.CanonicalSpec, 2, nil)
		require.NoError(t, err)
		require.Equal(t, full.Trials[i].RunKey(2, nil), key, "the same after a restart")
		_, err = proto.Marshal(rec)
		require.NoError(t, err)
	}
	delete(spec.Stream.Fields, "kind")
	_, err = experiments{}.Plan(spec)
	require.NotEmpty(t, component.FieldErrors(err))
}

func TestSeedsAreKept(t *testing.T) {
	kept := func(t require.TestingT, seeds []uint32, other uint32) {
		s := seedSet{packSeeds(seeds)}
		require.Equal(t, len(seeds), s.len())
		for i, x := range seeds {
			require.Equal(t, x, s.at(i))
			require.Equal(t, i, s.index(x))
		}
		require.Equal(t, slices.Index(seeds, other), s.index(other))
	}
	rapid.Check(t, func(t *rapid.T) {
		var seeds []uint32
		if rapid.Bool().Draw(t, "consecutive") {
			first := rapid.Uint32Range(0, 1<<32-20).Draw(t, "first")
			for i := range rapid.Uint32Range(1, 20).Draw(t, "count") {
				seeds = append(seeds, first+i)
			}
		} else {
			seeds = rapid.SliceOfNDistinct(rapid.Uint32(), 1, 20, rapid.ID).Draw(t, "seeds")
		}
		kept(t, seeds, rapid.Uint32().Draw(t, "other"))
	})
	kept(t, []uint32{1<<32 - 1, 0}, 1)
	kept(t, []uint32{1<<32 - 2, 1<<32 - 1, 0, 1}, 2)
	require.Zero(t, seedSet{packSeeds(nil)}.len())
	require.Zero(t, seedSet{nil}.len())
}

// Every run that an experiment is to have is at one place of its order, and the
// places compare as the order goes.
func TestOrderVisitsEveryRunOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &exp{id: "e", trials: map[string]*trial{}, runs: map[string]*run{}, rec: &pb.ExperimentRecord{SelectionDone: true, Selected: map[string]string{}, ConfirmSeeds: &pb.Seeds{First: 100, Count: int32(rapid.IntRange(0, 3).Draw(t, "confirm"))}}}
		missing := map[string]bool{}
		for i := range rapid.IntRange(1, 5).Draw(t, "trials") {
			rec := &pb.TrialRecord{Index: int32(i), Name: string(rune('a' + i)), Seeds: &pb.Seeds{Count: int32(rapid.IntRange(1, 4).Draw(t, "seeds"))}}
			tr := &trial{rec: rec}
			e.trials[rec.Name] = tr
			e.byIndex = append(e.byIndex, tr)
			e.most = max(e.most, int64(tr.seeds().len()))
			for s := range tr.seeds().len() {
				missing[experiment.RunID("e", rec.Name, uint32(s))] = true
			}
			if rapid.Bool().Draw(t, "selected") {
				e.rec.Selected[rec.Name] = rec.Name
				for s := range e.confirmSeeds().len() {
					missing[experiment.RunID("e", rec.Name, uint32(100+s))] = true
				}
			}
		}
		last := int64(-1)
		for seq := int64(0); ; seq++ {
			w, skip, end := e.at(seq)
			if end {
				break
			}
			if skip {
				continue
			}
			require.True(t, missing[w.id(e)], w.id(e))
			delete(missing, w.id(e))
			place := e.place(&run{rec: &pb.Run{Trial: w.trial.rec.Name, Seed: w.seed, Confirmation: w.confirmation}})
			require.Greater(t, place, last)
			last = place
		}
		require.Empty(t, missing)
		listed := 0
		e.wanted(0, 0, func(want, int, int) bool { listed++; return true })
		e.rec.Expanded = true
		require.Equal(t, e.sum().runs, listed)
	})
}
