package experiment

import (
	"maps"
	"slices"
	"strings"

	"neoteny/pkg/engine/component"
)

// TrialNeed is an artifact that the runs of a trial start from.
type TrialNeed struct {
	// Name that the spec calls it by.
	Name string
	// Trial whose run publishes it, and the name that it is published under.
	Trial, Artifact string
	// Seed of that run; nil is the seed of the run that needs it.
	Seed *uint32
}

// need is what an experiment says about an artifact of another arm.
type need struct {
	Arm      string  `json:"arm" doc:"arm that makes it"`
	Analysis string  `json:"analysis" doc:"or the analysis"`
	Artifact string  `json:"artifact" doc:"name that it is published under"`
	Seed     *uint32 `json:"seed" doc:"of the run; that of the run that needs it where this is left out"`

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
		n := &need{at: at}
		m, ok := all[name].(map[string]any)
		if !ok {
			e.fail(at, "must be an object such as {arm: pretrain, artifact: weights}, is %s", shorten(jsonText(all[name])))
			continue
		}
		if err := component.Decode(n, "what an arm needs", m); err != nil {
			e.add(component.At(at, err))
			continue
		}
		a.needs[name] = n
	}
}

// resolveNeeds finds, for every trial, the trials whose artifacts it starts from, and
// tells those what to publish.
func (e *expansion) resolveNeeds() {
	byName := map[string]*Trial{}
	order := map[string]*armTrials{}
	for _, name := range e.names {
		if a := e.arms[name]; a != nil {
			for i := range a.trials {
				byName[a.trials[i].Name] = &a.trials[i]
			}
			order[name] = newArmTrials(a)
		}
	}
	declared, used := map[string]string{}, map[string]bool{}
	for _, name := range e.names {
		a := e.arms[name]
		if a == nil {
			return // an arm in error may be needed, or need something
		}
		for i := range a.trials {
			e.needsOf(a, &a.trials[i], order)
		}
		for n, x := range a.needs {
			declared[x.at] = n
			used[x.at] = used[x.at] || x.used
		}
	}
	for _, at := range slices.Sorted(maps.Keys(declared)) {
		if !used[at] {
			e.fail(at, "no component asks for it: one that starts from an artifact says `artifact: %s`, as in weights: {artifact: %s}", declared[at], declared[at])
		}
	}
	if len(e.errs) > 0 {
		return
	}
	publish := map[string]map[string]bool{}
	for _, t := range byName {
		for _, n := range t.Needs {
			if publish[n.Trial] == nil {
				publish[n.Trial] = map[string]bool{}
			}
			publish[n.Trial][n.Artifact] = true
		}
	}
	for name, artifacts := range publish {
		byName[name].Publishes = slices.Sorted(maps.Keys(artifacts))
	}
	e.cycles(byName)
}

// needsOf resolves what one trial needs.
func (e *expansion) needsOf(a *arm, t *Trial, order map[string]*armTrials) {
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
		if from := e.provider(a, t, n, order); from != nil {
			t.Needs = append(t.Needs, TrialNeed{Name: ref.Name, Trial: from.Name, Artifact: n.Artifact, Seed: n.Seed})
		}
	}
	slices.SortFunc(t.Needs, func(x, y TrialNeed) int { return strings.Compare(x.Name, y.Name) })
}

// provider is the trial whose run makes what n says for runs of t; nil after a
// mistake.
func (e *expansion) provider(a *arm, t *Trial, n *need, order map[string]*armTrials) *Trial {
	switch {
	case n.Arm == "":
		e.fail(n.at+".arm", "missing: say which arm makes it")
		return nil
	case n.Artifact == "":
		e.fail(n.at+".artifact", "missing: say which artifact, for example weights")
		return nil
	case n.Arm == a.name:
		e.fail(n.at+".arm", "arm %q would need itself", n.Arm)
		return nil
	case e.arms[n.Arm] == nil:
		e.fail(n.at+".arm", "there is no arm %q%s (have: %s)", shorten(n.Arm), component.DidYouMean(n.Arm, e.names), listed(e.names))
		return nil
	case n.Seed != nil && !slices.Contains(e.tuning, *n.Seed):
		e.fail(n.at+".seed", "%d is none of the seeds that arm %q runs with", *n.Seed, n.Arm)
		return nil
	}
	from := order[n.Arm].like(t)
	if from == nil {
		e.fail(n.at+".arm", "arm %q has %d trials and none with the hyperparameters of %s (%s): sweep both arms alike, or %q not at all",
			n.Arm, len(e.arms[n.Arm].trials), t.Name, paramText(t.Params), n.Arm)
		return nil
	}
	published := from.Spec.Published()
	switch by := published[n.Artifact]; {
	case len(by) == 0:
		have := slices.Sorted(maps.Keys(published))
		e.fail(n.at+".artifact", "arm %q publishes no %q%s (has: %s)", n.Arm, shorten(n.Artifact), component.DidYouMean(n.Artifact, have), listed(have))
		return nil
	case len(by) > 1:
		e.fail(n.at+".artifact", "%s of arm %q all publish %q: leave one", strings.Join(by, " and "), n.Arm, n.Artifact)
		return nil
	}
	return from
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

// cycles reports trials that would wait for each other.
func (e *expansion) cycles(byName map[string]*Trial) {
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
		for _, n := range byName[name].Needs {
			if circle := visit(n.Trial); circle != nil {
				return circle
			}
		}
		path = path[:len(path)-1]
		state[name] = done
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		circle := visit(name)
		if circle == nil {
			continue
		}
		first := byName[circle[0]]
		i := slices.IndexFunc(first.Needs, func(n TrialNeed) bool { return n.Trial == circle[1] })
		e.fail(e.arms[first.Arm].needs[first.Needs[i].Name].at, "%s: none of them could ever begin", strings.Join(circle, " needs "))
		return
	}
}
