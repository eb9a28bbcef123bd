// Package spec has what a run is made of, decoded and checked: from JSON objects,
// through the registries of components, to configurations with every default filled
// in. Package assemble builds a learner of it, package run a life.
package spec

import (
	"errors"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rule"
	"neoteny/pkg/engine/stream"
)

// Raw is what a run is made of, as JSON objects: numbers are float64.
type Raw struct {
	Stream      map[string]any
	Environment map[string]any
	Learner     map[string]any
	Probes      []map[string]any
}

// Spec is a run's specification, decoded and checked, with every default
// filled in. It is immutable and may be shared.
type Spec struct {
	Stream *stream.Resolved      // nil with an environment
	World  *environment.Resolved // nil with a stream
	// Info is the stream's. Of an environment Input is the shape of an observation
	// and Outputs the number of actions.
	Info    stream.Info
	Learner *learner.Resolved
	// Freezes says that a run goes on whose learner diverges, with the learner frozen.
	Freezes bool
	// What a learner with a network has; nil of others.
	Network   *nn.Resolved
	Rule      *rule.Resolved
	Optimizer *optim.Resolved
	Methods   []*method.Resolved
	Probes    []Probe

	identity *identity
}

// Probe is a probe of a spec, with when it measures and what becomes of it.
type Probe struct {
	*probe.Resolved
	Info     probe.Info
	Schedule Schedule
}

// problems gathers the mistakes of a spec.
type problems struct{ errs []error }

// note adds a mistake; it reports whether there is none.
func (p *problems) note(err error) bool {
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err == nil
}

func (p *problems) err() error { return errors.Join(p.errs...) }

// Resolve decodes and checks a spec. All mistakes are reported together, each
// a [component.FieldError] with the path of the field from the spec's root.
func Resolve(raw Raw) (*Spec, error) {
	s, p := &Spec{identity: &identity{}}, &problems{}
	s.resolveSource(raw, p)
	s.resolveLearner(raw.Learner, p)
	s.resolveProbes(s.withDiverged(raw.Probes), p)
	if len(p.errs) == 0 {
		p.note(s.check())
	}
	if len(p.errs) > 0 {
		return nil, p.err()
	}
	return s, nil
}

// ResolveLearner decodes and checks a learner whose batches are a caller's, and like
// info says.
func ResolveLearner(raw map[string]any, info stream.Info) (*Spec, error) {
	s, p := &Spec{identity: &identity{}}, &problems{}
	var err error
	if s.Info, err = checkCaller(info); err != nil {
		return nil, component.At("info", err)
	}
	s.Stream = &stream.Resolved{Info: component.Info{Name: "of the caller"}, Config: callers{s.Info}}
	s.resolveLearner(raw, p)
	if s.Freezes {
		p.note(component.Fieldf("learner."+learner.OnDivergence, "freeze is of a run; a learner without one returns an error when it diverges: leave it out"))
	}
	if len(p.errs) == 0 {
		p.note(s.check())
	}
	if len(p.errs) > 0 {
		return nil, p.err()
	}
	return s, nil
}

// check holds the parts of a spec against each other, and all of them against
// [MaxBytes].
func (s *Spec) check() error { return errors.Join(s.checkNeeds(), s.checkFreezes(), s.checkMemory()) }

// resolveSource decodes what the learner lives through: a stream or an environment.
func (s *Spec) resolveSource(raw Raw, p *problems) {
	switch {
	case len(raw.Environment) > 0 && len(raw.Stream) > 0:
		p.note(component.Fieldf("environment", "there is a stream too: give one of them"))
	case len(raw.Environment) > 0:
		s.resolveEnvironment(raw.Environment, p)
	case len(raw.Stream) == 0:
		p.note(component.Fieldf("stream", "missing: say where tasks come from, for example {kind: permuted, dataset: mnist}"))
	default:
		var err error
		if s.Stream, err = stream.Resolve("stream", raw.Stream); p.note(err) {
			s.Info, err = s.Stream.Config.(stream.Config).Info()
			if !p.note(component.At("stream", err)) {
				s.Stream = nil
			}
		}
	}
}

func (s *Spec) resolveEnvironment(raw map[string]any, p *problems) {
	var err error
	if s.World, err = environment.Resolve("environment", raw); !p.note(err) {
		return
	}
	info, err := s.World.Config.(environment.Config).Info()
	if !p.note(component.At("environment", err)) {
		return
	}
	s.Info = stream.Info{
		Input: info.Observation, Outputs: info.Actions,
		Tasks: info.Tasks, StepsPerTask: info.StepsPerTask, Batch: 1,
	}
}

// Datasets returns the names of the datasets that the run reads.
func (s *Spec) Datasets() []string { return s.Info.Datasets }

// Tasks returns the number of tasks.
func (s *Spec) Tasks() int { return s.Info.Tasks }

// StepsPerTask returns the number of steps of every task.
func (s *Spec) StepsPerTask() int64 { return s.Info.StepsPerTask }

// Steps returns the number of steps of the run.
func (s *Spec) Steps() int64 { return int64(s.Info.Tasks) * s.Info.StepsPerTask }

// Metrics returns the names of the metrics that the run's probes may emit.
func (s *Spec) Metrics() []string {
	var names []string
	for _, p := range s.Probes {
		for _, m := range p.Info.Names() {
			names = append(names, p.Rename(m))
		}
	}
	return names
}

const (
	// packParams is from where on a lane gains nothing from its neighbours: its
	// arrays alone fill the vectors, and a step is long beside what surrounds it.
	packParams = 4096
	// packMax is where further lanes stop to gain.
	packMax = 64
)

// PackSize returns how many runs of the spec are worth running in lockstep: 1 where a
// step is long enough by itself. It is a function of the spec alone, by the number of
// parameters and activations that one step goes over.
func (s *Spec) PackSize() int {
	if s.Network == nil || !s.provides()[component.Lockstep] {
		return 1
	}
	network, ok := s.Network.Config.(nn.Sizer)
	if !ok {
		return 1
	}
	size, err := network.Size(s.reads(), s.Info.Outputs, s.Info.Batch)
	if err != nil {
		return 1
	}
	work := float64(s.Info.Batch) * (float64(size.Params) + float64(size.Activations))
	return int(max(1, min(packMax, packParams/max(work, 1))))
}
