package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pb "neoteny/proto/neoteny/v1"
	"neoteny/services/coordinator/mirror"
)

// WhyExperiment says what an experiment waits for, or what is to be known of it;
// its record's message once it has ended. assigned is how many of its segments
// are in work.
func (s Snapshot) WhyExperiment(e *mirror.Experiment, assigned int64) string {
	switch {
	case e.Rec.State != 0:
		return e.Rec.Message
	case e.Control == pb.Desired_DESIRED_CANCEL:
		return "being cancelled"
	case !e.Rec.Expanded:
		return "being expanded"
	}
	if assigned == 0 {
		if why := s.waits(e); why != "" {
			return why
		}
	}
	if t := &e.Ended; t.Failed > 0 && t.FirstFailure != "" {
		return fmt.Sprintf("%d runs failed so far; %s: %s", t.Failed, t.FirstFailure, t.Failure)
	}
	return e.Ended.Lack()
}

// WhyRun says of a run with a record, in the state that it has in v, why it does
// not go on; v's own message where there is nothing to say.
func (s Snapshot) WhyRun(r *mirror.Run, v *pb.Run) string {
	e, g := r.Experiment, r.Last()
	switch {
	case !mirror.Final(v.State) && e.Control == 0 && g != nil && g.Pending() && s.pause(g) > 0:
		return fmt.Sprintf("is tried again in %s, after %d failures, the last: %s",
			s.pause(g).Round(100*time.Millisecond), len(g.Rec.Failures), g.Trouble())
	case v.State == pb.RunState_RUN_STATE_PENDING:
		return s.pending(e, v, r.Datasets(), true)
	case mirror.Final(v.State):
	case e.Control == 0 && g != nil && g.Pending():
		return s.stuck(v.NumericsVersion, r.Datasets())
	case r.Divergence() != nil:
		return diverged(r)
	case r.Trained():
		return fmt.Sprintf("trained; %d of %d deferred measurements are done", v.AsidesDone, v.Asides)
	}
	return v.Message
}

// WhyNotBegun says why a run has no record yet; v is its record as planned.
func (s Snapshot) WhyNotBegun(e *mirror.Experiment, w mirror.Want, v *pb.Run) string {
	if _, first, _ := inputs(e, w); first != "" && e.Control == 0 && e.Rec.Expanded {
		return "waiting for run " + first + ", from whose artifacts it starts"
	}
	return s.pending(e, v, w.Trial.Rec.Datasets, false)
}

// pending says why a run has not begun.
func (s Snapshot) pending(e *mirror.Experiment, v *pb.Run, need []string, recorded bool) string {
	switch {
	case e.Control == pb.Desired_DESIRED_CANCEL:
		return "being cancelled"
	case !e.Rec.Expanded:
		return "being expanded"
	}
	if why := s.stuck(v.NumericsVersion, need); why != "" {
		return why
	}
	return fmt.Sprintf("waiting for a free slot, %d runs of the experiment before it", before(e, v, recorded))
}

// before counts the experiment's runs that wait and come before one.
func before(e *mirror.Experiment, v *pb.Run, recorded bool) (n int) {
	at := e.Place(v)
	for _, o := range e.Active {
		if g := o.Last(); g != nil && g.Pending() && e.Place(o.Rec) < at {
			n++
		}
	}
	// Those without a record follow the ones with.
	if !recorded && e.Begun < at {
		n += int(at - e.Begun)
	}
	return n
}

// waits says why nothing of an experiment is being done, or "". Its runs are of
// the numerics version of the coordinator that made them.
func (s Snapshot) waits(e *mirror.Experiment) string {
	versions := map[int32]bool{}
	for _, r := range e.Active {
		versions[r.Rec.NumericsVersion] = true
	}
	if len(versions) == 0 {
		versions[s.Config.NumericsVersion] = true
	}
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		if why := s.stuck(v, e.Datasets()); why != "" {
			return why
		}
	}
	return ""
}

// stuck says why no worker takes work of a numerics version that reads datasets,
// or "".
func (s Snapshot) stuck(numerics int32, need []string) string {
	var other, problems []string
	var without *pb.Worker // one that lacks datasets
	total, draining, out, able := 0, 0, 0, 0
	for _, id := range slices.Sorted(maps.Keys(s.State.Workers)) {
		w := s.State.Workers[id].Rec
		total++
		switch v := w.NumericsVersion; {
		case v != numerics:
			if name := fmt.Sprint(v); !slices.Contains(other, name) {
				other = append(other, name)
			}
		case w.Problem != "":
			problems = append(problems, id+": "+w.Problem)
		case w.Draining:
			draining++
		case s.OutOfService(id):
			out++
		case len(lacking(w, need)) > 0:
			if without == nil {
				without = w
			}
		default:
			able++
		}
	}
	slices.Sort(other)
	switch {
	case able > 0:
		return ""
	case total == 0:
		return "waiting for workers: none is connected"
	case without != nil:
		names := lacking(without, need)
		return fmt.Sprintf("waiting for a worker with the data: %s lacks %s in %s; run `neoteny data import %s` there",
			without.Id, strings.Join(names, ", "), cmp.Or(without.DataFolder, "its data folder"), names[0])
	case out > 0:
		return fmt.Sprintf(
			"waiting: %d workers are out of service after repeated failures and will be tried again soon", out)
	case draining > 0:
		return fmt.Sprintf("waiting: all workers that could do this are draining (%d)", draining)
	case len(problems) > 0:
		return fmt.Sprintf("waiting: no worker can work (%d of %d); %s", len(problems), total, problems[0])
	}
	return fmt.Sprintf("waiting for workers of numerics version %d: those connected have version %s",
		numerics, strings.Join(other, ", "))
}
