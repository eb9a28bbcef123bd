package assemble

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/model"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/rng"
	"neoteny/pkg/engine/stream"
	"neoteny/pkg/engine/train"
)

// newCore builds the network of the spec with its rule, optimiser and methods, and
// the probes, which may look into its training program.
func (a *assembly) newCore(o learner.Objective) (learner.Core, error) {
	s := a.spec
	switch {
	case a.core:
		return nil, errors.New("a second core was asked for")
	case s.Network == nil:
		return nil, errors.New("the spec has no network")
	}
	a.core = true
	m, err := model.New(model.Config{
		Store: a.store, Network: s.Network, Info: s.Info, Objective: o,
		Key: a.env.learnerKey, Edit: a.edit, Artifacts: a.env.Artifacts,
	})
	if err != nil {
		return nil, err
	}
	c := train.Config{Model: m, Tracer: optim.NewTracer(a.store, graph.OfOptimizer, a.env.learnerKey), Rebirth: a.rebirth}
	if c.Optimizer, err = s.Optimizer.Build(optim.Env{}); err != nil {
		return nil, err
	}
	if c.Rule, err = s.Rule.Build(struct{}{}); err != nil {
		return nil, err
	}
	if c.Methods, err = a.methods(m, c.Tracer); err != nil {
		return nil, err
	}
	if err := a.probes(probeEnv(m)); err != nil {
		return nil, err
	}
	for _, p := range a.life.Probes {
		if t, ok := p.(probe.Tracer); ok {
			c.Probes = append(c.Probes, t)
		}
	}
	return train.New(c), nil
}

// edit lets the methods change the network before its parameters are made.
func (a *assembly) edit(bp *nn.Blueprint) error {
	for _, m := range a.spec.Methods {
		if b, ok := m.Config.(method.Builder); ok {
			if err := b.Build(bp); err != nil {
				return component.At(m.Path, err)
			}
		}
	}
	return nil
}

// methods builds the methods of the spec, each in a space of its own: a second one
// of the same kind has a number in its space's name.
func (a *assembly) methods(m *model.Model, tracer *optim.Tracer) ([]train.Method, error) {
	info := a.spec.Info
	var methods []train.Method
	count := map[string]int{}
	for _, r := range a.spec.Methods {
		name := "method/" + r.Name
		if n := count[r.Name]; n > 0 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		count[r.Name]++
		space := a.store.Space(graph.OfMethod, name)
		built, err := r.Build(method.Env{
			Space: space, Network: m.Network, Info: info,
			Inputs: info.Input.Elems(), Outputs: info.Outputs, Classes: info.Classes,
			Batch: m.Info.Batch, StepsPerTask: info.StepsPerTask,
			States:    tracer.States,
			Key:       func(purpose string) rng.Key { return a.env.learnerKey(name + "/" + purpose) },
			Artifacts: a.env.Artifacts,
		})
		if err != nil {
			return nil, err
		}
		if !method.Acts(built, r.Config) {
			return nil, component.Fieldf(r.Path, "%s has none of the hooks of package method, so that it would do nothing: is a hook's signature right?", r.Name)
		}
		if _, ok := built.(method.UnitResetter); ok {
			tracer.States.PerWeight = true
		}
		if _, ok := built.(method.Rebirther); ok {
			tracer.Reborn = true
		}
		methods = append(methods, train.Method{Method: built, Space: space})
		a.publish(r.Info, r.Config, built)
	}
	return methods, nil
}

// probeEnv is what probes see of a model.
func probeEnv(m *model.Model) probe.Env {
	return probe.Env{
		Network: m.Network, Info: m.Info, Classes: m.Info.Classes, Batch: m.Info.Batch,
		Forward: func(b *graph.Builder, n int) (nn.Activations, graph.Node) {
			pass := m.ForwardEvaluation(b, n)
			return pass.Net, pass.Losses
		},
		Fill: func(p *graph.Program, b *stream.Batch) {
			feed := m.Feed(p)
			feed.Fill(b)
		},
	}
}
