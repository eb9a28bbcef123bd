package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/pkg/experiment"
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

type papersCmd struct {
	PaperID string `arg:"" optional:"" name:"paper-id" help:"Show this paper, with its recipes and their committed results."`
	Tier    int    `help:"Only papers of this tier." placeholder:"N"`
	recipesFlag
	output
}

func (papersCmd) Help() string {
	return `The catalogue of papers whose claims neoteny checks or is to check: by tier, with the verdicts of the committed results.

  neoteny papers
  neoteny papers --tier 1
  neoteny papers continual-backprop
  neoteny papers -o json | jq '.[] | select(.recipes != []) | .id'`
}

// paperRow is a paper with how its claims stand.
type paperRow struct {
	recipes.Paper
	Verdict string `json:"verdict,omitempty"` // of the committed results
}

func (c *papersCmd) Run(a *app) error {
	cat, err := c.catalogue()
	if err != nil {
		return err
	}
	if c.PaperID != "" {
		return c.one(a, cat)
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
	if c.json() {
		return a.printJSON(rows)
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

func (c *papersCmd) one(a *app, cat *recipes.Catalogue) error {
	p, err := cat.Paper(c.PaperID)
	if err != nil {
		return err
	}
	s, err := standingOf(cat, p)
	if err != nil {
		return err
	}
	if c.json() {
		return a.printJSON(struct {
			paperRow
			Results []recipes.Result `json:"results"`
		}{paperRow{p, s.String()}, s.results.Results})
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
	for _, st := range s.standing {
		fmt.Fprintln(a.Out)
		if err := writeVerdicts(a.Out, p, st.recipe, st.result); err != nil {
			return err
		}
	}
	if len(s.standing) == 0 {
		fmt.Fprintf(a.Out, "\nno committed results\n")
	}
	return nil
}

// paperStanding is how the claims of a paper's recipes stand by the committed
// results.
type paperStanding struct {
	recipes  []*recipes.Recipe
	results  *recipes.Results
	standing []standing // of recipes that have a result
}

// standing is the result that a recipe is judged by.
type standing struct {
	recipe *recipes.Recipe
	result *recipes.Result
}

// judging lists the forms in the order in which they count.
var judging = []experiment.Form{experiment.Default, experiment.Full, experiment.Quick}

// standingOf reads a paper's recipes and results. Of a recipe's forms the
// default one counts, else the full one, else the quick one.
func standingOf(cat *recipes.Catalogue, p recipes.Paper) (*paperStanding, error) {
	s := &paperStanding{}
	var err error
	if s.results, err = cat.Results(p.ID); err != nil {
		return nil, err
	}
	for _, file := range p.Recipes {
		r, err := cat.Recipe(p.ID, file)
		if err != nil {
			return nil, err
		}
		s.recipes = append(s.recipes, r)
		for _, form := range judging {
			if res := s.results.Find(file, form); res != nil {
				s.standing = append(s.standing, standing{r, res})
				break
			}
		}
	}
	return s, nil
}

// String sums the verdicts up: "3 of 4 claims held, 1 undecided (quick)".
func (s *paperStanding) String() string {
	if len(s.standing) == 0 {
		return ""
	}
	var t tally
	var forms []string
	for _, st := range s.standing {
		t.add(st.result)
		if f := string(st.result.Form); len(forms) == 0 || forms[len(forms)-1] != f {
			forms = append(forms, f)
		}
	}
	out := t.String() + " (" + strings.Join(forms, ", ") + ")"
	if n := len(s.recipes) - len(s.standing); n > 0 {
		out += fmt.Sprintf(", %d of %d recipes not run", n, len(s.recipes))
	}
	return out
}
