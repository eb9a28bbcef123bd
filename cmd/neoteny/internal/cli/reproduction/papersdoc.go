package reproduction

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	"neoteny/recipes"
)

const papersIntro = `# Papers and their claims

<!-- Made from recipes/ by ` + "`make papers`" + `. Do not edit. -->

What neoteny finds when it checks the claims of papers. A claim is a number per seed and a
bound: it *held* when the 95 % interval of the mean over seeds lies inside the bound, it *did
not hold* when the interval lies outside, else it is *undecided*. What a recipe cannot test
is listed with the reason. Every recipe has three forms: quick (does it run, does the
direction show), default (up to thirty minutes on two cores; the verdict), and full (the
published protocol). To check a paper yourself:

` + "```sh" + `
neoteny reproduce continual-backprop --quick
` + "```" + `

Equal numerics versions give equal bits, so the figures below come out the same on any machine.
` + "`neoteny papers`" + ` lists all papers, those without a recipe too.

`

// writePapers writes docs/papers.md. What a paper and a recipe say stands on
// lines of their own, so that changes of two people meet rarely.
func writePapers(w io.Writer, cat *recipes.Catalogue) error {
	var overview, sections bytes.Buffer
	fmt.Fprintf(&overview, "| Paper | Tier | Recipes | Held | Did not hold | Undecided | Not tested | Form |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range cat.Papers() {
		if p.Tier != 1 && len(p.Recipes) == 0 {
			continue
		}
		s, err := standingOf(cat, p)
		if err != nil {
			return err
		}
		t, forms := s.tally()
		name, recipesCell := cell(p.Title), "none yet"
		if len(p.Recipes) > 0 {
			name = "[" + name + "](#" + p.ID + ")"
			recipesCell = strconv.Itoa(len(p.Recipes))
			if forms == "" {
				forms = "not run"
			}
		}
		fmt.Fprintf(&overview, "| %s | %d | %s | %s | %s | %s | %s | %s |\n", name, p.Tier, recipesCell, some(t.held), some(t.not), some(t.undecided+t.open), some(t.untested), forms)
		if len(p.Recipes) > 0 {
			if err := writePaper(&sections, p, s); err != nil {
				return fmt.Errorf("%s: %w", p.ID, err)
			}
		}
	}
	_, err := io.WriteString(w, papersIntro+overview.String()+sections.String())
	return err
}

// some leaves zeros out of tables.
func some(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func writePaper(b *bytes.Buffer, p recipes.Paper, s *paperStanding) error {
	fmt.Fprintf(b, "\n## %s\n\n**%s** (%s, tier %d). %s\n", p.ID, p.Title, p.Family, p.Tier, p.Claim)
	for _, r := range s.recipes {
		fmt.Fprintf(b, "\n### [%s](../recipes/%s/%s)\n\n", r.Name(), p.ID, r.File)
		for _, l := range r.Head {
			fmt.Fprintf(b, "- %s: %s\n", l.Label, l.Text)
		}
		var of []standing
		for _, st := range s.standing {
			if st.recipe == r {
				of = append(of, st)
			}
		}
		writeClaims(b, of)
		writeNotes(b, of)
		if err := writeCosts(b, of); err != nil {
			return err
		}
	}
	return nil
}

// writeClaims writes a row for every claim in every form that was run, the
// forms of a claim below each other; a claim that was run in none has a row too.
func writeClaims(b *bytes.Buffer, of []standing) {
	var names []string
	seen := map[string]bool{}
	for _, form := range []experiment.Form{experiment.Default, experiment.Quick, experiment.Full} {
		for _, st := range of {
			for _, c := range st.variant.Spec.GetClaims() {
				if st.variant.Form == form && !seen[c.GetName()] {
					seen[c.GetName()] = true
					names = append(names, c.GetName())
				}
			}
		}
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(b, "\n| Claim | The paper says | Form | Measured | Holds if | n | Verdict |\n|---|---|---|---|---|---|---|\n")
	for _, name := range names {
		any := false
		for _, st := range of {
			if st.result == nil {
				continue
			}
			for _, c := range st.result.Claims {
				if c.Name == name {
					any = true
					fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %d | %s |\n", cell(name), cell(c.Paper), st.variant.Form, render.Interval(float64(c.Mean), float64(c.Low), float64(c.High)), cell(c.Holds), c.N, verdictCell(c))
				}
			}
		}
		if !any {
			writeNotRun(b, name, of)
		}
	}
}

func writeNotRun(b *bytes.Buffer, name string, of []standing) {
	for _, form := range []experiment.Form{experiment.Default, experiment.Quick, experiment.Full} {
		for _, st := range of {
			for _, c := range st.variant.Spec.GetClaims() {
				if st.variant.Form == form && c.GetName() == name {
					fmt.Fprintf(b, "| %s | %s | %s | | %s | | not run |\n", cell(name), cell(c.GetPaper()), form, cell(report.BoundText(c.GetHolds())))
					return
				}
			}
		}
	}
}

func verdictCell(c recipes.Claim) string {
	switch c.Verdict {
	case "":
		return "not judged"
	case report.Held:
		return "held"
	}
	return "**" + results.VerdictName(c.Verdict) + "**"
}

// writeNotes writes what is to be known about verdicts, and what is not tested.
func writeNotes(b *bytes.Buffer, of []standing) {
	var lines []string
	add := func(line string) {
		for _, l := range lines {
			if l == line {
				return
			}
		}
		lines = append(lines, line)
	}
	for _, st := range of {
		if st.result == nil {
			continue
		}
		for _, c := range st.result.Claims {
			if c.Note != "" && c.Verdict != report.Held && c.Verdict != "" {
				add(fmt.Sprintf("- %s, %s form, %s. Suspected reason: %s", c.Name, st.variant.Form, results.VerdictName(c.Verdict), c.Note))
			}
		}
	}
	for _, st := range of {
		for _, u := range st.variant.Untested {
			add(fmt.Sprintf("- Not tested: %s. Because: %s", u.Paper, u.Why))
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(lines, "\n"))
	}
}

// writeCosts writes what each form took, or by what the others took would take.
func writeCosts(b *bytes.Buffer, of []standing) error {
	fmt.Fprintln(b)
	steps, seconds := int64(0), 0.0
	for _, st := range of {
		if st.result != nil {
			steps, seconds = steps+st.result.Steps, seconds+st.result.Seconds
		}
	}
	for _, st := range of {
		fmt.Fprintf(b, "- %s form: ", st.variant.Form)
		r := st.result
		if r == nil {
			plan, err := experiment.Expand(st.variant.Spec)
			if err != nil {
				return err
			}
			if st.outdated {
				fmt.Fprint(b, "not run since the recipe changed; ")
			} else {
				fmt.Fprint(b, "not run; ")
			}
			fmt.Fprintf(b, "%d runs, %s steps", plan.Runs(), render.Count(plan.Steps()))
			if steps > 0 {
				fmt.Fprintf(b, ", about %s of computing on one core by what a step of the other forms took", render.Duration(span(seconds/float64(steps)*float64(plan.Steps()))))
			}
			fmt.Fprintln(b)
			continue
		}
		fmt.Fprintf(b, "%d runs, %s steps, %s of computing on one core, %s per run", r.Runs, render.Count(r.Steps), render.Duration(span(r.Seconds)), render.Duration(span(tenths(r.Seconds/float64(max(r.Runs, 1))))))
		if r.WallSeconds > 0 {
			fmt.Fprintf(b, "; %s by the clock", render.Duration(span(r.WallSeconds)))
		}
		fmt.Fprintf(b, "; %s, %s, %d cores, %s, numerics version %d\n", r.Date, r.Machine.CPU, r.Machine.Cores, r.Machine.ISA, r.NumericsVersion)
	}
	return nil
}

// cell keeps a text inside its cell.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
