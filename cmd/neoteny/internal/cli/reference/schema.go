package reference

import (
	"fmt"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/pkg/experiment/schema"
)

func init() {
	app.Register(app.Command{
		Name: "schema", Help: "Print the JSON Schema of experiment files, for editors.", Group: app.Reference, Place: 3,
		New: func() any { return &schemaCmd{} },
	})
}

type schemaCmd struct {
	Markdown bool `help:"Print the reference for people, docs/experiment.md."`
}

func (schemaCmd) Help() string {
	return `Every field of an experiment file, and every component that this program has with its parameters. Editors complete and check experiment files with it; for the YAML language server, begin a file with

  # yaml-language-server: $schema=neoteny.schema.json

  neoteny schema > neoteny.schema.json
  neoteny schema --markdown | less`
}

func (c *schemaCmd) Run(a *app.App) error {
	if c.Markdown {
		_, err := fmt.Fprint(a.Out, schema.Markdown())
		return err
	}
	b, err := schema.JSON()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", b)
	return err
}
