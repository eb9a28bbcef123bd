package experiment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// Analysis is a pure function over what runs of an experiment have left. It is
// scheduled as a trial whose runs have one task of one step.
type Analysis struct {
	// Name is unique among the experiment's trials too.
	Name string
	// Once: it has one run for all tuning seeds, and one for all confirmation
	// seeds, under the first of them; else one for every seed.
	Once bool
	// Seeds of its runs.
	Seeds []uint32
	// Needs are the artifacts and task tables that it looks at.
	Needs []TrialNeed
	// Publishes names the artifacts that others need.
	Publishes []string
	// Datasets that it reads.
	Datasets []string

	at       string
	resolved *analysis.Resolved
	needs    map[string]*need
	sources  map[string]any // canonical specs of the arms that it looks at, by need
}

// SpecJSON is the analysis as canonical JSON, with the specs of the runs that it
// looks at. [ReadRecord] reads it.
func (a *Analysis) SpecJSON() []byte {
	b, err := json.Marshal(map[string]any{"analysis": a.resolved.Canonical(), "sources": a.sources})
	if err != nil {
		panic(fmt.Sprintf("experiment: canonical spec of analysis %s: %v", a.Name, err)) // plain data
	}
	return b
}

// AnalysisSpec is an analysis as a worker runs it.
type AnalysisSpec struct {
	*analysis.Resolved
	// Sources are the canonical specs of the runs that it looks at, by the name of
	// the need.
	Sources map[string]map[string]any
}

// analysisFromCanonical resolves the analysis of a trial record; nil where the
// record is of an arm's trial.
func analysisFromCanonical(canonicalJSON []byte) (*AnalysisSpec, error) {
	if !bytes.HasPrefix(canonicalJSON, []byte(`{"analysis":`)) {
		return nil, nil
	}
	var raw struct {
		Analysis map[string]any            `json:"analysis"`
		Sources  map[string]map[string]any `json:"sources"`
	}
	if err := json.Unmarshal(canonicalJSON, &raw); err != nil {
		return nil, fmt.Errorf("read an analysis: %w", err)
	}
	r, err := analysis.Resolve("", raw.Analysis)
	if err != nil {
		return nil, err
	}
	return &AnalysisSpec{r, raw.Sources}, nil
}

// analysisKey is [Trial.RunKey] for an analysis: over its canonical spec, with
// those of the runs that it looks at, their data, and the digests of what it is
// given, by name in the order of seeds.
func analysisKey(canonicalJSON []byte, datasets map[string]string, inputs []*pb.Input) (string, error) {
	artifacts := map[string][]string{}
	for _, in := range inputs {
		_, _, seed, err := SplitRunID(in.GetRun())
		if err != nil {
			return "", err
		}
		artifacts[in.GetName()] = append(artifacts[in.GetName()], fmt.Sprintf("%d %s", seed, in.GetBlob().GetSha256()))
	}
	b, err := json.Marshal(map[string]any{
		"numerics": engine.NumericsVersion, "spec": json.RawMessage(canonicalJSON), "datasets": datasets, "artifacts": artifacts,
	})
	if err != nil {
		return "", fmt.Errorf("key of an analysis: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// datasets are those of the runs that an analysis looks at, if it reads any.
func (a *AnalysisSpec) datasets() (map[string]string, error) {
	out := map[string]string{}
	if !a.Info.Data {
		return out, nil
	}
	for _, source := range a.Sources {
		b, err := json.Marshal(source)
		if err != nil {
			return nil, err
		}
		spec, err := specFromCanonical(b)
		if err != nil {
			return nil, err
		}
		digests, err := digestsOf(spec)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, digests)
	}
	return out, nil
}

// analyses reads the experiment's analyses.
func (e *expansion) readAnalyses() {
	e.analyses = map[string]*Analysis{}
	for _, name := range slices.Sorted(maps.Keys(e.spec.GetAnalyses())) {
		at := keyed("analyses", name)
		m, err := object(e.spec.GetAnalyses()[name], at)
		if err != nil {
			e.add(err)
			continue
		}
		if slices.Contains(e.names, name) {
			e.fail(at, "there is an arm %q too: rename one of them", name)
			continue
		}
		a := &Analysis{Name: name, at: at, needs: map[string]*need{}, sources: map[string]any{}}
		switch per := m["per"]; per {
		case nil, "seed":
			a.Seeds = e.tuning
		case "experiment":
			a.Once = true
			a.Seeds = e.tuning[:min(1, len(e.tuning))]
		default:
			e.fail(at+".per", "must be seed or experiment, is %s", shorten(jsonText(per)))
			continue
		}
		needs, ok := m["needs"].(map[string]any)
		if !ok {
			e.fail(at+".needs", "missing: say whose artifacts it looks at, as in needs: {first: {arm: ARM, artifact: weights}}")
			continue
		}
		delete(m, "per")
		delete(m, "needs")
		if a.resolved, err = analysis.Resolve(at, m); err != nil {
			e.add(err)
			continue
		}
		e.analysisNeeds(a, needs)
		e.analyses[name] = a
	}
}

// analysisNeeds reads what an analysis looks at.
func (e *expansion) analysisNeeds(a *Analysis, needs map[string]any) {
	var names []string
	for _, in := range a.resolved.Info.Inputs {
		names = append(names, in.Name)
		if needs[in.Name] == nil {
			e.fail(keyed(a.at+".needs", in.Name), "missing: %s", in.Doc)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		at := keyed(a.at+".needs", name)
		i := slices.Index(names, name)
		if i < 0 {
			e.fail(at, "%s has no such input%s (have: %s)", a.resolved.Info.Name, component.DidYouMean(name, names), strings.Join(names, ", "))
			continue
		}
		n := e.readNeed(at, needs[name])
		if n == nil {
			continue
		}
		n.used = true
		if a.Once && n.Seed == nil && n.Analysis == "" {
			n.Seeds = "all"
		}
		if n.Seeds == "all" && !a.resolved.Info.Inputs[i].Many {
			e.fail(at, "is the artifact of one run: give its seed, or per: seed for the analysis")
		}
		a.needs[name] = n
	}
}

// claimShape is how the results of analyses look to claims.
func (e *expansion) claimShape(tables claim.Shape) {
	for name, a := range e.analyses {
		tables[claim.AnalysisKey(name)] = claim.ArmShape{Tasks: 1, Metrics: a.resolved.Info.Metrics}
	}
}
