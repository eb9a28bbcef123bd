package experiment

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine"
	"neoteny/pkg/engine/component"
	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// expansion is one validation and expansion of a spec. It goes on after a
// mistake wherever the rest can still be judged.
type expansion struct {
	spec    *pb.ExperimentSpec
	resolve func(engine.RawSpec) (*engine.Spec, error)
	digest  func(dataset string) (string, bool)

	errs    []*component.FieldError // mistakes; the first few, by the rules beside the messages
	ruled   int                     // how many are by the rules
	names   []string                // arms, sorted
	arms    map[string]*arm         // those that resolve
	tuning  []uint32
	confirm []uint32

	analyses map[string]*Analysis // those that resolve

	controls map[string]bool // arms that are controls
	skipped  []Skipped
}

// arm is a named variation, patched and resolved.
type arm struct {
	name      string
	patch     map[string]any
	raw       map[string]any // base with the patch
	spec      *engine.Spec
	canonical map[string]any // of spec
	needs     map[string]*need
	space     space
	trials    []Trial
}

func (e *expansion) fail(field, format string, args ...any) {
	e.add(component.Fieldf(field, format, args...))
}

// add collects mistakes, one to a field. What a rule has said about a place
// inside the field is not said again in other words.
func (e *expansion) add(err error) {
	for _, fe := range component.FieldErrors(err) {
		known := slices.ContainsFunc(e.errs[:e.ruled], func(have *component.FieldError) bool {
			return inside(have.Field, fe.Field)
		})
		if !known {
			e.errs = appendUnique(e.errs, fe)
		}
	}
}

// err joins the first mistakes.
func (e *expansion) err() error {
	var errs []error
	for _, fe := range e.errs[:min(len(e.errs), maxErrors)] {
		errs = append(errs, fe)
	}
	return join(errs)
}

// inside reports whether one field, as errors name it, is another or part of it.
func inside(field, whole string) bool {
	rest, ok := strings.CutPrefix(field, whole)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (e *expansion) run() (*Plan, error) {
	if e.spec == nil {
		return nil, component.Fieldf("", "no experiment given")
	}
	if err := checkRules(e.spec); err != nil {
		e.errs = appendUnique(nil, err)
		if len(e.errs) == 0 {
			return nil, fmt.Errorf("rules of the spec: %w", err)
		}
		e.ruled = len(e.errs)
		if len(e.spec.GetArms()) > 256 {
			return nil, e.err()
		}
	}
	e.seeds()
	e.resolveArms()
	e.armOrder()
	spaces, err := readSweep(e.spec.GetSweep(), e.names)
	e.add(err)
	for name, a := range e.arms {
		a.space = spaces[name]
	}
	if e.size(spaces) {
		e.trials()
		e.readAnalyses()
		e.resolveNeeds()
	}
	e.selection()
	e.claims()
	if len(e.errs) > 0 {
		return nil, e.err()
	}
	p := &Plan{Arms: e.names, ConfirmSeeds: e.confirm, Skipped: e.skipped}
	for _, name := range e.names {
		p.Trials = append(p.Trials, e.arms[name].trials...)
	}
	for _, name := range slices.Sorted(maps.Keys(e.analyses)) {
		p.Analyses = append(p.Analyses, e.analyses[name])
	}
	p.SegmentTasks = segmentTasks(int(e.spec.GetSegments().GetTasks()), p.Trials)
	if p.Steps() == math.MaxInt64 {
		return nil, component.Fieldf("stream", "more steps in all than a 64-bit number can count")
	}
	return p, nil
}

func (e *expansion) seeds() {
	sel := e.spec.GetSelect()
	given, at := e.spec.GetSeeds(), "seeds"
	if sel.GetSeeds() != nil {
		if given != nil {
			e.fail("select.seeds", "the tuning seeds are given twice: give seeds or select.seeds")
		}
		given, at = sel.GetSeeds(), "select.seeds"
	}
	e.tuning = []uint32{0}
	if given != nil {
		e.tuning = e.seedList(given, at, given.GetFirst())
	}
	if sel.GetConfirmSeeds() == nil {
		return
	}
	// Without a first of their own they follow the tuning seeds.
	first := sel.GetConfirmSeeds().GetFirst()
	if first == 0 && len(e.tuning) > 0 {
		first = slices.Max(e.tuning) + 1
	}
	e.confirm = e.seedList(sel.GetConfirmSeeds(), "select.confirm_seeds", first)
	used := map[uint32]bool{}
	for _, s := range e.tuning {
		used[s] = true
	}
	for _, s := range e.confirm {
		if used[s] {
			e.fail("select.confirm_seeds", "seed %d is a tuning seed too: the selected trial must be confirmed on fresh seeds", s)
			return
		}
	}
}

func (e *expansion) seedList(s *pb.Seeds, at string, first uint32) []uint32 {
	switch {
	case len(s.GetList()) > 0:
		if s.GetFirst() != 0 {
			e.fail(at, "first goes with count, not with list")
		}
		return slices.Clone(s.GetList())
	case s.GetCount() > MaxRuns:
		// The rules have refused it; here it must not be made room for.
	case s.GetCount() <= 0:
		e.fail(at, "no seeds: give count (at least 1) or list")
	case uint64(first)+uint64(s.GetCount())-1 > math.MaxUint32:
		e.fail(at, "%d seeds from %d on go beyond the largest seed, %d", s.GetCount(), first, uint32(math.MaxUint32))
	default:
		seeds := make([]uint32, s.GetCount())
		for i := range seeds {
			seeds[i] = first + uint32(i)
		}
		return seeds
	}
	return nil
}

// resolveArms patches and resolves every arm.
func (e *expansion) resolveArms() {
	base := map[string]any{"needs": e.baseNeeds()}
	for name, s := range map[string]*structpb.Struct{"stream": e.spec.GetStream(), "environment": e.spec.GetEnvironment(), "learner": e.spec.GetLearner()} {
		if s == nil {
			continue
		}
		m, err := object(s, name)
		e.add(err)
		base[name] = m
	}
	if probes := e.spec.GetProbes(); len(probes) > 0 {
		list := make([]any, len(probes))
		for i, p := range probes {
			m, err := object(p, indexed("probes", i))
			e.add(err)
			list[i] = m
		}
		base["probes"] = list
	}
	broken := len(e.errs) > 0

	patches := e.spec.GetArms()
	if len(patches) == 0 {
		patches = map[string]*structpb.Struct{BaseArm: nil}
	}
	e.controls = map[string]bool{}
	patches = e.addControls(base, patches)
	e.names = slices.Sorted(maps.Keys(patches))
	e.arms = map[string]*arm{}
	wrong := map[string]error{}
	for _, name := range e.names {
		a := &arm{name: name}
		if !e.patchArm(a, base, patches[name]) || (broken && base["stream"] == nil && base["environment"] == nil) {
			continue
		}
		resolve := e.resolveArm
		if e.controls[name] {
			resolve = e.resolveControl
		}
		if err := resolve(a); err != nil {
			wrong[name] = err
			continue
		}
		e.arms[name] = a
	}
	e.blame(wrong, patches)
}

func (e *expansion) patchArm(a *arm, base map[string]any, patch *structpb.Struct) bool {
	at := keyed("arms", a.name)
	var err error
	if a.patch, err = object(patch, at); err != nil {
		e.add(err)
		return false
	}
	ok := true
	for _, k := range slices.Sorted(maps.Keys(a.patch)) {
		if !slices.Contains(armParts, k) {
			e.fail(keyed(at, k), "an arm cannot change this%s (have: %s)", component.DidYouMean(k, armParts), strings.Join(armParts, ", "))
			ok = false
		}
	}
	a.raw = merge(base, a.patch).(map[string]any)
	e.readNeeds(a)
	return ok
}

// resolveArm hands an arm's spec to the engine.
func (e *expansion) resolveArm(a *arm) error {
	raw, err := rawSpec(a.raw)
	if err != nil {
		return err
	}
	if a.spec, err = e.resolve(raw); err != nil {
		return err
	}
	// Through JSON, so that lists and numbers have the types that paths and
	// merges know.
	a.canonical, err = plainJSON(a.spec.Canonical())
	return err
}

// blame reports the mistakes of arms where they were made: in the arm's patch,
// or in the base, once for all arms.
func (e *expansion) blame(wrong map[string]error, patches map[string]*structpb.Struct) {
	type place struct{ field, problem string }
	inBase := map[place][]string{}
	var order []place
	for _, name := range e.names {
		err, ok := wrong[name]
		if !ok {
			continue
		}
		fields := component.FieldErrors(err)
		if len(fields) == 0 {
			fields = []*component.FieldError{{Problem: err.Error()}}
		}
		patch, perr := object(patches[name], "")
		for _, fe := range fields {
			if perr == nil && patched(patch, fe.Field) {
				e.add(component.At(keyed("arms", name), fe))
				continue
			}
			p := place{fe.Field, fe.Problem}
			if inBase[p] == nil {
				order = append(order, p)
			}
			inBase[p] = append(inBase[p], name)
		}
	}
	for _, p := range order {
		problem := p.problem
		if len(inBase[p]) < len(e.names) {
			problem += fmt.Sprintf(" (in arm %s)", strings.Join(inBase[p], ", "))
		}
		e.add(&component.FieldError{Field: p.field, Problem: problem})
	}
}

// patched reports whether the place that an error names comes from the patch:
// the patch gives it, or replaces the list or component that it is in.
func patched(patch map[string]any, field string) bool {
	var v any = patch
	for i, part := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		m, ok := v.(map[string]any)
		if !ok {
			return true // inside a list or a scalar of the patch
		}
		next, ok := m[part]
		if !ok {
			// A missing field of a component that the patch put there is the
			// patch's fault; at the top the patch just does not say.
			return i > 0 && m["kind"] != nil
		}
		v = next
	}
	return field != ""
}

// size checks the number of trials and runs by arithmetic alone. It reports
// whether they can be expanded.
func (e *expansion) size(spaces map[string]space) bool {
	trials := uint64(0)
	for _, name := range e.names {
		trials = addSat(trials, spaces[name].size())
	}
	tuning, confirm := uint64(len(e.tuning)), mulSat(uint64(len(e.names)), uint64(len(e.confirm)))
	runs := addSat(mulSat(trials, tuning), confirm)
	at := "seeds"
	if e.spec.GetSweep() != nil {
		at = "sweep"
	}
	switch {
	case runs > MaxRuns:
		how := fmt.Sprintf("%s trials × %d seeds", count(trials), tuning)
		if confirm > 0 {
			how += fmt.Sprintf(" + %d arms × %d confirmation seeds", len(e.names), len(e.confirm))
		}
		e.fail(at, "%s runs (%s) are more than the %d that one experiment may have", count(runs), how, MaxRuns)
	case trials > MaxTrials:
		e.fail(at, "%s trials are more than the %d that one experiment may have", count(trials), MaxTrials)
	default:
		return true
	}
	return false
}

func count(n uint64) string {
	if n == math.MaxUint64 {
		return "more than 10^19"
	}
	return fmt.Sprint(n)
}

// selection checks that what select compares is measured in every arm.
func (e *expansion) selection() {
	sel := e.spec.GetSelect()
	if sel.GetValue() != "" {
		e.selectionValue(sel.GetValue())
	}
	if sel.GetMetric() == "" {
		return
	}
	metric, _, _ := strings.Cut(sel.GetMetric(), "/")
	for _, name := range e.names {
		if a := e.arms[name]; a != nil && !slices.Contains(a.spec.Metrics(), metric) {
			have := a.spec.Metrics()
			e.fail("select.metric", "arm %q does not measure %q%s (have: %s)", name, shorten(metric), component.DidYouMean(metric, have), listed(have))
			return
		}
	}
}

// selectionValue compiles what select compares and tries it on a trial of every arm.
func (e *expansion) selectionValue(expr string) {
	p, err := claim.CompileSelection(expr)
	if err != nil {
		e.fail("select.value", "%v", err)
		return
	}
	for _, name := range e.names {
		a := e.arms[name]
		if a == nil {
			continue
		}
		if err := p.Check(claim.Shape{claim.Trial: a.shape()}); err != nil {
			e.fail("select.value", "arm %q: %v", name, err)
			return
		}
	}
}

// shape is how the tables of an arm's trials will look.
func (a *arm) shape() claim.ArmShape {
	s := claim.ArmShape{Tasks: a.spec.Tasks(), Metrics: a.spec.Metrics()}
	for _, t := range a.trials {
		s.Tasks = min(s.Tasks, t.Spec.Tasks())
	}
	return s
}

// claims compiles every claim and tries it on a table of the right shape.
func (e *expansion) claims() {
	named := map[string]int{}
	tables := claim.Shape{}
	for name, a := range e.arms {
		tables[name] = a.shape()
	}
	e.claimShape(tables)
	for i, c := range e.spec.GetClaims() {
		at := indexed("claims", i)
		if first, dup := named[c.GetName()]; dup {
			e.fail(at+".name", "claim %q has the name of claims[%d]", shorten(c.GetName()), first)
		}
		named[c.GetName()] = i
		if c.GetValue() == "" {
			continue // reported by the rules
		}
		p, err := claim.Compile(c.GetValue())
		if err != nil {
			e.fail(at+".value", "%v", err)
			continue
		}
		if len(e.arms) < len(e.names) || len(e.analyses) < len(e.spec.GetAnalyses()) {
			continue // what is in error has no shape to try
		}
		if err := p.Check(tables); err != nil {
			e.fail(at+".value", "%v", err)
			continue
		}
		for _, name := range p.Arms() {
			if n := len(e.arms[name].trials); n > 1 && e.spec.GetSelect() == nil {
				e.fail(at+".value", "arm %q has %d trials: say with select how to pick the one that the claim is about", name, n)
			}
		}
	}
}
