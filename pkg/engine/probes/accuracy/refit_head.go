package accuracy

import (
	"errors"
	"fmt"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/linalg"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "refit-head",
			Paper:   "Kim & Han 2023, On the Stability-Plasticity Dilemma of Class-Incremental Learning",
			Summary: "accuracy of a linear head fitted anew to the last hidden layer's features on the classes of several tasks, whether learned yet or not",
			Needs:   []component.Capability{component.Units, component.Classification},
		},
		Metrics: []probe.Metric{
			{
				Metric: "refit_accuracy", Title: "Accuracy of a refitted head",
				Unit: "share of examples", Range: probe.Share, Better: probe.Higher,
			},
		},
		Every: "task",
		At:    "end",
	}, refitHeadConfig{Tasks: 5, Samples: 2000, Lambda: 1}, nil, newRefitHead)
}

type refitHeadConfig struct {
	Tasks   int     `json:"tasks" doc:"how many of the stream's first tasks the head is fitted to"`
	Samples int     `json:"samples" doc:"training examples of each task that the head is fitted to, and held-out ones that it is tested on, the first ones; all if there are fewer"`
	Lambda  float64 `json:"lambda" doc:"L2 penalty of the ridge regression, relative to the features' mean square times the number of examples over 1000"`
}

func (c refitHeadConfig) Validate() error {
	var errs []error
	if c.Tasks < 1 || c.Tasks > 1000 {
		errs = append(errs, component.Fieldf("tasks", "must be between 1 and 1000, is %d", c.Tasks))
	}
	if !(c.Lambda > 1e-6 && c.Lambda <= 1e6) {
		errs = append(errs, component.Fieldf("lambda", "must be above 1e-6 and at most 1e6, is %v", c.Lambda))
	}
	return errors.Join(append(errs, measure.CheckSamples(c.Samples))...)
}

// refitHead freezes the network up to its last hidden layer, fits a linear
// classifier to the features of training examples of all watched tasks together,
// and tests it on their held-out examples: refit_accuracy over all of them, and
// refit_accuracy/task<j> on those of task j, tasks being counted from 0. What an
// extractor gained on classes is the difference between two moments.
//
// The classifier is the ridge regression on one-hot labels
//
//	min Σ_i ‖W·h_i + b − e(y_i)‖² + λ'‖W‖²,  λ' = λ/1000 · Σ_i ‖h_i‖² / units
//
// and answers with its largest output. The paper trains a softmax classifier;
// this one has no step size to choose.
type refitHead struct {
	measure.Examples
	cfg     refitHeadConfig
	columns []probe.Column
	classes int
	layer   int // the last hidden one
	width   int
	x       []float32      // [tasks·samples][width]
	y       []float64      // [tasks·samples][classes]
	shown   map[int32]bool // training examples of a task that are in x already
	ridge   linalg.Ridge
}

func newRefitHead(c refitHeadConfig, env probe.Env) (probe.Probe, error) {
	p := &refitHead{Examples: measure.NewExamples(env, c.Samples), cfg: c, classes: env.Classes, shown: map[int32]bool{}, columns: []probe.Column{{Metric: "refit_accuracy"}}}
	p.layer = len(p.Units) - 1
	p.width = p.Units[p.layer].N * p.Units[p.layer].Outputs
	for j := range c.Tasks {
		p.columns = append(p.columns, probe.Column{Metric: "refit_accuracy", Layer: fmt.Sprintf("task%d", j)})
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *refitHead) Columns() []probe.Column { return p.columns }

// MeasureTasks implements [probe.TaskMeasurer].
func (p *refitHead) MeasureTasks(t probe.Tasks, values []float32) error {
	w, b, err := p.fit(t)
	if err != nil {
		return err
	}
	var correct, all int
	for task := range p.cfg.Tasks {
		e, err := t.Evaluate(task, p.cfg.Samples)
		if err != nil {
			return err
		}
		c := p.count(e, w, b)
		values[1+task] = float32(float64(c) / float64(e.N))
		correct += c
		all += e.N
	}
	values[0] = float32(float64(correct) / float64(all))
	return nil
}

func (p *refitHead) features(e *learner.Evaluation) []float32 {
	return p.Matrix(p.layer, e.Features[p.layer], e.N)
}

// fit returns the head's W [width][classes] and b [classes].
func (p *refitHead) fit(t probe.Tasks) (w, b []float64, err error) {
	p.x, p.y = p.x[:0], p.y[:0]
	var squares float64
	n := 0
	for task := range p.cfg.Tasks {
		e, err := t.EvaluateTraining(task, p.cfg.Samples)
		if err != nil {
			return nil, nil, err
		}
		h := p.features(e)
		clear(p.shown)
		for i, label := range e.Batch.Labels {
			if e.Batch.Index != nil && e.Batch.Index[i] >= 0 {
				image := e.Batch.Index[i]
				if p.shown[image] { // the task has fewer examples, and goes round
					continue
				}
				p.shown[image] = true
			}
			p.x = append(p.x, h[i*p.width:(i+1)*p.width]...)
			for c := range p.classes {
				hot := 0.0
				if c == int(label) {
					hot = 1
				}
				p.y = append(p.y, hot)
			}
			n++
		}
	}
	for _, v := range p.x {
		squares += float64(float64(v) * float64(v))
	}
	if squares == 0 { // all units are off: any penalty will do
		squares = 1
	}
	return p.ridge.Fit(p.x, p.y, n, p.width, p.classes, p.cfg.Lambda/1000*squares/float64(p.width), true)
}

// count returns how many of the examples the head has right.
func (p *refitHead) count(e *learner.Evaluation, w, b []float64) (correct int) {
	h := p.features(e)
	for i, label := range e.Batch.Labels {
		best, most := 0, 0.0
		for c := range p.classes {
			out := b[c]
			for j, v := range h[i*p.width : (i+1)*p.width] {
				out += float64(float64(v) * w[j*p.classes+c])
			}
			if c == 0 || out > most {
				best, most = c, out
			}
		}
		if best == int(label) {
			correct++
		}
	}
	return correct
}
