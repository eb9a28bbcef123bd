package reproduction

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/recipes"
)

// recipesFlag is where recipes are.
type recipesFlag struct {
	Recipes string `help:"Folder of recipes. Default: ./recipes where it holds a papers.tsv, else the recipes that the program was built with." placeholder:"DIR" type:"path"`
}

func (f recipesFlag) catalogue() (*recipes.Catalogue, error) {
	if f.Recipes != "" {
		return recipes.Open(f.Recipes)
	}
	if _, err := os.Stat("recipes/papers.tsv"); errors.Is(err, fs.ErrNotExist) {
		return recipes.BuiltIn()
	}
	return recipes.Open("recipes")
}

func init() {
	app.Register(app.Command{
		Name: "papers", Help: "List the papers, their recipes and verdicts.", Group: app.Everyday, Place: 4,
		New: func() any { return &papersCmd{} },
	})
}

type papersCmd struct {
	PaperID  string `arg:"" optional:"" name:"paper-id" help:"Show this paper, with its recipes and their committed results."`
	Tier     int    `help:"Only papers of this tier." placeholder:"N"`
	Markdown bool   `help:"Write docs/papers.md: every paper with a recipe, its claims, what was measured, and what it cost."`
	recipesFlag
	app.Output
}

func (papersCmd) Help() string {
	return `The catalogue of papers whose claims neoteny checks or is to check: by tier, with the verdicts of the committed results.

  neoteny papers
  neoteny papers --tier 1
  neoteny papers continual-backprop
  neoteny papers --markdown > docs/papers.md
  neoteny papers -o json | jq '.[] | select(.recipes != []) | .id'`
}

// paperRow is a paper with how its claims stand.
type paperRow struct {
	recipes.Paper
	Verdict string `json:"verdict,omitempty"` // of the committed results
}

func (c *papersCmd) Run(a *app.App) error {
	cat, err := c.catalogue()
	if err != nil {
		return err
	}
	switch {
	case c.PaperID != "":
		return c.one(a, cat)
	case c.Markdown:
		return writePapers(a.Out, cat)
	}
	rows := []paperRow{}
	for _, p := range cat.Papers() {
		if c.Tier != 0 && p.Tier != c.Tier {
			continue
		}
		s, err := standingOf(cat, p)
		if err != nil {
			return err
		}
		rows = append(rows, paperRow{p, s.String()})
	}
	if c.JSON() {
		return a.PrintJSON(rows)
	}
	t := render.Table{Columns: []render.Column{{Title: "ID"}, {Title: "TIER", Align: render.Right}, {Title: "FAMILY"}, {Title: "RECIPES", Align: render.Right}, {Title: "VERDICT"}, {Title: "TITLE"}}}
	for _, r := range rows {
		n := "-"
		if len(r.Recipes) > 0 {
			n = fmt.Sprint(len(r.Recipes))
		}
		t.Add(r.ID, fmt.Sprint(r.Tier), r.Family, n, r.Verdict, r.Title)
	}
	return t.Write(a.Out)
}

func (c *papersCmd) one(a *app.App, cat *recipes.Catalogue) error {
	p, err := cat.Paper(c.PaperID)
	if err != nil {
		return err
	}
	s, err := standingOf(cat, p)
	if err != nil {
		return err
	}
	if c.JSON() {
		return a.PrintJSON(struct {
			paperRow
			Results []*recipes.Result `json:"results"`
		}{paperRow{p, s.String()}, s.current()})
	}
	fmt.Fprintf(a.Out, "%s: %s\n%s, %s, tier %d\n\n%s\n", p.ID, p.Title, p.Family, p.Kind, p.Tier, p.Claim)
	if len(p.Recipes) == 0 {
		_, err := fmt.Fprintf(a.Out, "\nno recipe yet\n")
		return err
	}
	for _, r := range s.recipes {
		fmt.Fprintf(a.Out, "\n%s\n", cat.Path(p.ID, r.File))
		for _, l := range r.Head {
			fmt.Fprintf(a.Out, "  %s: %s\n", l.Label, l.Text)
		}
	}
	for _, st := range s.counting() {
		fmt.Fprintln(a.Out)
		if err := writeVerdicts(a.Out, &attempt{paper: p, recipe: st.recipe, result: st.result}); err != nil {
			return err
		}
	}
	if len(s.counting()) == 0 {
		fmt.Fprintf(a.Out, "\nno committed results\n")
	}
	return nil
}
