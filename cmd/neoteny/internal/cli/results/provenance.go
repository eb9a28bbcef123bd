package results

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"neoteny/cmd/neoteny/internal/cli/build"
	pb "neoteny/proto/neoteny/v1"
)

// Files of a folder that say where it comes from and what is in it.
const (
	specFile       = "experiment.yaml" // the spec that ran, resolved
	sourceFile     = "source.yaml"     // the file as it was written
	provenanceFile = "provenance.json"
	sumsFile       = "SHA256SUMS"
)

// format is the version of what a folder of results holds.
const format = 2

// Provenance says how a folder of results came to be.
type Provenance struct {
	Format          int           `json:"format"`
	Program         Program       `json:"program"` // that wrote the folder
	NumericsVersion int32         `json:"numerics_version"`
	Machine         build.Machine `json:"machine"` // that wrote the folder; results do not depend on it
	File            *File         `json:"file,omitempty"`
	Steps           bool          `json:"steps"` // the per-step data are in the folder
}

// Program is a version of neoteny.
type Program struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
}

// File says how source.yaml was read.
type File struct {
	Name string   `json:"name"`
	Form string   `json:"form,omitempty"` // "quick" or "full"
	Set  []string `json:"set,omitempty"`  // values in place of the file's, PATH=VALUE
}

// thisProgram is the one that runs.
func thisProgram() Program { return Program{build.Version(), build.Revision()} }

func (r *Result) provenance(steps bool) Provenance {
	p := Provenance{Format: format, Program: thisProgram(), Machine: build.ThisMachine(), Steps: steps}
	for _, run := range r.Runs {
		p.NumericsVersion = run.GetNumericsVersion()
	}
	if s := r.Experiment.GetSource(); s != nil {
		p.File = &File{s.GetName(), s.GetForm(), s.GetSet()}
	}
	return p
}

// writeProvenance writes the file as it was written, and where the rest comes from.
func (r *Result) writeProvenance(dir string, steps bool) error {
	if s := r.Experiment.GetSource(); s != nil {
		err := writeFile(filepath.Join(dir, sourceFile), func(w io.Writer) error { _, err := w.Write(s.GetText()); return err })
		if err != nil {
			return err
		}
	}
	return writeFile(filepath.Join(dir, provenanceFile), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r.provenance(steps))
	})
}

// readProvenance reads where a folder comes from; nil of a program that did not write
// that yet.
func readProvenance(dir string) (*Provenance, error) {
	b, err := os.ReadFile(filepath.Join(dir, provenanceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &Provenance{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, provenanceFile), err)
	}
	if p.Format > format {
		return nil, fmt.Errorf("%s was written by a later program (%s): verify with that", dir, p.Program.Version)
	}
	return p, nil
}

// sumsOf returns the SHA-256 of every file below a folder, by its path with slashes.
func sumsOf(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == sumsFile {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		sums[filepath.ToSlash(rel)] = hex.EncodeToString(h.Sum(nil))
		return nil
	})
	return sums, err
}

// writeSums writes the digests of all files in the format of sha256sum.
func writeSums(dir string) error {
	sums, err := sumsOf(dir)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, sumsFile), func(w io.Writer) error {
		for _, name := range sortedKeys(sums) {
			if _, err := fmt.Fprintf(w, "%s  %s\n", sums[name], name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Difference is a place where a folder of results is not what it should be.
type Difference struct {
	File  string `json:"file"`
	Where string `json:"where,omitempty"`
	Have  string `json:"have,omitempty"`
	Want  string `json:"want,omitempty"`
	What  string `json:"what"`
}

// CheckSums compares the files of a folder with the digests that it keeps, and returns
// how many they are.
func CheckSums(dir string) (differences []Difference, files int, err error) {
	b, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []Difference{{File: sumsFile, What: "is missing"}}, 1, nil
	}
	if err != nil {
		return nil, 0, err
	}
	want := map[string]string{}
	for line := range strings.Lines(string(b)) {
		sum, name, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "  ")
		if !ok || len(sum) != 2*sha256.Size || want[name] != "" {
			return []Difference{{File: sumsFile, What: fmt.Sprintf("has a line that is no digest: %.80q", line)}}, 1, nil
		}
		want[name] = sum
	}
	have, err := sumsOf(dir)
	if err != nil {
		return nil, 0, err
	}
	out := []Difference{}
	for name, sum := range want {
		switch {
		case have[name] == "":
			out = append(out, Difference{File: name, What: "is missing"})
		case have[name] != sum:
			out = append(out, Difference{File: name, What: "was changed: it is not the file that " + sumsFile + " has the digest of"})
		}
	}
	for name := range have {
		if want[name] == "" {
			out = append(out, Difference{File: name, What: "was added: " + sumsFile + " does not name it"})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return strings.Compare(a.File, b.File) })
	return out, max(len(want), len(have)), nil
}

// Merge joins lists of differences, of which the later one knows more about a file.
func Merge(lists ...[]Difference) []Difference {
	by := map[string]Difference{}
	for _, l := range lists {
		for _, d := range l {
			by[d.File] = d
		}
	}
	out := make([]Difference, 0, len(by))
	for _, name := range sortedKeys(by) {
		out = append(out, by[name])
	}
	return out
}

// As gives a result that was computed again the name, times, durations and numbers of
// attempts of the one that is recorded, and whose runs it has reused: they are all that
// equal results may differ in.
func (r *Result) As(recorded *Recorded) error {
	if recorded.ID == "" {
		return errors.New("neither summary.json nor runs.json has the id of the experiment")
	}
	was, is := recorded.ID, r.Experiment.GetId()
	rename := func(s string) string { return strings.ReplaceAll(s, is, was) }
	r.Experiment.Id, r.Experiment.Message = was, rename(r.Experiment.Message)
	r.Experiment.CreatedAt, r.Experiment.EndedAt = recorded.CreatedAt, recorded.EndedAt
	for i := range r.Runs {
		b, err := protojson.Marshal(r.Runs[i].Run)
		if err != nil {
			return err
		}
		run := &pb.Run{}
		if err := protojson.Unmarshal([]byte(rename(string(b))), run); err != nil {
			return err
		}
		if then := recorded.runs[runName(run)]; then != nil {
			run.Seconds, run.Generation, run.Reused = then.Seconds, then.Generation, then.Reused
			if run.Committed != nil && then.Committed != nil {
				run.Committed.Attempt = then.Committed.Attempt
			}
		}
		r.Runs[i].measured = r.Runs[i].GetId()
		r.Runs[i].Run = run
	}
	return r.summarize()
}
