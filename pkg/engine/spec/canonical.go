package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
)

// Canonical returns the spec as JSON objects with every default spelled out;
// encoding/json of it is the canonical JSON that run keys are made of.
func (s *Spec) Canonical() map[string]any {
	probes := make([]any, len(s.Probes))
	for i, p := range s.Probes {
		m := p.Canonical()
		maps.Copy(m, p.Schedule.canonical())
		probes[i] = m
	}
	all := map[string]any{"learner": s.canonicalLearner(), "probes": probes}
	if s.Stream != nil {
		all["stream"] = s.Stream.Canonical()
	} else {
		all["environment"] = s.World.Canonical()
	}
	return all
}

// canonicalLearner leaves the default kind out, as it was before kinds had names.
func (s *Spec) canonicalLearner() map[string]any {
	one := s.Learner.Canonical()
	if s.Learner.Name == learner.Default() {
		delete(one, "kind")
	}
	if s.Freezes { // as runs are without the parameter, so they have always been
		one[learner.OnDivergence] = learner.Freeze
	}
	if s.Network == nil {
		return one
	}
	methods := make([]any, len(s.Methods))
	for i, m := range s.Methods {
		methods[i] = m.Canonical()
	}
	network := s.Network.Canonical()
	if s.readsColour() {
		network[reads] = colourImages
	}
	one["network"] = network
	one["rule"] = s.Rule.Canonical()
	one["optimizer"] = s.Optimizer.Canonical()
	one["methods"] = methods
	return one
}

// Networks that read images took those of colour for other ones until they were told
// where the channels are. What has the bits of now has an identity of its own: the
// canonical network says so, and a program of before refuses it.
const (
	reads        = "reads"
	colourImages = "colour-images"
)

func (s *Spec) readsColour() bool {
	_, reorder := nn.ReadAs(s.Network.Config, s.Info.Input, s.Info.ChannelsFirst)
	return reorder
}

// identity is what a spec is known by, computed once for all runs of it.
type identity struct {
	once   sync.Once
	json   []byte
	digest string
}

func (s *Spec) known() *identity {
	s.identity.once.Do(func() {
		b, err := json.Marshal(s.Canonical())
		if err != nil {
			panic(fmt.Sprintf("spec: canonical JSON: %v", err)) // plain data
		}
		d := sha256.Sum256(b)
		s.identity.json, s.identity.digest = b, hex.EncodeToString(d[:])
	})
	return s.identity
}

// JSON returns the canonical JSON of [Spec.Canonical]; it must not be modified.
func (s *Spec) JSON() []byte { return s.known().json }

// Digest returns the SHA-256 of the canonical JSON, in hexadecimal.
func (s *Spec) Digest() string { return s.known().digest }

// DigestFor returns the digest of the same spec with another number of tasks.
func (s *Spec) DigestFor(tasks int) string {
	all := s.Canonical()
	for _, what := range []string{"stream", "environment"} {
		if m, ok := all[what].(map[string]any); ok {
			m = maps.Clone(m)
			m["tasks"] = tasks
			all[what] = m
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("spec: canonical JSON: %v", err)) // plain data
	}
	d := sha256.Sum256(b)
	return hex.EncodeToString(d[:])
}

// Published returns the names of the artifacts that a run of the spec has, by
// the path of the component that publishes them.
func (s *Spec) Published() map[string][]string {
	out := map[string][]string{}
	if s.Network != nil {
		out[component.Weights] = []string{"learner.network"}
	}
	add := func(path string, info component.Info, config any) {
		for _, name := range component.Publishes(info, config) {
			out[name] = append(out[name], path)
		}
	}
	add("learner", s.Learner.Info, s.Learner.Config)
	for _, m := range s.Methods {
		add(m.Path, m.Info, m.Config)
	}
	for _, p := range s.Probes {
		add(p.Path, p.Resolved.Info, p.Config)
	}
	return out
}

// Artifacts returns the places of the spec that refer to artifacts of other
// runs, which a run's environment must have.
func (s *Spec) Artifacts() []component.ArtifactRef {
	return component.ArtifactRefs("", s.Canonical())
}
