package spec

import (
	"errors"
	"fmt"
	"slices"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
)

// missing says of a capability what a component asks for that needs it; sources and
// networks are named by the message's ending.
var missing = map[component.Capability]struct {
	what   string // is needed
	ending string // takes the name of the source
}{
	component.Classification: {"a stream with class labels", "; the %s has none"},
	component.Regression:     {"a stream with real targets", "; the %s has none"},
	component.Images:         {"a stream of images", "; the examples of the %s are none"},
	component.Units:          {"a network with hidden units", "; learner.network has none (%s)"},
	component.Gradients:      {"a rule that computes gradients", " (%s)"},
	component.Core:           {"a learner with a network", " (%s)"},
	component.Stream:         {"a stream", "; there is the %s"},
	component.Environment:    {"an environment", "; there is the %s"},
}

// ErrLacks is the error of a component whose needs the rest of the spec does not meet.
var ErrLacks = errors.New("something that a component needs is missing")

// checkNeeds holds what each component needs against what the others provide.
func (s *Spec) checkNeeds() error {
	have, source := s.provides(), s.source()
	var errs []error
	need := func(path string, info component.Info, config component.Config) {
		needs := info.Needs
		if n, ok := config.(component.Needer); ok {
			needs = slices.Concat(needs, n.Needs())
		}
		for _, c := range needs {
			if have[c] {
				continue
			}
			m, known := missing[c]
			if !known {
				m.what, m.ending = fmt.Sprintf("the capability %q", string(c)), ", which nothing in the spec provides (%s)"
			}
			errs = append(errs, &component.FieldError{Field: path, Problem: fmt.Sprintf("%s needs %s"+m.ending, info.Name, m.what, source), Err: ErrLacks})
		}
	}
	need("learner", s.Learner.Info, s.Learner.Config)
	if s.Network != nil {
		need("learner.network", s.Network.Info, s.Network.Config)
		need("learner.rule", s.Rule.Info, s.Rule.Config)
		need("learner.optimizer", s.Optimizer.Info, s.Optimizer.Config)
	}
	for _, m := range s.Methods {
		need(m.Path, m.Info, m.Config)
	}
	for _, p := range s.Probes {
		need(p.Path, p.Resolved.Info, p.Config)
	}
	if f, ok := s.Learner.Config.(learner.Fitter); ok {
		errs = append(errs, component.At("learner", f.Fits(s.Info, source)))
	}
	return errors.Join(errs...)
}

// source names what the learner lives through.
func (s *Spec) source() string {
	if s.World != nil {
		return fmt.Sprintf("environment %q", s.World.Name)
	}
	return fmt.Sprintf("stream %q", s.Stream.Name)
}

// provides returns what the parts of the spec have for each other.
func (s *Spec) provides() map[component.Capability]bool {
	have := map[component.Capability]bool{component.Core: s.Network != nil}
	switch {
	case s.World != nil:
		have[component.Environment] = true
	case s.Info.Classes > 0:
		have[component.Classification] = true
	default:
		have[component.Regression] = true
	}
	if s.Stream != nil {
		have[component.Stream] = true
	}
	if n := len(s.Info.Input); n == 2 || n == 3 {
		have[component.Images] = true
	}
	provide := func(info component.Info, config any) {
		for _, c := range info.Provides {
			have[c] = true
		}
		if p, ok := config.(interface{ Provides() []component.Capability }); ok {
			for _, c := range p.Provides() {
				have[c] = true
			}
		}
	}
	if s.Stream != nil {
		provide(s.Stream.Info, s.Stream.Config)
	}
	provide(s.Learner.Info, s.Learner.Config)
	if s.Network != nil {
		provide(s.Network.Info, s.Network.Config)
		provide(s.Rule.Info, s.Rule.Config)
	}
	return have
}
