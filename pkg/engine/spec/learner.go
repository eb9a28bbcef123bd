package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/method"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/optim"
	"neoteny/pkg/engine/rule"
)

// parts are the fields of a learner that its network, rule, optimiser and methods
// are in; all others are parameters of its kind.
var parts = []string{"network", "rule", "optimizer", "methods"}

func (s *Spec) resolveLearner(raw map[string]any, p *problems) {
	if len(raw) == 0 {
		p.note(component.Fieldf("learner", "missing: say what learns, for example {network: {kind: mlp}, optimizer: {kind: sgd}}"))
		return
	}
	if raw["kind"] == nil && s.World != nil {
		p.note(component.Fieldf("learner.kind", "missing: say what acts in the environment, for example {kind: dqn, network: {kind: mlp}, optimizer: {kind: adam}}"))
		return
	}
	s.Freezes = onDivergence(raw, p)
	own, ok := ofKind(raw, p)
	if !ok {
		return
	}
	var err error
	if s.Learner, err = learner.Resolve("learner", own); !p.note(err) && raw["kind"] != nil {
		return
	}
	if s.Learner != nil && !slices.Contains(s.Learner.Needs, component.Core) {
		for _, k := range parts {
			if raw[k] != nil {
				p.note(component.Fieldf("learner."+k, "a learner of the kind %s has none", s.Learner.Name))
			}
		}
		return
	}
	s.resolveParts(raw, p)
}

// onDivergence reads the parameter [learner.OnDivergence].
func onDivergence(raw map[string]any, p *problems) (freezes bool) {
	v, given := raw[learner.OnDivergence]
	if given && v != learner.End && v != learner.Freeze {
		p.note(component.Fieldf("learner."+learner.OnDivergence, "must be end or freeze, is %v", v))
	}
	return v == learner.Freeze
}

// checkFreezes reports a learner that cannot be frozen in this spec.
func (s *Spec) checkFreezes() error {
	if !s.Freezes || s.World == nil {
		return nil
	}
	return component.Fieldf("learner."+learner.OnDivergence,
		"freeze is for learners of a stream; what acts in the %s can only end: leave it out", s.source())
}

// ofKind returns the parameters of the learner's kind. It reports false where they
// are not to be resolved.
func ofKind(raw map[string]any, p *problems) (own map[string]any, ok bool) {
	own = map[string]any{}
	usual := learner.Parameters(learner.Default())
	kind, _ := raw["kind"].(string)
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		switch {
		case slices.Contains(parts, k), k == learner.OnDivergence:
		case raw["kind"] == nil && !slices.Contains(usual, k):
			known := slices.Concat(parts, []string{learner.OnDivergence}, usual)
			p.note(component.Fieldf("learner."+k, "unknown field%s (have: %s; or a kind)", component.DidYouMean(k, known), strings.Join(known, ", ")))
		case kind != "" && slices.Contains(usual, k) && !slices.Contains(learner.Parameters(kind), k):
			p.note(component.Fieldf("learner."+k, "a learner of the kind %s has a %s of its own", kind, k))
		default:
			own[k] = raw[k]
		}
	}
	return own, true
}

// resolveParts decodes what the learner's core is built of.
func (s *Spec) resolveParts(raw map[string]any, p *problems) {
	object := func(name string, def map[string]any) map[string]any {
		v, ok := raw[name]
		if !ok {
			if def == nil {
				p.note(component.Fieldf("learner."+name, "missing"))
			}
			return def
		}
		m, ok := v.(map[string]any)
		if !ok {
			p.note(component.Fieldf("learner."+name, "must be an object with a kind, is %s", describe(v)))
			return nil
		}
		return m
	}
	var err error
	if m := object("network", nil); m != nil {
		if m[reads] == colourImages { // of canonical JSON
			m = maps.Clone(m)
			delete(m, reads)
		}
		s.Network, err = nn.Resolve("learner.network", m)
		p.note(err)
	}
	if m := object("rule", map[string]any{"kind": "backprop"}); m != nil {
		s.Rule, err = rule.Resolve("learner.rule", m)
		p.note(err)
	}
	if m := object("optimizer", nil); m != nil {
		s.Optimizer, err = optim.Resolve("learner.optimizer", m)
		p.note(err)
	}
	v, ok := raw["methods"]
	if !ok {
		return
	}
	list, ok := v.([]any)
	if !ok {
		p.note(component.Fieldf("learner.methods", "must be a list, is %s", describe(v)))
	}
	for i, x := range list {
		path := fmt.Sprintf("learner.methods[%d]", i)
		m, ok := x.(map[string]any)
		if !ok {
			p.note(component.Fieldf(path, "must be an object with a kind, is %s", describe(x)))
			continue
		}
		if r, err := method.Resolve(path, m); p.note(err) {
			s.Methods = append(s.Methods, r)
		}
	}
}

func describe(v any) string {
	switch v.(type) {
	case nil:
		return "empty"
	case string:
		return "a string"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	}
	return "an object"
}
