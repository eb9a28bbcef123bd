package results

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"

	"neoteny/pkg/experiment"
	"neoteny/pkg/experiment/report"
	pb "neoteny/proto/neoteny/v1"
)

// taskColumns are those of tasks.csv. params are the parameters that a sweep set, in
// few words; trials.csv has a column for each. state is "done", or "diverged" in the
// task in which the run diverged, whose values are of the steps before.
var taskColumns = []string{"experiment", "arm", "trial", "params", "stage", "seed", "task", "state", "metric", "layer", "value"}

// WriteTasksCSV writes the task tables, one line per value that was measured.
func (r *Result) WriteTasksCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	if err := cw.Write(taskColumns); err != nil {
		return err
	}
	for _, run := range r.Runs {
		line := []string{
			r.Experiment.GetSpec().GetName(), run.GetArm(), run.GetTrial(), experiment.Label(run.GetParams()), r.stage(run),
			strconv.FormatUint(uint64(run.GetSeed()), 10), "", "", "", "", "",
		}
		for c, value := range run.cells() {
			copy(line[6:], []string{c.task, c.state, c.metric, c.layer, value})
			if err := cw.Write(line); err != nil {
				return err
			}
		}
	}
	cw.Flush()
	return cw.Error()
}

// stage is "tuning" or "confirmation" where the experiment selects trials.
func (r *Result) stage(run Run) string {
	switch {
	case run.GetConfirmation():
		return "confirmation"
	case r.Experiment.GetSpec().GetSelect() != nil && !run.GetAnalysis():
		return "tuning"
	}
	return ""
}

// cell is a place in a run's task table.
type cell struct{ task, state, metric, layer string }

// cells are the values of the task table that were measured, each as the
// shortest number that reads as itself.
func (r Run) cells() iter.Seq2[cell, string] {
	return func(yield func(cell, string) bool) {
		for _, row := range r.Table.GetRows() {
			task, state := strconv.Itoa(int(row.GetTask())), "done"
			if d := r.GetDivergence(); d != nil && d.GetTask() == row.GetTask() {
				state = "diverged"
			}
			for i, c := range r.Table.GetColumns() {
				if i >= len(row.GetValues()) || math.IsNaN(row.GetValues()[i]) {
					continue
				}
				if !yield(cell{task, state, c.GetMetric(), c.GetLayer()}, strconv.FormatFloat(row.GetValues()[i], 'g', -1, 64)) {
					return
				}
			}
		}
	}
}

// WriteRunsCSV writes one line per run, with its digest and run key.
func (r *Result) WriteRunsCSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	if err := cw.Write([]string{"run", "arm", "trial", "params", "stage", "seed", "state", "digest", "run_key", "numerics_version", "tasks", "steps", "seconds", "settings", "message"}); err != nil {
		return err
	}
	for _, run := range r.Runs {
		settings := ""
		if len(run.GetParams()) > 0 {
			var err error
			if settings, err = paramsJSON(run.GetParams()); err != nil {
				return err
			}
		}
		if err := cw.Write([]string{
			run.GetId(), run.GetArm(), run.GetTrial(), experiment.Label(run.GetParams()), r.stage(run), strconv.FormatUint(uint64(run.GetSeed()), 10),
			RunStateName(run.GetState()), run.GetDigest(), run.GetRunKey(), strconv.Itoa(int(run.GetNumericsVersion())),
			strconv.Itoa(int(run.GetTasksDone())), strconv.FormatInt(run.GetStepsDone(), 10), strconv.FormatFloat(run.GetSeconds(), 'f', 3, 64),
			settings, run.GetMessage(),
		}); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

// paramsJSON is a JSON object of parameters, whose values are JSON already.
func paramsJSON(params map[string]string) (string, error) {
	if len(params) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(report.RawParams(params))
	return string(b), err
}

// WriteTrialsCSV writes one line per trial, those of an arm by rank, with a column for
// every parameter that a sweep set and three for every metric: the mean over tasks
// and seeds, and its 95 % interval.
func (r *Result) WriteTrialsCSV(w io.Writer) error {
	paths, metrics := map[string]bool{}, map[string]bool{}
	for _, arm := range r.Summary.Arms {
		for _, t := range arm.Trials {
			for p := range t.Params {
				paths[p] = true
			}
			for _, m := range t.Metrics {
				metrics[metricName(m)] = true
			}
		}
	}
	head := []string{"experiment", "arm", "trial", "stage", "rank", "selected", "seeds", "diverged", "missing", "score"}
	head = append(head, sortedKeys(paths)...)
	for _, m := range sortedKeys(metrics) {
		head = append(head, m, m+" ci_low", m+" ci_high")
	}
	cw := csv.NewWriter(w)
	if err := cw.Write(head); err != nil {
		return err
	}
	for i := range r.Summary.Arms {
		arm := &r.Summary.Arms[i]
		for _, x := range r.ranked(arm) {
			line := []string{
				r.Experiment.GetSpec().GetName(), arm.Arm, x.Trial.Trial, r.stageOf(x.Trial), x.place(), strconv.FormatBool(arm.Selected == x.Trial.Trial),
				strconv.Itoa(len(x.Seeds)), strconv.Itoa(len(x.Diverged)), strconv.Itoa(len(x.Missing)), "",
			}
			if x.Score != nil {
				line[len(line)-1] = number(*x.Score)
			}
			for _, p := range sortedKeys(paths) {
				line = append(line, plain(x.Params[p]))
			}
			for _, m := range sortedKeys(metrics) {
				line = append(line, cells3(x.Trial, m)...)
			}
			if err := cw.Write(line); err != nil {
				return err
			}
		}
	}
	cw.Flush()
	return cw.Error()
}

func cells3(t *report.Trial, name string) []string {
	for _, m := range t.Metrics {
		if metricName(m) == name {
			return []string{number(m.Mean), number(m.Low), number(m.High)}
		}
	}
	return []string{"", "", ""}
}

// number is the shortest text that reads as the number, nothing where there is none.
func number(n report.Number) string {
	if math.IsNaN(float64(n)) {
		return ""
	}
	return strconv.FormatFloat(float64(n), 'g', -1, 64)
}

// plain is a JSON value without the quotes of a string.
func plain(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

func (r *Result) stageOf(t *report.Trial) string {
	return r.stage(Run{Run: &pb.Run{Confirmation: t.Confirmation}})
}

// rankedTrial is a trial with its place among those of its arm, from 1; 0 where the
// experiment does not rank, or not this one.
type rankedTrial struct {
	*report.Trial
	rank int
}

func (t rankedTrial) place() string {
	if t.rank == 0 {
		return ""
	}
	return strconv.Itoa(t.rank)
}

// ranked are the trials of an arm, the best first: by the score that select compares
// where there is one. Those of which fewer seeds finished come behind the others, as
// the selection passes over them.
func (r *Result) ranked(arm *report.Arm) []rankedTrial {
	var tuned, rest []rankedTrial
	for i := range arm.Trials {
		if t := (rankedTrial{&arm.Trials[i], 0}); t.Score != nil {
			tuned = append(tuned, t)
		} else {
			rest = append(rest, t)
		}
	}
	sign := -1.0
	if r.Experiment.GetSpec().GetSelect().GetMode() == "min" {
		sign = 1
	}
	key := func(t rankedTrial) float64 {
		if s := float64(*t.Score); !math.IsNaN(s) {
			return sign * s
		}
		return math.Inf(1)
	}
	slices.SortStableFunc(tuned, func(a, b rankedTrial) int {
		return cmp.Or(cmp.Compare(len(b.Seeds), len(a.Seeds)), cmp.Compare(key(a), key(b)))
	})
	for i := range tuned {
		if len(tuned[i].Seeds) > 0 && !math.IsNaN(float64(*tuned[i].Score)) {
			tuned[i].rank = i + 1
		}
	}
	return slices.Concat(tuned, rest)
}
