package experiment

import (
	"fmt"

	pb "neoteny/proto/neoteny/v1"
)

// RunKeyOf is [Trial.RunKey] of a trial of which only its canonical spec is
// left, as in a coordinator that was restarted. It is the key at this program's
// numerics version.
func RunKeyOf(canonicalJSON []byte, seed uint32, inputs []*pb.Input) (string, error) {
	if a, err := AnalysisFromCanonical(canonicalJSON); a != nil || err != nil {
		if err != nil {
			return "", err
		}
		datasets, err := a.datasets()
		if err != nil {
			return "", err
		}
		return analysisKey(canonicalJSON, datasets, inputs)
	}
	artifacts := map[string]string{}
	for _, in := range inputs {
		artifacts[in.GetName()] = in.GetBlob().GetSha256()
	}
	spec, err := SpecFromCanonical(canonicalJSON)
	if err != nil {
		return "", err
	}
	t := Trial{Spec: spec, datasets: map[string]string{}}
	for _, name := range spec.Datasets() {
		digest, ok := datasetDigest(name)
		if !ok {
			return "", fmt.Errorf("dataset %q is not in the catalogue", name)
		}
		t.datasets[name] = digest
	}
	return t.RunKey(seed, artifacts), nil
}
