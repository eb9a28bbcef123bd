package run

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/safetensors"
)

// NumericsVersion is raised whenever a bit of any result may change. Results
// of different versions are not compared, and workers take only work of their
// own.
const NumericsVersion = 4

// checkpointFormat is raised when older programs could not read a checkpoint.
const checkpointFormat = "neoteny-life/1"

// Save writes a checkpoint: a safetensors file with every persistent variable,
// and what else the life is in its metadata.
func (l *Life) Save(w io.Writer) error { return l.save(w, l.spec.Digest()) }

// SaveEnd is Save of a run that ends at this step, where a task does.
func (l *Life) SaveEnd(w io.Writer) error {
	return l.save(w, l.spec.DigestFor(int(l.step/l.spec.StepsPerTask())))
}

func (l *Life) save(w io.Writer, spec string) error {
	f := &safetensors.File{}
	for _, v := range l.learner.Store().Vars() {
		if v.Keep != graph.Persistent {
			continue
		}
		f.Tensors = append(f.Tensors, safetensors.Tensor{Name: v.Name, DType: v.Type.String(), Shape: v.Shape, Data: v.Bytes()})
	}
	rows, err := l.rec.hashState()
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	digest := l.digest()
	f.Metadata = map[string]string{
		"format":   checkpointFormat,
		"numerics": strconv.Itoa(NumericsVersion),
		"spec":     spec,
		"seed":     strconv.FormatUint(uint64(l.env.Seed), 10),
		"step":     strconv.FormatInt(l.step, 10),
		"rows":     hex.EncodeToString(rows),
		"state":    hex.EncodeToString(digest[:]),
	}
	f.Metadata["digest"] = metadataDigest(f.Metadata)
	if err := safetensors.Encode(w, f); err != nil {
		return fmt.Errorf("save checkpoint: %w", err)
	}
	return nil
}

// Load restores a checkpoint of the same spec and seed into a life, or that of the end
// of a run with fewer tasks: a longer run begins with the shorter one. On an error the
// life is not usable.
func (l *Life) Load(b []byte) error {
	f, err := safetensors.Decode(b)
	if err != nil {
		return fmt.Errorf("load checkpoint: %w", err)
	}
	want := map[string]string{
		"format":   checkpointFormat,
		"numerics": strconv.Itoa(NumericsVersion),
		"spec":     l.spec.Digest(),
		"seed":     strconv.FormatUint(uint64(l.env.Seed), 10),
	}
	for _, k := range []string{"format", "numerics", "spec", "seed"} {
		if got := f.Metadata[k]; got != want[k] && !(k == "spec" && l.endsShorter(f.Metadata["step"], got)) {
			return fmt.Errorf("load checkpoint: its %s is %q, this run's is %q", k, got, want[k])
		}
	}
	if f.Metadata["digest"] != metadataDigest(f.Metadata) {
		return errors.New("load checkpoint: its metadata do not have the digest that they name: the file was altered")
	}
	step, err := strconv.ParseInt(f.Metadata["step"], 10, 64)
	if err != nil || step < 0 || step > l.spec.Steps() {
		return fmt.Errorf("load checkpoint: step %q is not in the run of %d steps", f.Metadata["step"], l.spec.Steps())
	}
	tensors := f.ByName()
	for _, v := range l.learner.Store().Vars() {
		if v.Keep != graph.Persistent {
			continue
		}
		t, ok := tensors[v.Name]
		if !ok {
			return fmt.Errorf("load checkpoint: variable %s is missing", v.Name)
		}
		if t.DType != v.Type.String() || !v.Shape.Equal(t.Shape) {
			return fmt.Errorf("load checkpoint: variable %s is %s %v, must be %s %v", v.Name, t.DType, t.Shape, v.Type, v.Shape)
		}
		v.SetBytes(t.Data)
		delete(tensors, v.Name)
	}
	for name := range tensors {
		return fmt.Errorf("load checkpoint: variable %s is not of this learner", name)
	}
	rows, err := hex.DecodeString(f.Metadata["rows"])
	if err == nil {
		err = l.rec.setHashState(rows)
	}
	if err != nil {
		return fmt.Errorf("load checkpoint: digest of rows: %w", err)
	}
	if digest := l.digest(); hex.EncodeToString(digest[:]) != f.Metadata["state"] {
		return fmt.Errorf("load checkpoint: the values do not have the digest that it names: the file was altered")
	}
	l.step = step
	l.entered = -1
	return nil
}

// endsShorter reports whether a spec is that of the life but with so few tasks that it
// ends at a step.
func (l *Life) endsShorter(step, digest string) bool {
	at, err := strconv.ParseInt(step, 10, 64)
	per := l.spec.StepsPerTask()
	return err == nil && at > 0 && at%per == 0 && at < l.spec.Steps() && digest == l.spec.DigestFor(int(at/per))
}

// metadataDigest covers the metadata but for the digest itself: what a digest of
// the variables does not, the step among them.
func metadataDigest(m map[string]string) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k != "digest" {
			fmt.Fprintf(h, "%q=%q\n", k, m[k])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
