// Package owndata finds the datasets of an experiment that are a user's own, given by name or by path, and puts what
// names them by content in their place: what a spec says then does not depend on any machine's files.
package owndata

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/internal/dataimport"
	"neoteny/internal/datastore"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/data"
	pb "neoteny/proto/neoteny/v1"
)

// Resolver puts references in the place of names and paths.
type Resolver struct {
	// Base is the folder that paths are relative to: that of the experiment file.
	Base string
	// Folder finds the data folder. It is called only where there is something to look up.
	Folder func() (string, error)
	// Add puts what is read from paths into the data folder; without it, it is only read.
	Add bool
	// Say prints a line about what was read.
	Say func(string)

	read map[string]string // references by what was read
}

// Spec resolves the datasets of an experiment in place. Errors are of the fields.
func (r *Resolver) Spec(spec *pb.ExperimentSpec) error {
	var errs []error
	at := func(path string, err error) { errs = append(errs, component.At(path, err)) }
	r.object("stream", spec.GetStream(), at)
	for name, patch := range spec.GetArms() {
		r.object("arms."+name+".stream", patch.GetFields()["stream"].GetStructValue(), at)
	}
	sweep := spec.GetSweep()
	r.grid("sweep.grid", sweep.GetGrid(), at)
	r.random("sweep.random", sweep.GetRandom(), at)
	for name, space := range sweep.GetArms() {
		r.grid("sweep.arms."+name+".grid", space.GetGrid(), at)
		r.random("sweep.arms."+name+".random", space.GetRandom(), at)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// object resolves the parameter dataset of a stream, and of those inside of it.
func (r *Resolver) object(path string, s *structpb.Struct, fail func(string, error)) {
	for key, v := range s.GetFields() {
		switch inner := v.GetStructValue(); {
		case key == "dataset":
			if err := r.value(v); err != nil {
				fail(path+".dataset", err)
			}
		case inner != nil:
			r.object(path+"."+key, inner, fail)
		}
	}
}

func isDataset(path string) bool {
	return strings.HasPrefix(path, "stream.") && strings.HasSuffix(path, ".dataset")
}

func (r *Resolver) grid(path string, grid map[string]*structpb.ListValue, fail func(string, error)) {
	for key, list := range grid {
		if isDataset(key) {
			r.list(fmt.Sprintf("%s[%q]", path, key), list, fail)
		}
	}
}

func (r *Resolver) random(path string, s *pb.RandomSearch, fail func(string, error)) {
	for key, d := range s.GetParams() {
		if isDataset(key) {
			r.list(fmt.Sprintf("%s.params[%q].choice", path, key), d.GetChoice(), fail)
		}
	}
}

func (r *Resolver) list(path string, list *structpb.ListValue, fail func(string, error)) {
	for i, v := range list.GetValues() {
		if err := r.value(v); err != nil {
			fail(fmt.Sprintf("%s[%d]", path, i), err)
		}
	}
}

// value resolves one parameter.
func (r *Resolver) value(v *structpb.Value) error {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		parts := strings.Split(kind.StringValue, "+")
		for i, name := range parts {
			ref, err := r.name(name)
			if err != nil {
				return err
			}
			parts[i] = ref
		}
		v.Kind = &structpb.Value_StringValue{StringValue: strings.Join(parts, "+")}
	case *structpb.Value_StructValue:
		ref, err := r.inFile(kind.StructValue)
		if err != nil {
			return err
		}
		v.Kind = &structpb.Value_StringValue{StringValue: ref}
	}
	return nil
}

// name returns the reference to an own dataset, or the name where it is none of those.
func (r *Resolver) name(name string) (string, error) {
	if _, known := data.Lookup(name); known || data.IsRef(name) || datastore.CheckName(name) != nil {
		return name, nil
	}
	dir, err := r.Folder()
	if err != nil {
		return "", err
	}
	o, err := datastore.ReadOwn(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		own, _ := datastore.ListOwn(dir) // only to help
		var names []string
		for _, m := range data.Catalogue() {
			names = append(names, m.Name)
		}
		for _, o := range own {
			if o.Name != "" {
				names = append(names, o.Name)
			}
		}
		return "", fmt.Errorf("unknown dataset %q%s (have: %s): your own is added with `neoteny data add %s PATH`, or given as {path: FILE}",
			name, component.DidYouMean(name, names), strings.Join(names, ", "), name)
	case err != nil:
		return "", err
	}
	return o.Ref, nil
}

// File is a dataset that is given by its path.
type File struct {
	Path       string `json:"path"`
	Target     text   `json:"target"`
	Test       text   `json:"test"`
	TestTarget text   `json:"test_target"`
	Kind       string `json:"kind"`
	Drop       []text `json:"drop"`
}

// text is a string that may be written as a number: a column, a share.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*t = text(v)
	case float64:
		*t = text(strconv.FormatFloat(v, 'g', -1, 64))
	default:
		return errors.New("must be a string or a number")
	}
	return nil
}

var fileFields = []string{"path", "target", "test", "test_target", "kind", "drop"}

// inFile reads the file that {path: …} names and returns the reference to it.
func (r *Resolver) inFile(s *structpb.Struct) (string, error) {
	for key := range s.GetFields() {
		if !slices.Contains(fileFields, key) {
			return "", component.Fieldf(key, "a dataset in a file has no such field%s (have: %s)", component.DidYouMean(key, fileFields), strings.Join(fileFields, ", "))
		}
	}
	b, err := s.MarshalJSON()
	if err != nil {
		return "", err
	}
	var f File
	for _, key := range fileFields { // one by one, so that a mistake has its field
		if v := s.GetFields()[key]; v != nil {
			one, err := structpb.NewStruct(map[string]any{key: v.AsInterface()})
			if err != nil {
				return "", component.Fieldf(key, "%v", err)
			}
			raw, err := one.MarshalJSON()
			if err != nil {
				return "", component.Fieldf(key, "%v", err)
			}
			if err := json.Unmarshal(raw, &f); err != nil {
				return "", component.Fieldf(key, "cannot be a value of that type: %s", v)
			}
		}
	}
	if f.Path == "" {
		return "", component.Fieldf("path", "missing: give a file or folder, relative to the experiment file")
	}
	if !slices.Contains([]string{"", string(dataimport.Classes), string(dataimport.Regression)}, f.Kind) {
		return "", component.Fieldf("kind", "must be classes or regression, is %.40q", f.Kind)
	}
	if ref, done := r.read[string(b)]; done {
		return ref, nil
	}
	ref, err := r.file(f)
	if err != nil {
		return "", err
	}
	if r.read == nil {
		r.read = map[string]string{}
	}
	r.read[string(b)] = ref
	return ref, nil
}

func (r *Resolver) file(f File) (string, error) {
	o := dataimport.Options{Target: string(f.Target), Test: string(f.Test), TestTarget: string(f.TestTarget), Kind: dataimport.Kind(f.Kind)}
	for _, d := range f.Drop {
		o.Drop = append(o.Drop, string(d))
	}
	if dataimport.TargetIsFile(f.Path, o.Target) {
		o.Target = r.path(o.Target)
	}
	if dataimport.TargetIsFile(o.Test, o.TestTarget) {
		o.TestTarget = r.path(o.TestTarget)
	}
	if _, err := strconv.ParseFloat(o.Test, 64); o.Test != "" && err != nil {
		o.Test = r.path(o.Test)
	}
	read, err := dataimport.Read(r.path(f.Path), o)
	if err != nil {
		return "", err
	}
	if r.Add {
		dir, err := r.Folder()
		if err != nil {
			return "", err
		}
		if err := datastore.AddOwn(dir, read.Dataset, &datastore.Own{}); err != nil {
			return "", err
		}
	}
	if r.Say != nil {
		r.Say(fmt.Sprintf("%s: %s", f.Path, Describe(read.Meta)))
		for _, n := range read.Notes {
			r.Say(n)
		}
	}
	return read.Name, nil
}

func (r *Resolver) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.Base, p)
}

// Describe says in words what a dataset is.
func Describe(m data.Meta) string {
	shape := make([]string, len(m.Shape))
	for i, d := range m.Shape {
		shape[i] = strconv.Itoa(d)
	}
	kind := "bytes"
	if m.Floats {
		kind = "float32"
	}
	what := fmt.Sprintf("%d classes", m.Classes)
	if m.Classes == 0 {
		what = fmt.Sprintf("%d targets", m.Targets)
		if m.Targets == 1 {
			what = "1 target"
		}
	}
	return fmt.Sprintf("%d training and %d test examples of %s %s, %s", m.Train, m.Test, strings.Join(shape, "×"), kind, what)
}
