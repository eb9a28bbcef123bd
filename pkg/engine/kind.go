package engine

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/environment"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
)

// newLearner builds what lives by a spec, and the probes that look at it.
func newLearner(spec *Spec, env Env, store *graph.Store, world environment.Environment) (learner.Learner, []probe.Probe, error) {
	if spec.kind == nil {
		return newSupervised(spec, env, store, nil)
	}
	return newKind(spec, env, store, world)
}

// newKind builds a learner of a kind of its own.
func newKind(spec *Spec, env Env, store *graph.Store, world environment.Environment) (l learner.Learner, probes []probe.Probe, err error) {
	defer graph.Catch(&err)
	built := false
	l, err = spec.kind.Build(learner.Env{
		Store: store, Info: spec.info, Environment: world, Artifacts: env.Artifacts,
		Key: func(purpose string) rng.Key { return rng.New(uint64(env.Seed), "learner/"+purpose) },
		Core: func(o learner.Objective) (learner.Core, error) {
			switch {
			case built:
				return nil, errors.New("a second core was asked for")
			case spec.network == nil:
				return nil, errors.New("the spec has no network")
			}
			built = true
			core, p, err := newSupervised(spec, env, store, &o)
			probes = p
			return core, err
		},
	})
	if err != nil || built {
		return l, probes, err
	}
	for i := range spec.probes {
		p, err := buildProbe(spec, i, env, probe.Env{Info: spec.info, Classes: spec.info.Classes, Batch: spec.info.Batch, Store: store})
		if err != nil {
			return nil, nil, err
		}
		if t, ok := p.(probe.Tracer); ok {
			return nil, nil, fmt.Errorf("%s: %T looks into a training program, which a learner of the kind %s has not", spec.probes[i].Path, t, spec.kind.Name)
		}
		probes = append(probes, p)
	}
	return l, probes, nil
}

// buildProbe builds probe number i of a spec.
func buildProbe(spec *Spec, i int, env Env, in probe.Env) (probe.Probe, error) {
	p := spec.probes[i]
	in.Scope = fmt.Sprintf("probe/%d", i)
	in.Key = func(purpose string) rng.Key { return rng.New(uint64(env.Seed), "probe/"+p.Name+"/"+purpose) }
	in.Artifacts = env.Artifacts
	return p.Build(in)
}

// Input implements [learner.Core].
func (l *supervised) Input(name string) []float32 { return l.train.Input(name) }

// Shadow implements [learner.Core].
func (l *supervised) Shadow(name string, n int) learner.Shadow {
	s := &shadow{}
	b := l.store.Builder()
	for _, v := range networkVars(l.store) {
		if v.Type != graph.F32 {
			continue
		}
		other := l.store.New("shadow/"+name+"/"+v.Name, graph.F32, graph.Persistent, v.Shape...)
		b.Instead(v, other)
		s.of, s.copies = append(s.of, v), append(s.copies, other)
	}
	x := b.Input("x", n, l.info.Input.Elems())
	b.Output("output", l.network.Forward(b, x, nn.Evaluation).Output)
	s.program = b.Compile()
	s.x, s.output = s.program.Input("x"), s.program.Output("output")
	s.Sync()
	return s
}

type shadow struct {
	of, copies []*graph.Var
	program    *graph.Program
	x, output  []float32
}

// Sync implements [learner.Shadow].
func (s *shadow) Sync() {
	for i, v := range s.of {
		copy(s.copies[i].F32, v.F32)
	}
}

// Output implements [learner.Shadow].
func (s *shadow) Output(x []float32) []float32 {
	copy(s.x, x)
	s.program.Run(0)
	return s.output
}

// noStream is the stream of a learner that acts in an environment: its
// measurements look at what the learner remembers.
type noStream struct {
	world   environment.Environment
	sampler learner.Sampler // nil if the learner remembers nothing
}

// Enter implements [stream.Stream].
func (s *noStream) Enter(task int) error { return s.world.Enter(task) }

// Batch implements [stream.Stream].
func (s *noStream) Batch(int64, *stream.Batch) {}

// Sample implements [stream.Stream].
func (s *noStream) Sample(b *stream.Batch) {
	clear(b.X)
	if s.sampler != nil {
		s.sampler.Sample(b)
	}
}
