package results

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	pb "neoteny/proto/neoteny/v1"
)

// CheckWritable makes the folder where it is missing and proves that files can
// be made in it, before hours of work depend on that.
func CheckWritable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("output folder %s cannot be made: %w; give another with --out", dir, cause(err))
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return fmt.Errorf("output folder %s cannot be written: %w; give another with --out", dir, cause(err))
	}
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	if err != nil {
		return fmt.Errorf("output folder %s cannot be written: %w; give another with --out", dir, cause(err))
	}
	return nil
}

// cause leaves out the path that a message names already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// WriteFolder writes everything into parent/<experiment id> and returns that
// folder. It is built beside its place and renamed, so a folder of that name is
// complete; one of the same experiment, from an earlier time, is replaced, and
// any other is left alone: the results then go to a folder with a number behind
// its name. With a nil metrics client there are no per-step data. Runs whose data the
// metrics service has lost are in r.Lost.
func (r *Result) WriteFolder(ctx context.Context, parent string, metrics pb.MetricsServiceClient) (dir string, err error) {
	if id := r.Experiment.GetId(); !plainName(id) {
		return "", fmt.Errorf("write results: experiment id %q is no name for a folder", id)
	}
	dir = filepath.Join(parent, r.Experiment.GetId())
	temp := filepath.Join(parent, "."+r.Experiment.GetId()+partSuffix)
	if err := anew(temp, dir); err != nil {
		return "", fmt.Errorf("write results into %s: %w", parent, cause(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := r.write(ctx, temp, metrics); err != nil {
		return "", fmt.Errorf("write results into %s: %w", parent, err)
	}
	return place(temp, dir, r.Experiment.GetId())
}

// What is not there yet is built in a hidden folder whose name ends in partSuffix; the
// results that it replaces stand beside it for a moment, oldSuffix behind its name.
const (
	partSuffix = ".part"
	oldSuffix  = ".old"
)

// partName also knows the numbers that earlier versions put in place of partSuffix.
var partName = regexp.MustCompile(`^\.([a-z0-9-]+-[a-z0-9]{6})(` + regexp.QuoteMeta(partSuffix) + `|\.[0-9]+)(` +
	regexp.QuoteMeta(oldSuffix) + `)?$`)

// HalfWritten reports whether the folder of that name, in parent, was left by a program
// that was killed in [Result.WriteFolder] and is of no use to anybody. Results that were
// about to be replaced, and have not been, are of use: the next WriteFolder puts them back.
func HalfWritten(parent, name string) bool {
	m := partName.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	if m[2] == partSuffix && m[3] == oldSuffix {
		_, err := os.Lstat(filepath.Join(parent, m[1]))
		return err == nil
	}
	return true
}

// anew makes a folder to build results in, and tidies up after a program that was
// killed in the middle: its part is removed, and the results that it was about to
// replace are put back.
func anew(temp, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(temp+oldSuffix, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(temp), os.RemoveAll(temp+oldSuffix)); err != nil {
		return err
	}
	return os.Mkdir(temp, 0o755)
}

// plainName says that a name which came from a server stays in its folder.
func plainName(s string) bool {
	return s != "" && s[0] != '.' && filepath.Base(s) == s && filepath.IsLocal(s)
}

// place gives a finished folder its name.
func place(temp, dir, id string) (string, error) {
	for n := 2; ; n++ {
		_, err := os.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Rename(temp, dir); err != nil {
				return "", fmt.Errorf("name the results folder: %w", err)
			}
			return dir, nil
		case err == nil && holds(dir) == id:
			old := temp + oldSuffix
			if err := os.Rename(dir, old); err != nil {
				return "", fmt.Errorf("replace the results folder: %w", err)
			}
			if err := os.Rename(temp, dir); err != nil {
				return "", errors.Join(fmt.Errorf("replace the results folder: %w", err), os.Rename(old, dir))
			}
			return dir, os.RemoveAll(old)
		case err != nil:
			return "", fmt.Errorf("name the results folder: %w", err)
		case n > 1000:
			return "", fmt.Errorf("%s and a thousand folders like it hold other results", dir)
		}
		dir = filepath.Join(filepath.Dir(dir), id+"-"+strconv.Itoa(n))
	}
}

// holds returns the id of the experiment whose results a folder holds.
func holds(dir string) string {
	var s struct {
		ID string `json:"id"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err != nil || json.Unmarshal(b, &s) != nil {
		return ""
	}
	return s.ID
}

func (r *Result) write(ctx context.Context, dir string, metrics pb.MetricsServiceClient) error {
	spec, err := SpecYAML(r.Experiment.GetSpec())
	if err != nil {
		return fmt.Errorf("experiment.yaml: %w", err)
	}
	files := []struct {
		name  string
		write func(io.Writer) error
	}{
		{specFile, func(w io.Writer) error { _, err := w.Write(spec); return err }},
		{"summary.json", r.WriteJSON},
		{"summary.txt", r.WriteText},
		{"tasks.csv", r.WriteTasksCSV},
		{"trials.csv", r.WriteTrialsCSV},
		{"runs.csv", r.WriteRunsCSV},
		{"runs.json", r.writeRunsJSON},
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return err
		}
	}
	if err := r.writePlots(dir); err != nil {
		return err
	}
	if err := r.writeWeights(ctx, dir); err != nil {
		return err
	}
	if err := r.writeProvenance(dir, metrics != nil); err != nil {
		return err
	}
	if metrics == nil {
		return writeSums(dir)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(calls)
	for _, run := range r.Runs {
		g.Go(func() error { return r.writeRunSteps(gctx, dir, metrics, run) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.writeStepPlots(ctx, dir); err != nil {
		return err
	}
	return writeSums(dir)
}

// writeRunSteps writes steps/<trial>/<seed>.parquet: nothing for a run that measured
// nothing yet, nor for one whose data are lost, which is remembered.
func (r *Result) writeRunSteps(ctx context.Context, dir string, metrics pb.MetricsServiceClient, run Run) error {
	if !plainName(run.GetTrial()) {
		return fmt.Errorf("trial %q is no name for a folder", run.GetTrial())
	}
	path := filepath.Join(dir, "steps", run.GetTrial(), strconv.FormatUint(uint64(run.GetSeed()), 10)+".parquet")
	values := int64(0)
	err := writeFile(path, func(w io.Writer) (err error) {
		values, err = r.writeSteps(ctx, w, metrics, run)
		return err
	})
	why, lost := lostOf(run, values, err)
	switch {
	case lost:
		r.lose(run, why)
	case err == nil && values > 0:
		return nil
	}
	if lost || err == nil || status.Code(err) == codes.NotFound {
		if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return rerr
		}
		return nil
	}
	return fmt.Errorf("per-step data of %s: %w", run.GetId(), err)
}

func (r *Result) writeRunsJSON(w io.Writer) error {
	runs := make([]*pb.Run, len(r.Runs))
	for i, run := range r.Runs {
		runs[i] = run.Run
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(map[string]any{"runs": PlainRuns(runs)})
}

// SpecYAML is a spec as an experiment file that can be submitted again.
func SpecYAML(spec *pb.ExperimentSpec) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(spec)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(b)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// writeFile makes a file, and its folder where that is missing.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<16)
	if err := write(buf); err != nil {
		return err
	}
	return buf.Flush()
}
