package reproduction

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	"neoteny/recipes"
)

// standing is how the claims of a recipe in one form stand by the committed
// results, which may be older than the recipe.
type standing struct {
	recipe  *recipes.Recipe
	variant experiment.Variant
	// result is what is committed, with the claims and words of the recipe as it
	// is now; a claim that was not judged has no verdict. It is nil where there
	// is nothing, or only what the recipe does no longer.
	result   *recipes.Result
	outdated bool // there is something that the recipe does no longer
}

// paperStanding is how the claims of all recipes of a paper stand.
type paperStanding struct {
	recipes  []*recipes.Recipe
	standing []standing // of every recipe and form
}

// standingOf reads a paper's recipes and results.
func standingOf(cat *recipes.Catalogue, p recipes.Paper) (*paperStanding, error) {
	s := &paperStanding{}
	all, err := cat.Results(p.ID)
	if err != nil {
		return nil, err
	}
	for _, file := range p.Recipes {
		r, err := cat.Recipe(p.ID, file)
		if err != nil {
			return nil, err
		}
		s.recipes = append(s.recipes, r)
		for _, form := range r.Forms() {
			v, err := r.Variant(form)
			if err != nil {
				return nil, err
			}
			st := standing{recipe: r, variant: v}
			if res := all.Find(file, form); res != nil && res.Work == recipes.Work(v.Spec) {
				st.result = current(res, v)
			} else {
				st.outdated = res != nil
			}
			s.standing = append(s.standing, st)
		}
	}
	return s, nil
}

// current is a result with the claims and words of the recipe as it is now.
func current(r *recipes.Result, v experiment.Variant) *recipes.Result {
	out := *r
	out.Claims, out.Untested = nil, v.Untested
	for i, c := range v.Spec.GetClaims() {
		holds := report.BoundText(c.GetHolds())
		at := slices.IndexFunc(r.Claims, func(old recipes.Claim) bool {
			return old.Name == c.GetName() && old.Value == c.GetValue() && old.Holds == holds
		})
		nan := report.Number(math.NaN())
		now := recipes.ClaimOf(report.Claim{Name: c.GetName(), Value: c.GetValue(), Bound: holds, Interval: report.Interval{Mean: nan, Low: nan, High: nan}}, "")
		if at >= 0 {
			now = r.Claims[at]
		}
		now.Paper, now.Note = c.GetPaper(), v.Notes[i]
		out.Claims = append(out.Claims, now)
	}
	return &out
}

// counting are the results that a paper is judged by: of a recipe's forms the
// default one, else the full one, else the quick one.
func (s *paperStanding) counting() []standing {
	var out []standing
	for _, r := range s.recipes {
		for _, form := range []experiment.Form{experiment.Default, experiment.Full, experiment.Quick} {
			i := slices.IndexFunc(s.standing, func(st standing) bool {
				return st.recipe == r && st.variant.Form == form && st.result != nil
			})
			if i >= 0 {
				out = append(out, s.standing[i])
				break
			}
		}
	}
	return out
}

// current lists the results of all recipes and forms that are not outdated.
func (s *paperStanding) current() []*recipes.Result {
	out := []*recipes.Result{}
	for _, st := range s.standing {
		if st.result != nil {
			out = append(out, st.result)
		}
	}
	return out
}

// tally counts the verdicts of what counts, and names the forms it is of.
func (s *paperStanding) tally() (t tally, forms string) {
	var names []string
	for _, st := range s.counting() {
		t.add(st.result)
		if f := string(st.variant.Form); !slices.Contains(names, f) {
			names = append(names, f)
		}
	}
	return t, strings.Join(names, ", ")
}

// String sums the verdicts up: "3 of 4 claims held, 1 undecided (quick)".
func (s *paperStanding) String() string {
	n := len(s.counting())
	switch {
	case len(s.recipes) == 0:
		return ""
	case n == 0:
		return "not run"
	}
	t, forms := s.tally()
	out := t.String() + " (" + forms + ")"
	if n < len(s.recipes) {
		out += fmt.Sprintf(", %d of %d recipes not run", len(s.recipes)-n, len(s.recipes))
	}
	return out
}
