package features

import (
	"errors"
	"fmt"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "cka",
			Paper:   "Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
			Summary: "how alike the hidden layers' features are to those of an earlier moment, on the same examples (linear centred kernel alignment)",
			Needs:   []component.Capability{component.Units, component.Stream},
		},
		Metrics: []probe.Metric{
			{
				Metric: "cka", Title: "Similarity of features (CKA)",
				Unit: "1 is the same up to rotation", Range: probe.Share,
			},
		},
		Every:     "task",
		At:        "end",
		Remembers: true,
	}, ckaConfig{Reference: "first", Tasks: 1, Samples: 500}, nil, newCKA)
}

type ckaConfig struct {
	Reference string `json:"reference" doc:"what features are compared with: those of the initial weights, of the first measurement, or of the previous one" enum:"initial|first|previous"`
	Tasks     int    `json:"tasks" doc:"how many of the stream's first tasks the examples are of"`
	Samples   int    `json:"samples" doc:"held-out examples of each of those tasks, the first ones; all if there are fewer. The cost grows with tasks·samples·units²"`
}

func (c ckaConfig) Validate() error {
	var errs []error
	switch c.Reference {
	case "initial", "first", "previous":
	default:
		errs = append(errs, component.Fieldf("reference", "must be initial, first or previous, is %q", c.Reference))
	}
	if c.Tasks < 1 || c.Tasks > 1000 {
		errs = append(errs, component.Fieldf("tasks", "must be between 1 and 1000, is %d", c.Tasks))
	}
	return errors.Join(append(errs, measure.CheckSamples(c.Samples))...)
}

// cka emits, of each hidden layer,
//
//	CKA(X, Y) = ‖YᵀX‖_F² / (‖XᵀX‖_F·‖YᵀY‖_F)
//
// X and Y being its features [examples][units] now and at the reference, every
// column less its mean (section 3, linear CKA). It is 1 where one is a rotation
// and a multiple of the other, and does not see which unit is which. The whole
// network's value is the mean over layers. It is NaN where there is no reference
// yet or a layer's features are the same for all examples. Places of a
// convolution and steps of a sequence count by their mean; see [examples].
type cka struct {
	measure.Examples
	cfg     ckaConfig
	columns []probe.Column

	known     []int32     // [1] examples of the reference; 0 for none
	reference [][]float32 // by layer [examples][columns], centred
	now       [][]float32
	n         int
	row       []float64 // scratch
}

func newCKA(c ckaConfig, env probe.Env) (probe.Probe, error) {
	p := &cka{Examples: measure.NewExamples(env, c.Samples), cfg: c, columns: measure.UnitColumns("cka", env.Network), known: env.State("known", graph.I32, 1).I32}
	for i, u := range p.Units {
		v := env.State(fmt.Sprintf("reference/%d", i), graph.F32, c.Tasks*c.Samples, u.Outputs*u.N)
		p.reference = append(p.reference, v.F32)
		p.now = append(p.now, make([]float32, v.Len()))
		p.row = append(p.row, make([]float64, max(u.Outputs*u.N-len(p.row), 0))...)
	}
	return p, nil
}

// Columns implements [probe.Probe].
func (p *cka) Columns() []probe.Column { return p.columns }

// Begin implements [probe.Beginner].
func (p *cka) Begin(t probe.Tasks) error {
	if p.cfg.Reference != "initial" {
		return nil
	}
	if err := p.look(t); err != nil {
		return err
	}
	p.keep()
	return nil
}

// look fills in the features of now.
func (p *cka) look(t probe.Tasks) error {
	p.n = 0
	for task := range p.cfg.Tasks {
		e, err := t.Evaluate(task, p.cfg.Samples)
		if err != nil {
			return err
		}
		p.append(e)
	}
	for i, u := range p.Units {
		measure.Centre(p.now[i][:p.n*u.Outputs*u.N], p.n)
	}
	return nil
}

func (p *cka) append(e *learner.Evaluation) {
	for i, u := range p.Units {
		copy(p.now[i][p.n*u.Outputs*u.N:], p.Matrix(i, e.Features[i], e.N))
	}
	p.n += e.N
}

func (p *cka) keep() {
	p.known[0] = int32(p.n)
	for i := range p.now {
		copy(p.reference[i], p.now[i])
	}
}

// MeasureTasks implements [probe.TaskMeasurer].
func (p *cka) MeasureTasks(t probe.Tasks, values []float32) error {
	if err := p.look(t); err != nil {
		return err
	}
	if p.known[0] == 0 && p.cfg.Reference == "first" {
		p.keep()
	}
	var sum float64
	for i, u := range p.Units {
		v := math.NaN()
		if p.known[0] != 0 {
			v = linearCKA(p.now[i], p.reference[i], p.n, p.row[:u.Outputs*u.N])
		}
		values[1+i] = float32(v)
		sum += v
	}
	values[0] = float32(sum / float64(len(p.Units)))
	if p.cfg.Reference == "previous" {
		p.keep()
	}
	return nil
}

// linearCKA compares two centred matrices [n][columns]; row is scratch for
// columns numbers.
func linearCKA(x, y []float32, n int, row []float64) float64 {
	xx, yy := squaredProduct(x, x, n, row), squaredProduct(y, y, n, row)
	return squaredProduct(y, x, n, row) / math.Sqrt(float64(xx*yy))
}

// squaredProduct returns ‖XᵀY‖_F².
func squaredProduct(x, y []float32, n int, row []float64) float64 {
	columns := len(row)
	var total float64
	for i := range columns {
		clear(row)
		for b := range n {
			if v := float64(x[b*columns+i]); v != 0 {
				for j, w := range y[b*columns : (b+1)*columns] {
					row[j] += float64(v * float64(w))
				}
			}
		}
		for _, v := range row {
			total += float64(v * v)
		}
	}
	return total
}
