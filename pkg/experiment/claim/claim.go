// Package claim compiles and evaluates the expressions of claims: CEL over the
// task tables of arms, one number per seed.
//
//	arms["backprop"].online_accuracy.peak() - arms["l2"].online_accuracy.last(10).mean()
//	arms["backprop"]["dormant_units/hidden1"].final()
//
// A metric is a list with one number per task, NaN where the metric was not
// measured. Besides CEL's own operators it has first(n), last(n), slice(a, b)
// — tasks — and, over the measured tasks, mean(), min(), max(), peak() (the
// maximum) and final() (the last). Of numbers there are abs, sqrt, exp, log,
// min and max. Numbers of analyses are looked at as they are:
//
//	analyses["scores"].never_forgotten
//
// The value that a selection compares is an expression over the table of one trial:
//
//	trial.test_accuracy.last(5).mean()
//
// Whole numbers may be written where a number is wanted.
package claim

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
)

// Limits of one expression. The cost is CEL's measure, about one per operation
// and list element touched.
const (
	maxLen   = 4096
	maxDepth = 64
	maxNodes = 4096
	maxCost  = 50_000_000
)

// Table holds the task tables that a claim looks at for one seed: arm, metric
// (with "/layer" where it is measured on a layer), one value per task.
type Table map[string]map[string][]float64

// ArmShape says how an arm's tables will look before there are any.
type ArmShape struct {
	Tasks   int      // fewest tasks of its trials
	Metrics []string // metrics that it measures
}

// Shape is the shape of every arm.
type Shape map[string]ArmShape

// AnalysisKey is where the metrics of an analysis are in a [Table] and a [Shape]:
// columns of one value.
func AnalysisKey(name string) string { return analysisPrefix + name }

const analysisPrefix = "analyses/"

// Trial is where the metrics of the trial are in the [Table] of a selection.
const Trial = "trial"

// Ref is a column that a claim looks at. Arm is the [AnalysisKey] where it is the
// number of an analysis.
type Ref struct{ Arm, Metric string }

// Program is a compiled claim.
type Program struct {
	program   cel.Program
	refs      []Ref
	selection bool
}

// Compile reads the expression of a claim. Its value must be a number; every use of
// arms must name an arm and a metric, so that [Program.Refs] is complete.
func Compile(expr string) (*Program, error) { return compile(expr, false) }

// CompileSelection reads the expression of a selection, which looks at its trial.
func CompileSelection(expr string) (*Program, error) { return compile(expr, true) }

func compile(expr string, selection bool) (*Program, error) {
	if len(expr) > maxLen {
		return nil, fmt.Errorf("an expression of %d characters is longer than %d", len(expr), maxLen)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("set up claims: %w", err)
	}
	parsed, iss := env.Parse(expr)
	if iss.Err() != nil {
		return nil, issue(iss)
	}
	w := &walker{refs: map[Ref]bool{}, factory: ast.NewExprFactory(), selection: selection}
	w.walk(parsed.NativeRep().Expr(), false)
	if w.err != nil {
		return nil, w.err
	}
	if len(w.refs) == 0 && selection {
		return nil, fmt.Errorf("does not look at the trial: write for example trial.online_accuracy.last(5).mean()")
	}
	if len(w.refs) == 0 {
		return nil, fmt.Errorf(`looks at no arm and no analysis: write for example arms["backprop"].online_accuracy.mean()`)
	}
	checked, iss := env.Check(parsed)
	if iss.Err() != nil {
		return nil, issue(iss)
	}
	switch t := checked.OutputType(); {
	case t.IsExactType(types.DoubleType), t.IsExactType(types.IntType), t.IsExactType(types.UintType), t.IsExactType(types.DynType):
	case t.IsExactType(types.BoolType):
		return nil, fmt.Errorf("the value must be a number, is true or false: put the comparison into holds, for example holds: {gt: 0.03}")
	case t.IsExactType(types.NewListType(types.DoubleType)):
		return nil, fmt.Errorf("the value must be a number, is a list with one number per task: end with mean(), peak(), final() or the like")
	default:
		return nil, fmt.Errorf("the value must be a number, is %s", t)
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.CostTracking(listCost{}))
	if err != nil {
		return nil, fmt.Errorf("plan expression: %w", err)
	}
	p := &Program{program: program, refs: slices.Collect(maps.Keys(w.refs)), selection: selection}
	slices.SortFunc(p.refs, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Arm, b.Arm), cmp.Compare(a.Metric, b.Metric))
	})
	return p, nil
}

// Refs are the columns that the claim looks at, sorted.
func (p *Program) Refs() []Ref { return p.refs }

// Arms are the arms that the claim looks at, sorted.
func (p *Program) Arms() []string { return p.names("arm") }

// Analyses are the analyses that the claim looks at, sorted.
func (p *Program) Analyses() []string { return p.names("analysis") }

func (p *Program) names(of string) (names []string) {
	for _, r := range p.refs {
		if kind, name, _ := called(r.Arm, nil); kind == of && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Check finds mistakes that would show only once there are results: unknown
// arms and metrics, and tasks that the runs do not have. It evaluates the
// claim on a made-up table of the given shape.
func (p *Program) Check(shape Shape) error {
	table := Table{}
	arms := slices.Sorted(maps.Keys(shape))
	for _, r := range p.refs {
		arm, ok := shape[r.Arm]
		kind, called, known := called(r.Arm, arms)
		if !ok {
			return fmt.Errorf("there is no %s %q%s (have: %s)", kind, called, component.DidYouMean(called, known), strings.Join(known, ", "))
		}
		name, _, _ := strings.Cut(r.Metric, "/")
		if !slices.Contains(arm.Metrics, name) {
			who := fmt.Sprintf("%s %q", kind, called)
			if p.selection {
				who = "the trial"
			}
			return fmt.Errorf("%s does not measure %q%s (have: %s)", who, name, component.DidYouMean(name, arm.Metrics), strings.Join(arm.Metrics, ", "))
		}
		if table[r.Arm] == nil {
			table[r.Arm] = map[string][]float64{}
		}
		table[r.Arm][r.Metric] = make([]float64, arm.Tasks)
	}
	// The values themselves mean nothing, and one of them may be NaN or infinite, as the
	// logarithm of a negative difference is; but not all of them.
	for trial := range trials {
		for i, r := range p.refs {
			fill(table[r.Arm][r.Metric], uint64(trial), uint64(i))
		}
		v, err := p.Eval(table)
		if err != nil {
			return err
		}
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return nil
		}
	}
	return fmt.Errorf("has no finite value, whatever the results are: does it divide by zero?")
}

// trials is how many made-up tables a claim is tried on.
const trials = 64

// fill makes up a column: values about a level that differs from column to column, of
// either sign and any scale from a thousandth to a thousand. The first trial's are 0.5
// and all alike, the second's between 0 and 1.
func fill(column []float64, trial, index uint64) {
	key := rng.New(trial, "claim")
	unit := func(i uint64) float64 { return float64(key.Uint64(i, index)>>11) * 0x1p-53 }
	scale := 1.0
	if trial > 1 {
		scale = math.Exp(unit(0)*14 - 7)
		if trial%4 == 3 && unit(1) < 0.5 {
			scale = -scale
		}
	}
	for i := range column {
		column[i] = 0.5
		if trial > 0 {
			column[i] = float64(scale * unit(uint64(i)+2))
		}
	}
}

// Eval computes the claim's value for one seed. It may be NaN or infinite
// where something was not measured. Columns that the claim looks at and the
// table lacks are errors, as are tasks that are not there.
func (p *Program) Eval(table Table) (float64, error) {
	arms, analyses, trial := map[string]map[string][]float64{}, map[string]map[string]float64{}, map[string][]float64{}
	for _, r := range p.refs {
		if r.Arm == Trial && p.selection {
			column, ok := table[Trial][r.Metric]
			if !ok {
				return 0, fmt.Errorf("the trial has no values of %q", r.Metric)
			}
			trial[r.Metric] = column
			continue
		}
		kind, name, _ := called(r.Arm, nil)
		column, ok := table[r.Arm][r.Metric]
		if !ok || kind == "analysis" && len(column) != 1 {
			return 0, fmt.Errorf("%s %q has no values of %q", kind, name, r.Metric)
		}
		if kind == "analysis" {
			if analyses[name] == nil {
				analyses[name] = map[string]float64{}
			}
			analyses[name][r.Metric] = column[0]
			continue
		}
		if arms[r.Arm] == nil {
			arms[r.Arm] = map[string][]float64{}
		}
		arms[r.Arm][r.Metric] = column
	}
	out, _, err := p.program.Eval(map[string]any{"arms": arms, "analyses": analyses, "trial": trial})
	if err != nil {
		if strings.Contains(err.Error(), "cost limit") {
			return 0, fmt.Errorf("the expression does too much work: more than %d operations", maxCost)
		}
		return 0, fmt.Errorf("evaluate claim: %w", err)
	}
	switch v := out.Value().(type) {
	case float64:
		return v, nil
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	}
	return math.NaN(), fmt.Errorf("the value must be a number, is %s", out.Type().TypeName())
}

var container = regexp.MustCompile(` \(in container '[^']*'\)`)

// issue is the first complaint of CEL in one line.
func issue(iss *cel.Issues) error {
	e := iss.Errors()[0]
	msg := container.ReplaceAllString(e.Message, "")
	msg, _, _ = strings.Cut(msg, "\n")
	if msg, _, _ = strings.Cut(msg, " expecting "); strings.Contains(msg, "<EOF>") {
		msg = "the expression ends too early"
	}
	return fmt.Errorf("column %d: %s", e.Location.Column()+1, strings.TrimPrefix(msg, "Syntax error: "))
}

// walker prepares a parsed expression: it collects the columns that are used
// and turns whole numbers into real ones where they are not positions.
type walker struct {
	refs    map[Ref]bool
	factory ast.ExprFactory
	err     error
	// selection: the expression looks at its trial, and at no arm or analysis.
	selection bool
}

// position names the functions whose arguments are positions in a list.
var position = []string{"first", "last", "slice"}

func (w *walker) walk(e ast.Expr, wholes bool) {
	if ref, ok := refOf(e); ok {
		if w.selection && w.err == nil {
			w.err = fmt.Errorf("looks at an arm or an analysis: the value of a selection is of one trial, as in trial.%s.mean()", ref.Metric)
		}
		w.refs[ref] = true
		return
	}
	if root, metric, ok := member(e); ok && w.selection && root.Kind() == ast.IdentKind && root.AsIdent() == "trial" {
		w.refs[Ref{Trial, metric}] = true
		return
	}
	switch e.Kind() {
	case ast.IdentKind:
		switch {
		case w.err != nil:
		case e.AsIdent() == "arms":
			w.err = fmt.Errorf(`arms must be followed by an arm and a metric, as in arms["backprop"].online_accuracy`)
		case e.AsIdent() == "trial" && w.selection:
			w.err = fmt.Errorf("trial must be followed by a metric, as in trial.online_accuracy")
		case e.AsIdent() == "trial":
			w.err = fmt.Errorf(`there is no trial in a claim: name an arm, as in arms["backprop"].online_accuracy`)
		case e.AsIdent() == "analyses":
			w.err = fmt.Errorf(`analyses must be followed by an analysis and a metric, as in analyses["scores"].never_forgotten`)
		}
	case ast.LiteralKind:
		if n, ok := e.AsLiteral().(types.Int); ok && !wholes {
			e.SetKindCase(w.factory.NewLiteral(e.ID(), types.Double(n)))
		}
	case ast.SelectKind:
		w.walk(e.AsSelect().Operand(), wholes)
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			w.walk(call.Target(), false)
		}
		for i, a := range call.Args() {
			inner := wholes || slices.Contains(position, call.FunctionName()) || call.FunctionName() == operators.Modulo
			if call.FunctionName() == operators.Index {
				inner = i == 1
			}
			w.walk(a, inner)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			w.walk(x, wholes)
		}
	case ast.MapKind:
		for _, x := range e.AsMap().Entries() {
			w.walk(x.AsMapEntry().Key(), true)
			w.walk(x.AsMapEntry().Value(), wholes)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, x := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			w.walk(x, wholes)
		}
	}
}

// refOf recognises arms["a"].m, arms.a["m"], analyses["a"].m and the like.
func refOf(e ast.Expr) (Ref, bool) {
	arm, metric, ok := member(e)
	if !ok {
		return Ref{}, false
	}
	root, name, ok := member(arm)
	if !ok || root.Kind() != ast.IdentKind {
		return Ref{}, false
	}
	switch root.AsIdent() {
	case "arms":
		return Ref{Arm: name, Metric: metric}, true
	case "analyses":
		return Ref{Arm: AnalysisKey(name), Metric: metric}, true
	}
	return Ref{}, false
}

// called takes the key of an arm or analysis apart, and keeps of others those of
// its kind.
func called(key string, others []string) (kind, name string, same []string) {
	name, isAnalysis := strings.CutPrefix(key, analysisPrefix)
	kind = "arm"
	if isAnalysis {
		kind = "analysis"
	}
	for _, o := range others {
		if x, a := strings.CutPrefix(o, analysisPrefix); a == isAnalysis {
			same = append(same, x)
		}
	}
	return kind, name, same
}

func member(e ast.Expr) (operand ast.Expr, name string, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		return e.AsSelect().Operand(), e.AsSelect().FieldName(), !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		if c := e.AsCall(); c.FunctionName() == operators.Index && len(c.Args()) == 2 && c.Args()[1].Kind() == ast.LiteralKind {
			s, ok := c.Args()[1].AsLiteral().(types.String)
			return c.Args()[0], string(s), ok
		}
	}
	return nil, "", false
}
