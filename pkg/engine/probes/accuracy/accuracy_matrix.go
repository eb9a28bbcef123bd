package accuracy

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "accuracy-matrix",
			Paper:   "Lopez-Paz & Ranzato 2017, Gradient Episodic Memory; Chaudhry et al. 2018, Riemannian Walk (forgetting); Kumar et al. 2023 (one-step backward transfer)",
			Summary: "held-out accuracy on each of the first tasks, and what it says of transfer and forgetting",
			Needs:   []component.Capability{component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "task_accuracy", Title: "Accuracy by task",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
			{
				Metric: "average_accuracy", Title: "Average accuracy",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
			{
				Metric: "backward_transfer", Title: "Backward transfer",
				Unit: "change of accuracy", Range: probe.Signed, Better: probe.Higher,
			},
			{
				Metric: "forward_transfer", Title: "Forward transfer",
				Unit: "change of accuracy", Range: probe.Signed, Better: probe.Higher,
			},
			{
				Metric: "forgetting", Title: "Forgetting",
				Unit: "fall of accuracy", Range: probe.Signed, Better: probe.Lower,
			},
			{
				Metric: "one_step_backward_transfer", Title: "One-step backward transfer",
				Unit: "change of accuracy", Range: probe.Signed, Better: probe.Higher,
			},
		},
		Every:     "task",
		At:        "end",
		Remembers: true,
	}, accuracyMatrixConfig{Tasks: 10, Samples: 2000}, nil, newAccuracyMatrix)
}

type accuracyMatrixConfig struct {
	Tasks   int `json:"tasks" doc:"how many of the stream's first tasks are watched, N, whether the run gets that far or not; at most as many as the stream has before it comes back to the first"`
	Samples int `json:"samples" doc:"held-out examples of each watched task, the first ones; all if there are fewer"`
}

func (c accuracyMatrixConfig) Validate() error {
	var err error
	if c.Tasks < 1 || c.Tasks > 1000 {
		err = component.Fieldf("tasks", "must be between 1 and 1000, is %d", c.Tasks)
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// accuracyMatrix emits the rows of the matrix R, R[i][j] being the accuracy on
// task j after i was learned, and what sums them up. With tasks counted from 1,
// after task T:
//
//	average_accuracy            1/T · Σ_{j≤T} R[T][j]
//	backward_transfer           1/(T−1) · Σ_{j<T} (R[T][j] − R[j][j])
//	forward_transfer            1/(T−1) · Σ_{1<j≤T} (R[j−1][j] − b[j])
//	forgetting                  1/(T−1) · Σ_{j<T} (max_{i<T} R[i][j] − R[T][j])
//	one_step_backward_transfer  1/(T−1) · Σ_{j<T} (R[j+1][j] − R[j][j])
//	task_accuracy/task<j>       R[T][j+1], tasks being counted from 0 as elsewhere
//
// where b[j] is the accuracy with the initial weights. The first three are
// Lopez-Paz & Ranzato's (section 2). Forgetting is Chaudhry et al.'s (section
// 4): the maximum is over all earlier rows, those before task j was learned
// too, but not the present one; it is negative if tasks are better than ever.
// Code bases differ: some average backward transfer over all pairs i > j, leave
// out b, or take the present row into the maximum.
//
// A task that is under way counts as learned. Sums go over the N watched tasks;
// a term with a number that was not measured (in a task shorter than the
// probe's interval) is left out, and a mean without terms is NaN: after the
// first task all but the first.
type accuracyMatrix struct {
	samples int
	columns []probe.Column

	// All of R that the sums need. A number that was not measured is −1.
	baseline []float64 // b[j]
	before   []float64 // R[j−1][j]
	learned  []float64 // R[j][j]
	after    []float64 // R[j+1][j]
	best     []float64 // max R[i][j] over the rows before the last
	last     []float64 // the last row
	number   []int32   // [1] of the last row: how many tasks were learned
}

func newAccuracyMatrix(c accuracyMatrixConfig, env probe.Env) (probe.Probe, error) {
	watched := c.Tasks
	if n := env.Info.Distinct; n > 0 {
		watched = min(watched, n) // the tasks behind are these again
	}
	state := func(name string) []float64 {
		v := env.State(name, graph.F64, watched).F64
		for j := range v {
			v[j] = -1
		}
		return v
	}
	p := &accuracyMatrix{
		samples:  c.Samples,
		baseline: state("baseline"), before: state("before"), learned: state("learned"), after: state("after"),
		best: state("best"), last: state("last"), number: env.State("number", graph.I32, 1).I32,
	}
	for _, m := range []string{"average_accuracy", "backward_transfer", "forward_transfer", "forgetting", "one_step_backward_transfer"} {
		p.columns = append(p.columns, probe.Column{Metric: m})
	}
	for j := range watched {
		p.columns = append(p.columns, probe.Column{Metric: "task_accuracy", Layer: fmt.Sprintf("task%d", j)})
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *accuracyMatrix) Columns() []probe.Column { return p.columns }

// Begin implements [probe.Beginner].
func (p *accuracyMatrix) Begin(t probe.Tasks) error { return p.measure(t, p.baseline) }

// measure fills in the accuracies on the watched tasks.
func (p *accuracyMatrix) measure(t probe.Tasks, row []float64) error {
	for j := range row {
		correct, n, err := testTask(t, j, p.samples)
		if err != nil {
			return err
		}
		row[j] = correct / float64(n)
	}
	return nil
}

// MeasureTasks implements [probe.TaskMeasurer].
func (p *accuracyMatrix) MeasureTasks(t probe.Tasks, values []float32) error {
	now := t.Learned()
	if before := int(p.number[0]); before != 0 && before != now {
		for j, r := range p.last {
			p.best[j] = max(p.best[j], r)
		}
	}
	p.number[0] = int32(now)
	if err := p.measure(t, p.last); err != nil {
		return err
	}
	for j, r := range p.last {
		switch now {
		case j:
			p.before[j] = r
		case j + 1:
			p.learned[j] = r
		case j + 2:
			p.after[j] = r
		}
	}
	seen, old := min(now, len(p.last)), min(max(now-1, 0), len(p.last)) // watched tasks ≤ T, and < T
	values[0] = meanDifference(p.last[:seen], nil)
	values[1] = meanDifference(p.last[:old], p.learned)
	values[2] = meanDifference(p.before[min(1, seen):seen], p.baseline[min(1, seen):])
	values[3] = meanDifference(p.best[:old], p.last)
	values[4] = meanDifference(p.after[:old], p.learned)
	for j, r := range p.last {
		values[5+j] = float32(r)
	}
	return nil
}

// meanDifference returns the mean of x[j] − y[j], or of x, over the j whose
// numbers were measured.
func meanDifference(x, y []float64) float32 {
	var sum float64
	n := 0
	for j, v := range x {
		switch {
		case v < 0 || y != nil && y[j] < 0:
			continue
		case y != nil:
			v -= y[j]
		}
		sum += v
		n++
	}
	return float32(sum / float64(n))
}
