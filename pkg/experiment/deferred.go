package experiment

import (
	"math"

	pb "neoteny/proto/neoteny/v1"
)

// DeferredSteps are the steps at which the runs of a trial have deferred measurements:
// a track of one step forks from the main one there, which has a checkpoint for it.
// [neoteny/pkg/engine/run.Deferred] says where in a task that is.
type DeferredSteps struct {
	Schedules    []*pb.AsideSchedule
	Tasks        int64
	StepsPerTask int64
}

// Next returns the first fork at or after a step; ok is false where none follows.
func (d DeferredSteps) Next(from int64) (step int64, ok bool) {
	step = math.MaxInt64
	for _, s := range d.Schedules {
		every := int64(s.GetEvery())
		if s.GetStart() {
			task := (from + d.StepsPerTask - 1) / d.StepsPerTask
			task = (task + every - 1) / every * every
			if task < d.Tasks {
				step = min(step, task*d.StepsPerTask)
			}
			continue
		}
		tasks := from/d.StepsPerTask + 1 // done after the step
		tasks = (tasks + every - 1) / every * every
		if tasks <= d.Tasks {
			step = min(step, tasks*d.StepsPerTask-1)
		}
	}
	return step, step < math.MaxInt64
}

// At reports whether there is a fork at a step.
func (d DeferredSteps) At(step int64) bool {
	next, ok := d.Next(step)
	return ok && next == step
}

// Count is the number of forks.
func (d DeferredSteps) Count() (n int64) {
	for step, ok := d.Next(0); ok; step, ok = d.Next(step + 1) {
		n++
	}
	return n
}

// Cut is where the main track's segment ends that begins at a step: at the next
// fork, or else where segments of the given number of tasks end. A segment of one
// step between such two places is saved.
func (d DeferredSteps) Cut(first int64, segmentTasks int32) int64 {
	length := int64(segmentTasks) * d.StepsPerTask
	end := min((first/length+1)*length, d.Tasks*d.StepsPerTask)
	if len(d.Schedules) == 0 {
		return end
	}
	if end == first+1 {
		end = min(end+length, d.Tasks*d.StepsPerTask)
	}
	if fork, ok := d.Next(first + 1); ok {
		end = min(end, fork)
	}
	return end
}

// DeferredSchedules returns when measurements of the trial's runs are deferred.
func (t Trial) DeferredSchedules() (list []*pb.AsideSchedule) {
	for _, a := range t.Spec.Deferred() {
		list = append(list, &pb.AsideSchedule{Every: int32(a.Every), Start: a.Start})
	}
	return list
}
