package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "neoteny/proto/neoteny/v1"
)

// stateName is a state as users read it: "running".
func stateName(s pb.ExperimentState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "EXPERIMENT_STATE_"))
}

func runStateName(s pb.RunState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RUN_STATE_"))
}

// state derives where an experiment stands.
func (e *exp) state() pb.ExperimentState {
	if e.rec.State != 0 {
		return e.rec.State
	}
	if e.ended.runs > 0 {
		return pb.ExperimentState_EXPERIMENT_STATE_RUNNING
	}
	for _, r := range e.active {
		if r.state() == pb.RunState_RUN_STATE_RUNNING {
			return pb.ExperimentState_EXPERIMENT_STATE_RUNNING
		}
	}
	return pb.ExperimentState_EXPERIMENT_STATE_PENDING
}

func (r *run) state() pb.RunState {
	if r.rec != nil && final(r.rec.State) {
		return r.rec.State
	}
	for _, g := range r.segs {
		switch g.rec.State {
		case pb.SegmentState_SEGMENT_STATE_ASSIGNED, pb.SegmentState_SEGMENT_STATE_DONE:
			return pb.RunState_RUN_STATE_RUNNING
		}
	}
	return pb.RunState_RUN_STATE_PENDING
}

// progress derives an experiment's counters from its runs.
func (e *exp) progress() *pb.Progress {
	all, t := e.sum(), e.ended
	p := &pb.Progress{}
	for _, r := range e.active {
		v := r.view()
		t.stepsDone += v.StepsDone
		t.tasksDone += int64(v.TasksDone)
		t.segmentsDone += segmentsDone(v)
		for g := range r.going() {
			if g.rec.State == pb.SegmentState_SEGMENT_STATE_ASSIGNED {
				p.SegmentsAssigned++
			}
		}
	}
	p.Runs, p.RunsDone, p.RunsFailed = int32(all.runs), int32(t.done), int32(t.failed)
	p.Segments, p.SegmentsDone = all.segments, t.segmentsDone
	p.Steps, p.StepsDone = all.steps, t.stepsDone
	p.Tasks, p.TasksDone = all.tasks, t.tasksDone
	return p
}

// view is the run as clients see it, but for why it is pending.
func (r *run) view() *pb.Run {
	if final(r.rec.State) {
		return r.rec
	}
	v := proto.CloneOf(r.rec)
	v.State = r.state()
	segs, asides := r.snapshot()
	fillProgress(v, segs, asides)
	return v
}

// experimentView is the experiment as clients see it, with the given spec.
func (s *Service) experimentView(e *exp, spec *pb.ExperimentSpec) *pb.Experiment {
	v := &pb.Experiment{
		Id:        e.id,
		Spec:      spec,
		State:     e.state(),
		Progress:  e.progress(),
		CreatedAt: e.rec.CreatedAt,
		EndedAt:   e.rec.EndedAt,
		Message:   e.rec.Message,
	}
	switch {
	case e.rec.State != 0:
	case e.control == pb.Desired_DESIRED_CANCEL:
		v.Message = "being cancelled"
	case !e.rec.Expanded:
		v.Message = "being expanded"
	default:
		if v.Progress.SegmentsAssigned == 0 {
			v.Message = s.waits(e)
		}
		if v.Message == "" && e.ended.failed > 0 {
			v.Message = fmt.Sprintf("%d runs failed so far; %s: %s", e.ended.failed, e.ended.firstFailure, e.ended.failure)
		}
		if v.Message == "" {
			v.Message = e.lack()
		}
	}
	return v
}

// waits says why nothing of an experiment is being done, or "". Its runs are of
// the numerics version of the coordinator that made them.
func (s *Service) waits(e *exp) string {
	versions := map[int32]bool{}
	for _, r := range e.active {
		versions[r.rec.NumericsVersion] = true
	}
	if len(versions) == 0 {
		versions[s.cfg.NumericsVersion] = true
	}
	for _, v := range slices.Sorted(maps.Keys(versions)) {
		if why := s.stuck(v, e.datasets()); why != "" {
			return why
		}
	}
	return ""
}

// datasets returns what the experiment's trials read, in order.
func (e *exp) datasets() (out []string) {
	for _, t := range e.trials {
		out = append(out, t.rec.Datasets...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// stuck says why work of a numerics version that reads datasets goes to nobody,
// or "".
func (s *Service) stuck(numerics int32, need []string) string {
	now := s.cfg.Now()
	var other, problems []string
	var without *pb.Worker // one that lacks datasets
	total, draining, out, able := 0, 0, 0, 0
	for _, id := range slices.Sorted(maps.Keys(s.state.workers)) {
		w := s.state.workers[id]
		total++
		switch v := w.rec.NumericsVersion; {
		case v != numerics:
			if name := fmt.Sprint(v); !slices.Contains(other, name) {
				other = append(other, name)
			}
		case w.rec.Problem != "":
			problems = append(problems, id+": "+w.rec.Problem)
		case w.rec.Draining:
			draining++
		case s.state.outOfService(id, now):
			out++
		case len(lacking(w.rec, need)) > 0:
			if without == nil {
				without = w.rec
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
		return fmt.Sprintf("waiting: %d workers are out of service after repeated failures and will be tried again soon", out)
	case draining > 0:
		return fmt.Sprintf("waiting: all workers that could do this are draining (%d)", draining)
	}
	if len(problems) > 0 {
		return fmt.Sprintf("waiting: no worker can work (%d of %d); %s", len(problems), total, problems[0])
	}
	return fmt.Sprintf("waiting for workers of numerics version %d: those connected have version %s", numerics, strings.Join(other, ", "))
}

// pendingReason says why a run has not begun. place is how many of the
// experiment's runs are to begin before it.
func (s *Service) pendingReason(e *exp, numerics int32, need []string, place int) string {
	switch {
	case e.control == pb.Desired_DESIRED_CANCEL:
		return "being cancelled"
	case !e.rec.Expanded:
		return "being expanded"
	}
	if why := s.stuck(numerics, need); why != "" {
		return why
	}
	return fmt.Sprintf("waiting for a free slot, %d runs of the experiment before it", place)
}
