package reference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/internal/datastore"
	"neoteny/pkg/engine/data"
)

func init() {
	app.Register(app.Command{
		Name: "data", Help: "List, import and verify datasets.", Group: app.Reference, Place: 2,
		New: func() any { return &dataCmd{} },
	})
}

type dataCmd struct {
	List   dataListCmd   `cmd:"" help:"List the known datasets and your own, and whether they are there."`
	Show   dataShowCmd   `cmd:"" help:"Show what is known of a dataset."`
	Add    dataAddCmd    `cmd:"" help:"Add a dataset of your own from a file or folder."`
	Remove dataRemoveCmd `cmd:"" help:"Remove datasets of your own."`
	Import dataImportCmd `cmd:"" help:"Put a dataset of the catalogue into the data folder."`
	Verify dataVerifyCmd `cmd:"" help:"Compare datasets with their published SHA-256."`
}

func (dataCmd) Help() string {
	return `Datasets of the catalogue are known by the SHA-256 of their files, your own by that of their content.

  neoteny data list
  neoteny data import mnist
  neoteny data import fashion-mnist --from ~/downloads/fashion
  neoteny data add penguins penguins.csv --target species --test 0.2
  neoteny data show penguins
  neoteny data verify`
}

type dataListCmd struct {
	app.DataFlag
	app.Output
}

func (dataListCmd) Help() string {
	return "Reads and compares every file.\n\n  neoteny data list\n  neoteny data list -o json"
}

func (c *dataListCmd) Run(a *app.App) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	all := datastore.Status(dir)
	own, ownErr := datastore.StatusOwn(dir)
	all = append(all, own...)
	if c.JSON() {
		type row struct {
			Name    string          `json:"name"`
			Title   string          `json:"title"`
			State   datastore.State `json:"state"`
			Bytes   int64           `json:"bytes"`
			Digest  string          `json:"digest"`
			Own     bool            `json:"own"`
			Problem string          `json:"problem,omitempty"`
		}
		out := struct {
			Folder   string `json:"folder"`
			Datasets []row  `json:"datasets"`
		}{dir, []row{}}
		for _, d := range all {
			out.Datasets = append(out.Datasets, row{d.Name, d.Title, d.State, d.Bytes, d.Digest, d.Own, d.Problem})
		}
		return errors.Join(a.PrintJSON(out), ownErr)
	}
	t := render.Table{Columns: []render.Column{{Title: "NAME"}, {Title: "STATE"}, {Title: "SIZE", Align: render.Right}, {Title: "DIGEST"}, {Title: "TITLE"}}}
	for _, d := range all {
		t.Add(d.Name, string(d.State), render.Bytes(d.Bytes), app.Short(d.Digest), d.Title)
	}
	if err := t.Write(a.Out); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "in %s\n", dir)
	for _, d := range all {
		if d.Problem != "" {
			fmt.Fprintln(a.Out, d.Problem)
		}
	}
	return ownErr
}

type dataImportCmd struct {
	Name []string `arg:"" help:"Datasets, see neoteny data list."`
	From string   `help:"Folder, file, http(s) address of a folder, or mirrors: where the dataset is published. Default: the Go module or system folder that it is known to be in." placeholder:"PLACE"`
	app.DataFlag
}

func (dataImportCmd) Help() string {
	return `Files may be compressed or not; only files with the published content are taken. Digits, iris, wine, breast-cancer and diabetes are made of the tables of scikit-learn, sunspots and co2 of those of statsmodels: Debian's python3-sklearn and python3-statsmodels have them, or give the folder of those of another installation.

  neoteny data import mnist
  neoteny data import fashion-mnist --from /usr/share/datasets/fashion-mnist
  neoteny data import mnist --from https://example.com/mnist/
  neoteny data import mnist fashion-mnist --from mirrors --data /srv/neoteny/data
  neoteny data import digits --from ~/.venv/lib/python3.12/site-packages/sklearn/datasets/data`
}

func (c *dataImportCmd) Run(ctx context.Context, a *app.App) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range c.Name {
		err := datastore.Import(ctx, name, c.From, dir, a.Logger(slog.LevelInfo))
		if err == nil {
			err = datastore.Verify(dir, name) // a single file may have been imported, others still be missing
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(a.Out, "%s: present in %s\n", name, dir)
	}
	return errors.Join(errs...)
}

type dataVerifyCmd struct {
	Name []string `arg:"" optional:"" help:"Datasets; default: all that are there."`
	app.DataFlag
	app.Output
}

func (dataVerifyCmd) Help() string {
	return `Ends with 1 where a dataset that was named is missing, or one is not what was published.

  neoteny data verify
  neoteny data verify mnist --data /mnt/data`
}

func (c *dataVerifyCmd) Run(a *app.App) error {
	dir, err := c.Folder()
	if err != nil {
		return err
	}
	names, all := c.Name, len(c.Name) == 0
	if all {
		for _, m := range data.Catalogue() {
			names = append(names, m.Name)
		}
		own, err := datastore.ListOwn(dir)
		if err != nil {
			return err
		}
		for _, o := range own {
			names = append(names, cmp.Or(o.Name, o.Ref))
		}
	}
	type row struct {
		Name    string `json:"name"`
		State   string `json:"state"`
		Problem string `json:"problem,omitempty"`
	}
	var errs []error
	rows := []row{}
	say := func(name, state, words string, err error) {
		r := row{Name: name, State: state}
		if err != nil {
			r.Problem = err.Error()
		}
		rows = append(rows, r)
		if words != "" && !c.JSON() {
			fmt.Fprintf(a.Out, "%s: %s\n", name, words)
		}
	}
	for _, name := range names {
		what := name
		if o, err := datastore.ReadOwn(dir, name); err == nil {
			what = o.Ref
		}
		err := datastore.Verify(dir, what)
		switch {
		case err == nil:
			say(name, string(datastore.Present), "intact", nil)
		case all && errors.As(err, new(*data.MissingError)):
			say(name, string(datastore.Missing), "not there", nil)
		default:
			say(name, string(datastore.StateOf(err)), "", err)
			errs = append(errs, err)
		}
	}
	if c.JSON() {
		errs = append(errs, a.PrintJSON(map[string]any{"folder": dir, "datasets": rows}))
	}
	return errors.Join(errs...)
}
