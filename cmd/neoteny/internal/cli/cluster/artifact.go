package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	pb "neoteny/proto/neoteny/v1"
)

func init() {
	app.Register(app.Command{
		Name: "artifact", Help: "List and get what runs have published: weights, rankings, ….", Group: app.Cluster, Place: 8,
		New: func() any { return &artifactCmd{} },
	})
}

type artifactCmd struct {
	List artifactListCmd `cmd:"" help:"List the artifacts of an experiment's runs, or of one run."`
	Get  artifactGetCmd  `cmd:"" help:"Copy an artifact of a run into a file."`
}

type artifactListCmd struct {
	ID string `arg:"" help:"Experiment id, or run id (EXPERIMENT/TRIAL/SEED)."`
	app.CoordinatorFlag
	app.Output
}

func (artifactListCmd) Help() string {
	return `Runs publish what others start from, and with --weights of submit (or publish: [weights] in the file) the weights of their network in the end.

  neoteny artifact list quickstart-1f3a
  neoteny artifact list quickstart-1f3a/backprop/0 -o json`
}

// artifactLine is an artifact of a run.
type artifactLine struct {
	Run    string `json:"run"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (c *artifactListCmd) Run(ctx context.Context, a *app.App) error {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	experiment, _, one := strings.Cut(c.ID, "/")
	runs, err := results.ListRuns(ctx, api, &pb.ListRunsRequest{Experiment: experiment})
	if err != nil {
		return err
	}
	lines, known := []artifactLine{}, false
	for _, run := range runs {
		if one && run.GetId() != c.ID {
			continue
		}
		known = true
		for _, name := range results.ArtifactNames(run) {
			ref := run.GetArtifacts()[name]
			lines = append(lines, artifactLine{run.GetId(), name, ref.GetBytes(), ref.GetSha256()})
		}
	}
	if one && !known {
		return fmt.Errorf("experiment %s has no run %s; `neoteny get %s` lists them", experiment, c.ID, experiment)
	}
	if c.JSON() {
		return a.PrintJSON(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.Out, "no artifacts: runs publish what others start from, and their weights with submit --weights")
		return nil
	}
	t := &render.Table{Columns: []render.Column{{Title: "RUN"}, {Title: "ARTIFACT"}, {Title: "SIZE", Align: render.Right}, {Title: "SHA-256"}}}
	for _, l := range lines {
		t.Add(l.Run, l.Name, render.Bytes(l.Bytes), app.Short(l.SHA256))
	}
	return t.Write(a.Out)
}

type artifactGetCmd struct {
	ID   string `arg:"" help:"Run id (EXPERIMENT/TRIAL/SEED)."`
	Name string `arg:"" help:"Name of the artifact, as artifact list shows it."`
	Out  string `short:"o" help:"File to write; - for standard output. Default: NAME, for weights NAME.safetensors." placeholder:"FILE"`
	app.CoordinatorFlag
}

func (artifactGetCmd) Help() string {
	return `The file appears when it is complete.

  neoteny artifact get quickstart-1f3a/backprop/0 weights -o backprop.safetensors
  neoteny artifact get quickstart-1f3a/backprop/0 weights -o - | sha256sum`
}

func (c *artifactGetCmd) Run(ctx context.Context, a *app.App) (err error) {
	api, conn, err := c.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Out == "-" {
		return results.WriteArtifact(ctx, a.Out, api, c.ID, c.Name)
	}
	path := c.Out
	if path == "" {
		if path = c.Name; c.Name == "weights" {
			path += ".safetensors"
		}
	}
	if path != filepath.Clean(path) && c.Out == "" || strings.ContainsAny(c.Name, `/\\`) && c.Out == "" {
		return app.Usagef("%q is no name for a file: say where with --out", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	counted := &counter{w: f}
	err = errors.Join(results.WriteArtifact(ctx, counted, api, c.ID, c.Name), f.Chmod(0o644), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s: %s\n", path, render.Bytes(counted.n))
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
