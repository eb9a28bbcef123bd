package datastore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"neoteny/pkg/engine/data"
)

// Own is an own dataset of a data folder. What it holds is in a container that is named after its content; its name
// and what else people may want to know of it is in a record beside, which no run depends on.
type Own struct {
	Name         string   `json:"name"` // "" for one that was added on the fly
	Ref          string   `json:"ref"`  // what names it in a spec
	Path         string   `json:"path,omitempty"`
	PathSHA256   string   `json:"path_sha256,omitempty"`
	Format       string   `json:"format,omitempty"`
	Split        string   `json:"split,omitempty"`
	ClassNames   []string `json:"class_names,omitempty"`
	FeatureNames []string `json:"feature_names,omitempty"`
	TargetNames  []string `json:"target_names,omitempty"`
}

// Meta describes the dataset.
func (o Own) Meta() (data.Meta, error) { return data.ParseRef(o.Ref) }

var ownName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxRecord bounds what is read of a record: names of columns and classes.
const maxRecord = 64 << 20

// CheckName checks the name of an own dataset.
func CheckName(name string) error {
	if !ownName.MatchString(name) {
		return fmt.Errorf("dataset name %.80q: must be of a to z, 0 to 9 and -, at most 63 of them, for example my-data", name)
	}
	if _, known := data.Lookup(name); known {
		return fmt.Errorf("dataset name %q: the catalogue has a dataset of that name: choose another", name)
	}
	return nil
}

// AddOwn puts a dataset into the data folder dir, under o.Name where that is given, and sets o.Ref. Nothing is there
// under its final name before it is complete. A dataset that is there already is left as it is.
func AddOwn(dir string, d *data.Dataset, o *Own) error {
	if o.Name != "" {
		if err := CheckName(o.Name); err != nil {
			return err
		}
	}
	folder := filepath.Join(dir, data.OwnFolder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write data folder: %w", err)
	}
	var b bytes.Buffer
	if err := d.WriteContainer(&b); err != nil {
		return err
	}
	o.Ref = d.Name
	if o.Name != "" {
		switch have, err := ReadOwn(dir, o.Name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case have.Ref != o.Ref:
			return fmt.Errorf("a dataset %s of other content is there already: `neoteny data remove %s` first, or choose another name", o.Name, o.Name)
		}
	}
	if err := placeFile(filepath.Join(folder, d.Files[0].Name), b.Bytes()); err != nil {
		return err
	}
	if o.Name == "" {
		return nil
	}
	record, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	return placeFile(filepath.Join(folder, o.Name+".json"), append(record, '\n'))
}

// PutContainer puts the container of the own dataset that ref names into the data folder dir, after its content was
// compared with ref.
func PutContainer(dir, ref string, container []byte) error {
	d, err := data.ReadContainer(container)
	if err != nil {
		return fmt.Errorf("not a dataset: %w", err)
	}
	if d.Name != ref {
		return fmt.Errorf("the dataset is %s, not %s", d.Name, ref)
	}
	folder := filepath.Join(dir, data.OwnFolder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("write data folder: %w", err)
	}
	return placeFile(filepath.Join(folder, d.Files[0].Name), container)
}

// placeFile writes a file that is there with all of its content or not at all.
func placeFile(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".add-*")
	if err != nil {
		return fmt.Errorf("write data folder: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once renamed, as it should
	defer tmp.Close()
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write data folder: %w", err)
	}
	return nil
}

// ReadOwn returns the own dataset of that name. The error wraps fs.ErrNotExist where there is none.
func ReadOwn(dir, name string) (o Own, err error) {
	if !ownName.MatchString(name) {
		return o, fmt.Errorf("dataset %.80q: %w", name, fs.ErrNotExist)
	}
	path := filepath.Join(dir, data.OwnFolder, name+".json")
	info, err := os.Stat(path)
	if err != nil {
		return o, err
	}
	if info.Size() > maxRecord {
		return o, fmt.Errorf("%s has %d bytes: it is no record of a dataset", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return o, err
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("%s is damaged: %w: remove it and add the dataset again", path, err)
	}
	if _, err := o.Meta(); err != nil || o.Name != name {
		return o, fmt.Errorf("%s is damaged: it does not describe dataset %s: remove it and add the dataset again", path, name)
	}
	return o, nil
}

// ListOwn lists the own datasets of the data folder dir, by name; those without a name come last. Records that are
// damaged are errors beside the list of all others.
func ListOwn(dir string) (list []Own, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, data.OwnFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	named := map[string]bool{}
	for _, e := range entries {
		name, isRecord := strings.CutSuffix(e.Name(), ".json")
		if !isRecord {
			continue
		}
		o, err := ReadOwn(dir, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m, _ := o.Meta() // was read a moment ago
		named[m.Files[0].Name] = true
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Own) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		if _, isContainer := strings.CutSuffix(e.Name(), ".safetensors"); !isContainer || named[e.Name()] {
			continue
		}
		path := filepath.Join(dir, data.OwnFolder, e.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d, err := data.ReadContainer(b)
		if err != nil || d.Files[0].Name != e.Name() {
			errs = append(errs, fmt.Errorf("%s is damaged: remove it", path))
			continue
		}
		list = append(list, Own{Ref: d.Name})
	}
	return list, errors.Join(errs...)
}

// StatusOwn is [Status] for the own datasets of a data folder.
func StatusOwn(dir string) (out []DatasetStatus, err error) {
	list, err := ListOwn(dir)
	for _, o := range list {
		m, merr := o.Meta()
		if merr != nil {
			continue // ListOwn has checked it
		}
		st := DatasetStatus{Name: o.Name, Title: "own", State: Present, Digest: m.Digest(), Own: true}
		if o.Path != "" {
			st.Title = "own, from " + o.Path
		}
		if info, err := os.Stat(filepath.Join(dir, data.OwnFolder, m.Files[0].Name)); err == nil {
			st.Bytes = info.Size()
		}
		if err := Verify(dir, o.Ref); err != nil {
			st.Problem = err.Error()
			st.State = StateOf(err)
		}
		out = append(out, st)
	}
	return out, err
}

// RemoveOwn removes an own dataset, by its name or, where it has none, by 8 digits or more of its SHA-256. What else
// has its content under another name stays.
func RemoveOwn(dir, name string) error {
	list, err := ListOwn(dir)
	folder := filepath.Join(dir, data.OwnFolder)
	var found []Own
	for _, o := range list {
		m, merr := o.Meta()
		if merr == nil && (o.Name == name || o.Name == "" && len(name) >= 8 && strings.HasPrefix(m.Digest(), name)) {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		if _, known := data.Lookup(name); known {
			return fmt.Errorf("dataset %s is of the catalogue: remove the folder %s to be rid of it", name, filepath.Join(dir, name))
		}
		return errors.Join(fmt.Errorf("there is no dataset %.80q of your own: `neoteny data list` shows those there are", name), err)
	}
	m, err := found[0].Meta()
	if err != nil {
		return err
	}
	if found[0].Name != "" {
		if err := os.Remove(filepath.Join(folder, name+".json")); err != nil {
			return err
		}
	}
	for _, o := range list {
		if o.Name != found[0].Name && o.Ref == found[0].Ref {
			return nil
		}
	}
	return os.Remove(filepath.Join(folder, m.Files[0].Name))
}
