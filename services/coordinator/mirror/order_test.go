package mirror

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
)

// Every run that an experiment is to have is at one place of its order, and the
// places compare as the order goes.
func TestOrderVisitsEveryRunOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &Experiment{ID: "e", Trials: map[string]*Trial{}, Runs: map[string]*Run{}, Rec: &pb.ExperimentRecord{SelectionDone: true, Selected: map[string]string{}, ConfirmSeeds: &pb.Seeds{First: 100, Count: int32(rapid.IntRange(0, 3).Draw(t, "confirm"))}}}
		missing := map[string]bool{}
		for i := range rapid.IntRange(1, 5).Draw(t, "trials") {
			rec := &pb.TrialRecord{Index: int32(i), Name: string(rune('a' + i)), Seeds: &pb.Seeds{Count: int32(rapid.IntRange(1, 4).Draw(t, "seeds"))}}
			tr := &Trial{Rec: rec}
			e.Trials[rec.Name] = tr
			e.byIndex = append(e.byIndex, tr)
			e.most = max(e.most, int64(tr.Seeds().Len()))
			for s := range tr.Seeds().Len() {
				missing[experiment.RunID("e", rec.Name, uint32(s))] = true
			}
			if rapid.Bool().Draw(t, "selected") {
				e.Rec.Selected[rec.Name] = rec.Name
				for s := range e.ConfirmSeeds().Len() {
					missing[experiment.RunID("e", rec.Name, uint32(100+s))] = true
				}
			}
		}
		last := int64(-1)
		for seq := int64(0); ; seq++ {
			w, skip, end := e.RunAt(seq)
			if end {
				break
			}
			if skip {
				continue
			}
			require.True(t, missing[w.ID("e")], w.ID("e"))
			delete(missing, w.ID("e"))
			place := e.Place(&pb.Run{Trial: w.Trial.Rec.Name, Seed: w.Seed, Confirmation: w.Confirmation})
			require.Greater(t, place, last)
			last = place
		}
		require.Empty(t, missing)
		listed := 0
		e.Wanted(0, 0, func(Want, int, int) bool { listed++; return true })
		e.Rec.Expanded = true
		require.Equal(t, e.Sum().Runs, listed)
	})
}
