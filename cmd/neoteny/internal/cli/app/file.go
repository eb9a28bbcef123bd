package app

import (
	"fmt"
	"io"
	"path/filepath"

	"neoteny/cmd/neoteny/internal/cli/owndata"
	"neoteny/pkg/experiment"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/recipes"
)

// ReadSpec reads an experiment file, "-" from the program's standard input, as the
// flags say. A positive segmentTasks takes the place of the file's. Own
// datasets are read, and looked up in the default data folder, but not added.
func (a *App) ReadSpec(file string, flags FileFlags, segmentTasks int32) (*Experiment, error) {
	return a.readSpec(file, flags, segmentTasks, &owndata.Resolver{Folder: DataFlag{}.Folder})
}

// ReadSpecAndData is ReadSpec that adds own datasets which the file gives by path
// to the data folder.
func (a *App) ReadSpecAndData(file string, flags FileFlags, segmentTasks int32, dir DataFlag) (*Experiment, error) {
	return a.readSpec(file, flags, segmentTasks, &owndata.Resolver{
		Folder: dir.Folder, Add: true, Say: func(line string) { fmt.Fprintln(a.Progress, line) },
	})
}

func (a *App) readSpec(file string, flags FileFlags, segmentTasks int32, own *owndata.Resolver) (*Experiment, error) {
	if segmentTasks < 0 {
		return nil, Usagef("--segment-tasks must not be negative")
	}
	doc, err := a.readDocument(file, flags.Set)
	if err != nil {
		return nil, err
	}
	if file != "-" {
		own.Base = filepath.Dir(file)
	}
	for _, f := range doc.Forms() {
		v, err := doc.Variant(f)
		if err == nil {
			err = own.Spec(v.Spec)
		}
		if err != nil {
			return nil, experiment.InFile(file, err)
		}
	}
	v, err := doc.Variant(flags.Form())
	if err != nil {
		return nil, experiment.InFile(file, err)
	}
	if len(doc.Forms()) > 1 { // no server ever sees the others
		if err := doc.Validate(); err != nil {
			return nil, experiment.InFile(file, err)
		}
	}
	for _, note := range v.Kept {
		fmt.Fprintf(a.Progress, "neoteny: %s: %s\n", file, note)
	}
	if id := v.Spec.GetPaper(); id != "" {
		if c, err := recipes.BuiltIn(); err == nil {
			if _, err := c.Paper(id); err != nil {
				fmt.Fprintf(a.Progress, "neoteny: %s: paper: %v\n", file, err)
			}
		}
	}
	if segmentTasks > 0 {
		v.Spec.Segments = &pb.Segments{Tasks: segmentTasks}
	}
	return &Experiment{Spec: v.Spec, Source: sourceOf(file, flags, doc.Text)}, nil
}

// Experiment is what a file amounts to, and the file.
type Experiment struct {
	Spec   *pb.ExperimentSpec
	Source *pb.Source // to be kept with the results; nil of a file that is too large for that
}

// maxSource is the largest file that is kept with the results.
const maxSource = 256 << 10

func sourceOf(file string, flags FileFlags, text []byte) *pb.Source {
	if len(text) > maxSource {
		return nil
	}
	s := &pb.Source{Name: filepath.Base(file), Text: text, Set: flags.Set}
	if file == "-" {
		s.Name = "standard input"
	}
	if f := flags.Form(); f != experiment.Default {
		s.Form = string(f)
	}
	return s
}

// SayWhatIsSkipped says which probes the control arms of a plan do without.
func (a *App) SayWhatIsSkipped(plan *experiment.Plan) {
	for _, s := range plan.Skipped {
		fmt.Fprintf(a.Progress, "control %s is without the probe %s: %s\n", s.Arm, s.Probe, s.Why)
	}
}

func (a *App) readDocument(file string, set []string) (*experiment.Document, error) {
	if file != "-" {
		return experiment.ReadDocumentFile(file, set...)
	}
	b, err := io.ReadAll(io.LimitReader(a.In, experiment.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	doc, err := experiment.ReadDocument(b, experiment.Options{Dir: ".", Set: set})
	return doc, experiment.InFile(file, err)
}

// FileFlags say how an experiment file is read.
type FileFlags struct {
	FormFlags
	Set []string `help:"Put a value (YAML) in place of the file's, in whichever form; any number of times. Examples: learner.optimizer.lr=0.1, learner.methods[l2].lambda=1e-4, 'seeds={count: 10}'; null takes a field out, [+] adds to a list." sep:"none" placeholder:"PATH=VALUE"`
}

// FormFlags pick the form of an experiment file.
type FormFlags struct {
	Quick bool `help:"Take the file's quick form: does it run, does the direction show." xor:"form"`
	Full  bool `help:"Take the file's full form: the protocol as it was published." xor:"form"`
}

func (f FormFlags) Form() experiment.Form {
	switch {
	case f.Quick:
		return experiment.Quick
	case f.Full:
		return experiment.Full
	}
	return experiment.Default
}
