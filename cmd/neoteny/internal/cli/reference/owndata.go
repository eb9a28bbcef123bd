package reference

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/owndata"
	"neoteny/internal/dataimport"
	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

type dataAddCmd struct {
	Name       string   `arg:"" help:"Name for experiment files, of a to z, 0 to 9 and -."`
	Path       string   `arg:"" help:"NPZ, NPY, CSV, TSV, Parquet, IDX or safetensors file, or a folder of PNG or JPEG images with a folder for each class."`
	Target     string   `help:"What is to be learnt: a column of a table (several with commas between), the array of an NPZ or safetensors file, or a file beside an NPY or IDX file." placeholder:"COLUMN"`
	Test       string   `help:"Examples to hold back: a share such as 0.2, of every class alike and drawn by the content, or a file or folder with them. Default: what the file calls test; otherwise none." placeholder:"SHARE|PATH"`
	TestTarget string   `help:"Target of --test, where that is a file of its own." placeholder:"FILE"`
	Classes    bool     `help:"Take every different value of the target for a class. Default: for texts, and for whole numbers 0, 1, 2, … without a gap." xor:"kind"`
	Regression bool     `help:"Take the target for numbers to regress on. Default: for other numbers." xor:"kind"`
	Drop       []string `help:"Columns of a table to leave out." placeholder:"COLUMN,…"`
	app.DataFlag
	app.Output
}

func (dataAddCmd) Help() string {
	return `Reads the file once and keeps a copy of its content in the data folder; an experiment then takes it by name, as in stream: {kind: permuted, dataset: penguins}. It is identified by the SHA-256 of that content: the same examples are the same dataset whatever file they came in, and results do not depend on its name.

  neoteny data add penguins penguins.csv --target species --test 0.2
  neoteny data add houses houses.parquet --target price --test 0.2 --drop id,address
  neoteny data add glyphs glyphs.npz                       arrays x and y, or x_train, y_train, x_test, y_test
  neoteny data add spikes x.npy --target y.npy
  neoteny data add leaves leaves/                          leaves/oak/1.png, leaves/elm/1.png, …
  neoteny data add letters train-images.idx3-ubyte.gz --target train-labels.idx1-ubyte.gz

Features are bytes where the file has bytes (uint8, images), float32 otherwise. Cells without a value, NaN and infinities are refused, with their row and column. An experiment file can also give the file itself, as in dataset: {path: penguins.csv, target: species, test: 0.2}.`
}

func (c *dataAddCmd) Run(a *app.App) error {
	if err := datastore.CheckName(c.Name); err != nil {
		return err
	}
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	o := dataimport.Options{Target: c.Target, Test: c.Test, TestTarget: c.TestTarget, Drop: c.Drop}
	switch {
	case c.Classes:
		o.Kind = dataimport.Classes
	case c.Regression:
		o.Kind = dataimport.Regression
	}
	r, err := dataimport.Read(c.Path, o)
	if err != nil {
		return fmt.Errorf("add dataset %s: %w", c.Name, err)
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		path = c.Path
	}
	own := datastore.Own{
		Name: c.Name, Path: path, PathSHA256: r.SHA256, Format: r.Format, Split: c.Test,
		ClassNames: r.ClassNames, FeatureNames: r.FeatureNames, TargetNames: r.TargetNames,
	}
	if err := datastore.AddOwn(dir, r.Dataset, &own); err != nil {
		return fmt.Errorf("add dataset %s: %w", c.Name, err)
	}
	if c.JSON() {
		return a.PrintJSON(shownOwn(own, r.Meta))
	}
	fmt.Fprintf(a.Out, "%s: %s, SHA-256 %s\n", c.Name, owndata.Describe(r.Meta), app.Short(r.Digest()))
	if r.Classes > 0 {
		fmt.Fprintf(a.Out, "classes: %s\n", listed(r.ClassNames))
	}
	for _, n := range r.Notes {
		fmt.Fprintln(a.Out, n)
	}
	return nil
}

// listed lists names, not too many.
func listed(names []string) string {
	rest := ""
	if len(names) > 20 {
		names, rest = names[:20], fmt.Sprintf(", … (%d in all)", len(names))
	}
	return dataimport.Printable(strings.Join(names, ", ")) + rest
}

// ownJSON is an own dataset as JSON.
type ownJSON struct {
	datastore.Own
	Digest  string `json:"digest"`
	Shape   []int  `json:"shape"`
	Type    string `json:"type"`
	Classes int    `json:"classes"`
	Targets int    `json:"targets"`
	Train   int    `json:"train"`
	Test    int    `json:"test"`
}

func shownOwn(o datastore.Own, m data.Meta) ownJSON {
	kind := "bytes"
	if m.Floats {
		kind = "float32"
	}
	return ownJSON{o, m.Digest(), m.Shape, kind, m.Classes, m.Targets, m.Train, m.Test}
}

type dataShowCmd struct {
	Name string `arg:"" help:"Dataset, see neoteny data list."`
	app.DataFlag
	app.Output
}

func (dataShowCmd) Help() string {
	return "  neoteny data show penguins\n  neoteny data show mnist -o json"
}

func (c *dataShowCmd) Run(a *app.App) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	o, err := datastore.ReadOwn(dir, c.Name)
	m := data.Meta{}
	switch {
	case err == nil:
		if m, err = o.Meta(); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		var known bool
		if m, known = data.Lookup(c.Name); !known {
			return fmt.Errorf("there is no dataset %.80q: `neoteny data list` shows those there are", c.Name)
		}
		o = datastore.Own{Name: c.Name, Ref: c.Name}
	}
	if c.JSON() {
		return a.PrintJSON(shownOwn(o, m))
	}
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(a.Out, "%-11s %s\n", what, value)
		}
	}
	line("name", c.Name)
	if o.Ref == c.Name {
		line("title", m.Title)
		line("source", m.Source)
	}
	line("content", owndata.Describe(m))
	line("digest", m.Digest())
	if o.Ref != c.Name {
		line("in specs", o.Ref)
	}
	line("file", o.Path)
	line("its SHA-256", o.PathSHA256)
	line("split", o.Split)
	line("classes", listed(o.ClassNames))
	line("features", listed(o.FeatureNames))
	line("targets", listed(o.TargetNames))
	return nil
}

type dataRemoveCmd struct {
	Name []string `arg:"" help:"Datasets of your own; one without a name by the first 8 digits or more of its digest."`
	app.DataFlag
	app.Output
}

func (dataRemoveCmd) Help() string {
	return `The file that a dataset was made of stays where it is.

  neoteny data remove penguins
  neoteny data remove 3f9c21ab`
}

func (c *dataRemoveCmd) Run(a *app.App) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	var errs []error
	removed := []string{}
	for _, name := range c.Name {
		if err := datastore.RemoveOwn(dir, name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, name)
		if !c.JSON() {
			fmt.Fprintf(a.Out, "%s: removed\n", name)
		}
	}
	if c.JSON() {
		errs = append(errs, a.PrintJSON(map[string]any{"removed": removed}))
	}
	return errors.Join(errs...)
}
