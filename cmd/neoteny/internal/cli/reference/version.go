package reference

import (
	"fmt"
	"runtime"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/build"
	"neoteny/pkg/engine"
)

func init() {
	app.Register(app.Command{
		Name: "version", Help: "Show the version.", Group: app.Reference, Place: 5,
		New: func() any { return &versionCmd{} },
	})
}

type versionCmd struct {
	app.Output
}

func (versionCmd) Help() string {
	return `Shows the program's version, the numerics version (results of equal numerics versions are equal to the bit; workers only take work of their own), and what it was built with.

  neoteny version
  neoteny version -o json`
}

func (c *versionCmd) Run(a *app.App) error {
	v := struct {
		Version         string `json:"version"`
		Revision        string `json:"revision,omitempty"`
		NumericsVersion int    `json:"numerics_version"`
		ISA             string `json:"isa"`
		Go              string `json:"go"`
		Platform        string `json:"platform"`
	}{build.Version(), build.Revision(), engine.NumericsVersion, build.ISA(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c.JSON() {
		return a.PrintJSON(v)
	}
	fmt.Fprintf(a.Out, "neoteny %s\n", v.Version)
	if v.Revision != "" {
		fmt.Fprintf(a.Out, "revision %s\n", v.Revision)
	}
	fmt.Fprintf(a.Out, "numerics %d\nisa %s\n%s %s\n", v.NumericsVersion, v.ISA, v.Go, v.Platform)
	return nil
}
