package engine

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
)

// schedule says when a probe's values are kept, and where they are measured: the
// parameters that all probes share, [probe.Shared].
type schedule struct {
	every  int64  // steps between values; 0 is by tasks
	tasks  int    // tasks between values, where every is 0
	at     string // "start" or "end" of the task, for a measurement by tasks
	reduce string // "mean", "last" or "max" over the steps since the last value
	as     string // name of the metric instead of the probe's own
	aside  bool   // measured from a checkpoint, off the run's path: see [Aside]
}

// splitSchedule parts a probe's own parameters from those of its schedule.
func splitSchedule(raw map[string]any) (own, common map[string]any) {
	own, common = map[string]any{}, map[string]any{}
	for k, v := range raw {
		own[k] = v
	}
	for _, k := range probe.Shared {
		if v, ok := own[k]; ok {
			common[k] = v
			delete(own, k)
		}
	}
	return own, common
}

var (
	metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
	everyTasks = regexp.MustCompile(`^([1-9][0-9]{0,6}) tasks?$`)
)

func parseSchedule(raw map[string]any, info probe.Info) (schedule, error) {
	s := schedule{reduce: cmp.Or(info.Reduce, "mean"), at: info.At, tasks: 1}
	if s.at == "" {
		s.at = "end"
	}
	if info.Every == "step" {
		s.every = 1
	}
	if v, ok := raw["every"]; ok {
		switch x := v.(type) {
		case string:
			n := everyTasks.FindStringSubmatch(x)
			switch {
			case x == "step":
				s.every = 1
			case x == "task":
				s.every = 0
			case n != nil:
				s.every = 0
				s.tasks, _ = strconv.Atoi(n[1]) // at most seven digits
			default:
				return s, component.Fieldf("every", "must be step, task, a number of steps, or of tasks as in \"10 tasks\", is %q", x)
			}
		case float64:
			if x < 1 || x > 1<<40 || x != math.Trunc(x) {
				return s, component.Fieldf("every", "must be a whole number of steps from 1 up, is %v", x)
			}
			s.every = int64(x)
		default:
			return s, component.Fieldf("every", "must be step, task, a number of steps, or of tasks as in \"10 tasks\", is %s", describe(v))
		}
	}
	text := func(name string, dst *string, allowed ...string) error {
		v, ok := raw[name]
		if !ok {
			return nil
		}
		x, _ := v.(string)
		for _, a := range allowed {
			if x == a {
				*dst = x
				return nil
			}
		}
		return component.Fieldf(name, "must be one of %v, is %v", allowed, v)
	}
	if err := text("at", &s.at, "start", "end"); err != nil {
		return s, err
	}
	if err := text("reduce", &s.reduce, "mean", "last", "max"); err != nil {
		return s, err
	}
	if s.every > 0 && s.at == "start" {
		if _, given := raw["at"]; given {
			return s, component.Fieldf("at", "start needs every: task or a number of tasks")
		}
		s.at = "end"
	}
	if v, ok := raw["as"]; ok {
		name, _ := v.(string)
		if !metricName.MatchString(name) {
			return s, component.Fieldf("as", "must be a snake_case metric name, is %v", v)
		}
		if len(info.Metrics) != 1 {
			return s, component.Fieldf("as", "%s emits several metrics: %v", info.Name, info.Metrics)
		}
		s.as = name
	}
	if v, ok := raw["aside"]; ok {
		if s.aside, ok = v.(bool); !ok {
			return s, component.Fieldf("aside", "must be true or false, is %s", describe(v))
		}
	}
	switch {
	case !s.aside:
	case info.Every == "step":
		return s, component.Fieldf("aside", "%s measures training steps, and a checkpoint is what lies between two: leave aside out", info.Name)
	case info.Remembers:
		return s, component.Fieldf("aside", "%s remembers what it has seen before, and a checkpoint is of one moment: leave aside out", info.Name)
	case s.every > 0:
		return s, component.Fieldf("aside", "is for at most one measurement a task, not one every %d steps: give every: task or a number of tasks", s.every)
	}
	return s, nil
}

// start and end tell whether a schedule by tasks has a measurement before the
// first step of a task, after its last.
func (s schedule) start(task int) bool {
	return s.every == 0 && s.at == "start" && task%s.tasks == 0
}

func (s schedule) end(task int) bool {
	return s.every == 0 && s.at == "end" && (task+1)%s.tasks == 0
}

// rename returns the name under which a metric of the probe is kept.
func (s schedule) rename(metric string, info probe.Info) string {
	if s.as != "" && metric == info.Metrics[0] {
		return s.as
	}
	return metric
}

func (s schedule) canonical() map[string]any {
	m := map[string]any{"every": any("task"), "at": s.at, "reduce": s.reduce}
	switch s.every {
	case 0:
		if s.tasks > 1 {
			m["every"] = fmt.Sprintf("%d tasks", s.tasks)
		}
	case 1:
		m["every"] = "step"
	default:
		m["every"] = s.every
	}
	if s.as != "" {
		m["as"] = s.as
	}
	if s.aside {
		m["aside"] = true
	}
	return m
}
