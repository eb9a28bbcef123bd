package engine

import (
	"bytes"
	"fmt"
	"strings"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/safetensors"
)

// Weights is the artifact that every learner with a network has: a safetensors
// file of its parameters and of the statistics of its normalisations, under the
// names that [nn.WeightsFile] reads.
const Weights = "weights"

// Published returns the names of the artifacts that a run of the spec has, by
// the path of the component that publishes them.
func (s *Spec) Published() map[string][]string {
	out := map[string][]string{}
	if s.network != nil {
		out[Weights] = []string{"learner.network"}
	}
	add := func(path string, info component.Info, config any) {
		for _, name := range component.Publishes(info, config) {
			out[name] = append(out[name], path)
		}
	}
	if s.kind != nil {
		add("learner", s.kind.Info, s.kind.Config)
	}
	for _, m := range s.methods {
		add(m.Path, m.Info, m.Config)
	}
	for _, p := range s.probes {
		add(p.Path, p.Resolved.Info, p.Config)
	}
	return out
}

// Artifacts returns the places of the spec that refer to artifacts of other
// runs, which [Env] must have.
func (s *Spec) Artifacts() []component.ArtifactRef {
	return component.ArtifactRefs("", s.Canonical())
}

// Artifact returns an artifact of the run as the life stands: what others get
// is that of its end.
func (l *Life) Artifact(name string) ([]byte, error) {
	p, ok := l.learner.(component.Publisher)
	if !ok {
		return nil, fmt.Errorf("publish %s: the learner has no artifacts", name)
	}
	b, err := p.Publish(name)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", name, err)
	}
	return b, nil
}

// publish notes what a method or probe has to publish.
func (l *supervised) publish(info component.Info, config, built any) {
	for _, name := range component.Publishes(info, config) {
		if p, ok := built.(component.Publisher); ok {
			l.publishers[name] = p
		}
	}
}

// Publish implements [component.Publisher].
func (l *supervised) Publish(name string) ([]byte, error) {
	if p := l.publishers[name]; p != nil {
		return p.Publish(name)
	}
	if name != Weights {
		return nil, fmt.Errorf("no component of the run has such an artifact")
	}
	f := &safetensors.File{Metadata: map[string]string{"format": "neoteny-weights/1"}}
	for _, v := range networkVars(l.store) {
		f.Tensors = append(f.Tensors, safetensors.Tensor{Name: v.Name, DType: v.Type.String(), Shape: v.Shape, Data: varBytes(v)})
	}
	var buf bytes.Buffer
	if err := safetensors.Encode(&buf, f); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// networkVars returns the variables of a store that are the network's:
// parameters, and statistics of normalisations.
func networkVars(s *graph.Store) []*graph.Var {
	var vars []*graph.Var
	for _, v := range s.Vars() {
		if v.Keep == graph.Persistent && strings.HasPrefix(v.Name, "net/") {
			vars = append(vars, v)
		}
	}
	return vars
}

// SetWeights gives the network the weights of a file as [Weights] has them, for
// trying it: of the same network, every parameter and statistic.
func (l *Life) SetWeights(b []byte) error {
	f, err := safetensors.Decode(b)
	if err != nil {
		return fmt.Errorf("set weights: %w", err)
	}
	given := f.ByName()
	for _, v := range networkVars(l.learner.Store()) {
		t, ok := given[v.Name]
		if !ok || t.DType != v.Type.String() || !v.Shape.Equal(t.Shape) {
			return fmt.Errorf("set weights: %s is %s %v in the file, in the network %s %s", v.Name, t.DType, t.Shape, v.Type, v.Shape)
		}
		setVar(v, t.Data)
	}
	return nil
}

// Evaluate runs the learner as it stands on the first n held-out examples of a
// task, at most as many as it has; where the stream holds none back, on n examples
// of its training. The result is valid until the next call.
func (l *Life) Evaluate(task, n int) (*learner.Evaluation, error) { return l.tasks.Evaluate(task, n) }
