package engine

import (
	"cmp"
	"math"
	"regexp"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
)

// schedule says when a probe's values are kept: the parameters every, at,
// reduce and as, which all probes share.
type schedule struct {
	every  int64  // steps between values; 0 is once a task
	at     string // "start" or "end" of the task, for a measurement once a task
	reduce string // "mean", "last" or "max" over the steps since the last value
	as     string // name of the metric instead of the probe's own
}

var scheduleFields = []string{"every", "at", "reduce", "as"}

// splitSchedule parts a probe's own parameters from those of its schedule.
func splitSchedule(raw map[string]any) (own, common map[string]any) {
	own, common = map[string]any{}, map[string]any{}
	for k, v := range raw {
		own[k] = v
	}
	for _, k := range scheduleFields {
		if v, ok := own[k]; ok {
			common[k] = v
			delete(own, k)
		}
	}
	return own, common
}

var metricName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

func parseSchedule(raw map[string]any, info probe.Info) (schedule, error) {
	s := schedule{reduce: cmp.Or(info.Reduce, "mean"), at: info.At}
	if s.at == "" {
		s.at = "end"
	}
	if info.Every == "step" {
		s.every = 1
	}
	if v, ok := raw["every"]; ok {
		switch x := v.(type) {
		case string:
			switch x {
			case "step":
				s.every = 1
			case "task":
				s.every = 0
			default:
				return s, component.Fieldf("every", "must be step, task or a number of steps, is %q", x)
			}
		case float64:
			if x < 1 || x > 1<<40 || x != math.Trunc(x) {
				return s, component.Fieldf("every", "must be a whole number of steps from 1 up, is %v", x)
			}
			s.every = int64(x)
		default:
			return s, component.Fieldf("every", "must be step, task or a number of steps, is %s", describe(v))
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
			return s, component.Fieldf("at", "start needs every: task")
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
	return s, nil
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
	case 1:
		m["every"] = "step"
	default:
		m["every"] = s.every
	}
	if s.as != "" {
		m["as"] = s.as
	}
	return m
}
