package cli

import (
	"fmt"
	"neoteny/pkg/engine"
	"runtime"
)

func init() {
	Register(Command{
		Name: "version", Help: "Show the version.", Group: Reference, Place: 3,
		New: func() any { return &versionCmd{} },
	})
}

type versionCmd struct {
	output
}

func (versionCmd) Help() string {
	return `Shows the program's version, the numerics version (results of equal numerics versions are equal to the bit; workers only take work of their own), and what it was built with.

  neoteny version
  neoteny version -o json`
}

func (c *versionCmd) Run(a *app) error {
	v := struct {
		Version         string `json:"version"`
		Revision        string `json:"revision,omitempty"`
		NumericsVersion int    `json:"numerics_version"`
		ISA             string `json:"isa"`
		Go              string `json:"go"`
		Platform        string `json:"platform"`
	}{programVersion(), revision(), engine.NumericsVersion, isa(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c.json() {
		return a.printJSON(v)
	}
	fmt.Fprintf(a.Out, "neoteny %s\n", v.Version)
	if v.Revision != "" {
		fmt.Fprintf(a.Out, "revision %s\n", v.Revision)
	}
	fmt.Fprintf(a.Out, "numerics %d\nisa %s\n%s %s\n", v.NumericsVersion, v.ISA, v.Go, v.Platform)
	return nil
}
