package spec

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
)

// Schedule says when a probe's values are kept, and where they are measured: the
// parameters that all probes share, [probe.Shared].
type Schedule struct {
	Every    int64  // steps between values; 0 is by tasks
	Tasks    int    // tasks between values, where Every is 0
	At       string // "start" or "end" of the task, for a measurement by tasks
	Reduce   string // "mean", "last" or "max" over the steps since the last value
	As       string // name of the metric instead of the probe's own
	Deferred bool   // measured later, from a checkpoint, and not in the run's life
}

// splitSchedule parts a probe's own parameters from those of its schedule.
func splitSchedule(raw map[string]any) (own, common map[string]any) {
	own, common = map[string]any{}, map[string]any{}
	for k, v := range raw {
		own[k] = v
	}
	for _, k := range append([]string{formerly}, probe.Shared...) {
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

func parseSchedule(raw map[string]any, info probe.Info) (Schedule, error) {
	s := Schedule{Reduce: cmp.Or(info.Reduce, "mean"), At: info.At, Tasks: 1}
	if s.At == "" {
		s.At = "end"
	}
	if info.Every == "step" {
		s.Every = 1
	}
	if v, ok := raw["every"]; ok {
		switch x := v.(type) {
		case string:
			n := everyTasks.FindStringSubmatch(x)
			switch {
			case x == "step":
				s.Every = 1
			case x == "task":
				s.Every = 0
			case n != nil:
				s.Every = 0
				s.Tasks, _ = strconv.Atoi(n[1]) // at most seven digits
			default:
				return s, component.Fieldf("every", "must be step, task, a number of steps, or of tasks as in \"10 tasks\", is %q", x)
			}
		case float64:
			if x < 1 || x > 1<<40 || x != math.Trunc(x) {
				return s, component.Fieldf("every", "must be a whole number of steps from 1 up, is %v", x)
			}
			s.Every = int64(x)
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
	if err := text("at", &s.At, "start", "end"); err != nil {
		return s, err
	}
	if err := text("reduce", &s.Reduce, "mean", "last", "max"); err != nil {
		return s, err
	}
	if s.Every > 0 && s.At == "start" {
		if _, given := raw["at"]; given {
			return s, component.Fieldf("at", "start needs every: task or a number of tasks")
		}
		s.At = "end"
	}
	if v, ok := raw["as"]; ok {
		name, _ := v.(string)
		if !metricName.MatchString(name) {
			return s, component.Fieldf("as", "must be a snake_case metric name, is %v", v)
		}
		if len(info.Metrics) != 1 {
			return s, component.Fieldf("as", "%s emits several metrics: %v", info.Name, info.Names())
		}
		s.As = name
	}
	name, v := deferredIn(raw)
	if name == "" {
		return s, nil
	}
	if _, both := raw[formerly]; both && name != formerly {
		return s, component.Fieldf(formerly, "is the former name of deferred, which is given, too: leave %s out", formerly)
	}
	var ok bool
	if s.Deferred, ok = v.(bool); !ok {
		return s, component.Fieldf(name, "must be true or false, is %s", describe(v))
	}
	switch {
	case !s.Deferred:
	case info.Every == "step":
		return s, component.Fieldf(name, "%s measures training steps, and a checkpoint is what lies between two: leave %s out", info.Name, name)
	case info.Remembers:
		return s, component.Fieldf(name, "%s remembers what it has seen before, and a checkpoint is of one moment: leave %s out", info.Name, name)
	case s.Every > 0:
		return s, component.Fieldf(name, "is for at most one measurement a task, not one every %d steps: give every: task or a number of tasks", s.Every)
	}
	return s, nil
}

// Start and End report whether a schedule by tasks has a measurement before the
// first step of a task, after its last.
func (s Schedule) Start(task int) bool {
	return s.Every == 0 && s.At == "start" && task%s.Tasks == 0
}

func (s Schedule) End(task int) bool {
	return s.Every == 0 && s.At == "end" && (task+1)%s.Tasks == 0
}

// Rename returns the name under which a metric of the probe is kept.
func (p Probe) Rename(metric string) string {
	if p.Schedule.As != "" && metric == p.Info.Metrics[0].Metric {
		return p.Schedule.As
	}
	return metric
}

func (s Schedule) canonical() map[string]any {
	m := map[string]any{"every": any("task"), "at": s.At, "reduce": s.Reduce}
	switch s.Every {
	case 0:
		if s.Tasks > 1 {
			m["every"] = fmt.Sprintf("%d tasks", s.Tasks)
		}
	case 1:
		m["every"] = "step"
	default:
		m["every"] = s.Every
	}
	if s.As != "" {
		m["as"] = s.As
	}
	if s.Deferred {
		m[formerly] = true
	}
	return m
}

// formerly is what the parameter deferred was called first. Files may still have it,
// and it stays the name in canonical JSON, so that run keys are what they were.
const formerly = "aside"

// deferredIn returns the parameter, under the name that it has in raw; "" for none.
func deferredIn(raw map[string]any) (name string, v any) {
	for _, name := range []string{"deferred", formerly} {
		if v, ok := raw[name]; ok {
			return name, v
		}
	}
	return "", nil
}
