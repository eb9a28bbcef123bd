package component

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Artifacts are files that other runs have published, given to a run by the
// names that its spec calls them. A parameter "artifact" of a component, at any
// depth, is such a name, and empty where there is none:
//
//	needs: {pretrained: {arm: pretrain, artifact: weights}}
//	learner: {network: {kind: mlp, weights: {artifact: pretrained}}}
//
// The environments that components are built in have this type embedded: a
// component asks with env.Artifact(name).
type Artifacts map[string][]byte

// Artifact returns the file of that name, which is not to be changed.
func (a Artifacts) Artifact(name string) ([]byte, error) {
	if b, ok := a[name]; ok {
		return b, nil
	}
	have := "none"
	if len(a) > 0 {
		have = strings.Join(slices.Sorted(maps.Keys(a)), ", ")
	}
	return nil, Fieldf("artifact", "this run was not given the artifact %q (given: %s)", name, have)
}

// Publisher is implemented by a probe, a method or a learner that has files to
// give to other runs. Its [Info] or its configuration names them.
type Publisher interface {
	// Publish returns a file as it is at the end of the run: the same bytes for
	// the same run, whatever machine it ran on.
	Publish(name string) ([]byte, error)
}

// Publishes returns the names of the artifacts that a component can publish:
// those of its Info, and those of a configuration with a method of that name.
func Publishes(info Info, config any) []string {
	names := slices.Clone(info.Publishes)
	if p, ok := config.(interface{ Publishes() []string }); ok {
		names = append(names, p.Publishes()...)
	}
	return names
}

// ArtifactRef is a place of a spec that refers to an artifact.
type ArtifactRef struct {
	Path string // of the parameter
	Name string
}

// ArtifactRefs finds the parameters "artifact" in a part of a canonical spec,
// which stands at path.
func ArtifactRefs(path string, v any) (refs []ArtifactRef) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if name, ok := v[k].(string); ok && k == "artifact" {
				if name != "" {
					refs = append(refs, ArtifactRef{join(path, k), name})
				}
				continue
			}
			refs = append(refs, ArtifactRefs(join(path, k), v[k])...)
		}
	case []any:
		for i, x := range v {
			refs = append(refs, ArtifactRefs(fmt.Sprintf("%s[%d]", path, i), x)...)
		}
	}
	return refs
}

// Weights is the artifact that every learner with a network has: a safetensors
// file of its parameters and of the statistics of its normalisations, under the
// names that weights.path of a network reads.
const Weights = "weights"
