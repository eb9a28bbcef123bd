package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"neoteny/pkg/experiment/claim"
	pb "neoteny/proto/neoteny/v1"
)

// columns are what a run measured: one list per column, one value per task.
type columns map[string][]float64

// bySeed are the runs of a trial.
type bySeed map[uint32]columns

// group is the runs of a trial at one stage.
type group struct {
	done     bySeed
	diverged bySeed // up to where they diverged
	missing  map[uint32]bool
	params   map[string]string
}

// seeds are those of all runs, sorted.
func (g *group) seeds() []uint32 {
	all := slices.AppendSeq(slices.Collect(maps.Keys(g.done)), maps.Keys(g.diverged))
	return slices.Sorted(slices.Values(slices.AppendSeq(all, maps.Keys(g.missing))))
}

func (g *group) has(seed uint32) bool {
	return g.done[seed] != nil || g.diverged[seed] != nil || g.missing[seed]
}

// collection is all runs with their columns; an analysis stands under its
// [claim.AnalysisKey].
type collection map[string]map[stage]*group // by arm

type stage struct {
	trial        string
	confirmation bool
}

func collect(runs []RunTable) (collection, error) {
	c := collection{}
	for _, r := range runs {
		cols, err := columnsOf(r)
		if err != nil {
			return nil, err
		}
		if r.Analysis {
			r.Arm = claim.AnalysisKey(r.Arm)
		}
		if c[r.Arm] == nil {
			c[r.Arm] = map[stage]*group{}
		}
		st := stage{r.Trial, r.Confirmation}
		g := c[r.Arm][st]
		if g == nil {
			g = &group{bySeed{}, bySeed{}, map[uint32]bool{}, r.Params}
			c[r.Arm][st] = g
		}
		if g.has(r.Seed) {
			return nil, fmt.Errorf("run %s/%d is there twice", r.Trial, r.Seed)
		}
		switch r.Outcome {
		case Finished:
			g.done[r.Seed] = cols
		case Diverged:
			g.diverged[r.Seed] = cols
		default:
			g.missing[r.Seed] = true
		}
	}
	return c, nil
}

// column is the name of a table's column as claims write it.
func column(c *pb.ColumnName) string {
	if c.GetLayer() == "" {
		return c.GetMetric()
	}
	return c.GetMetric() + "/" + c.GetLayer()
}

// maxTask bounds the length of a column, which a table's task indices decide.
const maxTask = 1 << 24

// columnsOf spreads a run's table out: one list per column, one value per task,
// NaN for tasks that have no row or no value.
func columnsOf(run RunTable) (columns, error) {
	tasks := 0
	for _, r := range run.Table.GetRows() {
		if r.GetTask() < 0 || r.GetTask() >= maxTask {
			return nil, fmt.Errorf("run %s/%d: a row of task %d", run.Trial, run.Seed, r.GetTask())
		}
		if len(r.GetValues()) != len(run.Table.GetColumns()) {
			return nil, fmt.Errorf("run %s/%d: %d values in %d columns at task %d", run.Trial, run.Seed, len(r.GetValues()), len(run.Table.GetColumns()), r.GetTask())
		}
		tasks = max(tasks, int(r.GetTask())+1)
	}
	out := columns{}
	for i, c := range run.Table.GetColumns() {
		values := make([]float64, tasks)
		for t := range values {
			values[t] = math.NaN()
		}
		for _, r := range run.Table.GetRows() {
			values[r.GetTask()] = r.GetValues()[i]
		}
		out[column(c)] = values
	}
	return out, nil
}

// stages lists an arm's trials by name, confirmation runs behind the others.
func (c collection) stages(arm string) []stage {
	return slices.SortedFunc(maps.Keys(c[arm]), func(a, b stage) int {
		switch {
		case a.confirmation == b.confirmation:
			return cmp.Compare(a.trial, b.trial)
		case b.confirmation:
			return -1
		}
		return 1
	})
}

func isAnalysis(key string) bool { return strings.HasPrefix(key, claim.AnalysisKey("")) }

// seedMeans are the means over tasks of a column, in order of seed.
func seedMeans(seeds bySeed, name string) []float64 {
	var out []float64
	for _, s := range slices.Sorted(maps.Keys(seeds)) {
		out = append(out, taskMean(seeds[s][name]))
	}
	return out
}

// taskMean is the mean over the tasks that were measured, NaN without any. An
// infinite value makes the mean infinite: it was measured.
func taskMean(values []float64) float64 {
	sum, n := 0.0, 0
	for _, v := range values {
		if !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	return sum / float64(n)
}
