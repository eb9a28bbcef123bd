package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine/analysis"
	"neoteny/pkg/engine/component"
)

// TrialNeed is an artifact that the runs of a trial or an analysis start from.
type TrialNeed struct {
	// Name that the spec calls it by.
	Name string
	// Trial (or analysis) whose run publishes it, and the name that it is published
	// under.
	Trial, Artifact string
	// Seed of that run; nil is the seed of the run that needs it.
	Seed *uint32
	// AllSeeds: of the runs with every seed.
	AllSeeds bool
}

// need is what an experiment says about an artifact of another run.
type need struct {
	Arm      string  `json:"arm" doc:"arm that makes it"`
	Analysis string  `json:"analysis" doc:"or the analysis"`
	Artifact string  `json:"artifact" doc:"name that it is published under"`
	Seed     *uint32 `json:"seed" doc:"of the run; that of the run that needs it where this is left out"`
	Seeds    string  `json:"seeds" doc:"of an analysis' inputs: of the runs with all seeds" enum:"all"`

	at   string // where it stands in the experiment
	used bool   // some component asks for it
}

// baseNeeds returns the needs of the base as arms patch them.
func (e *expansion) baseNeeds() map[string]any {
	out := map[string]any{}
	for name, n := range e.spec.GetNeeds() {
		m := map[string]any{"artifact": n.GetArtifact()}
		if n.GetArm() != "" {
			m["arm"] = n.GetArm()
		}
		if n.GetAnalysis() != "" {
			m["analysis"] = n.GetAnalysis()
		}
		if n.Seed != nil {
			m["seed"] = float64(n.GetSeed())
		}
		out[name] = m
	}
	return out
}

// readNeeds reads the needs of an arm: the base's with the arm's patch.
func (e *expansion) readNeeds(a *arm) {
	a.needs = map[string]*need{}
	all, ok := a.raw["needs"].(map[string]any)
	if !ok && a.raw["needs"] != nil {
		e.fail(keyed("arms", a.name)+".needs", "must be an object of artifacts by name, is %s", shorten(jsonText(a.raw["needs"])))
	}
	patch, _ := a.patch["needs"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		at := keyed("needs", name)
		if _, own := patch[name]; own {
			at = keyed(keyed("arms", a.name)+".needs", name)
		}
		n := e.readNeed(at, all[name])
		if n == nil {
			continue
		}
		if n.Seeds != "" {
			e.fail(at+".seeds", "an arm starts from the artifact of one run; analyses look at all seeds")
		}
		a.needs[name] = n
	}
}

// readNeed reads one; nil after a mistake.
func (e *expansion) readNeed(at string, v any) *need {
	m, ok := v.(map[string]any)
	if !ok {
		e.fail(at, "must be an object such as {arm: pretrain, artifact: weights}, is %s", shorten(jsonText(v)))
		return nil
	}
	n := &need{at: at}
	if err := component.Decode(n, "a need", m); err != nil {
		e.add(component.At(at, err))
		return nil
	}
	return n
}

// resolveNeeds finds, for every trial and analysis, the trials and analyses whose
// artifacts it starts from, and marks what those publish.
func (e *expansion) resolveNeeds() {
	arms := map[string]*armTrials{}
	for _, name := range e.names {
		if e.arms[name] == nil {
			return // an arm in error may be needed, or need something
		}
		arms[name] = newArmTrials(e.arms[name])
	}
	if len(e.analyses) < len(e.spec.GetAnalyses()) {
		return
	}
	declared, used := map[string]string{}, map[string]bool{}
	for _, name := range e.names {
		a := e.arms[name]
		for i := range a.trials {
			e.needsOf(a, &a.trials[i], arms)
		}
		for n, x := range a.needs {
			declared[x.at] = n
			used[x.at] = used[x.at] || x.used
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.analyses)) {
		e.analyses[name].resolveNeeds(e, arms)
	}
	for _, at := range slices.Sorted(maps.Keys(declared)) {
		if !used[at] {
			e.fail(at, "no component asks for it: one that starts from an artifact says `artifact: %s`, as in weights: {artifact: %s}", declared[at], declared[at])
		}
	}
	if len(e.errs) == 0 {
		e.publish()
	}
}

// needsOf resolves what one trial needs.
func (e *expansion) needsOf(a *arm, t *Trial, arms map[string]*armTrials) {
	for _, ref := range t.Spec.Artifacts() {
		n := a.needs[ref.Name]
		if n == nil {
			at := ref.Path
			if patched(a.patch, at) {
				at = keyed("arms", a.name) + "." + at
			}
			have := slices.Sorted(maps.Keys(a.needs))
			e.fail(at, "arm %q has no artifact %q%s: say in its needs where it comes from, as in needs: {%s: {arm: ARM, artifact: weights}}",
				a.name, shorten(ref.Name), component.DidYouMean(ref.Name, have), shorten(ref.Name))
			continue
		}
		n.used = true
		if slices.ContainsFunc(t.Needs, func(x TrialNeed) bool { return x.Name == ref.Name }) {
			continue
		}
		if from, _ := e.provider(a.name, t, n, arms); from != "" {
			t.Needs = append(t.Needs, TrialNeed{Name: ref.Name, Trial: from, Artifact: n.Artifact, Seed: n.Seed})
		}
	}
	slices.SortFunc(t.Needs, func(x, y TrialNeed) int { return strings.Compare(x.Name, y.Name) })
}

// resolveNeeds resolves what an analysis looks at.
func (a *Analysis) resolveNeeds(e *expansion, arms map[string]*armTrials) {
	datasets := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(a.needs)) {
		n := a.needs[name]
		from, source := e.provider(a.Name, nil, n, arms)
		if from == "" {
			continue
		}
		a.Needs = append(a.Needs, TrialNeed{Name: name, Trial: from, Artifact: n.Artifact, Seed: n.Seed, AllSeeds: n.Seeds == "all"})
		if source != nil {
			a.sources[name] = source.Spec.Canonical()
			for _, d := range source.Spec.Datasets() {
				datasets[d] = a.resolved.Info.Data
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(datasets)) {
		if datasets[d] {
			a.Datasets = append(a.Datasets, d)
		}
	}
}

// provider names the trial or analysis whose run makes what n says, for runs of
// t, or for an analysis where t is nil. It is "" after a mistake.
func (e *expansion) provider(needer string, t *Trial, n *need, arms map[string]*armTrials) (name string, source *Trial) {
	kind, from, names := "arm", n.Arm, e.names
	if n.Analysis != "" {
		kind, from, names = "analysis", n.Analysis, slices.Sorted(maps.Keys(e.analyses))
	}
	switch {
	case (n.Arm == "") == (n.Analysis == ""):
		e.fail(n.at, "say which arm or which analysis makes it")
		return "", nil
	case n.Artifact == "":
		e.fail(n.at+".artifact", "missing: say which artifact, for example weights")
		return "", nil
	case from == needer:
		e.fail(n.at+"."+kind, "%s %q would need itself", kind, from)
		return "", nil
	case !slices.Contains(names, from):
		have := ""
		if len(names) > 0 {
			have = fmt.Sprintf(" (have: %s)", listed(names))
		}
		e.fail(n.at+"."+kind, "there is no %s %q%s%s", kind, shorten(from), component.DidYouMean(from, names), have)
		return "", nil
	case n.Seed != nil && !slices.Contains(e.tuning, *n.Seed):
		e.fail(n.at+".seed", "%d is none of the seeds that %s %q runs with", *n.Seed, kind, from)
		return "", nil
	case n.Seed != nil && n.Analysis != "" && e.analyses[from].Once:
		e.fail(n.at+".seed", "analysis %q has one run for all seeds: leave the seed out", from)
		return "", nil
	}
	published := map[string][]string{}
	if n.Analysis != "" {
		for _, artifact := range component.Publishes(e.analyses[from].resolved.Info.Info, e.analyses[from].resolved.Config) {
			published[artifact] = []string{e.analyses[from].at}
		}
		name = from
	} else {
		if source = e.trialFor(t, n, arms); source == nil {
			return "", nil
		}
		name, published = source.Name, source.Spec.Published()
	}
	if t == nil {
		published[analysis.Table] = []string{from}
	}
	switch by := published[n.Artifact]; {
	case len(by) == 0:
		have := slices.Sorted(maps.Keys(published))
		e.fail(n.at+".artifact", "%s %q publishes no %q%s (has: %s)", kind, from, shorten(n.Artifact), component.DidYouMean(n.Artifact, have), listed(have))
		return "", nil
	case len(by) > 1:
		e.fail(n.at+".artifact", "%s of arm %q all publish %q: leave one", strings.Join(by, " and "), from, n.Artifact)
		return "", nil
	}
	return name, source
}

// trialFor is the trial of the arm that n says, for runs of t: the one with the
// same hyperparameters, or the arm's only one.
func (e *expansion) trialFor(t *Trial, n *need, arms map[string]*armTrials) *Trial {
	trials := e.arms[n.Arm].trials
	if t == nil {
		if len(trials) != 1 {
			e.fail(n.at+".arm", "arm %q has %d trials: an analysis looks at arms that are not swept", n.Arm, len(trials))
			return nil
		}
		return &trials[0]
	}
	from := arms[n.Arm].like(t)
	if from == nil {
		e.fail(n.at+".arm", "arm %q has %d trials and none with the hyperparameters of %s (%s): sweep both arms alike, or %q not at all",
			n.Arm, len(trials), t.Name, paramText(t.Params), n.Arm)
	}
	return from
}

// publish marks which artifacts of trials and analyses others need, and
// reports those that would wait for each other.
func (e *expansion) publish() {
	needs, publishes := map[string][]TrialNeed{}, map[string]*[]string{}
	for _, a := range e.arms {
		for i := range a.trials {
			t := &a.trials[i]
			needs[t.Name], publishes[t.Name] = t.Needs, &t.Publishes
		}
	}
	for name, a := range e.analyses {
		if publishes[name] != nil {
			e.fail(a.at, "there is a trial %q too: rename the analysis", name)
			return
		}
		needs[name], publishes[name] = a.Needs, &a.Publishes
	}
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		for _, n := range needs[name] {
			if p := publishes[n.Trial]; n.Artifact != analysis.Table && !slices.Contains(*p, n.Artifact) {
				*p = append(*p, n.Artifact)
				slices.Sort(*p)
			}
		}
	}
	e.publishAll(publishes)
	if circle := findCircle(needs); circle != nil {
		i := slices.IndexFunc(needs[circle[0]], func(n TrialNeed) bool { return n.Trial == circle[1] })
		n := needs[circle[0]][i].Name
		at := ""
		if a := e.analyses[circle[0]]; a != nil {
			at = a.needs[n].at
		}
		for _, a := range e.arms {
			if slices.ContainsFunc(a.trials, func(t Trial) bool { return t.Name == circle[0] }) {
				at = a.needs[n].at
			}
		}
		e.fail(at, "%s: none of them could ever begin", strings.Join(circle, " needs "))
	}
}

// publishAll marks what the experiment asks every run to publish.
func (e *expansion) publishAll(publishes map[string]*[]string) {
	for i, artifact := range e.spec.GetPublish() {
		have := map[string]bool{}
		found := false
		for _, a := range e.arms {
			for k := range a.trials {
				t := &a.trials[k]
				published := t.Spec.Published()
				for name := range published {
					have[name] = true
				}
				if len(published[artifact]) == 0 {
					continue
				}
				found = true
				if p := publishes[t.Name]; !slices.Contains(*p, artifact) {
					*p = append(*p, artifact)
					slices.Sort(*p)
				}
			}
		}
		if !found {
			names := slices.Sorted(maps.Keys(have))
			e.fail(indexed("publish", i), "no arm publishes %q%s (have: %s)", shorten(artifact), component.DidYouMean(artifact, names), listed(names))
		}
	}
}

// armTrials finds an arm's trials by their hyperparameters.
type armTrials struct {
	paths  []string // that the arm's sweep sets
	trials map[string]*Trial
}

func newArmTrials(a *arm) *armTrials {
	o := &armTrials{trials: map[string]*Trial{}}
	if len(a.trials) > 0 {
		o.paths = slices.Sorted(maps.Keys(a.trials[0].Params))
	}
	for i := range a.trials {
		key, _ := o.key(a.trials[i].Params)
		o.trials[key] = &a.trials[i]
	}
	return o
}

func (o *armTrials) key(params map[string]string) (string, bool) {
	var b strings.Builder
	for _, p := range o.paths {
		v, ok := params[p]
		if !ok {
			return "", false
		}
		b.WriteString(p + "=" + v + "\n")
	}
	return b.String(), true
}

// like is the trial whose hyperparameters t has as well: the arm's only one
// where it is not swept.
func (o *armTrials) like(t *Trial) *Trial {
	key, ok := o.key(t.Params)
	if !ok {
		return nil
	}
	return o.trials[key]
}

// findCircle returns names that need each other, the first one again at the end.
func findCircle(needs map[string][]TrialNeed) []string {
	const under, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		switch state[name] {
		case done:
			return nil
		case under:
			return append(path[slices.Index(path, name):], name)
		}
		state[name] = under
		path = append(path, name)
		for _, n := range needs[name] {
			if circle := visit(n.Trial); circle != nil {
				return circle
			}
		}
		path = path[:len(path)-1]
		state[name] = done
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		if circle := visit(name); circle != nil {
			return circle
		}
	}
	return nil
}
