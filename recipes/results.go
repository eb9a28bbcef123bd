package recipes

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// Results are the committed results of a paper's recipes, at most one for each
// file and form.
type Results struct {
	Paper   string   `json:"paper"`
	Results []Result `json:"results"`
}

// Result is what one recipe file in one form gave.
type Result struct {
	File string          `json:"file"`
	Form experiment.Form `json:"form"`
	// Work identifies what was run; see [Work].
	Work            string                `json:"work"`
	Date            string                `json:"date"` // when it ended, UTC
	NumericsVersion int32                 `json:"numerics_version"`
	Machine         Machine               `json:"machine"`
	WallSeconds     float64               `json:"wall_seconds,omitempty"` // of the whole; 0 where it was done in several goes
	Runs            int                   `json:"runs"`
	Steps           int64                 `json:"steps"`
	Seconds         float64               `json:"seconds"` // of computing, on one core, over all runs
	Claims          []Claim               `json:"claims"`
	Untested        []experiment.Untested `json:"untested,omitempty"`
	Trials          []Trial               `json:"trials"`
}

// Machine says what a result was computed on. Its bits do not depend on it.
type Machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	ISA      string `json:"isa"`
	Platform string `json:"platform"`
}

// Claim is a claim of a recipe with what was measured.
type Claim struct {
	Name    string          `json:"name"`
	Paper   string          `json:"paper,omitempty"`
	Value   string          `json:"value"`
	Holds   string          `json:"holds"`
	Verdict report.Verdict  `json:"verdict"`
	Mean    report.Number   `json:"mean"`
	Low     report.Number   `json:"ci_low"`
	High    report.Number   `json:"ci_high"`
	Method  report.Method   `json:"method,omitempty"`
	N       int             `json:"n"`
	Seeds   []uint32        `json:"seeds"`
	Values  []report.Number `json:"values"`            // of the seeds
	Message string          `json:"message,omitempty"` // what to know about the verdict
	Note    string          `json:"note,omitempty"`    // the suspected reason, from the recipe
}

// Trial is one of the trials that claims look at.
type Trial struct {
	Arm     string            `json:"arm"`
	Trial   string            `json:"trial"`
	Params  map[string]string `json:"params,omitempty"`
	Seeds   []uint32          `json:"seeds"`
	Digest  string            `json:"digest"`          // SHA-256 over the digests of its runs, in the order of seeds
	Steps   int64             `json:"steps_per_run"`   // mean
	Seconds float64           `json:"seconds_per_run"` // mean, of computing on one core
}

// ClaimOf is a claim's result as it is committed: figures with six significant
// digits, the verdict from all of them.
func ClaimOf(c report.Claim, note string) Claim {
	out := Claim{
		Name: c.Name, Paper: c.Paper, Value: c.Value, Holds: c.Bound, Verdict: c.Verdict,
		Mean: short(c.Mean), Low: short(c.Low), High: short(c.High), Method: c.Method, N: c.N,
		Seeds: []uint32{}, Values: []report.Number{}, Message: c.Message, Note: note,
	}
	for _, s := range c.Seeds {
		out.Seeds, out.Values = append(out.Seeds, s.Seed), append(out.Values, short(s.Value))
	}
	return out
}

func short(n report.Number) report.Number {
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(n), 'g', 6, 64), 64)
	if err != nil {
		return n
	}
	return report.Number(v)
}

// Work identifies what a spec has done, whatever is claimed or said about it:
// SHA-256 over it as canonical JSON. Specs of equal work have the same runs.
func Work(spec *pb.ExperimentSpec) string {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(Bare(spec))
	if err == nil {
		var v any
		if err = json.Unmarshal(b, &v); err == nil {
			b, err = json.Marshal(v) // keys sorted, no white space
		}
	}
	if err != nil {
		panic(fmt.Sprintf("recipes: a spec as JSON: %v", err)) // it was read from JSON
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Bare is a spec without what changes no run: claims, texts, the order of pictures, and how runs are
// cut into segments.
func Bare(spec *pb.ExperimentSpec) *pb.ExperimentSpec {
	bare := proto.CloneOf(spec)
	bare.Claims, bare.Description, bare.Paper, bare.Segments, bare.ArmOrder = nil, "", "", nil, nil
	return bare
}

// Results returns the committed results of a paper, empty where there are none.
func (c *Catalogue) Results(paper string) (*Results, error) {
	r := &Results{Paper: paper, Results: []Result{}}
	b, err := fs.ReadFile(c.fsys, paper+"/"+resultsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.DisallowUnknownFields()
		err = dec.Decode(r)
	}
	if err == nil && r.Paper != paper {
		err = fmt.Errorf("it says that it is of paper %q", r.Paper)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path(paper, resultsFile), err)
	}
	return r, nil
}

// Find returns the result of a file in a form, nil where there is none.
func (r *Results) Find(file string, form experiment.Form) *Result {
	for i := range r.Results {
		if r.Results[i].File == file && r.Results[i].Form == form {
			return &r.Results[i]
		}
	}
	return nil
}

// Deviates compares a result with an earlier one of the same file and form, and
// returns the arms whose runs have other digests. They are not comparable where
// the work is not the same, or where digests differ as numerics versions do.
func (r *Result) Deviates(earlier *Result) (arms []string, comparable bool) {
	if earlier == nil || earlier.Work != r.Work {
		return nil, false
	}
	was := map[string]string{}
	for _, t := range earlier.Trials {
		was[t.Arm] = t.Digest
	}
	for _, t := range r.Trials {
		if was[t.Arm] != t.Digest {
			arms = append(arms, t.Arm)
		}
	}
	return arms, len(arms) == 0 || earlier.NumericsVersion == r.NumericsVersion
}

// Record puts a result into the paper's results.json, in the place of an
// earlier one of the same file and form, and drops those of files that are
// gone. It returns the path of the file.
func (c *Catalogue) Record(paper string, results ...Result) (string, error) {
	if c.dir == "" {
		return "", errors.New("the built-in recipes cannot be written: give the folder of the sources with --recipes")
	}
	p, err := c.Paper(paper)
	if err != nil {
		return "", err
	}
	all, err := c.Results(paper)
	if err != nil {
		return "", err
	}
	all.Results = slices.DeleteFunc(all.Results, func(old Result) bool {
		return !slices.Contains(p.Recipes, old.File) || slices.ContainsFunc(results, func(r Result) bool { return r.File == old.File && r.Form == old.Form })
	})
	all.Results = append(all.Results, results...)
	slices.SortFunc(all.Results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(a.File, b.File), slices.Index(experiment.Forms, a.Form)-slices.Index(experiment.Forms, b.Form))
	})
	b, err := all.Marshal()
	if err != nil {
		return "", fmt.Errorf("record results of %s: %w", paper, err)
	}
	path := filepath.Join(c.dir, paper, resultsFile)
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return "", fmt.Errorf("record results of %s: %w", paper, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("record results of %s: %w", paper, err)
	}
	return path, nil
}

// Marshal writes the results as the JSON that is committed: indented, lists of
// numbers on one line, so that a change is a small difference.
func (r *Results) Marshal() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	return joinLists(buf.Bytes()), nil
}

// joinLists puts every list that holds no other list or object on one line.
func joinLists(b []byte) []byte {
	var out []byte
	for i := 0; i < len(b); {
		switch b[i] {
		case '"':
			end := stringEnd(b, i)
			out, i = append(out, b[i:end]...), end
		case '[':
			end := flatListEnd(b, i)
			if end < 0 {
				out, i = append(out, '['), i+1
				continue
			}
			for i < end {
				switch b[i] {
				case '"':
					e := stringEnd(b, i)
					out, i = append(out, b[i:e]...), e
					continue
				case '\n', ' ':
				case ',':
					out = append(out, ',', ' ')
				default:
					out = append(out, b[i])
				}
				i++
			}
		default:
			out, i = append(out, b[i]), i+1
		}
	}
	return out
}

// stringEnd is behind the string that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// flatListEnd is behind the list that begins at i, -1 where it is not flat.
func flatListEnd(b []byte, i int) int {
	for i++; ; {
		switch b[i] {
		case ']':
			return i + 1
		case '[', '{':
			return -1
		case '"':
			i = stringEnd(b, i)
		default:
			i++
		}
	}
}
