package experiment

import "fmt"

// RunKeyOf is [Trial.RunKey] of a trial of which only its canonical spec is
// left, as in a coordinator that was restarted. It is the key at this program's
// numerics version.
func RunKeyOf(canonicalJSON []byte, seed uint32, artifacts map[string]string) (string, error) {
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
