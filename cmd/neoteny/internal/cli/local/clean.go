package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/services/metrics"
)

func init() {
	app.Register(app.Command{
		Name: "clean", Help: "List and remove what interrupted runs have left behind.", Group: app.Everyday, Place: 5,
		New: func() any { return &cleanCmd{} },
	})
}

type cleanCmd struct {
	Dir  []string `arg:"" optional:"" help:"Folders to look in, or state folders. Default: results and .neoteny." type:"path"`
	Yes  bool     `help:"Remove what is listed."`
	Kept bool     `help:"Also state folders that were kept on purpose, by --keep or --state-dir."`
	app.Output
}

func (cleanCmd) Help() string {
	return `A run that was interrupted leaves its state, to go on from, in a hidden folder beside its results; one that was killed may leave results that are half written, too. This lists them, with --yes it removes them. What a running process uses is left alone, as are results.

  neoteny clean
  neoteny clean --yes
  neoteny clean results/.state-quickstart-1234 --yes
  neoteny clean --kept --yes`
}

// leftover is what a run has left behind.
type leftover struct {
	Path  string    `json:"path"`
	What  string    `json:"what"`
	Bytes int64     `json:"bytes"`
	Last  time.Time `json:"last_change"`
	InUse bool      `json:"in_use"`
	Gone  bool      `json:"removed"`
}

// settled is how long what cannot be locked must not have changed to be a leftover.
const settled = 10 * time.Minute

var scratch = regexp.MustCompile(`^\.(verify|writable|probe)-`)

func (c *cleanCmd) Run(ctx context.Context, a *app.App) error {
	dirs := c.Dir
	if len(dirs) == 0 {
		dirs = []string{"results", ".neoteny"}
	}
	var found []*leftover
	for _, dir := range dirs {
		some, err := c.look(dir)
		if errors.Is(err, fs.ErrNotExist) && len(c.Dir) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		found = append(found, some...)
	}
	if c.Yes {
		for _, l := range found {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if l.InUse {
				continue
			}
			if err := os.RemoveAll(l.Path); err != nil {
				return err
			}
			l.Gone = true
		}
	}
	return c.print(a, found)
}

// look finds leftovers in a folder, or the folder itself where it is a state.
func (c *cleanCmd) look(dir string) ([]*leftover, error) {
	if isState(dir) {
		l, err := measure(dir, "state")
		return []*leftover{l}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []*leftover
	for _, e := range entries {
		path, what := filepath.Join(dir, e.Name()), ""
		switch name := e.Name(); {
		case strings.HasPrefix(name, ".state-") && e.IsDir():
			what = "state of an interrupted run"
		case e.IsDir() && results.HalfWritten(dir, name):
			what = "half-written results"
		case scratch.MatchString(name):
			what = "scratch"
		case c.Kept && e.IsDir() && isState(path):
			what = "state that was kept"
		default:
			continue
		}
		l, err := measure(path, what)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// isState reports whether a folder is the state of a cluster in one process.
func isState(dir string) bool {
	for _, part := range []string{"etcd", "metrics"} {
		if info, err := os.Stat(filepath.Join(dir, part)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// measure looks how large and how old a leftover is, and whether it is in use.
func measure(path, what string) (*leftover, error) {
	l := &leftover{Path: path, What: what}
	var err error
	if l.Bytes, l.Last, err = sizeOf(path); err != nil {
		return nil, err
	}
	if isState(path) {
		l.InUse, err = metrics.InUse(filepath.Join(path, "metrics"))
		return l, err
	}
	l.InUse = time.Since(l.Last) < settled // by all that can be known
	return l, nil
}

// sizeOf is how many bytes the files of a folder have, and when one changed last.
func sizeOf(path string) (bytes int64, last time.Time, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		if info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes, last, err
}

func (c *cleanCmd) print(a *app.App, found []*leftover) error {
	if c.JSON() {
		if found == nil {
			found = []*leftover{}
		}
		return a.PrintJSON(map[string]any{"leftovers": found})
	}
	if len(found) == 0 {
		fmt.Fprintln(a.Progress, "nothing is left behind")
		return nil
	}
	t := &render.Table{Columns: []render.Column{{Title: "PATH"}, {Title: "WHAT"}, {Title: "SIZE", Align: render.Right}, {Title: "LAST CHANGE"}, {Title: ""}}}
	var free int64
	n := 0
	for _, l := range found {
		note := ""
		switch {
		case l.InUse:
			note = "in use, or changed a moment ago"
		case l.Gone:
			note = "removed"
		}
		if !l.InUse {
			n++
			free += l.Bytes
		}
		t.Add(l.Path, l.What, render.Bytes(l.Bytes), l.Last.Format("2006-01-02 15:04"), note)
	}
	if err := t.Write(a.Out); err != nil {
		return err
	}
	if !c.Yes && n > 0 {
		fmt.Fprintf(a.Progress, "the same command with --yes removes %d of them, %s\n", n, render.Bytes(free))
	}
	return nil
}
