package reference

import (
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
	List   dataListCmd   `cmd:"" help:"List the known datasets and whether they are there."`
	Import dataImportCmd `cmd:"" help:"Put a dataset into the data folder."`
	Verify dataVerifyCmd `cmd:"" help:"Compare datasets with their published SHA-256."`
}

func (dataCmd) Help() string {
	return `Datasets are known by the SHA-256 of their files.

  neoteny data list
  neoteny data import mnist
  neoteny data import fashion-mnist --from ~/downloads/fashion
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
	if c.JSON() {
		type row struct {
			Name    string          `json:"name"`
			Title   string          `json:"title"`
			State   datastore.State `json:"state"`
			Bytes   int64           `json:"bytes"`
			Digest  string          `json:"digest"`
			Problem string          `json:"problem,omitempty"`
		}
		out := struct {
			Folder   string `json:"folder"`
			Datasets []row  `json:"datasets"`
		}{dir, []row{}}
		for _, d := range all {
			out.Datasets = append(out.Datasets, row{d.Name, d.Title, d.State, d.Bytes, d.Digest, d.Problem})
		}
		return a.PrintJSON(out)
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
	return nil
}

type dataImportCmd struct {
	Name []string `arg:"" help:"Datasets, see neoteny data list."`
	From string   `help:"Folder, file, http(s) address of a folder, or mirrors: where the dataset is published. Default: the Go module or system folder that it is known to be in." placeholder:"PLACE"`
	app.DataFlag
}

func (dataImportCmd) Help() string {
	return `Files may be compressed or not; only files with the published content are taken.

  neoteny data import mnist
  neoteny data import fashion-mnist --from /usr/share/datasets/fashion-mnist
  neoteny data import mnist --from https://example.com/mnist/
  neoteny data import mnist fashion-mnist --from mirrors --data /srv/neoteny/data`
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
	}
	var errs []error
	for _, name := range names {
		err := datastore.Verify(dir, name)
		switch {
		case err == nil:
			fmt.Fprintf(a.Out, "%s: intact\n", name)
		case all && errors.As(err, new(*data.MissingError)):
			fmt.Fprintf(a.Out, "%s: not there\n", name)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
