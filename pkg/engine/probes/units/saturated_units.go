package units

import (
	"errors"
	"fmt"
	"math"

	"neoteny/pkg/engine/component"
	"neoteny/pkg/engine/graph"
	"neoteny/pkg/engine/learner"
	"neoteny/pkg/engine/nn"
	"neoteny/pkg/engine/probe"
	"neoteny/pkg/engine/probes/internal/measure"
)

func init() {
	probe.Register(probe.Info{
		Info: component.Info{
			Name:    "saturated-units",
			Paper:   "Joudaki et al. 2025, Barriers for Learning in an Evolving World",
			Summary: "share of hidden units that the loss hardly depends on, for nearly all examples",
			Needs:   []component.Capability{component.Units, component.Gradients, component.Stream},
		},
		Metrics: []probe.Metric{
			{
				Metric: "saturated_units", Title: "Saturated units",
				Unit: "share of units", Range: probe.Share, Better: probe.Lower,
			},
		},
		Every: "task",
		At:    "end",
	}, saturatedUnitsConfig{Ratio: 1e-4, Share: 0.99, Samples: 500}, nil, newSaturatedUnits)
}

type saturatedUnitsConfig struct {
	Ratio   float64 `json:"ratio" doc:"size of a gradient, relative to the unit's mean size, below which the unit is saturated for an example"`
	Share   float64 `json:"share" doc:"share of examples for which a unit must be saturated, and more"`
	Samples int     `json:"samples" doc:"examples of the current task that the network is evaluated on, the first ones"`
}

func (c saturatedUnitsConfig) Validate() error {
	var err error
	if !(c.Ratio > 0 && c.Ratio <= 1e6) {
		err = component.Fieldf("ratio", "must be above 0 and at most 1e6, is %v", c.Ratio)
	}
	if !(c.Share >= 0 && c.Share < 1) {
		err = errors.Join(err, component.Fieldf("share", "must be at least 0 and below 1, is %v", c.Share))
	}
	return errors.Join(err, measure.CheckSamples(c.Samples))
}

// saturatedUnits counts the units i of a layer with
//
//	|∂ℓ_b/∂h_bi| / mean_b |h_bi| < ratio
//
// for more than the given share of examples b, ℓ_b being the loss of example b.
// (The paper's code has the gradient of the mean loss instead, so that its
// threshold grows with the number of examples.) A unit that is always 0 is not
// saturated unless its gradient is 0, too. The whole network's value is a share
// of all its units.
type saturatedUnits struct {
	cfg       saturatedUnitsConfig
	columns   []probe.Column
	units     []*nn.Units
	env       probe.Env
	program   *graph.Program
	features  [][]float32
	gradients [][]float32
	mean      []float64
	saturated []float64
}

func newSaturatedUnits(c saturatedUnitsConfig, env probe.Env) (probe.Probe, error) {
	return &saturatedUnits{cfg: c, columns: measure.UnitColumns("saturated_units", env.Network), units: env.Network.Units(), env: env}, nil
}

// Columns implements [probe.Probe].
func (p *saturatedUnits) Columns() []probe.Column { return p.columns }

// Samples implements [probe.Measurer].
func (p *saturatedUnits) Samples() int { return p.cfg.Samples }

func (p *saturatedUnits) trace(n int) {
	b := graph.NewBuilder()
	net, losses := p.env.Forward(b, n)
	p.program, p.gradients = measure.CompileGradients(b, b.Sum(losses), net.Features)
	widest := 0
	for i, u := range p.units {
		p.features = append(p.features, p.program.Output(fmt.Sprintf("features/%d", i)))
		widest = max(widest, u.N)
	}
	p.mean, p.saturated = make([]float64, widest), make([]float64, widest)
}

// Measure implements [probe.Measurer].
func (p *saturatedUnits) Measure(e *learner.Evaluation, values []float32) error {
	if p.program == nil {
		p.trace(e.N)
	}
	p.env.Fill(p.program, e.Batch)
	p.program.Run(0)
	found, units := 0, 0
	for layer, h := range p.features {
		n := p.units[layer].N
		count := p.count(h, p.gradients[layer], n)
		values[1+layer] = float32(float64(count) / float64(n))
		found += count
		units += n
	}
	values[0] = float32(float64(found) / float64(units))
	return nil
}

func (p *saturatedUnits) count(h, g []float32, n int) (count int) {
	mean, saturated := p.mean[:n], p.saturated[:n]
	clear(mean)
	clear(saturated)
	rows := float64(len(h) / n)
	for k, v := range h {
		mean[k%n] += math.Abs(float64(v))
	}
	for i := range mean {
		mean[i] = max(mean[i]/rows, 1e-12)
	}
	for k, v := range g {
		if math.Abs(float64(v))/mean[k%n] < p.cfg.Ratio {
			saturated[k%n]++
		}
	}
	for _, s := range saturated {
		if s/rows > p.cfg.Share {
			count++
		}
	}
	return count
}
