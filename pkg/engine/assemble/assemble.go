// Package assemble puts together what lives by a spec: the learner with its model
// and its training, the world that it acts in, and the probes that look at it. It is
// the one place where components meet.
package assemble

import (
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/spec"
	"neoteny/pkg/engine/stream"
)

// Env is what a run needs beyond its spec.
type Env struct {
	Seed uint32
	Data data.Source
	// Artifacts are the files of other runs that the spec refers to.
	component.Artifacts

	// birth numbers the lives of a learner that is reborn: a seed of their own above
	// the run's 32 bits.
	birth uint32
}

// learnerKey returns the random key of a purpose of what is made anew with the
// learner.
func (e Env) learnerKey(purpose string) rng.Key {
	return rng.New(uint64(e.Seed)|uint64(e.birth)<<32, purpose)
}

// Life is what a spec comes to.
type Life struct {
	Learner learner.Learner
	Probes  []probe.Probe           // parallel to those of the spec
	World   environment.Environment // nil with a stream
	// Publishers are the parts of the life that publish artifacts, by the
	// artifact's name.
	Publishers map[string]component.Publisher
}

// New puts a life together in a store. Mistakes in how components fit together come
// back as errors.
func New(s *spec.Spec, env Env, store *graph.Store) (life *Life, err error) {
	defer graph.Catch(&err)
	a := &assembly{spec: s, env: env, store: store, life: &Life{Publishers: map[string]component.Publisher{}}}
	if s.World != nil {
		a.life.World, err = s.World.Build(environment.Env{
			Space: store.Space(graph.OfEnvironment, "environment"),
			Key:   func(purpose string) rng.Key { return rng.New(uint64(env.Seed), "environment/"+purpose) },
		})
		if err != nil {
			return nil, err
		}
	}
	if err := a.learner(); err != nil {
		return nil, err
	}
	return a.life, nil
}

// NewStream builds the stream of a spec.
func NewStream(s *spec.Spec, env Env) (stream.Stream, error) {
	return s.Stream.Build(stream.Env{
		Data:      env.Data,
		Key:       func(purpose string) rng.Key { return rng.New(uint64(env.Seed), "stream/"+purpose) },
		Artifacts: env.Artifacts,
	})
}

// assembly is a life that is being put together.
type assembly struct {
	spec   *spec.Spec
	env    Env
	store  *graph.Store
	life   *Life
	core   bool  // is there
	failed error // why the core could not be built
}

// learner builds the learner, and the probes where it has not built a core, which
// they look into.
func (a *assembly) learner() error {
	l, err := a.spec.Learner.Build(learner.Env{
		Space: a.store.Space(graph.OfLearner, "learner"),
		Info:  a.spec.Info, Environment: a.life.World, Artifacts: a.env.Artifacts,
		Key: func(purpose string) rng.Key { return a.env.learnerKey("learner/" + purpose) },
		Core: func(o learner.Objective) (c learner.Core, err error) {
			c, a.failed = a.newCore(o)
			return c, a.failed
		},
	})
	switch {
	case a.failed != nil: // it says where already, from the spec's root
		return a.failed
	case err != nil:
		return err
	}
	a.life.Learner = l
	a.publish(a.spec.Learner.Info, a.spec.Learner.Config, l)
	if a.core {
		return nil
	}
	s := a.spec
	if err := a.probes(probe.Env{Info: s.Info, Classes: s.Info.Classes, Batch: s.Info.Batch}); err != nil {
		return err
	}
	for i, p := range a.life.Probes {
		if t, ok := p.(probe.Tracer); ok {
			return fmt.Errorf("%s: %T looks into a training program, which a learner of the kind %s does not have", s.Probes[i].Path, t, s.Learner.Name)
		}
	}
	return nil
}

// probes builds the probes of the spec.
func (a *assembly) probes(in probe.Env) error {
	for i, p := range a.spec.Probes {
		in.Space = a.store.Space(graph.OfProbe, fmt.Sprintf("probe/%d", i))
		in.Key = func(purpose string) rng.Key { return rng.New(uint64(a.env.Seed), "probe/"+p.Name+"/"+purpose) }
		in.Artifacts = a.env.Artifacts
		built, err := p.Build(in)
		if err != nil {
			return err
		}
		a.life.Probes = append(a.life.Probes, built)
		a.publish(p.Resolved.Info, p.Config, built)
	}
	return nil
}

// publish notes what a component has to publish.
func (a *assembly) publish(info component.Info, config, built any) {
	for _, name := range component.Publishes(info, config) {
		if p, ok := built.(component.Publisher); ok {
			a.life.Publishers[name] = p
		}
	}
}

// rebirth takes over the learner's variables from a newborn one of the same spec:
// all that it, its network and its methods are and remember is as at the start of a
// run with another seed. The world goes on, and probes measure on across lives.
func (a *assembly) rebirth(task int) error {
	env := a.env
	env.birth = uint32(task + 1)
	store := graph.NewStore()
	if _, err := New(a.spec, env, store); err != nil {
		return err
	}
	for _, from := range store.Vars() {
		switch from.Owner {
		case graph.OfProbe, graph.OfEnvironment, graph.OfLife:
			continue
		}
		a.store.Lookup(from.Name).CopyFrom(from)
	}
	return nil
}
