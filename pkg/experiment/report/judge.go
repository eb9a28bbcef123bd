package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// judge evaluates a claim for every seed that all its arms have, and holds the
// interval of the mean against the bound.
func (c collection) judge(cl *pb.Claim, spec *pb.ExperimentSpec, selected map[string]string, boot sampler) Claim {
	bound := boundOf(cl.GetHolds())
	out := Claim{
		Name: cl.GetName(), Paper: cl.GetPaper(), Value: cl.GetValue(), Bound: bound.String(),
		Interval: tInterval(nil), Seeds: []SeedValue{}, Verdict: Undecided,
	}
	p, err := claim.Compile(cl.GetValue())
	if err != nil {
		out.Message = err.Error()
		return out
	}
	s := sample{claim: cl, program: p}
	if s.runs, s.seeds, out.Message = c.looksAt(p, spec, selected); out.Message != "" {
		return out
	}
	s.evaluate()
	out.Seeds = s.values
	out.Interval = boot.interval(s.numbers(), claimResamples)
	out.Of = len(s.seeds)
	out.Verdict, out.Message = s.verdict(out.Interval, bound, len(p.Arms()) == 0 && allOnce(p.Analyses(), spec))
	return out
}

// sample is a claim's value for every seed.
type sample struct {
	claim   *pb.Claim
	program *claim.Program
	runs    map[string]*group // by arm, or the key of an analysis
	seeds   []uint32          // of any of them

	values   []SeedValue
	failed   string // why the first seed without a value has none
	diverged int    // seeds of which a run diverged
	without  int    // seeds that lack a run of an arm
}

func (s *sample) evaluate() {
	for _, seed := range s.seeds {
		table, diverged, complete := claim.Table{}, false, true
		for arm, g := range s.runs {
			switch {
			case g.done[seed] != nil:
				table[arm] = g.done[seed]
			case g.diverged[seed] != nil:
				table[arm], diverged = g.diverged[seed], true
			default:
				complete = false
			}
		}
		switch {
		case !complete:
			s.without++
		case diverged:
			s.diverged++
			s.values = append(s.values, SeedValue{seed, s.ofDiverged(table), true})
		default:
			v, err := s.program.Eval(table)
			if err != nil {
				v = math.NaN()
				s.failed = fmt.Sprintf("seed %d: %v", seed, err)
			}
			s.values = append(s.values, SeedValue{seed, Number(v), false})
		}
	}
}

// ofDiverged is the value of a seed of which a run diverged. What was measured until
// then is no value, unless it is infinite.
func (s *sample) ofDiverged(table claim.Table) Number {
	if s.claim.GetDiverged() == "worst" {
		return Number(s.claim.GetWorst())
	}
	if v, err := s.program.Eval(table); err == nil && math.IsInf(v, 0) && s.claim.GetDiverged() == "" {
		return Number(v)
	}
	return Number(math.NaN())
}

// numbers are the values that count.
func (s *sample) numbers() (out []float64) {
	for _, v := range s.values {
		if !v.Diverged || s.claim.GetDiverged() != "exclude" {
			out = append(out, float64(v.Value))
		}
	}
	return out
}

// verdict is what the interval of the values says about the claim, unless seeds
// forbid to say it: those without a value are not a random choice, and leaving them
// out would judge the claim on the seeds that went well.
func (s *sample) verdict(i Interval, bound bound, one bool) (Verdict, string) {
	numbers := s.numbers()
	infinite, undefined := math.NaN(), 0 // the infinity that violates the bound
	for _, v := range numbers {
		switch {
		case math.IsNaN(v):
			undefined++
		case math.IsInf(v, 0) && !bound.holds(v):
			infinite = v
		}
	}
	left := ""
	if s.diverged > 0 {
		left = fmt.Sprintf("%d of %d seeds diverged", s.diverged, len(s.seeds))
	}
	switch {
	case !math.IsNaN(infinite) && undefined <= s.diverged:
		return DidNotHold, fmt.Sprintf("the value is %v for a seed", infinite)
	case s.diverged > 0 && s.claim.GetDiverged() == "":
		return Undecided, left + "; diverged: worst or diverged: exclude in the claim says how to count them"
	case len(numbers) == 0 && s.diverged > 0:
		return Undecided, left + " and are excluded: none is left"
	case i.N < len(numbers) && s.failed != "":
		return Undecided, s.failed
	case i.N < len(numbers):
		return Undecided, fmt.Sprintf("%d of %d seeds have no finite value", len(numbers)-i.N, len(numbers))
	case i.N == 1 && one:
		// One number over all seeds: it is what it is.
		return bound.test(Interval{Low: i.Mean, High: i.Mean, N: 2}), "one number over all seeds, without an interval"
	case i.N == 0:
		return Undecided, "no seed has a run of every arm that the claim looks at"
	case i.N == 1:
		return Undecided, "one seed gives no confidence interval: run more seeds"
	}
	verdict := bound.test(i)
	switch {
	case s.diverged > 0 && s.claim.GetDiverged() == "worst":
		return verdict, fmt.Sprintf("%s and count as %v", left, s.claim.GetWorst())
	case s.diverged > 0:
		return verdict, left + " and are excluded"
	case s.without > 0:
		return verdict, fmt.Sprintf("%d of %d seeds lack a finished run", s.without, len(s.seeds))
	case verdict == Undecided:
		return verdict, "the 95 % interval does not settle it: run more seeds"
	}
	return verdict, ""
}

// looksAt returns the runs that a claim looks at, and the seeds of any of them. It
// says what is missing when an arm or an analysis has none.
func (c collection) looksAt(p *claim.Program, spec *pb.ExperimentSpec, selected map[string]string) (runs map[string]*group, seeds []uint32, missing string) {
	runs = map[string]*group{}
	every := map[uint32]bool{}
	for _, arm := range p.Arms() {
		g, missing := c.chosen(arm, spec, selected)
		if missing != "" {
			return nil, nil, missing
		}
		runs[arm] = g
		for _, s := range g.seeds() {
			every[s] = true
		}
	}
	if missing := c.analysed(p.Analyses(), spec, runs, every); missing != "" {
		return nil, nil, missing
	}
	return runs, slices.Sorted(maps.Keys(every)), ""
}

// chosen returns the runs of an arm that claims look at, or says why there are none.
func (c collection) chosen(arm string, spec *pb.ExperimentSpec, selected map[string]string) (g *group, missing string) {
	trial, ok := selected[arm]
	switch {
	case len(c[arm]) == 0:
		return nil, fmt.Sprintf("arm %q has no finished run", arm)
	case !ok && spec.GetSelect() == nil:
		return nil, fmt.Sprintf("arm %q has several trials and no select to pick one", arm)
	case !ok && c.allDiverged(arm):
		return nil, fmt.Sprintf("every run of arm %q diverged: no trial could be selected", arm)
	case !ok:
		return nil, fmt.Sprintf("no trial of arm %q could be selected: %s was not measured on its tuning seeds", arm, cmp.Or(spec.GetSelect().GetMetric(), spec.GetSelect().GetValue()))
	}
	g = c[arm][stage{trial, spec.GetSelect().GetConfirmSeeds() != nil}]
	switch {
	case g != nil && len(g.done)+len(g.diverged) > 0:
		return g, ""
	case spec.GetSelect().GetConfirmSeeds() != nil:
		return nil, fmt.Sprintf("the selected trial %s of arm %q has no finished run on a confirmation seed", trial, arm)
	}
	return nil, fmt.Sprintf("arm %q has no finished run", arm)
}

// once reports whether an analysis has one run for all seeds.
func once(spec *pb.ExperimentSpec, analysis string) bool {
	return spec.GetAnalyses()[analysis].GetFields()["per"].GetStringValue() == "experiment"
}

func allOnce(analyses []string, spec *pb.ExperimentSpec) bool {
	return !slices.ContainsFunc(analyses, func(name string) bool { return !once(spec, name) })
}

func (c collection) allDiverged(arm string) bool {
	for _, g := range c[arm] {
		if len(g.diverged) == 0 || len(g.done)+len(g.missing) > 0 {
			return false
		}
	}
	return true
}

// analysed adds the runs of the given analyses to those of arms, and their seeds to
// every. The number of an analysis over all seeds is that of every seed.
func (c collection) analysed(analyses []string, spec *pb.ExperimentSpec, runs map[string]*group, every map[uint32]bool) (missing string) {
	// The ones of every seed first: they say which seeds there are.
	for _, pass := range []bool{false, true} {
		for _, name := range analyses {
			if once(spec, name) != pass {
				continue
			}
			key := claim.AnalysisKey(name)
			own := c[key][stage{name, spec.GetSelect().GetConfirmSeeds() != nil}]
			if own == nil || len(own.done)+len(own.diverged) == 0 {
				return fmt.Sprintf("analysis %q has no finished run", name)
			}
			if pass && len(every) > 0 {
				own = own.everywhere(every)
			}
			runs[key] = own
			for _, s := range own.seeds() {
				every[s] = true
			}
		}
	}
	return ""
}

// everywhere is a group of one run, for every one of the seeds.
func (g *group) everywhere(seeds map[uint32]bool) *group {
	spread := func(one bySeed) bySeed {
		out := bySeed{}
		for _, cols := range one {
			for s := range seeds {
				out[s] = cols
			}
		}
		return out
	}
	return &group{done: spread(g.done), diverged: spread(g.diverged)}
}

// bound is a one-sided condition on a number.
type bound struct {
	op    string
	x     float64
	holds func(v float64) bool
}

func boundOf(b *pb.Bound) bound {
	switch {
	case b != nil && b.Gt != nil:
		return bound{">", b.GetGt(), func(v float64) bool { return v > b.GetGt() }}
	case b != nil && b.Ge != nil:
		return bound{">=", b.GetGe(), func(v float64) bool { return v >= b.GetGe() }}
	case b != nil && b.Lt != nil:
		return bound{"<", b.GetLt(), func(v float64) bool { return v < b.GetLt() }}
	case b != nil && b.Le != nil:
		return bound{"<=", b.GetLe(), func(v float64) bool { return v <= b.GetLe() }}
	}
	return bound{holds: func(float64) bool { return true }} // nothing violates it, and nothing is decided by it
}

func (b bound) String() string {
	if b.op == "" {
		return ""
	}
	return fmt.Sprintf("%s %v", b.op, b.x)
}

// BoundText is a bound in writing, for example "> 0.03".
func BoundText(b *pb.Bound) string { return boundOf(b).String() }

// test holds an interval against the bound. Without an interval nothing is decided.
func (b bound) test(i Interval) Verdict {
	low, high := float64(i.Low), float64(i.High)
	switch {
	case i.N < 2 || b.op == "":
		return Undecided
	case b.holds(low) && b.holds(high):
		return Held
	case !b.holds(low) && !b.holds(high):
		return DidNotHold
	}
	return Undecided
}
