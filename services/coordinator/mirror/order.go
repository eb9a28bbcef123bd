package mirror

import (
	"cmp"
	"slices"

	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/seeds"
)

// Want is a run that an experiment is to have, whether it has a record or not.
type Want struct {
	Trial        *Trial
	Seed         uint32
	Confirmation bool
}

// ID is the run's id.
func (w Want) ID(experimentID string) string {
	return experiment.RunID(experimentID, w.Trial.Rec.Name, w.Seed)
}

// Planned is the record of a run as it is before anything of it is done.
func (e *Experiment) Planned(w Want, numerics int32) *pb.Run {
	t := w.Trial.Rec
	return &pb.Run{
		Id:              w.ID(e.ID),
		Experiment:      e.ID,
		Arm:             t.Arm,
		Trial:           t.Name,
		Seed:            w.Seed,
		NumericsVersion: numerics,
		State:           pb.RunState_RUN_STATE_PENDING,
		Steps:           int64(t.Tasks) * t.StepsPerTask,
		Tasks:           t.Tasks,
		Segments:        segmentCount(t.Tasks, e.Rec.SegmentTasks),
		Params:          t.Params,
		Confirmation:    w.Confirmation,
		Analysis:        t.Analysis,
		Asides:          int32(w.Trial.Measured),
		Generation:      e.Rec.Generation,
	}
}

// Confirmed lists the trials that get confirmation runs, once they are selected:
// the selected ones, the analyses, and those whose artifacts they start from.
func (e *Experiment) Confirmed() []*Trial {
	if !e.Rec.SelectionDone || e.ConfirmSeeds().Len() == 0 {
		return nil
	}
	var out []*Trial
	var add func(name string)
	add = func(name string) {
		t := e.Trials[name]
		if t == nil || slices.Contains(out, t) {
			return
		}
		out = append(out, t)
		for _, n := range t.Rec.Needs {
			if n.Seed == nil {
				add(n.Trial)
			}
		}
	}
	for _, name := range e.Rec.Selected {
		add(name)
	}
	for _, t := range e.byIndex {
		if t != nil && t.Rec.Analysis {
			add(t.Rec.Name)
		}
	}
	slices.SortFunc(out, func(a, b *Trial) int { return cmp.Compare(a.Rec.Index, b.Rec.Index) })
	return out
}

// ConfirmSeeds are those of confirmation runs.
func (e *Experiment) ConfirmSeeds() seeds.Set { return seeds.Set{Packed: e.Rec.GetConfirmSeeds()} }

// ConfirmSeedsOf are those of one trial: of an analysis with one run for all
// seeds the first.
func (e *Experiment) ConfirmSeedsOf(t *Trial) seeds.Set {
	s := e.ConfirmSeeds()
	if !t.Rec.Once || s.Len() == 0 {
		return s
	}
	return seeds.One(s.At(0))
}

// RunAt returns the run at a place of the experiment's order: all trials with
// their first seed, then with their second, and so on, so that arms can be
// compared early; then confirmations in the same way. skip: no run there, go
// on; end: no more.
func (e *Experiment) RunAt(place int64) (w Want, skip, end bool) {
	n := int64(len(e.byIndex))
	if n == 0 {
		return w, false, true
	}
	tuning := n * e.most
	if place < tuning {
		t, k := e.byIndex[place%n], int(place/n)
		if t == nil || k >= t.Seeds().Len() {
			return w, true, false
		}
		return Want{t, t.Seeds().At(k), false}, false, false
	}
	arms, all := e.Confirmed(), e.ConfirmSeeds()
	i, m := place-tuning, int64(len(arms))
	if m == 0 || i >= m*int64(all.Len()) {
		return w, false, true
	}
	if t := arms[i%m]; int(i/m) < e.ConfirmSeedsOf(t).Len() {
		return Want{t, all.At(int(i / m)), true}, false, false
	}
	return w, true, false
}

// Place is where a run stands in the experiment's order, for comparing.
func (e *Experiment) Place(r *pb.Run) int64 {
	t := e.Trials[r.GetTrial()]
	if t == nil {
		return 0
	}
	n := int64(len(e.byIndex))
	if r.Confirmation {
		return n*e.most + int64(e.ConfirmSeeds().Index(r.Seed))*n + int64(t.Rec.Index)
	}
	return int64(t.Seeds().Index(r.Seed))*n + int64(t.Rec.Index)
}

// Wanted calls fn for every run that the experiment is to have, by arm, trial
// and seed (tuning seeds, then confirmation seeds), from the given trial and
// place among its seeds on, until fn returns false.
func (e *Experiment) Wanted(trialIndex, seedIndex int, fn func(w Want, trialIndex, seedIndex int) bool) {
	confirmed := map[*Trial]bool{}
	for _, t := range e.Confirmed() {
		confirmed[t] = true
	}
	for ; trialIndex < len(e.byIndex); trialIndex, seedIndex = trialIndex+1, 0 {
		t := e.byIndex[trialIndex]
		if t == nil {
			continue
		}
		tuning, all := t.Seeds().Len(), t.Seeds().Len()
		if confirmed[t] {
			all += e.ConfirmSeedsOf(t).Len()
		}
		for ; seedIndex < all; seedIndex++ {
			w := Want{Trial: t}
			if seedIndex < tuning {
				w.Seed = t.Seeds().At(seedIndex)
			} else {
				w.Seed, w.Confirmation = e.ConfirmSeeds().At(seedIndex-tuning), true
			}
			if !fn(w, trialIndex, seedIndex) {
				return
			}
		}
	}
}
