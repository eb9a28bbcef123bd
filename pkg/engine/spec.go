package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

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

// RawSpec is what a run is made of, as JSON objects: numbers are float64.
type RawSpec struct {
	Stream      map[string]any
	Environment map[string]any
	Learner     map[string]any
	Probes      []map[string]any
}

// Spec is a run's specification, decoded and checked, with every default
// filled in. It is immutable and may be shared.
type Spec struct {
	stream    *stream.Resolved // nil with an environment
	world     *environment.Resolved
	info      stream.Info       // of an environment: see learner.Env
	kind      *learner.Resolved // nil for supervised learners
	loss      string
	network   *nn.Resolved
	rule      *rule.Resolved
	optimizer *optim.Resolved
	methods   []*method.Resolved
	probes    []probeSpec
}

type probeSpec struct {
	*probe.Resolved
	info     probe.Info
	schedule schedule
}

// Resolve decodes and checks a spec. All mistakes are reported together, each
// a [component.FieldError] with the path of the field from the spec's root.
func Resolve(raw RawSpec) (*Spec, error) {
	s := &Spec{}
	var errs []error
	note := func(err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}
	switch {
	case len(raw.Environment) > 0 && len(raw.Stream) > 0:
		note(component.Fieldf("environment", "there is a stream too: give one of them"))
	case len(raw.Environment) > 0:
		s.resolveEnvironment(raw.Environment, note)
	case len(raw.Stream) == 0:
		note(component.Fieldf("stream", "missing: say where tasks come from, for example {kind: permuted, dataset: mnist}"))
	default:
		var err error
		if s.stream, err = stream.Resolve("stream", raw.Stream); note(err) {
			s.info, err = s.stream.Config.(stream.Config).Info()
			if !note(component.At("stream", err)) {
				s.stream = nil
			}
		}
	}
	s.resolveLearner(raw.Learner, note)
	s.resolveProbes(raw.Probes, note)
	if len(errs) == 0 {
		note(s.checkNeeds())
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

func (s *Spec) resolveEnvironment(raw map[string]any, note func(error) bool) {
	var err error
	if s.world, err = environment.Resolve("environment", raw); !note(err) {
		return
	}
	info, err := s.world.Config.(environment.Config).Info()
	if !note(component.At("environment", err)) {
		return
	}
	s.info = stream.Info{
		Input: info.Observation, Outputs: info.Actions,
		Tasks: info.Tasks, StepsPerTask: info.StepsPerTask, Batch: 1,
	}
}

func (s *Spec) resolveLearner(raw map[string]any, note func(error) bool) {
	if len(raw) == 0 {
		note(component.Fieldf("learner", "missing: say what learns, for example {network: {kind: mlp}, optimizer: {kind: sgd}}"))
		return
	}
	known := []string{"network", "rule", "optimizer", "methods", "loss"}
	own := map[string]any{} // parameters of the kind
	for _, k := range slices.Sorted(maps.Keys(raw)) {
		if slices.Contains(known, k) {
			continue
		}
		own[k] = raw[k]
		if raw["kind"] == nil {
			note(component.Fieldf("learner."+k, "unknown field%s (have: network, rule, optimizer, methods, loss; or a kind)", component.DidYouMean(k, known)))
		}
	}
	core := true
	if raw["kind"] != nil {
		var err error
		if s.kind, err = learner.Resolve("learner", own); !note(err) {
			return
		}
		if raw["loss"] != nil {
			note(component.Fieldf("learner.loss", "a learner of the kind %s has a loss of its own", s.kind.Name))
		}
		core = slices.Contains(s.kind.Needs, component.Core)
	} else if s.world != nil {
		note(component.Fieldf("learner.kind", "missing: say what acts in the environment, for example {kind: dqn, network: {kind: mlp}, optimizer: {kind: adam}}"))
		return
	}
	s.loss = "auto"
	if !core {
		for _, k := range known {
			if raw[k] != nil {
				note(component.Fieldf("learner."+k, "a learner of the kind %s has none", s.kind.Name))
			}
		}
		return
	}
	object := func(name string, def map[string]any) map[string]any {
		v, ok := raw[name]
		if !ok {
			if def == nil {
				note(component.Fieldf("learner."+name, "missing"))
			}
			return def
		}
		m, ok := v.(map[string]any)
		if !ok {
			note(component.Fieldf("learner."+name, "must be an object with a kind, is %s", describe(v)))
			return nil
		}
		return m
	}
	var err error
	if m := object("network", nil); m != nil {
		s.network, err = nn.Resolve("learner.network", m)
		note(err)
	}
	if m := object("rule", map[string]any{"kind": "backprop"}); m != nil {
		s.rule, err = rule.Resolve("learner.rule", m)
		note(err)
	}
	if m := object("optimizer", nil); m != nil {
		s.optimizer, err = optim.Resolve("learner.optimizer", m)
		note(err)
	}
	if v, ok := raw["methods"]; ok {
		list, ok := v.([]any)
		if !ok {
			note(component.Fieldf("learner.methods", "must be a list, is %s", describe(v)))
		}
		for i, x := range list {
			path := fmt.Sprintf("learner.methods[%d]", i)
			m, ok := x.(map[string]any)
			if !ok {
				note(component.Fieldf(path, "must be an object with a kind, is %s", describe(x)))
				continue
			}
			if r, err := method.Resolve(path, m); note(err) {
				s.methods = append(s.methods, r)
			}
		}
	}
	if v, ok := raw["loss"]; ok {
		name, isString := v.(string)
		if !isString || !slices.Contains([]string{"auto", "cross-entropy", "mse"}, name) {
			note(component.Fieldf("learner.loss", "must be auto, cross-entropy or mse, is %v", v))
		}
		s.loss = name
	}
}

func (s *Spec) resolveProbes(raw []map[string]any, note func(error) bool) {
	seen := map[string]string{}
	for i, m := range raw {
		path := fmt.Sprintf("probes[%d]", i)
		own, common := splitSchedule(m)
		r, info, err := probe.Resolve(path, own)
		if !note(err) {
			continue
		}
		sch, err := parseSchedule(common, info)
		if !note(component.At(path, err)) {
			continue
		}
		for _, name := range info.Metrics {
			name = sch.rename(name, info)
			if other, dup := seen[name]; dup {
				note(component.Fieldf(path, "emits the metric %s, as %s does; give one of them another name with `as: NAME`", name, other))
			}
			seen[name] = path
		}
		if given := component.Publishes(r.Info, r.Config); sch.aside && len(given) > 0 {
			note(component.Fieldf(path+".aside", "%s publishes %s at the end of the run: leave aside out", r.Name, given[0]))
		}
		if n := s.info.Tasks / sch.tasks; sch.aside && n > MaxAsides {
			note(component.Fieldf(path+".aside", "%d measurements are more than the %d that a run may have aside: measure every so many tasks", n, MaxAsides))
		}
		s.probes = append(s.probes, probeSpec{Resolved: r, info: info, schedule: sch})
	}
}

// checkNeeds holds what each component needs against what the others provide,
// and all of them against [MaxBytes].
func (s *Spec) checkNeeds() error {
	have := map[component.Capability]bool{component.Core: s.network != nil}
	source := ""
	switch {
	case s.world != nil:
		have[component.Environment] = true
		source = fmt.Sprintf("environment %q", s.world.Name)
	case s.info.Classes > 0:
		have[component.Classification] = true
	default:
		have[component.Regression] = true
	}
	if s.stream != nil {
		have[component.Stream] = true
		source = fmt.Sprintf("stream %q", s.stream.Name)
	}
	if n := len(s.info.Input); n == 2 || n == 3 {
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
	if s.stream != nil {
		provide(s.stream.Info, s.stream.Config)
	}
	if s.kind != nil {
		provide(s.kind.Info, s.kind.Config)
	}
	if s.network != nil {
		provide(s.network.Info, s.network.Config)
		provide(s.rule.Info, s.rule.Config)
	}
	why := map[component.Capability]string{
		component.Classification: "a stream with class labels; the %s has none",
		component.Regression:     "a stream with real targets; the %s has none",
		component.Images:         "a stream of images; the examples of the %s are none",
		component.Units:          "a network with hidden units; learner.network has none (%s)",
		component.Gradients:      "a rule that computes gradients (%s)",
		component.Core:           "a learner with a network (%s)",
		component.Stream:         "a stream; there is the %s",
		component.Environment:    "an environment; there is the %s",
	}
	var errs []error
	need := func(path string, info component.Info) {
		for _, c := range info.Needs {
			if !have[c] {
				errs = append(errs, component.Fieldf(path, "%s needs "+why[c], info.Name, source))
			}
		}
	}
	if s.kind != nil {
		need("learner", s.kind.Info)
	}
	if s.network != nil {
		need("learner.network", s.network.Info)
		need("learner.optimizer", s.optimizer.Info)
	}
	for _, m := range s.methods {
		need(m.Path, m.Info)
	}
	for _, p := range s.probes {
		need(p.Path, p.Info)
	}
	if s.loss == "cross-entropy" && s.info.Classes == 0 {
		errs = append(errs, component.Fieldf("learner.loss", "cross-entropy needs a stream with class labels; the %s has none", source))
	}
	errs = append(errs, s.checkMemory())
	return errors.Join(errs...)
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

// Canonical returns the spec as JSON objects with every default spelled out;
// encoding/json of it is the canonical JSON that run keys are made of.
func (s *Spec) Canonical() map[string]any {
	methods := make([]any, len(s.methods))
	for i, m := range s.methods {
		methods[i] = m.Canonical()
	}
	probes := make([]any, len(s.probes))
	for i, p := range s.probes {
		m := p.Canonical()
		maps.Copy(m, p.schedule.canonical())
		probes[i] = m
	}
	one := map[string]any{}
	if s.kind != nil {
		one = s.kind.Canonical()
	} else {
		one["loss"] = s.loss
	}
	if s.network != nil {
		one["network"] = s.network.Canonical()
		one["rule"] = s.rule.Canonical()
		one["optimizer"] = s.optimizer.Canonical()
		one["methods"] = methods
	}
	all := map[string]any{"learner": one, "probes": probes}
	if s.stream != nil {
		all["stream"] = s.stream.Canonical()
	} else {
		all["environment"] = s.world.Canonical()
	}
	return all
}

// canonicalJSON returns the canonical JSON of the spec.
func (s *Spec) canonicalJSON() []byte {
	b, err := json.Marshal(s.Canonical())
	if err != nil {
		panic(fmt.Sprintf("engine: canonical spec: %v", err)) // plain data
	}
	return b
}

// Datasets returns the names of the datasets that the run reads.
func (s *Spec) Datasets() []string { return s.info.Datasets }

// Tasks returns the number of tasks.
func (s *Spec) Tasks() int { return s.info.Tasks }

// StepsPerTask returns the number of steps of every task.
func (s *Spec) StepsPerTask() int64 { return s.info.StepsPerTask }

// Steps returns the number of steps of the run.
func (s *Spec) Steps() int64 { return int64(s.info.Tasks) * s.info.StepsPerTask }

// Metrics returns the names of the metrics that the run's probes may emit.
func (s *Spec) Metrics() []string {
	var names []string
	for _, p := range s.probes {
		for _, m := range p.info.Metrics {
			names = append(names, p.schedule.rename(m, p.info))
		}
	}
	return names
}
