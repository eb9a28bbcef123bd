package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"neoteny/pkg/engine"
	pb "neoteny/proto/neoteny/v1"
)

// RunID names a run: <experiment>/<trial>/<seed>.
func RunID(experiment, trial string, seed uint32) string {
	return experiment + "/" + trial + "/" + strconv.FormatUint(uint64(seed), 10)
}

// SplitRunID takes a run's id apart. Only what [RunID] writes is accepted, so
// two ids never name one run.
func SplitRunID(id string) (experiment, trial string, seed uint32, err error) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return "", "", 0, fmt.Errorf("run id %q is not <experiment>/<trial>/<seed>", shorten(id))
	}
	n, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != parts[2] {
		return "", "", 0, fmt.Errorf("run id %q: the seed must be a whole number from 0 to 4294967295", shorten(id))
	}
	return parts[0], parts[1], uint32(n), nil
}

// RunKey says what a run is, whatever it is called: SHA-256, hex, over the
// canonical JSON of the numerics version, the resolved spec, the seed and the
// digests of datasets and of the artifacts that it starts from, by name. Equal
// keys mean bit-identical results.
func (t Trial) RunKey(seed uint32, artifacts map[string]string) string {
	return runKey(t.Spec.JSON(), seed, t.datasets, artifacts)
}

// runKey is the key of a run of a canonical spec.
func runKey(canonicalJSON []byte, seed uint32, datasets, artifacts map[string]string) string {
	if artifacts == nil {
		artifacts = map[string]string{}
	}
	b, err := json.Marshal(map[string]any{
		"numerics":  engine.NumericsVersion,
		"spec":      json.RawMessage(canonicalJSON),
		"seed":      seed,
		"datasets":  datasets,
		"artifacts": artifacts,
	})
	if err != nil {
		panic(fmt.Sprintf("experiment: run key: %v", err)) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// SpecJSON is the trial's resolved spec as canonical JSON: sorted keys, every
// default spelled out. [ReadRecord] reads it.
func (t Trial) SpecJSON() []byte { return t.Spec.JSON() }

// specFromCanonical resolves the spec of a trial record.
func specFromCanonical(canonicalJSON []byte) (*engine.Spec, error) {
	if len(canonicalJSON) > MaxFileBytes {
		return nil, fmt.Errorf("a trial's spec of %d bytes is larger than %d", len(canonicalJSON), MaxFileBytes)
	}
	var raw struct {
		Stream      map[string]any   `json:"stream"`
		Environment map[string]any   `json:"environment"`
		Learner     map[string]any   `json:"learner"`
		Probes      []map[string]any `json:"probes"`
	}
	dec := json.NewDecoder(bytes.NewReader(canonicalJSON))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("read a trial's spec: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read a trial's spec: more behind its end")
	}
	return engine.Resolve(engine.RawSpec(raw))
}

// RunDigest is the digest of a whole run: SHA-256, hex, over the list of its
// boundaries in order — task and step as 64-bit little-endian numbers, then
// the two digests. It does not depend on how the run was cut into segments.
func RunDigest(boundaries []*pb.Boundary) string {
	h := sha256.New()
	for _, b := range boundaries {
		var n [16]byte
		binary.LittleEndian.PutUint64(n[:8], uint64(b.GetTask()))
		binary.LittleEndian.PutUint64(n[8:], uint64(b.GetStep()))
		h.Write(n[:])
		h.Write(b.GetStateDigest())
		h.Write(b.GetRowsDigest())
	}
	return hex.EncodeToString(h.Sum(nil))
}

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
