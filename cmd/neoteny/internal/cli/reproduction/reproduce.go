// Package reproduction has the workflow of papers and their recipes: run them, judge
// their claims, compare the bits with those on record, and list what is known.
package reproduction

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"neoteny/cmd/neoteny/internal/cli/app"
	"neoteny/cmd/neoteny/internal/cli/build"
	"neoteny/cmd/neoteny/internal/cli/local"
	"neoteny/cmd/neoteny/internal/cli/render"
	"neoteny/cmd/neoteny/internal/cli/results"
	"neoteny/cmd/neoteny/internal/cli/wiring"
	"neoteny/pkg/engine"
	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
	"neoteny/recipes"
)

func init() {
	app.Register(app.Command{
		Name: "reproduce", Help: "Check a paper's claims: run its recipes and report which held.", Group: app.Everyday, Place: 2,
		New: func() any { return &reproduceCmd{} },
	})
}

type reproduceCmd struct {
	Papers  []string `arg:"" optional:"" name:"paper-id" help:"Ids of papers, as in neoteny papers."`
	Tier    int      `help:"All papers of this tier that have a recipe." placeholder:"N"`
	Record  bool     `help:"Write the results into results.json beside the recipes."`
	Out     string   `help:"Folder of the results, and of the state of what is not finished. Default: ${default}." default:"results/reproduce" placeholder:"DIR" type:"path"`
	Workers int      `help:"Number of workers; 0 means one per core." default:"0"`
	app.FormFlags
	recipesFlag
	wiring.Addresses
	app.DataFlag
	app.Output
}

func (reproduceCmd) Help() string {
	return `Runs every recipe of a paper and reports, claim by claim, what the paper says, what was measured (mean over seeds with its 95 % interval), and the verdict: held when the interval satisfies the claim's bound, did not hold when none of it does, else undecided. What a recipe cannot test is listed too, with the reason.

  neoteny reproduce continual-backprop --quick
  neoteny reproduce continual-backprop
  neoteny reproduce --tier 1 --quick
  neoteny reproduce continual-backprop --quick -o json | jq '.results[].claims[].verdict'

The quick form takes up to three minutes on two cores, the default one, which verdicts are made of, up to thirty; --full is the published protocol.

Stopped or killed, the same command goes on where it was. A recipe that is finished is not run again while DIR/<paper>/<recipe>-<form> is there: only its claims are judged anew, as the recipe has them then.

Where recipes/<paper>/results.json has the same work, it says whether the digests are the same: whether this machine computes what that one did, to the bit.

Ends with 0 when all claims held, with 3 when one did not hold or is undecided (what is not tested does not count), with 1 when something failed.

--record writes figures, seeds, digests, machine and cost into recipes/<paper>/results.json, in the place of earlier ones of the same file and form; docs/papers.md is then made by ` + "`make papers`" + `.`
}

// tally counts verdicts.
type tally struct{ held, not, undecided, open, untested int }

func (t *tally) add(r *recipes.Result) {
	for _, c := range r.Claims {
		switch c.Verdict {
		case report.Held:
			t.held++
		case report.DidNotHold:
			t.not++
		case report.Undecided:
			t.undecided++
		default:
			t.open++ // of a result that is older than the claim
		}
	}
	t.untested += len(r.Untested)
}

// String says for example "3 of 4 claims held, 1 is undecided, 2 are not tested".
func (t tally) String() string {
	claims := t.held + t.not + t.undecided + t.open
	if claims+t.untested == 0 {
		return "no claims"
	}
	s := fmt.Sprintf("%d of %d claims held", t.held, claims)
	if t.not > 0 {
		s += fmt.Sprintf(", %d did not hold", t.not)
	}
	if t.undecided > 0 {
		s += fmt.Sprintf(", %d undecided", t.undecided)
	}
	if t.open > 0 {
		s += fmt.Sprintf(", %d not judged", t.open)
	}
	if t.untested > 0 {
		s += fmt.Sprintf(", %d not tested", t.untested)
	}
	return s
}

// attempt is one recipe of a pass and how it went.
type attempt struct {
	paper  recipes.Paper
	recipe *recipes.Recipe // nil for a paper without one
	result *recipes.Result // nil before it is there
	record string          // how it compares with what is committed; empty where that is of other work
	err    error
}

func (c *reproduceCmd) Run(ctx context.Context, a *app.App) error {
	if c.Workers < 0 {
		return app.Usagef("--workers must not be negative")
	}
	cat, err := c.catalogue()
	if err != nil {
		return err
	}
	if c.Record && cat.Dir() == "" {
		return app.Usagef("--record writes beside the recipes, and these are built in: give the folder of the sources with --recipes")
	}
	attempts, err := c.attempts(cat)
	if err != nil {
		return err
	}
	if err := results.CheckWritable(c.Out); err != nil {
		return err
	}
	for i := range attempts {
		at := &attempts[i]
		if at.recipe == nil {
			continue
		}
		at.result, at.err = c.one(ctx, a, at.recipe)
		if at.err != nil {
			if ctx.Err() != nil {
				return at.err
			}
			a.Report(fmt.Errorf("%s: %w", cat.Path(at.recipe.Paper, at.recipe.File), at.err))
			continue
		}
		if at.record, err = compare(cat, at.paper.ID, at.result); err != nil {
			return err
		}
		if c.Record {
			path, err := cat.Record(at.paper.ID, *at.result)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Progress, "recorded in %s\n", path)
		}
		if !c.JSON() {
			if err := writeVerdicts(a.Out, at); err != nil {
				return err
			}
		}
	}
	return c.conclude(a, attempts)
}

// compare says how a result's digests compare with those that are committed
// for the same work: that they are equal on every machine is the promise.
func compare(cat *recipes.Catalogue, paper string, r *recipes.Result) (string, error) {
	committed, err := cat.Results(paper)
	if err != nil {
		return "", err
	}
	earlier := committed.Find(r.File, r.Form)
	arms, comparable := r.Deviates(earlier)
	switch {
	case !comparable:
		return "", nil
	case len(arms) > 0:
		return "differs from the record of " + earlier.Date + " in " + strings.Join(arms, ", "), nil
	}
	return fmt.Sprintf("the same bits as the record of %s (%s, %s)", earlier.Date, earlier.Machine.CPU, earlier.Machine.ISA), nil
}

// attempts reads and checks every recipe before anything is run.
func (c *reproduceCmd) attempts(cat *recipes.Catalogue) ([]attempt, error) {
	var papers []recipes.Paper
	switch {
	case len(c.Papers) > 0 && c.Tier != 0:
		return nil, app.Usagef("give either ids of papers or --tier")
	case len(c.Papers) == 0 && c.Tier == 0:
		return nil, app.Usagef("which paper? `neoteny papers` lists them; or give --tier")
	}
	for _, id := range c.Papers {
		p, err := cat.Paper(id)
		if err != nil {
			return nil, err
		}
		if len(p.Recipes) == 0 {
			return nil, fmt.Errorf("%s (%s) has no recipe yet", p.ID, p.Title)
		}
		papers = append(papers, p)
	}
	for _, p := range cat.Papers() {
		if c.Tier != 0 && p.Tier == c.Tier {
			papers = append(papers, p)
		}
	}
	if len(papers) == 0 {
		return nil, fmt.Errorf("no paper is of tier %d", c.Tier)
	}
	var out []attempt
	var errs []error
	for _, p := range papers {
		if len(p.Recipes) == 0 {
			out = append(out, attempt{paper: p})
		}
		for _, file := range p.Recipes {
			r, err := cat.Recipe(p.ID, file)
			if err == nil {
				_, err = r.Variant(c.Form())
				err = experiment.InFile(cat.Path(p.ID, file), cmp.Or(err, r.Validate()))
			}
			errs = append(errs, err)
			out = append(out, attempt{paper: p, recipe: r})
		}
	}
	return out, errors.Join(errs...)
}

// conclude sums a pass up.
func (c *reproduceCmd) conclude(a *app.App, attempts []attempt) error {
	var all tally
	var done []*recipes.Result
	failed := 0
	t := &render.Table{Columns: []render.Column{{Title: "PAPER"}, {Title: "RECIPE"}, {Title: "HELD", Align: render.Right}, {Title: "NOT HELD", Align: render.Right}, {Title: "UNDECIDED", Align: render.Right}, {Title: "NOT TESTED", Align: render.Right}, {Title: "COMPUTING", Align: render.Right}, {Title: "NOTE"}}}
	for _, at := range attempts {
		switch {
		case at.recipe == nil:
			t.Add(at.paper.ID, "", "", "", "", "", "", "no recipe yet")
		case at.err != nil:
			failed++
			t.Add(at.paper.ID, at.recipe.Name(), "", "", "", "", "", "failed: "+firstLine(app.Sentence(at.err)))
		default:
			var one tally
			one.add(at.result)
			all.add(at.result)
			done = append(done, at.result)
			t.Add(at.paper.ID, at.recipe.Name(), fmt.Sprint(one.held), fmt.Sprint(one.not), fmt.Sprint(one.undecided), fmt.Sprint(one.untested), render.Duration(span(at.result.Seconds)), at.record)
		}
	}
	var err error
	switch {
	case c.JSON():
		err = a.PrintJSON(map[string]any{"form": c.Form(), "results": done})
	case len(attempts) > 1:
		fmt.Fprintf(a.Out, "%s form\n", c.Form())
		err = t.Write(a.Out)
	}
	switch {
	case err != nil:
		return err
	case failed > 0:
		return fmt.Errorf("%d of %d recipes failed; %s", failed, len(attempts), all)
	case all.not+all.undecided > 0:
		return app.ErrClaims(all.String())
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func span(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// finished is a recipe's outcome as it is kept in the results folder.
type finished struct {
	Work            string          `json:"work"`
	NumericsVersion int             `json:"numerics_version"`
	Machine         recipes.Machine `json:"machine"`
	WallSeconds     float64         `json:"wall_seconds"` // 0: done in several goes
	Result          *results.Result `json:"result"`
}

// finishedFile is where it is kept.
const finishedFile = "finished.json"

// one brings one recipe to its end, unless it has been there before.
func (c *reproduceCmd) one(ctx context.Context, a *app.App, r *recipes.Recipe) (*recipes.Result, error) {
	v, err := r.Variant(c.Form())
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s/%s, %s form", r.Paper, r.Name(), v.Form)
	dir := filepath.Join(c.Out, r.Paper, r.Name()+"-"+string(v.Form))
	f, err := loadFinished(filepath.Join(dir, finishedFile))
	if err != nil {
		return nil, err
	}
	if f != nil && f.Work == recipes.Work(v.Spec) && f.NumericsVersion == engine.NumericsVersion {
		fmt.Fprintf(a.Progress, "%s is done already, in %s\n", name, dir)
	} else if f, err = c.live(ctx, a, name, dir, v.Spec); err != nil {
		return nil, err
	}
	if err := f.Result.Judge(v.Spec); err != nil {
		return nil, err
	}
	return f.outcome(r.File, v), nil
}

func loadFinished(path string) (*finished, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	f := &finished{Result: &results.Result{}}
	if err == nil {
		err = json.Unmarshal(b, f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; remove it to run the recipe again", path, err)
	}
	return f, nil
}

// live runs a recipe. What is submitted has no claims, so that these can change
// without anything being run again.
func (c *reproduceCmd) live(ctx context.Context, a *app.App, name, dir string, spec *pb.ExperimentSpec) (*finished, error) {
	bare := recipes.Bare(spec)
	bare.Segments = spec.GetSegments()
	plan, err := experiment.Expand(bare)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(dir, ".state-"+local.Digest(bare, "")[:12])
	fmt.Fprintf(a.Progress, "%s: %d runs, %s steps\n", name, plan.Runs(), render.Count(plan.Steps()))
	if err := wiring.StateDir(state); err != nil {
		return nil, err
	}
	run := &local.RunCmd{File: name, Out: dir, Workers: c.Workers, Keep: true, StateDir: state, Addresses: c.Addresses, DataFlag: c.DataFlag}
	f := &finished{Work: recipes.Work(spec), NumericsVersion: engine.NumericsVersion, Machine: recipes.Machine(build.ThisMachine())}
	l, err := run.Live(ctx, a, bare, plan, func(ctx context.Context, _ *wiring.Stack, r *results.Result) error {
		if failed := r.Failed(); len(failed) > 0 {
			return fmt.Errorf("%d of %d runs failed, the first of them %s: %s", len(failed), len(r.Runs), failed[0].GetId(), failed[0].GetMessage())
		}
		if err := app.VerdictOf(r.Experiment); err != nil {
			return err
		}
		f.Result = r
		if err := r.Judge(spec); err != nil {
			return err
		}
		_, err := r.WriteFolder(ctx, dir, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !l.Resumed {
		f.WallSeconds = l.Elapsed.Seconds()
	}
	if err := f.save(filepath.Join(dir, finishedFile)); err != nil {
		return nil, err
	}
	return f, os.RemoveAll(state) // all that is asked for is in the folder now
}

func (f *finished) save(path string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// outcome is what is printed and recorded.
func (f *finished) outcome(file string, v experiment.Variant) *recipes.Result {
	r := f.Result
	out := &recipes.Result{
		File: file, Form: v.Form, Work: f.Work, Date: r.Experiment.GetEndedAt().AsTime().UTC().Format(time.DateOnly), NumericsVersion: int32(f.NumericsVersion),
		Machine: f.Machine, WallSeconds: tenths(f.WallSeconds), Runs: len(r.Runs), Claims: []recipes.Claim{}, Untested: v.Untested, Trials: []recipes.Trial{},
	}
	for i, c := range r.Summary.Claims {
		out.Claims = append(out.Claims, recipes.ClaimOf(c, v.Notes[i]))
	}
	for _, run := range r.Runs {
		out.Steps += run.GetStepsDone()
		out.Seconds += run.GetSeconds()
	}
	out.Seconds = tenths(out.Seconds)
	for i := range r.Summary.Arms {
		if main := r.Summary.Arms[i].Main(); main != nil {
			out.Trials = append(out.Trials, trialOf(r, r.Summary.Arms[i].Arm, main))
		}
	}
	return out
}

// trialOf sums up the runs that stand for an arm.
func trialOf(r *results.Result, arm string, main *report.Trial) recipes.Trial {
	t := recipes.Trial{Arm: arm, Trial: main.Trial, Seeds: main.Seeds}
	var digests strings.Builder
	n := 0
	for _, run := range r.Runs { // by seed
		if run.GetTrial() != main.Trial || run.GetConfirmation() != main.Confirmation {
			continue
		}
		n++
		digests.WriteString(run.GetDigest() + "\n")
		t.Steps += run.GetStepsDone()
		t.Seconds += run.GetSeconds()
		t.Params = run.GetParams()
	}
	t.Digest, t.Steps, t.Seconds = local.SHA256Hex(digests.String()), t.Steps/int64(n), tenths(t.Seconds/float64(n))
	return t
}

// tenths rounds seconds: less is noise.
func tenths(s float64) float64 { return span(s).Round(100 * time.Millisecond).Seconds() }

// writeVerdicts prints the verdicts of a recipe, claim by claim.
func writeVerdicts(w io.Writer, at *attempt) error {
	p, recipe, r := at.paper, at.recipe, at.result
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%s, %s form: %d runs, %s steps, %s of computing\n\n", p.ID, p.Title, recipe.Name(), r.Form, r.Runs, render.Count(r.Steps), render.Duration(span(r.Seconds)))
	for _, c := range r.Claims {
		fmt.Fprintf(&b, "  %-13s %s\n", results.VerdictName(c.Verdict), c.Name)
		if c.Paper != "" {
			fmt.Fprintf(&b, "      the paper says: %s\n", c.Paper)
		}
		fmt.Fprintf(&b, "      measured:       %s (n = %d), holds if %s\n", render.Interval(float64(c.Mean), float64(c.Low), float64(c.High)), c.N, c.Holds)
		if c.Message != "" {
			fmt.Fprintf(&b, "      to know:        %s\n", c.Message)
		}
		if c.Note != "" && c.Verdict != report.Held {
			fmt.Fprintf(&b, "      suspected:      %s\n", c.Note)
		}
	}
	for _, u := range r.Untested {
		fmt.Fprintf(&b, "  %-13s %s\n      because:        %s\n", "not tested", u.Paper, u.Why)
	}
	var t tally
	t.add(r)
	fmt.Fprintf(&b, "\n%s\n", t)
	if at.record != "" {
		fmt.Fprintln(&b, at.record)
	}
	fmt.Fprintln(&b)
	_, err := io.WriteString(w, b.String())
	return err
}
