package experiment

import (
	"fmt"

	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// Record is a trial of which only its canonical spec is left, as in a worker or in a
// coordinator that was restarted: resolved once, for all its runs. It has a Spec, or it
// is of an analysis.
type Record struct {
	Spec     *engine.Spec
	Analysis *AnalysisSpec

	json     []byte
	datasets map[string]string // digests by name
}

// ReadRecord resolves the canonical spec of a trial record.
func ReadRecord(canonicalJSON []byte) (*Record, error) {
	r := &Record{json: canonicalJSON}
	var err error
	if r.Analysis, err = analysisFromCanonical(canonicalJSON); err != nil {
		return nil, err
	}
	if r.Analysis != nil {
		r.datasets, err = r.Analysis.datasets()
		return r, err
	}
	if r.Spec, err = specFromCanonical(canonicalJSON); err != nil {
		return nil, err
	}
	r.json = r.Spec.JSON() // of an older record it has parameters that are new
	r.datasets, err = digestsOf(r.Spec)
	return r, err
}

// RunKey is [Trial.RunKey] of a run that starts from the given artifacts, at this
// program's numerics version.
func (r *Record) RunKey(seed uint32, inputs []*pb.Input) (string, error) {
	if r.Analysis != nil {
		return analysisKey(r.json, r.datasets, inputs)
	}
	artifacts := map[string]string{}
	for _, in := range inputs {
		artifacts[in.GetName()] = in.GetBlob().GetSha256()
	}
	return runKey(r.json, seed, r.datasets, artifacts), nil
}

// digestsOf returns the digests of a spec's datasets, by name.
func digestsOf(spec *engine.Spec) (map[string]string, error) {
	digests := map[string]string{}
	for _, name := range spec.Datasets() {
		digest, ok := datasetDigest(name)
		if !ok {
			return nil, fmt.Errorf("dataset %q is not in the catalogue", name)
		}
		digests[name] = digest
	}
	return digests, nil
}
