package report

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// Summarize computes the result of an experiment from its finished runs. Runs
// that are missing are not errors: what they leave open is said in the
// messages of claims.
func Summarize(spec *pb.ExperimentSpec, runs []RunTable) (*Summary, error) {
	c, err := collect(runs)
	if err != nil {
		return nil, err
	}
	selected, boot := c.selected(spec), sampler{}
	s := &Summary{Name: spec.GetName(), Paper: spec.GetPaper(), Arms: []Arm{}, Claims: []Claim{}}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		arm := Arm{Arm: name, Selected: selected[name]}
		for _, st := range c.stages(name) {
			arm.Trials = append(arm.Trials, summarizeTrial(st, c[name][st], boot))
		}
		if isAnalysis(name) {
			s.Analyses = append(s.Analyses, Analysis{arm.Trials[0].Trial, arm.Trials})
			continue
		}
		s.Arms = append(s.Arms, arm)
	}
	s.Gaps = c.gaps(spec, selected, boot)
	for _, cl := range spec.GetClaims() {
		s.Claims = append(s.Claims, c.judge(cl, spec, selected, boot))
	}
	return s, nil
}

func summarizeTrial(st stage, seeds map[uint32]map[string][]float64, boot sampler) Trial {
	t := Trial{Trial: st.trial, Confirmation: st.confirmation, Seeds: slices.Sorted(maps.Keys(seeds)), Metrics: []Metric{}}
	names := map[string]bool{}
	for _, cols := range seeds {
		for n := range cols {
			names[n] = true
		}
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		metric, layer := splitColumn(n)
		t.Metrics = append(t.Metrics, Metric{
			Metric:   metric,
			Layer:    layer,
			Interval: boot.interval(seedMeans(seeds, n), metricResamples),
			PerTask:  curve(t.Seeds, seeds, n),
		})
	}
	return t
}

func splitColumn(name string) (metric, layer string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

func curve(order []uint32, seeds map[uint32]map[string][]float64, name string) Curve {
	tasks := 0
	for _, cols := range seeds {
		tasks = max(tasks, len(cols[name]))
	}
	c := Curve{Mean: make([]Number, tasks), Low: make([]Number, tasks), High: make([]Number, tasks)}
	values := make([]float64, 0, len(order))
	for t := range tasks {
		values = values[:0]
		for _, s := range order {
			if col := seeds[s][name]; t < len(col) {
				values = append(values, col[t])
			}
		}
		i := tInterval(values)
		c.Mean[t], c.Low[t], c.High[t] = i.Mean, i.Low, i.High
	}
	return c
}

// judge evaluates a claim for every seed that all its arms have, and holds the
// interval of the mean against the bound.
func (c collection) judge(cl *pb.Claim, spec *pb.ExperimentSpec, selected map[string]string, boot sampler) Claim {
	test, bound := boundOf(cl.GetHolds())
	out := Claim{
		Name: cl.GetName(), Paper: cl.GetPaper(), Value: cl.GetValue(), Bound: bound,
		Interval: tInterval(nil), Seeds: []SeedValue{}, Verdict: Undecided,
	}
	p, err := claim.Compile(cl.GetValue())
	if err != nil {
		out.Message = err.Error()
		return out
	}
	runs, all, missing := c.paired(p.Arms(), spec, selected)
	if missing == "" {
		all, missing = c.analysed(p.Analyses(), spec, runs, all)
	}
	if missing != "" {
		out.Message = missing
		return out
	}
	var values []float64
	without := 0
	for _, seed := range all {
		table := claim.Table{}
		for arm, seeds := range runs {
			if seeds[seed] != nil {
				table[arm] = seeds[seed]
			}
		}
		if len(table) < len(runs) {
			without++
			continue
		}
		v, err := p.Eval(table)
		if err != nil {
			v = math.NaN()
			out.Message = fmt.Sprintf("seed %d: %v", seed, err)
		}
		out.Seeds = append(out.Seeds, SeedValue{seed, Number(v)})
		values = append(values, v)
	}
	out.Interval = boot.interval(values, claimResamples)
	out.Verdict = test(out.Interval)
	note := func(format string, args ...any) {
		if out.Message == "" {
			out.Message = fmt.Sprintf(format, args...)
		}
	}
	switch {
	case out.N < len(values):
		// Seeds without a value are not a random choice: leaving them out
		// would judge the claim on the seeds that went well.
		out.Verdict = Undecided
		note("%d of %d seeds have no finite value", len(values)-out.N, len(values))
	case out.N == 1 && len(p.Arms()) == 0 && allOnce(p.Analyses(), spec):
		// One number over all seeds: it is what it is.
		out.Verdict = test(Interval{Low: out.Mean, High: out.Mean, N: 2})
		note("one number over all seeds, without an interval")
	case out.N == 0:
		note("no seed has a run of every arm that the claim looks at")
	case out.N == 1:
		note("one seed gives no confidence interval: run more seeds")
	case without > 0:
		note("%d of %d seeds lack a finished run", without, len(all))
	case out.Verdict == Undecided:
		note("the 95 %% interval does not settle it: run more seeds")
	}
	return out
}

// paired returns the runs of the given arms that claims look at, and the
// seeds of any of them. It says what is missing when an arm has none.
func (c collection) paired(arms []string, spec *pb.ExperimentSpec, selected map[string]string) (runs map[string]map[uint32]map[string][]float64, seeds []uint32, missing string) {
	runs = map[string]map[uint32]map[string][]float64{}
	confirmed := spec.GetSelect().GetConfirmSeeds() != nil
	every := map[uint32]bool{}
	for _, arm := range arms {
		trial, ok := selected[arm]
		switch {
		case len(c[arm]) == 0:
			return nil, nil, fmt.Sprintf("arm %q has no finished run", arm)
		case !ok && spec.GetSelect() == nil:
			return nil, nil, fmt.Sprintf("arm %q has several trials and no select to pick one", arm)
		case !ok:
			return nil, nil, fmt.Sprintf("no trial of arm %q could be selected: %s was not measured on its tuning seeds", arm, spec.GetSelect().GetMetric())
		}
		runs[arm] = c[arm][stage{trial, confirmed}]
		if len(runs[arm]) == 0 {
			return nil, nil, fmt.Sprintf("the selected trial %s of arm %q has no finished run on a confirmation seed", trial, arm)
		}
		for s := range runs[arm] {
			every[s] = true
		}
	}
	return runs, slices.Sorted(maps.Keys(every)), ""
}

// BoundText is a bound in writing, for example "> 0.03".
func BoundText(b *pb.Bound) string {
	_, text := boundOf(b)
	return text
}

// gapMetrics are what plasticity gaps are taken of.
var gapMetrics = []string{"online_accuracy", "loss"}

// gaps compares every arm with its fresh-network control: its own one, or that of
// the base. Seeds that lack a run of one of them are left out.
func (c collection) gaps(spec *pb.ExperimentSpec, selected map[string]string, boot sampler) (out []Gap) {
	list, err := experiment.Controls(spec)
	if err != nil {
		return nil // of a version that knew others
	}
	controls, own := map[string]bool{}, map[string]string{} // control by arm
	for _, x := range list {
		controls[x.Arm] = true
		if x.Kind == experiment.FreshNetwork {
			own[x.Of] = x.Arm
		}
	}
	for _, arm := range slices.Sorted(maps.Keys(c)) {
		control := own[arm]
		if control == "" {
			control = own[""]
		}
		if control == "" || controls[arm] || isAnalysis(arm) {
			continue
		}
		runs, seeds, missing := c.paired([]string{arm, control}, spec, selected)
		if missing != "" {
			continue
		}
		for _, metric := range gapMetrics {
			if g, ok := gapOf(metric, runs[arm], runs[control], seeds, boot); ok {
				out = append(out, Gap{arm, control, g})
			}
		}
	}
	return out
}

func gapOf(metric string, continued, fresh map[uint32]map[string][]float64, seeds []uint32, boot sampler) (Metric, bool) {
	difference := map[uint32]map[string][]float64{}
	var both []uint32
	for _, s := range seeds {
		a, b := fresh[s][metric], continued[s][metric]
		if len(a) == 0 || len(b) == 0 {
			continue
		}
		d := make([]float64, min(len(a), len(b)))
		for t := range d {
			d[t] = a[t] - b[t]
		}
		difference[s] = map[string][]float64{metric: d}
		both = append(both, s)
	}
	return Metric{
		Metric:   metric,
		Interval: boot.interval(seedMeans(difference, metric), metricResamples),
		PerTask:  curve(both, difference, metric),
	}, len(both) > 0
}

// once reports whether an analysis has one run for all seeds.
func once(spec *pb.ExperimentSpec, analysis string) bool {
	return spec.GetAnalyses()[analysis].GetFields()["per"].GetStringValue() == "experiment"
}

func allOnce(analyses []string, spec *pb.ExperimentSpec) bool {
	return !slices.ContainsFunc(analyses, func(name string) bool { return !once(spec, name) })
}

// analysed adds the runs of the given analyses to those of arms. The number of an
// analysis over all seeds is that of every seed.
func (c collection) analysed(analyses []string, spec *pb.ExperimentSpec, runs map[string]map[uint32]map[string][]float64, seeds []uint32) (all []uint32, missing string) {
	every := map[uint32]bool{}
	for _, s := range seeds {
		every[s] = true
	}
	// The ones of every seed first: they say which seeds there are.
	for _, pass := range []bool{false, true} {
		for _, name := range analyses {
			if once(spec, name) != pass {
				continue
			}
			key := claim.AnalysisKey(name)
			own := c[key][stage{name, spec.GetSelect().GetConfirmSeeds() != nil}]
			if len(own) == 0 {
				return nil, fmt.Sprintf("analysis %q has no finished run", name)
			}
			runs[key] = map[uint32]map[string][]float64{}
			for s, columns := range own {
				switch {
				case !pass || len(every) == 0:
					runs[key][s] = columns
					every[s] = true
				default:
					for x := range every {
						runs[key][x] = columns
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(every)), ""
}

// boundOf returns the test that a bound puts on an interval, and the bound in
// writing. Without an interval nothing is decided.
func boundOf(b *pb.Bound) (func(Interval) Verdict, string) {
	var op string
	var x float64
	var holds func(v float64) bool
	switch {
	case b != nil && b.Gt != nil:
		op, x, holds = ">", b.GetGt(), func(v float64) bool { return v > x }
	case b != nil && b.Ge != nil:
		op, x, holds = ">=", b.GetGe(), func(v float64) bool { return v >= x }
	case b != nil && b.Lt != nil:
		op, x, holds = "<", b.GetLt(), func(v float64) bool { return v < x }
	case b != nil && b.Le != nil:
		op, x, holds = "<=", b.GetLe(), func(v float64) bool { return v <= x }
	default:
		return func(Interval) Verdict { return Undecided }, ""
	}
	return func(i Interval) Verdict {
		low, high := float64(i.Low), float64(i.High)
		switch {
		case i.N < 2:
			return Undecided
		case holds(low) && holds(high):
			return Held
		case !holds(low) && !holds(high):
			return DidNotHold
		}
		return Undecided
	}, fmt.Sprintf("%s %v", op, x)
}
