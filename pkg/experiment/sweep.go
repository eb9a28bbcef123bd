package experiment

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/rng"
	pb "neoteny/proto/neoteny/v1"
)

// axis is one hyperparameter that a sweep varies.
type axis struct {
	path  string // as written
	at    string // where it stands in the experiment, for messages
	steps path
	// Either the values of a grid or a distribution to draw from.
	values []any
	draw   func(index int) any
}

// draws is one random search: axes that are drawn together, count times.
type draws struct {
	axes  []axis
	count int
}

// space is everything that varies in one arm: the product of grids and random
// searches.
type space struct {
	grid   []axis
	random []draws
}

// size is the number of assignments, saturating.
func (s space) size() uint64 {
	n := uint64(1)
	for _, d := range s.random {
		n = mulSat(n, uint64(d.count))
	}
	for _, a := range s.grid {
		n = mulSat(n, uint64(len(a.values)))
	}
	return n
}

func (s space) axes() []axis {
	var all []axis
	for _, d := range s.random {
		all = append(all, d.axes...)
	}
	return append(all, s.grid...)
}

// setting is one value of an assignment and where it came from.
type setting struct {
	axis  *axis
	value any
	at    string // for messages
}

// assignment returns the i-th of size() assignments. The index of the first
// random search turns slowest, so that a longer search begins with the shorter
// one; the last axis of the grid turns fastest.
func (s space) assignment(i uint64) []setting {
	var out []setting
	for g := len(s.grid) - 1; g >= 0; g-- {
		a := &s.grid[g]
		n := uint64(len(a.values))
		out = append(out, setting{a, a.values[i%n], indexed(a.at, int(i%n))})
		i /= n
	}
	for r := len(s.random) - 1; r >= 0; r-- {
		d := &s.random[r]
		n := uint64(d.count)
		for k := range d.axes {
			a := &d.axes[k]
			out = append(out, setting{a, a.draw(int(i % n)), a.at})
		}
		i /= n
	}
	return out
}

// readSweep turns a sweep into the space of each arm. Mistakes that do not
// depend on an arm's spec are reported here.
func readSweep(sw *pb.Sweep, arms []string) (map[string]space, error) {
	out := map[string]space{}
	if sw == nil {
		return out, nil
	}
	var errs []error
	common := readSpace(sw.GetGrid(), sw.GetRandom(), "sweep", &errs)
	if len(sw.GetGrid()) == 0 && sw.GetRandom() == nil && len(sw.GetArms()) == 0 {
		errs = append(errs, component.Fieldf("sweep", "varies nothing: give grid, random or arms, or leave sweep out"))
	}
	for _, arm := range arms {
		out[arm] = common
	}
	for _, arm := range slices.Sorted(maps.Keys(sw.GetArms())) {
		at := keyed("sweep.arms", arm)
		if !slices.Contains(arms, arm) {
			errs = append(errs, component.Fieldf(at, "there is no arm %q%s (have: %s)", shorten(arm), component.DidYouMean(arm, arms), listed(arms)))
			continue
		}
		own := sw.GetArms()[arm]
		if len(own.GetGrid()) == 0 && own.GetRandom() == nil {
			errs = append(errs, component.Fieldf(at, "varies nothing: give grid or random, or leave it out"))
		}
		sp := readSpace(own.GetGrid(), own.GetRandom(), at, &errs)
		out[arm] = space{
			grid:   append(slices.Clone(common.grid), sp.grid...),
			random: append(slices.Clone(common.random), sp.random...),
		}
	}
	return out, errorsOf(errs)
}

func errorsOf(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return join(errs)
}

// listed names a few of the given names.
func listed(names []string) string {
	const most = 12
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func readSpace(grid map[string]*structpb.ListValue, random *pb.RandomSearch, at string, errs *[]error) space {
	var sp space
	fail := func(err error) { *errs = append(*errs, err) }
	for _, p := range slices.Sorted(maps.Keys(grid)) {
		a := axis{path: p, at: keyed(at+".grid", p)}
		var err error
		if a.steps, err = parsePath(p); err != nil {
			fail(component.Fieldf(a.at, "%v", err))
			continue
		}
		if a.values, err = choices(grid[p], a.at); err != nil {
			fail(err)
			continue
		}
		sp.grid = append(sp.grid, a)
	}
	if random == nil {
		return sp
	}
	d := draws{count: int(random.GetCount())}
	for _, p := range slices.Sorted(maps.Keys(random.GetParams())) {
		a := axis{path: p, at: keyed(at+".random.params", p)}
		var err error
		if a.steps, err = parsePath(p); err != nil {
			fail(component.Fieldf(a.at, "%v", err))
			continue
		}
		if a.draw, err = distribution(random.GetParams()[p], random.GetSeed(), p, a.at); err != nil {
			fail(err)
			continue
		}
		d.axes = append(d.axes, a)
	}
	if len(d.axes) > 0 {
		sp.random = append(sp.random, d)
	}
	return sp
}

func choices(l *structpb.ListValue, at string) ([]any, error) {
	vs, err := values(l, at)
	if err != nil {
		return nil, err
	}
	if len(vs) == 0 {
		return nil, component.Fieldf(at, "an empty list: give at least one value")
	}
	seen := map[string]int{}
	for i, v := range vs {
		if v == nil {
			return nil, component.Fieldf(indexed(at, i), "has no value")
		}
		text := jsonText(v)
		if first, dup := seen[text]; dup {
			return nil, component.Fieldf(indexed(at, i), "%s is given twice, first at index %d: the runs would be the same", shorten(text), first)
		}
		seen[text] = i
	}
	return vs, nil
}

// distribution returns the draws of one path: the value at an index depends on
// the seed, the index and the path only.
func distribution(d *pb.Distribution, seed uint64, path, at string) (func(int) any, error) {
	key := rng.New(seed, "sweep "+path)
	unit := func(i int) float64 { return float64(key.Uint64(uint64(i), 0)>>11) * 0x1p-53 }
	switch {
	case len(d.GetUniform()) > 0:
		lo, hi, err := bounds(d.GetUniform(), at+".uniform")
		if err != nil {
			return nil, err
		}
		return func(i int) any {
			u := unit(i)
			return between(float64(lo*(1-u))+float64(hi*u), lo, hi)
		}, nil
	case len(d.GetLogUniform()) > 0:
		lo, hi, err := bounds(d.GetLogUniform(), at+".log_uniform")
		if err != nil {
			return nil, err
		}
		if lo <= 0 {
			return nil, component.Fieldf(at+".log_uniform", "the bounds must be above 0, are %v and %v", lo, hi)
		}
		llo, lhi := math.Log(lo), math.Log(hi)
		return func(i int) any {
			u := unit(i)
			return between(math.Exp(float64(llo*(1-u))+float64(lhi*u)), lo, hi)
		}, nil
	case d.GetChoice() != nil:
		vs, err := choices(d.GetChoice(), at+".choice")
		if err != nil {
			return nil, err
		}
		return func(i int) any { return vs[key.Intn(len(vs), uint64(i), 0)] }, nil
	}
	return nil, component.Fieldf(at, "give one of uniform, log_uniform, choice")
}

func bounds(b []float64, at string) (lo, hi float64, err error) {
	if len(b) != 2 {
		return 0, 0, component.Fieldf(at, "must be [low, high], has %d values", len(b))
	}
	lo, hi = b[0], b[1]
	switch {
	case !(lo-lo == 0) || !(hi-hi == 0):
		return 0, 0, component.Fieldf(at, "the bounds must be finite, are %v and %v", lo, hi)
	case lo > hi:
		return 0, 0, component.Fieldf(at, "the bounds are reversed: low %v is above high %v", lo, hi)
	case lo == hi:
		return 0, 0, component.Fieldf(at, "low and high are both %v: nothing to draw", lo)
	}
	return lo, hi, nil
}

// between rounds a draw to six significant digits and keeps it within its
// bounds. The digits that go are those in which exp and log of one machine
// differ from another's, and which could not be typed.
func between(v, lo, hi float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		panic(fmt.Sprintf("experiment: round %v: %v", v, err)) // it was just written
	}
	return min(max(r, lo), hi)
}

// jsonText writes a JSON value compactly, with sorted keys.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("experiment: write %v as JSON: %v", v, err)) // values come from JSON
	}
	return string(b)
}

// mulSat multiplies, stopping at the largest uint64.
func mulSat(a, b uint64) uint64 {
	if a != 0 && b > math.MaxUint64/a {
		return math.MaxUint64
	}
	return a * b
}

// addSat adds, stopping at the largest uint64.
func addSat(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

// trials expands every arm that resolved.
func (e *expansion) trials() {
	owner := map[string]string{}
	for _, name := range e.names {
		a := e.arms[name]
		if a == nil {
			continue
		}
		places, ok := e.placeAxes(a)
		if !ok {
			delete(e.arms, name)
			continue
		}
		for i := range a.space.size() {
			t := Trial{Name: name, Arm: name, Params: map[string]string{}, Spec: a.spec, Seeds: e.tuning}
			if len(places) > 0 {
				t.Name = fmt.Sprintf("%s-%04d", name, i)
				if !e.assign(&t, a, places, a.space.assignment(i)) {
					delete(e.arms, name)
					if len(e.errs) >= maxErrors {
						return
					}
					continue
				}
			}
			if other, taken := owner[t.Name]; taken {
				e.fail(keyed("arms", name), "trial %q of this arm has the name of a trial of arm %q: rename one of the arms", t.Name, other)
			}
			owner[t.Name] = name
			if !e.addDigests(&t, a) {
				return
			}
			a.trials = append(a.trials, t)
		}
	}
}

// placeAxes finds the place of every axis in an arm's spec.
func (e *expansion) placeAxes(a *arm) (map[string]path, bool) {
	places := map[string]path{}
	ok := true
	var done []axis
	for _, ax := range a.space.axes() {
		p, err := a.place(ax.steps)
		if err != nil {
			hint := ""
			if near := nearest(ax.path, a.canonical); len(near) > 0 {
				hint = "; nearest: " + strings.Join(near, ", ")
			}
			if len(e.names) > 1 && !strings.HasPrefix(ax.at, "sweep.arms") {
				hint += "; what only some arms have is varied under sweep.arms"
			}
			e.fail(ax.at, "no such parameter in arm %q: %v%s", a.name, err, hint)
			ok = false
			continue
		}
		for _, other := range done {
			if q := places[other.path]; p.within(q) || q.within(p) {
				e.fail(ax.at, "%s is varied by %s already", p, other.at)
				ok = false
			}
		}
		places[ax.path] = p
		done = append(done, ax)
	}
	return places, ok
}

// place finds a path in an arm: in what the arm says or, where a parameter is
// left to its default, in the resolved spec, whose component is then named in
// the raw one so that the parameter has a place.
func (a *arm) place(p path) (path, error) {
	if at, _, err := p.resolve(a.raw); err == nil {
		return at, nil
	}
	at, _, err := p.resolve(a.canonical)
	if err != nil {
		last := p[len(p)-1]
		parent, v, perr := p[:len(p)-1].resolve(a.canonical)
		if m, ok := v.(map[string]any); last.field != "preset" || perr != nil || !ok || m["kind"] == nil {
			return nil, err
		}
		at = append(parent, last)
	}
	for i := 1; i < len(at); i++ {
		if _, _, err := at[:i].resolve(a.raw); err == nil {
			continue
		}
		_, v, err := at[:i].resolve(a.canonical)
		if err != nil {
			return nil, err
		}
		if m, ok := v.(map[string]any); ok && m["kind"] != nil {
			v = map[string]any{"kind": m["kind"]}
		}
		if at[i-1].entry {
			// An entry that the arm does not list: the whole list is a default.
			i--
			_, v, _ = at[:i].resolve(a.canonical)
		}
		a.raw = at[:i].set(a.raw, v).(map[string]any)
	}
	return at, nil
}

// assign resolves the spec of one trial.
func (e *expansion) assign(t *Trial, a *arm, places map[string]path, settings []setting) bool {
	var raw any = a.raw
	for _, s := range settings {
		raw = places[s.axis.path].set(raw, s.value)
		t.Params[s.axis.path] = jsonText(s.value)
	}
	spec, err := rawSpec(raw.(map[string]any))
	if err == nil {
		t.Spec, err = e.resolve(spec)
	}
	if err == nil {
		return true
	}
	fields := component.FieldErrors(err)
	if len(fields) == 0 {
		fields = []*component.FieldError{{Problem: err.Error()}}
	}
	for _, fe := range fields {
		// The base resolved, so a value of the sweep is at fault: the one that
		// the error names, or the combination.
		at, problem := "sweep", fmt.Sprintf("%v (trial %s with %s)", fe, t.Name, paramText(t.Params))
		for _, s := range settings {
			if inside(fe.Field, places[s.axis.path].String()) {
				at, problem = s.at, fmt.Sprintf("%s %s: %s", s.axis.path, shorten(jsonText(s.value)), fe.Problem)
				if s.axis.draw != nil {
					problem += fmt.Sprintf(" (drawn for trial %s)", t.Name)
				}
			}
		}
		e.fail(at, "%s", problem)
	}
	return false
}

func paramText(params map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(params)) {
		parts = append(parts, k+"="+shorten(params[k]))
	}
	return strings.Join(parts, ", ")
}

// addDigests notes the digests of the trial's datasets for its run keys.
func (e *expansion) addDigests(t *Trial, a *arm) bool {
	t.datasets = map[string]string{}
	for _, name := range t.Spec.Datasets() {
		d, ok := e.digest(name)
		if !ok {
			at := "stream.dataset"
			if patched(a.patch, at) {
				at = keyed("arms", a.name) + "." + at
			}
			e.fail(at, "dataset %q is not in the catalogue", name)
			return false
		}
		t.datasets[name] = d
	}
	return true
}
