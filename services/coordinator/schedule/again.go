package schedule

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// again takes runs up that have ended and are to be done again, as many as there is room
// for, in the experiment's order. A run that failed or was cancelled goes on from where
// it is committed; one that was done is made from its first step, since something of it
// is lost.
func (s Snapshot) again(e *mirror.Experiment, room *float64, lanes int) (out []Action) {
	runs := slices.SortedFunc(maps.Values(e.Again), func(a, b *mirror.Run) int {
		return cmp.Or(cmp.Compare(e.Place(a.Rec), e.Place(b.Rec)), cmp.Compare(a.ID, b.ID))
	})
	for _, r := range runs {
		t := r.Trial()
		if t == nil || r.Rec.RunKey == "" { // it never began: it has what it needs now, or fails again
			out = append(out, Forget{Run: r.Rec, Mod: r.Rev.Mod})
			continue
		}
		if *room <= least {
			continue
		}
		*room -= share(t, lanes)
		is := e.Planned(mirror.Want{Trial: t, Seed: r.Rec.Seed}, r.Rec.NumericsVersion)
		out = append(out, Restart{
			Run: proto.CloneOf(r.Rec), Mod: r.Rev.Mod, First: s.firstSegment(e, t, r.ID), GoOn: goesOn(t, r.Rec), To: e.Rec.Generation,
			Steps: is.Steps, Count: is.Segments, Asides: is.Asides,
		})
	}
	return out
}

// goesOn reports whether a run that has ended can go on from what it has committed. One
// whose measurements are deferred cannot: those that it has are not kept one by one. Of a
// run that has become longer only its end is a place to go on from.
func goesOn(t *mirror.Trial, r *pb.Run) bool {
	c := r.GetCommitted()
	var can bool
	switch r.State {
	case pb.RunState_RUN_STATE_FAILED, pb.RunState_RUN_STATE_CANCELLED:
		can = c.GetStep() < r.Steps && r.Steps == t.Steps()
	case pb.RunState_RUN_STATE_DONE:
		can = c.GetStep() == r.Steps && r.Steps < t.Steps() && r.Reused == ""
	}
	return can && t.Measured == 0 && c.GetCheckpoint() != nil && r.Table != nil
}
