package experiment

import (
	"math"

	pb "neoteny/proto/neoteny/v1"
)

// Asides are the places where the runs of a trial are measured aside: a track of
// one step forks from the main one there, which has a checkpoint for it. See
// [neoteny/pkg/engine.Aside] for where in a task that is.
type Asides struct {
	Schedules    []*pb.AsideSchedule
	Tasks        int64
	StepsPerTask int64
}

// Next returns the first fork at or after a step; ok is false where none follows.
func (a Asides) Next(from int64) (step int64, ok bool) {
	step = math.MaxInt64
	for _, s := range a.Schedules {
		every := int64(s.GetEvery())
		if s.GetStart() {
			task := (from + a.StepsPerTask - 1) / a.StepsPerTask
			task = (task + every - 1) / every * every
			if task < a.Tasks {
				step = min(step, task*a.StepsPerTask)
			}
			continue
		}
		tasks := from/a.StepsPerTask + 1 // done after the step
		tasks = (tasks + every - 1) / every * every
		if tasks <= a.Tasks {
			step = min(step, tasks*a.StepsPerTask-1)
		}
	}
	return step, step < math.MaxInt64
}

// At tells whether there is a fork at a step.
func (a Asides) At(step int64) bool {
	next, ok := a.Next(step)
	return ok && next == step
}

// Count is the number of forks.
func (a Asides) Count() (n int64) {
	for step, ok := a.Next(0); ok; step, ok = a.Next(step + 1) {
		n++
	}
	return n
}

// Cut is where the main track's segment ends that begins at a step: at the next
// fork, or else where segments of the given number of tasks end. A segment of one
// step between such two places is saved.
func (a Asides) Cut(first int64, segmentTasks int32) int64 {
	length := int64(segmentTasks) * a.StepsPerTask
	end := min((first/length+1)*length, a.Tasks*a.StepsPerTask)
	if len(a.Schedules) == 0 {
		return end
	}
	if end == first+1 {
		end = min(end+length, a.Tasks*a.StepsPerTask)
	}
	if fork, ok := a.Next(first + 1); ok {
		end = min(end, fork)
	}
	return end
}

// DeferredSchedules says when runs of the trial are measured aside.
func (t Trial) DeferredSchedules() (list []*pb.AsideSchedule) {
	for _, a := range t.Spec.Deferred() {
		list = append(list, &pb.AsideSchedule{Every: int32(a.Every), Start: a.Start})
	}
	return list
}
