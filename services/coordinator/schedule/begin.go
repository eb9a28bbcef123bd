package schedule

import (
	"cmp"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
	"neoteny/services/coordinator/seeds"
)

// slots is how many segments or packs of new runs the workers could do at a
// time, and the largest pack that one of them takes.
func (s Snapshot) slots() (n, lanes int) {
	lanes = 1
	for _, w := range s.State.Workers {
		if !w.Rec.Draining && w.Rec.Problem == "" && w.Rec.NumericsVersion == s.Config.NumericsVersion {
			n += int(w.Rec.Slots)
			lanes = max(lanes, w.Lanes())
		}
	}
	return n, lanes
}

// least is what sums of shares may be off by.
const least = 1e-9

// share is what a run takes of the room for waiting segments: of runs that can be
// packed, as many as fill a pack count as one.
func share(t *mirror.Trial, lanes int) float64 { return 1 / float64(min(t.Pack(), lanes)) }

// room is how many more segments may wait: QueuePerSlot for each slot.
func (s Snapshot) room(e *mirror.Experiment, slots, lanes int) float64 {
	room := float64(slots * s.Config.QueuePerSlot)
	for _, r := range e.Active {
		if g := r.Last(); g != nil && !g.Assigned() && !r.Trained() {
			room -= share(r.Trial(), lanes) // waiting, or about to have a next one that waits
		}
	}
	return room
}

// begin chooses the runs that begin now.
func (s Snapshot) begin(e *mirror.Experiment, room float64, lanes int) (out []NewRun) {
	gap := false
	for place := e.Begun; room > least; place++ {
		w, skip, end := e.RunAt(place)
		if end {
			break
		}
		if !skip {
			if r := e.Runs[w.ID(e.ID)]; r == nil || r.Rec == nil {
				gap = true
				in, first, never := inputs(e, w)
				switch {
				case never != nil:
					out = append(out, s.endedRun(e, w, *never))
				case first == "":
					out = append(out, s.newRun(e, w, in))
					room -= share(w.Trial, lanes)
				}
			}
		}
		if !gap {
			e.Begun = place + 1
		}
	}
	return out
}

func (s Snapshot) newRun(e *mirror.Experiment, w mirror.Want, in []*pb.Input) NewRun {
	r := e.Planned(w, s.Config.NumericsVersion)
	r.Inputs, r.Publishes = in, w.Trial.Rec.Publishes
	return NewRun{Run: r, Segment: s.firstSegment(e, w.Trial, r.Id)}
}

func (s Snapshot) firstSegment(e *mirror.Experiment, t *mirror.Trial, run string) *pb.Segment {
	return &pb.Segment{
		Ref:      &pb.SegmentRef{Run: run, Track: mirror.MainTrack, EndStep: t.Deferred.Cut(0, e.Rec.SegmentTasks)},
		State:    pb.SegmentState_SEGMENT_STATE_PENDING,
		QueuedAt: timestamppb.New(s.Now),

		Generation: e.Rec.Generation,
	}
}

// ending is how a run ends, and why.
type ending struct {
	state pb.RunState
	why   string
}

// endedRun is a run whose end is known before it begins.
func (s Snapshot) endedRun(e *mirror.Experiment, w mirror.Want, how ending) NewRun {
	r := e.Planned(w, s.Config.NumericsVersion)
	r.Publishes = w.Trial.Rec.Publishes
	r.State, r.Message = how.state, how.why
	return NewRun{Run: r}
}

// inputs are the artifacts that a run starts from. first is a run that has to
// end before; never is how a run ends that can never begin. What starts from a run that
// diverged has diverged with it, and nothing of it is broken.
func inputs(e *mirror.Experiment, w mirror.Want) (in []*pb.Input, first string, never *ending) {
	for _, n := range w.Trial.Rec.Needs {
		from := seedsOf(e, n, w)
		for i := range from.Len() {
			id := experiment.RunID(e.ID, n.Trial, from.At(i))
			r := e.Runs[id]
			if r == nil || !r.Ended() {
				ref := published(r, n.Artifact)
				if ref == nil {
					first = cmp.Or(first, id)
					continue
				}
				in = append(in, &pb.Input{Name: n.Name, Run: id, Artifact: n.Artifact, Blob: ref})
				continue
			}
			if r.Rec.State == pb.RunState_RUN_STATE_DIVERGED {
				return nil, "", &ending{r.Rec.State, fmt.Sprintf("it starts from %s of run %s, which %s", n.Artifact, id, r.Rec.Message)}
			}
			if r.Rec.State != pb.RunState_RUN_STATE_DONE {
				return nil, "", &ending{pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("it starts from %s of run %s, which is %s: %s",
					n.Artifact, id, mirror.RunStateName(r.Rec.State), r.Rec.Message)}
			}
			ref := r.Rec.Artifacts[n.Artifact]
			if n.Artifact == analysis.Table {
				ref = r.Rec.Table
			}
			if ref == nil {
				return nil, "", &ending{pb.RunState_RUN_STATE_FAILED, fmt.Sprintf("it starts from %s of run %s, which has not published it", n.Artifact, id)}
			}
			in = append(in, &pb.Input{Name: n.Name, Run: id, Artifact: n.Artifact, Blob: ref})
		}
	}
	return in, first, nil
}

// published is an artifact of a run that has not ended; nil before it is trained.
// Deferred measurements change none of its artifacts but its table.
func published(r *mirror.Run, artifact string) *pb.BlobRef {
	if r == nil || r.Rec == nil || !r.Trained() || artifact == analysis.Table {
		return nil
	}
	return r.Last().Rec.Result.GetArtifacts()[artifact]
}

// seedsOf are the seeds of the runs from which a run takes what n says.
func seedsOf(e *mirror.Experiment, n *pb.TrialNeed, w mirror.Want) seeds.Set {
	from := e.Trials[n.Trial]
	all := e.ConfirmSeeds()
	if from != nil && !w.Confirmation {
		all = from.Seeds()
	}
	switch {
	case n.Seed != nil:
		return seeds.One(n.GetSeed())
	case from != nil && from.Rec.Once:
		return seeds.One(all.At(0))
	case n.AllSeeds:
		return all
	}
	return seeds.One(w.Seed)
}
