// Package environments has the worlds that come with neoteny, one file each.
package environments

import (
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/stream"
)

// checkLength checks how long a run is.
func checkLength(tasks int, stepsPerTask int64) error {
	switch {
	case tasks < 1 || tasks > stream.MaxTasks:
		return component.Fieldf("tasks", "must be between 1 and %d, is %d", stream.MaxTasks, tasks)
	case stepsPerTask < 1 || stepsPerTask > stream.MaxSteps/int64(tasks):
		return component.Fieldf("steps_per_task", "must be between 1 and %d for %d tasks, is %d", stream.MaxSteps/int64(tasks), tasks, stepsPerTask)
	}
	return nil
}
