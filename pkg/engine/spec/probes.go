package spec

import (
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/probe"
)

// divergedProbe is the kind of the probe that measures whether a learner is frozen.
const divergedProbe = "diverged"

// withDiverged adds that probe where a learner may be and none is given.
func (s *Spec) withDiverged(probes []map[string]any) []map[string]any {
	given := func(p map[string]any) bool { return p["kind"] == divergedProbe }
	if !s.Freezes || slices.ContainsFunc(probes, given) {
		return probes
	}
	return append(slices.Clone(probes), map[string]any{"kind": divergedProbe})
}

func (s *Spec) resolveProbes(raw []map[string]any, p *problems) {
	seen := map[string]string{} // who emits a metric
	for i, m := range raw {
		path := fmt.Sprintf("probes[%d]", i)
		own, common := splitSchedule(m)
		r, info, err := probe.Resolve(path, own)
		if !p.note(err) {
			continue
		}
		sch, err := parseSchedule(common, info)
		if !p.note(component.At(path, err)) {
			continue
		}
		one := Probe{Resolved: r, Info: info, Schedule: sch}
		for _, name := range info.Names() {
			name = one.Rename(name)
			if other, dup := seen[name]; dup {
				p.note(component.Fieldf(path, "emits the metric %s, as %s does; give one of them another name with `as: NAME`", name, other))
			}
			seen[name] = path
		}
		p.note(component.At(path, s.checkDeferred(one, common)))
		s.Probes = append(s.Probes, one)
	}
}

// checkDeferred reports a probe that cannot be deferred in this spec.
func (s *Spec) checkDeferred(p Probe, given map[string]any) error {
	if !p.Schedule.Deferred {
		return nil
	}
	name, _ := deferredIn(given)
	if artifacts := component.Publishes(p.Resolved.Info, p.Config); len(artifacts) > 0 {
		return component.Fieldf(name, "%s publishes %s at the end of the run: leave %s out", p.Name, artifacts[0], name)
	}
	if n := s.Info.Tasks / p.Schedule.Tasks; n > MaxDeferred {
		return component.Fieldf(name, "%d measurements are more than the %d that a run may defer: measure every so many tasks", n, MaxDeferred)
	}
	return nil
}

// MaxDeferred is how often a probe with deferred measurements may measure in a run:
// each time is a segment of its own.
const MaxDeferred = 10_000

// DeferredSchedule says when deferred measurements are taken: every so many tasks,
// before the first step of a task or after its last.
type DeferredSchedule struct {
	Every int
	Start bool
}

// Deferred returns the schedules of the probes whose measurements are deferred, each
// once.
func (s *Spec) Deferred() (list []DeferredSchedule) {
	for _, p := range s.Probes {
		d := DeferredSchedule{p.Schedule.Tasks, p.Schedule.At == "start"}
		if p.Schedule.Deferred && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// Measuring returns the spec with those of its probes only whose measurements are
// deferred, or with the others.
func (s *Spec) Measuring(deferred bool) *Spec {
	if !deferred && len(s.Deferred()) == 0 {
		return s
	}
	part := *s
	part.Probes, part.identity = nil, &identity{}
	for _, p := range s.Probes {
		if p.Schedule.Deferred == deferred {
			part.Probes = append(part.Probes, p)
		}
	}
	return &part
}
